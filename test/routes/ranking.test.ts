import t from 'tap'
import { build, fakeSource, scrape, waveCandles } from '../helper.ts'

t.test('every universe is ranked: at least 20 tickers, sorted, with provenance', async (t) => {
  const app = await build(t)
  const { countries } = (await app.inject('/countries')).json()
  t.same(
    countries.map(({ name }: { name: string }) => name),
    ['Global', 'United States', 'Switzerland', 'Germany', 'United Kingdom', 'France', 'Japan', 'Canada']
  )
  for (const { name, size } of countries) {
    const reply = await app.inject({ url: '/ranking', query: { country: name } })
    t.equal(reply.statusCode, 200, name)
    const body = reply.json()
    t.ok(size >= 20, name)
    t.equal(body.ranking.length, size, name)
    t.match(body, {
      country: name,
      source: 'simulated',
      data_as_of: '2026-11-20',
      coverage: 1,
      skipped: [],
      stale: false,
      model: { name: 'outperform', version: /^\d+$/, horizon_days: 20, source: 'simulated' },
      warnings: [{ code: 'simulated_data' }]
    })
    const probs = body.ranking.map(({ prob }: { prob: number }) => prob)
    t.same(
      probs,
      probs.toSorted((a: number, b: number) => b - a),
      name
    )
    t.same(
      body.ranking.map(({ rank }: { rank: number }) => rank),
      Array.from({ length: size }, (_, i) => i + 1),
      name
    )
    t.match(body.ranking[0], { percentile: 100, name: /\w/, currency: /^\w{3}$/, as_of: '2026-11-20', price: Number })
    t.equal(body.ranking.at(-1).percentile, 0, name)
  }
})

t.test('a limit keeps the best, and percentiles stay those of the universe', async (t) => {
  const app = await build(t)
  const all = (await app.inject('/ranking?country=Japan')).json()
  const best = (await app.inject('/ranking?country=Japan&limit=3')).json()
  t.same(best.ranking, all.ranking.slice(0, 3))
})

t.test('rows have their last closes if that is asked for, in a reply that is the same otherwise', async (t) => {
  const short = waveCandles(280)
  const app = await build(t, {}, { source: fakeSource({ A: waveCandles(), B: short, C: waveCandles(9) }) })
  for (const query of ['country=Testland', 'country=Testland&tickers=A,B']) {
    const without = (await app.inject(`/ranking?${query}`)).json()
    t.same((await app.inject(`/ranking?${query}&sparkline=false`)).json(), without)
    const body = (await app.inject(`/ranking?${query}&sparkline=true&limit=2`)).json()
    const rows = body.ranking.map(({ sparkline, ...row }: { sparkline: number[] }) => {
      t.equal(sparkline.length, 60)
      t.ok(sparkline.every((close) => Number.isFinite(close) && close > 0))
      return row
    })
    t.same({ ...body, ranking: rows }, without)
    const closes = body.ranking.find(({ ticker }: { ticker: string }) => ticker === 'B').sparkline
    t.ok(Math.abs(closes[0] - short.adjClose.at(-60)!) < 0.001, 'of its own row, oldest first')
    t.ok(Math.abs(closes[59] - short.adjClose.at(-1)!) < 0.001)
  }
})

t.test("tickers of one's own are ranked among themselves, each once, unknown ones named", async (t) => {
  const app = await build(t)
  const body = (await app.inject('/ranking?tickers= aapl,NESN.SW,,BRK.B,brk/b,NOSUCH&country=Japan')).json()
  t.same(body.ranking.map(({ ticker }: { ticker: string }) => ticker).toSorted(), ['AAPL', 'BRK-B', 'NESN.SW'])
  t.same(body.skipped, [{ ticker: 'NOSUCH', reason: 'not_found' }])
  t.match(body, { country: null, coverage: 1, age_seconds: 0 })
  const found = await scrape(app)
  t.equal(found['ranking_generation_duration_seconds_count{country="custom"}'], 1)
  t.equal(found['data_fetch_errors_total{source="simulated",error_type="not_found"}'], 1)
})

t.test('only unknown tickers give an empty ranking that says so', async (t) => {
  const app = await build(t)
  const reply = await app.inject('/ranking?tickers=NOSUCH')
  t.equal(reply.statusCode, 200)
  t.match(reply.json(), { ranking: [], skipped: [{ ticker: 'NOSUCH' }], data_as_of: null, coverage: 1 })
})

t.test('upstream failures lower the coverage, short histories do not', async (t) => {
  const source = fakeSource({ A: waveCandles(), B: 'timeout', C: waveCandles(100), D: 'network' })
  const app = await build(t, { RANKING_MIN_COVERAGE_PERCENT: '50' }, { source })
  const body = (await app.inject('/ranking?country=Testland')).json()
  t.match(body.ranking, [{ ticker: 'A', name: 'A', sector: null, currency: null, percentile: 50 }])
  t.same(body.skipped, [
    { ticker: 'B', reason: 'timeout' },
    { ticker: 'C', reason: 'short_history' },
    { ticker: 'D', reason: 'network' }
  ])
  t.equal(body.coverage, 0.5)
  const found = await scrape(app)
  t.equal(found['data_fetch_errors_total{source="simulated",error_type="timeout"}'], 1)
  t.equal(found['data_fetch_errors_total{source="simulated",error_type="network"}'], 1)
})

t.test('a ranking with too many holes is a failure of its source, named by what occurs most often', async (t) => {
  for (const [failing, status, detail] of [
    [['timeout'], 200, undefined],
    [['network', 'timeout'], 502, 'The price source has no answer for 2 of the 5 symbols of Testland (network)'],
    [
      ['network', 'timeout', 'timeout'],
      504,
      'The price source has no answer for 3 of the 5 symbols of Testland (timeout)'
    ],
    [
      ['circuit_open', 'circuit_open'],
      503,
      'The price source has no answer for 2 of the 5 symbols of Testland (circuit_open)'
    ],
    [['not_found', 'not_found', 'not_found'], 200, undefined]
  ] as const) {
    const candles = ['A', 'B', 'C', 'D', 'E'].map((symbol, i) => [
      symbol,
      failing[i] ?? waveCandles(320, '2026-11-20', i)
    ])
    const app = await build(t, {}, { source: fakeSource(Object.fromEntries(candles)) })
    const reply = await app.inject('/ranking?country=Testland')
    t.equal(reply.statusCode, status)
    t.equal(reply.json().detail, detail)
    t.equal(reply.headers['retry-after'], status === 200 ? undefined : '10')
  }
})

t.test('a source that fails as a whole is a 502, counted, and not kept', async (t) => {
  let fails = true
  const fake = fakeSource({ A: waveCandles() })
  const source = fakeSource(
    {},
    {
      universes: fake.universes,
      history: async (symbols, days) => {
        if (fails) throw new Error('secret host is down')
        return fake.history(symbols, days)
      }
    }
  )
  const app = await build(t, {}, { source })
  const reply = await app.inject('/ranking?country=Testland')
  t.match(reply.json(), {
    status: 502,
    code: 'TF_ERR_MARKET_SOURCE',
    detail: 'The price source has no answer for 1 of the 1 symbols of Testland (upstream_error)'
  })
  t.notMatch(reply.payload, /secret/)
  t.match((await app.inject('/ranking?tickers=A&country=Testland')).json(), {
    status: 502,
    detail: /1 of the 1 symbols of the tickers asked for \(upstream_error\)/
  })
  const found = await scrape(app)
  t.equal(found['data_fetch_errors_total{source="simulated",error_type="upstream_error"}'], 2)
  t.equal(found['data_fetch_duration_seconds_count{source="simulated"}'], 2)
  fails = false
  t.equal((await app.inject('/ranking?country=Testland')).statusCode, 200)
})

t.test('rankings of two days are not mixed, and no percentile leaves 0 to 100', async (t) => {
  let now = new Date('2026-11-19T23:59:59Z')
  const app = await build(t, {}, { now: () => now })
  const url = { url: '/ranking', query: { country: 'Switzerland' } }
  const before = (await app.inject(url)).json()
  now = new Date('2026-11-20T00:00:01Z')
  for (const { ticker } of before.ranking) {
    const reply = await app.inject(`/predict_ticker/${ticker}`)
    t.equal(reply.statusCode, 200)
    t.equal(reply.json().as_of, '2026-11-19')
  }
  const after = (await app.inject(url)).json()
  t.same([before.data_as_of, after.data_as_of], ['2026-11-18', '2026-11-19'])
})

t.test('a symbol that the cached ranking lacks is compared with those it has', async (t) => {
  let failing = true
  const fake = fakeSource({
    A: waveCandles(),
    B: waveCandles(320, '2026-11-20', 2),
    C: waveCandles(320, '2026-11-20', 4)
  })
  const source = fakeSource(
    {},
    {
      universes: fake.universes,
      history: async (symbols, days) => {
        const histories = await fake.history(symbols, days)
        if (failing) histories.set('A', { ok: false, error: 'timeout' })
        return histories
      }
    }
  )
  const app = await build(t, { RANKING_MIN_COVERAGE_PERCENT: '50' }, { source })
  const { ranking } = (await app.inject('/ranking?country=Testland')).json()
  t.equal(ranking.length, 2)
  failing = false
  const { prob, percentile } = (await app.inject('/predict_ticker/A')).json()
  const beaten = ranking.filter((row: { prob: number }) => row.prob < prob).length
  t.equal(percentile, 50 * beaten)
})

t.test('old prices are said to be old', async (t) => {
  const app = await build(t, {}, { source: fakeSource({ A: waveCandles(), B: waveCandles(320, '2026-11-12') }) })
  const { warnings, data_as_of } = (await app.inject('/ranking?country=Testland')).json()
  t.equal(data_as_of, '2026-11-20')
  t.match(warnings, [
    { code: 'simulated_data' },
    { code: 'old_prices', message: /^1 of 2 prices are older than 7 days/ }
  ])
})

t.test('a ranking is made once for all who ask at the same time, and again when it is no longer fresh', async (t) => {
  const app = await build(t, { RANKING_TTL_SECONDS: '0' })
  await Promise.all(Array.from({ length: 10 }, () => app.inject('/ranking?country=France')))
  const once = await scrape(app)
  t.equal(once['ranking_generation_duration_seconds_count{country="France"}'], 1)
  t.equal(once['cache_misses_total{cache_type="ranking"}'], 10)
  await app.inject('/ranking?country=France')
  t.equal((await scrape(app))['ranking_generation_duration_seconds_count{country="France"}'], 2)

  const kept = await build(t)
  await kept.inject('/ranking?country=France')
  const second = (await kept.inject('/ranking?country=France')).json()
  t.ok(second.age_seconds >= 0)
  const found = await scrape(kept)
  t.equal(found['cache_hits_total{cache_type="ranking"}'], 1)
  t.equal(found['cache_misses_total{cache_type="ranking"}'], 1)
  t.ok(found['cache_size_bytes{cache_type="ranking"}']! > 1000)
})

t.test('what can not be ranked is refused by name', async (t) => {
  const app = await build(t)
  for (const [url, code, detail] of [
    [
      '/ranking?country=Mars',
      'TF_ERR_MARKET_UNKNOWN_COUNTRY',
      /^Unknown country Mars; there are: Global, United States,/
    ],
    ['/ranking?tickers=AAPL,A$', 'TF_ERR_RANKING_TICKERS', 'tickers has "A$", which is not a symbol'],
    [
      `/ranking?tickers=${Array.from({ length: 101 }, (_, i) => `T${i}`).join()}`,
      'TF_ERR_RANKING_TICKERS',
      'tickers has 101 symbols, more than 100'
    ],
    ['/ranking?country=Mars&tickers=AAPL', 'TF_ERR_MARKET_UNKNOWN_COUNTRY', /^Unknown country Mars/],
    ['/ranking?limit=0', 'FST_ERR_VALIDATION', 'limit must be >= 1'],
    ['/ranking?limit=ten', 'FST_ERR_VALIDATION', 'limit must be integer'],
    ['/ranking?limit=1e999', 'FST_ERR_VALIDATION', /limit must be/],
    ['/ranking?sparkline=yes', 'FST_ERR_VALIDATION', 'sparkline must be boolean'],
    ['/ranking?county=Japan', 'FST_ERR_VALIDATION', 'county is not a field that is known here']
  ] as const) {
    const reply = await app.inject(url)
    t.equal(reply.statusCode, 400, url)
    t.match(reply.json(), { code, detail }, url)
  }
})

/** Coins as clients and metrics see them: simulated ones, and a live source that works, fails and comes back. */
import { Writable } from 'node:stream'
import t from 'tap'
import type { CoinSource } from '../../domain/coins.ts'
import { build, NOW, scrape } from '../helper.ts'
import { FAULTS, type Handler, TOO_LARGE, json, startStub } from '../sources/stub.ts'

/** Markets, searches and details of a few invented coins, in CoinGecko's form. */
const works: Handler = (request, response) => {
  const url = new URL(request.url!, 'http://x')
  const row = (id: string, i: number): object => ({
    id,
    symbol: id.slice(0, 3),
    name: id,
    current_price: 10 + i,
    market_cap: 1000,
    market_cap_rank: i + 1,
    total_volume: 110
  })
  if (url.pathname === '/api/v3/search') return json(response, { coins: [{ id: 'rareone' }] })
  if (url.pathname !== '/api/v3/coins/markets') {
    return json(response, { ...row('one', 0), market_data: { current_price: { usd: 10 } } })
  }
  const ids = url.searchParams.get('ids')?.split(',') ?? ['one', 'two', 'apecoin']
  return json(response, [...ids.filter((id) => id !== 'nope').map(row), ...(ids.includes('odd') ? [{}] : [])])
}

const LIVE = { COIN_SOURCE: 'coingecko', COINGECKO_RPM: '1000' }
const KEY = 'CG-0123456789secret'

interface Row {
  crypto_id: string
  momentum_score: number
  probability: number
  score_parts: Record<string, number>
  nft: boolean
  market_cap_rank: number
}

const ids = (body: { ranking: Row[] }): string[] => body.ranking.map(({ crypto_id }) => crypto_id)

t.test(
  'without anything it is the fifty best of the 250 largest, with NFT tokens, simulated and marked so',
  async (t) => {
    const app = await build(t)
    const body = (await app.inject('/crypto/ranking')).json()
    t.match(body, {
      source: 'simulated',
      stale: false,
      age_seconds: 0,
      skipped: [],
      warnings: [{ code: 'simulated_data' }]
    })
    t.equal(body.ranking.length, 50)
    const all = (await app.inject('/crypto/ranking?limit=250')).json()
    t.equal(all.ranking.length, 250)
    t.equal(ids(body).join(), ids(all).slice(0, 50).join())
    const rows: Row[] = all.ranking
    const sorted = rows.toSorted((a, b) => b.momentum_score - a.momentum_score || a.market_cap_rank - b.market_cap_rank)
    t.equal(ids({ ranking: rows }).join(), ids({ ranking: sorted }).join())
    for (const { momentum_score, probability, score_parts, crypto_id } of rows) {
      t.equal(probability, momentum_score, crypto_id)
      const sum = Object.values(score_parts).reduce((total, part) => total + part, 0)
      t.ok(Math.abs(sum - momentum_score) < 1e-9, crypto_id)
    }
    t.ok(rows.some(({ nft }) => nft))
    const found = await scrape(app)
    t.equal(found['crypto_items_fetched_sum'], 250, 'one fetch')
    t.equal(found['crypto_fetch_duration_seconds_count'], 1)
    t.equal(found['data_fetch_duration_seconds_count{source="simulated"}'], 0, 'which is of stocks')
    t.equal(found['data_fetch_duration_seconds_count{source="coingecko"}'], 0)
    t.match(found, { 'cache_misses_total{cache_type="coins"}': 1, 'cache_hits_total{cache_type="coins"}': 1 })
  }
)

t.test(
  'include_nft=false leaves them out, min_probability the lower ones, and ids are found by their names',
  async (t) => {
    const app = await build(t)
    const without = (await app.inject('/crypto/ranking?include_nft=false&limit=250')).json()
    t.ok(without.ranking.length > 200 && without.ranking.every(({ nft }: Row) => !nft))
    const high = (await app.inject('/crypto/ranking?min_probability=0.3&limit=250')).json()
    t.ok(high.ranking.length > 10 && high.ranking.length < 250)
    t.ok(high.ranking.every(({ momentum_score }: Row) => momentum_score >= 0.3))
    const own = (await app.inject('/crypto/ranking?crypto_ids= Bitcoin,,the-sandbox,bitcoin,nope')).json()
    t.same(ids(own).toSorted(), ['bitcoin', 'the-sandbox'])
    t.same(own.skipped, [{ crypto_id: 'nope', reason: 'not_found' }])
    t.same(ids((await app.inject('/crypto/ranking?crypto_ids=the-sandbox&include_nft=false')).json()), [])
  }
)

t.test('a wrong question is a 400 that names the field', async (t) => {
  const app = await build(t)
  const many = Array.from({ length: 251 }, (_, i) => `id${i}`).join()
  for (const [url, code, detail] of [
    ['/crypto/ranking?limit=0', 'FST_ERR_VALIDATION', /limit/],
    ['/crypto/ranking?limit=251', 'FST_ERR_VALIDATION', /limit/],
    ['/crypto/ranking?limit=1e999', 'FST_ERR_VALIDATION', /limit/],
    ['/crypto/ranking?min_probability=1.1', 'FST_ERR_VALIDATION', /min_probability/],
    ['/crypto/ranking?min_probability=NaN', 'FST_ERR_VALIDATION', /min_probability/],
    ['/crypto/ranking?include_nft=maybe', 'FST_ERR_VALIDATION', /include_nft/],
    ['/crypto/ranking?page=2', 'FST_ERR_VALIDATION', /page/],
    [`/crypto/ranking?crypto_ids=${'a'.repeat(10_001)}`, 'FST_ERR_VALIDATION', /crypto_ids/],
    ['/crypto/ranking?crypto_ids=a,b/c', 'TF_ERR_CRYPTO_IDS', 'crypto_ids has "b/c", which is not an id'],
    [`/crypto/ranking?crypto_ids=${many}`, 'TF_ERR_CRYPTO_IDS', 'crypto_ids has 251 ids, more than 250'],
    ['/crypto/search', 'FST_ERR_VALIDATION', /query is missing/],
    ['/crypto/search?query=', 'TF_ERR_CRYPTO_QUERY', 'query is blank'],
    ['/crypto/search?query=%20%09', 'TF_ERR_CRYPTO_QUERY', 'query is blank'],
    [`/crypto/search?query=${'a'.repeat(101)}`, 'FST_ERR_VALIDATION', /query/],
    ['/crypto/details/a%20b', 'FST_ERR_VALIDATION', /id/],
    ['/crypto/details/..%2Fping', 'FST_ERR_VALIDATION', /id/]
  ] as const) {
    const reply = await app.inject(url)
    t.equal(reply.statusCode, 400, url.slice(0, 60))
    t.match(reply.json(), { code, detail }, url.slice(0, 60))
  }
})

t.test('one coin by id, symbol or name; its details; and neither for what there is not', async (t) => {
  const app = await build(t)
  for (const query of ['bitcoin', 'BTC', ' Bitcoin ']) {
    t.match((await app.inject({ url: '/crypto/search', query: { query } })).json(), {
      crypto_id: 'bitcoin',
      market_cap_rank: 1,
      source: 'simulated',
      warnings: [{ code: 'simulated_data' }]
    })
  }
  t.match((await app.inject('/crypto/details/Bitcoin')).json(), {
    crypto_id: 'bitcoin',
    circulating_supply: Number,
    max_supply: null,
    last_updated: '2026-11-22T00:00:00.000Z',
    source: 'simulated'
  })
  for (const url of ['/crypto/search?query=nope', '/crypto/details/nope']) {
    const reply = await app.inject(url)
    t.equal(reply.statusCode, 404)
    t.match(reply.json(), { code: 'TF_ERR_COINS_UNKNOWN', detail: 'There is no coin nope' })
  }
})

t.test(
  'live coins: what is in the list of all costs no request of its own, and the key goes to CoinGecko alone',
  async (t) => {
    const stub = await startStub(t, works)
    let log = ''
    const stream = new Writable({
      write(chunk, _encoding, done) {
        log += String(chunk)
        done()
      }
    })
    const env = { ...LIVE, COINGECKO_ORIGIN: stub.origin, COINGECKO_API_KEY: KEY }
    const app = await build(t, env, { logger: { level: 'trace', stream } })
    const body = (await app.inject('/crypto/ranking')).json()
    t.same(ids(body), ['one', 'two', 'apecoin'])
    t.match(body, {
      source: 'coingecko',
      warnings: [],
      ranking: [{ price: 10, volume_to_mcap_ratio: 11, change_7d: null }]
    })
    t.same(ids((await app.inject('/crypto/ranking?crypto_ids=two,one')).json()), ['one', 'two'])
    t.equal((await app.inject('/crypto/search?query=TWO')).json().crypto_id, 'two')
    t.equal(stub.requests.length, 1)
    t.equal((await app.inject('/crypto/search?query=some rare coin')).json().crypto_id, 'rareone')
    t.equal(stub.requests.length, 3, 'the search, and its market')
    t.same(ids((await app.inject('/crypto/ranking?crypto_ids=rareone,one')).json()), ['one', 'rareone'])
    t.equal(stub.requests.length, 3, 'which is kept')
    const odd = (await app.inject('/crypto/ranking?crypto_ids=odd,nope,one')).json()
    t.match(odd, { skipped: [{ crypto_id: 'nope' }], warnings: [{ code: 'dropped_coins', message: /^1 coins/ }] })
    t.equal((await app.inject('/crypto/details/one')).json().price, 10)
    for (const { headers } of stub.requests) {
      t.match(headers, { 'x-cg-demo-api-key': KEY, 'user-agent': /^trading-fun-api\// })
    }
    const found = await scrape(app)
    t.match(found, {
      crypto_items_fetched_count: 3,
      crypto_items_fetched_sum: 5,
      crypto_fetch_duration_seconds_count: 3,
      'data_fetch_duration_seconds_count{source="coingecko"}': 5,
      'data_fetch_errors_total{source="coingecko",error_type="schema"}': 1,
      'data_fetch_errors_total{source="coingecko",error_type="not_found"}': 0
    })
    const all = await Promise.all(
      ['/', '/health', '/metrics', '/prometheus', '/openapi.json', '/crypto/ranking'].map(async (url) =>
        app.inject(url)
      )
    )
    for (const { payload } of all) t.notMatch(payload, KEY)
    t.ok(log.includes('/crypto/ranking'))
    t.notMatch(log, KEY)
  }
)

t.test(
  'without an origin of its own the service is to ask CoinGecko itself, and does not before somebody asks',
  async (t) => {
    const app = await build(t, LIVE)
    t.equal(app.coins.source, 'coingecko')
    t.equal((await scrape(app))['data_fetch_duration_seconds_count{source="coingecko"}'], 0)
  }
)

t.test('the pro plan has its own header', async (t) => {
  const stub = await startStub(t, works)
  const env = { ...LIVE, COINGECKO_ORIGIN: stub.origin, COINGECKO_API_KEY: KEY, COINGECKO_PLAN: 'pro' }
  const app = await build(t, env)
  await app.inject('/crypto/ranking')
  t.equal(stub.requests[0]!.headers['x-cg-pro-api-key'], KEY)
  t.equal(stub.requests[0]!.headers['x-cg-demo-api-key'], undefined)
})

t.test(
  'when CoinGecko dies coins are stale, then a problem, never an empty list; nor is its text repeated',
  async (t) => {
    let dead = false
    const stub = await startStub(t, (request, response, body) =>
      dead ? json(response, { secret: 'text' }, 429, { 'retry-after': '77' }) : works(request, response, body)
    )
    let now = NOW
    const app = await build(t, { ...LIVE, COINGECKO_ORIGIN: stub.origin }, { now: () => now })
    const later = (seconds: number): void => {
      now = new Date(now.getTime() + seconds * 1000)
    }
    const urls = [
      '/crypto/ranking',
      '/crypto/ranking?crypto_ids=one,rare',
      '/crypto/search?query=one',
      '/crypto/details/one'
    ]
    const fresh = await Promise.all(urls.map(async (url) => (await app.inject(url)).json()))
    dead = true
    later(130)
    for (const [i, url] of urls.entries()) {
      t.same((await app.inject(url)).json(), { ...fresh[i], stale: true, age_seconds: 130 }, url)
    }
    later(3600)
    for (const url of urls) {
      const gone = await app.inject(url)
      t.equal(gone.statusCode, 503, url)
      t.equal(gone.headers['retry-after'], '77')
      t.match(gone.json(), {
        code: 'TF_ERR_COINS_SOURCE',
        detail: /^The coin source has no answer for .* \(rate_limited\)$/
      })
      t.notMatch(gone.payload, /secret/)
    }
  }
)

t.test('when our own quota is used up it says so, and when to come back', async (t) => {
  const stub = await startStub(t, works)
  const app = await build(t, { COIN_SOURCE: 'coingecko', COINGECKO_RPM: '5', COINGECKO_ORIGIN: stub.origin })
  const statuses = []
  for (let i = 0; i < 8; i++) statuses.push((await app.inject(`/crypto/details/id-${i}`)).statusCode)
  t.same(statuses, [200, 200, 200, 200, 503, 503, 503, 503])
  const refused = await app.inject('/crypto/details/id-9')
  t.match(refused.json(), { code: 'TF_ERR_COINS_SOURCE', detail: /rate_limited/ })
  const wait = Number(refused.headers['retry-after'])
  t.ok(wait > 30 && wait <= 60, `${wait} s`)
  t.equal((await app.inject('/crypto/ranking')).statusCode, 200, 'one in five is kept for the list of all')
  t.equal(stub.requests.length, 5)
})

for (const { name, expected, handler, origin } of FAULTS) {
  // Their deadlines are those of production.
  if (expected === 'timeout') continue
  t.test(`${name}: one status, one code, one count`, async (t) => {
    const stub = await startStub(t, handler)
    const app = await build(t, { ...LIVE, COINGECKO_ORIGIN: origin ?? stub.origin })
    // A large reply of another form is read whole: the bound of the service is larger.
    const reason = name === 'a reply that is too large' ? 'schema' : expected
    const key = `data_fetch_errors_total{source="coingecko",error_type="${reason}"}`
    const status = reason === 'rate_limited' ? 503 : 502
    const reply = await app.inject('/crypto/ranking')
    // Of a list, `not_found` says that its address is wrong.
    t.equal(reply.statusCode, status)
    t.match(reply.json(), {
      code: 'TF_ERR_COINS_SOURCE',
      detail: `The coin source has no answer for the largest coins (${reason})`
    })
    t.ok(Number(reply.headers['retry-after']) >= 1)
    t.ok(reply.payload.length < TOO_LARGE)
    t.equal((await scrape(app))[key], 1)
    const details = await app.inject('/crypto/details/one')
    t.equal(details.statusCode, expected === 'not_found' ? 404 : status)
    const found = await scrape(app)
    t.equal(found[key], 2)
    t.match(found, { crypto_fetch_duration_seconds_count: 1, crypto_items_fetched_count: 0 })
  })
}

/** A source that fails as it is told. */
function failing(over: Partial<CoinSource>): CoinSource {
  const fail = async (): Promise<never> => Promise.reject(new Error('a fault of the code'))
  return { name: 'coingecko', largest: fail, byIds: fail, search: fail, details: fail, ...over }
}

t.test('a source that is slow is a 504, one that throws a 502 that tells nothing', async (t) => {
  const slow = await build(t, {}, { coinSource: failing({ largest: async () => ({ ok: false, error: 'timeout' }) }) })
  const late = await slow.inject('/crypto/ranking')
  t.equal(late.statusCode, 504)
  t.equal(late.headers['retry-after'], '10')
  t.equal((await scrape(slow))['data_fetch_errors_total{source="coingecko",error_type="timeout"}'], 1)
  const broken = await build(t, {}, { coinSource: failing({}) })
  const reply = await broken.inject('/crypto/details/bitcoin')
  t.equal(reply.statusCode, 502)
  t.notMatch(reply.payload, /fault of the code/)
  t.equal((await scrape(broken))['data_fetch_errors_total{source="coingecko",error_type="upstream_error"}'], 1)
})

t.test('that a coin does not exist is known for a minute, and with a ttl of 0 nothing is kept', async (t) => {
  let now = NOW
  let asked = 0
  const coinSource = failing({
    async details() {
      asked++
      return { ok: false, error: 'not_found' }
    }
  })
  const app = await build(t, { COINS_TTL_SECONDS: '3600' }, { coinSource, now: () => now })
  await app.inject('/crypto/details/nope')
  now = new Date(NOW.getTime() + 59_000)
  t.equal((await app.inject('/crypto/details/nope')).statusCode, 404)
  t.equal(asked, 1)
  now = new Date(NOW.getTime() + 61_000)
  t.equal((await app.inject('/crypto/details/nope')).statusCode, 404)
  t.equal(asked, 2)
  const keepsNothing = await build(t, { COINS_TTL_SECONDS: '0' }, { coinSource })
  await keepsNothing.inject('/crypto/details/nope')
  await keepsNothing.inject('/crypto/details/nope')
  t.equal(asked, 4)
})

t.test('a search whose find has no market is not found', async (t) => {
  const markets = async () => ({ ok: true as const, value: { coins: [], dropped: 0 } })
  const coinSource = failing({ largest: markets, byIds: markets, search: async () => ({ ok: true, value: 'ghost' }) })
  const app = await build(t, {}, { coinSource })
  t.equal((await app.inject('/crypto/search?query=boo')).statusCode, 404)
})

t.test('many who ask at once are answered by one request', async (t) => {
  const stub = await startStub(t, works)
  const app = await build(t, { ...LIVE, COINGECKO_ORIGIN: stub.origin })
  const replies = await Promise.all(Array.from({ length: 50 }, async () => app.inject('/crypto/ranking')))
  t.ok(replies.every(({ statusCode }) => statusCode === 200))
  t.equal(stub.requests.length, 1)
})

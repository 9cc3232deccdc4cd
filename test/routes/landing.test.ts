import t from 'tap'
import { landingPage } from '../../routes/landing.ts'
import type { Model, Ranking } from '../../routes/landing/words.js'
import { change, clock, day, figures, notices, percent, price, signed, verdict } from '../../routes/landing/words.js'
import { build, scrape } from '../helper.ts'

const BROWSER = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' }

t.test('browsers get a page, everybody else JSON, and caches are told of it', async (t) => {
  const app = await build(t)
  const page = await app.inject({ url: '/?country=Japan', headers: BROWSER })
  t.equal(page.statusCode, 200)
  t.equal(page.headers['content-type'], 'text/html; charset=utf-8')
  t.equal(page.headers.vary, 'Origin, accept')
  t.match(page.payload, '<title>Trading Fun API</title>')
  for (const accept of ['', '*/*', 'application/json']) {
    const json = await app.inject({ url: '/', headers: accept === '' ? {} : { accept } })
    t.equal(json.headers['content-type'], 'application/json; charset=utf-8', accept)
    t.equal(json.headers.vary, 'Origin, accept', accept)
    t.equal(json.headers['etag'], undefined, 'the tag is that of the page')
  }
})

t.test('everything the page refers to is there, and nothing of it is elsewhere', async (t) => {
  const app = await build(t)
  const { payload } = await app.inject({ url: '/', headers: BROWSER })
  const found = [...payload.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, url]) => url!)
  const own = found.filter((url) => url !== 'data:,')
  t.ok(['docs', 'dashboard', 'metrics', 'prometheus', 'landing/landing.js'].every((url) => own.includes(url)))
  for (const url of own) {
    t.notMatch(url, /^[a-z]+:|^\//, 'relative, for proxies with a prefix')
    t.equal((await app.inject(`/${url}`)).statusCode, 200, url)
  }
  const fragments = [...payload.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id!)
  for (const id of fragments) t.match(payload, `id="${id}"`)
})

t.test('neither the page nor its files have anything inline that the policy would have to allow', async (t) => {
  const app = await build(t)
  const page = await app.inject({ url: '/', headers: BROWSER })
  const policy = String(page.headers['content-security-policy'])
  t.match(policy, "default-src 'self'")
  t.match(policy, "style-src 'self'")
  t.notMatch(policy, /unsafe/)
  t.notMatch(page.payload, /<style|style=|<script(?![^>]* src=)| on[a-z]+=/)
  const script = await app.inject('/landing/landing.js')
  t.equal(script.headers['content-security-policy'], policy)
  t.equal(script.headers['x-content-type-options'], 'nosniff')
  t.match((await app.inject('/docs')).headers['content-security-policy'], /style-src 'self' 'unsafe-inline'/)
})

t.test('files have types and tags, every module that is imported is there, and others are not', async (t) => {
  const app = await build(t, { RATE_LIMIT_RPM: '4' })
  const seen = new Set<string>()
  const queue = ['landing.css', 'landing.js']
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (seen.has(name)) continue
    seen.add(name)
    const url = `/landing/${name}`
    const file = await app.inject(url)
    t.equal(file.statusCode, 200, url)
    t.match(file.headers['content-type'], name.endsWith('.css') ? /^text\/css/ : /^text\/javascript/)
    t.equal(file.headers['cache-control'], 'no-cache')
    const { etag } = file.headers
    t.match(etag, /^"[0-9a-f]{16}"$/)
    for (const tag of [etag!, `W/${etag}`, `"another", ${etag}`]) {
      const unchanged = await app.inject({ url, headers: { 'if-none-match': tag } })
      t.equal(unchanged.statusCode, 304, tag)
      t.equal(unchanged.payload, '')
      t.equal(unchanged.headers.etag, etag)
    }
    t.equal((await app.inject({ url, headers: { 'if-none-match': '"another"' } })).statusCode, 200)
    queue.push(...[...file.payload.matchAll(/from '\.\/([^']+)'/g)].map(([, module]) => module!))
  }
  t.equal(seen.size, 5)
  for (const name of ['tsconfig.json', 'nothing.js', '..%2flanding.ts', '__proto__']) {
    const reply = await app.inject(`/landing/${name}`)
    t.match(reply.json(), { status: 404, code: 'TF_ERR_NOT_FOUND' }, name)
  }
  const counted = await scrape(app)
  t.ok(counted['http_requests_total{method="GET",endpoint="/landing/:file",status="200"}']! > 0)
})

t.test('the page itself has a tag, and another version another one', async (t) => {
  const app = await build(t)
  const { headers } = await app.inject({ url: '/', headers: BROWSER })
  const again = await app.inject({ url: '/', headers: { ...BROWSER, 'if-none-match': String(headers.etag) } })
  t.equal(again.statusCode, 304)
  t.equal(again.headers.vary, 'Origin, accept')
  const about = { name: 'A', version: '1', description: 'It is A.' }
  t.not(landingPage(about).etag, landingPage({ ...about, version: '2' }).etag)
})

t.test('numbers are put as people read them', async (t) => {
  t.equal(percent(0.5), '50.0 %')
  t.equal(price(117_000, 'CHF'), '117,000.00 CHF')
  t.equal(price(0.001_234_56, 'USD'), '0.001235 USD')
  t.equal(price(1250.5, null), '1,250.50')
  t.equal(price(null, 'USD'), 'not known')
  t.equal(signed(change([80, 90, 100])), '+25.0 %')
  t.equal(signed(change([100, 75])), '−25.0 %')
  t.equal(change([]), 0)
  t.equal(change([0, 1]), 0)
  t.match(clock(Date.parse('2026-11-20T12:34:56Z')), /^\d\d:\d\d:56$/)
  t.equal(day('2026-11-20'), '20 Nov 2026')
  t.equal(day('2026-10-28T23:59:59.000Z'), '28 Oct 2026')
})

const RANKING: Ranking = {
  ranking: [],
  skipped: [],
  coverage: 1,
  country: 'Testland',
  source: 'simulated',
  data_as_of: '2026-11-20',
  model: {
    name: 'outperform',
    version: '1',
    label: 'It rises',
    horizon_days: 20,
    trained_at: '2026-10-28T00:00:00.000Z',
    source: 'simulated'
  },
  warnings: [],
  stale: false,
  age_seconds: 0
}

t.test('what to know before a ranking is read', async (t) => {
  t.same(notices(RANKING), [])
  t.same(notices({ ...RANKING, warnings: [{ code: 'simulated_data', message: 'Invented.' }] }), [
    { title: 'Simulated prices', text: 'Invented.' }
  ])
  t.match(notices({ ...RANKING, warnings: [{ code: 'new', message: 'Mind.' }] }), [{ title: 'Note' }])
  t.match(notices({ ...RANKING, stale: true, age_seconds: 95.2 }), [{ title: 'Stale', text: /is 95 s old/ }])
  const skipped = Array.from({ length: 7 }, (_, i) => ({ ticker: `T${i}`, reason: 'short_history' as const }))
  t.match(notices({ ...RANKING, skipped }), [
    {
      title: 'Incomplete',
      text: /^7 of 7 stocks are left out: T0 \(short history\), .*T4 \(short history\) and 2 more\.$/
    }
  ])
  t.match(notices({ ...RANKING, skipped: skipped.slice(0, 1) }), [{ text: /: T0 \(short history\)\.$/ }])
})

const MODEL: Model = {
  name: 'outperform',
  version: '2',
  label: 'It rises',
  source: 'historical',
  trained_at: '2023-06-28T00:00:00.000Z',
  window: { from: '2008-01-02', to: '2023-06-28' },
  metrics: {
    rows: 39_280,
    folds: 12,
    auc: 0.508_487,
    auc_ci90: [0.500_514, 0.516_765],
    rank_ic: 0.021,
    rank_ic_t: 1.706,
    brier: 0.249_967,
    brier_base: 0.25
  }
}

t.test('what a model is worth is said, and no more than that', async (t) => {
  t.match(verdict(MODEL), /first 508 times in 1,000; a coin does 500\.$/)
  const worse = { ...MODEL, source: 'simulated', metrics: { ...MODEL.metrics, auc_ci90: [0.49, 0.52] } }
  t.match(verdict(worse), /The interval has the coin in it.*invented prices/)
  t.equal(verdict({ ...MODEL, metrics: {} }), 'Nobody has measured what this model is worth.')
  t.match(verdict({ ...MODEL, metrics: { auc: 0.6 } }), /600 times/)

  const texts = Object.fromEntries(figures(MODEL).map(({ term, text }) => [term, text]))
  t.match(texts, {
    Model: 'outperform 2',
    Predicts: 'It rises',
    AUC: '0.508, 90 % interval 0.501 to 0.517; a coin has 0.500',
    'Rank IC': /^0\.021, t 1\.7;/,
    'Brier score': /^0\.2500; .* 0\.2500/,
    'Judged on': '39,280 forecasts of days it had not seen, in 12 years',
    Trained: '28 Jun 2023, on historical prices from 2 Jan 2008 to 28 Jun 2023'
  })
  for (const auc_ci90 of [undefined, [0.5], ['low', 'high']]) {
    const bare = figures({ ...MODEL, metrics: { auc_ci90 } })
    t.match(bare[2], { term: 'AUC', text: 'not known, without an interval; a coin has 0.500' })
    t.match(bare[5], { term: 'Judged on', text: 'not known' })
  }
})

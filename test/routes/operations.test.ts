import t from 'tap'
import { build, scrape } from '../helper.ts'

t.test('health: alive, ready, and not ready while draining', async (t) => {
  const app = await build(t)
  const health = await app.inject('/health')
  t.equal(health.statusCode, 200)
  t.match(health.json(), {
    status: 'ok',
    timestamp: Number,
    model_loaded: true,
    model_path: /outperform\/\d+\/model\.onnx$/,
    openai_configured: false,
    openai_model: null,
    openai_available: false,
    cache_backend: 'in-memory',
    redis_status: 'not_used',
    api_healthy: true
  })
  t.same((await app.inject('/health/live')).json(), { status: 'live' })
  t.same((await app.inject('/health/ready')).json(), { status: 'ready' })

  app.health.drain()
  const ready = await app.inject('/health/ready')
  t.equal(ready.statusCode, 503)
  t.same(ready.json(), { status: 'not ready', failing: ['draining'] })
  t.equal((await app.inject('/health/live')).statusCode, 200)
  t.match((await app.inject('/health')).json(), { status: 'ok', api_healthy: false })
  t.equal((await app.inject('/prometheus')).statusCode, 200, 'one more scrape is possible')
})

t.test('a Redis that is not there is said, and no reason not to be ready', async (t) => {
  // Nobody listens there: the port of echo is not for programs without privileges.
  const app = await build(t, { REDIS_URL: 'redis://127.0.0.1:7' })
  t.match((await app.inject('/health')).json(), { cache_backend: 'redis', redis_status: 'error', api_healthy: true })
  t.same((await app.inject('/health/ready')).json(), { status: 'ready' })
  t.equal((await app.inject('/ranking?country=Japan')).statusCode, 200)
  t.match((await app.inject('/metrics')).json().cache_stats, {
    backend: 'redis',
    in_memory_keys: 1,
    redis_hits: 0,
    redis_misses: 0,
    redis_errors: 0,
    types: { ranking: { tier: { lookups: { skipped: 1, hit: 0 }, writes: 0 } } }
  })
  t.match(await scrape(app), {
    redis_configured: 1,
    redis_up: 0,
    'cache_tier_lookups_total{cache_type="ranking",result="skipped"}': 1
  })
})

t.test('models: what is served, and every version with its figures', async (t) => {
  const app = await build(t)
  const { current_model, available_models } = (await app.inject('/models')).json()
  const served = available_models.find(
    ({ name, version }: Record<string, string>) => `${name}/${version}` === current_model
  )
  t.match(served, {
    name: 'outperform',
    source: 'simulated',
    horizon_days: 20,
    metrics: { auc: Number, brier: Number }
  })
  t.equal(served.features.length, 17)
  t.match(served.features[0], { name: /\w/, description: /\w/, unit: /\w/ })
  t.ok(served.size_bytes > 500)
})

t.test("the JSON metrics are the exposition's numbers", async (t) => {
  const app = await build(t)
  await app.inject('/ranking?country=Japan')
  await app.inject('/predict_ticker/AAPL')
  await app.inject('/nowhere')
  const body = (await app.inject('/metrics')).json()
  const text = await scrape(app)
  // The scrape counts the /metrics request, which was still in flight when /metrics read the numbers.
  const moving = /^(process|nodejs)_|endpoint="\/metrics"|^http_requests_in_flight/
  let compared = 0
  for (const { name, series } of body.metrics) {
    for (const { labels, value, count, sum, buckets } of series) {
      const print = (metric: string, extra = {}): string => {
        const pairs = Object.entries({ ...labels, ...extra }).map(([key, label]) => `${key}="${String(label)}"`)
        return metric + (pairs.length > 0 ? `{${pairs.join()}}` : '')
      }
      const found = buckets
        ? { [print(`${name}_count`)]: count, [print(`${name}_sum`)]: sum }
        : { [print(name)]: value }
      for (const [le, n] of Object.entries(buckets ?? {})) found[print(`${name}_bucket`, { le })] = n
      for (const [sample, number] of Object.entries(found)) {
        if (moving.test(sample)) continue
        t.equal(number, text[sample], sample)
        compared++
      }
    }
  }
  t.ok(compared > 500, `${compared} numbers compared`)
  t.match(body, {
    cache_stats: {
      backend: 'in-memory',
      in_memory_keys: 3,
      types: { ranking: { entries: 2, misses: 2 }, prediction: { entries: 1 } }
    },
    rate_limiter_stats: { tracked_ips: 1, requests_per_minute: 100_000 },
    model_info: { loaded: true, name: 'outperform' },
    process: { pid: process.pid }
  })
})

t.test('the index says what there is, and all of it is there', async (t) => {
  const app = await build(t)
  const json = await app.inject('/')
  t.match(json.json(), { name: 'Trading Fun API', version: /^\d+\.\d+\.\d+$/, status: 'operational' })
  t.equal(json.headers.vary, 'Origin, accept')
  const { analyze, ...links } = json.json().endpoints
  t.equal(analyze, '/analyze')
  for (const url of Object.values<string>(links)) {
    t.equal((await app.inject(url)).statusCode, 200, url)
  }
})

t.test('every answer carries its request id, and origins of the list may read it', async (t) => {
  const app = await build(t)
  const uuid = /^[0-9a-f-]{36}$/
  for (const url of ['/', '/nowhere', '/%ff', '/ranking?limit=0', '/prometheus']) {
    t.match((await app.inject(url)).headers['x-request-id'], uuid, url)
  }
  const reply = await app.inject({ url: '/', headers: { origin: 'http://localhost:5173' } })
  t.equal(reply.headers['access-control-allow-origin'], 'http://localhost:5173')
  t.match(reply.headers['access-control-expose-headers'], 'x-request-id')
  const foreign = await app.inject({ url: '/', headers: { origin: 'https://elsewhere.example' } })
  t.equal(foreign.headers['access-control-allow-origin'], undefined)
  const open = await build(t, { CORS_ORIGINS: '*' })
  t.equal((await open.inject('/')).headers.vary, 'accept')
  t.equal(
    (await open.inject({ url: '/', headers: { origin: 'https://x.example' } })).headers['access-control-allow-origin'],
    '*'
  )
})

t.test('a client is limited by route, unmatched urls together, operations never', async (t) => {
  const app = await build(t, { RATE_LIMIT_RPM: '2' })
  const statuses = async (...urls: string[]): Promise<number[]> => {
    const found: number[] = []
    for (const url of urls) found.push((await app.inject(url)).statusCode)
    return found
  }
  t.same(await statuses('/models', '/models', '/models', '/countries'), [200, 200, 429, 200])
  t.same(await statuses('/a', '/b', '/c'), [404, 404, 429])
  for (const url of ['/health', '/health/live', '/health/ready', '/metrics', '/prometheus', '/openapi.json', '/docs']) {
    t.same(await statuses(url, url, url), [200, 200, 200], url)
  }
  const refused = await app.inject('/models')
  t.match(refused.json(), { status: 429, code: 'TF_ERR_RATE_LIMIT_EXCEEDED', title: 'Too Many Requests' })
  t.equal(refused.headers['content-type'], 'application/problem+json; charset=utf-8')
  t.ok(Number(refused.headers['retry-after']) > 0)
  const found = await scrape(app)
  t.equal(found['rate_limit_exceeded_total{endpoint="/models"}'], 2)
  t.equal(found['rate_limit_exceeded_total{endpoint="unmatched"}'], 1)
  t.equal(found['rate_limit_exceeded_total{endpoint="/ranking"}'], 0)
  t.same(
    await statuses(...Array.from({ length: 8 }, () => '/ranking?country=Japan')),
    Array.from({ length: 8 }, () => 200),
    'all eight countries in a minute, however small the limit'
  )
})

t.test('metrics can be asked for by the beginnings of their names', async (t) => {
  const app = await build(t)
  const { metrics } = (await app.inject('/metrics?name=cache_,model_loaded')).json()
  t.same(metrics.map(({ name }: { name: string }) => name).toSorted(), [
    'cache_hits_total',
    'cache_misses_total',
    'cache_size_bytes',
    'cache_stale_total',
    'cache_tier_errors_total',
    'cache_tier_lookups_total',
    'model_loaded'
  ])
  const [{ series }] = (await app.inject('/metrics?name=ranking_tickers')).json().metrics
  t.match(series, [{ labels: {}, count: 0, p50: null, p95: null, p99: null }])
})

t.test('with a token, numbers are for those who show it', async (t) => {
  const app = await build(t, { METRICS_TOKEN: 'open sesame, my friend' })
  for (const url of ['/prometheus', '/metrics']) {
    const refused = await app.inject(url)
    t.match(refused.json(), { status: 401, code: 'TF_ERR_METRICS_UNAUTHORIZED' }, url)
    t.equal(refused.headers['www-authenticate'], 'Bearer', url)
    t.equal(
      (await app.inject({ url, headers: { authorization: 'Bearer open sesame, my friend' } })).statusCode,
      200,
      url
    )
  }
  t.equal((await app.inject('/health')).statusCode, 200)
})

t.test('X-Forwarded-For counts only from a proxy that is named', async (t) => {
  const ask = async (trusted: string): Promise<number[]> => {
    const app = await build(t, { RATE_LIMIT_RPM: '1', TRUST_PROXY: trusted })
    const statuses: number[] = []
    for (const client of ['203.0.113.1', '203.0.113.2']) {
      statuses.push((await app.inject({ url: '/models', headers: { 'x-forwarded-for': client } })).statusCode)
    }
    return statuses
  }
  t.same(await ask(''), [200, 429], 'nobody is believed: one peer, one budget')
  t.same(await ask('10.0.0.0/8'), [200, 429], 'another proxy is believed')
  t.same(await ask('loopback'), [200, 200], 'the peer is believed: two clients')
})

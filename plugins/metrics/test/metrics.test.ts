import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import promClient from 'prom-client'
import t, { type Test } from 'tap'
import metricsPlugin, { type MetricsOptions } from '../index.ts'

async function build(t: Test, options: MetricsOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metricsPlugin, { processMetrics: false, ...options })
  return app
}

/** The samples of an exposition by their name and labels, as printed. */
function samples(text: string): Record<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))])
  )
}

async function scrape(app: FastifyInstance): Promise<Record<string, number>> {
  return samples((await app.inject('/metrics')).payload)
}

/** Resolves when a client has closed its connection before the reply. */
async function abortOf(app: FastifyInstance): Promise<void> {
  return new Promise((resolve) => {
    app.addHook('onRequestAbort', (_request, done) => {
      done()
      resolve()
    })
  })
}

t.test('closed label sets are exposed at 0, every combination of them', async (t) => {
  const app = await build(t)
  app.metrics.counter('errors_total', { help: 'Errors.', labels: { source: ['a', 'b'], kind: ['x', 'y'] } })
  const found = Object.entries(await scrape(app)).filter(([name]) => name.startsWith('errors_total'))
  t.same(found, [
    ['errors_total{source="a",kind="x"}', 0],
    ['errors_total{source="a",kind="y"}', 0],
    ['errors_total{source="b",kind="x"}', 0],
    ['errors_total{source="b",kind="y"}', 0]
  ])
})

t.test('a set known only at boot appears when it is bound', async (t) => {
  const app = await build(t)
  const seconds = app.metrics.gauge('age_seconds', { help: 'Age.', labels: { country: [] } })
  t.notOk(Object.keys(await scrape(app)).some((sample) => sample.startsWith('age_seconds')))
  seconds.labels({ country: 'Japan' }).set(3)
  t.equal((await scrape(app))['age_seconds{country="Japan"}'], 3)
})

t.test('counters add, gauges move, and what is no number is ignored', async (t) => {
  const app = await build(t)
  const counter = app.metrics.counter('jobs_total', { help: 'Jobs.' }).labels({})
  const gauge = app.metrics.gauge('queue_depth', { help: 'Depth.' }).labels({})
  counter.inc()
  counter.inc(2.5)
  counter.inc(-4)
  counter.inc(Number.NaN)
  const taken = app.metrics.counter('taken_total', { help: 'Taken over.' }).labels({})
  taken.raiseTo(7)
  taken.raiseTo(5)
  t.equal((await scrape(app))['taken_total'], 7)
  gauge.set(7)
  gauge.set(Number.NaN)
  gauge.inc()
  gauge.dec(3)
  const found = await scrape(app)
  t.equal(found['jobs_total'], 3.5)
  t.equal(found['queue_depth'], 5)
})

t.test('a histogram counts a value in the bucket whose bound it does not exceed', async (t) => {
  const app = await build(t)
  const seconds = app.metrics.histogram('job_seconds', { help: 'Time.', buckets: [0, 0.5, 1] }).labels({})
  for (const value of [-1, 0, 0.5, 0.50001, 1, 9, Number.NaN]) seconds.observe(value)
  const text = (await app.inject('/metrics')).payload
  const lines = text.split('\n').filter((line) => line.includes('job_seconds'))
  t.same(lines, [
    '# HELP job_seconds Time.',
    '# TYPE job_seconds histogram',
    'job_seconds_bucket{le="0.0"} 2',
    'job_seconds_bucket{le="0.5"} 3',
    'job_seconds_bucket{le="1.0"} 5',
    'job_seconds_bucket{le="+Inf"} 6',
    'job_seconds_sum 10.00001',
    'job_seconds_count 6'
  ])
})

t.test('cells stay true while their family grows', async (t) => {
  const app = await build(t)
  const family = app.metrics.counter('grown_total', { help: 'Grown.', labels: { n: [] } })
  const first = family.labels({ n: '0' })
  for (let n = 1; n < 100; n++) family.labels({ n: String(n) }).inc(n)
  first.inc(1000)
  t.equal(family.labels({ n: '0' }), first, 'the same labels are the same cell')
  const found = await scrape(app)
  t.equal(found['grown_total{n="0"}'], 1000)
  t.equal(found['grown_total{n="99"}'], 99)
})

t.test('labels that the spec does not know are refused', async (t) => {
  const app = await build(t)
  const family = app.metrics.counter('hits_total', { help: 'Hits.', labels: { cache_type: ['ranking'] } })
  // @ts-expect-error a value outside the closed set
  t.throws(() => family.labels({ cache_type: 'rankin' }), {
    message: 'hits_total: label cache_type can\'t be "rankin"'
  })
  // @ts-expect-error a label that is missing
  t.throws(() => family.labels({}), { message: "hits_total: label cache_type can't be undefined" })
  // @ts-expect-error a label that does not exist
  t.throws(() => family.labels({ cache_type: 'ranking', x: '1' }), { message: 'hits_total: has no label x' })
})

t.test('label values and help are escaped', async (t) => {
  const app = await build(t)
  app.metrics
    .gauge('odd', { help: 'Back\\slash\nline', labels: { v: [] } })
    .labels({ v: 'a"b\\c\nd' })
    .set(Infinity)
  app.metrics.gauge('low', { help: 'Low.' }).labels({}).set(-Infinity)
  const text = (await app.inject('/metrics')).payload
  t.match(text, '# HELP odd Back\\\\slash\\nline\n')
  t.match(text, 'odd{v="a\\"b\\\\c\\nd"} +Inf\n')
  t.match(text, 'low -Inf\n')
})

t.test('bad definitions stop the boot', async (t) => {
  const app = await build(t)
  app.metrics.counter('twice_total', { help: 'Once.' })
  t.throws(() => app.metrics.gauge('twice_total', { help: 'Twice.' }), {
    message: /twice_total has already been registered/
  })
  t.throws(() => app.metrics.counter('jobs', { help: '' }), { message: "jobs: a counter's name ends with _total" })
  t.throws(() => app.metrics.histogram('h1', { help: '', buckets: [1, 1] }), {
    message: 'h1: buckets must be finite and ascending'
  })
  t.throws(() => app.metrics.histogram('h2', { help: '', buckets: [] }), {
    message: 'h2: buckets must be finite and ascending'
  })
  t.throws(() => app.metrics.histogram('h3', { help: '', labels: { le: [] }, buckets: [1] }), {
    message: 'h3: a histogram has the label le already'
  })
})

t.test('a catalogue gives typed handles and finds metrics that exist', async (t) => {
  const app = await build(t)
  const catalogue = {
    a_total: { type: 'counter', help: 'A.', labels: { kind: ['x'] } },
    b: { type: 'gauge', help: 'B.' },
    c_seconds: { type: 'histogram', help: 'C.', buckets: [1] }
  } as const
  const handles = app.metrics.define(catalogue)
  handles.a_total.labels({ kind: 'x' }).inc()
  handles.b.labels({}).set(2)
  handles.c_seconds.labels({}).observe(0.5)
  t.equal(app.metrics.define(catalogue).a_total, handles.a_total)
  const found = await scrape(app)
  t.equal(found['a_total{kind="x"}'], 1)
  t.equal(found['b'], 2)
  t.equal(found['c_seconds_bucket{le="1.0"}'], 1)
})

t.test('onCollect runs before each reading, in text and in JSON', async (t) => {
  const app = await build(t)
  let bytes = 10
  const gauge = app.metrics.gauge('cache_bytes', { help: 'Bytes.' })
  const cell = gauge.labels({})
  gauge.onCollect(() => cell.set(bytes))
  t.equal((await scrape(app))['cache_bytes'], 10)
  bytes = 20
  const [metric] = (await app.metrics.json()).filter(({ name }) => name === 'cache_bytes')
  t.same(metric, { name: 'cache_bytes', help: 'Bytes.', type: 'gauge', series: [{ labels: {}, value: 20 }] })
})

t.test("the JSON view has the exposition's numbers", async (t) => {
  const app = await build(t)
  app.metrics
    .histogram('job_seconds', { help: 'Time.', labels: { kind: ['x'] }, buckets: [0.5, 1] })
    .labels({ kind: 'x' })
    .observe(0.7)
  const gauge = new promClient.Gauge({
    name: 'foreign',
    help: 'F.',
    labelNames: ['n'],
    registers: [app.metrics.registry]
  })
  gauge.set({ n: 1 }, 4)
  gauge.set({ n: 2 }, Number.NaN)
  new promClient.Summary({
    name: 'quantiles',
    help: 'Q.',
    percentiles: [0.5],
    registers: [app.metrics.registry]
  }).observe(3)
  const metrics = await app.metrics.json()
  t.same(metrics.find(({ name }) => name === 'job_seconds')?.series, [
    {
      labels: { kind: 'x' },
      count: 1,
      sum: 0.7,
      buckets: { '0.5': 0, '1.0': 1, '+Inf': 1 },
      p50: 0.75,
      p95: 0.975,
      p99: 0.995
    }
  ])
  t.same(metrics.find(({ name }) => name === 'foreign')?.series, [
    { labels: { n: '1' }, value: 4 },
    { labels: { n: '2' } }
  ])
  t.same(metrics.find(({ name }) => name === 'quantiles')?.series, [
    { labels: { quantile: '0.5' }, value: 3 },
    { labels: { __name__: 'quantiles_sum' }, value: 3 },
    { labels: { __name__: 'quantiles_count' }, value: 1 }
  ])
})

t.test('the registry is a prom-client registry: its own printer, reset and other metrics work', async (t) => {
  const app = await build(t)
  const counter = app.metrics.counter('own_total', { help: 'Own.' }).labels({})
  const histogram = app.metrics.histogram('own_seconds', { help: 'Own.', buckets: [1] }).labels({})
  new promClient.Histogram({
    name: 'foreign_seconds',
    help: 'F.',
    buckets: [1],
    registers: [app.metrics.registry]
  }).observe(2)
  counter.inc()
  histogram.observe(3)
  const theirs = await app.metrics.registry.metrics()
  t.match(theirs, 'own_total 1\n')
  t.match(
    theirs,
    'own_seconds_bucket{le="1.0"} 0\nown_seconds_bucket{le="+Inf"} 1\nown_seconds_sum 3\nown_seconds_count 1'
  )
  t.match(
    (await app.inject('/metrics')).payload,
    'foreign_seconds_bucket{le="1.0"} 0\nforeign_seconds_bucket{le="+Inf"} 1\n'
  )
  app.metrics.registry.resetMetrics()
  t.equal((await scrape(app))['own_total'], 0)
})

t.test('requests are counted by route template, unmatched ones together', async (t) => {
  const app = await build(t)
  app.get('/items/:id', async () => 'ok')
  app.route({ method: ['PUT', 'PATCH'], url: '/items/:id', handler: async () => 'ok' })
  app.get('/boom', async () => {
    throw new Error('boom')
  })
  app.get('/quiet', { config: { metrics: false } }, async () => 'ok')
  await app.inject('/items/1')
  await app.inject('/items/2')
  await app.inject({ method: 'PATCH', url: '/items/2' })
  await app.inject({ method: 'HEAD', url: '/items/2' })
  await app.inject('/boom')
  await app.inject('/quiet')
  for (let i = 0; i < 5; i++) await app.inject(`/random-${i}`)
  await app.inject({ method: 'PROPFIND' as 'GET', url: '/random' })
  const found = await scrape(app)
  const requests = Object.fromEntries(Object.entries(found).filter(([name]) => name.startsWith('http_requests_total')))
  t.same(requests, {
    'http_requests_total{method="GET",endpoint="/items/:id",status="200"}': 2,
    'http_requests_total{method="GET",endpoint="/items/:id",status="500"}': 0,
    'http_requests_total{method="PUT",endpoint="/items/:id",status="200"}': 0,
    'http_requests_total{method="PUT",endpoint="/items/:id",status="500"}': 0,
    'http_requests_total{method="PATCH",endpoint="/items/:id",status="200"}': 1,
    'http_requests_total{method="PATCH",endpoint="/items/:id",status="500"}': 0,
    'http_requests_total{method="HEAD",endpoint="/items/:id",status="200"}': 1,
    'http_requests_total{method="GET",endpoint="/boom",status="200"}': 0,
    'http_requests_total{method="GET",endpoint="/boom",status="500"}': 1,
    'http_requests_total{method="GET",endpoint="unmatched",status="404"}': 5,
    'http_requests_total{method="OTHER",endpoint="unmatched",status="404"}': 1
  })
  t.equal(found['http_request_duration_seconds_count{method="GET",endpoint="/items/:id"}'], 2)
  t.equal(found['http_requests_in_flight'], 0)
})

t.test('routes registered before the plugin are counted as unmatched', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.get('/early', async () => 'ok')
  await app.register(metricsPlugin, { processMetrics: false })
  await app.inject('/early')
  t.equal((await scrape(app))['http_requests_total{method="GET",endpoint="unmatched",status="200"}'], 1)
})

t.test('a request is in flight until its reply, and a client that leaves is counted as 499', async (t) => {
  const app = await build(t)
  let answer = (): void => {}
  let arrived = (): void => {}
  const arrival = new Promise<void>((resolve) => (arrived = resolve))
  app.get('/slow', async () => {
    arrived()
    await new Promise<void>((resolve) => (answer = resolve))
    return 'late'
  })
  const aborted = abortOf(app)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo

  const socket = connect(port, '127.0.0.1', () => socket.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n'))
  await arrival
  t.equal((await scrape(app))['http_requests_in_flight'], 1)
  socket.destroy()
  await aborted
  answer()
  const found = await scrape(app)
  t.equal(found['http_requests_in_flight'], 0)
  t.equal(found['http_requests_total{method="GET",endpoint="/slow",status="499"}'], 1)
  t.equal(found['http_requests_total{method="GET",endpoint="/slow",status="200"}'], 0)
})

t.test('an abort of an uncounted route changes nothing', async (t) => {
  const app = await build(t)
  let arrived = (): void => {}
  const arrival = new Promise<void>((resolve) => (arrived = resolve))
  app.get('/uncounted', { config: { metrics: false } }, async () => {
    arrived()
    return new Promise(() => {})
  })
  const aborted = abortOf(app)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1', () => socket.write('GET /uncounted HTTP/1.1\r\nHost: x\r\n\r\n'))
  await arrival
  socket.destroy()
  await aborted
  const found = await scrape(app)
  t.equal(found['http_requests_in_flight'], 0)
  t.equal(JSON.stringify(found).includes('uncounted'), false)
})

t.test('process metrics come from fastify-metrics, two instances never meet, the scrape is not counted', async (t) => {
  const one = await build(t, { processMetrics: true })
  const two = await build(t, { processMetrics: true, endpoint: '/prometheus' })
  one.get('/x', async () => 'ok')
  await one.inject('/x')
  const reply = await one.inject('/metrics')
  t.equal(reply.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  t.match(reply.payload, /^process_cpu_seconds_total \d/m)
  t.match(reply.payload, /^nodejs_eventloop_lag_p99_seconds \d/m)
  t.equal(reply.payload.includes('endpoint="/metrics"'), false)
  t.equal((await two.inject('/prometheus')).payload.includes('endpoint="/x"'), false)
  t.equal(one.metrics.client, promClient, "fastify-metrics' decorator is the base of ours")
})

t.test('samples without labels, as the successor of prom-client has them, are printed', async (t) => {
  const app = await build(t)
  const values = [{ value: 2, metricName: 'foreign_seconds_sum' }]
  const foreign = { name: 'foreign_seconds', help: 'F.', type: 'summary', get: async () => ({ ...foreign, values }) }
  app.metrics.registry.registerMetric(foreign as never)
  t.match(String(await app.metrics.exposition()), '# TYPE foreign_seconds summary\nforeign_seconds_sum 2\n')
  const [metric] = await app.metrics.json(['foreign'])
  t.same(metric?.series, [{ labels: { __name__: 'foreign_seconds_sum' }, value: 2 }])
})

t.test('a given registry is used, and no endpoint means no route', async (t) => {
  const registry = new promClient.Registry()
  const app = await build(t, { registry, endpoint: null })
  app.metrics.counter('mine_total', { help: 'Mine.' })
  t.match(await registry.metrics(), 'mine_total 0')
  t.equal((await app.inject('/metrics')).statusCode, 404)
  t.match(String(await app.metrics.exposition()), 'mine_total 0\n')
})

t.test('a wrong or unknown option, or a second registration, stops the boot', async (t) => {
  for (const [bad, message] of [
    [{ endpoint: 'metrics' }, /endpoint/],
    [{ endpont: '/metrics' }, /endpont/],
    [{ client: {} }, /client: Expected a metrics client/],
    [{ registry: {} }, /registry: Expected a registry/]
  ] as const) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => app.register(metricsPlugin, bad as MetricsOptions), {
      code: 'TF_ERR_METRICS_OPTIONS',
      message
    })
  }
  const app = await build(t)
  await t.rejects(async () => app.register(metricsPlugin), { code: 'TF_ERR_METRICS_REGISTERED' })
})

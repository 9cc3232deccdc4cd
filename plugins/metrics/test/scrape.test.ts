/** What a scraper sees: formats, compression, the guard, many at once. */
import { gunzipSync } from 'node:zlib'
import Fastify, { type FastifyInstance } from 'fastify'
import promClient from 'prom-client'
import t, { type Test } from 'tap'
import { acceptsGzip, negotiateFormat } from '../format.ts'
import metricsPlugin, { type MetricsOptions, OPENMETRICS_FORMAT, TEXT_FORMAT } from '../index.ts'
import { estimateQuantile } from '../json.ts'
import { shareNext } from '../scrape.ts'

async function build(t: Test, options: MetricsOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metricsPlugin, { processMetrics: false, ...options })
  return app
}

t.test('the format is what Accept asks for', async (t) => {
  const prometheus =
    'application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
  const prometheus3 =
    'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2'
  for (const [accept, format] of [
    [undefined, TEXT_FORMAT],
    ['', TEXT_FORMAT],
    ['*/*', TEXT_FORMAT],
    ['text/html,application/xhtml+xml,*/*;q=0.8', TEXT_FORMAT],
    ['text/plain', TEXT_FORMAT],
    ['text/plain;version=0.0.4', TEXT_FORMAT],
    ['application/json', TEXT_FORMAT],
    ['application/openmetrics-text', OPENMETRICS_FORMAT],
    ['Application/OpenMetrics-Text; Version=1.0.0', OPENMETRICS_FORMAT],
    ['application/openmetrics-text;version=0.0.1', TEXT_FORMAT],
    ['application/openmetrics-text;q=0', TEXT_FORMAT],
    ['application/openmetrics-text;q=0.3,text/plain;q=0.4', TEXT_FORMAT],
    ['text/plain;q=0.3, application/openmetrics-text;q=0.4', OPENMETRICS_FORMAT],
    [prometheus, OPENMETRICS_FORMAT],
    [prometheus3, OPENMETRICS_FORMAT]
  ] as const) {
    t.equal(negotiateFormat(accept), format, String(accept))
  }
})

t.test('gzip is what Accept-Encoding allows', async (t) => {
  for (const [header, expected] of [
    [undefined, false],
    ['', false],
    ['gzip', true],
    ['br, gzip;q=0.5', true],
    ['GZIP', true],
    ['*', true],
    ['gzip;q=0', false],
    ['deflate', false]
  ] as const) {
    t.equal(acceptsGzip(header), expected, String(header))
  }
})

t.test('OpenMetrics: counters without their suffix in the header, exemplars, an end', async (t) => {
  const app = await build(t)
  const counter = app.metrics.counter('jobs_total', { help: 'All "jobs".', labels: { kind: ['x'] } })
  counter.labels({ kind: 'x' }).inc(2)
  const histogram = app.metrics.histogram('job_seconds', { help: 'Time.', buckets: [1, 2] })
  histogram.labels({}).observe(1.5, '4bf92f3577b34da6a3ce929d0e0e4736')
  new promClient.Counter({ name: 'foreign_total', help: 'F.', registers: [app.metrics.registry] }).inc()
  new promClient.Counter({ name: 'unsuffixed', help: 'U.', registers: [app.metrics.registry] }).inc()
  const reply = await app.inject({ url: '/metrics', headers: { accept: 'application/openmetrics-text' } })
  t.equal(reply.headers['content-type'], 'application/openmetrics-text; version=1.0.0; charset=utf-8')
  t.equal(reply.headers.vary, 'accept, accept-encoding')
  t.match(reply.payload, '# HELP jobs All \\"jobs\\".\n# TYPE jobs counter\njobs_total{kind="x"} 2\n')
  t.match(reply.payload, '# TYPE foreign counter\nforeign_total 1\n')
  t.match(reply.payload, '# TYPE unsuffixed unknown\nunsuffixed 1\n')
  t.match(
    reply.payload,
    /job_seconds_bucket\{le="1\.0"\} 0\njob_seconds_bucket\{le="2\.0"\} 1 # \{trace_id="4bf92f3577b34da6a3ce929d0e0e4736"\} 1\.5 \d+(\.\d+)?\n/
  )
  t.match(reply.payload, /\n# EOF\n$/)

  const text = (await app.inject('/metrics')).payload
  t.match(
    text,
    '# HELP jobs_total All "jobs".\n# TYPE jobs_total counter\njobs_total{kind="x"} 2\n',
    'names are as before'
  )
  t.notMatch(text, /EOF|trace_id/)
  app.metrics.registry.resetMetrics()
  t.notMatch(
    (await app.inject({ url: '/metrics', headers: { accept: 'application/openmetrics-text' } })).payload,
    /trace_id/
  )
})

t.test('the exemplar of a request is its trace, if it is sampled', async (t) => {
  const app = await build(t)
  app.get('/x', async () => 'ok')
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
  const printed = async (traceparent?: string | string[]): Promise<boolean> => {
    await app.inject({ url: '/x', headers: traceparent === undefined ? {} : { traceparent } })
    const text = String(await app.metrics.exposition(OPENMETRICS_FORMAT))
    const found = text.includes(`# {trace_id="${trace}"}`)
    app.metrics.registry.resetMetrics()
    return found
  }
  t.equal(await printed(`00-${trace}-00f067aa0ba902b7-01`), true)
  t.equal(await printed(`00-${trace}-00f067aa0ba902b7-03`), true)
  t.equal(await printed(`00-${trace}-00f067aa0ba902b7-00`), false)
  t.equal(await printed(`00-${trace}-00f067aa0ba902b7`), false)
  t.equal(await printed(`"}evil`), false)
  t.equal(await printed(), false)
})

t.test('a reply is compressed for who takes it', async (t) => {
  const app = await build(t)
  app.metrics.counter('jobs_total', { help: 'Jobs.' })
  const plain = await app.inject('/metrics')
  const zipped = await app.inject({ url: '/metrics', headers: { 'accept-encoding': 'gzip' } })
  t.equal(plain.headers['content-encoding'], undefined)
  t.equal(zipped.headers['content-encoding'], 'gzip')
  const strip = (text: string): string => text.replaceAll(/^metrics_scrape_duration.*\n/gm, '')
  t.equal(strip(String(gunzipSync(zipped.rawPayload))), strip(plain.payload))
})

t.test('with a token only who shows it may read', async (t) => {
  const app = await build(t, { token: 'open sesame' })
  app.get('/numbers', { onRequest: app.metrics.guard }, async () => 42)
  for (const url of ['/metrics', '/numbers']) {
    for (const authorization of [undefined, 'Bearer', 'Bearer open', 'Basic open sesame', 'open sesame']) {
      const reply = await app.inject({ url, headers: authorization === undefined ? {} : { authorization } })
      t.equal(reply.statusCode, 401, `${url} ${authorization}`)
      t.equal(reply.json().code, 'TF_ERR_METRICS_UNAUTHORIZED')
    }
    t.equal((await app.inject({ url, headers: { authorization: 'Bearer open sesame' } })).statusCode, 200, url)
  }
})

t.test('calls during a rendering share the next one, and none is answered with older numbers', async (t) => {
  const started: string[] = []
  const finish: ((value: string) => void)[] = []
  const shared = shareNext(async (key: string) => {
    started.push(key)
    return new Promise<string>((resolve) => finish.push(resolve))
  })
  const first = shared('text')
  const second = shared('text')
  const third = shared('text')
  const other = shared('openmetrics')
  t.same(started, ['text', 'openmetrics'])
  finish[0]!('one')
  t.equal(await first, 'one')
  await new Promise(setImmediate)
  t.same(started, ['text', 'openmetrics', 'text'], 'the two that waited have one rendering')
  finish[2]!('two')
  t.same(await Promise.all([second, third]), ['two', 'two'])
  finish[1]!('open')
  t.equal(await other, 'open')
  const last = shared('text')
  finish[3]!('three')
  t.equal(await last, 'three')
})

t.test('a rendering that fails fails those who asked for it, not the next', async (t) => {
  let calls = 0
  const shared = shareNext(async (_key: string) => {
    if (calls++ === 0) throw new Error('a collector failed')
    return 'fine'
  })
  const first = shared('x')
  const second = shared('x')
  await t.rejects(first, { message: 'a collector failed' })
  t.equal(await second, 'fine')
})

t.test('many series are printed in pieces that let other work run, as of one instant', async (t) => {
  const app = await build(t, { maxSeries: 20_000 })
  const family = app.metrics.counter('many_total', { help: 'Many.', labels: { n: [] } })
  const cells = Array.from({ length: 20_000 }, (_, n) => family.labels({ n: String(n) }))
  let turns = 0
  let rendering = true
  const other = (): void => {
    turns++
    for (const cell of cells) cell.inc()
    if (rendering) setImmediate(other)
  }
  setImmediate(other)
  const text = String(await app.metrics.exposition())
  rendering = false
  t.ok(turns > 5, `${turns} turns of the event loop while it was printed`)
  const values = [...text.matchAll(/^many_total\{n="\d+"\} (\d+)$/gm)].map(([, value]) => value)
  t.equal(values.length, 20_000)
  t.equal(new Set(values).size, 1, 'no value is younger than another')
})

t.test('a metric has a bound on its series; the rest is counted together, and said', async (t) => {
  const app = await build(t, { maxSeries: 10 })
  const family = app.metrics.counter('users_total', { help: 'Users.', labels: { user: [] } })
  await app.ready()
  const before = String(await app.metrics.exposition())
  t.match(before, 'metrics_series_dropped_total{metric="users_total"} 0\n', 'a rate must see the first one')
  t.notMatch(before, 'metrics_series_dropped_total{metric="http_client_errors_total"}', 'its label set is closed')
  for (const user of ['1', '2', '3', '4', '5', '6', '7', '8']) family.labels({ user })
  for (const user of ['a', 'b', 'c', 'd', 'a']) family.labels({ user }).inc()
  const text = String(await app.metrics.exposition())
  t.match(text, 'users_total{user="a"} 2\nusers_total{user="b"} 1\nusers_total{user="__overflow__"} 2\n')
  t.match(text, 'metrics_series_dropped_total{metric="users_total"} 2\n')
})

t.test('a wrong label is an error while the service boots, and never one of a request', async (t) => {
  const app = await build(t)
  const family = app.metrics.counter('hits_total', { help: 'Hits.', labels: { cache_type: ['ranking'] } })
  const wrong = { cache_type: 'rankin' } as never
  t.throws(() => family.labels(wrong), { message: 'hits_total: label cache_type can\'t be "rankin"' })
  await app.ready()
  family.labels(wrong).inc()
  const text = String(await app.metrics.exposition())
  t.match(text, 'hits_total{cache_type="ranking"} 0\nhits_total{cache_type="__overflow__"} 1\n')
  t.match(text, 'metrics_series_dropped_total{metric="hits_total"} 1\n')
})

t.test('the overflow of the metric that counts overflows ends there', async (t) => {
  const app = await build(t, { maxSeries: 1 })
  for (const name of ['a_total', 'b_total', 'c_total']) {
    const family = app.metrics.counter(name, { help: 'X.', labels: { n: [] } })
    family.labels({ n: '1' })
    family.labels({ n: '2' })
  }
  const text = String(await app.metrics.exposition())
  t.match(
    text,
    /^metrics_series_dropped_total\{metric="[^"]+"\} \d+\nmetrics_series_dropped_total\{metric="__overflow__"\} \d+$/m
  )
})

t.test('each scrape is timed', async (t) => {
  const app = await build(t)
  await app.inject('/metrics')
  t.match((await app.inject('/metrics')).payload, '\nmetrics_scrape_duration_seconds_count 1\n')
})

t.test('JSON can be asked for by the beginnings of names', async (t) => {
  const app = await build(t, { processMetrics: true })
  app.metrics.gauge('mine', { help: 'M.' })
  const names = (await app.metrics.json(['mine', 'process_cpu'])).map(({ name }) => name)
  t.same(names.toSorted(), [
    'mine',
    'process_cpu_seconds_total',
    'process_cpu_system_seconds_total',
    'process_cpu_user_seconds_total'
  ])
})

t.test('quantiles are estimated as PromQL does', async (t) => {
  const bounds = Float64Array.of(1, 2, 4)
  for (const [q, cumulative, expected] of [
    [0.5, [0, 0, 0, 0], null],
    [0.5, [10, 10, 10, 10], 0.5],
    [0.5, [0, 10, 10, 10], 1.5],
    [0.95, [50, 90, 100, 100], 3],
    [0.99, [0, 0, 0, 5], 4],
    [0.5, [5, 5, 10, 10], 1]
  ] as const) {
    t.equal(estimateQuantile(q, bounds, cumulative), expected, JSON.stringify(cumulative))
  }
  t.equal(estimateQuantile(0.5, Float64Array.of(0, 1), [3, 4, 4]), 0, 'a first bucket at 0 has no lower end')
})

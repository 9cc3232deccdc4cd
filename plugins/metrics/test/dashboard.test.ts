/** The page, its files and its data, as a browser asks for them. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mock } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import metricsPlugin, { type MetricsOptions, type PanelQuery } from '../index.ts'
import { type SeriesData, TICK } from '../ring.ts'

interface Reply {
  instance: string
  now: number
  interval: number
  notice: string | null
  next: number
  times: number[]
  series: SeriesData[][]
  rows?: { title: string; folded: boolean; panels: { title: string; queries: number }[] }[]
}

const NOW = Date.parse('2026-11-22T12:00:00Z')

/** A service with a dashboard, whose ticks come when the test says so. */
async function build(t: Test, options: MetricsOptions = {}): Promise<FastifyInstance> {
  mock.timers.enable({ apis: ['setInterval', 'Date'], now: NOW })
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    mock.timers.reset()
  })
  await app.register(metricsPlugin, { processMetrics: false, dashboard: true, ...options })
  return app
}

async function tick(): Promise<void> {
  mock.timers.tick(TICK)
  await nextTurn()
}

async function ask(app: FastifyInstance, query = ''): Promise<Reply> {
  return (await app.inject(`/dashboard/data${query}`)).json() as Reply
}

const FILES = ['dashboard.css', 'uplot.js', 'dashboard.js', 'panel.js', 'chart.js', 'element.js', 'format.js']

t.test('without the option there is no page', async (t) => {
  const app = await build(t, { dashboard: false })
  t.equal((await app.inject('/dashboard')).statusCode, 404)
})

t.test('the page loads nothing from elsewhere, and says how it is to be treated', async (t) => {
  const app = await build(t, { dashboard: { title: 'A & <B>', links: { 'a "link"': '/x?a=1&b="2"' } } })
  const page = await app.inject('/dashboard')
  t.equal(page.statusCode, 200)
  t.equal(page.headers['content-type'], 'text/html; charset=utf-8')
  t.match(page.headers['content-security-policy'], "default-src 'none'; script-src 'self'; style-src 'self'; ")
  t.match(page.headers, { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' })
  t.match(page.payload, '<title>A &amp; &lt;B&gt;</title>')
  t.match(page.payload, '<a href="/x?a=1&amp;b=&quot;2&quot;">a &quot;link&quot;</a>')
  t.notMatch(page.payload, /https?:/)
  const asked = [...page.payload.matchAll(/(?:src|href)="(dashboard\/[^"]+)"/g)].map(([, path]) => path)
  t.same(asked, ['dashboard/dashboard.css', 'dashboard/uplot.js', 'dashboard/dashboard.js'])
})

t.test('each file is there, compressed for who takes it, and not sent again to who has it', async (t) => {
  const app = await build(t)
  const types = new Set<string>()
  for (const name of FILES) {
    const url = `/dashboard/${name}`
    const plain = await app.inject(url)
    t.equal(plain.statusCode, 200, name)
    t.match(plain.headers['content-type'], name.endsWith('css') ? 'text/css' : 'text/javascript')
    t.match(plain.headers, {
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-cache',
      vary: 'accept-encoding'
    })
    const zipped = await app.inject({ url, headers: { 'accept-encoding': 'gzip, br' } })
    t.equal(zipped.headers['content-encoding'], 'gzip')
    t.equal(String(gunzipSync(zipped.rawPayload)), plain.payload)
    const etag = String(plain.headers.etag)
    t.equal(etag, `"${createHash('sha256').update(plain.rawPayload).digest('hex').slice(0, 16)}"`)
    const again = await app.inject({ url, headers: { 'if-none-match': etag } })
    t.same([again.statusCode, again.payload], [304, ''])
    t.equal((await app.inject({ url, headers: { 'if-none-match': '"another"' } })).statusCode, 200)
    types.add(etag)
    for (const [, module] of plain.payload.matchAll(/ from '\.\/([^']+)'/g)) t.ok(FILES.includes(module!), `${module}`)
  }
  t.equal(types.size, FILES.length)
  const style = readFileSync(new URL('../page/dashboard.css', import.meta.url), 'utf8')
  t.equal((await app.inject('/dashboard/dashboard.css')).payload, style)
})

t.test('the first reply has the panels and all ticks, the next ones what is new', async (t) => {
  const app = await build(t)
  app.get('/x', async () => 'ok')
  const first = await ask(app)
  t.equal(first.interval, TICK)
  t.equal(first.now, NOW)
  t.equal(first.notice, null)
  t.same([first.next, first.times], [1, [NOW]])
  t.same(
    first.rows!.map(({ title }) => title),
    ['Requests'],
    'the row of the process needs its metrics'
  )
  const queries = first.rows!.flatMap(({ panels }) => panels).reduce((sum, panel) => sum + panel.queries, 0)
  t.equal(first.series.length, queries)

  for (let i = 0; i < 10; i++) await app.inject('/x')
  await tick()
  const second = await ask(app, `?instance=${first.instance}&from=${first.next}`)
  t.equal(second.rows, undefined)
  t.same([second.next, second.times], [2, [NOW + TICK]])
  t.same(
    second.series[0]!.filter(({ name }) => name === '/x'),
    [{ name: '/x', points: [2] }]
  )
  t.equal((await ask(app, `?instance=${first.instance}&from=2`)).times.length, 0)

  for (const query of [
    '',
    `?instance=another&from=1`,
    `?instance=${first.instance}`,
    '?from=1',
    '?instance=a&instance=b'
  ]) {
    const whole = await ask(app, query)
    t.equal(whole.times.length, 2, query)
    t.ok(whole.rows, query)
  }
  t.ok((await ask(app, `?instance=${first.instance}&from=1e999`)).rows)
})

t.test('two instances are not taken for one', async (t) => {
  const [one, two] = [await build(t), Fastify()]
  t.teardown(() => two.close())
  await two.register(metricsPlugin, { dashboard: true })
  t.not((await ask(one)).instance, (await ask(two)).instance)
})

t.test('data are compressed for who takes it, and kept by nobody', async (t) => {
  const app = await build(t)
  const plain = await app.inject('/dashboard/data')
  t.match(plain.headers, { 'cache-control': 'no-store', 'content-type': 'application/json; charset=utf-8' })
  const zipped = await app.inject({ url: '/dashboard/data', headers: { 'accept-encoding': 'gzip' } })
  t.equal(zipped.headers['content-encoding'], 'gzip')
  t.equal(String(gunzipSync(zipped.rawPayload)), plain.payload)
})

t.test('with a token the numbers are for who shows it; page and files have none', async (t) => {
  const app = await build(t, { token: 'open sesame' })
  t.equal((await app.inject('/dashboard')).statusCode, 200)
  for (const name of FILES) t.equal((await app.inject(`/dashboard/${name}`)).statusCode, 200, name)
  const refused = await app.inject('/dashboard/data')
  t.equal(refused.statusCode, 401)
  t.equal(refused.json().code, 'TF_ERR_METRICS_UNAUTHORIZED')
  const headers = { authorization: 'Bearer open sesame' }
  t.equal((await app.inject({ url: '/dashboard/data', headers })).statusCode, 200)
})

t.test('its requests are counted nowhere, and so is the first reading', async (t) => {
  const app = await build(t)
  for (const path of ['', '/data', '/panel.js']) await app.inject(`/dashboard${path}`)
  await tick()
  const text = String(await app.metrics.exposition())
  t.notMatch(text, 'dashboard')
  t.notMatch(text, /^http_requests_total.* [1-9]/m)
})

t.test("rows, url, title, notice and links are the service's own", async (t) => {
  let notice: string | undefined = 'Invented.'
  const rows = [
    {
      title: 'Jobs',
      folded: true,
      panels: [
        {
          title: 'Level',
          description: 'D.',
          unit: 'count',
          show: 'number',
          queries: [{ kind: 'value', metric: 'level', over: 'sum' }],
          thresholds: [{ from: 0, colour: 'green' }]
        }
      ]
    }
  ] as const
  const app = await build(t, { dashboard: { url: '/inner/live', rows, notice: () => notice } })
  app.metrics.gauge('level', { help: 'L.' }).labels({}).set(4)
  t.match((await app.inject('/inner/live')).payload, '<link rel="stylesheet" href="live/dashboard.css">')
  t.equal((await app.inject('/inner/live/panel.js')).statusCode, 200)
  const reply = (await app.inject('/inner/live/data')).json() as Reply
  t.equal(reply.notice, 'Invented.')
  const { queries, ...panel } = rows[0].panels[0]
  t.same(reply.rows, [{ title: 'Jobs', folded: true, panels: [{ ...panel, queries: queries.length }] }])
  t.same(reply.series, [[{ name: 'Level', points: [4] }]])
  notice = undefined
  t.equal((await app.inject('/inner/live/data')).json().notice, null)
})

t.test('with process metrics the default rows have the process too', async (t) => {
  const app = await build(t, { processMetrics: true })
  await app.ready()
  await tick()
  const { rows, series } = await ask(app)
  t.same(
    rows!.map(({ title }) => title),
    ['Requests', 'Process']
  )
  const { points } = series.at(-2)![0]!
  t.ok(
    points.every((bytes) => bytes! > 1e6),
    `resident memory ${points.join()}`
  )
})

t.test("a url that is none, and a panel that can't be drawn, stop the boot", async (t) => {
  for (const url of ['', '/', 'live', '/live/']) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => app.register(metricsPlugin, { dashboard: { url } }), {
      code: 'TF_ERR_METRICS_OPTIONS',
      message: 'Invalid metrics options, dashboard.url: Expected a path'
    })
  }
  const query = { kind: 'mean', metric: 'http_requests_total' } as const
  const panel = { title: 'Sizes', description: '', unit: 'bytes', show: 'lines', queries: [query] } as const
  const app = await build(t, { dashboard: { rows: [{ title: 'Row', panels: [panel] }] } })
  await t.rejects(async () => app.ready(), {
    code: 'TF_ERR_METRICS_DASHBOARD',
    message: 'The panel "Sizes" can\'t be drawn: http_requests_total is not a histogram'
  })
})

t.test('whatever is wrong with the dashboard stops the boot, and is named with its place', async (t) => {
  const query = { kind: 'rate', metric: 'http_requests_total' }
  const panel = { title: 'Requests', description: 'R.', unit: 'per second', show: 'lines', queries: [query] }
  const withPanel = (more: object): object => ({ rows: [{ title: 'Row', panels: [panel, { ...panel, ...more }] }] })
  const asking = (more: object): object => withPanel({ queries: [query, { ...query, ...more }] })
  const there = 'rows.0.panels.1'
  for (const [dashboard, message] of [
    ['yes', ': Expected object'],
    [null, ': Expected object'],
    [{ titel: 'T' }, '.titel: Unexpected property'],
    [{ title: 1 }, '.title: Expected string'],
    [{ notice: 'N.' }, '.notice: Expected function'],
    [{ links: { a: 1 } }, '.links.a: Expected string'],
    [{ rows: {} }, '.rows: Expected array'],
    [{ rows: [{ title: 'Row' }] }, '.rows.0.panels: Expected required property'],
    [{ rows: [{ title: 'Row', panels: [], fold: true }] }, '.rows.0.fold: Unexpected property'],
    [
      withPanel({ unit: 'second' }),
      `.${there}.unit: Expected per second, per minute, bytes per second, seconds, bytes, ratio, count, state`
    ],
    [withPanel({ show: 'line' }), `.${there}.show: Expected lines, stacked, number, gauge, heatmap`],
    [withPanel({ color: 'red' }), `.${there}.color: Unexpected property`],
    [withPanel({ description: undefined }), `.${there}.description: Expected string`],
    [
      withPanel({ thresholds: [{ from: 0, colour: 'yellow' }] }),
      `.${there}.thresholds.0.colour: Expected green, amber, red, blue`
    ],
    [withPanel({ states: ['off'] }), `.${there}.states: Expected tuple to have 2 elements`],
    [
      asking({ kind: 'sum' }),
      `.${there}.queries.1.kind: Expected rate, quantile, mean, ratio, value, share, age, heatmap`
    ],
    [asking({ per: 'hour' }), `.${there}.queries.1.per: Expected second, minute`],
    [asking({ legends: 'L' }), `.${there}.queries.1.legends: Unexpected property`],
    [
      asking({ kind: 'quantile', quantile: 95 }),
      `.${there}.queries.1.quantile: Expected number to be less or equal to 1`
    ],
    [asking({ kind: 'share', of: 'a', over: 'sum' }), `.${there}.queries.1.over: Expected min, max`],
    [
      asking({ where: { status: 500 } }),
      `.${there}.queries.1.where.status: Expected a text, a pattern or { not: pattern }`
    ]
  ] as [never, string][]) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(
      async () => app.register(metricsPlugin, { dashboard }),
      { code: 'TF_ERR_METRICS_OPTIONS', message: `Invalid metrics options, dashboard${message}` },
      message
    )
  }
})

t.test('every field of a panel and every kind of question is taken', async (t) => {
  const [selector, where] = [{ metric: 'm' }, { a: 'x', b: /x/, c: { not: /x/i } }]
  const queries: PanelQuery[] = [
    { kind: 'rate', ...selector, where, by: ['a'], per: 'minute', legend: 'L' },
    { kind: 'quantile', ...selector, quantile: 0.5 },
    { kind: 'mean', ...selector },
    { kind: 'ratio', part: [{ ...selector, where, upTo: 1 }], whole: [selector], times: 2, window: '1h' },
    { kind: 'value', ...selector, over: 'sum' },
    { kind: 'share', ...selector, of: 'n', over: 'max' },
    { kind: 'age', ...selector },
    { kind: 'heatmap', ...selector, where }
  ]
  const panel = { title: 'T', description: '', unit: 'state', show: 'number', queries } as const
  const all = { ...panel, thresholds: [{ from: 0, colour: 'blue' }], states: ['no', 'yes'], idle: 'none' } as const
  await build(t, { dashboard: { rows: [{ title: 'Row', folded: true, panels: [panel, all] }], links: {} } })
  t.pass('registered')
})

t.test('a reading that fails is logged, and the next one may work', async (t) => {
  const app = await build(t)
  const errors: unknown[] = []
  app.log.error = (...args: unknown[]) => errors.push(args)
  let broken = false
  await app.ready()
  const inFlight = app.metrics.registry.getSingleMetric('http_requests_in_flight') as unknown as { collect(): void }
  const collect = inFlight.collect.bind(inFlight)
  inFlight.collect = () => {
    if (broken) throw new Error('no count')
    collect()
  }
  broken = true
  await tick()
  t.match(errors, [[{ err: { message: 'no count' } }, 'the dashboard could not read the metrics']])
  t.equal((await ask(app)).times.length, 1)
  broken = false
  await tick()
  t.equal((await ask(app)).times.length, 2)
  t.equal(errors.length, 1)
})

t.test('readings do not pile up behind one that takes its time', async (t) => {
  const gate = Promise.withResolvers<void>()
  let waiting = false
  let readings = 0
  const query = { kind: 'value', metric: 'slow', over: 'sum' } as const
  const panel = { title: 'Slow', description: '', unit: 'count', show: 'lines', queries: [query] } as const
  const app = await build(t, { dashboard: { rows: [{ title: 'Row', panels: [panel] }] } })
  const { Gauge } = app.metrics.client
  const slow = new Gauge({
    name: 'slow',
    help: 'S.',
    registers: [app.metrics.registry],
    async collect() {
      readings++
      if (waiting) await gate.promise
    }
  })
  slow.set(1)
  await app.ready()
  waiting = true
  const before = readings
  for (let i = 0; i < 5; i++) await tick()
  t.equal(readings, before + 1)
  t.equal((await ask(app)).times.length, 1)
  gate.resolve()
  await nextTurn()
  await tick()
  t.equal(readings, before + 2)
  t.equal((await ask(app)).times.length, 3)
})

t.test('a closed service reads no more', async (t) => {
  const app = await build(t)
  let readings = 0
  await app.ready()
  const total = app.metrics.registry.getSingleMetric('http_requests_total') as unknown as { collect(): void }
  total.collect = () => void readings++
  await tick()
  t.equal(readings, 1)
  await app.close()
  await tick()
  t.equal(readings, 1)
})

t.test('a service that fails to boot can be closed', async (t) => {
  const app = await build(t)
  await app.close()
  t.pass('without a timer')
})

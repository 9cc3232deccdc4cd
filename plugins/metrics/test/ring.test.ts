/** The last hour in memory: which ticks it has, how far rates look back, and what it refuses to be asked. */
import Fastify, { type FastifyInstance } from 'fastify'
import promClient from 'prom-client'
import t, { type Test } from 'tap'
import metricsPlugin, { type Panel, type PanelQuery, defaultRows } from '../index.ts'
import { metricsOfQuery } from '../panels.ts'
import { CAPACITY, type Ring, type SeriesData, TICK, createRing } from '../ring.ts'

interface Clocked {
  app: FastifyInstance
  ring: Ring
  clock: { now: number }
  /** Some ticks, each a tick's time after the one before; `before` is told how many there were. */
  run: (ticks: number, before?: (tick: number) => void) => Promise<void>
  /** The series of the first query, or of another one, from a tick on. */
  read: (from?: number, query?: number) => SeriesData[]
}

function panel(...queries: PanelQuery[]): Panel {
  return { title: 'Panel', description: '', unit: 'count', show: 'lines', queries }
}

async function build(t: Test, define: (app: FastifyInstance) => void, ...queries: PanelQuery[]): Promise<Clocked> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metricsPlugin, { processMetrics: false })
  define(app)
  const clock = { now: Date.parse('2026-11-22T12:00:00Z') }
  const ring = await createRing(app.metrics.registry, [{ title: 'Row', panels: [panel(...queries)] }], () => clock.now)
  let ticks = 0
  return {
    app,
    ring,
    clock,
    async run(count, before) {
      for (let i = 0; i < count; i++) {
        before?.(ticks++)
        await ring.tick()
        clock.now += TICK
      }
    },
    read: (from = 0, query = 0) => [...ring.since(from).queries][query]!
  }
}

/** A counter `jobs_total` and what counts it. */
function jobs(): { define: (app: FastifyInstance) => void; count: (by?: number, kind?: string) => void } {
  let count: (by?: number, kind?: string) => void = () => undefined
  return {
    define(app) {
      const family = app.metrics.counter('jobs_total', { help: 'Jobs.', labels: { kind: [] } })
      family.labels({ kind: 'a' })
      count = (by = 1, kind = 'a') => family.labels({ kind }).inc(by)
    },
    count: (by, kind) => count(by, kind)
  }
}

const LEVEL: PanelQuery = { kind: 'value', metric: 'level', over: 'max', legend: 'level' }

/** A gauge `level` that is one higher at each reading; 0 at the first tick, as the ring reads it once before. */
function steps(): { define: (app: FastifyInstance) => void } {
  let level = -1
  return {
    define(app) {
      const gauge = app.metrics.gauge('level', { help: 'L.' })
      gauge.onCollect(() => gauge.labels({}).set(level++))
    }
  }
}

t.test('a rate begins with the second tick and looks back a minute, as far as there is one', async (t) => {
  const { define, count } = jobs()
  const { run, read } = await build(t, define, { kind: 'rate', metric: 'jobs_total', legend: 'jobs' })
  await run(2, (tick) => tick === 1 && count(10))
  t.same(read(), [{ name: 'jobs', points: [null, 2] }], 'within 5 s')
  await run(1)
  t.equal(read()[0]!.points[2], 1, 'within 10 s')
  await run(10)
  const { points } = read()[0]!
  t.equal(points[12], 0.16667, 'within 60 s, in five digits')
  await run(1)
  t.equal(read()[0]!.points[13], 0, 'and a minute later no more')
})

t.test('a ratio looks back as long as it says', async (t) => {
  const { define, count } = jobs()
  const part = [{ metric: 'jobs_total', where: { kind: 'b' } }]
  const whole = [{ metric: 'jobs_total' }]
  const { run, read } = await build(
    t,
    define,
    { kind: 'ratio', part, whole },
    { kind: 'ratio', part, whole, window: '5m' },
    { kind: 'ratio', part, whole, window: '1h' }
  )
  // A failure in the second tick, and a success in each.
  await run(CAPACITY + 2, (tick) => {
    count()
    if (tick === 1) count(1, 'b')
  })
  const of = (query: number): SeriesData['points'] => read(0, query)[0]!.points
  // The first of the 720 is the third tick.
  t.equal(of(0)[0], 0.33333)
  t.equal(of(0)[11], 0)
  t.equal(of(1)[58], Number((1 / 61).toPrecision(5)))
  t.equal(of(1)[59], 0, 'five minutes later no more')
  t.equal(of(2)[717], Number((1 / 720).toPrecision(5)))
  t.equal(of(2)[718], Number((1 / 721).toPrecision(5)))
  t.equal(of(2)[719], 0, 'an hour later no more')
})

t.test('after an hour the oldest ticks are gone, and what is left is whole', async (t) => {
  const { ring, run, read, clock } = await build(t, steps().define, LEVEL)
  const began = clock.now
  t.same(read(), [], 'no tick, no series')
  await run(1)
  t.same(read(), [{ name: 'level', points: [0] }])
  const { bytes } = ring
  await run(CAPACITY + 99)
  const { next, times } = ring.since(0)
  t.equal(next, CAPACITY + 100)
  t.equal(times.length, CAPACITY)
  t.same([times[0], times.at(-1)], [began + 100 * TICK, began + (CAPACITY + 99) * TICK])
  const { points } = read()[0]!
  t.same(
    points,
    Array.from({ length: CAPACITY }, (_, i) => i + 100)
  )
  t.equal(ring.bytes, bytes, 'what it holds does not grow')
  // The times, the points and the totals of a minute.
  t.equal(bytes, 8 * (CAPACITY + 1 + CAPACITY + 1 + 13))
})

t.test('who knows some ticks is told the others', async (t) => {
  const { ring, run, read } = await build(t, steps().define, LEVEL)
  await run(10)
  t.same(read(7)[0]!.points, [7, 8, 9])
  t.same(read(10)[0]!.points, [])
  t.equal(ring.since(7).next, 10)
  t.equal(ring.since(7).times.length, 3)
  for (const [from, count] of [
    [-1, 10],
    [11, 0],
    [1e9, 0]
  ] as const) {
    t.equal(read(from)[0]!.points.length, count, `${from}`)
    t.equal(ring.since(from).next, 10)
  }
})

t.test('what falls out of the ring while it is read is not taken for something else', async (t) => {
  const { ring, run } = await build(t, steps().define, LEVEL, LEVEL, LEVEL)
  await run(CAPACITY + 5)
  const reading = ring.since(0).queries[Symbol.iterator]()
  const points = (): SeriesData['points'] => (reading.next().value as SeriesData[])[0]!.points
  t.same(points().slice(0, 3), [5, 6, 7])
  await run(1)
  t.same(points().slice(0, 3), [5, 6, 7], 'one tick may come')
  await run(2)
  t.same(points().slice(0, 3), [null, null, 7])
})

t.test('a series that is born later is null before, and counted from 0', async (t) => {
  const { define, count } = jobs()
  const { run, read } = await build(t, define, { kind: 'rate', metric: 'jobs_total', by: ['kind'], per: 'minute' })
  await run(20, (tick) => tick === 18 && count(3, 'b'))
  t.same(read()[1], { name: 'b', points: [...Array(18).fill(null), 3, 3] })
})

t.test('series are named by the legend, by their labels or as the panel', async (t) => {
  const define = (app: FastifyInstance): void => {
    const gauge = app.metrics.gauge('level', { help: 'L.', labels: { a: ['x', 'y'], b: ['1'] } })
    gauge.labels({ a: 'x', b: '1' }).set(1)
    app.metrics.histogram('seconds', { help: 'S.', buckets: [0.5, 1] })
  }
  const value = { kind: 'value', metric: 'level', over: 'sum' } as const
  const { run, read } = await build(
    t,
    define,
    value,
    { ...value, by: ['a', 'b'] },
    { ...value, by: ['a'], legend: 'of {{a}}, {{nothing}}' },
    { ...value, by: ['a'], legend: 'same' },
    { kind: 'heatmap', metric: 'seconds' }
  )
  await run(1)
  const names = (query: number): string[] => read(0, query).map(({ name }) => name)
  t.same(names(0), ['Panel'])
  t.same(names(1), ['x 1', 'y 1'])
  t.same(names(2), ['of x, ', 'of y, '])
  t.same(names(3), ['same', 'same'])
  t.same(names(4), ['0.5', '1.0', '+Inf'])
})

t.test("another library's histogram is seen from its first observation on", async (t) => {
  let times: promClient.Histogram<'kind'> | undefined
  const define = (app: FastifyInstance): void => {
    const registers = [app.metrics.registry]
    times = new promClient.Histogram({ name: 'h', help: 'H.', labelNames: ['kind'], buckets: [1, 2], registers })
  }
  const mean = { kind: 'mean', metric: 'h', by: ['kind'] } as const
  const { run, read } = await build(t, define, mean, { kind: 'quantile', quantile: 0.5, metric: 'h' })
  await run(2)
  t.same([read(), read(0, 1)], [[], []])
  times!.observe({ kind: 'a' }, 1.5)
  await run(1)
  t.same(read(), [{ name: 'a', points: [null, null, 1.5] }])
  t.same(read(0, 1)[0]!.points, [null, null, 1.5])
})

t.test('what is no number is none', async (t) => {
  const define = (app: FastifyInstance): void => {
    const registers = [app.metrics.registry]
    new promClient.Gauge({ name: 'g', help: 'G.', registers }).set(Number.POSITIVE_INFINITY)
    new promClient.Gauge({ name: 'n', help: 'N.', registers }).set(Number.NaN)
  }
  const value = { kind: 'value', over: 'max' } as const
  const { run, read } = await build(t, define, { ...value, metric: 'g' }, { ...value, metric: 'n' })
  await run(1)
  t.same([read()[0]!.points, read(0, 1)[0]!.points], [[null], [null]])
})

t.test('a tick that fails leaves nothing behind', async (t) => {
  const { define, count } = jobs()
  let broken = false
  const { run, read, ring } = await build(
    t,
    (app) => {
      define(app)
      app.metrics.gauge('level', { help: 'L.' }).onCollect(() => {
        if (broken) throw new Error('no level')
      })
    },
    { kind: 'rate', metric: 'jobs_total', legend: 'jobs' },
    { kind: 'value', metric: 'level', over: 'sum' }
  )
  await run(1)
  broken = true
  count(10)
  await t.rejects(ring.tick(), { message: 'no level' })
  broken = false
  await run(1)
  t.same(read(), [{ name: 'jobs', points: [null, 2] }])
  t.equal(ring.since(0).times.length, 2)
})

t.test('a question of a metric that is not there, or not of its kind, is refused with its panel', async (t) => {
  const { define } = jobs()
  const refused = async (query: PanelQuery, reason: string): Promise<void> => {
    await t.rejects(build(t, define, query), {
      code: 'TF_ERR_METRICS_DASHBOARD',
      message: `The panel "Panel" can't be drawn: ${reason}`
    })
  }
  await refused({ kind: 'rate', metric: 'job_total' }, 'there is no metric job_total')
  const whole = [{ metric: 'jobs_total' }]
  await refused({ kind: 'ratio', part: whole, whole: [{ metric: 'x' }] }, 'there is no metric x')
  await refused({ kind: 'ratio', part: [{ metric: 'y' }], whole }, 'there is no metric y')
  for (const query of [{ kind: 'mean' }, { kind: 'quantile', quantile: 0.5 }, { kind: 'heatmap' }] as const) {
    await refused({ ...query, metric: 'jobs_total' }, 'jobs_total is not a histogram')
  }
})

t.test('the default rows ask only for what the plugin has', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metricsPlugin)
  const names = defaultRows.flatMap((row) => row.panels.flatMap(({ queries }) => queries.flatMap(metricsOfQuery)))
  t.same(
    names.filter((name) => app.metrics.registry.getSingleMetric(name) === undefined),
    []
  )
})

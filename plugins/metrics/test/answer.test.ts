/** Every kind of question over hand-made readings, and the readings themselves: of our metrics and of two clients'. */
import { inspect } from 'node:util'
import * as successor from '@prometheus-io/client'
import Fastify from 'fastify'
import promClient from 'prom-client'
import t from 'tap'
import { type Span, type Totals, increase, totalsOf, valuesOf } from '../answer.ts'
import { type Columns, columnsOfFamily, columnsOfSnapshot } from '../columns.ts'
import metricsPlugin from '../index.ts'
import type { Matcher, PanelQuery } from '../panels.ts'

type Labels = Record<string, string>

/** Columns of a counter or gauge. */
function scalar(...series: [Labels, number][]): Columns {
  return {
    series: series.map(([labels]) => labels),
    values: Float64Array.from(series, ([, value]) => value),
    width: 1,
    bounds: new Float64Array(0)
  }
}

/** Columns of a histogram with the bounds 1, 2 and 4: counts of the four buckets, and the sum. */
function histogram(...series: [Labels, number[]][]): Columns {
  return {
    series: series.map(([labels]) => labels),
    values: Float64Array.from(series.flatMap(([, numbers]) => numbers)),
    width: 5,
    bounds: Float64Array.of(1, 2, 4)
  }
}

const MINUTE: Span = { seconds: 60, now: 1000 }

/** The values of all groups, by the values of their labels. */
function ask(query: PanelQuery, before: Columns | undefined, now: Columns, span = MINUTE): Record<string, number[]> {
  const reading = (columns: Columns): Map<string, Columns> => new Map([['m', columns]])
  const totals = totalsOf(query, reading(now))
  const earlier = before && totals.read(reading(before))
  return Object.fromEntries(
    totals
      .read(reading(now))
      .map((one, place) => [
        Object.values(totals.groups[place]!).join(),
        Array.from(valuesOf(query, totals.bounds, one, earlier?.[place], span))
      ])
  )
}

t.test('rate: what happened, a second or a minute', async (t) => {
  const before = scalar([{ a: 'x', b: '1' }, 10], [{ a: 'x', b: '2' }, 0], [{ a: 'y', b: '1' }, 5])
  const now = scalar([{ a: 'x', b: '1' }, 70], [{ a: 'x', b: '2' }, 60], [{ a: 'y', b: '1' }, 5])
  t.same(ask({ kind: 'rate', metric: 'm' }, before, now), { '': [2] })
  t.same(ask({ kind: 'rate', metric: 'm', by: ['a'] }, before, now), { x: [2], y: [0] })
  t.same(ask({ kind: 'rate', metric: 'm', per: 'minute', by: ['a', 'b'] }, before, now), {
    'x,1': [60],
    'x,2': [60],
    'y,1': [0]
  })
  t.same(ask({ kind: 'rate', metric: 'm', by: ['missing'] }, before, now), { '': [2] }, 'no label is an empty one')
  const observations = histogram([{}, [1, 1, 1, 3, 99]])
  t.same(ask({ kind: 'rate', metric: 'm', per: 'minute' }, histogram([{}, [0, 0, 0, 0, 0]]), observations), { '': [6] })
})

t.test('without an earlier reading there is no rate, mean, ratio or quantile, but a gauge', async (t) => {
  const none: Span = { seconds: 0, now: 1000 }
  const counts = scalar([{}, 7])
  const times = histogram([{}, [1, 1, 1, 1, 9]])
  const NONE = { '': [Number.NaN] }
  t.same(ask({ kind: 'rate', metric: 'm' }, undefined, counts, none), NONE)
  t.same(ask({ kind: 'ratio', part: [{ metric: 'm' }], whole: [{ metric: 'm' }] }, undefined, counts, none)[''], [
    Number.NaN,
    Number.NaN
  ])
  t.same(ask({ kind: 'mean', metric: 'm' }, undefined, times, none)['']![0], Number.NaN)
  t.same(ask({ kind: 'quantile', quantile: 0.5, metric: 'm' }, undefined, times, none)['']![0], Number.NaN)
  t.same(ask({ kind: 'heatmap', metric: 'm' }, undefined, times, none)[''], Array(4).fill(Number.NaN))
  t.same(ask({ kind: 'value', over: 'sum', metric: 'm' }, undefined, counts, none), { '': [7] })
})

t.test('a series that was born later has counted from 0, and a count that went back since then', async (t) => {
  const query: PanelQuery = { kind: 'rate', metric: 'm', by: ['a'], per: 'minute' }
  const now = scalar([{ a: 'old' }, 12], [{ a: 'new' }, 3])
  t.same(ask(query, scalar([{ a: 'old' }, 10]), now), { old: [2], new: [3] })
  t.same(ask(query, scalar([{ a: 'old' }, 100], [{ a: 'new' }, 3]), now), { old: [12], new: [0] })
  t.same([...increase(Float64Array.of(5, 2, 3), Float64Array.of(4, 9, Number.NaN))], [1, 2, 3])
  t.same([...increase(Float64Array.of(5), undefined)], [5])
})

t.test('quantile: as PromQL estimates it from what was observed in between', async (t) => {
  const query: PanelQuery = { kind: 'quantile', metric: 'm', quantile: 0.5, by: ['a'] }
  const before = histogram([{ a: 'x' }, [100, 0, 0, 0, 50]], [{ a: 'y' }, [1, 1, 1, 1, 9]])
  const now = histogram([{ a: 'x' }, [100, 10, 10, 0, 95]], [{ a: 'y' }, [1, 1, 1, 1, 9]])
  t.same(ask(query, before, now), { x: [2], y: [Number.NaN] }, 'nothing was observed of y')
  t.same(ask({ ...query, quantile: 0.75 }, before, now)['x'], [3])
  t.same(ask({ kind: 'quantile', metric: 'm', quantile: 0.25 }, before, now), { '': [1.5] }, 'over all')
  const above = histogram([{ a: 'x' }, [100, 0, 0, 5, 99]])
  t.same(ask(query, before, above)['x'], [4], 'above all bounds: the last one')
})

t.test('mean: the sum by the number', async (t) => {
  const before = histogram([{}, [1, 0, 0, 0, 10]])
  t.same(ask({ kind: 'mean', metric: 'm' }, before, histogram([{}, [1, 0, 2, 2, 30]])), { '': [5] })
  t.same(ask({ kind: 'mean', metric: 'm' }, before, before), { '': [Number.NaN] })
})

t.test('ratio: some events by others, of counters and of buckets', async (t) => {
  const before = scalar([{ status: '200' }, 0], [{ status: '500' }, 0])
  const now = scalar([{ status: '200' }, 30], [{ status: '500' }, 10])
  const failed = { metric: 'm', where: { status: /5../ } }
  t.same(ask({ kind: 'ratio', part: [failed], whole: [{ metric: 'm' }] }, before, now), { '': [0.25] })
  t.same(ask({ kind: 'ratio', part: [failed], whole: [{ metric: 'm' }], times: 1000 }, before, now), { '': [250] })
  t.same(ask({ kind: 'ratio', part: [failed], whole: [{ metric: 'm' }] }, before, before), { '': [Number.NaN] })
  const fast = { kind: 'ratio', part: [{ metric: 'm', upTo: 2 }], whole: [{ metric: 'm' }] } as const
  t.same(ask(fast, histogram([{}, [0, 0, 0, 0, 0]]), histogram([{}, [1, 2, 0, 1, 9]])), { '': [0.75] })
})

t.test('value and age: a gauge, over its series', async (t) => {
  const now = scalar([{ a: 'x' }, 3], [{ a: 'x' }, 5], [{ a: 'y' }, -1])
  for (const [over, x] of [
    ['sum', 8],
    ['min', 3],
    ['max', 5]
  ] as const) {
    t.same(ask({ kind: 'value', metric: 'm', over, by: ['a'] }, undefined, now), { x: [x], y: [-1] }, over)
  }
  const born = scalar([{ a: 'x' }, 900], [{ a: 'x' }, 940], [{ a: 'y' }, 0])
  t.same(ask({ kind: 'age', metric: 'm', by: ['a'] }, undefined, born), { x: [60], y: [Number.NaN] })
})

t.test('share: a gauge by another one with the same labels, and nothing where that is 0 or missing', async (t) => {
  const part = scalar(
    [{ a: 'x', b: '1' }, 3],
    [{ a: 'x', b: '2' }, 1],
    [{ a: 'y', b: '1' }, 5],
    [{ a: 'z', b: '1' }, 7]
  )
  const whole = scalar([{ b: '2', a: 'x' }, 4], [{ b: '1', a: 'x' }, 2], [{ b: '1', a: 'y' }, 0])
  const reading = new Map([
    ['part', part],
    ['whole', whole]
  ])
  for (const [over, expected] of [
    ['max', [1.5, Number.NaN, Number.NaN]],
    ['min', [0.25, Number.NaN, Number.NaN]]
  ] as const) {
    const query: PanelQuery = { kind: 'share', metric: 'part', of: 'whole', over, by: ['a'] }
    const totals = totalsOf(query, reading)
    t.same(
      totals.read(reading).map((one) => valuesOf(query, totals.bounds, one, undefined, MINUTE)[0]),
      expected
    )
  }
})

t.test('heatmap: the observations of each bucket', async (t) => {
  const before = histogram([{ a: '1' }, [1, 1, 1, 1, 9]], [{ a: '2' }, [0, 0, 0, 0, 0]])
  const now = histogram([{ a: '1' }, [1, 3, 1, 2, 20]], [{ a: '2' }, [4, 0, 0, 0, 1]])
  t.same(ask({ kind: 'heatmap', metric: 'm' }, before, now), { '': [4, 2, 0, 1] })
  t.same(ask({ kind: 'heatmap', metric: 'm', where: { a: '2' } }, before, now), { '': [4, 0, 0, 0] })
})

t.test('where: by text, by a pattern of the whole value, by one that must not match; as in PromQL', async (t) => {
  const now = scalar([{ route: '/a' }, 1], [{ route: '/ab' }, 10], [{ route: '/b' }, 100], [{}, 1000])
  for (const [route, expected] of [
    ['/a', 1],
    ['', 1000],
    [/\/a/, 1],
    [/\/a.*/, 11],
    [/\/a|\/b/, 101],
    [/.*/, 1111],
    [{ not: /\/a/ }, 1110],
    [{ not: /\/a.*|/ }, 100],
    [undefined, 1111]
  ] as [Matcher | undefined, number][]) {
    const where = route === undefined ? {} : { route }
    t.same(ask({ kind: 'value', metric: 'm', over: 'sum', where }, undefined, now), { '': [expected] }, inspect(route))
  }
  t.same(ask({ kind: 'value', metric: 'm', over: 'sum', where: { route: /A/i } }, undefined, now), {})
  t.same(ask({ kind: 'value', metric: 'm', over: 'sum', where: { route: /.A/i } }, undefined, now), { '': [1] })
})

t.test('beyond a hundred groups the rest is one', async (t) => {
  const now = scalar(...Array.from({ length: 150 }, (_, n): [Labels, number] => [{ a: 'x', n: String(n) }, 1]))
  const found = ask({ kind: 'value', metric: 'm', over: 'sum', by: ['n'] }, undefined, now)
  t.equal(Object.keys(found).length, 101)
  t.same(found['others'], [50])
  t.same(found['99'], [1])
})

t.test('a group whose series are gone has no value, and a place still', async (t) => {
  const query: PanelQuery = { kind: 'value', metric: 'm', over: 'sum', by: ['a'] }
  const first = new Map([['m', scalar([{ a: 'x' }, 1], [{ a: 'y' }, 2])]])
  const totals: Totals = totalsOf(query, first)
  totals.read(first)
  const [x, y] = totals.read(new Map([['m', scalar([{ a: 'y' }, 3])]]))
  t.same([x![0], y![0]], [Number.NaN, 3])
  const times: PanelQuery = { kind: 'quantile', metric: 'm', quantile: 0.5 }
  const gone = new Float64Array(4).fill(Number.NaN)
  t.same(Array.from(valuesOf(times, Float64Array.of(1, 2, 4), gone, undefined, MINUTE)), [Number.NaN])
})

t.test('columns of our metrics are their own numbers', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metricsPlugin, { processMetrics: false })
  const counter = app.metrics.counter('jobs_total', { help: 'Jobs.', labels: { kind: ['a', 'b'] } })
  const times = app.metrics.histogram('job_seconds', { help: 'Time.', buckets: [1, 2] })
  const columns = columnsOfFamily(counter)
  counter.labels({ kind: 'b' }).inc(3)
  t.same([columns.series, [...columns.values].slice(0, 2), columns.width], [[{ kind: 'a' }, { kind: 'b' }], [0, 3], 1])
  times.labels({}).observe(1.5)
  times.labels({}).observe(5)
  const own = columnsOfFamily(times)
  t.same([[...own.values], own.width, [...own.bounds]], [[0, 1, 1, 6.5], 4, [1, 2]])
})

for (const [name, client] of [
  ['prom-client', promClient],
  ['its successor', successor as unknown as typeof promClient]
] as const) {
  t.test(
    `columns of ${name}: a counter, a gauge, and a histogram before and after its first observation`,
    async (t) => {
      const registers = [new client.Registry()]
      const counter = new client.Counter({ name: 'c_total', help: 'C.', labelNames: ['n'], registers })
      const gauge = new client.Gauge({ name: 'g', help: 'G.', registers })
      const settings = { name: 'h', help: 'H.', buckets: [1, 2], labelNames: ['n'], registers }
      const times = new client.Histogram(settings)
      const read = async (metric: object): Promise<Columns> =>
        columnsOfSnapshot(await (metric as { get(): Promise<never> }).get(), metric)

      const empty = await read(times)
      t.same([empty.series, [...empty.values], [...empty.bounds], empty.width], [[], [], [1, 2], 4])
      counter.inc({ n: 7 }, 2)
      gauge.set(-3)
      times.observe({ n: 'x' }, 0.5)
      times.observe({ n: 'x' }, 1.5)
      times.observe({ n: 'x' }, 9)
      times.observe({ n: 'y' }, 2)
      const counted = await read(counter)
      t.same([counted.series, [...counted.values], counted.width], [[{ n: '7' }], [2], 1])
      t.same([...(await read(gauge)).values], [-3])
      const { series, values } = await read(times)
      t.same(
        [series, [...values]],
        [
          [{ n: 'x' }, { n: 'y' }],
          [1, 1, 1, 11, 0, 1, 0, 2]
        ]
      )
    }
  )
}

t.test('of a summary only samples of its own name are values', async (t) => {
  const summary = new promClient.Summary({ name: 's', help: 'S.', percentiles: [0.5], registers: [] })
  summary.observe(4)
  const { series, values } = columnsOfSnapshot((await summary.get()) as never, summary)
  t.same([series, [...values]], [[{ quantile: '0.5' }], [4]])
})

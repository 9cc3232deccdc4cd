/** /dashboard of the service: every answer is what two readings of the exposition say, computed here in another way. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { details, overview } from '../../monitoring/panels.ts'
import { runtime } from '../../monitoring/query.ts'
import type { Events, Matcher, PanelQuery } from '../../plugins/metrics/index.ts'
import { metricsOfQuery } from '../../plugins/metrics/panels.ts'
import { createRing } from '../../plugins/metrics/ring.ts'
import { build, fakeSource, waveCandles } from '../helper.ts'

interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

const SECONDS = 20
const rows = [overview, ...details]
const queries: PanelQuery[] = rows.flatMap((row) => row.panels.flatMap((panel) => panel.queries as PanelQuery[]))

async function readSamples(app: FastifyInstance): Promise<Sample[]> {
  const { payload } = await app.inject('/prometheus')
  return [...payload.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name = '', labels = '', value]) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, text]) => [label, text])),
    value: Number(value)
  }))
}

function fits(value: string, matcher: Matcher | undefined): boolean {
  if (matcher === undefined || typeof matcher === 'string') return matcher === undefined || value === matcher
  const pattern = matcher instanceof RegExp ? matcher : matcher.not
  const whole = pattern.exec(value)
  return (whole?.[0] === value) === matcher instanceof RegExp
}

/** The samples of a metric, or of the part of a histogram that `suffix` says. */
function select(samples: readonly Sample[], { metric, where = {} }: Events, suffix = ''): Sample[] {
  return samples.filter(
    ({ name, labels }) =>
      name === metric + suffix && Object.entries(where).every(([label, matcher]) => fits(labels[label] ?? '', matcher))
  )
}

const sum = (samples: readonly Sample[]): number => samples.reduce((total, { value }) => total + value, 0)

/** What happened between the readings: of a counter, or the observations of a histogram. */
function events(readings: readonly [Sample[], Sample[]], one: Events): number {
  const [before = 0, after = 0] = readings.map((samples) => {
    if (one.upTo !== undefined) {
      return sum(select(samples, one, '_bucket').filter(({ labels }) => Number(labels['le']) === one.upTo))
    }
    return sum([...select(samples, one), ...select(samples, one, '_count')])
  })
  return after - before
}

/** Observations by upper bound, not cumulative. */
function buckets(readings: readonly [Sample[], Sample[]], one: Events): [bound: number, count: number][] {
  const cumulative = new Map<number, number>()
  for (const [i, samples] of readings.entries()) {
    for (const { labels, value } of select(samples, one, '_bucket')) {
      const bound = Number(labels['le']!.replace('+Inf', 'Infinity'))
      cumulative.set(bound, (cumulative.get(bound) ?? 0) + (i === 0 ? -value : value))
    }
  }
  let below = 0
  return [...cumulative]
    .toSorted(([a], [b]) => a - b)
    .map(([bound, count]) => {
      const own = count - below
      below = count
      return [bound, own]
    })
}

/** The value below which a share of the observations is, by walking through them. */
function quantile(share: number, counts: readonly [number, number][]): number | null {
  let left = share * counts.reduce((total, [, count]) => total + count, 0)
  if (left === 0) return null
  let lower = 0
  for (const [bound, count] of counts) {
    if (bound === Infinity) return lower
    if (count >= left) return lower + (bound - lower) * (left / count)
    left -= count
    lower = bound
  }
  return lower
}

/** An answer for the series that have these labels. */
function answer(
  query: PanelQuery,
  labels: Record<string, string>,
  readings: [Sample[], Sample[]],
  now: number
): (number | null)[] {
  const orNone = (value: number): number | null => (Number.isFinite(value) ? value : null)
  if (query.kind === 'ratio') {
    const count = (list: readonly Events[]): number => list.reduce((all, one) => all + events(readings, one), 0)
    return [orNone((count(query.part) / count(query.whole)) * (query.times ?? 1))]
  }
  const one = { metric: query.metric, where: { ...query.where, ...labels } }
  const values = select(readings[1], one).map(({ value }) => value)
  switch (query.kind) {
    case 'rate':
      return [(events(readings, one) / SECONDS) * (query.per === 'minute' ? 60 : 1)]
    case 'mean': {
      const [before, after] = readings.map((samples) => sum(select(samples, one, '_sum')))
      return [orNone((after! - before!) / events(readings, one))]
    }
    case 'quantile':
      return [quantile(query.quantile, buckets(readings, one))]
    case 'heatmap':
      return buckets(readings, one).map(([, count]) => count)
    case 'share': {
      const { of } = query
      const shares = select(readings[1], one).flatMap(({ labels: own, value }) => {
        const [whole] = select(readings[1], { metric: of, where: own })
        return whole!.value > 0 ? [value / whole!.value] : []
      })
      return [shares.length === 0 ? null : Math[query.over](...shares)]
    }
    case 'age':
      return [Math.max(...values) > 0 ? now - Math.max(...values) : null]
    default:
      return [query.over === 'sum' ? values.reduce((all, value) => all + value, 0) : Math[query.over](...values)]
  }
}

async function drive(app: FastifyInstance): Promise<void> {
  for (const country of ['Switzerland', 'Germany', 'Switzerland']) await app.inject(`/ranking?country=${country}`)
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  for (let i = 0; i < 5; i++) await app.inject({ method: 'POST', url: '/predict_raw', payload: { features } })
  for (const url of ['/ticker_info/AAPL', '/ticker_info/NOSUCH', '/predict_ticker/NOSUCH', '/nothing', '/countries']) {
    await app.inject(url)
  }
  for (let i = 0; i < 12; i++) await app.inject('/models')
}

t.test('every answer of every panel is what the exposition says', async (t) => {
  const app = await build(t, { RATE_LIMIT_RPM: '20' })
  const clock = { now: Date.now() }
  await app.inject('/models')
  // Born before the first reading: later ones would count from 0 here too, but not in the subtraction below.
  await drive(app)
  const ring = await createRing(app.metrics.registry, rows, () => clock.now)
  await ring.tick()
  const before = await readSamples(app)
  await drive(app)
  await drive(app)
  // A reading of the bytes on sockets and of prom-client's event loop takes a turn.
  await sleep(1)
  clock.now += SECONDS * 1000
  await ring.tick()
  const after = await readSamples(app)

  const answers = [...ring.since(0).queries]
  t.equal(answers.length, queries.length)
  let compared = 0
  let alive = 0
  for (const [i, query] of queries.entries()) {
    // What the process does meanwhile is different at each reading, and so is the scrape itself.
    if (metricsOfQuery(query).some((name) => name in runtime || name === 'metrics_scrape_duration_seconds')) {
      t.ok(
        answers[i]!.every(({ points }) => points.length === 2),
        `${JSON.stringify(query)} has its ticks`
      )
      continue
    }
    const by = 'by' in query ? (query.by ?? []) : []
    const groups = new Map<string, Record<string, string>>()
    const found =
      'metric' in query ? ['', '_count'].flatMap((suffix) => select(after, query, suffix)) : [{ labels: {} }]
    for (const { labels } of found) {
      const own = Object.fromEntries(by.map((label) => [label, (labels as Record<string, string>)[label] ?? '']))
      groups.set(JSON.stringify(own), own)
    }
    const expected = [...groups.values()].flatMap((labels) => answer(query, labels, [before, after], clock.now / 1000))
    const got = answers[i]!.map(({ points }) => points[1] ?? null)
    t.equal(got.length, expected.length, `${JSON.stringify(query)} has as many series`)
    for (const [n, value] of expected.entries()) {
      const near =
        value === null || got[n] == null ? value === got[n] : Math.abs(got[n] - value) <= Math.abs(value) * 1e-4
      t.ok(near, `${query.kind} ${metricsOfQuery(query).join()} ${answers[i]![n]?.name}: ${got[n]}, computed ${value}`)
      compared++
      if (value !== null && value !== 0) alive++
    }
  }
  t.comment(`${compared} answers, ${alive} of them neither 0 nor nothing`)
  t.ok(alive >= 30, `${alive} of ${compared} answers are of something`)
})

t.test('that prices are invented is said where they are', async (t) => {
  const simulated = await build(t)
  t.match((await simulated.inject('/dashboard/data')).json().notice, /^Prices are invented/)
  const source = fakeSource({ AAA: waveCandles() }, { name: 'csv', kind: 'historical' })
  const real = await build(t, { ALLOW_SIMULATED_MODEL: '1' }, { source })
  t.equal((await real.inject('/dashboard/data')).json().notice, null)
})

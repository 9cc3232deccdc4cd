/** A question answered from two readings of the metrics, as PromQL would answer it for one instance. */
import type { Columns } from './columns.ts'
import { estimateQuantile } from './json.ts'
import { type Events, type Matcher, type PanelQuery, metricsOfQuery } from './panels.ts'

/** Reads for a query, by group, the numbers that its answer is made from. */
export interface Totals {
  /** Numbers a group. */
  readonly width: number
  /** Bounds of the histogram it asks, if it asks one. */
  readonly bounds: Float64Array
  /** The labels `by` of each group, in the order in which they appeared. */
  readonly groups: readonly Readonly<Record<string, string>>[]
  /** `width` numbers for each group, in order; NaN without a series. */
  read(columns: ReadonlyMap<string, Columns>): Float64Array[]
}

/** Groups a query may have; further ones are added up in one. */
const MAX_GROUPS = 100
const OTHERS = 'others'

function matches(value: string, matcher: Matcher): boolean {
  if (typeof matcher === 'string') return value === matcher
  const pattern = matcher instanceof RegExp ? matcher : matcher.not
  // As in PromQL, a pattern is of the whole value.
  return new RegExp(`^(?:${pattern.source})$`, pattern.flags).test(value) === matcher instanceof RegExp
}

function selects(where: Events['where'] = {}, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(where).every(([name, matcher]) => matches(labels[name] ?? '', matcher!))
}

/** What of a series is added up, and where in the group's numbers. */
interface Part extends Events {
  by: readonly string[]
  /** What is taken of a series (`all`: every metric of the query), NaN: nothing, */
  take: (columns: Columns, offset: number, index: number, all: ReadonlyMap<string, Columns>) => ArrayLike<number>
  /** and from which place on it is added to the numbers of its group. */
  at: number
}

/** The events of a series: a counter's value, or the observations of a histogram up to a bound. */
function eventsOf({ values, width, bounds }: Columns, offset: number, upTo = Infinity): number {
  if (bounds.length === 0) return values[offset]!
  let sum = 0
  for (let bucket = 0; bucket < width - 1; bucket++) {
    if ((bounds[bucket] ?? Infinity) <= upTo) sum += values[offset + bucket]!
  }
  return sum
}

const buckets: Part['take'] = ({ values, width }, offset) => values.subarray(offset, offset + width - 1)
const first: Part['take'] = ({ values }, offset) => [values[offset]!]

const TAKES: Record<Exclude<PanelQuery['kind'], 'ratio' | 'share'>, Part['take']> = {
  rate: (columns, offset) => [eventsOf(columns, offset)],
  mean: (columns, offset) => [columns.values[offset + columns.width - 1]!, eventsOf(columns, offset)],
  quantile: buckets,
  heatmap: buckets,
  value: first,
  age: first
}

function partsOf(query: PanelQuery): Part[] {
  if (query.kind === 'ratio') return [...eventParts(query.part, 0), ...eventParts(query.whole, 1)]
  const { metric, where = {}, by = [] } = query
  if (query.kind === 'share') return [{ metric, where, by, at: 0, take: shareOf(query.of) }]
  return [{ metric, where, by, at: 0, take: TAKES[query.kind] }]
}

function eventParts(list: readonly Events[], at: number): Part[] {
  return list.map((one) => ({ ...one, by: [], at, take: (columns, offset) => [eventsOf(columns, offset, one.upTo)] }))
}

/** A gauge as a share of another one's series with the same labels. */
function shareOf(whole: string): Part['take'] {
  return ({ series, values }, offset, index, all) => {
    const labels = Object.entries(series[index]!)
    const { series: others, values: wholes } = all.get(whole)!
    const partner = others.findIndex((other) => labels.every(([name, value]) => other[name] === value))
    // Without a partner undefined is not above 0 either.
    return [wholes[partner]! > 0 ? values[offset]! / wholes[partner]! : Number.NaN]
  }
}

function widthOf({ kind }: PanelQuery, bounds: Float64Array): number {
  if (kind === 'ratio' || kind === 'mean') return 2
  return kind === 'quantile' || kind === 'heatmap' ? bounds.length + 1 : 1
}

/** How the numbers of several series become those of their group: counts are added up, gauges as the query says. */
function foldOf(query: PanelQuery): (sum: number, value: number) => number {
  const over = query.kind === 'age' ? 'max' : 'over' in query ? query.over : 'sum'
  return { sum: (sum: number, value: number) => sum + value, min: Math.min, max: Math.max }[over]
}

/** Prepares the reading of a query; `columns` has its metrics. */
export function totalsOf(query: PanelQuery, columns: ReadonlyMap<string, Columns>): Totals {
  const parts = partsOf(query)
  const { bounds } = columns.get(metricsOfQuery(query)[0]!)!
  const width = widthOf(query, bounds)
  const fold = foldOf(query)
  const groups: Record<string, string>[] = []
  const places = new Map<string, number>()
  // A family keeps the labels of its series as they are, so that their group has to be found only once.
  const known = parts.map(() => new WeakMap<object, number>())

  /** The group of a series; -1 if it is not asked for. */
  function placeOf({ by, where }: Part, labels: Readonly<Record<string, string>>): number {
    if (!selects(where, labels)) return -1
    const key = JSON.stringify(by.map((name) => labels[name] ?? ''))
    let place = places.get(key)
    if (place !== undefined) return place
    place = Math.min(groups.length, MAX_GROUPS)
    groups[place] ??= Object.fromEntries(by.map((name) => [name, place === MAX_GROUPS ? OTHERS : (labels[name] ?? '')]))
    places.set(key, place)
    return place
  }

  function add(into: Float64Array, at: number, taken: ArrayLike<number>): void {
    for (let n = 0; n < taken.length; n++) {
      const [before, value] = [into[at + n]!, taken[n]!]
      if (!Number.isNaN(value)) into[at + n] = Number.isNaN(before) ? value : fold(before, value)
    }
  }

  function read(current: ReadonlyMap<string, Columns>): Float64Array[] {
    const totals: Float64Array[] = []
    for (const [p, part] of parts.entries()) {
      const own = current.get(part.metric)!
      for (const [i, labels] of own.series.entries()) {
        let place = known[p]!.get(labels)
        if (place === undefined) known[p]!.set(labels, (place = placeOf(part, labels)))
        if (place === -1) continue
        add(
          (totals[place] ??= new Float64Array(width).fill(Number.NaN)),
          part.at,
          part.take(own, i * own.width, i, current)
        )
      }
    }
    // A group whose series are gone, as only another library's can be.
    return groups.map((_group, place) => totals[place] ?? new Float64Array(width).fill(Number.NaN))
  }

  return { width, bounds, groups, read }
}

/** The time between two readings. */
export interface Span {
  /** Seconds between them; 0: there is no earlier one. */
  seconds: number
  /** Unix time of the later one. */
  now: number
}

/** What happened between two readings of counts. One that went down was set back, and is what happened since. */
export function increase(now: Float64Array, before: Float64Array | undefined): Float64Array {
  return now.map((total, i) => {
    const from = before?.[i] ?? 0
    // A series that was not there had counted nothing.
    return Number.isNaN(from) || total < from ? total : total - from
  })
}

/** The values of a query's group, NaN: none. One value; of a heatmap one for each bucket. */
export function valuesOf(
  query: PanelQuery,
  bounds: Float64Array,
  now: Float64Array,
  before: Float64Array | undefined,
  span: Span
): ArrayLike<number> {
  if (query.kind === 'value' || query.kind === 'share') return now
  if (query.kind === 'age') return [now[0]! > 0 ? span.now - now[0]! : Number.NaN]
  const more = increase(now, before)
  if (span.seconds === 0) return more.fill(Number.NaN)
  switch (query.kind) {
    case 'rate':
      return [(more[0]! / span.seconds) * (query.per === 'minute' ? 60 : 1)]
    case 'quantile':
      return [estimateQuantile(query.quantile, bounds, cumulative(more)) ?? Number.NaN]
    case 'mean':
      // 0 / 0 is NaN.
      return [more[0]! / more[1]!]
    case 'ratio':
      return [(more[0]! / more[1]!) * (query.times ?? 1)]
    case 'heatmap':
  }
  return more
}

function cumulative(counts: Float64Array): number[] {
  let sum = 0
  return Array.from(counts, (number) => (sum += number))
}

/**
 * What a panel asks: a few shapes of question that are asked of metrics, each typed by the catalogue and printed as PromQL.
 * As data, and not as text, so that a misspelt metric or label does not compile and whatever else draws panels can read them.
 */
import type { Matcher } from '../plugins/metrics/index.ts'
import { catalogue } from './catalogue.ts'

/** Metrics of prom-client that panels show; the rest of the process' metrics are in the exposition all the same. */
export const runtime = {
  process_cpu_seconds_total: { type: 'counter' },
  process_start_time_seconds: { type: 'gauge' },
  process_resident_memory_bytes: { type: 'gauge' },
  process_open_fds: { type: 'gauge' },
  nodejs_heap_size_used_bytes: { type: 'gauge' },
  nodejs_external_memory_bytes: { type: 'gauge' },
  nodejs_eventloop_lag_p50_seconds: { type: 'gauge' },
  nodejs_eventloop_lag_p99_seconds: { type: 'gauge' },
  nodejs_eventloop_lag_max_seconds: { type: 'gauge' },
  nodejs_gc_duration_seconds: { type: 'histogram', labels: { kind: ['incremental', 'major', 'minor', 'weakcb'] } }
} as const

type Known = typeof catalogue & typeof runtime
type Type = 'counter' | 'gauge' | 'histogram'
type Named<T extends Type> = { [N in keyof Known]: Known[N]['type'] extends T ? N : never }[keyof Known]
type LabelOf<N extends keyof Known> = Known[N] extends { labels: infer L } ? keyof L & string : never

type Where<N extends keyof Known> = [LabelOf<N>] extends [never] ? never : { [label in LabelOf<N>]?: Matcher }
type Grouped<N extends keyof Known> = { by?: readonly LabelOf<N>[]; where?: Where<N> }

/** Events of a counter, or observations of a histogram: all of them, or those up to the bound `upTo`. */
type EventsOf = {
  [N in Named<'counter' | 'histogram'>]: {
    metric: N
    where?: Where<N>
    upTo?: Known[N] extends { buckets: readonly (infer B)[] } ? B : never
  }
}[Named<'counter' | 'histogram'>]

/** A question. Every one is asked of all instances together; `by` keeps the labels that make series of the answer. */
export type Query = { legend?: string } & (
  | {
      [N in Named<'counter' | 'histogram'>]: { kind: 'rate'; metric: N; per?: 'second' | 'minute' } & Grouped<N>
    }[Named<'counter' | 'histogram'>]
  /** A quantile of what a histogram observed; nothing while it observed nothing. */
  | {
      [N in Named<'histogram'>]: { kind: 'quantile'; metric: N; quantile: number } & Grouped<N>
    }[Named<'histogram'>]
  /** The mean of what a histogram observed; nothing while it observed nothing. */
  | { [N in Named<'histogram'>]: { kind: 'mean'; metric: N } & Grouped<N> }[Named<'histogram'>]
  /** The share of some events in others; nothing while there are none of these. `window` is the panel's interval by default. */
  | { kind: 'ratio'; part: readonly EventsOf[]; whole: readonly EventsOf[]; times?: number; window?: '5m' | '1h' }
  /** A gauge, over the instances. */
  | { [N in Named<'gauge'>]: { kind: 'value'; metric: N; over: 'sum' | 'min' | 'max' } & Grouped<N> }[Named<'gauge'>]
  /** A gauge as a share of another one with the same labels; nothing while that is 0. */
  | {
      [N in Named<'gauge'>]: { kind: 'share'; metric: N; of: Named<'gauge'>; over: 'min' | 'max' } & Grouped<N>
    }[Named<'gauge'>]
  /** Seconds since the Unix time in a gauge; nothing while it is 0. */
  | { [N in Named<'gauge'>]: { kind: 'age'; metric: N } & Grouped<N> }[Named<'gauge'>]
  /** Observations by bucket. */
  | { [N in Named<'histogram'>]: { kind: 'heatmap'; metric: N; by?: never; where?: Where<N> } }[Named<'histogram'>]
)

/** What surrounds a query where it is asked. */
export interface Scope {
  /** Matchers that every selector gets, as PromQL: `job="trading-fun-api"`. */
  selector?: string
  /** The range of rates: `5m`, `$__rate_interval`. */
  interval: string
}

type Selected = { metric: string; where?: Readonly<Record<string, Matcher | undefined>>; by?: readonly string[] }

/** A PromQL string: quotes and backslashes are escaped as in JSON. */
const quoted = (value: string): string => JSON.stringify(value)

/** The source of a pattern; PromQL has no `/` around it that would ask for an escape within. */
function pattern({ source }: RegExp): string {
  return quoted(source.replaceAll(/\\[^]/g, (escape) => (escape === '\\/' ? '/' : escape)))
}

function matcher(label: string, value: Matcher): string {
  if (typeof value === 'string') return `${label}=${quoted(value)}`
  return value instanceof RegExp ? `${label}=~${pattern(value)}` : `${label}!~${pattern(value.not)}`
}

function select({ metric, where = {} }: Selected, { selector }: Scope, suffix = '', more: string[] = []): string {
  const own = Object.entries(where).map(([label, value]) => matcher(label, value!))
  const matchers = [...(selector === undefined ? [] : [selector]), ...own, ...more].join(', ')
  return `${metric}${suffix}${matchers && `{${matchers}}`}`
}

function grouped(aggregation: string, by: readonly string[], inner: string): string {
  return by.length === 0 ? `${aggregation}(${inner})` : `${aggregation} by (${by.join(', ')}) (${inner})`
}

function isHistogram(metric: keyof Known): boolean {
  return ({ ...catalogue, ...runtime } as Record<string, { type: Type }>)[metric]!.type === 'histogram'
}

/** A bound as the exposition prints it, on every version of Prometheus. */
function bound(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value)
}

function events(of: EventsOf, scope: Scope, window: string): string {
  const { upTo } = of
  if (upTo !== undefined) return `sum(rate(${select(of, scope, '_bucket', [`le="${bound(upTo)}"`])}[${window}]))`
  return `sum(rate(${select(of, scope, isHistogram(of.metric) ? '_count' : '')}[${window}]))`
}

/** A query as PromQL. */
export function promql(query: Query, scope: Scope): string {
  const { interval } = scope
  if (query.kind === 'ratio') {
    const { part, whole, times, window = interval } = query
    const sum = (list: readonly EventsOf[]): string => list.map((of) => events(of, scope, window)).join(' + ')
    const [above, below] = [sum(part), sum(whole)].map((text) => (text.includes(' + ') ? `(${text})` : text))
    const quotient = `${above} / (${below} > 0)`
    // Prometheus extrapolates each series by itself: shortly after a start a bucket can grow faster than the count.
    const share = part.some(({ upTo }) => upTo !== undefined) ? `clamp_max(${quotient}, 1)` : quotient
    return times === undefined ? share : `${share} * ${times}`
  }
  const { by = [] } = query
  const rate = (suffix: string): string => `rate(${select(query, scope, suffix)}[${interval}])`
  switch (query.kind) {
    case 'rate': {
      const perSecond = grouped('sum', by, rate(isHistogram(query.metric) ? '_count' : ''))
      return query.per === 'minute' ? `${perSecond} * 60` : perSecond
    }
    case 'quantile':
      // Without observations a quantile is NaN, which no comparison lets through.
      return `histogram_quantile(${query.quantile}, ${grouped('sum', [...by, 'le'], rate('_bucket'))}) >= 0`
    case 'mean':
      return `${grouped('sum', by, rate('_sum'))} / (${grouped('sum', by, rate('_count'))} > 0)`
    case 'value':
      return grouped(query.over, by, select(query, scope))
    case 'share': {
      const whole = select({ metric: query.of, ...(query.where && { where: query.where }) }, scope)
      return grouped(query.over, by, `${select(query, scope)} / (${whole} > 0)`)
    }
    case 'age':
      return `time() - ${grouped('max', by, `${select(query, scope)} > 0`)}`
    case 'heatmap':
  }
  return grouped('sum', [...by, 'le'], `increase(${select(query, scope, '_bucket')}[${interval}])`)
}

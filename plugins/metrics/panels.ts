/** What a panel is: questions to metrics as data, which the dashboard answers by itself and others may print as PromQL. */

/** How values are printed. `count`: as a plain number; `state`: 1 or 0, named by `states`. */
export const UNITS = [
  'per second',
  'per minute',
  'bytes per second',
  'seconds',
  'bytes',
  'ratio',
  'count',
  'state'
] as const
export type Unit = (typeof UNITS)[number]

/** How a panel draws. */
export const SHOWS = ['lines', 'stacked', 'number', 'gauge', 'heatmap'] as const

/** Colours of thresholds. */
export const COLOURS = ['green', 'amber', 'red', 'blue'] as const

/** Where a value begins to mean something. */
export interface Threshold {
  /** From this value on. */
  from: number
  colour: (typeof COLOURS)[number]
}

/** A label's value: exactly, by a pattern that must match all of it, or by one that must not. */
export type Matcher = string | RegExp | { not: RegExp }

/** Which series of a metric; all without `where`. */
export interface Selector {
  metric: string
  where?: Readonly<Record<string, Matcher | undefined>>
}

/** Events of a counter, or observations of a histogram: all of them, or those up to the bound `upTo`. */
export interface Events extends Selector {
  upTo?: number
}

/** Series of the answer have the labels `by`; all others are taken together. */
interface Grouped extends Selector {
  by?: readonly string[]
}

/** A question. `legend` names its series: a text, with labels as `{{label}}`. */
export type PanelQuery = { legend?: string } &
  /** Events of a counter, or observations of a histogram. */
  (
    | ({ kind: 'rate'; per?: 'second' | 'minute' } & Grouped)
    /** A quantile, 0 to 1, of what a histogram observed; nothing while it observed nothing. */
    | ({ kind: 'quantile'; quantile: number } & Grouped)
    /** The mean of what a histogram observed; nothing while it observed nothing. */
    | ({ kind: 'mean' } & Grouped)
    /** The share of some events in others, `times` a number; nothing while there are none of these. */
    | { kind: 'ratio'; part: readonly Events[]; whole: readonly Events[]; times?: number; window?: '5m' | '1h' }
    /** A gauge, over its series. */
    | ({ kind: 'value'; over: 'sum' | 'min' | 'max' } & Grouped)
    /** A gauge as a share of the gauge `of` with the same labels, over its series; nothing while that is 0. */
    | ({ kind: 'share'; of: string; over: 'min' | 'max' } & Grouped)
    /** Seconds since the Unix time in a gauge; nothing while it is 0. */
    | ({ kind: 'age' } & Grouped)
    /** Observations by bucket. */
    | ({ kind: 'heatmap'; by?: never } & Selector)
  )

/** A panel; `Q` may be a narrower kind of question. */
export interface Panel<Q extends PanelQuery = PanelQuery> {
  title: string
  /** What it shows, and what to think of it. */
  description: string
  unit: Unit
  show: (typeof SHOWS)[number]
  queries: readonly Q[]
  /** Ascending; the first is the base, for all values below it too. Without thresholds the colours mean series. */
  thresholds?: readonly Threshold[]
  /** Names of the values 0 and 1. */
  states?: readonly [string, string]
  /** Said instead of a value while there is none: for ratios and means of events that may not happen. */
  idle?: string
}

/** Panels under a common title. */
export interface Row<Q extends PanelQuery = PanelQuery> {
  title: string
  panels: readonly Panel<Q>[]
  /** Folded up at first. */
  folded?: boolean
}

const whole = [{ metric: 'http_requests_total' }] as const
const quantile = (of: number): PanelQuery => ({
  kind: 'quantile',
  metric: 'http_request_duration_seconds',
  quantile: of,
  legend: `p${of * 100}`
})

/** For any Fastify service: requests, errors, latency, saturation. */
export const defaultRows: readonly Row[] = [
  {
    title: 'Requests',
    panels: [
      {
        title: 'Request rate',
        description: 'Requests answered, by route. Every request counts once, whatever ended it.',
        unit: 'per second',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'http_requests_total', by: ['endpoint'] }]
      },
      {
        title: 'Failed requests',
        description: 'The share of requests that ended with 5xx within five minutes.',
        unit: 'ratio',
        show: 'number',
        queries: [
          { kind: 'ratio', part: [{ metric: 'http_requests_total', where: { status: /5../ } }], whole, window: '5m' }
        ],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 0.001, colour: 'amber' },
          { from: 0.05, colour: 'red' }
        ],
        idle: 'no requests'
      },
      {
        title: 'Replies by status',
        description: '499: the client closed the connection before the reply.',
        unit: 'per second',
        show: 'stacked',
        queries: [{ kind: 'rate', metric: 'http_requests_total', by: ['status'] }]
      },
      {
        title: 'Response time',
        description: 'Quantiles over all routes.',
        unit: 'seconds',
        show: 'lines',
        queries: [quantile(0.5), quantile(0.95), quantile(0.99)],
        idle: 'no requests'
      },
      {
        title: 'Response time by route (p95)',
        description: 'The time within which 95 % of the requests of a route were answered.',
        unit: 'seconds',
        show: 'lines',
        queries: [{ kind: 'quantile', metric: 'http_request_duration_seconds', quantile: 0.95, by: ['endpoint'] }],
        idle: 'no requests'
      },
      {
        title: 'Requests in flight',
        description: 'Arrived and not answered yet.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'value', metric: 'http_requests_in_flight', over: 'sum', legend: 'in flight' }]
      }
    ]
  },
  {
    title: 'Process',
    panels: [
      {
        title: 'Event loop delay',
        description: 'How late the event loop is; everything waits for it.',
        unit: 'seconds',
        show: 'lines',
        queries: [
          { kind: 'value', metric: 'nodejs_eventloop_lag_p50_seconds', over: 'max', legend: 'p50' },
          { kind: 'value', metric: 'nodejs_eventloop_lag_p99_seconds', over: 'max', legend: 'p99' }
        ],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 0.1, colour: 'amber' },
          { from: 0.2, colour: 'red' }
        ]
      },
      {
        title: 'CPU',
        description: 'Cores in use. JavaScript runs on one.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'process_cpu_seconds_total', legend: 'cores' }]
      },
      {
        title: 'Memory',
        description: 'Of the process, and what JavaScript uses of it.',
        unit: 'bytes',
        show: 'lines',
        queries: [
          { kind: 'value', metric: 'process_resident_memory_bytes', over: 'max', legend: 'resident' },
          { kind: 'value', metric: 'nodejs_heap_size_used_bytes', over: 'max', legend: 'heap' }
        ]
      }
    ]
  }
]

/** The metrics that a query asks. */
export function metricsOfQuery(query: PanelQuery): string[] {
  if (query.kind === 'ratio') return [...query.part, ...query.whole].map(({ metric }) => metric)
  return query.kind === 'share' ? [query.metric, query.of] : [query.metric]
}

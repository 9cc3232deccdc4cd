/** `@trading-fun/metrics`: Prometheus metrics for a Fastify service, true and nearly free. */
import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import promClient, { type Metric, type Registry } from 'prom-client'
import type { Catalogue, Handles, NoLabels } from './catalogue.ts'
import { watchConnections } from './connections.ts'
import { type DashboardOptions, registerDashboard } from './dashboard.ts'
import { TF_ERR_METRICS_OPTIONS, TF_ERR_METRICS_REGISTERED } from './errors.ts'
import { exposition } from './exposition.ts'
import { Counter, Family, type FamilyLimits, Gauge, type LabelSpec } from './families.ts'
import { type Format, TEXT_FORMAT } from './format.ts'
import { Histogram } from './histogram.ts'
import { httpCatalogue, instrumentHttp } from './http.ts'
import { type MetricJson, metricsJson } from './json.ts'
import { type MetricsData, MetricsOptionsSchema, parseOptions } from './options.ts'
import { registerProcessMetrics } from './process.ts'
import { bearerGuard, registerScrape } from './scrape.ts'

export type { Catalogue, Handles, MetricSpec } from './catalogue.ts'
export type { DashboardOptions } from './dashboard.ts'
export * from './errors.ts'
export type { Counter, CounterCell, Gauge, GaugeCell, LabelSpec } from './families.ts'
export type { Histogram, HistogramCell } from './histogram.ts'
export { OPENMETRICS_FORMAT, TEXT_FORMAT } from './format.ts'

export type { MetricJson, SeriesJson } from './json.ts'
export { MetricsOptionsSchema } from './options.ts'
export { defaultRows } from './panels.ts'
export type { Events, Matcher, Panel, PanelQuery, Row, Threshold, Unit } from './panels.ts'

/** What the plugin writes of itself. */
const ownCatalogue = {
  metrics_series_dropped_total: {
    type: 'counter',
    help: 'Label sets that were counted in the overflow series of their metric: it has too many, or they were wrong.',
    labels: { metric: [] }
  },
  metrics_scrape_duration_seconds: {
    type: 'histogram',
    help: 'Seconds that it took to print the exposition.',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1]
  }
} as const satisfies Catalogue

/** All metrics that the plugin writes by itself, for catalogues and documents. */
export const pluginCatalogue = { ...httpCatalogue, ...ownCatalogue } as const

/** What `fastify.metrics` offers, beside fastify-metrics' own `initMetricsInRegistry`. */
export interface Metrics {
  /** The metrics client in use, with its classes: `new client.Gauge({ registers: [registry] })`. */
  readonly client: typeof promClient
  /** This instance's registry; every metric of the instance is in it. */
  readonly registry: Registry
  /** Registers a counter; closed label sets appear at 0. Throws if the name is taken or lacks `_total`. */
  counter<const L extends LabelSpec = NoLabels>(name: string, spec: { help: string; labels?: L }): Counter<L>
  /** Registers a gauge; closed label sets appear at 0. Throws if the name is taken. */
  gauge<const L extends LabelSpec = NoLabels>(name: string, spec: { help: string; labels?: L }): Gauge<L>
  /** Registers a histogram with ascending upper bounds; closed label sets appear at 0. Throws if the name is taken. */
  histogram<const L extends LabelSpec = NoLabels>(
    name: string,
    spec: { help: string; labels?: L; buckets: readonly number[] }
  ): Histogram<L>
  /** Registers every metric of a catalogue that is not there yet and returns their typed handles. */
  define<const C extends Catalogue>(catalogue: C): Handles<C>
  /** All metrics as of one instant, in the text format 0.0.4 or in OpenMetrics. */
  exposition(format?: Format): Promise<Buffer>
  /** All metrics as JSON, or those whose names begin with one of the prefixes. */
  json(prefixes?: readonly string[]): Promise<MetricJson[]>
  /** An onRequest hook that asks for the plugin's bearer token, for other routes that show numbers. */
  readonly guard: onRequestHookHandler
  /** Counts a request that no hook sees: to be called by the server option `frameworkErrors`. */
  countUnrouted(request: FastifyRequest, reply: FastifyReply): void
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by `@trading-fun/metrics`. */
    metrics: Metrics
  }
}

/** What we ask of a registry, whichever copy of whichever client it comes from: their classes are not interchangeable types. */
export interface AnyRegistry {
  registerMetric(metric: never): void
  getMetricsAsArray(): unknown[]
  getSingleMetric(name: string): unknown
}

/** What we ask of a metrics client. */
export interface AnyClient {
  readonly Registry: new () => AnyRegistry
  collectDefaultMetrics(options?: never): void
}

/** All options are optional. */
export interface MetricsOptions extends Partial<MetricsData> {
  /** A registry to add to instead of an own one; of prom-client or of the given client. */
  registry?: AnyRegistry
  /** The metrics client, for a package other than prom-client with the same interface, such as `@prometheus-io/client`. */
  client?: AnyClient
  /** A page that shows the last hour in a browser; true: with its defaults. Its data ask for `token`. @default false */
  dashboard?: boolean | DashboardOptions
}

type Builders = Pick<Metrics, 'counter' | 'gauge' | 'histogram' | 'define'>

function builders(registry: Registry, limits: FamilyLimits): Builders {
  /** A family has all that a registry uses of a metric, though prom-client's type asks for its own class. */
  function register<F extends { initialize(): F }>(family: F): F {
    registry.registerMetric(family as unknown as Metric)
    return family.initialize()
  }
  const counter: Metrics['counter'] = (name, { help, labels }) =>
    register(new Counter(name, help, labels ?? {}, limits))
  const gauge: Metrics['gauge'] = (name, { help, labels }) => register(new Gauge(name, help, labels ?? {}, limits))
  const histogram: Metrics['histogram'] = (name, { help, labels, buckets }) =>
    register(new Histogram(name, help, labels ?? {}, buckets, limits))

  function define<const C extends Catalogue>(catalogue: C): Handles<C> {
    const handles = Object.entries(catalogue).map(([name, spec]) => {
      const known = registry.getSingleMetric(name)
      if (known !== undefined) return [name, known]
      if (spec.type === 'histogram') return [name, histogram(name, spec)]
      return [name, spec.type === 'counter' ? counter(name, spec) : gauge(name, spec)]
    })
    return Object.fromEntries(handles)
  }
  return { counter, gauge, histogram, define }
}

async function metrics(fastify: FastifyInstance, options: MetricsOptions): Promise<void> {
  if (fastify.hasDecorator('metrics')) throw new TF_ERR_METRICS_REGISTERED()
  const { client: givenClient = promClient, registry: givenRegistry, dashboard = false, ...data } = options
  const client = givenClient as typeof promClient
  if (typeof client.Registry !== 'function') throw new TF_ERR_METRICS_OPTIONS('client: Expected a metrics client')
  const registry = (givenRegistry ?? new client.Registry()) as Registry
  if (typeof registry.registerMetric !== 'function') throw new TF_ERR_METRICS_OPTIONS('registry: Expected a registry')
  const { endpoint, token, processMetrics, maxSeries } = parseOptions(MetricsOptionsSchema, data)

  const limits: FamilyLimits = {
    maxSeries,
    serving: false,
    onDropped: (metric) => metric !== dropped.name && dropped.labels({ metric }).inc()
  }
  const build = builders(registry, limits)
  const { metrics_series_dropped_total: dropped, metrics_scrape_duration_seconds: scrapes } = build.define(ownCatalogue)
  const http = build.define(httpCatalogue)

  await registerProcessMetrics(fastify, client, registry, processMetrics)
  const countUnrouted = instrumentHttp(fastify, http, watchConnections(fastify, http))
  const guard = bearerGuard(token)
  const decorator = Object.assign(fastify.metrics, {
    ...build,
    client,
    registry,
    exposition: async (format: Format = TEXT_FORMAT) => exposition(registry, format),
    json: async (prefixes?: readonly string[]) => metricsJson(registry, prefixes),
    guard,
    countUnrouted
  } satisfies Metrics)

  const scrapeSeconds = scrapes.labels({})
  if (endpoint !== null) {
    registerScrape(fastify, endpoint, guard, decorator.exposition, (seconds) => scrapeSeconds.observe(seconds))
  }
  fastify.addHook('onReady', async () => {
    // There at 0 before the first drop: a rate does not see a series that is born at 1.
    for (const metric of registry.getMetricsAsArray() as object[]) {
      if (metric instanceof Family && metric.open && metric !== dropped) dropped.labels({ metric: metric.name })
    }
    limits.serving = true
  })
  if (dashboard !== false) registerDashboard(fastify, registry, guard, dashboard === true ? {} : dashboard)
}

export default fp(metrics, { name: '@trading-fun/metrics', fastify: '5.x' })

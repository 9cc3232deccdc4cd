/** `@trading-fun/metrics`: Prometheus metrics for a Fastify service, true and nearly free. */
import { createRequire } from 'node:module'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import promClient, { type Metric, type Registry } from 'prom-client'
import type { Catalogue, Handles, NoLabels } from './catalogue.ts'
import { TEXT_FORMAT, exposition } from './exposition.ts'
import { Counter, Gauge, Histogram, type LabelSpec } from './families.ts'
import { httpCatalogue, instrumentHttp } from './http.ts'
import { type MetricJson, metricsJson } from './json.ts'
import { type MetricsData, MetricsOptionsSchema, TF_ERR_METRICS_REGISTERED, parseOptions } from './options.ts'

export type { Catalogue, Handles, MetricSpec } from './catalogue.ts'
export type { Counter, CounterCell, Gauge, GaugeCell, Histogram, HistogramCell, LabelSpec } from './families.ts'
export { METHODS, httpCatalogue } from './http.ts'
export type { MetricJson, SeriesJson } from './json.ts'
export { MetricsOptionsSchema, TF_ERR_METRICS_OPTIONS, TF_ERR_METRICS_REGISTERED } from './options.ts'

/** What `fastify.metrics` offers, beside fastify-metrics' own `client` and `initMetricsInRegistry`. */
export interface Metrics {
  /** The metrics client in use, with its classes: `new client.Gauge({ registers: [registry] })`. */
  readonly client: typeof promClient
  /** This instance's registry; every metric of the instance is in it. */
  readonly registry: Registry
  /** Registers a counter; closed label sets appear at 0. Throws if the name is taken. */
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
  /** The text format 0.0.4 of all metrics. */
  exposition(): Promise<string>
  /** All metrics as JSON. */
  json(): Promise<MetricJson[]>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by `@trading-fun/metrics`. */
    metrics: Metrics
  }
}

/** All options are optional. */
export interface MetricsOptions extends Partial<MetricsData> {
  /** A registry to add to instead of an own one. It must belong to the same copy of prom-client. */
  registry?: Registry
}

// By require: an import would bring fastify-metrics' own declaration of `fastify.metrics` into the program (TS2717).
const fastifyMetrics = (
  createRequire(import.meta.url)('fastify-metrics') as { default: FastifyPluginAsync<Record<string, unknown>> }
).default

function build(registry: Registry): Omit<Metrics, 'client'> {
  /** A family has all that a registry uses of a metric, though prom-client's type asks for its own class. */
  function register<F extends { initialize(): F }>(family: F): F {
    registry.registerMetric(family as unknown as Metric)
    return family.initialize()
  }
  const counter: Metrics['counter'] = (name, { help, labels }) => register(new Counter(name, help, labels ?? {}))
  const gauge: Metrics['gauge'] = (name, { help, labels }) => register(new Gauge(name, help, labels ?? {}))
  const histogram: Metrics['histogram'] = (name, { help, labels, buckets }) =>
    register(new Histogram(name, help, labels ?? {}, buckets))

  function define<const C extends Catalogue>(catalogue: C): Handles<C> {
    const handles = Object.entries(catalogue).map(([name, spec]) => {
      const known = registry.getSingleMetric(name)
      if (known !== undefined) return [name, known]
      if (spec.type === 'histogram') return [name, histogram(name, spec)]
      return [name, spec.type === 'counter' ? counter(name, spec) : gauge(name, spec)]
    })
    return Object.fromEntries(handles)
  }

  return {
    registry,
    counter,
    gauge,
    histogram,
    define,
    exposition: () => exposition(registry),
    json: () => metricsJson(registry)
  }
}

async function metrics(fastify: FastifyInstance, options: MetricsOptions): Promise<void> {
  if (fastify.hasDecorator('metrics')) throw new TF_ERR_METRICS_REGISTERED()
  const { registry = new promClient.Registry(), ...data } = options
  const { endpoint, processMetrics } = parseOptions(MetricsOptionsSchema, data)

  await fastify.register(fastifyMetrics, {
    name: 'metrics',
    promClient,
    endpoint: null,
    routeMetrics: { enabled: false },
    defaultMetrics: { enabled: processMetrics, register: registry }
  })
  const decorator = Object.assign(fastify.metrics, build(registry))

  instrumentHttp(fastify, decorator.define(httpCatalogue))

  if (endpoint !== null) {
    fastify.get(endpoint, { config: { metrics: false }, logLevel: 'warn' }, async (_request, reply) => {
      const text = await decorator.exposition()
      return reply.type(TEXT_FORMAT).send(text)
    })
  }
}

const plugin: typeof metrics = fp(metrics, { name: '@trading-fun/metrics', fastify: '5.x' })
export default plugin

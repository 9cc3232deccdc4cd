/** Process, event-loop and garbage-collection metrics: fastify-metrics' collection of prom-client's. */
import { createRequire } from 'node:module'
import type { PerformanceObserver, monitorEventLoopDelay } from 'node:perf_hooks'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import type promClient from 'prom-client'
import type { Registry } from 'prom-client'

const require = createRequire(import.meta.url)

// By require: an import would bring fastify-metrics' own declaration of `fastify.metrics` into the program (TS2717).
const { default: fastifyMetrics } = require('fastify-metrics') as {
  default: FastifyPluginAsync<Record<string, unknown>>
}

/** What prom-client uses of a monitor of the event loop. */
export type Monitor = Pick<
  ReturnType<typeof monitorEventLoopDelay>,
  'enable' | 'disable' | 'reset' | 'min' | 'max' | 'mean' | 'stddev' | 'percentile'
>

/** The two things of perf_hooks that prom-client starts and never stops. */
interface PerfHooks {
  PerformanceObserver: typeof PerformanceObserver
  monitorEventLoopDelay: (options?: object) => Monitor
}

/** Milliseconds that every reading covers at least. */
export const OVERLAP = 15_000

/**
 * A monitor for several readers. prom-client sets its monitor back at each reading, and so each reader would take from the
 * others what it has seen: a peak would be on the dashboard or in Prometheus, by chance. Here two monitors run, and readers are
 * given the older one; setting back takes effect when the younger one has `OVERLAP`, and takes its place. So a reading covers
 * at least that time, and all the time since the last one.
 */
export function shareMonitor(create: () => Monitor, now: () => number = () => performance.now()): Monitor {
  let [older, younger] = [create(), create()]
  let born = now()
  return {
    get min() {
      return older.min
    },
    get max() {
      return older.max
    },
    get mean() {
      return older.mean
    },
    get stddev() {
      return older.stddev
    },
    percentile: (percentile) => older.percentile(percentile),
    reset() {
      if (now() - born < OVERLAP) return
      older.reset()
      ;[older, younger] = [younger, older]
      born = now()
    },
    enable: () => [older.enable(), younger.enable()].includes(true),
    disable: () => [older.disable(), younger.disable()].includes(true)
  }
}

/**
 * Runs `collect` and returns what stops the observers that it started. prom-client keeps no hold of its observer of garbage
 * collections, nor of its monitor of the event loop: without this each closed instance would go on paying for both.
 */
function stoppable(collect: () => void): () => void {
  const hooks = require('node:perf_hooks') as PerfHooks
  const { PerformanceObserver: Observer, monitorEventLoopDelay: monitor } = hooks
  const stops: (() => void)[] = []
  hooks.PerformanceObserver = class extends Observer {
    constructor(...args: ConstructorParameters<typeof Observer>) {
      super(...args)
      stops.push(() => this.disconnect())
    }
  }
  hooks.monitorEventLoopDelay = (options) => {
    const shared = shareMonitor(() => monitor(options))
    stops.push(() => shared.disable())
    return shared
  }
  try {
    collect()
  } finally {
    Object.assign(hooks, { PerformanceObserver: Observer, monitorEventLoopDelay: monitor })
  }
  return () => {
    for (const stop of stops) stop()
  }
}

/** Registers fastify-metrics for its process metrics alone; its decorator is the base of ours. */
export async function registerProcessMetrics(
  fastify: FastifyInstance,
  client: typeof promClient,
  registry: Registry,
  enabled: boolean
): Promise<void> {
  const stops: (() => void)[] = []
  fastify.addHook('onClose', async () => stops.forEach((stop) => stop()))
  await fastify.register(fastifyMetrics, {
    name: 'metrics',
    promClient: {
      ...client,
      collectDefaultMetrics(options: Parameters<typeof client.collectDefaultMetrics>[0]) {
        stops.push(stoppable(() => client.collectDefaultMetrics(options)))
      }
    },
    endpoint: null,
    routeMetrics: { enabled: false },
    defaultMetrics: { enabled, register: registry }
  })
}

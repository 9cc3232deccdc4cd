/** Process, event-loop and garbage-collection metrics: fastify-metrics' collection of prom-client's. */
import { createRequire } from 'node:module'
import type { PerformanceObserver } from 'node:perf_hooks'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import type promClient from 'prom-client'
import type { Registry } from 'prom-client'

const require = createRequire(import.meta.url)

// By require: an import would bring fastify-metrics' own declaration of `fastify.metrics` into the program (TS2717).
const { default: fastifyMetrics } = require('fastify-metrics') as {
  default: FastifyPluginAsync<Record<string, unknown>>
}

/** The two things of perf_hooks that prom-client starts and never stops. */
interface PerfHooks {
  PerformanceObserver: typeof PerformanceObserver
  monitorEventLoopDelay: (options?: object) => { enable(): boolean; disable(): boolean }
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
    const histogram = monitor(options)
    stops.push(() => histogram.disable())
    return histogram
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

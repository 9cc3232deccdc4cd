/** What can go wrong, and who must notice. */
import type { Gate } from './gate.ts'
import type { DrillService } from './service.ts'
import type { Traffic } from './traffic.ts'

export interface Fault {
  name: string
  /** Alerts that must fire while it lasts, be told or held back, and be resolved afterwards. With the window, if there is one. */
  expected: readonly string[]
  /** Alerts that may fire too, because the fault causes what they watch. */
  consequences: readonly string[]
  inject(): unknown
  heal(): unknown
}

/** Alerts that remember failures for longer than a drill takes: nobody waits for their end. */
export const REMEMBERING: readonly string[] = ['ErrorBudgetBurn 6h', 'ErrorBudgetBurn 1d', 'ErrorBudgetBurn 3d']
const FAILED_REQUESTS: readonly string[] = ['HighErrorRate', 'ErrorBudgetBurn 1h', ...REMEMBERING]

/** Milliseconds: more than the limit of SlowResponseTime. */
const LATE = 2500
/** Milliseconds between two times that the cache is emptied; requests come twice a second. */
const EMPTIED_EVERY = 20

/**
 * Those that fail no request come first: after the others, alerts that remember failures may fire at any time.
 * @param redis the way to the Redis of the service, if it has one
 */
export function faultsOf(service: DrillService, traffic: Traffic, redis?: Gate): Fault[] {
  const { app, trouble, coingecko, scrapes } = service
  const model = app.model.names[0]!
  let emptying: NodeJS.Timeout | undefined
  const outage: Fault[] = redis
    ? [
        {
          name: 'Redis outage',
          expected: ['RedisDown'],
          consequences: [],
          inject: async () => redis.cut(),
          heal: async () => redis.mend()
        }
      ]
    : []
  return [
    ...outage,
    {
      name: 'scrape outage',
      expected: ['TargetDown', 'MetricsAbsent'],
      consequences: [],
      inject: async () => scrapes.cut(),
      heal: async () => scrapes.mend()
    },
    {
      name: 'latency',
      expected: ['SlowResponseTime'],
      consequences: [],
      inject: () => (trouble.delay = LATE),
      heal: () => (trouble.delay = 0)
    },
    {
      name: 'cold cache',
      expected: ['LowCacheHitRate'],
      consequences: [],
      inject: () => (emptying = setInterval(() => app.cache.clear(), EMPTIED_EVERY)),
      heal: () => clearInterval(emptying)
    },
    {
      name: 'request storm',
      expected: ['RateLimitStorm'],
      consequences: [],
      inject: () => (traffic.storm = true),
      heal: () => (traffic.storm = false)
    },
    {
      name: 'unloaded model',
      expected: ['ModelNotLoaded'],
      // Without rankings there are few hits.
      consequences: [...FAILED_REQUESTS, 'LowCacheHitRate', 'ModelRejecting'],
      inject: async () => app.model.unload(model),
      heal: async () => app.model.load(model)
    },
    {
      name: 'errors',
      expected: ['HighErrorRate', 'ErrorBudgetBurn 1h'],
      consequences: [...REMEMBERING, 'UpstreamFailing'],
      inject: () => (trouble.failing = true),
      heal: () => (trouble.failing = false)
    },
    {
      name: 'dead upstream',
      expected: ['UpstreamFailing', 'CircuitOpen'],
      consequences: FAILED_REQUESTS,
      inject: async () => coingecko.cut(),
      heal: async () => coingecko.mend()
    }
  ]
}

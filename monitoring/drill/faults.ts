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
/** Why no fault is expected to raise the other alerts. */
export const NOT_REHEARSED: readonly (readonly [reason: string, alerts: readonly string[]])[] = [
  ['they remember for hours and days', REMEMBERING],
  ['ages of days and calls of 20 s do not get shorter', ['StaleMarketData', 'ModelOld', 'ModelDrift', 'AnalysisSlow']],
  ['the service runs in the process of the drill, from its start to its end', ['ServiceRestarting', 'SeriesDropped']],
  [
    'they are of those who watch',
    ['RuleEvaluationFailing', 'AlertmanagerDown', 'NotificationsDropped', 'NotificationsFailing']
  ]
]
const FAILED_REQUESTS: readonly string[] = ['HighErrorRate', 'ErrorBudgetBurn 1h', ...REMEMBERING]

/** Milliseconds: more than the limit of SlowResponseTime. */
const LATE = 2500
/** Milliseconds between two times that the cache is emptied; requests come twice a second. */
const EMPTIED_EVERY = 20

/** Milliseconds for which nothing else has a turn, and the turns that others have in between: a scrape needs some. */
const BUSY = 300
const BETWEEN = 10

/** Keeps the event loop busy. @returns what ends it */
function keepBusy(): () => void {
  let next = setImmediate(turn, BETWEEN)
  function turn(left: number): void {
    const end = left === 0 ? performance.now() + BUSY : 0
    while (performance.now() < end);
    next = setImmediate(turn, left === 0 ? BETWEEN : left - 1)
  }
  return () => clearImmediate(next)
}

/**
 * Those that fail no request come first: after the others, alerts that remember failures may fire at any time.
 * @param redis the way to the Redis of the service, if it has one
 */
export function faultsOf(service: DrillService, traffic: Traffic, redis?: Gate): Fault[] {
  const { app, trouble, runtime, coingecko, languageModel, scrapes } = service
  const model = app.model.names[0]!
  let emptying: NodeJS.Timeout | undefined
  let rest: (() => void) | undefined
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
      name: 'broken version',
      expected: ['ModelReloadFailed'],
      consequences: [],
      async inject() {
        runtime.refusing = true
        await app.model.load(model).catch(() => undefined)
      },
      async heal() {
        runtime.refusing = false
        await app.model.load(model)
      }
    },
    {
      name: 'dead language model',
      expected: ['AnalysisFailing'],
      consequences: ['CircuitOpen'],
      inject: async () => languageModel.cut(),
      heal: async () => languageModel.mend()
    },
    {
      name: 'hanging model',
      expected: ['ModelQueueSaturated', 'ModelRejecting'],
      // Who waited for it was answered late.
      consequences: [...FAILED_REQUESTS, 'SlowResponseTime'],
      inject() {
        runtime.hang()
        traffic.flood = true
      },
      heal() {
        traffic.flood = false
        runtime.go()
      }
    },
    {
      name: 'busy event loop',
      expected: ['EventLoopSaturated', 'RequestsShed'],
      consequences: FAILED_REQUESTS,
      inject: () => (rest = keepBusy()),
      heal: () => rest?.()
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

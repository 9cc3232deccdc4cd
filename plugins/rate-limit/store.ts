/** Where requests are counted: in the windows of this process, or in the store of all, and what if that one fails. */
import type { FastifyRateLimitStore } from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'
import { TF_ERR_RATE_LIMIT_STORE } from './errors.ts'
import type { RateLimitData, StoreFailure } from './options.ts'
import type { RedisClient } from './redis.ts'
import { type SharedStore, type StoreState, createSharedStore } from './shared.ts'
import type { Windows } from './windows.ts'

export type Count = FastifyRateLimitStore['incr']
type Done = Parameters<Count>[1]

/** What the store's events are told to. */
export interface StoreEvents {
  /** Called at the start and at every change that a request meets: whether the store counts. */
  onStoreState?: ((state: StoreState) => void) | undefined
  /** Called for every request that the store did not count, with what became of it. */
  onWithoutStore?: ((mode: StoreFailure) => void) | undefined
}

export interface SharingOptions extends StoreEvents, RateLimitData {
  redis: RedisClient
  now: () => number
}

/** A store that fails is tried again within about a second. */
const RETRY_AFTER = { headers: { 'retry-after': '1' } }

/** A window that there is not: the library prints its end all the same, and no other window ends so late. */
const NO_WINDOW = { current: 0, ttl: Number.POSITIVE_INFINITY }
const LIMIT_HEADERS = ['ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset']

/** Counts in the windows of this process. */
export function countLocally(windows: Windows): Count {
  return (key, done, timeWindow) => {
    const { requests, left } = windows.count(key, timeWindow)
    done(null, { current: requests, ttl: left })
  }
}

/** Counts in the store of all processes; while it fails, `onStoreFailure` says what becomes of a request. */
export function countShared(
  fastify: FastifyInstance,
  options: SharingOptions,
  locally: Count
): { count: Count; store: SharedStore } {
  const { onStoreFailure, onStoreState, onWithoutStore } = options

  /** A listener that throws must not fail the request it is told of. */
  function tell<A>(listener: ((about: A) => void) | undefined, about: A): void {
    try {
      listener?.(about)
    } catch (err) {
      fastify.log.error({ err }, 'rate limit listener failed')
    }
  }

  const store = createSharedStore({
    client: options.redis,
    prefix: options.redisPrefix,
    timeout: options.storeTimeout,
    now: options.now,
    onState(state, err) {
      if (state === 'up') fastify.log.info('the store of the rate limits is back')
      else fastify.log.warn({ err, on_store_failure: onStoreFailure }, 'the store of the rate limits is down')
      tell(onStoreState, state)
    }
  })
  tell(onStoreState, store.state)
  if (onStoreFailure === 'open') hideUnknownLimits(fastify)

  const otherwise: Record<StoreFailure, Count> = {
    closed: (_key, done) => done(Object.assign(new TF_ERR_RATE_LIMIT_STORE(), RETRY_AFTER)),
    open: (_key, done) => done(null, NO_WINDOW),
    local: locally
  }
  async function count(key: string, done: Done, timeWindow: number, max: number): Promise<void> {
    const counted = await store.count(key, timeWindow)
    if (counted) return done(null, { current: counted.requests, ttl: counted.left })
    tell(onWithoutStore, onStoreFailure)
    otherwise[onStoreFailure](key, done, timeWindow, max)
  }
  return { count: (...args) => void count(...args), store }
}

/** Of a request that was not counted the headers would say that all of its limit is left. */
function hideUnknownLimits(fastify: FastifyInstance): void {
  fastify.addHook('onSend', (_request, reply, _payload, done) => {
    if (reply.getHeader('ratelimit-reset') === NO_WINDOW.ttl) for (const name of LIMIT_HEADERS) reply.removeHeader(name)
    done()
  })
}

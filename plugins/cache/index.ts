/**
 * `@trading-fun/cache`: a bounded cache for Fastify. One load at a time, stale answers marked, values immutable; with Redis or
 * Valkey behind it where there is one.
 */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { createCache } from './cache.ts'
import type { Cache, CacheEvents } from './contract.ts'
import { TF_ERR_CACHE_REGISTERED } from './errors.ts'
import { type CacheData, checkClient, checkFunctions, parseOptions } from './options.ts'
import { type RedisClient, createTier } from './tier.ts'

export { TIER_COMMANDS, TIER_ERRORS, type TierCommand, type TierError, type TierState } from './commands.ts'
export type { Cache, CacheEntry, CacheEvents, CachePolicy, CacheStats } from './contract.ts'
export * from './errors.ts'
export { CacheOptionsSchema } from './options.ts'
export type { DeepReadonly } from './snapshot.ts'
export { type RedisClient, TIER_RESULTS, type TierEvents, type TierResult, type TierStats } from './tier.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by `@trading-fun/cache`. */
    cache: Cache
  }
}

/** All have defaults. */
export interface CacheOptions extends Partial<CacheData>, CacheEvents {
  /** Milliseconds of a clock that never goes back. @default performance.now */
  now?: () => number
  /** From 0 to below 1, for jitter. @default Math.random */
  random?: () => number
  /** A client for the second tier, which its maker opens and closes. Without one there is memory only. */
  redis?: RedisClient | undefined
  /** Milliseconds since 1970, for the ages of values in the second tier. @default Date.now */
  wallClock?: () => number
}

async function cache(fastify: FastifyInstance, options: CacheOptions): Promise<void> {
  if (fastify.hasDecorator('cache')) throw new TF_ERR_CACHE_REGISTERED()
  const { onHit, onStale, onCoalesced, onMiss, onEvict, onLoadError, ...others } = options
  const { onTierLookup, onTierError, onTierState, ...rest } = others
  const { now = () => performance.now(), random = Math.random, wallClock = Date.now, redis, ...data } = rest
  checkFunctions({ onHit, onStale, onCoalesced, onMiss, onEvict, onLoadError, onTierLookup, onTierError, onTierState })
  checkFunctions({ now, random, wallClock })
  const { types, maxBytes, maxEntries, redisPrefix, redisTimeout, ...bounds } = parseOptions(data)
  const maxEntryBytes = Math.min(bounds.maxEntryBytes, maxBytes)

  /** A listener that throws must fail neither the request it is told of nor an eviction half done. */
  function guarded<A extends unknown[]>(listener: ((...args: A) => void) | undefined): (...args: A) => void {
    return (...args) => {
      try {
        listener?.(...args)
      } catch (err) {
        fastify.log.error({ err }, 'cache listener failed')
      }
    }
  }

  const tier =
    redis &&
    createTier(
      {
        client: checkClient(redis),
        types,
        prefix: redisPrefix,
        timeout: redisTimeout,
        maxBytes: Math.min(bounds.maxRedisEntryBytes, maxEntryBytes),
        now,
        wallClock
      },
      {
        onTierLookup: guarded(onTierLookup),
        onTierError: guarded(onTierError),
        onTierState: guarded(onTierState)
      }
    )
  const store = createCache(
    {
      types,
      maxBytes,
      maxEntryBytes,
      maxEntries,
      now,
      random,
      tier,
      onSwallowed: (type, err) => fastify.log.warn({ err, cache_type: type }, 'load failed, a stale value was answered')
    },
    {
      onHit: guarded(onHit),
      onStale: guarded(onStale),
      onCoalesced: guarded(onCoalesced),
      onMiss: guarded(onMiss),
      onEvict: guarded(onEvict),
      onLoadError: guarded(onLoadError)
    }
  )
  // Loads still under way end as their makers see fit; nothing of them is kept. The client is its maker's to close.
  fastify.addHook('onClose', async () => store.clear())
  fastify.decorate('cache', store)
}

export default fp(cache, { name: '@trading-fun/cache', fastify: '5.x' })

/** `@trading-fun/cache`: a bounded cache for Fastify. One load at a time, stale answers marked, values immutable. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { type Cache, type CacheEvents, createCache } from './cache.ts'
import { TF_ERR_CACHE_REGISTERED } from './errors.ts'
import { type CacheData, checkFunctions, parseOptions } from './options.ts'

export type { Cache, CacheEntry, CacheEvents, CachePolicy, CacheStats } from './cache.ts'
export * from './errors.ts'
export { CacheOptionsSchema } from './options.ts'
export type { DeepReadonly } from './snapshot.ts'

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
}

async function cache(fastify: FastifyInstance, options: CacheOptions): Promise<void> {
  if (fastify.hasDecorator('cache')) throw new TF_ERR_CACHE_REGISTERED()
  const { onHit, onStale, onCoalesced, onMiss, onEvict, onLoadError, ...rest } = options
  const { now = () => performance.now(), random = Math.random, ...data } = rest
  checkFunctions({ onHit, onStale, onCoalesced, onMiss, onEvict, onLoadError, now, random })
  const { types, maxBytes, maxEntryBytes, maxEntries } = parseOptions(data)

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

  const store = createCache(
    {
      types,
      maxBytes,
      maxEntryBytes: Math.min(maxEntryBytes, maxBytes),
      maxEntries,
      now,
      random,
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
  // Loads still under way end as their makers see fit; nothing of them is kept.
  fastify.addHook('onClose', async () => store.clear())
  fastify.decorate('cache', store)
}

export default fp(cache, { name: '@trading-fun/cache', fastify: '5.x' })

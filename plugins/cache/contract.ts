/** What the cache promises: its policies, answers, figures and events. */
import type { TierState } from './commands.ts'
import type { DeepReadonly } from './snapshot.ts'
import type { TierEvents, TierStats } from './tier.ts'

/** How long a value serves. Durations are milliseconds, at most a year. */
export interface CachePolicy<T> {
  /**
   * A value is fresh while it is younger than this. A function decides by the value: less for a negative or a partial
   * one, for instance. 0: those who wait get the value, nothing is kept.
   */
  ttl: number | ((value: T) => number)
  /** For so long after its ttl a value is still answered at once, while one load runs behind it. Default 0. */
  staleWhileRevalidate?: number
  /** For so long after its ttl a value is answered if the load fails. Default 0. */
  staleIfError?: number
  /** 0 to 1: up to this part is taken off the ttl at random, so that entries made together end apart. Default 0. */
  jitter?: number
  /** How long a load is waited for, at most ten minutes; without an end, one lost answer would block its key. Default 30,000. */
  timeout?: number
}

/** An answer of the cache. */
export interface CacheEntry<T> {
  /** Deeply frozen. */
  readonly value: DeepReadonly<T>
  /** Whole milliseconds since the value was loaded, here or elsewhere; 0 for those who waited for the load. */
  readonly age: number
  /** Older than its ttl: it is being revalidated, or that has failed. */
  readonly stale: boolean
}

/** The figures of one cache type, counted from the start but for `entries` and `bytes`. */
export interface CacheStats {
  /** Entries held now. */
  entries: number
  /** Bytes held now: keys in UTF-8, values as JSON in UTF-8. */
  bytes: number
  /** Calls answered by a fresh entry. Counted as a call comes in: hits + stale + coalesced + misses = calls. */
  hits: number
  /** Calls answered at once by an entry past its ttl. */
  stale: number
  /** Calls that joined a lookup in the second tier, or a load, under way. */
  coalesced: number
  /** Calls that started one and waited for it. */
  misses: number
  /** Misses and coalesced calls whose load failed and that got the old value by `staleIfError`. */
  rescued: number
  /** Loads started: misses and revalidations. */
  loads: number
  /** Loads that failed. */
  errors: number
  /** Entries that had to make room. */
  evictions: number
  /** Values too large to keep. */
  oversized: number
  /** Of the second tier, if there is one. Its lookups are part of misses and of revalidations. */
  tier?: TierStats
}

/** What happens, by cache type. Each call of `wrap` is exactly one of hit, stale, coalesced and miss. */
export interface CacheEvents extends TierEvents {
  onHit?: (type: string) => void
  onStale?: (type: string) => void
  onCoalesced?: (type: string) => void
  onMiss?: (type: string) => void
  onEvict?: (type: string) => void
  onLoadError?: (type: string, error: unknown) => void
}

export interface Cache {
  /**
   * The value of `key`, held or from `load`. One load at a time runs for a type and key: all who wait for it get its
   * value or its error, and of an error nothing is kept.
   *
   * @throws what `load` throws; TF_ERR_CACHE_TIMEOUT; TF_ERR_CACHE_TYPE; TF_ERR_CACHE_POLICY naming the field and its
   * bound; TF_ERR_CACHE_VALUE if the value is not plain JSON data
   */
  wrap<T>(type: string, key: string, policy: CachePolicy<T>, load: () => Promise<T>): Promise<CacheEntry<T>>
  /**
   * Drops an entry, in the second tier too if it can be reached. A load under way still answers those who wait for it, but
   * its value is not kept. @throws TF_ERR_CACHE_TYPE
   */
  delete(type: string, key: string): void
  /** Drops the entries of a type, or all, from this process' memory; the second tier, which others share, keeps its own. @throws TF_ERR_CACHE_TYPE */
  clear(type?: string): void
  /** By cache type; every type is there from the start. */
  stats(): Record<string, CacheStats>
  /** Whether the second tier can be reached; undefined: there is none. */
  tierState(): TierState | undefined
}

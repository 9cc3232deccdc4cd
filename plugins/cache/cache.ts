import { LRUCache } from 'lru-cache'
import { TF_ERR_CACHE_POLICY, TF_ERR_CACHE_TIMEOUT, TF_ERR_CACHE_TYPE } from './errors.ts'
import { type DeepReadonly, snapshot } from './snapshot.ts'

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
  /** Whole milliseconds since the value was loaded; 0 for those who waited for the load. */
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
  /** Calls that joined a load under way. */
  coalesced: number
  /** Calls that started a load and waited for it. */
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
}

/** What happens, by cache type. Each call of `wrap` is exactly one of hit, stale, coalesced and miss. */
export interface CacheEvents {
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
  /** Drops an entry. A load under way still answers those who wait for it, but its value is not kept. @throws TF_ERR_CACHE_TYPE */
  delete(type: string, key: string): void
  /** Drops the entries of a type, or all, each as `delete` does. @throws TF_ERR_CACHE_TYPE */
  clear(type?: string): void
  /** By cache type; every type is there from the start. */
  stats(): Record<string, CacheStats>
}

/** All settings of a cache; the defaults are the plugin's. */
export interface CacheSettings {
  types: readonly string[]
  maxBytes: number
  maxEntryBytes: number
  maxEntries: number
  now: () => number
  random: () => number
  /** Told of a failed load that no caller hears of, because all were answered by a stale entry. */
  onSwallowed: (type: string, error: unknown) => void
}

const YEAR = 365 * 24 * 3_600_000
const MAX_TIMEOUT = 600_000
const DEFAULT_TIMEOUT = 30_000

interface Held {
  type: string
  value: unknown
  bytes: number
  loadedAt: number
  freshUntil: number
}

/**
 * A cache in memory. lru-cache keeps order and bounds. Time is kept here: its own ttl reads the clock at most once a
 * millisecond, by a timer, is still fresh at exactly the ttl, and its allowStale has no limit. Events must not throw.
 */
export function createCache(settings: CacheSettings, events: Required<CacheEvents>): Cache {
  const { now, random } = settings
  const figures = new Map(settings.types.map((type) => [type, zero()]))
  const flights = new Map<string, Promise<unknown>>()
  const store = new LRUCache<string, Held>({
    max: settings.maxEntries,
    maxSize: settings.maxBytes,
    sizeCalculation: (held) => held.bytes,
    dispose: (held, _id, reason) => {
      const figure = figureOf(held.type)
      figure.entries--
      figure.bytes -= held.bytes
      if (reason !== 'evict') return
      figure.evictions++
      events.onEvict(held.type)
    }
  })

  async function wrap<T>(
    type: string,
    key: string,
    policy: CachePolicy<T>,
    load: () => Promise<T>
  ): Promise<CacheEntry<T>> {
    const figure = figureOf(type)
    const { ttl, staleWhileRevalidate = 0, staleIfError = 0, jitter = 0, timeout = DEFAULT_TIMEOUT } = policy
    if (typeof ttl !== 'function') inBounds('ttl', ttl, YEAR)
    inBounds('staleWhileRevalidate', staleWhileRevalidate, YEAR)
    inBounds('staleIfError', staleIfError, YEAR)
    inBounds('jitter', jitter, 1)
    inBounds('timeout', timeout, MAX_TIMEOUT)

    const id = idOf(type, key)
    const held = store.get(id)
    if (held && now() < held.freshUntil) {
      figure.hits++
      events.onHit(type)
      return entryOf(held, false)
    }

    const underway = flights.get(id)
    if (held && now() < held.freshUntil + staleWhileRevalidate) {
      figure.stale++
      events.onStale(type)
      if (!underway) start(type, key, policy, load).catch((error: unknown) => settings.onSwallowed(type, error))
      return entryOf(held, true)
    }

    if (underway) {
      figure.coalesced++
      events.onCoalesced(type)
    } else {
      figure.misses++
      events.onMiss(type)
    }
    try {
      const value = await (underway ?? start(type, key, policy, load))
      return { value: value as DeepReadonly<T>, age: 0, stale: false }
    } catch (error) {
      if (!held || now() >= held.freshUntil + staleIfError) throw error
      figure.rescued++
      if (!underway) settings.onSwallowed(type, error)
      return entryOf(held, true)
    }
  }

  function start<T>(type: string, key: string, policy: CachePolicy<T>, load: () => Promise<T>): Promise<unknown> {
    const id = idOf(type, key)
    const figure = figureOf(type)
    figure.loads++
    const flight = run()
    flights.set(id, flight)
    return flight

    async function run(): Promise<unknown> {
      const { ttl, jitter = 0, timeout = DEFAULT_TIMEOUT } = policy
      try {
        // In a turn of its own: `flight` is set by then, even for a `load` that throws at once.
        const loaded = await inTime(Promise.resolve().then(load), timeout)
        const fresh = typeof ttl === 'function' ? inBounds('ttl', ttl(loaded), YEAR) : ttl
        const value = snapshot(loaded)
        if (land()) keep(type, key, value, fresh * (1 - jitter * random()))
        return value
      } catch (error) {
        land()
        figure.errors++
        events.onLoadError(type, error)
        throw error
      }
    }

    /** False if `delete` or `clear` came in between. */
    function land(): boolean {
      return flights.get(id) === flight && flights.delete(id)
    }
  }

  function keep(type: string, key: string, value: unknown, fresh: number): void {
    const id = idOf(type, key)
    // The value before this one has had its day, even if this one is not kept.
    store.delete(id)
    if (fresh === 0) return
    const figure = figureOf(type)
    const bytes = Buffer.byteLength(key) + Buffer.byteLength(JSON.stringify(value))
    if (bytes > settings.maxEntryBytes) {
      figure.oversized++
      return
    }
    const loadedAt = now()
    store.set(id, { type, value, bytes, loadedAt, freshUntil: loadedAt + fresh })
    figure.entries++
    figure.bytes += bytes
  }

  // A type and key stand for one kind of value: what `load` made earlier is what it makes now.
  function entryOf<T>(held: Held, stale: boolean): CacheEntry<T> {
    return { value: held.value as DeepReadonly<T>, age: Math.floor(now() - held.loadedAt), stale }
  }

  function drop(id: string): void {
    store.delete(id)
    flights.delete(id)
  }

  function figureOf(type: string): CacheStats {
    const figure = figures.get(type)
    if (!figure) throw new TF_ERR_CACHE_TYPE(type, settings.types.join(', '))
    return figure
  }

  return Object.freeze<Cache>({
    wrap,
    delete: (type, key) => {
      figureOf(type)
      drop(idOf(type, key))
    },
    clear: (type) => {
      if (type !== undefined) figureOf(type)
      for (const id of [...store.keys(), ...flights.keys()]) {
        if (type === undefined || id.startsWith(idOf(type, ''))) drop(id)
      }
    },
    stats: () => Object.fromEntries(Array.from(figures, ([type, figure]) => [type, { ...figure }]))
  })
}

/** Type names have no space, so no two types and keys meet. */
function idOf(type: string, key: string): string {
  return `${type} ${key}`
}

/** Work can't be interrupted: it goes on to its end, but nobody waits for it any more. */
async function inTime<T>(work: Promise<T>, ms: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new TF_ERR_CACHE_TIMEOUT(ms)), ms).unref()
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function inBounds(field: string, value: number, maximum: number): number {
  if (typeof value !== 'number' || !(value >= 0 && value <= maximum)) {
    throw new TF_ERR_CACHE_POLICY(field, maximum, value)
  }
  return value
}

function zero(): CacheStats {
  return {
    entries: 0,
    bytes: 0,
    hits: 0,
    stale: 0,
    coalesced: 0,
    misses: 0,
    rescued: 0,
    loads: 0,
    errors: 0,
    evictions: 0,
    oversized: 0
  }
}

import { LRUCache } from 'lru-cache'
import type { Cache, CacheEntry, CacheEvents, CachePolicy, CacheStats } from './contract.ts'
import { TF_ERR_CACHE_POLICY, TF_ERR_CACHE_TIMEOUT, TF_ERR_CACHE_TYPE } from './errors.ts'
import { type DeepReadonly, snapshot } from './snapshot.ts'
import type { Tier, TierEvents } from './tier.ts'

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
  /** Behind the memory. */
  tier: Tier | undefined
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

/** One lookup in the second tier, and one load unless that finds a fresh value; for all who wait for a key. */
interface Flight {
  /** What the second tier had, fresh or stale, if that is newer than what is in memory. Never rejects; undefined without a tier. */
  found: Promise<Held | undefined> | undefined
  done: Promise<Held>
}

/**
 * A cache in memory, and what can be behind it. lru-cache keeps order and bounds. Time is kept here: its own ttl reads the
 * clock at most once a millisecond, by a timer, is still fresh at exactly the ttl, and its allowStale has no limit. Events
 * must not throw.
 */
export function createCache(settings: CacheSettings, events: Required<Omit<CacheEvents, keyof TierEvents>>): Cache {
  const { now, random, tier } = settings
  const figures = new Map(settings.types.map((type) => [type, zero()]))
  const flights = new Map<string, Flight>()
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
      if (!underway) swallow(start(type, key, policy, load))
      return entryOf<T>(held, true)
    }

    if (underway) {
      figure.coalesced++
      events.onCoalesced(type)
    } else {
      figure.misses++
      events.onMiss(type)
    }
    const flight = underway ?? start(type, key, policy, load)
    const old = (flight.found && (await flight.found)) ?? held
    if (old && now() < old.freshUntil + staleWhileRevalidate) {
      if (!underway) swallow(flight)
      return entryOf<T>(old, now() >= old.freshUntil)
    }
    try {
      return entryOf<T>(await flight.done, false)
    } catch (error) {
      if (!old || now() >= old.freshUntil + staleIfError) throw error
      figure.rescued++
      if (!underway) settings.onSwallowed(type, error)
      return entryOf<T>(old, true)
    }

    function swallow({ done }: Flight): void {
      done.catch((error: unknown) => settings.onSwallowed(type, error))
    }
  }

  function start<T>(type: string, key: string, policy: CachePolicy<T>, load: () => Promise<T>): Flight {
    const id = idOf(type, key)
    const figure = figureOf(type)
    // What may not be kept is not looked for elsewhere.
    const behind = policy.ttl === 0 ? undefined : tier
    const found = behind && search(behind)
    const flight: Flight = { found, done: run() }
    flights.set(id, flight)
    return flight

    async function search(where: Tier): Promise<Held | undefined> {
      const there = await where.get(type, key)
      if (!there) return undefined
      const loadedAt = now() - there.age
      const known = store.peek(id)
      if (known && known.loadedAt >= loadedAt) return undefined
      const bytes = Buffer.byteLength(key) + there.bytes
      const item: Held = { type, value: there.value, bytes, loadedAt, freshUntil: loadedAt + there.ttl }
      if (flights.get(id) === flight) hold(id, item)
      return item
    }

    async function run(): Promise<Held> {
      const there = found && (await found)
      if (there && now() < there.freshUntil) {
        land()
        return there
      }
      const { ttl, jitter = 0, timeout = DEFAULT_TIMEOUT } = policy
      figure.loads++
      try {
        // In a turn of its own: `flight` is set by then, even for a `load` that throws at once.
        const loaded = await inTime(Promise.resolve().then(load), timeout)
        const fresh = typeof ttl === 'function' ? inBounds('ttl', ttl(loaded), YEAR) : ttl
        const value = snapshot(loaded)
        return keep(value, fresh * (1 - jitter * random()))
      } catch (error) {
        land()
        figure.errors++
        events.onLoadError(type, error)
        throw error
      }
    }

    function keep(value: unknown, fresh: number): Held {
      const json = JSON.stringify(value)
      const bytes = Buffer.byteLength(key) + Buffer.byteLength(json)
      const loadedAt = now()
      const item: Held = { type, value, bytes, loadedAt, freshUntil: loadedAt + fresh }
      if (!land()) return item
      const { staleWhileRevalidate = 0, staleIfError = 0 } = policy
      // The value before this one has had its day, even if this one is not kept.
      if (fresh === 0) {
        store.delete(id)
        behind?.delete(type, key)
      } else if (hold(id, item)) {
        behind?.set(type, key, { json, ttl: fresh, life: fresh + Math.max(staleWhileRevalidate, staleIfError) })
      }
      return item
    }

    /** False if `delete` or `clear` came in between. */
    function land(): boolean {
      return flights.get(id) === flight && flights.delete(id)
    }
  }

  /** False if it is too large. Either way it takes the place of what was there. */
  function hold(id: string, item: Held): boolean {
    const figure = figureOf(item.type)
    store.delete(id)
    if (item.bytes > settings.maxEntryBytes) {
      figure.oversized++
      return false
    }
    store.set(id, item)
    figure.entries++
    figure.bytes += item.bytes
    return true
  }

  // A type and key stand for one kind of value: what `load` made earlier is what it makes now.
  function entryOf<T>(held: Held, stale: boolean): CacheEntry<T> {
    return { value: held.value as DeepReadonly<T>, age: Math.floor(now() - held.loadedAt), stale }
  }

  function forget(id: string): void {
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
      forget(idOf(type, key))
      tier?.delete(type, key)
    },
    clear: (type) => {
      if (type !== undefined) figureOf(type)
      for (const id of [...store.keys(), ...flights.keys()]) {
        if (type === undefined || id.startsWith(idOf(type, ''))) forget(id)
      }
    },
    stats: () =>
      Object.fromEntries(
        Array.from(figures, ([type, figure]) => [type, { ...figure, ...(tier && { tier: tier.stats(type) }) }])
      ),
    tierState: () => tier?.state()
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

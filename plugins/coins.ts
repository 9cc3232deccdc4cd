/** Coins: `fastify.coins`, over whichever source the service is configured with, through the cache. */
import createError from '@fastify/error'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import {
  type Coin,
  type CoinDetails,
  type CoinMarkets,
  type CoinSource,
  type CoinSourceName,
  findCoin
} from '../domain/coins.ts'
import type { Fetched, FetchError, FetchFailure } from '../domain/market.ts'
import { failureReply } from '../schemas/problem.ts'
import type { CacheEntry, CachePolicy, DeepReadonly } from './cache/index.ts'

/** An answer, how old it is, and whether it should be newer. */
export interface CoinsAnswer<T> extends Pick<CacheEntry<unknown>, 'age' | 'stale'> {
  value: T
  /** Coins that the source had and that made no sense. */
  dropped: number
}

/** What `fastify.coins` offers. Ids are canonical. Everything throws TF_ERR_COINS_SOURCE with 502, 503 or 504. */
export interface Coins {
  readonly source: CoinSourceName
  /** The largest coins. */
  largest(): Promise<CoinsAnswer<readonly Coin[]>>
  /** Coins by id, each once; without those that do not exist. */
  byIds(ids: readonly string[]): Promise<CoinsAnswer<readonly Coin[]>>
  /** The coin that fits a text best. @throws TF_ERR_COINS_UNKNOWN */
  search(query: string): Promise<CoinsAnswer<Coin>>
  /** @throws TF_ERR_COINS_UNKNOWN */
  details(id: string): Promise<CoinsAnswer<DeepReadonly<CoinDetails>>>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by the `coins` plugin. */
    coins: Coins
  }
}

/** A fetch that was made, not taken from the cache. */
export interface CoinFetch {
  source: CoinSourceName
  kind: 'markets' | 'search' | 'details'
  seconds: number
  /** One for a failed fetch; of others one for each coin that makes no sense (`schema`) or does not exist. */
  errors: readonly FetchError[]
  /** Coins of markets; undefined for searches, details and failures. */
  items: number | undefined
}

export interface CoinsOptions {
  source: CoinSource
  /** Milliseconds for which an answer is fresh. */
  ttl: number
  /** Called after each fetch; the application wires it to metrics. */
  onFetch?: (fetch: CoinFetch) => void
}

export const TF_ERR_COINS_UNKNOWN = createError<[string]>('TF_ERR_COINS_UNKNOWN', 'There is no coin %s', 404)
export const TF_ERR_COINS_SOURCE = createError<[string, string]>(
  'TF_ERR_COINS_SOURCE',
  'The coin source has no answer for %s (%s)',
  502
)

const HOUR = 3_600_000
/** Milliseconds for which it is known that there is no such coin. */
const NEGATIVE_TTL = 60_000

async function coins(fastify: FastifyInstance, { source, ttl, onFetch }: CoinsOptions): Promise<void> {
  const { cache } = fastify

  /** Nothing found is kept for a minute at most; anything is answered for an hour while the source fails. */
  function keeping<T>(isNothing: (value: T) => boolean): CachePolicy<T> {
    return {
      ttl: (value) => (isNothing(value) ? Math.min(ttl, NEGATIVE_TTL) : ttl),
      staleWhileRevalidate: ttl,
      staleIfError: ttl === 0 ? 0 : HOUR
    }
  }
  const keepMarkets = keeping<CoinMarkets>((markets) => markets.coins.length === 0)
  const keepOne = keeping<unknown>((found) => found === null)

  async function timed<T>(
    kind: CoinFetch['kind'],
    fetch: () => Promise<Fetched<T>>,
    report: (value: T) => Pick<CoinFetch, 'errors' | 'items'>
  ): Promise<Fetched<T>> {
    const started = performance.now()
    // A source never rejects; one that does all the same has failed.
    const fetched = await fetch().catch((cause: unknown): FetchFailure => ({
      ok: false,
      error: 'upstream_error',
      cause
    }))
    const { errors, items } = fetched.ok ? report(fetched.value) : { errors: [fetched.error], items: undefined }
    onFetch?.({ source: source.name, kind, seconds: (performance.now() - started) / 1000, errors, items })
    return fetched
  }

  /** Markets from the source; `asked` is how many coins there should be, 0 if that is not known. */
  async function fetchMarkets(
    what: string,
    fetch: () => Promise<Fetched<CoinMarkets>>,
    asked = 0
  ): Promise<CoinMarkets> {
    const fetched = await timed('markets', fetch, (markets) => ({
      items: markets.coins.length,
      errors: [
        ...Array<FetchError>(markets.dropped).fill('schema'),
        ...Array<FetchError>(Math.max(0, asked - markets.coins.length - markets.dropped)).fill('not_found')
      ]
    }))
    if (fetched.ok) return fetched.value
    throw failure(what, fetched)
  }

  /** One thing from the source, null for nothing. */
  async function fetchOne<T>(
    kind: 'search' | 'details',
    what: string,
    fetch: () => Promise<Fetched<T>>
  ): Promise<T | null> {
    const fetched = await timed(kind, fetch, () => ({ errors: [], items: undefined }))
    if (fetched.ok) return fetched.value
    if (fetched.error === 'not_found') return null
    throw failure(what, fetched)
  }

  async function loadLargest(): Promise<CoinMarkets> {
    return fetchMarkets('the largest coins', async () => source.largest())
  }

  async function largest(): Promise<CoinsAnswer<readonly Coin[]>> {
    return answerOf(await cache.wrap('coins', 'largest', keepMarkets, loadLargest))
  }

  /** Ids that are not among the largest coins, by a request of their own. */
  async function others(ids: readonly string[]): Promise<CoinsAnswer<readonly Coin[]>> {
    const key = `ids:${ids.toSorted().join()}`
    const load = async (): Promise<CoinMarkets> =>
      fetchMarkets('the coins asked for', async () => source.byIds(ids), ids.length)
    return answerOf(await cache.wrap('coins', key, keepMarkets, load))
  }

  // Most of what is asked for is in the list that everybody asks for, and costs nothing of the upstream's quota.
  async function byIds(ids: readonly string[]): Promise<CoinsAnswer<readonly Coin[]>> {
    const top = await largest()
    const wanted = new Set(ids)
    const found = top.value.filter(({ id }) => wanted.delete(id))
    if (wanted.size === 0) return { ...top, value: found, dropped: 0 }
    const rest = await others([...wanted])
    return {
      value: [...found, ...rest.value],
      age: Math.max(top.age, rest.age),
      stale: top.stale || rest.stale,
      dropped: rest.dropped
    }
  }

  async function search(query: string): Promise<CoinsAnswer<Coin>> {
    const top = await largest()
    const known = findCoin(top.value, query)
    if (known) return { ...top, value: known, dropped: 0 }
    const load = async (): Promise<string | null> => fetchOne('search', 'the search', async () => source.search(query))
    const { value: id } = await cache.wrap('coins', `search:${query.toLowerCase()}`, keepOne, load)
    const found = id === null ? undefined : await byIds([id])
    const coin = found?.value[0]
    if (found === undefined || coin === undefined) throw new TF_ERR_COINS_UNKNOWN(query)
    return { ...found, value: coin }
  }

  async function details(id: string): Promise<CoinsAnswer<DeepReadonly<CoinDetails>>> {
    const load = async (): Promise<CoinDetails | null> => fetchOne('details', id, async () => source.details(id))
    const { value, age, stale } = await cache.wrap('coin_details', id, keepOne, load)
    if (value === null) throw new TF_ERR_COINS_UNKNOWN(id)
    return { value, age, stale, dropped: 0 }
  }

  fastify.decorate('coins', Object.freeze<Coins>({ source: source.name, largest, byIds, search, details }))
}

function answerOf({ value, age, stale }: CacheEntry<CoinMarkets>): CoinsAnswer<readonly Coin[]> {
  return { value: value.coins, age, stale, dropped: value.dropped }
}

function failure(what: string, fetched: FetchFailure): Error {
  return Object.assign(new TF_ERR_COINS_SOURCE(what, fetched.error), failureReply(fetched), { cause: fetched.cause })
}

export default fp(coins, { name: 'coins', fastify: '5.x', dependencies: ['@trading-fun/cache'] })

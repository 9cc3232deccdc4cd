import { type CoinDetails, type CoinMarkets, type CoinSource, parseCoinId } from '../domain/coins.ts'
import type { Fetched, FetchFailure } from '../domain/market.ts'
import { readDetails, readMarkets, readSearch } from './coingecko-replies.ts'
import { type CallOptions, type Upstream, UpstreamError } from './upstream.ts'

/** Coins of one page, the most that there may be. */
const PAGE = 250
/** Characters of the ids of one request: with the rest it is an address that every proxy takes. */
const MAX_IDS_LENGTH = 3000
/** Below `/coins/` these are lists, not coins. */
const NOT_COINS: ReadonlySet<string> = new Set(['list', 'markets', 'categories', 'top_gainers_losers'])
const NOT_FOUND: FetchFailure = { ok: false, error: 'not_found' }

const MARKETS = {
  vs_currency: 'usd',
  order: 'market_cap_desc',
  per_page: PAGE,
  page: 1,
  sparkline: false,
  price_change_percentage: '24h,7d,30d'
}
const DETAILS = {
  localization: false,
  tickers: false,
  market_data: true,
  community_data: false,
  developer_data: false,
  sparkline: false
}

export interface CoingeckoSourceOptions {
  /** To CoinGecko's API; its quota is that of this source. */
  upstream: Upstream
  /** Requests a minute that only `largest` may use: whoever asks for odd coins can't starve the list of all. @default 0 */
  reserve?: number
}

/** Where a plan's API is, and the name of the header for its key. */
export const COINGECKO_PLANS = {
  demo: { origin: 'https://api.coingecko.com', header: 'x-cg-demo-api-key' },
  pro: { origin: 'https://pro-api.coingecko.com', header: 'x-cg-pro-api-key' }
} as const

/** CoinGecko's API, version 3. Prices are US dollars. Rows that make no sense are dropped and counted; a reply of another form is `schema`. */
export function coingeckoSource({ upstream, reserve = 0 }: CoingeckoSourceOptions): CoinSource {
  async function ask<T>(path: string, read: (body: unknown) => T, options: CallOptions): Promise<Fetched<T>> {
    try {
      return { ok: true, value: read(await upstream.get(`/api/v3${path}`, options)) }
    } catch (cause) {
      const { reason, retryAfter } = cause as UpstreamError
      return { ok: false, error: reason, retryAfter, cause }
    }
  }

  async function byIds(ids: readonly string[]): Promise<Fetched<CoinMarkets>> {
    const parts = await Promise.all(
      chunks(ids).map(async (part) =>
        ask('/coins/markets', readMarkets, { query: { ...MARKETS, ids: part.join() }, reserve })
      )
    )
    const all: CoinMarkets = { coins: [], dropped: 0 }
    for (const part of parts) {
      if (!part.ok) return part
      all.coins.push(...part.value.coins)
      all.dropped += part.value.dropped
    }
    return { ok: true, value: all }
  }

  async function details(id: string): Promise<Fetched<CoinDetails>> {
    if (NOT_COINS.has(id)) return NOT_FOUND
    return ask(`/coins/${encodeURIComponent(id)}`, readDetails, { query: DETAILS, reserve })
  }

  return {
    name: 'coingecko',
    largest: async () => ask('/coins/markets', readLargest, { query: MARKETS }),
    byIds,
    async search(query) {
      const found = await ask('/search', readSearch, { query: { query }, reserve })
      if (!found.ok) return found
      const id = found.value.find((one) => parseCoinId(one) === one)
      return id === undefined ? NOT_FOUND : { ok: true, value: id }
    },
    details
  }
}

/** A page of the largest coins without any is no answer. */
function readLargest(body: unknown): CoinMarkets {
  const markets = readMarkets(body)
  if (markets.coins.length === 0) throw new UpstreamError('coingecko', 'schema', 'a page without coins')
  return markets
}

/** Parts of at most a page, and of an address that is not too long. */
function chunks(ids: readonly string[]): string[][] {
  const parts: string[][] = []
  let length = 0
  for (const id of ids) {
    const last = parts.at(-1)
    // Three characters of a comma, as it is encoded.
    if (last === undefined || last.length === PAGE || length + id.length + 3 > MAX_IDS_LENGTH) {
      parts.push([id])
      length = id.length
    } else {
      last.push(id)
      length += id.length + 3
    }
  }
  return parts
}

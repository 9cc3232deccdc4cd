import type { Fetched } from './market.ts'
import { type MomentumScore, momentumScore } from './momentum.ts'

/** A coin in its market, in US dollars. null: the source has no value. */
export interface Coin {
  /** CoinGecko's: `bitcoin`. */
  id: string
  /** Upper case; not unique. */
  symbol: string
  name: string
  price: number | null
  /** Percent. */
  change24h: number | null
  change7d: number | null
  change30d: number | null
  marketCap: number | null
  /** 1 is the largest. */
  marketCapRank: number | null
  /** Traded in 24 hours, in US dollars. */
  volume: number | null
  /** Address of a picture. */
  image: string | null
  /** Whether it is the token of NFTs, see sources/coins.json. */
  nft: boolean
}

/** A coin and what else is known of it. */
export interface CoinDetails extends Coin {
  /** Plain text. */
  description: string | null
  homepage: string | null
  categories: string[]
  /** ISO date. */
  genesisDate: string | null
  high24h: number | null
  low24h: number | null
  circulatingSupply: number | null
  totalSupply: number | null
  maxSupply: number | null
  /** Highest price ever, and lowest, with their times (ISO). */
  ath: number | null
  athDate: string | null
  atl: number | null
  atlDate: string | null
  /** ISO time of the price. */
  lastUpdated: string | null
}

/** The coins of one answer. */
export interface CoinMarkets {
  coins: Coin[]
  /** Coins of the upstream's answer that made no sense and are left out. */
  dropped: number
}

/** Names of the coin sources: `source` in replies. */
export const COIN_SOURCES = ['simulated', 'coingecko'] as const
export type CoinSourceName = (typeof COIN_SOURCES)[number]

/** Coins: the simulator, or a live provider. Ids are those that `parseCoinId` gives. Never rejects. */
export interface CoinSource {
  readonly name: CoinSourceName
  /** The 250 largest by market capitalisation, the largest first; never none. */
  largest(): Promise<Fetched<CoinMarkets>>
  /** Those with these ids; what does not exist is left out. */
  byIds(ids: readonly string[]): Promise<Fetched<CoinMarkets>>
  /** The id that fits a text best. */
  search(query: string): Promise<Fetched<string>>
  details(id: string): Promise<Fetched<CoinDetails>>
}

/**
 * What a client may send as an id, for a JSON schema: 1 to 100 of `a-z 0-9 . _ -`, one of them a letter or a digit (`..` in a
 * path is another path); upper case and surrounding white space are fine. All but five of CoinGecko's 18,000 ids are of
 * this form. Exactly the texts that `parseCoinId` accepts.
 */
export const COIN_ID_PATTERN: string = '^\\s*(?=[._-]*[A-Za-z0-9])[A-Za-z0-9._-]{1,100}\\s*$'

const coinId = new RegExp(COIN_ID_PATTERN)

/** The canonical spelling of an id, or undefined if the text is none: trimmed, in lower case. */
export function parseCoinId(text: string): string | undefined {
  return coinId.test(text) ? text.trim().toLowerCase() : undefined
}

/** A coin with its score. */
export interface ScoredCoin extends Coin, MomentumScore {
  /** Volume over market capitalisation, in percent. */
  turnover: number | null
}

/** Scores a coin. */
export function scoreCoin(coin: Coin): ScoredCoin {
  const turnover = coin.volume === null || !coin.marketCap ? null : (100 * coin.volume) / coin.marketCap
  return { ...coin, turnover, ...momentumScore({ ...coin, turnover }) }
}

export interface CoinFilter {
  includeNft: boolean
  /** Least score. */
  minScore: number
  /** Best so many. */
  limit: number
}

/** The best coins first; of equals the larger, then by id. */
export function rankCoins(coins: readonly Coin[], { includeNft, minScore, limit }: CoinFilter): ScoredCoin[] {
  return coins
    .filter(({ nft }) => includeNft || !nft)
    .map(scoreCoin)
    .filter(({ score }) => score >= minScore)
    .toSorted((a, b) => b.score - a.score || size(a) - size(b) || (a.id < b.id ? -1 : 1))
    .slice(0, limit)
}

/** The largest coin that a text names by id, symbol or name, in upper or lower case. */
export function findCoin(coins: readonly Coin[], text: string): Coin | undefined {
  const wanted = text.toLowerCase()
  const named = coins.filter(({ id, symbol, name }) => [id, symbol.toLowerCase(), name.toLowerCase()].includes(wanted))
  return named.toSorted((a, b) => size(a) - size(b))[0]
}

/** Place by size; without a rank behind all that have one. */
function size({ marketCapRank }: Coin): number {
  return marketCapRank ?? Number.MAX_SAFE_INTEGER
}

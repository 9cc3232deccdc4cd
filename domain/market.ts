/** Daily candles of one symbol, column by column, ascending by date, one row a trading day. NaN: the source has no value. */
export interface Candles {
  /** ISO dates (`2026-11-20`). */
  dates: string[]
  open: Float64Array
  high: Float64Array
  low: Float64Array
  close: Float64Array
  /** Close adjusted for splits and dividends: what returns are computed from. Never NaN, always positive. */
  adjClose: Float64Array
  volume: Float64Array
}

/** What is known of a symbol apart from its prices. */
export interface Instrument {
  /** Canonical symbol, see symbols.ts. */
  symbol: string
  name: string
  sector: string | null
  /** Country of listing, by the name of its universe. */
  country: string | null
  /** ISO 4217 code; `GBp` is the London minor unit (a hundredth of a pound). */
  currency: string | null
}

/** A set of symbols that are ranked against each other. */
export interface Universe {
  /** `Switzerland`: the value of `country` in requests and of the label `country` in metrics. */
  name: string
  symbols: readonly string[]
  /** Who says that these are the members. */
  origin: string
  /** ISO date on which membership was recorded. */
  date: string
}

/** The last known trade of a symbol. null: the source has no value. */
export interface Quote {
  price: number
  /** Percent against the previous close. */
  change: number | null
  volume: number | null
  marketCap: number | null
  peRatio: number | null
  fiftyTwoWeekHigh: number
  fiftyTwoWeekLow: number
  /** ISO date of the candle the price is from. */
  asOf: string
}

/** Why a source has no answer for a symbol. Also the closed set of the label `error_type`. */
export const FETCH_ERRORS = [
  'not_found',
  'timeout',
  'network',
  'rate_limited',
  'upstream_error',
  'schema',
  'circuit_open'
] as const
export type FetchError = (typeof FETCH_ERRORS)[number]

/** One symbol's part of a source's answer. */
export type Fetched<T> = { ok: true; value: T } | FetchFailure

export interface FetchFailure {
  ok: false
  error: FetchError
  /** Seconds after which the source may be asked again, if it says so. */
  retryAfter?: number | undefined
  /** For the log, never for replies. */
  cause?: unknown
}

/** Names of the market sources: the values of `source` in replies about stocks. */
export const MARKET_SOURCES = ['simulated', 'csv', 'yahoo'] as const
export type MarketSourceName = (typeof MARKET_SOURCES)[number]

/** The values of the label `source`: the market sources, and what else is asked over the network. */
export const DATA_SOURCES = [...MARKET_SOURCES, 'coingecko', 'openai'] as const
export type DataSourceName = (typeof DATA_SOURCES)[number]

/** The services that are asked over the network: the values of the label `upstream`. */
export const UPSTREAMS = ['yahoo', 'coingecko', 'openai'] as const
export type Upstream = (typeof UPSTREAMS)[number]

/** A market: the simulator, a folder of prices, a live provider. Symbols are canonical on both sides. */
export interface MarketSource {
  readonly name: MarketSourceName
  /** What a model must have been trained on to score these prices. */
  readonly kind: 'simulated' | 'historical'
  readonly universes: readonly Universe[]
  instrument(symbol: string): Instrument | undefined
  /** The last `days` candles (fewer if there are no more) of every symbol asked for; each symbol is in the map. */
  history(symbols: readonly string[], days: number): Promise<Map<string, Fetched<Candles>>>
  /** The last quote of every symbol asked for; each symbol is in the map. */
  quotes(symbols: readonly string[]): Promise<Map<string, Fetched<Quote>>>
}

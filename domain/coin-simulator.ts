import type { CoinDetails } from './coins.ts'
import { createRandom } from './random.ts'

/** What a path is made for. */
export interface SimulatedCoin {
  id: string
  symbol: string
  name: string
  /** US dollars; the path goes around it. */
  price: number
  /** Market capitalisation at `price`, in millions of US dollars. */
  cap: number
  /** Whether its price stays where it is. */
  stable: boolean
}

export interface CoinSimulator {
  /** A coin as it is at the end of a day (ISO date); its rank among others is not known here. */
  coin(listing: SimulatedCoin, day: string): CoinDetails
}

/** The first simulated day. */
export const COIN_SIMULATION_START = '2025-01-01'

const DAY = 86_400_000
const START_DAY = Date.parse(COIN_SIMULATION_START) / DAY
/** Days before the first, so that it too has changes over 30 days. */
const WARM_UP = 60

/** Daily volatility, as log returns, of what moves all coins. */
const MARKET_VOLATILITY = 0.02
/** Median of the coins' own, and its spread as a standard deviation of logs. */
const OWN_VOLATILITY = 0.025
const OWN_VOLATILITY_SPREAD = 0.4
const STABLE_VOLATILITY = 0.0004
/** A log price loses this share of its distance from the listed price each day: paths stay familiar for years. */
const REVERSION = 0.01
/** Degrees of freedom of all shocks. */
const TAIL = 4
/** Median of the share of its capitalisation that a coin's volume is in 24 hours, and its spread as for volatility; grows with the day's move. */
const TURNOVER = 0.04
const TURNOVER_SPREAD = 0.8
/** Share of the smaller coins for which a source has no value, field by field. */
const GAP = 0.02
/** Coins smaller than this, in millions of US dollars, have gaps. */
const GAP_BELOW = 500

/**
 * Coins that never were: daily prices, all days of the week, around the price of the listing. A log price is
 *
 *     x[d] = .99 x[d-1] + beta market[d] + own T[d]
 *
 * with Student-t shocks. Deterministic: a seed and an id give the same path; a day that is added leaves the past as it was. Small coins
 * lack a change or a volume now and then, as in answers of the real upstream. Days before 2025 are the first of them.
 */
export function createCoinSimulator(seed: number): CoinSimulator {
  let market = new Float64Array()

  function marketReturns(days: number): Float64Array {
    if (market.length < days) {
      const random = createRandom(`${seed}/coins`)
      market = Float64Array.from({ length: days }, () => MARKET_VOLATILITY * random.studentT(TAIL))
    }
    return market
  }

  /** Log prices against the listed one. */
  function walk({ id, stable }: SimulatedCoin, days: number): Float64Array {
    const random = createRandom(`${seed}/coin/${id}`)
    const beta = stable ? 0 : 0.5 + random.uniform()
    const own = stable ? STABLE_VOLATILITY : OWN_VOLATILITY * Math.exp(OWN_VOLATILITY_SPREAD * random.normal())
    const returns = marketReturns(days)
    let level = 0
    return Float64Array.from({ length: days }, (_, day) => {
      level = (1 - REVERSION) * level + beta * returns[day]! + own * random.studentT(TAIL)
      return level
    })
  }

  return {
    coin(listing, day) {
      const last = Math.max(0, Date.parse(day) / DAY - START_DAY) + WARM_UP
      return describe(listing, walk(listing, last + 1), `${seed}/coin/${listing.id}/${day}`)
    }
  }
}

/** The last day of a path; `key` is that of what is random about the day alone. */
function describe(listing: SimulatedCoin, path: Float64Array, key: string): CoinDetails {
  const random = createRandom(key)
  const last = path.length - 1
  const priceAt = (level: number): number => digits(listing.price * Math.exp(level), 6)
  const change = (days: number): number => digits(100 * Math.expm1(path[last]! - path[last - days]!), 6)
  const supply = Math.round((listing.cap * 1e6) / listing.price)
  const price = priceAt(path[last]!)
  const marketCap = Math.round(price * supply)
  const move = Math.abs(path[last]! - path[last - 1]!)
  const turnover = TURNOVER * Math.exp(TURNOVER_SPREAD * random.normal()) + move
  const [low, high] = [path[last]!, path[last - 1]!].toSorted((a, b) => a - b) as [number, number]
  const wick = move * random.uniform()
  const known = (value: number): number | null => (listing.cap < GAP_BELOW && random.uniform() < GAP ? null : value)
  return {
    id: listing.id,
    symbol: listing.symbol,
    name: listing.name,
    price,
    change24h: change(1),
    change7d: known(change(7)),
    change30d: known(change(30)),
    marketCap,
    marketCapRank: null,
    volume: known(Math.round(turnover * marketCap)),
    image: null,
    nft: false,
    description: null,
    homepage: null,
    categories: [],
    genesisDate: null,
    high24h: priceAt(high + wick),
    low24h: priceAt(low - wick),
    circulatingSupply: supply,
    totalSupply: null,
    maxSupply: null,
    ...extremes(path, priceAt),
    lastUpdated: dateOf(last)
  }
}

function extremes(
  path: Float64Array,
  priceAt: (level: number) => number
): Pick<CoinDetails, 'ath' | 'athDate' | 'atl' | 'atlDate'> {
  const highest = Math.max(...path)
  const lowest = Math.min(...path)
  return {
    ath: priceAt(highest),
    athDate: dateOf(path.indexOf(highest)),
    atl: priceAt(lowest),
    atlDate: dateOf(path.indexOf(lowest))
  }
}

/** ISO time of a day's end, which is the next day's beginning. */
function dateOf(index: number): string {
  return new Date((START_DAY - WARM_UP + index + 1) * DAY).toISOString()
}

/** Significant digits: prices go from 1e-9 to 1e5. */
function digits(value: number, count: number): number {
  return Number(value.toPrecision(count))
}

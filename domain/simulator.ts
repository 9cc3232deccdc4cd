import type { Candles } from './market.ts'
import { createRandom, type Random } from './random.ts'

/** What a path is made for. `price` and `shares` scale the path; its returns depend on the seed, symbol and sector only. */
export interface SimulatedInstrument {
  symbol: string
  sector: string | null
  /** The close on `PRICE_DATE`. */
  price: number
  /** Shares outstanding, in millions. */
  shares: number
}

export interface SimulatorOptions {
  /** Another seed is another market. */
  seed: number
  /** Strength of the planted signal, `κ` below. 0: nothing can be predicted. */
  momentum?: number
}

export interface Simulator {
  /** Daily candles from `SIMULATION_START` to the last weekday not after `until` (ISO date). Arrays are the caller's. */
  candles(instrument: SimulatedInstrument, until: string): Candles
  /**
   * The planted signal `z` beside the candles, as known at each close: what a perfect forecaster would rank by. For
   * judging what a trained model finds of it.
   */
  signal(instrument: SimulatedInstrument, until: string): Float64Array
}

/** Default of `momentum`: weak enough to be honest, strong enough for a training that works to find it. */
export const DEFAULT_MOMENTUM = 0.04
/** The first simulated day, a Monday. */
export const SIMULATION_START = '2017-01-02'
/** The day on which an instrument's `price` holds. Paths are scaled to pass through it, so that levels look familiar. */
export const PRICE_DATE = '2026-11-20'

const DAY = 86_400_000
const START_DAY = Date.parse(SIMULATION_START) / DAY

/** Daily mean and volatility of the market in calm times, as log returns. */
const MARKET_DRIFT = 0.0003
const MARKET_VOLATILITY = 0.008
/** In stress everything moves this much more. Calm lasts about a year, stress about two months. */
const STRESS_FACTOR = 2
const STRESS_BEGINS = 1 / 250
const STRESS_ENDS = 1 / 40
const SECTOR_VOLATILITY = 0.005
/** Median of the instruments' own daily volatility, and its spread as a standard deviation of logs. */
const OWN_VOLATILITY = 0.013
const OWN_VOLATILITY_SPREAD = 0.3
/** Log volatility is AR(1): memory and shock a day. */
const VOLATILITY_MEMORY = 0.98
const VOLATILITY_SHOCK = 0.06
/** Degrees of freedom of all shocks. Daily stock returns are usually fitted with 3 to 6. */
const TAIL = 5

/** The signal is the return between these many days ago. */
const MOMENTUM_FROM = 120
const MOMENTUM_TO = 20
/** Past returns feed the drift, the drift feeds future returns: without a bound a large κ would run away. */
const SIGNAL_LIMIT = 2

/** A day's share of the return that happens before the open, and the noise around it in units of volatility. */
const OVERNIGHT_SHARE = 0.3
const OVERNIGHT_NOISE = 0.25
/** How far beyond open and close a day reaches at most, in units of its volatility. */
const WICK = 0.7
/** Share of all shares that is traded on a day without a move, on average. */
const TURNOVER = 0.003
/** Prices are multiples of 1 / 10 000. */
const TICKS = 1e4

interface Factor {
  returns: Float64Array
  /** Today's volatility against calm times. */
  level: Float64Array
}

/** Log prices against the first day's previous close. */
interface Path {
  open: Float64Array
  high: Float64Array
  low: Float64Array
  close: Float64Array
  volume: Float64Array
  signal: Float64Array
}

/**
 * A market that never was: daily prices that look like stocks and hold one known, weak regularity. A log return is
 *
 *     r = β·market + γ·sector + own·T + κ·σ·z,   z = ln(P[-20] / P[-120]) / (σ·√100), cut at ±2
 *
 * with a market whose volatility switches between calm and stress around an AR(1), Student-t shocks T throughout, and
 * σ the instrument's volatility on a calm day. κ (`momentum`) = 0 is a market without memory of direction; at .04 a
 * ranking by z beats the median over the next 20 days with an AUC of about .57.
 *
 * Deterministic: the same seed, symbol and sector give the same returns, run after run. A day that is added leaves
 * the past as it was, and no instrument depends on which others are asked for: each stream of randomness has a key.
 *
 * Simplifications: every weekday is a trading day (no holidays), one market for all countries and currencies, no
 * dividends and no splits, so `adjClose` equals `close`; nothing is ever delisted.
 */
export function createSimulator({ seed, momentum = DEFAULT_MOMENTUM }: SimulatorOptions): Simulator {
  const dates: string[] = []
  const sectors = new Map<string, Factor>()
  let market: Factor = { returns: new Float64Array(), level: new Float64Array() }

  function marketFactor(days: number): Factor {
    if (market.returns.length < days) market = walkMarket(createRandom(`${seed}/market`), days)
    return market
  }

  function sectorFactor(sector: string, days: number): Factor {
    let factor = sectors.get(sector)
    if (factor === undefined || factor.returns.length < days) {
      factor = walkSector(createRandom(`${seed}/sector/${sector}`), marketFactor(days), days)
      sectors.set(sector, factor)
    }
    return factor
  }

  function walk(instrument: SimulatedInstrument, days: number): Path {
    const random = createRandom(`${seed}/symbol/${instrument.symbol}`)
    const sector = sectorFactor(instrument.sector ?? 'none', days)
    return walkInstrument(random, marketFactor(days), sector, momentum, days)
  }

  return {
    candles(instrument, until) {
      const days = tradingDays(until)
      for (let day = dates.length; day < days; day++) dates.push(dateOf(day))
      return toCandles(instrument, walk(instrument, Math.max(days, PRICE_INDEX + 1)), dates.slice(0, days))
    },
    signal(instrument, until) {
      return walk(instrument, tradingDays(until)).signal
    }
  }
}

/** The latest weekday strictly before `now`'s UTC date: the newest day whose candle is certainly finished. */
export function lastTradingDay(now: Date): string {
  const yesterday = Math.floor(now.getTime() / DAY) - 1
  // Day 0 of the epoch was a Thursday: this is 0 on Mondays, 5 and 6 at weekends.
  const weekday = (yesterday + 3) % 7
  return isoDate(yesterday - Math.max(0, weekday - 4))
}

const PRICE_INDEX = tradingDays(PRICE_DATE) - 1

/** How many weekdays there are from the start of the simulation to a date, both included. */
function tradingDays(until: string): number {
  const day = Date.parse(until) / DAY - START_DAY
  if (!Number.isInteger(day)) throw new RangeError(`Not an ISO date: ${until}`)
  return day < 0 ? 0 : Math.floor(day / 7) * 5 + Math.min((day % 7) + 1, 5)
}

function dateOf(index: number): string {
  return isoDate(START_DAY + Math.floor(index / 5) * 7 + (index % 5))
}

function isoDate(day: number): string {
  return new Date(day * DAY).toISOString().slice(0, 10)
}

function walkMarket(random: Random, days: number): Factor {
  const returns = new Float64Array(days)
  const level = new Float64Array(days)
  let stressed = false
  let swing = 0
  for (let day = 0; day < days; day++) {
    if (random.uniform() < (stressed ? STRESS_ENDS : STRESS_BEGINS)) stressed = !stressed
    swing = VOLATILITY_MEMORY * swing + VOLATILITY_SHOCK * random.normal()
    const today = (stressed ? STRESS_FACTOR : 1) * Math.exp(swing)
    level[day] = today
    returns[day] = MARKET_DRIFT + MARKET_VOLATILITY * today * random.studentT(TAIL)
  }
  return { returns, level }
}

function walkSector(random: Random, market: Factor, days: number): Factor {
  const level = market.level.subarray(0, days)
  return { returns: level.map((today) => SECTOR_VOLATILITY * today * random.studentT(TAIL)), level }
}

function walkInstrument(random: Random, market: Factor, sector: Factor, momentum: number, days: number): Path {
  const marketBeta = 0.6 + 0.8 * random.uniform()
  const sectorBeta = 0.6 + 0.8 * random.uniform()
  const own = OWN_VOLATILITY * Math.exp(OWN_VOLATILITY_SPREAD * random.normal())
  const common = Math.hypot(marketBeta * MARKET_VOLATILITY, sectorBeta * SECTOR_VOLATILITY)
  const sigma = Math.hypot(common, own)

  const column = (): Float64Array => new Float64Array(days)
  const path: Path = {
    open: column(),
    high: column(),
    low: column(),
    close: column(),
    volume: column(),
    signal: column()
  }
  let swing = 0
  let previous = 0
  let signal = 0
  for (let day = 0; day < days; day++) {
    const level = market.level[day]!
    swing = VOLATILITY_MEMORY * swing + VOLATILITY_SHOCK * random.normal()
    // An instrument's own news grows in stress too, but less than the market's.
    const news = own * Math.exp(swing) * Math.sqrt(level)
    const volatility = Math.sqrt((common * level) ** 2 + news ** 2)
    const move =
      marketBeta * market.returns[day]! +
      sectorBeta * sector.returns[day]! +
      news * random.studentT(TAIL) +
      momentum * sigma * signal

    const close = previous + move
    const open = previous + OVERNIGHT_SHARE * move + OVERNIGHT_NOISE * volatility * random.normal()
    path.open[day] = open
    path.close[day] = close
    path.high[day] = Math.max(open, close) + WICK * volatility * random.uniform()
    path.low[day] = Math.min(open, close) - WICK * volatility * random.uniform()
    path.volume[day] = TURNOVER * (0.5 + random.uniform() + Math.abs(move) / volatility)

    signal = momentumSignal(path.close, day, sigma)
    path.signal[day] = signal
    previous = close
  }
  return path
}

/** z of a day, 0 while the history is too short. */
function momentumSignal(close: Float64Array, day: number, sigma: number): number {
  const from = close[day - MOMENTUM_FROM]
  const to = close[day - MOMENTUM_TO]
  if (from === undefined || to === undefined) return 0
  const z = (to - from) / (sigma * Math.sqrt(MOMENTUM_FROM - MOMENTUM_TO))
  return Math.max(-SIGNAL_LIMIT, Math.min(SIGNAL_LIMIT, z))
}

/** The first `dates.length` days of a path, scaled so that the close on `PRICE_DATE` is the instrument's price. */
function toCandles(instrument: SimulatedInstrument, path: Path, dates: string[]): Candles {
  const level = Math.log(instrument.price) - path.close[PRICE_INDEX]!
  const days = dates.length
  const toPrice = (log: number): number => Math.max(1, Math.round(Math.exp(level + log) * TICKS)) / TICKS
  const prices = (logs: Float64Array): Float64Array => logs.subarray(0, days).map(toPrice)
  const close = prices(path.close)
  return {
    dates,
    open: prices(path.open),
    high: prices(path.high),
    low: prices(path.low),
    close,
    adjClose: close.slice(),
    volume: path.volume.subarray(0, days).map((turnover) => Math.ceil(turnover * instrument.shares * 1e6))
  }
}

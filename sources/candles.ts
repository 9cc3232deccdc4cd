import type { Candles, Fetched, Quote } from '../domain/market.ts'

/** Trading days that count as 52 weeks. */
const YEAR = 252

/** One entry for every symbol asked for: what `read` makes of the thing that `find` knows under it, or `not_found`. */
export function answer<Known, T>(
  symbols: readonly string[],
  find: (symbol: string) => Known | undefined,
  read: (known: Known) => T
): Map<string, Fetched<T>> {
  const answers = new Map<string, Fetched<T>>()
  for (const symbol of symbols) {
    const known = find(symbol)
    answers.set(symbol, known === undefined ? { ok: false, error: 'not_found' } : { ok: true, value: read(known) })
  }
  return answers
}

/** The last `days` rows, all of them if there are fewer, as copies: a caller may write into them. */
export function lastCandles(candles: Candles, days: number): Candles {
  const from = Math.max(0, candles.dates.length - days)
  return {
    dates: candles.dates.slice(from),
    open: candles.open.slice(from),
    high: candles.high.slice(from),
    low: candles.low.slice(from),
    close: candles.close.slice(from),
    adjClose: candles.adjClose.slice(from),
    volume: candles.volume.slice(from)
  }
}

/** The part of a quote that daily candles tell. `candles` must have at least one row, and no NaN among the closes. */
export function quoteOf(candles: Candles): Omit<Quote, 'marketCap' | 'peRatio'> {
  const { dates, high, low, close, volume } = lastCandles(candles, YEAR)
  const price = close.at(-1)!
  const previous = close.at(-2)
  return {
    price,
    change: previous === undefined ? null : (price / previous - 1) * 100,
    volume: orNull(volume.at(-1)!),
    // A day without a high or a low still reached its close.
    fiftyTwoWeekHigh: Math.max(...high.map((value, day) => (Number.isNaN(value) ? close[day]! : value))),
    fiftyTwoWeekLow: Math.min(...low.map((value, day) => (Number.isNaN(value) ? close[day]! : value))),
    asOf: dates.at(-1)!
  }
}

function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value
}

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Candles, MarketSource, Quote } from '../domain/market.ts'
import { createSimulator, DEFAULT_MOMENTUM, lastTradingDay } from '../domain/simulator.ts'
import { answer, lastCandles, quoteOf } from './candles.ts'
import { LISTINGS, UNIVERSES, type Listing } from './universes.ts'

/** Paths that are made before other work gets its turn: a few milliseconds. */
const AT_ONCE = 4

export interface SimulatedSourceOptions {
  /** Another seed is another market. Default 1. */
  seed?: number
  /** The clock; tests stop it. */
  now?: () => Date
  /** Strength of the planted signal, see simulator.ts. */
  momentum?: number
}

/**
 * The simulated market: real symbols and names, invented prices, every listing of universes.json, from 2017-01-02 to
 * the last weekday before today (UTC). Symbols that are not listed are `not_found`.
 *
 * Paths are made when a symbol is first asked for (one or two milliseconds each) and kept until the next trading day.
 * Arrays in answers are copies.
 *
 * Quotes: market capitalisation is price times shares in the major unit of the currency (pounds where prices are in
 * pence); the price-earnings ratio moves with the price over constant earnings.
 */
export function simulatedSource(options: SimulatedSourceOptions = {}): MarketSource {
  const { seed = 1, now = () => new Date(), momentum = DEFAULT_MOMENTUM } = options
  const simulator = createSimulator({ seed, momentum })
  const kept = new Map<string, Candles>()
  let today = ''

  /** Forgets the paths of an earlier day. */
  function turnOver(): void {
    const lastDay = lastTradingDay(now())
    if (lastDay === today) return
    kept.clear()
    today = lastDay
  }

  function candlesOf(listing: Listing): Candles {
    turnOver()
    let candles = kept.get(listing.symbol)
    if (candles === undefined) {
      candles = simulator.candles(listing, today)
      kept.set(listing.symbol, candles)
    }
    return candles
  }

  /** Makes missing paths a few at a time: a universe of them in one go would keep the event loop from all other work. */
  async function prepare(symbols: readonly string[]): Promise<void> {
    turnOver()
    const missing = symbols.filter((symbol) => !kept.has(symbol)).flatMap((symbol) => listingOf(symbol) ?? [])
    for (const [i, listing] of missing.entries()) {
      candlesOf(listing)
      if (i % AT_ONCE === AT_ONCE - 1) await nextTurn()
    }
  }

  return {
    name: 'simulated',
    kind: 'simulated',
    universes: UNIVERSES,
    instrument: listingOf,
    async history(symbols, days) {
      await prepare(symbols)
      return answer(symbols, listingOf, (listing) => lastCandles(candlesOf(listing), days))
    },
    async quotes(symbols) {
      await prepare(symbols)
      return answer(symbols, listingOf, (listing) => toQuote(listing, candlesOf(listing)))
    }
  }
}

function listingOf(symbol: string): Listing | undefined {
  return LISTINGS.get(symbol)
}

function toQuote(listing: Listing, candles: Candles): Quote {
  const quote = quoteOf(candles)
  const major = listing.currency === 'GBp' ? quote.price / 100 : quote.price
  return {
    ...quote,
    marketCap: major * listing.shares * 1e6,
    peRatio: listing.peRatio === null ? null : (listing.peRatio * quote.price) / listing.price
  }
}

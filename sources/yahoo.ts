import type { Candles, FetchError, Fetched, Instrument, MarketSource } from '../domain/market.ts'
import { lastCandles, quoteOf } from './candles.ts'
import { LISTINGS, UNIVERSES } from './universes.ts'
import { type Upstream, UpstreamError } from './upstream.ts'

export interface YahooSourceOptions {
  /** To Yahoo's chart endpoint; its concurrency is that of this source. */
  upstream: Upstream
  /** The clock. */
  now?: () => Date
}

/** Calendar days that hold so many trading days: 7 for 5, and two weeks for holidays. */
const calendarDays = (bars: number): number => Math.ceil((bars * 7) / 5) + 14
const DAY_SECONDS = 86_400
const YEAR_BARS = 252
/** Names and currencies of symbols outside the universes that are remembered. */
const MAX_LEARNED = 10_000

/** What is read of a chart reply. */
interface Chart {
  meta: {
    currency?: string
    /** Seconds, of today. */
    gmtoffset: number
    exchangeTimezoneName?: string
    longName?: string
    shortName?: string
    currentTradingPeriod?: { regular?: { start: number; end: number } }
  }
  timestamp?: number[] | null
  indicators: {
    quote: Partial<Record<'open' | 'high' | 'low' | 'close' | 'volume', (number | null)[]>>[]
    adjclose?: { adjclose: (number | null)[] }[]
  }
}

/**
 * Yahoo Finance, by its chart endpoint alone, the only one that needs no session. A symbol is one request. Adjusted closes are
 * Yahoo's own, through splits and dividends. A day without a close is left out, and of history the one whose session is
 * not over; a quote is of that one.
 * Market capitalisation and price-earnings ratios are not in a chart. Symbols outside the universes get their name and
 * currency with their first answer.
 */
export function yahooSource({ upstream, now = () => new Date() }: YahooSourceOptions): MarketSource {
  const learned = new Map<string, Instrument>()

  function learn(symbol: string, { currency, longName, shortName }: Chart['meta']): void {
    if (LISTINGS.has(symbol) || learned.has(symbol)) return
    if (learned.size >= MAX_LEARNED) learned.clear()
    learned.set(symbol, {
      symbol,
      name: longName ?? shortName ?? symbol,
      sector: null,
      country: null,
      currency: currency ?? null
    })
  }

  async function candlesOf(symbol: string, bars: number, live: boolean): Promise<Candles> {
    const seconds = Math.floor(now().getTime() / 1000)
    const query = {
      period1: seconds - calendarDays(bars) * DAY_SECONDS,
      period2: seconds,
      interval: '1d',
      events: 'div,splits',
      includeAdjustedClose: true
    }
    const chart = chartOf(await upstream.get(`/v8/finance/chart/${encodeURIComponent(symbol)}`, { query }))
    learn(symbol, chart.meta)
    const candles = toCandles(chart, live ? Infinity : seconds)
    if (candles.dates.length === 0) throw new UpstreamError('yahoo', 'not_found', `${symbol} has no prices`)
    return lastCandles(candles, bars)
  }

  async function each<T>(
    symbols: readonly string[],
    bars: number,
    live: boolean,
    read: (candles: Candles) => T
  ): Promise<Map<string, Fetched<T>>> {
    const fetched = await Promise.all(
      symbols.map(async (symbol): Promise<[string, Fetched<T>]> => {
        try {
          return [symbol, { ok: true, value: read(await candlesOf(symbol, bars, live)) }]
        } catch (error) {
          return [symbol, { ok: false, error: reasonOf(error) }]
        }
      })
    )
    return new Map(fetched)
  }

  return {
    name: 'yahoo',
    kind: 'historical',
    universes: UNIVERSES,
    instrument: (symbol) => LISTINGS.get(symbol) ?? learned.get(symbol),
    history: async (symbols, days) => each(symbols, days, false, (candles) => candles),
    quotes: async (symbols) =>
      each(symbols, YEAR_BARS, true, (candles) => ({ ...quoteOf(candles), marketCap: null, peRatio: null }))
  }
}

function reasonOf(error: unknown): FetchError {
  if (!(error instanceof UpstreamError)) return 'schema'
  return hasNothing(error.body) ? 'not_found' : error.reason
}

/** Whether Yahoo says that it has no prices, of a symbol or of a time; it does so with status 404, 400 or 200. */
function hasNothing(body: unknown): boolean {
  const error = (body as { chart?: { error?: { code?: unknown; description?: unknown } | null } } | null | undefined)
    ?.chart?.error
  return error?.code === 'Not Found' || String(error?.description).startsWith("Data doesn't exist")
}

/** The chart in a reply. @throws UpstreamError: `schema` if it has another form */
function chartOf(body: unknown): Chart {
  const [chart] = (body as { chart?: { result?: unknown[] } } | null)?.chart?.result ?? []
  const { meta, indicators, timestamp } = (chart ?? {}) as Partial<Chart>
  const isChart =
    typeof meta?.gmtoffset === 'number' && Array.isArray(indicators?.quote) && (timestamp ?? []).every(Number.isFinite)
  if (!isChart) throw new UpstreamError('yahoo', 'schema', 'a reply that is no chart', { body })
  return chart as Chart
}

/** Rows with a positive close and adjusted close of days whose session is over, by the exchange's own date, the last of a day. */
function toCandles({ meta, timestamp, indicators }: Chart, now: number): Candles {
  const quote = indicators.quote[0] ?? {}
  const adjusted = indicators.adjclose?.[0]?.adjclose ?? []
  const regular = meta.currentTradingPeriod?.regular
  const dayOf = calendar(meta)
  const rows = new Map<string, number>()
  for (const [i, time] of (timestamp ?? []).entries()) {
    const open = regular !== undefined && time >= regular.start && now < regular.end
    if (open || !isPrice(quote.close?.[i]) || !isPrice(adjusted[i])) continue
    rows.set(dayOf(time), i)
  }
  const dates = [...rows.keys()].toSorted()
  const column = (values: readonly (number | null)[] | undefined): Float64Array =>
    Float64Array.from(dates, (date) => {
      const value = values?.[rows.get(date)!]
      return typeof value === 'number' && Number.isFinite(value) ? value : Number.NaN
    })
  return {
    dates,
    open: column(quote.open),
    high: column(quote.high),
    low: column(quote.low),
    close: column(quote.close),
    adjClose: column(adjusted),
    volume: column(quote.volume)
  }
}

/** ISO dates at the exchange. Its offset of today is wrong for half of the year, which currencies, from midnight on, notice. */
function calendar({ exchangeTimezoneName: timeZone, gmtoffset }: Chart['meta']): (time: number) => string {
  try {
    if (timeZone === undefined) throw new RangeError('no time zone')
    // Swedish dates are ISO dates.
    const format = new Intl.DateTimeFormat('sv-SE', { timeZone })
    return (time) => format.format(time * 1000)
  } catch {
    return (time) => new Date((time + gmtoffset) * 1000).toISOString().slice(0, 10)
  }
}

function isPrice(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && Number.isFinite(value)
}

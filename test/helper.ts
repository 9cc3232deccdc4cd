import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { type Overrides, buildApp } from '../app.ts'
import { type Config, loadConfig } from '../config.ts'
import type { Candles, Fetched, FetchError, MarketSource, Quote } from '../domain/market.ts'

/** The day on which all tests take place: a Sunday, so that the last candle is of Friday the 20th. */
export const NOW = new Date('2026-11-22T12:00:00Z')

/** Settings of a quiet test service, which a busy machine does not make shed load. */
export function testConfig(env: Record<string, string> = {}): Config {
  return loadConfig({ LOG_LEVEL: 'silent', RATE_LIMIT_RPM: '100000', MAX_EVENT_LOOP_DELAY_MS: '0', ...env })
}

/** The whole service on the simulated market of `NOW`, closed when the test ends. */
export async function build(
  t: Test,
  env: Record<string, string> = {},
  overrides: Overrides = {}
): Promise<FastifyInstance> {
  const app = await buildApp(testConfig(env), { now: () => NOW, ...overrides })
  t.teardown(() => app.close())
  return app
}

/** The samples of an exposition by their name and labels, as printed. */
export async function scrape(app: FastifyInstance): Promise<Record<string, number>> {
  const { payload } = await app.inject('/prometheus')
  const lines = payload.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))])
  )
}

/** `days` weekday candles of a gentle wave, up to `until`; enough of them for a feature vector by default. */
export function waveCandles(days = 320, until = '2026-11-20', phase = 0): Candles {
  const dates: string[] = []
  for (let at = Date.parse(until); dates.length < days; at -= 86_400_000) {
    const day = new Date(at).getUTCDay()
    if (day !== 0 && day !== 6) dates.unshift(new Date(at).toISOString().slice(0, 10))
  }
  const close = Float64Array.from(dates, (_, i) => 100 + 10 * Math.sin(i / 9 + phase) + i / 20)
  const absent = new Float64Array(days).fill(Number.NaN)
  return { dates, open: absent, high: absent, low: absent, close, adjClose: close, volume: absent }
}

function lastQuote({ close, dates }: Candles): Quote {
  return {
    price: close.at(-1)!,
    change: null,
    volume: null,
    marketCap: null,
    peRatio: null,
    fiftyTwoWeekHigh: 120,
    fiftyTwoWeekLow: 90,
    asOf: dates.at(-1)!
  }
}

/** A market of a few symbols that answer candles, or fail as they are told. */
export function fakeSource(
  members: Record<string, Candles | FetchError>,
  over: Partial<MarketSource> = {}
): MarketSource {
  function answer<T>(symbols: readonly string[], read: (candles: Candles) => T): Map<string, Fetched<T>> {
    return new Map(
      symbols.map((symbol) => {
        const found = members[symbol] ?? 'not_found'
        return [symbol, typeof found === 'string' ? { ok: false, error: found } : { ok: true, value: read(found) }]
      })
    )
  }
  return {
    name: 'simulated',
    kind: 'simulated',
    universes: [{ name: 'Testland', symbols: Object.keys(members), origin: 'a test', date: '2026-11-22' }],
    instrument: () => undefined,
    history: async (symbols) => answer(symbols, (candles) => candles),
    quotes: async (symbols) => answer(symbols, lastQuote),
    ...over
  }
}

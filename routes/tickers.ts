import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import type { Quote } from '../domain/market.ts'
import { parseSymbol } from '../domain/symbols.ts'
import type { CachePolicy } from '../plugins/cache/index.ts'
import { Finite } from '../schemas/finite.ts'
import { Freshness, IsoDate, MaybeNumber, MaybeText, Source, Ticker } from '../schemas/market.ts'
import { problems } from '../schemas/problem.ts'

const TickerInfo = Type.Composite([
  Type.Object({
    ticker: Type.String(),
    name: Type.String(),
    price: Finite(),
    change: Type.Union([Finite(), Type.Null()], { description: 'Percent against the previous close.' }),
    volume: MaybeNumber,
    market_cap: MaybeNumber,
    pe_ratio: MaybeNumber,
    country: MaybeText,
    sector: MaybeText,
    currency: MaybeText,
    fifty_two_week_high: Finite(),
    fifty_two_week_low: Finite(),
    as_of: IsoDate,
    source: Source
  }),
  Freshness
])

const HOUR = 3_600_000
/** Milliseconds for which it is known that there is no such symbol. */
const NEGATIVE_TTL = 60_000

interface TickersOptions {
  /** Milliseconds for which a quote is fresh. */
  ttl: number
}

const tickers: FastifyPluginAsyncTypebox<TickersOptions> = async (fastify, { ttl }) => {
  const { market, cache } = fastify
  const policy: CachePolicy<Quote | null> = {
    ttl: (quote) => (quote === null ? Math.min(ttl, NEGATIVE_TTL) : ttl),
    staleWhileRevalidate: ttl,
    staleIfError: ttl === 0 ? 0 : HOUR
  }

  /** @throws Market.failure */
  async function infoOf(symbol: string): Promise<typeof TickerInfo.static> {
    const { value: quote, ...freshness } = await cache.wrap('ticker_info', symbol, policy, async () => {
      const fetched = (await market.quotes([symbol])).get(symbol)!
      if (fetched.ok) return fetched.value
      if (fetched.error === 'not_found') return null
      throw market.failure(symbol, fetched.error)
    })
    if (quote === null) throw market.failure(symbol, 'not_found')
    const instrument = market.instrument(symbol)
    return {
      ticker: symbol,
      name: instrument?.name ?? symbol,
      price: quote.price,
      change: quote.change,
      volume: quote.volume,
      market_cap: quote.marketCap,
      pe_ratio: quote.peRatio,
      country: instrument?.country ?? null,
      sector: instrument?.sector ?? null,
      currency: instrument?.currency ?? null,
      fifty_two_week_high: quote.fiftyTwoWeekHigh,
      fifty_two_week_low: quote.fiftyTwoWeekLow,
      as_of: quote.asOf,
      source: market.name,
      stale: freshness.stale,
      age_seconds: freshness.age / 1000
    }
  }

  fastify.get(
    '/ticker_info/:ticker',
    {
      schema: {
        tags: ['tickers'],
        operationId: 'getTickerInfo',
        summary: 'Name, price and range of one stock',
        params: Type.Object({ ticker: Ticker }),
        response: { 200: TickerInfo, ...problems(400, 404, 502, 504) }
      }
    },
    async (request) => infoOf(parseSymbol(request.params.ticker)!)
  )

  fastify.post(
    '/ticker_info_batch',
    {
      config: { quota: { weight: 5, atLeast: 8 } },
      schema: {
        tags: ['tickers'],
        operationId: 'getTickerInfoBatch',
        summary: 'The same for up to 100 stocks; what failed is named, with a message',
        body: Type.Array(Ticker, { minItems: 1, maxItems: 100 }),
        response: {
          200: Type.Object({
            results: Type.Record(Type.String(), TickerInfo),
            errors: Type.Record(Type.String(), Type.String())
          }),
          ...problems(400, 413, 415)
        }
      }
    },
    async (request) => {
      const symbols = [...new Set(request.body.map((text) => parseSymbol(text)!))]
      const results: Record<string, typeof TickerInfo.static> = {}
      const errors: Record<string, string> = {}
      const settled = await Promise.allSettled(symbols.map(infoOf))
      for (const [i, outcome] of settled.entries()) {
        if (outcome.status === 'fulfilled') results[symbols[i]!] = outcome.value
        else errors[symbols[i]!] = (outcome.reason as Error).message
      }
      return { results, errors }
    }
  )
}

export default fp(tickers, {
  name: 'tickers-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['market', 'cache'] }
})

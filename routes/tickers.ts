import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import type { Quote } from '../domain/market.ts'
import { parseSymbol } from '../domain/symbols.ts'
import { Finite } from '../schemas/finite.ts'
import { IsoDate, MaybeNumber, MaybeText, Source, Ticker } from '../schemas/market.ts'
import { problems } from '../schemas/problem.ts'

const TickerInfo = Type.Object({
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
})

const tickers: FastifyPluginAsyncTypebox = async (fastify) => {
  const { market } = fastify

  function infoOf(symbol: string, quote: Quote): typeof TickerInfo.static {
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
      source: market.name
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
        response: { 200: TickerInfo, ...problems(400, 404, 502) }
      }
    },
    async (request) => {
      const symbol = parseSymbol(request.params.ticker)!
      const quote = (await market.quotes([symbol])).get(symbol)!
      if (quote.ok) return infoOf(symbol, quote.value)
      throw market.failure(symbol, quote.error)
    }
  )

  fastify.post(
    '/ticker_info_batch',
    {
      config: { quota: { weight: 5, atLeast: 8 } },
      schema: {
        tags: ['tickers'],
        operationId: 'getTickerInfoBatch',
        summary: 'The same for up to 100 stocks; what failed is named with its reason',
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
      const quotes = [...(await market.quotes(symbols))]
      return {
        results: Object.fromEntries(
          quotes.flatMap(([symbol, quote]) => (quote.ok ? [[symbol, infoOf(symbol, quote.value)]] : []))
        ),
        errors: Object.fromEntries(quotes.flatMap(([symbol, quote]) => (quote.ok ? [] : [[symbol, quote.error]])))
      }
    }
  )
}

export default fp(tickers, {
  name: 'tickers-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['market'] }
})

import createError from '@fastify/error'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { parseSymbol } from '../domain/symbols.ts'
import { IsoDate } from '../schemas/market.ts'
import { problems } from '../schemas/problem.ts'
import { RankingReply } from '../schemas/ranking.ts'

const MAX_TICKERS = 100

export const TF_ERR_RANKING_TICKERS = createError<[string]>('TF_ERR_RANKING_TICKERS', 'tickers %s', 400)

/** The symbols of `AAPL, msft,,BRK.B`, canonical and each once. @throws TF_ERR_RANKING_TICKERS naming the one that is none */
function parseTickers(text = ''): string[] {
  const symbols = new Set<string>()
  for (const item of text.split(',')) {
    if (item.trim() === '') continue
    const symbol = parseSymbol(item)
    if (symbol === undefined) throw new TF_ERR_RANKING_TICKERS(`has ${JSON.stringify(item)}, which is not a symbol`)
    symbols.add(symbol)
  }
  if (symbols.size > MAX_TICKERS)
    throw new TF_ERR_RANKING_TICKERS(`has ${symbols.size} symbols, more than ${MAX_TICKERS}`)
  return [...symbols]
}

const ranking: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get(
    '/ranking',
    {
      config: { quota: { weight: 5, atLeast: 8 } },
      schema: {
        tags: ['rankings'],
        operationId: 'getRanking',
        summary: 'A universe, or tickers of your own, by probability of outperforming',
        querystring: Type.Object(
          {
            country: Type.String({ default: 'Global', maxLength: 64, description: 'A universe of /countries.' }),
            tickers: Type.Optional(
              Type.String({
                maxLength: 2000,
                description: `Up to ${MAX_TICKERS} symbols, separated by commas, ranked among themselves instead of a country.`,
                examples: ['AAPL,MSFT,BRK.B']
              })
            ),
            limit: Type.Optional(
              Type.Integer({ minimum: 1, maximum: 500, finite: true, description: 'Best so many; all without.' })
            ),
            sparkline: Type.Boolean({
              default: false,
              description: 'With the last closes of each row, from the same prices as its probability.'
            })
          },
          { additionalProperties: false }
        ),
        response: { 200: RankingReply, ...problems(400, 502, 504) }
      }
    },
    async (request) => {
      const { country, tickers, limit, sparkline } = request.query
      const symbols = parseTickers(tickers)
      fastify.market.universe(country)
      const { value, age, stale } =
        symbols.length > 0
          ? { value: await fastify.ranking.ofSymbols(symbols), age: 0, stale: false }
          : await fastify.ranking.ofUniverse(country)
      const { sparklines, ...reply } = value
      const rows = reply.ranking.slice(0, limit)
      return {
        ...reply,
        ranking: sparkline ? rows.map((row, i) => ({ ...row, sparkline: [...sparklines[i]!] })) : rows,
        skipped: [...reply.skipped],
        warnings: [...reply.warnings],
        stale,
        age_seconds: age / 1000
      }
    }
  )

  fastify.get(
    '/countries',
    {
      schema: {
        tags: ['rankings'],
        operationId: 'listCountries',
        summary: 'The universes that can be ranked',
        response: {
          200: Type.Object({
            countries: Type.Array(
              Type.Object({ name: Type.String(), size: Type.Integer(), origin: Type.String(), date: IsoDate })
            )
          }),
          ...problems()
        }
      }
    },
    async () => ({
      countries: fastify.market.universes.map(({ name, symbols, origin, date }) => ({
        name,
        size: symbols.length,
        origin,
        date
      }))
    })
  )
}

export default fp(ranking, {
  name: 'ranking-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['ranking', 'market'] }
})

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { DISCLAIMER } from '../domain/analysis.ts'
import { Answer } from '../schemas/analysis.ts'
import { Finite } from '../schemas/finite.ts'
import { Probability, Ticker, Warnings } from '../schemas/market.ts'
import { problems } from '../schemas/problem.ts'

const Tokens = Type.Object({
  prompt: Type.Integer({ minimum: 0 }),
  completion: Type.Integer({ minimum: 0 }),
  total: Type.Integer({ minimum: 0 })
})

const Analysis = Type.Composite([
  Type.Object({
    analysis: Type.String({ description: 'Summary, picks, risks and disclaimer as one text.' }),
    model: Type.String({ description: 'The language model.' }),
    cached: Type.Boolean({ description: 'Answered without a call of its own to the language model.' }),
    age_seconds: Finite({ minimum: 0, description: 'Since the answer was made.' }),
    tokens: Type.Union([Tokens, Type.Null()], {
      description: 'Of the call that made the answer; null: the server does not say.'
    }),
    tickers: Type.Array(Type.String(), { description: 'What the language model was told of, the best first.' }),
    disclaimer: Type.String(),
    warnings: Warnings
  }),
  Answer
])

const analysis: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.post(
    '/analyze',
    {
      config: { quota: { weight: 6, atLeast: 5 } },
      schema: {
        tags: ['analysis'],
        operationId: 'analyzeRanking',
        summary: 'The top ten of a ranking, explained by a language model',
        body: Type.Object(
          {
            ranking: Type.Array(
              Type.Object({ ticker: Ticker, prob: Probability }, { description: 'Further fields are ignored.' }),
              { minItems: 1, maxItems: 500, description: 'The rows of /ranking, or just tickers and probabilities.' }
            ),
            user_context: Type.Optional(
              Type.String({ maxLength: 500, description: 'A remark of the reader. It is data, not an instruction.' })
            )
          },
          { additionalProperties: false }
        ),
        response: { 200: Analysis, ...problems(400, 413, 415, 502, 504) }
      }
    },
    async ({ body }) => {
      const { analysis: made, cached, age } = await fastify.analyst.analyze(body.ranking, body.user_context)
      const { text, picks, risks, tickers, warnings, ...rest } = made
      return {
        analysis: text,
        ...rest,
        picks: [...picks],
        risks: [...risks],
        tickers: [...tickers],
        warnings: [...warnings],
        disclaimer: DISCLAIMER,
        cached,
        age_seconds: age / 1000
      }
    }
  )
}

export default fp(analysis, {
  name: 'analysis-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['analyst'] }
})

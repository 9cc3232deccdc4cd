import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { RANKING_MODEL } from '../domain/ranking.ts'
import { signalOf } from '../domain/signals.ts'
import { parseSymbol } from '../domain/symbols.ts'
import { Freshness, ModelReference, Probability, Signal, Ticker, Warnings } from '../schemas/market.ts'
import { problems } from '../schemas/problem.ts'
import { ExplainQuery, Explanation, TickerPrediction } from '../schemas/ranking.ts'

const RawPrediction = Type.Object({ prob: Probability, signal: Signal, model: ModelReference, warnings: Warnings })
/** What is there only if it was asked for. */
const MaybeExplanation = Type.Partial(Explanation)

const predictions: FastifyPluginAsyncTypebox = async (fastify) => {
  // The body's schema is the model's own: what it was trained on is what a client must send.
  const features = fastify.model.inputSchema(RANKING_MODEL)

  fastify.post(
    '/predict_raw',
    {
      schema: {
        tags: ['predictions'],
        operationId: 'predictRaw',
        summary: 'Probability of outperforming, from features of your own',
        querystring: ExplainQuery,
        body: Type.Object({ features }, { additionalProperties: false }),
        response: { 200: Type.Composite([RawPrediction, MaybeExplanation]), ...problems(400, 413, 415, 422) }
      }
    },
    async (request, reply) => {
      // The schema is made at boot, so its type is not known here; toVector checks every name again.
      const vector = fastify.model.toVector(RANKING_MODEL, request.body.features as Record<string, number>)
      // A model without is refused.
      const { probability, manifest } = await fastify.model.predict(RANKING_MODEL, vector, {
        signal: fastify.model.departure(reply)
      })
      const prob = probability![0]!
      const warnings = fastify.ranking.extrapolations(manifest, vector)
      const explanation = request.query.explain ? fastify.ranking.explain(manifest, vector) : {}
      return { prob, signal: signalOf(prob), model: fastify.ranking.describe(manifest), warnings, ...explanation }
    }
  )

  fastify.get(
    '/predict_ticker/:ticker',
    {
      schema: {
        tags: ['predictions'],
        operationId: 'predictTicker',
        summary: 'Probability that a stock outperforms, with the features it was computed from',
        params: Type.Object({ ticker: Ticker }),
        querystring: ExplainQuery,
        response: {
          200: Type.Composite([TickerPrediction, MaybeExplanation, Freshness]),
          ...problems(400, 404, 422, 502, 504)
        }
      }
    },
    async (request) => {
      const { value, stale, age } = await fastify.ranking.predict(
        parseSymbol(request.params.ticker)!,
        request.query.explain
      )
      return { ...value, warnings: [...value.warnings], stale, age_seconds: age / 1000 }
    }
  )
}

// Encapsulated, like any route; fp is here only so that a missing decorator fails the boot by name.
export default fp(predictions, {
  name: 'predictions-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['ranking', 'model'] }
})

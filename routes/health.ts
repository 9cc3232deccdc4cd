import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { RANKING_MODEL } from '../domain/ranking.ts'
import { Finite } from '../schemas/finite.ts'
import { MaybeText } from '../schemas/market.ts'

const Status = Type.Object({ status: Type.String() })
const Failing = Type.Object({ status: Type.String(), failing: Type.Array(Type.String()) })

const health: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get(
    '/health',
    {
      logLevel: 'warn',
      config: { quota: false },
      schema: {
        tags: ['operations'],
        operationId: 'getHealth',
        summary: 'What is configured and connected; 200 while the process lives',
        response: {
          200: Type.Object({
            status: Type.Literal('ok'),
            timestamp: Finite({ description: 'Seconds since 1970.' }),
            model_loaded: Type.Boolean(),
            model_path: MaybeText,
            openai_configured: Type.Boolean(),
            openai_model: MaybeText,
            openai_available: Type.Boolean(),
            cache_backend: Type.Union([Type.Literal('in-memory'), Type.Literal('redis')]),
            redis_status: Type.Union([Type.Literal('not_used'), Type.Literal('connected'), Type.Literal('error')]),
            api_healthy: Type.Boolean()
          })
        }
      }
    },
    async () => ({
      status: 'ok' as const,
      timestamp: Date.now() / 1000,
      model_loaded: fastify.model.find(RANKING_MODEL) !== undefined,
      model_path: fastify.model.find(RANKING_MODEL)?.path ?? null,
      openai_configured: fastify.analyst.model !== null,
      openai_model: fastify.analyst.model,
      openai_available: fastify.analyst.available,
      cache_backend: fastify.redis.client ? ('redis' as const) : ('in-memory' as const),
      redis_status: fastify.redis.status,
      api_healthy: fastify.health.failing().length === 0
    })
  )

  fastify.get(
    '/health/live',
    {
      logLevel: 'warn',
      config: { quota: false },
      schema: {
        tags: ['operations'],
        operationId: 'getLiveness',
        summary: 'The process answers',
        response: { 200: Status }
      }
    },
    async () => ({ status: 'live' })
  )

  fastify.get(
    '/health/ready',
    {
      logLevel: 'warn',
      config: { quota: false },
      schema: {
        tags: ['operations'],
        operationId: 'getReadiness',
        summary: 'Requests should be sent here: the model is loaded and warm, and the process is not about to stop',
        response: { 200: Status, 503: Failing }
      }
    },
    async (_request, reply) => {
      const failing = fastify.health.failing()
      if (failing.length === 0) return { status: 'ready' }
      return reply.code(503).send({ status: 'not ready', failing })
    }
  )
}

export default fp(health, {
  name: 'health-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['health', 'model', 'analyst', 'redis'] }
})

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { RANKING_MODEL } from '../domain/ranking.ts'
import type { CacheStats as Figures, TierStats } from '../plugins/cache/index.ts'
import { Finite } from '../schemas/finite.ts'
import { MaybeNumber, MaybeText } from '../schemas/market.ts'
import { problems } from '../schemas/problem.ts'

const Count = Type.Integer({ minimum: 0 })

const Series = Type.Object({
  labels: Type.Record(Type.String(), Type.String()),
  value: Type.Optional(Finite()),
  count: Type.Optional(Count),
  sum: Type.Optional(Finite()),
  buckets: Type.Optional(Type.Record(Type.String(), Count, { description: 'Cumulative counts by upper bound.' })),
  p50: Type.Optional(MaybeNumber),
  p95: Type.Optional(MaybeNumber),
  p99: Type.Optional(MaybeNumber)
})

const CacheStats = Type.Object({
  entries: Count,
  bytes: Count,
  hits: Count,
  stale: Count,
  coalesced: Count,
  misses: Count,
  loads: Count,
  errors: Count,
  rescued: Count,
  evictions: Count,
  oversized: Count,
  tier: Type.Optional(
    Type.Object(
      {
        lookups: Type.Record(Type.String(), Count, { description: 'By what they found.' }),
        errors: Type.Record(Type.String(), Count, { description: 'Commands that failed, by reason.' }),
        writes: Count,
        oversized: Count
      },
      { description: 'The same type in Redis, if there is one.' }
    )
  )
})

export interface MetricsRoutesOptions {
  /** The configured rate limit. */
  requestsPerMinute: number
}

const metrics: FastifyPluginAsyncTypebox<MetricsRoutesOptions> = async (fastify, { requestsPerMinute }) => {
  fastify.get(
    '/metrics',
    {
      logLevel: 'warn',
      config: { quota: false },
      onRequest: fastify.metrics.guard,
      schema: {
        tags: ['operations'],
        operationId: 'getMetrics',
        summary: 'The numbers of /prometheus as JSON, and a few that need no query',
        querystring: Type.Object(
          {
            name: Type.Optional(
              Type.String({
                maxLength: 1000,
                description: 'Beginnings of metric names, separated by commas; without it all metrics.',
                examples: ['http_,model_']
              })
            )
          },
          { additionalProperties: false }
        ),
        response: {
          ...problems(400, 401),
          200: Type.Object({
            cache_stats: Type.Object({
              backend: Type.String(),
              in_memory_keys: Count,
              redis_hits: Type.Optional(Count),
              redis_misses: Type.Optional(Count),
              redis_errors: Type.Optional(Count),
              types: Type.Record(Type.String(), CacheStats)
            }),
            rate_limiter_stats: Type.Object({
              tracked_ips: Count,
              tracked_endpoints: Count,
              requests_per_minute: Count
            }),
            model_info: Type.Object({
              path: MaybeText,
              loaded: Type.Boolean(),
              name: Type.String(),
              version: MaybeText
            }),
            process: Type.Object({
              pid: Count,
              uptime_seconds: Finite(),
              memory_rss_bytes: Count,
              heap_used_bytes: Count
            }),
            metrics: Type.Array(
              Type.Object({ name: Type.String(), help: Type.String(), type: Type.String(), series: Type.Array(Series) })
            )
          })
        }
      }
    },
    async (request) => {
      const prefixes = request.query.name?.split(',').map((text) => text.trim())
      const types = fastify.cache.stats()
      const { clients, endpoints } = fastify.rateLimiter.stats()
      const serving = fastify.model.find(RANKING_MODEL)
      const { rss, heapUsed } = process.memoryUsage()
      return {
        cache_stats: {
          backend: fastify.redis.client ? 'redis' : 'in-memory',
          in_memory_keys: Object.values(types).reduce((sum, { entries }) => sum + entries, 0),
          ...(fastify.redis.client && redisStats(types)),
          types
        },
        rate_limiter_stats: {
          tracked_ips: clients,
          tracked_endpoints: endpoints,
          requests_per_minute: requestsPerMinute
        },
        model_info: {
          path: serving?.path ?? null,
          loaded: serving !== undefined,
          name: RANKING_MODEL,
          version: serving?.manifest.version ?? null
        },
        process: {
          pid: process.pid,
          uptime_seconds: process.uptime(),
          memory_rss_bytes: rss,
          heap_used_bytes: heapUsed
        },
        metrics: await fastify.metrics.json(prefixes)
      }
    }
  )
}

/** Lookups that found a value, those that found none, and commands that failed, over all types; they all have a second tier. */
function redisStats(types: Record<string, Figures>): Record<'redis_hits' | 'redis_misses' | 'redis_errors', number> {
  const tiers = Object.values(types).map(({ tier }) => tier!)
  const sum = (figure: (tier: TierStats) => number): number => tiers.reduce((total, tier) => total + figure(tier), 0)
  return {
    redis_hits: sum(({ lookups }) => lookups.hit + lookups.stale),
    redis_misses: sum(({ lookups }) => lookups.miss + lookups.corrupt),
    redis_errors: sum(({ errors }) => errors.timeout + errors.connection + errors.reply)
  }
}

export default fp(metrics, {
  name: 'metrics-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['metrics', 'cache', 'model', 'rateLimiter', 'redis'] }
})

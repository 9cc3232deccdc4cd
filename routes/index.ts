import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { problems } from '../schemas/problem.ts'
import { type About, landingFiles, landingPage, sendAsset } from './landing.ts'

/** Where things are, under the names that clients of the earlier service look for. */
const ENDPOINTS = {
  docs: '/docs',
  dashboard: '/dashboard',
  openapi: '/openapi.json',
  health: '/health',
  ready: '/health/ready',
  metrics: '/metrics',
  prometheus: '/prometheus',
  countries: '/countries',
  ranking: '/ranking?country=Global',
  ticker_info: '/ticker_info/AAPL',
  predict: '/predict_ticker/AAPL',
  crypto_ranking: '/crypto/ranking',
  crypto_search: '/crypto/search?query=btc',
  crypto_details: '/crypto/details/bitcoin',
  models: '/models',
  analyze: '/analyze'
}

const index: FastifyPluginAsyncTypebox<About> = async (fastify, options) => {
  const { name, version, description } = options
  const page = landingPage(options)
  const files = landingFiles()
  fastify.get(
    '/',
    {
      schema: {
        tags: ['operations'],
        operationId: 'getIndex',
        summary: 'What this is and where things are; a small page for browsers',
        response: {
          200: {
            content: {
              'application/json': {
                schema: Type.Object({
                  name: Type.String(),
                  version: Type.String(),
                  description: Type.String(),
                  endpoints: Type.Record(Type.String(), Type.String()),
                  status: Type.Literal('operational')
                })
              },
              'text/html': { schema: Type.String() }
            }
          },
          ...problems()
        }
      }
    },
    async (request, reply) => {
      const vary = reply.getHeader('vary')
      reply.header('vary', vary === undefined ? 'accept' : `${String(vary)}, accept`)
      if (request.headers.accept?.includes('text/html')) {
        return sendAsset(request, reply, page)
      }
      return { name, version, description, endpoints: ENDPOINTS, status: 'operational' as const }
    }
  )

  const route = { logLevel: 'warn', schema: { hide: true } } as const
  fastify.get<{ Params: { file: string } }>('/landing/:file', route, async (request, reply) => {
    const found = files.get(request.params.file)
    return found ? sendAsset(request, reply, found) : reply.callNotFound()
  })
}

export default fp(index, { name: 'index-routes', fastify: '5.x', encapsulate: true })

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { problems } from '../schemas/problem.ts'

/** What the service says of itself. */
export interface IndexOptions {
  name: string
  version: string
  description: string
}

const LINKS = {
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
  models: '/models'
}

function page({ name, version, description }: IndexOptions): string {
  const links = Object.entries(LINKS).map(
    ([label, href]) => `<li><a href="${href}">${label}</a> <code>${href}</code></li>`
  )
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>${name}</title>
<h1>${name} ${version}</h1>
<p>${description}</p>
<ul>
${links.join('\n')}
</ul>
</html>
`
}

const index: FastifyPluginAsyncTypebox<IndexOptions> = async (fastify, options) => {
  const { name, version, description } = options
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
        return reply.type('text/html; charset=utf-8').send(page(options))
      }
      return { name, version, description, endpoints: LINKS, status: 'operational' as const }
    }
  )
}

export default fp(index, { name: 'index-routes', fastify: '5.x', encapsulate: true })

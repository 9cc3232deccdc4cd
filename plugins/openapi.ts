/** The API described by itself: OpenAPI 3.1 at /openapi.json, from the schemas of the routes that come after. */
import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

export interface OpenapiOptions {
  title: string
  description: string
  version: string
  /** What the routes' `tags` mean. */
  tags: readonly { name: string; description: string }[]
}

/** A copy without `finite`, a keyword of our validator (schemas/finite.ts) that JSON Schema does not know. */
function published<T extends object>(document: T): T {
  return JSON.parse(JSON.stringify(document, (key, value) => (key === 'finite' && value === true ? undefined : value)))
}

async function openapi(fastify: FastifyInstance, { title, description, version, tags }: OpenapiOptions): Promise<void> {
  await fastify.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title, description, version, license: { name: 'MIT', identifier: 'MIT' } },
      servers: [{ url: '/' }],
      // Nothing is behind a login; a token for the metrics is the operator's choice.
      security: [],
      tags: [...tags]
    },
    transformObject: (document) => published((document as { openapiObject: object }).openapiObject)
  })
  fastify.get('/openapi.json', { schema: { hide: true } }, async () => fastify.swagger())
}

export default fp(openapi, { name: 'openapi', fastify: '5.x' })

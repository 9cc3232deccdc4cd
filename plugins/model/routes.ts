/** The routes that change what is served: Triton's model repository extension, and a way back. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { type TProperties, type TSchema, Type } from '@sinclair/typebox'
import { Value, type ValueError } from '@sinclair/typebox/value'
import type { FastifyInstance, FastifySchema } from 'fastify'
import { type ReplyError, errorReply } from './error-reply.ts'
import { TF_ERR_MODEL_UNAUTHORIZED } from './errors.ts'
import { ManifestSchema } from './manifest.ts'
import type { Registry } from './registry.ts'

/** Digests have one length, whatever was sent: comparing them tells nothing of the token. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

const { version: Version } = ManifestSchema.properties
const ErrorReply = Type.Object({ error: Type.String() })
const Served = Type.Object({ name: Type.String(), version: Type.String() })
const Entry = Type.Object({
  name: Type.String(),
  version: Type.String(),
  state: Type.String({ description: 'READY or UNAVAILABLE.' }),
  reason: Type.String({ description: 'Why it is not ready, if it was looked at.' })
})
const params = Type.Object({ name: Type.String({ maxLength: 64 }) })

/** A body may be left out. */
function body(properties: TProperties): TSchema {
  return Type.Union([Type.Null(), Type.Object(properties, { additionalProperties: false })])
}

/** Of a body that is one, what is wrong in it. */
function firstError(schema: TSchema, value: unknown): ValueError | undefined {
  const [, object] = (schema['anyOf'] ?? []) as TSchema[]
  return Value.Errors(value === null || object === undefined ? schema : object, value).First()
}

/** A route's schema, with what plugins that document routes read. */
function documented(operationId: string, summary: string, success: TSchema, schema: FastifySchema): FastifySchema {
  const words = { tags: ['models'], operationId, summary }
  return { ...schema, ...words, response: { '4xx': ErrorReply, '5xx': ErrorReply, 200: success } }
}

/** Registers the routes. @throws TF_ERR_MODEL_UNAUTHORIZED at requests without `Authorization: Bearer <token>` */
export function registerControl(fastify: FastifyInstance, registry: Registry, token: string): void {
  const expected = digest(`Bearer ${token}`)

  void fastify.register(async (scope) => {
    // After a limiter, which works on requests as they come, so that guesses count; before the body is read.
    scope.addHook('preParsing', async ({ headers }) => {
      // The scheme's name may be written in any case (RFC 9110, 11.1).
      const given = (headers.authorization ?? '').replace(/^bearer /i, 'Bearer ')
      if (timingSafeEqual(digest(given), expected)) return
      throw Object.assign(new TF_ERR_MODEL_UNAUTHORIZED(), { headers: { 'www-authenticate': 'Bearer' } })
    })
    // Whatever the service's own validator lets pass or changes: what would be ignored is refused.
    scope.setValidatorCompiler<TSchema>(({ schema }) => (value: unknown) => {
      const first = firstError(schema, value ?? null)
      return first ? { error: new Error(`${first.path.slice(1) || 'the body'}: ${first.message}`) } : { value }
    })
    // Who has the token is told what is wrong with the repository.
    scope.setErrorHandler<ReplyError>(errorReply((_status, code) => code.startsWith('TF_ERR_MODEL_')))

    scope.post<{ Body: { ready?: boolean } | null }>(
      '/v2/repository/index',
      {
        schema: documented(
          'indexRepository',
          'Every version in the model repository, and whether it is served',
          Type.Array(Entry),
          {
            body: body({ ready: Type.Optional(Type.Boolean({ description: 'Only those that are served.' })) })
          }
        )
      },
      async (request) => {
        const entries = await registry.index()
        return request.body?.ready ? entries.filter(({ state }) => state === 'READY') : entries
      }
    )

    scope.post<{ Params: { name: string }; Body: { parameters?: { version?: string } } | null }>(
      '/v2/repository/models/:name/load',
      {
        schema: documented(
          'loadModel',
          'Serve the version of the policy, or one by its number, when it has proven that it works',
          Served,
          {
            params,
            body: body({
              parameters: Type.Optional(
                Type.Object({ version: Type.Optional(Version) }, { additionalProperties: false })
              )
            })
          }
        )
      },
      async (request) => (await registry.load(request.params.name, request.body?.parameters?.version)).manifest
    )

    scope.post<{ Params: { name: string } }>(
      '/v2/repository/models/:name/unload',
      {
        schema: documented('unloadModel', 'Serve no version of a model any more', Type.Object({}), {
          params,
          body: body({
            parameters: Type.Optional(
              Type.Object(
                { unload_dependents: Type.Optional(Type.Boolean({ description: 'Models have no dependents here.' })) },
                { additionalProperties: false }
              )
            )
          })
        })
      },
      async (request) => {
        await registry.unload(request.params.name)
        return {}
      }
    )

    scope.post<{ Params: { name: string } }>(
      '/v2/repository/models/:name/rollback',
      {
        schema: documented('rollbackModel', 'Serve the version that was served before', Served, {
          params,
          body: body({})
        })
      },
      async (request) => (await registry.rollback(request.params.name)).manifest
    )
  })
}

/** The routes of the Open Inference Protocol v2, as KServe, Triton and MLServer have them. */
import type { FastifyInstance, RouteShorthandOptions, preHandlerHookHandler } from 'fastify'
import { departure } from './departure.ts'
import { type ReplyError, errorReply } from './error-reply.ts'
import { TF_ERR_MODEL_MEDIA_TYPE, TF_ERR_MODEL_NOT_LOADED } from './errors.ts'
import type { Manifest } from './manifest.ts'
import type { ProtocolData } from './options.ts'
import { checkRequest } from './protocol-request.ts'
import * as shapes from './protocol-schema.ts'
import type { Registry } from './registry.ts'
import { tensorsOf } from './tensors.ts'

export interface ProtocolOptions extends ProtocolData {
  /** Rows of one request at the most. */
  maxRequestRows: number
  /** Names of the protocol's extensions that are there. */
  extensions: readonly string[]
  /** What must hold besides the models for requests to make sense. */
  isReady: () => boolean
}

type Of = { Params: { name: string; version?: string } }

const { DATATYPE, PLATFORM } = shapes
const UNLIMITED = { config: { rateLimit: false }, logLevel: 'warn' } as const

/** The package answers alone: what the service does to bodies, replies and errors elsewhere has no say below /v2. */
function isolate(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', { parseAs: 'string' }, scope.getDefaultJsonParser('error', 'error'))
  // Schemas are for OpenAPI; checkRequest is more exact.
  scope.setValidatorCompiler(() => () => true)
  scope.setSerializerCompiler(() => (reply) => JSON.stringify(reply))
  // A coded 502 to 504 says what its own plugin wrote; any other one could repeat what a library said.
  scope.setErrorHandler<ReplyError>(errorReply((status, code) => status > 500 && code.startsWith('TF_ERR_')))
  // Guesses are limited if requests are: the decorator is that of @fastify/rate-limit.
  const { rateLimit } = scope as { rateLimit?: () => preHandlerHookHandler }
  scope.setNotFoundHandler({ preHandler: rateLimit ? [rateLimit()] : [] }, ({ method, url }, reply) =>
    reply.code(404).send({ error: `There is no route ${method} ${url}` })
  )
}

type Headers = { 'content-type'?: string | undefined; 'inference-header-content-length'?: unknown }

/** JSON, or nothing said of it: so Triton's own client sends it. */
function isJson({ 'content-type': type = 'application/json', 'inference-header-content-length': binary }: Headers) {
  return binary === undefined && /^application\/json\s*(;|$)/i.test(type)
}

/** Outputs are our answers, by what they mean: of a classifier's classes, say, one column of a tensor with another name. */
function describe(manifest: Manifest, versions: string[]): object {
  const tensors = tensorsOf(manifest)
  const inputs = tensors.inputs.map(({ name, datatype, shape }) => ({ name, datatype, shape }))
  const outputs = tensors.outputs.map(({ role }) => ({ name: role, datatype: DATATYPE, shape: [-1, 1] }))
  return { name: manifest.name, versions, platform: PLATFORM, inputs, outputs }
}

/** What OpenAPI shows of a route; `rest`: replies of its own by status. */
function document(operationId: string, summary: string, ok: object, rest: object = {}): { schema: object } {
  const response = { 200: ok, '4xx': shapes.ErrorReply, '5xx': shapes.ErrorReply, ...rest }
  return { schema: { tags: ['inference'], operationId, summary, response } }
}

function serverRoutes(scope: FastifyInstance, registry: Registry, options: ProtocolOptions): void {
  const { name, version, extensions, isReady } = options
  const answer = async (): Promise<object> => ({ name, version, extensions })
  scope.get('', document('getServerMetadata', 'Who answers', shapes.ServerMetadata), answer)
  // The specification's text has no slash, its OpenAPI document has one.
  scope.get('/', { schema: { hide: true }, prefixTrailingSlash: 'slash' } as RouteShorthandOptions, answer)

  const live = document('getServerLive', 'The process answers', shapes.Live)
  scope.get('/health/live', { ...UNLIMITED, ...live }, async () => ({ live: true }))

  const ready = document('getServerReady', 'Every model can answer', shapes.Ready, { 503: shapes.Ready })
  scope.get('/health/ready', { ...UNLIMITED, ...ready }, async (_request, reply) => {
    const loaded = registry.versions.every(({ manifest }) => registry.names.includes(manifest.name))
    const now = loaded && isReady()
    return reply.code(now ? 200 : 503).send({ live: now, ready: now })
  })
}

/** `one`: the path has the number of one version; it ends the names of the operations. */
function modelRoutes(
  scope: FastifyInstance,
  registry: Registry,
  options: ProtocolOptions,
  path: string,
  one = ''
): void {
  const metadata = document(`getModel${one}Metadata`, 'What a model takes and gives', shapes.ModelMetadata)
  scope.get<Of>(path, metadata, async ({ params: { name, version } }) =>
    describe(registry.find(name, version).version.manifest, registry.served(name))
  )

  const ready = document(`getModel${one}Ready`, 'A model can answer', shapes.ModelReady, { 503: shapes.ModelReady })
  scope.get<Of>(`${path}/ready`, { ...UNLIMITED, ...ready }, async ({ params: { name, version } }, reply) => {
    try {
      registry.find(name, version)
      return { name, ready: true }
    } catch (error) {
      if (!(error instanceof TF_ERR_MODEL_NOT_LOADED)) throw error
      return reply.code(503).send({ name, ready: false })
    }
  })

  const infer = document(`infer${one}`, 'Score rows', shapes.InferReply)
  const inferOptions: RouteShorthandOptions = {
    schema: { ...infer.schema, body: shapes.InferRequest },
    config: options.config ?? {},
    // Before the body is read.
    async preParsing({ headers }) {
      if (!isJson(headers)) throw new TF_ERR_MODEL_MEDIA_TYPE()
    }
  }
  scope.post<Of>(
    `${path}/infer`,
    inferOptions,
    async ({ params: { name, version }, body }, reply): Promise<shapes.InferReply> => {
      // Asked of the decorator, as any prediction: what it counts, it counts here too.
      scope.model.serving(name)
      const { manifest: asked } = registry.find(name, version).version
      const { id, vectors, outputs } = checkRequest(body, asked, options.maxRequestRows)
      const prediction = await scope.model.predict(name, vectors, { version, signal: departure(reply) })
      return {
        model_name: name,
        model_version: prediction.manifest.version,
        ...(id !== undefined && { id }),
        outputs: outputs.map((output) => {
          const data = [...prediction[output]!]
          return { name: output, datatype: DATATYPE, shape: [data.length, 1], data }
        })
      }
    }
  )
}

/** Registers the routes below /v2. */
export function registerProtocol(fastify: FastifyInstance, registry: Registry, options: ProtocolOptions): void {
  void fastify.register(
    async (scope) => {
      isolate(scope)
      serverRoutes(scope, registry, options)
      modelRoutes(scope, registry, options, '/models/:name')
      modelRoutes(scope, registry, options, '/models/:name/versions/:version', 'Version')
    },
    { prefix: '/v2' }
  )
}

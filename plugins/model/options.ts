import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { TF_ERR_MODEL_OPTIONS } from './errors.ts'
import { ManifestSchema } from './manifest.ts'

const { name: Name, version: Version } = ManifestSchema.properties

/** Which versions of a model are served when nobody asks for another one. */
export const VersionPolicySchema = Type.Union([
  Type.Literal('latest'),
  Type.Object({ pinned: Version }, { additionalProperties: false }),
  Type.Object({ list: Type.Array(Version, { minItems: 1, maxItems: 16 }) }, { additionalProperties: false })
])
export type VersionPolicy = Static<typeof VersionPolicySchema>

const ProtocolSchema = Type.Object(
  {
    name: Type.String({ minLength: 1 }),
    version: Type.String({ minLength: 1 }),
    config: Type.Optional(Type.Record(Type.String(), Type.Unknown()))
  },
  {
    additionalProperties: false,
    description:
      'Turns on the routes of the [Open Inference Protocol](#open-inference-protocol): `name` and `version` of the server, and the `config` of the inference routes for other plugins (`{ quota: { weight: 5 } }`).'
  }
)
export type ProtocolData = Static<typeof ProtocolSchema>

/** The plain options with their defaults; the README's table is made from it. */
export const ModelOptionsSchema = Type.Object(
  {
    repository: Type.String({ minLength: 1, description: 'Folder of the model repository.' }),
    versionPolicy: Type.Record(Type.String({ pattern: Name.pattern! }), VersionPolicySchema, {
      default: {},
      additionalProperties: false,
      description:
        "By name of a model: `'latest'`, `{ pinned: '2' }`, or `{ list: ['3', '2'] }`, which are served at once; the first of them answers who names none."
    }),
    token: Type.Optional(
      Type.String({
        minLength: 16,
        description: 'Bearer token of the routes that change what is served; without one there are no such routes.'
      })
    ),
    inferenceProtocol: Type.Optional(ProtocolSchema),
    maxRequestRows: Type.Integer({
      minimum: 1,
      maximum: 65_536,
      default: 1024,
      description: 'Rows of one request of that protocol at the most.'
    }),
    execution: Type.Union(
      [Type.Literal('auto'), Type.Literal('inline'), Type.Literal('thread'), Type.Literal('process')],
      {
        default: 'auto',
        description:
          '`inline`: on the event loop; `thread`: in worker threads; `process`: in child processes, which can be killed; `auto`: inline, or in threads if a run of 64 rows takes more than 2 ms.'
      }
    ),
    workers: Type.Integer({
      minimum: 1,
      maximum: 64,
      default: 1,
      description: 'Threads or processes of a version at the most, each with a session of its own.'
    }),
    runTimeoutMs: Type.Integer({
      minimum: 10,
      maximum: 600_000,
      default: 10_000,
      description: 'Milliseconds that a run in a thread or process may take, and the wait for one of them.'
    }),
    drainTimeoutMs: Type.Integer({
      minimum: 0,
      maximum: 600_000,
      default: 10_000,
      description:
        'Milliseconds that waiting requests get to be scored when their version is replaced, unloaded, or the service closes; then they are refused.'
    }),
    maxBatchSize: Type.Integer({
      minimum: 1,
      maximum: 65_536,
      default: 4096,
      description: 'Rows of one run at the most; a larger request runs alone.'
    }),
    maxQueueDelayMs: Type.Integer({
      minimum: 0,
      maximum: 10_000,
      default: 0,
      description: 'Milliseconds that a request may wait for others to fill its batch; 0: one turn of the event loop.'
    }),
    maxQueueSize: Type.Integer({
      minimum: 1,
      maximum: 1_048_576,
      default: 65_536,
      description: 'Rows of a version that may wait or be in a run; beyond them a request is refused.'
    }),
    overflowStatus: Type.Union([Type.Literal(503), Type.Literal(429)], {
      default: 503,
      description: 'Status of a request that is refused because the queue is full, 503 or 429.'
    })
  },
  { additionalProperties: false }
)

export type ModelData = Static<typeof ModelOptionsSchema>

/** Keys that `register` adds on its own; they are never the plugin's. */
const REGISTER_KEYS = ['prefix', 'logLevel', 'logSerializers']

/** Fills defaults, then checks: a typo must not become a default. */
export function parseOptions(raw: object): Readonly<ModelData> {
  const own = Object.entries(raw).filter(([key, value]) => !REGISTER_KEYS.includes(key) && value !== undefined)
  const options = Value.Default(ModelOptionsSchema, Object.fromEntries(own))
  const first = Value.Errors(ModelOptionsSchema, options).First()
  if (first) throw new TF_ERR_MODEL_OPTIONS(`${first.path.slice(1)}: ${first.message}`)
  return Object.freeze(options as ModelData)
}

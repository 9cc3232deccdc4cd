import createError from '@fastify/error'
import { Type, type Static, type TObject } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

/** The plain options with their defaults; the README's table is made from it. */
export const MetricsOptionsSchema = Type.Object(
  {
    endpoint: Type.Union([Type.String({ pattern: '^/' }), Type.Null()], {
      default: '/metrics',
      description: 'Path of the exposition; null: no route, the decorator alone.'
    }),
    processMetrics: Type.Boolean({
      default: true,
      description: 'Process, event-loop and garbage-collection metrics, by fastify-metrics and prom-client.'
    })
  },
  { additionalProperties: false }
)

export type MetricsData = Static<typeof MetricsOptionsSchema>

export const TF_ERR_METRICS_OPTIONS = createError<[string]>(
  'TF_ERR_METRICS_OPTIONS',
  'Invalid metrics options, %s',
  500,
  TypeError
)

export const TF_ERR_METRICS_REGISTERED = createError(
  'TF_ERR_METRICS_REGISTERED',
  'The metrics plugin is registered on this instance already',
  500
)

/** Keys that `register` adds on its own; they are never the plugin's. */
const REGISTER_KEYS = ['prefix', 'logLevel', 'logSerializers']

/** Fills defaults, then checks: a typo must not become a default. */
export function parseOptions<T extends TObject>(schema: T, raw: object): Readonly<Static<T>> {
  const own = Object.entries(raw).filter(([key, value]) => !REGISTER_KEYS.includes(key) && value !== undefined)
  const options = Value.Default(schema, Object.fromEntries(own))
  const first = Value.Errors(schema, options).First()
  if (first) throw new TF_ERR_METRICS_OPTIONS(`${first.path.slice(1)}: ${first.message}`)
  return Object.freeze(options) as Readonly<Static<T>>
}

import { type Static, type TObject, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { TF_ERR_METRICS_OPTIONS } from './errors.ts'

/** The plain options with their defaults; the README's table is held against it. */
export const MetricsOptionsSchema = Type.Object(
  {
    endpoint: Type.Union([Type.String({ pattern: '^/' }), Type.Null()], {
      default: '/metrics',
      description: 'Path of the exposition; null: no route, the decorator alone.'
    }),
    token: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'A bearer token that scrapes must show; without one, everyone may scrape.'
      })
    ),
    processMetrics: Type.Boolean({
      default: true,
      description: 'Process, event-loop and garbage-collection metrics, by fastify-metrics and prom-client.'
    }),
    maxSeries: Type.Integer({
      minimum: 1,
      maximum: 1_000_000,
      default: 2000,
      description: 'Series a metric may have. What comes after is counted in one series with the labels `__overflow__`.'
    })
  },
  { additionalProperties: false }
)

export type MetricsData = Static<typeof MetricsOptionsSchema>

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

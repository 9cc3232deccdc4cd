import { type Static, type TObject, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

/** Refused, let through, or counted in the windows of this process. */
export const STORE_FAILURES = ['closed', 'open', 'local'] as const
export type StoreFailure = (typeof STORE_FAILURES)[number]

/** The plain options with their defaults; the README's table is checked against it. */
export const RateLimitOptionsSchema = Type.Object(
  {
    max: Type.Integer({
      minimum: 1,
      maximum: 1_000_000_000,
      default: 60,
      description: 'Requests that a client may make to a route in a window.'
    }),
    timeWindow: Type.Integer({
      minimum: 1000,
      maximum: 86_400_000,
      default: 60_000,
      description: 'Length of a window in milliseconds, from the first request in it.'
    }),
    exempt: Type.Array(Type.String({ pattern: '^/' }), {
      uniqueItems: true,
      default: [],
      description: 'Routes without a limit, by their url as declared; routes below them are exempt too.'
    }),
    ipv6Subnet: Type.Integer({
      minimum: 1,
      maximum: 128,
      default: 64,
      description: 'Prefix length by which IPv6 addresses are one client.'
    }),
    maxWindows: Type.Integer({
      minimum: 1,
      maximum: 10_000_000,
      default: 20_000,
      description: 'Bound on the windows in memory, one for each client and route; the oldest makes room.'
    }),
    redisPrefix: Type.String({
      minLength: 1,
      maxLength: 100,
      default: 'rate-limit:',
      description: 'Beginning of all keys in the store.'
    }),
    storeTimeout: Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 50,
      description: 'Milliseconds that a request waits for the store at most.'
    }),
    onStoreFailure: Type.Unsafe<StoreFailure>(
      Type.String({
        pattern: `^(${STORE_FAILURES.join('|')})$`,
        default: 'local',
        description: 'What becomes of requests that the store does not count.'
      })
    )
  },
  { additionalProperties: false }
)

export type RateLimitData = Static<typeof RateLimitOptionsSchema>

/** What a request to a route costs, in `config.quota`. */
export const QuotaSchema = Type.Object(
  {
    weight: Type.Integer({ minimum: 1, maximum: 1_000_000_000, default: 1 }),
    atLeast: Type.Integer({ minimum: 1, maximum: 1_000_000_000, default: 1 })
  },
  { additionalProperties: false }
)

/** Keys that `register` adds on its own; they are never the plugin's. */
const REGISTER_KEYS = ['prefix', 'logLevel', 'logSerializers']

/** Fills defaults, then checks: a typo must not become a default. `refuse` makes the error of what is wrong. */
export function parseOptions<T extends TObject>(
  schema: T,
  raw: object,
  refuse: (detail: string) => Error
): Readonly<Static<T>> {
  const own = Object.entries(raw).filter(([key, value]) => !REGISTER_KEYS.includes(key) && value !== undefined)
  const options = Value.Default(schema, Object.fromEntries(own))
  const first = Value.Errors(schema, options).First()
  if (first) throw refuse(`${first.path.slice(1)}: ${first.message}`)
  return Object.freeze(options) as Readonly<Static<T>>
}

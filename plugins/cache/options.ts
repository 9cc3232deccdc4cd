import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { TF_ERR_CACHE_OPTIONS } from './errors.ts'
import type { RedisClient } from './tier.ts'

/** The plain options with their defaults; the README's table is checked against it. */
export const CacheOptionsSchema = Type.Object(
  {
    types: Type.Array(Type.String({ pattern: '^[a-z][a-z0-9_]*$' }), {
      minItems: 1,
      uniqueItems: true,
      default: ['default'],
      description: 'The closed list of cache types, in lower case like `ticker_info`.'
    }),
    maxBytes: Type.Integer({
      minimum: 1,
      maximum: 2 ** 40,
      default: 64 * 2 ** 20,
      description: 'Bound on the bytes of all entries, of all types together.'
    }),
    maxEntryBytes: Type.Integer({
      minimum: 1,
      maximum: 2 ** 40,
      default: 8 * 2 ** 20,
      description: 'Bound on the bytes of one entry, besides `maxBytes`; a larger value is answered, not kept.'
    }),
    maxEntries: Type.Integer({
      minimum: 1,
      maximum: 1_000_000,
      default: 10_000,
      description: 'Bound on the number of entries, of all types together.'
    }),
    redisPrefix: Type.String({
      pattern: '^\\S{1,200}$',
      default: 'cache:',
      description: 'Before all keys in Redis. Whoever shares it shares the values: put in it whatever they depend on.'
    }),
    redisTimeout: Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 50,
      description: 'Milliseconds that a command to Redis is waited for.'
    }),
    maxRedisEntryBytes: Type.Integer({
      minimum: 1,
      maximum: 2 ** 29,
      default: 2 ** 20,
      description:
        'Bound on the bytes of one entry in Redis, besides `maxEntryBytes`: a larger one is neither sent nor received.'
    })
  },
  { additionalProperties: false }
)

export type CacheData = Static<typeof CacheOptionsSchema>

/** Keys that `register` adds on its own; they are never the plugin's. */
const REGISTER_KEYS = ['prefix', 'logLevel', 'logSerializers']

/** Fills defaults, then checks: a typo must not become a default. */
export function parseOptions(raw: object): Readonly<CacheData> {
  const own = Object.entries(raw).filter(([key, value]) => !REGISTER_KEYS.includes(key) && value !== undefined)
  const options = Value.Default(CacheOptionsSchema, Object.fromEntries(own))
  const first = Value.Errors(CacheOptionsSchema, options).First()
  if (first) throw new TF_ERR_CACHE_OPTIONS(`${first.path.slice(1)}: ${first.message}`)
  return Object.freeze(options as CacheData)
}

/** Options that are functions are not JSON: the schema does not see them. */
export function checkFunctions(functions: Record<string, unknown>): void {
  for (const [name, given] of Object.entries(functions)) {
    if (given !== undefined && typeof given !== 'function') throw new TF_ERR_CACHE_OPTIONS(`${name}: Expected function`)
  }
}

/** A client of another kind would only be noticed as a tier that never answers. */
export function checkClient(client: RedisClient): RedisClient {
  for (const method of ['getrangeBuffer', 'pttl', 'set', 'del'] as const) {
    if (typeof client[method] !== 'function') throw new TF_ERR_CACHE_OPTIONS(`redis.${method}: Expected function`)
  }
  return client
}

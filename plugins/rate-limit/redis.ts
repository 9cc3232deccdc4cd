/** Windows in Redis or Valkey: one atomic command counts a request. */
import { createHash, hash } from 'node:crypto'

/** What is asked of a client. ioredis 5 and 6 and iovalkey have it, and so have their clusters. */
export interface RedisClient {
  /** `ready`: commands are sent at once. In any other state the store counts as down. */
  readonly status: string
  evalsha(sha1: string, keys: number, ...args: (string | number)[]): Promise<unknown>
  eval(script: string, keys: number, ...args: (string | number)[]): Promise<unknown>
}

/** A window as it is after a request was counted. */
export interface Counted {
  /** Requests in the window, this one included. */
  requests: number
  /** Milliseconds left of it. */
  left: number
}

/** What the keys and their values mean; a service with another version does not read them. */
const KEY_VERSION = 1

/**
 * A window without an end, or with one further away than its length, which was shortened meanwhile, ends in time all the same.
 * PTTL is 0 in the last millisecond.
 */
const SCRIPT = `
local requests = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  left = tonumber(ARGV[1])
end
return { requests, math.max(left, 1) }`

const SCRIPT_SHA = createHash('sha1').update(SCRIPT).digest('hex')

/** Whether a client can be asked. */
export function isRedisClient(client: unknown): client is RedisClient {
  const { status, evalsha, eval: evaluate } = (client ?? {}) as Partial<RedisClient>
  return typeof status === 'string' && typeof evalsha === 'function' && typeof evaluate === 'function'
}

/** Hashed: of one length whatever the route, and the store holds no addresses. */
function storeKey(prefix: string, key: string): string {
  return `${prefix}${KEY_VERSION}:${hash('sha256', key, 'base64url')}`
}

function isWhole(value: unknown, maximum: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= maximum
}

/**
 * Counts a request in the store.
 * @throws what the client throws, or an Error about a reply that can't be one
 */
export async function countInRedis(
  client: RedisClient,
  prefix: string,
  key: string,
  timeWindow: number
): Promise<Counted> {
  const args = [1, storeKey(prefix, key), timeWindow] as const
  let reply: unknown
  try {
    reply = await client.evalsha(SCRIPT_SHA, ...args)
  } catch (error) {
    // A server that was started anew knows no scripts; EVAL teaches it this one.
    if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
    reply = await client.eval(SCRIPT, ...args)
  }
  const [requests, left] = Array.isArray(reply) ? (reply as unknown[]) : []
  if (isWhole(requests, Number.MAX_SAFE_INTEGER) && isWhole(left, timeWindow)) return { requests, left }
  throw new Error('the store answered something else than a count and the time that is left')
}

/** `@trading-fun/rate-limit`: a preset over @fastify/rate-limit. One window for each client and route, coded errors. */
import rateLimit, { type FastifyRateLimitStore, normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import {
  TF_ERR_RATE_LIMIT_EXCEEDED,
  TF_ERR_RATE_LIMIT_OPTIONS,
  TF_ERR_RATE_LIMIT_QUOTA,
  TF_ERR_RATE_LIMIT_REGISTERED
} from './errors.ts'
import { QuotaSchema, type RateLimitData, RateLimitOptionsSchema, parseOptions } from './options.ts'
import { type RedisClient, isRedisClient } from './redis.ts'
import type { StoreState } from './shared.ts'
import { type StoreEvents, countLocally, countShared } from './store.ts'
import { type WindowStats, createWindows, windowKey } from './windows.ts'

export * from './errors.ts'
export { RateLimitOptionsSchema, STORE_FAILURES, type StoreFailure } from './options.ts'
export type { RedisClient } from './redis.ts'
export type { StoreState } from './shared.ts'
export type { WindowStats } from './windows.ts'

/** What a route costs, in its `config.quota`. A client may make max(atLeast, floor(max / weight)) requests a window. */
export interface Quota {
  /** How many plain requests one to this route is worth. @default 1 */
  weight?: number
  /** What a client may do in any case, however small `max` is and however large `weight`. @default 1 */
  atLeast?: number
}

/** What a client may do in a window with one route, and the quota that it is made of. */
export interface Limit extends Required<Quota> {
  max: number
}

/** All have defaults. */
export interface RateLimitOptions extends Partial<RateLimitData>, StoreEvents {
  /** Called for every request that is refused. `endpoint`: the route as declared, or `unmatched`. */
  onExceeded?: (refused: { endpoint: string; method: string }) => void
  /** A client of Redis or Valkey: its server holds the windows of all processes. It stays the caller's, to close too. */
  redis?: RedisClient
  /** Milliseconds of a clock that never goes back. @default performance.now */
  now?: () => number
}

/** Of this process: what the shared store holds is not asked for. */
export interface RateLimitStats extends WindowStats {
  /** Where requests are counted. */
  store: 'memory' | 'redis'
  /** Whether they are, as far as is known; memory is always up. */
  storeState: StoreState
}

export interface RateLimiter {
  /** As `stats` tells it, for nothing. */
  readonly storeState: StoreState
  /** Of every limited route, by `GET /url-as-declared`; HEAD is in that of GET. */
  readonly limits: ReadonlyMap<string, Readonly<Limit>>
  stats(): RateLimitStats
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by `@trading-fun/rate-limit`. */
    rateLimiter: RateLimiter
  }
  interface FastifyContextConfig {
    /** The route's part in the rate limit of `@trading-fun/rate-limit`; false: none. */
    quota?: Quota | false
  }
}

const UNMATCHED = 'unmatched'

async function rateLimitPreset(fastify: FastifyInstance, options: RateLimitOptions): Promise<void> {
  // The library would keep the decorators of the first registration, and their settings, without a word.
  if (fastify.hasDecorator('rateLimit')) throw new TF_ERR_RATE_LIMIT_REGISTERED()
  const { redis, onExceeded, onStoreState, onWithoutStore, now = () => performance.now(), ...data } = options
  for (const [name, given] of Object.entries({ onExceeded, onStoreState, onWithoutStore, now })) {
    if (given !== undefined && typeof given !== 'function') {
      throw new TF_ERR_RATE_LIMIT_OPTIONS(`${name}: Expected function`)
    }
  }
  if (redis !== undefined && !isRedisClient(redis)) {
    throw new TF_ERR_RATE_LIMIT_OPTIONS('redis: Expected client with status, evalsha and eval')
  }
  const settings = parseOptions(RateLimitOptionsSchema, data, (detail) => new TF_ERR_RATE_LIMIT_OPTIONS(detail))
  const { max, timeWindow, exempt, ipv6Subnet, maxWindows } = settings
  const clientOf = clientsBy(ipv6Subnet)
  const windows = createWindows(maxWindows, now)
  const locally = countLocally(windows)
  const shared = redis && countShared(fastify, { ...settings, redis, now, onStoreState, onWithoutStore }, locally)

  await fastify.register(rateLimit, {
    global: false,
    max,
    timeWindow,
    enableDraftSpec: true,
    store: class implements FastifyRateLimitStore {
      incr = shared?.count ?? locally
      // Keys hold the endpoint: routes can share one store, with one bound.
      child = (): FastifyRateLimitStore => this
    },
    keyGenerator: (request) => windowKey(clientOf(request), endpointOf(request.method, request.routeOptions.url)),
    errorResponseBuilder: (_request, { ttl }) => new TF_ERR_RATE_LIMIT_EXCEEDED(Math.ceil(ttl / 1000)),
    onExceeded: (request) => onExceeded?.({ endpoint: request.routeOptions.url ?? UNMATCHED, method: request.method })
  })

  const limits = new Map<string, Limit>()
  fastify.addHook('onRoute', (route) => {
    const limit = limitOf(route, max)
    if (limit === undefined || exempt.some((url) => route.url === url || route.url.startsWith(`${url}/`))) return
    // A request's own options are an object that is made anew each time they are asked for.
    const keyGenerator = (request: FastifyRequest): string =>
      windowKey(clientOf(request), endpointOf(request.method, route.url))
    const check = fastify.rateLimit({ max: limit.max, keyGenerator })
    // First of the route's own hooks: what they cost is what the limit is for.
    route.onRequest = [check, route.onRequest ?? []].flat()
    for (const method of [route.method].flat()) limits.set(endpointOf(method, route.url), limit)
  })
  fastify.decorate(
    'rateLimiter',
    Object.freeze<RateLimiter>({
      get storeState() {
        return shared?.store.state ?? 'up'
      },
      limits,
      stats() {
        return { ...windows.stats(), store: shared ? 'redis' : 'memory', storeState: this.storeState }
      }
    })
  )
}

/** What a client may do with this route; undefined: no limit. `config.rateLimit: false` is how other plugins say it. */
function limitOf(route: RouteOptions, max: number): Limit | undefined {
  const { quota = {}, rateLimit: foreign } = route.config ?? {}
  if (quota === false || foreign === false) return undefined
  const refuse = (detail: string): Error => new TF_ERR_RATE_LIMIT_QUOTA(`${String(route.method)} ${route.url}`, detail)
  if (foreign !== undefined) throw refuse('config.rateLimit: use config.quota')
  const { weight, atLeast } = parseOptions(QuotaSchema, quota, refuse)
  return { max: Math.max(atLeast, Math.floor(max / weight)), weight, atLeast }
}

/**
 * Which client a request is from: its address, or the part of it that a client can't change. Says once that a forwarded address is
 * not believed: behind a proxy all clients are then one.
 */
function clientsBy(ipv6Subnet: number): (request: FastifyRequest) => string {
  let warned = false
  return (request) => {
    const ip: string | undefined = request.ip
    // A Unix socket has no address: its peers are one client.
    if (ip === undefined) return 'local'
    if (!warned && request.headers['x-forwarded-for'] !== undefined && ip === request.socket.remoteAddress) {
      warned = true
      request.log.warn(
        { peer: ip },
        'X-Forwarded-For from a peer that trustProxy does not name: all its clients share one rate limit'
      )
    }
    // To see that an address is none of IPv6 costs the library a long regular expression.
    return ip.includes(':') ? normalizeIP(ip, ipv6Subnet) : ip.toLowerCase()
  }
}

/** HEAD costs what GET costs, or it would double the budget. Unmatched requests share one window, or each url had one. */
function endpointOf(method: string, url: string | undefined): string {
  return url === undefined ? UNMATCHED : `${method === 'HEAD' ? 'GET' : method} ${url}`
}

export default fp(rateLimitPreset, { name: '@trading-fun/rate-limit', fastify: '5.x' })

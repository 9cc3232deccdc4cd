/**
 * HTTP metrics by route template. Labels are resolved when a route is registered; a request only adds to its route's cells.
 *
 * Every request is counted exactly once, whatever ends it. A reply that went out whole is counted by its status. Of one that
 * did not, the status is 499 if the client left, 408 or 400 if Node's parser gave the connection up while it waited for the
 * rest of the request, and 500 if the service broke its own reply off.
 */
import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions, onRequestHookHandler } from 'fastify'
import type { Catalogue, Handles } from './catalogue.ts'
import type { Connections } from './connections.ts'
import type { CounterCell } from './families.ts'
import type { HistogramCell } from './histogram.ts'

/** The methods that are label values as they are; all others are `OTHER`. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'] as const
type Method = (typeof METHODS)[number]

/** What Node's parser refuses before there is a request, by its error code; all others are `OTHER`. */
export const CLIENT_ERRORS = [
  'HPE_HEADER_OVERFLOW',
  'HPE_INVALID_METHOD',
  'HPE_INVALID_CONSTANT',
  'HPE_INVALID_HEADER_TOKEN',
  'HPE_INVALID_CHUNK_SIZE',
  'ERR_HTTP_REQUEST_TIMEOUT',
  'ECONNRESET',
  'OTHER'
] as const

/** The endpoint of every request that no route matches. */
export const UNMATCHED = 'unmatched'

const CLIENT_CLOSED_REQUEST = 499

/** The metrics that this plugin writes by itself. */
export const httpCatalogue = {
  http_requests_total: {
    type: 'counter',
    help: 'HTTP requests by route template and status; 499: the client closed the connection before the reply.',
    labels: { method: METHODS, endpoint: [], status: [] }
  },
  http_request_duration_seconds: {
    type: 'histogram',
    help: 'Seconds from the arrival of a request to the last byte of its reply.',
    labels: { method: METHODS, endpoint: [] },
    // The monitoring guide's bounds, finer ones below the first, and one at each alert threshold.
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 2.5, 5, 10]
  },
  http_requests_in_flight: {
    type: 'gauge',
    help: 'HTTP requests that have arrived and are not answered yet.'
  },
  http_request_bytes_total: {
    type: 'counter',
    help: 'Bytes received on HTTP connections, heads and bodies, as they came over the wire.'
  },
  http_response_bytes_total: {
    type: 'counter',
    help: 'Bytes sent on HTTP connections, heads and bodies, as they went over the wire.'
  },
  http_client_errors_total: {
    type: 'counter',
    help: "Connections that Node's parser gave up, by its error code: no route ever sees what was sent on them.",
    labels: { code: CLIENT_ERRORS }
  }
} as const satisfies Catalogue

type Http = Handles<typeof httpCatalogue>

/** One route's cells: its durations, and a counter a status, made when the status first occurs. */
class RouteCells {
  readonly #http: Http
  readonly #labels: { method: Method; endpoint: string }
  readonly #duration: HistogramCell
  readonly #statuses: CounterCell[] = []

  constructor(http: Http, method: Method, endpoint: string) {
    this.#http = http
    this.#labels = { method, endpoint }
    this.#duration = http.http_request_duration_seconds.labels(this.#labels)
  }

  status(code: number): CounterCell {
    return (this.#statuses[code] ??= this.#http.http_requests_total.labels({ ...this.#labels, status: String(code) }))
  }

  observe(code: number, milliseconds: number, traceId: string | undefined): void {
    this.status(code).inc()
    this.#duration.observe(milliseconds / 1000, traceId)
  }
}

const kTally = Symbol('trading-fun.metrics.tally')
const kReply = Symbol('trading-fun.metrics.reply')

/** A request's place in its one count, where it is not the cells of its route. */
const UNSEEN = null
const PENDING = 0
const UNCOUNTED = 1
const DONE = 2

declare module 'fastify' {
  interface FastifyContextConfig {
    /** false: requests to this route are not counted. */
    metrics?: boolean
    [kTally]?: true
  }
  interface FastifyRequest {
    [kTally]: RouteCells | typeof UNSEEN | typeof PENDING | typeof UNCOUNTED | typeof DONE
  }
}

interface Tracked extends ServerResponse {
  [kReply]?: FastifyReply
}

function methodLabel(method: string): Method {
  return (METHODS as readonly string[]).includes(method) ? (method as Method) : 'OTHER'
}

/** The trace id of a sampled W3C traceparent: one that a tracing backend can show. */
function sampledTrace(header: string | string[] | undefined): string | undefined {
  if (typeof header !== 'string') return undefined
  const match = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})$/.exec(header)
  return match !== null && Number.parseInt(match[2]!, 16) % 2 === 1 ? match[1] : undefined
}

/**
 * Adds the hooks. Routes that were registered on the instance before are counted as unmatched: register the plugin first.
 * @returns what counts requests that reach no hook, for the server option `frameworkErrors`
 */
export function instrumentHttp(
  fastify: FastifyInstance,
  http: Http,
  connections: Connections
): (request: FastifyRequest, reply: FastifyReply) => void {
  const inFlight = http.http_requests_in_flight.labels({})
  const rare = new Map<string, RouteCells>()
  const own = new WeakSet<onRequestHookHandler>()

  /** Cells that are made when they are first needed: HEAD, unmatched, and what a hook answered before its route was known. */
  function cellsOf(method: string, endpoint: string): RouteCells {
    const label = methodLabel(method)
    let cells = rare.get(`${label} ${endpoint}`)
    if (cells === undefined) rare.set(`${label} ${endpoint}`, (cells = new RouteCells(http, label, endpoint)))
    return cells
  }

  function settle(request: FastifyRequest, status: number, milliseconds: number): void {
    const tally = request[kTally]
    // A hook of an instance above has replied before ours was asked.
    if (tally === UNSEEN) inFlight.inc()
    const cells = tally === PENDING || tally === UNSEEN ? late(request) : tally
    if (cells === DONE || cells === UNCOUNTED) return
    request[kTally] = DONE
    inFlight.dec()
    cells.observe(status, milliseconds, sampledTrace(request.headers['traceparent']))
  }

  /** No route's hook has run: there is no route, or another hook has answered before. */
  function late(request: FastifyRequest): RouteCells | typeof UNCOUNTED {
    const { config, url } = request.routeOptions
    if (config.metrics !== false) return cellsOf(request.method, config[kTally] ? url! : UNMATCHED)
    inFlight.dec()
    return (request[kTally] = UNCOUNTED)
  }

  function onClose(this: Tracked): void {
    const reply = this[kReply]!
    const { request } = reply
    if (request[kTally] === DONE) return
    const { socket } = request.raw
    const clientLeft = socket.readableEnded || socket.errored !== null
    const hijacked = reply.sent && !this.writableEnded
    const status =
      connections.brokenOff(socket) ?? (clientLeft ? CLIENT_CLOSED_REQUEST : hijacked ? this.statusCode : 500)
    settle(request, status, reply.elapsedTime)
  }

  fastify.decorateRequest(kTally, UNSEEN)

  fastify.addHook('onRoute', (route: RouteOptions) => {
    route.config = { ...route.config, [kTally]: true }
    const hook = route.config.metrics === false ? uncounted : counted(route)
    own.add(hook)
    // The HEAD route that comes with a GET inherits its hooks.
    const others = [route.onRequest ?? []].flat().filter((other) => !own.has(other))
    route.onRequest = [hook, ...others]
  })

  function uncounted(request: FastifyRequest, _reply: FastifyReply, done: () => void): void {
    request[kTally] = UNCOUNTED
    inFlight.dec()
    done()
  }

  function counted({ method, url }: RouteOptions): onRequestHookHandler {
    const methods = [method].flat()
    const cells = new Map<string, RouteCells>()
    for (const name of methods) {
      // HEAD routes come with every GET and are rarely asked: their series appear on first use.
      if (name === 'HEAD') continue
      const route = cellsOf(name, url)
      route.status(200)
      route.status(500)
      cells.set(name, route)
    }
    const only = cells.size === 1 && methods.length === 1 ? cells.get(methods[0]!) : undefined
    return (request, _reply, done) => {
      request[kTally] = only ?? cellsOf(request.method, url)
      done()
    }
  }

  fastify.addHook('onRequest', (request, reply, done) => {
    inFlight.inc()
    request[kTally] = PENDING
    connections.watch(request.raw.socket)
    const raw: Tracked = reply.raw
    raw[kReply] = reply
    raw.on('close', onClose)
    done()
  })

  fastify.addHook('onResponse', (request, reply, done) => {
    settle(request, reply.statusCode, reply.elapsedTime)
    done()
  })

  return (request, reply) => {
    const started = performance.now()
    request[kTally] = cellsOf(request.method, UNMATCHED)
    inFlight.inc()
    const end = (): void => settle(request, reply.statusCode, performance.now() - started)
    // An injected reply has no close, a broken one no finish; the second of the two changes nothing.
    reply.raw.once('finish', end).once('close', end)
  }
}

/**
 * HTTP metrics by route template. Labels are resolved when a route is registered; a request only adds to its route's
 * cells. Every request is counted exactly once, by the reply or by the client's abort (status 499); both hooks never run
 * for the same request.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { Catalogue, Handles } from './catalogue.ts'
import type { CounterCell, HistogramCell } from './families.ts'

/** The methods that are label values as they are; all others are `OTHER`. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'] as const
type Method = (typeof METHODS)[number]

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
  }
} as const satisfies Catalogue

/** One route's cells: its durations, and a counter a status, made when the status first occurs. */
class RouteCells {
  readonly #http: Handles<typeof httpCatalogue>
  readonly #labels: { method: Method; endpoint: string }
  readonly #duration: HistogramCell
  readonly #statuses: CounterCell[] = []

  constructor(http: Handles<typeof httpCatalogue>, method: Method, endpoint: string) {
    this.#http = http
    this.#labels = { method, endpoint }
    this.#duration = http.http_request_duration_seconds.labels(this.#labels)
  }

  status(code: number): CounterCell {
    return (this.#statuses[code] ??= this.#http.http_requests_total.labels({ ...this.#labels, status: String(code) }))
  }

  observe(code: number, milliseconds: number): void {
    this.status(code).inc()
    this.#duration.observe(milliseconds / 1000)
  }
}

/** A route's cells by method; null: a route that opted out by `config: { metrics: false }`. */
type RouteMetrics = Partial<Record<Method, RouteCells>> | null

const kRoute = Symbol('trading-fun.metrics.route')
const kReply = Symbol('trading-fun.metrics.reply')

declare module 'fastify' {
  interface FastifyContextConfig {
    /** false: requests to this route are not counted. */
    metrics?: boolean
    [kRoute]?: RouteMetrics
  }
  interface FastifyRequest {
    /** null: this request is not counted. */
    [kRoute]: RouteCells | null
    /** The abort hook is given no reply, and the reply knows when the request began. */
    [kReply]: FastifyReply | null
  }
}

function methodLabel(method: string): Method {
  return (METHODS as readonly string[]).includes(method) ? (method as Method) : 'OTHER'
}

/** Adds the hooks. Routes registered on the instance before are counted as `unmatched`: register the plugin first. */
export function instrumentHttp(fastify: FastifyInstance, http: Handles<typeof httpCatalogue>): void {
  const inFlight = http.http_requests_in_flight.labels({})
  const unmatched: Partial<Record<Method, RouteCells>> = {}

  fastify.decorateRequest(kRoute, null)
  fastify.decorateRequest(kReply, null)

  fastify.addHook('onRoute', (route: RouteOptions) => {
    let cells: RouteMetrics = null
    if (route.config?.metrics !== false) {
      cells = {}
      for (const name of [route.method].flat()) {
        const method = methodLabel(name)
        // HEAD routes come with every GET and are rarely asked: their series appear on first use.
        if (method === 'HEAD') continue
        const own = (cells[method] = new RouteCells(http, method, route.url))
        own.status(200)
        own.status(500)
      }
    }
    route.config = { ...route.config, [kRoute]: cells }
  })

  function cellsOf(request: FastifyRequest): RouteCells | null {
    const method = methodLabel(request.method)
    const { config, url } = request.routeOptions
    const route = config[kRoute]
    if (route === null) return null
    if (route === undefined || url === undefined)
      return (unmatched[method] ??= new RouteCells(http, method, 'unmatched'))
    return (route[method] ??= new RouteCells(http, method, url))
  }

  fastify.addHook('onRequest', (request, reply, done) => {
    const cells = cellsOf(request)
    request[kRoute] = cells
    request[kReply] = reply
    if (cells !== null) inFlight.inc()
    done()
  })

  fastify.addHook('onResponse', (request, reply, done) => {
    const cells = request[kRoute]
    if (cells !== null) {
      inFlight.dec()
      cells.observe(reply.statusCode, reply.elapsedTime)
    }
    done()
  })

  fastify.addHook('onRequestAbort', (request, done) => {
    const cells = request[kRoute]
    if (cells !== null) {
      inFlight.dec()
      cells.observe(CLIENT_CLOSED_REQUEST, request[kReply]!.elapsedTime)
    }
    done()
  })
}

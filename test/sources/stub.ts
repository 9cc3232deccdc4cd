/** An upstream on a real socket that behaves as it is told, and every way in which one can fail. */
import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import type { FetchError } from '../../domain/market.ts'

export type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void

export interface Stub {
  origin: string
  /** What was asked, in order. */
  requests: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[]
  /** Connections that were opened. */
  connections: () => number
  /** Those that are open. */
  open: () => number
}

/** Listens until the test is over. */
export async function startStub(t: Test, handler: Handler): Promise<Stub> {
  const requests: Stub['requests'] = []
  let connections = 0
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    requests.push({ method: request.method!, url: request.url!, headers: request.headers, body })
    handler(request, response, body)
  })
  let open = 0
  server.on('connection', (socket) => {
    connections++
    open++
    socket.once('close', () => open--)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { origin: `http://127.0.0.1:${port}`, requests, connections: () => connections, open: () => open }
}

/** Answers JSON. */
export function json(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {}
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

export interface Fault {
  name: string
  expected: FetchError
  handler: Handler
  /** Instead of the stub's own origin. */
  origin?: string
}

/** Bytes of a reply that is too large for an upstream with `maxBytes` of less. */
export const TOO_LARGE = 100_000

/**
 * What an upstream needs to fail in this way: the origin, a bound that is too small, and deadlines, which are short where they are
 * what ends it. Elsewhere a slow machine, or resolver, must not.
 */
export function optionsFor({ expected, origin }: Fault) {
  const [attemptTimeout, deadline] = expected === 'timeout' ? [500, 1000] : [20_000, 20_000]
  return { attemptTimeout, deadline, maxBytes: TOO_LARGE - 1, ...(origin && { origin }) }
}

/** Every way in which an upstream can fail. */
export const FAULTS: readonly Fault[] = [
  { name: 'no answer', expected: 'timeout', handler: () => undefined },
  {
    name: 'a body that does not end',
    expected: 'timeout',
    handler: (_request, response) => response.writeHead(200).write('{"half":')
  },
  {
    name: 'half a body',
    expected: 'network',
    handler(_request, response) {
      response.writeHead(200, { 'content-length': '100' }).write('{"half":', () => response.destroy())
    }
  },
  {
    name: 'broken JSON',
    expected: 'schema',
    handler: (_request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{"a":')
  },
  {
    name: 'a page instead of JSON',
    expected: 'schema',
    handler: (_request, response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Sign in to the hotel network</html>')
  },
  { name: 'JSON of another form', expected: 'schema', handler: (_request, response) => json(response, { ok: true }) },
  { name: '401', expected: 'upstream_error', handler: (_request, response) => json(response, {}, 401) },
  { name: '404', expected: 'not_found', handler: (_request, response) => json(response, {}, 404) },
  { name: '429', expected: 'rate_limited', handler: (_request, response) => json(response, {}, 429) },
  {
    name: '429 with Retry-After',
    expected: 'rate_limited',
    handler: (_request, response) => json(response, {}, 429, { 'retry-after': '7' })
  },
  {
    name: '429 with a date',
    expected: 'rate_limited',
    handler: (_request, response) =>
      json(response, {}, 429, { 'retry-after': new Date(Date.now() + 60_000).toUTCString() })
  },
  { name: '503', expected: 'upstream_error', handler: (_request, response) => json(response, {}, 503) },
  { name: '500', expected: 'upstream_error', handler: (_request, response) => json(response, {}, 500) },
  {
    name: '302',
    expected: 'upstream_error',
    handler: (_request, response) => json(response, {}, 302, { location: '/' })
  },
  { name: 'a connection reset', expected: 'network', handler: (request) => request.socket.resetAndDestroy() },
  {
    name: 'a reply that is too large',
    expected: 'upstream_error',
    handler: (_request, response) => json(response, 'x'.repeat(TOO_LARGE))
  },
  { name: 'a closed port', expected: 'network', handler: () => undefined, origin: 'http://127.0.0.1:9' },
  { name: 'a name that is none', expected: 'network', handler: () => undefined, origin: 'http://upstream.invalid' }
]

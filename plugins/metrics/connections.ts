/** What happens on connections below HTTP requests: bytes on the wire, and what the parser refuses. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Handles } from './catalogue.ts'
import { CLIENT_ERRORS, type httpCatalogue } from './http.ts'

const kWatched = Symbol('trading-fun.metrics.watched')

/** A server or socket that is watched already. */
interface Watched {
  [kWatched]?: true
}

type ClientError = (typeof CLIENT_ERRORS)[number]

function codeOf(error: NodeJS.ErrnoException): ClientError {
  return (CLIENT_ERRORS as readonly string[]).includes(error.code ?? '') ? (error.code as ClientError) : 'OTHER'
}

/** What `instrumentHttp` asks of the connections. */
export interface Connections {
  /** Watches a socket that may have come by a server that is not known yet. */
  watch(socket: Socket): void
  /** With which status the parser gave a connection up, if it did. */
  brokenOff(socket: Socket): number | undefined
}

/** Watches the connections of a Fastify instance; bytes are read off the sockets when they are scraped. */
export function watchConnections(fastify: FastifyInstance, http: Handles<typeof httpCatalogue>): Connections {
  const open = new Set<Socket>()
  const closed = { read: 0, written: 0 }
  const broken = new WeakMap<Socket, number>()
  const received = http.http_request_bytes_total.labels({})
  const sent = http.http_response_bytes_total.labels({})

  function watchSocket(socket: Socket & Watched): void {
    socket[kWatched] = true
    open.add(socket)
    socket.once('close', () => {
      open.delete(socket)
      closed.read += socket.bytesRead
      closed.written += socket.bytesWritten
    })
  }

  function watchServer(server: Server & Watched): void {
    if (server[kWatched]) return
    server[kWatched] = true
    server.on('connection', watchSocket)
    server.prependListener('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      // What is still heard of a connection after it was given up tells nothing new.
      if (broken.has(socket)) return
      http.http_client_errors_total.labels({ code: codeOf(error) }).inc()
      // A reset is the client's doing: no status of ours.
      if (error.code !== 'ECONNRESET') broken.set(socket, error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400)
    })
  }

  watchServer(fastify.server)

  http.http_request_bytes_total.onCollect(() => {
    let { read, written } = closed
    for (const socket of open) {
      read += socket.bytesRead
      written += socket.bytesWritten
    }
    received.raiseTo(read)
    sent.raiseTo(written)
  })

  return {
    watch(socket: Socket & Watched & { server?: Server }) {
      // Listening on `localhost` opens a second server, for the other of IPv4 and IPv6, to which only its sockets lead.
      // The sockets of injected requests have no server, and no bytes.
      if (socket[kWatched] || socket.server === undefined) return
      watchServer(socket.server)
      watchSocket(socket)
    },
    brokenOff: (socket) => broken.get(socket)
  }
}

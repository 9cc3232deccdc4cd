/** Load shedding: requests that the service can't keep up with are told to come back instead of being kept waiting. */
import type { Socket } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import createError from '@fastify/error'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

export interface OverloadOptions {
  /** Milliseconds by which the event loop may be late, as a mean over a sample; 0: nothing is shed for it. */
  maxEventLoopDelay: number
  /** Routes, by the beginning of their url, that are answered however late it is: who watches must see it. */
  exempt: readonly string[]
  /** Called for each request that is refused because the event loop is late. */
  onShed?: () => void
  /** Milliseconds of a sample. */
  sampleInterval?: number
}

const RETRY_AFTER = { headers: { 'retry-after': '5' } }

/** Milliseconds between two looks of the monitor, which are part of what it measures. */
const RESOLUTION = 10

/** Replies that one connection may have coming. Nobody pipelines so many; each can hold an open file. */
const MAX_PER_CONNECTION = 128

export const TF_ERR_OVERLOADED = createError(
  'TF_ERR_OVERLOADED',
  'The service is overloaded, come back when Retry-After says',
  503
)
/** What the listeners of the server's `clientError` are told when a connection is closed for it. */
export const TF_ERR_OVERLOADED_CONNECTION = createError(
  'TF_ERR_OVERLOADED_CONNECTION',
  `A connection may have ${MAX_PER_CONNECTION} requests under way`,
  400
)

const kUnderWay = Symbol('trading-fun.under-way')

declare module 'fastify' {
  interface FastifyRequest {
    /** Whether its connection's count holds it: a hook before ours may have refused it. */
    [kUnderWay]: boolean
  }
}

async function overload(fastify: FastifyInstance, options: OverloadOptions): Promise<void> {
  const { maxEventLoopDelay, exempt, onShed, sampleInterval = 1000 } = options
  const underWay = new WeakMap<Socket, number>()
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  let late = false
  delay.enable()
  const sampler = setInterval(() => {
    // Without a single look there is no mean: NaN is not late.
    late = maxEventLoopDelay > 0 && delay.mean / 1e6 - RESOLUTION > maxEventLoopDelay
    delay.reset()
  }, sampleInterval)
  sampler.unref()
  fastify.addHook('onClose', async () => {
    clearInterval(sampler)
    delay.disable()
  })

  fastify.decorateRequest(kUnderWay, false)
  fastify.addHook('onRequest', (request, _reply, done) => {
    const { socket } = request.raw
    const count = (underWay.get(socket) ?? 0) + 1
    underWay.set(socket, count)
    request[kUnderWay] = true
    if (count > MAX_PER_CONNECTION) {
      // Not answered: replies would have to wait for those before them, which nobody reads.
      if (count > MAX_PER_CONNECTION + 1) return
      fastify.server.emit('clientError', new TF_ERR_OVERLOADED_CONNECTION(), socket)
      socket.destroy()
    } else if (late && !exempt.some((prefix) => request.routeOptions.url?.startsWith(prefix))) {
      onShed?.()
      done(Object.assign(new TF_ERR_OVERLOADED(), RETRY_AFTER))
    } else done()
  })

  // A reply that does not go out whole takes its connection with it, and the count.
  fastify.addHook('onResponse', (request, _reply, done) => {
    const { socket } = request.raw
    if (request[kUnderWay]) underWay.set(socket, underWay.get(socket)! - 1)
    done()
  })
}

export default fp(overload, { name: 'overload', fastify: '5.x' })

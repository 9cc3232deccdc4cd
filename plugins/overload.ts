/** Load shedding: when the event loop is late, new requests are told to come back instead of being kept waiting. */
import createError from '@fastify/error'
import underPressure from '@fastify/under-pressure'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

export interface OverloadOptions {
  /** Milliseconds by which the event loop may be late, as a mean over a sample; 0: nothing is shed. */
  maxEventLoopDelay: number
  /** Routes, by the beginning of their url, that are answered however late it is: who watches must see it. */
  exempt: readonly string[]
  /** Milliseconds of a sample. */
  sampleInterval?: number
}

const RETRY_AFTER_SECONDS = 5

export const TF_ERR_OVERLOADED = createError(
  'TF_ERR_OVERLOADED',
  'The service is overloaded, come back when Retry-After says',
  503
)

async function overload(fastify: FastifyInstance, options: OverloadOptions): Promise<void> {
  const { maxEventLoopDelay, exempt, sampleInterval = 1000 } = options
  await fastify.register(underPressure, {
    maxEventLoopDelay,
    sampleInterval,
    async pressureHandler({ routeOptions: { url = '' } }) {
      if (exempt.some((prefix) => url.startsWith(prefix))) return
      throw Object.assign(new TF_ERR_OVERLOADED(), { headers: { 'retry-after': String(RETRY_AFTER_SECONDS) } })
    }
  })
}

export default fp(overload, { name: 'overload', fastify: '5.x' })

/** The one connection to Redis or Valkey, for whatever shares state with other instances: `fastify.redis`. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Redis, type RedisOptions } from 'ioredis'

/** What `fastify.redis` offers. */
export interface RedisConnection {
  /** undefined: no server is configured. Its commands reject at once while it is not connected: nothing waits in a queue. */
  readonly client: Redis | undefined
  /** As of now. `error`: there should be a connection, and there is none. */
  readonly status: 'not_used' | 'connected' | 'error'
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by the `redis` plugin. */
    redis: RedisConnection
  }
}

export interface RedisPluginOptions {
  /** `redis://` or `rediss://` with user, password and number of the database; undefined: Redis is not used. */
  url: string | undefined
}

const OPTIONS = {
  // A command fails at once while there is no connection, and is not sent again after it broke: who asked has gone on.
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: 2000,
  // A server that says nothing for so long, while an answer is due, gets a new connection: what is under way is let go of.
  socketTimeout: 2000,
  // For ever: the service lives without it, and wants it back. Jitter, so that all instances do not come back together.
  retryStrategy: (attempt: number): number =>
    Math.min(100 * 2 ** Math.min(attempt, 10), 2000) * (0.75 + Math.random() / 2)
} satisfies RedisOptions

async function redis(fastify: FastifyInstance, { url }: RedisPluginOptions): Promise<void> {
  const client = url === undefined ? undefined : open(fastify, url)
  fastify.decorate('redis', {
    client,
    get status(): RedisConnection['status'] {
      if (!client) return 'not_used'
      return client.status === 'ready' ? 'connected' : 'error'
    }
  })
}

/** Connects in the background: the service starts without its Redis. */
function open(fastify: FastifyInstance, url: string): Redis {
  const client = new Redis(url, OPTIONS)
  const { host, port } = client.options
  let status: 'connected' | 'error' | undefined
  client.on('ready', () => {
    status = 'connected'
    fastify.log.info({ host, port }, 'redis is connected')
  })
  // Each attempt that fails is an error, and one of an outage says enough.
  client.on('error', (error: Error) => {
    if (status === 'error') return
    status = 'error'
    fastify.log.warn({ host, port, reason: reasonOf(error) }, 'redis is not there: the service goes on without')
  })
  // A connection that the server closes is no error to the client.
  client.on('close', () => {
    if (status !== 'connected') return
    status = 'error'
    fastify.log.warn({ host, port, reason: 'closed' }, 'redis is not there: the service goes on without')
  })
  fastify.addHook('onClose', async () => {
    status = 'error'
    // Not `quit`, which waits for a server that may not answer.
    client.disconnect()
  })
  return client
}

/** Never the error itself, and of an answer its first word only: they can repeat the command, AUTH with its password. */
function reasonOf(error: Error & { code?: string }): string {
  return error.code ?? (error.name === 'ReplyError' ? error.message.split(' ', 1)[0]! : error.message)
}

export default fp(redis, { name: 'redis', fastify: '5.x' })

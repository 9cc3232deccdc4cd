/** Whether the service should be sent requests: `fastify.health`. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

/** What `fastify.health` offers. */
export interface Health {
  /** Names of the checks that fail; empty: ready. Draining fails the check `draining`. */
  failing(): string[]
  /** From now on the service is not ready: it is about to stop. Requests are still answered. */
  drain(): void
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by the `health` plugin. */
    health: Health
  }
}

export interface HealthOptions {
  /** By name, what must be true for requests to make sense. Upstreams do not belong here: without them much still works. */
  checks: Readonly<Record<string, () => boolean>>
}

async function health(fastify: FastifyInstance, { checks }: HealthOptions): Promise<void> {
  let draining = false
  const all: HealthOptions['checks'] = { ...checks, draining: () => !draining }
  const decorator: Health = {
    failing: () => Object.entries(all).flatMap(([name, passes]) => (passes() ? [] : [name])),
    drain() {
      draining = true
    }
  }
  fastify.decorate('health', Object.freeze(decorator))
}

export default fp(health, { name: 'health', fastify: '5.x' })

/**
 * Limits by `@trading-fun/rate-limit`: `node examples/rate-limit.ts`, then
 * `for i in 1 2 3 4; do curl -is http://127.0.0.1:3002/report | grep -iE '^HTTP|^rate|^retry'; done`
 */
import Fastify, { type FastifyInstance } from 'fastify'
import rateLimit from '../plugins/rate-limit/index.ts'

export async function build(): Promise<FastifyInstance> {
  // Behind a proxy: trustProxy: ['10.0.0.0/8'], the addresses of the proxy. Never `true`, never a number of hops.
  const app = Fastify({ logger: true })
  await app.register(rateLimit, {
    max: 10,
    exempt: ['/health'],
    onExceeded: (refused) => app.log.info(refused, 'rate limit exceeded')
  })
  app.setNotFoundHandler({ preHandler: app.rateLimit() }, async (_request, reply) => {
    return reply.code(404).send({ message: 'Not found' })
  })

  app.get('/health', async () => ({ status: 'ok' }))
  app.get('/quote', async () => ({ price: 100 }))
  // Three requests a minute: one is worth three.
  app.get('/report', { config: { quota: { weight: 3 } } }, async () => ({ rows: 500 }))
  app.get('/stats', { config: { quota: false } }, async () => app.rateLimiter.stats())
  return app
}

if (import.meta.main) {
  const app = await build()
  await app.listen({ host: '127.0.0.1', port: 3002 })
}

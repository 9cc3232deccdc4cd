/**
 * A slow source behind `@trading-fun/cache`: `node examples/cache.ts`, then `curl -i http://127.0.0.1:3001/quotes/AAPL` a few times.
 * The first answer takes a second, the next ones none; after five seconds they say `stale: true` once, and are new.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import cache from '../plugins/cache/index.ts'

export async function build(): Promise<FastifyInstance> {
  const app = Fastify({ logger: true })
  await app.register(cache, {
    types: ['quotes'],
    maxBytes: 1_000_000,
    onMiss: (type) => app.log.info({ type }, 'cache miss')
  })

  const policy = { ttl: 5_000, staleWhileRevalidate: 30_000, staleIfError: 600_000, jitter: 0.1 }
  app.get<{ Params: { ticker: string } }>('/quotes/:ticker', async ({ params: { ticker } }) => {
    const { value, age, stale } = await app.cache.wrap('quotes', ticker, policy, () => slowQuote(ticker))
    return { ...value, age, stale }
  })
  app.get('/stats', async () => app.cache.stats())
  return app
}

async function slowQuote(ticker: string): Promise<{ ticker: string; price: number }> {
  await sleep(1000)
  return { ticker, price: 100 + Math.random() }
}

if (import.meta.main) {
  const app = await build()
  await app.listen({ host: '127.0.0.1', port: 3001 })
}

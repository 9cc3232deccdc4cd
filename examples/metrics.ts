/**
 * A service that counts, by `@trading-fun/metrics`: `node examples/metrics.ts`, then `curl http://127.0.0.1:3003/quotes/AAPL`
 * a few times and `curl -s http://127.0.0.1:3003/metrics | grep -E '^(http|quotes|quote)_'`, or look at
 * http://127.0.0.1:3003/dashboard.
 */
import Fastify, { type FastifyInstance } from 'fastify'
import metrics from '../plugins/metrics/index.ts'

const catalogue = {
  quotes_total: { type: 'counter', help: 'Quotes given, by market.', labels: { market: ['stock', 'coin'] } },
  quote_price_dollars: { type: 'histogram', help: 'Price of a quote.', buckets: [1, 10, 100, 1000] }
} as const

export async function build(): Promise<FastifyInstance> {
  const app = Fastify({ logger: true })
  // Before the routes: those that come earlier are counted as `unmatched`.
  await app.register(metrics, { dashboard: true })
  const handles = app.metrics.define(catalogue)
  // Bound once: a request only adds.
  const stocks = handles.quotes_total.labels({ market: 'stock' })
  const prices = handles.quote_price_dollars.labels({})

  app.get<{ Params: { ticker: string } }>('/quotes/:ticker', async ({ params: { ticker } }) => {
    const price = 50 + 100 * Math.random()
    stocks.inc()
    prices.observe(price)
    return { ticker, price }
  })
  app.get('/health', { config: { metrics: false } }, async () => ({ status: 'ok' }))
  return app
}

if (import.meta.main) {
  const app = await build()
  await app.listen({ host: '127.0.0.1', port: 3003 })
}

/**
 * Services of strangers, as text: they import the packages by name, which only resolves where those are installed. Each
 * answers under `/wrong` the code with which an option fails that does not compile either.
 */

/** Every service ends so: its URL for who started it, and a close when it is told to end. */
const listen = `
process.once('SIGTERM', () => app.close())
console.log(await app.listen({ host: '127.0.0.1', port: 0 }))
`

export const cacheService: string = `
import cache from '@trading-fun/cache'
import Fastify from 'fastify'

const app = Fastify()
await app.register(cache)
let loads = 0
const quote = () => app.cache.wrap('default', 'AAPL', { ttl: 60_000 }, async () => ({ loads: ++loads, tags: ['tech'] }))

app.get('/quote', quote)
app.get('/change', async () => {
  const { value } = await quote()
  try {
    // @ts-expect-error values are read-only, all the way down
    value.tags.push('changed')
    return 'changed'
  } catch (err) {
    return err instanceof TypeError ? 'refused' : err
  }
})
app.get('/wrong', () =>
  // @ts-expect-error there is no such option
  Fastify().register(cache, { maxByte: 1 }).then(() => 'boots', (err: { code: string }) => err.code)
)
${listen}`

export const rateLimitService: string = `
import rateLimit from '@trading-fun/rate-limit'
import Fastify from 'fastify'

const app = Fastify()
await app.register(rateLimit)
app.get('/quote', async () => 'quote')
app.get('/report', { config: { quota: { weight: 30 } } }, async () => 'report')
app.get('/stats', { config: { quota: false } }, async () => app.rateLimiter.stats())
app.get('/wrong', () =>
  // @ts-expect-error max is a number
  Fastify().register(rateLimit, { max: '10' }).then(() => 'boots', (err: { code: string }) => err.code)
)
// @ts-expect-error a weight is a number
const never = () => app.get('/never', { config: { quota: { weight: '30' } } }, async () => 'never')
void never
${listen}`

export const metricsService: string = `
import metrics from '@trading-fun/metrics'
import Fastify from 'fastify'

const app = Fastify()
await app.register(metrics)
const { quotes_total } = app.metrics.define({
  quotes_total: { type: 'counter', help: 'Quotes given, by market.', labels: { market: ['stock', 'coin'] } }
})
const stocks = quotes_total.labels({ market: 'stock' })
app.get('/quotes/:ticker', async () => {
  stocks.inc()
  return 'quote'
})
app.get('/typo', async () => {
  // @ts-expect-error not among the values of the label
  quotes_total.labels({ market: 'stok' }).inc()
  return 'counted elsewhere'
})
app.get('/wrong', () =>
  // @ts-expect-error there is no such option
  Fastify().register(metrics, { path: '/metrics' }).then(() => 'boots', (err: { code: string }) => err.code)
)
${listen}`

/** A service with a registry and a metric of its own, from a metrics client that is to be named. */
export function ownClientService(name: string): string {
  return `
import metrics, { type Row } from '@trading-fun/metrics'
import Fastify from 'fastify'
import * as client from '${name}'

const registry = new client.Registry()
const jobs = new client.Counter({ name: 'jobs_total', help: 'Jobs done.', labelNames: ['kind'], registers: [registry] })
new client.Summary({ name: 'job_seconds', help: 'Seconds of a job.', registers: [registry] }).observe(0.25)

new client.Histogram({ name: 'job_bytes', help: 'Bytes of a job.', buckets: [1, 2], labelNames: ['kind'], registers: [registry] })

const rows: Row[] = [
  {
    title: 'Jobs',
    panels: [
      {
        title: 'Jobs',
        description: 'Of all kinds.',
        unit: 'per second',
        show: 'lines',
        queries: [
          { kind: 'rate', metric: 'jobs_total', by: ['kind'] },
          { kind: 'quantile', quantile: 0.5, metric: 'job_bytes', by: ['kind'] },
          { kind: 'value', metric: 'process_resident_memory_bytes', over: 'max', legend: 'resident' }
        ]
      }
    ]
  }
]
const app = Fastify()
jobs.inc({ kind: 'small' }, 0)
await app.register(metrics, { client, registry, dashboard: { rows } })
app.get('/job', async () => {
  jobs.inc({ kind: 'small' })
  return 'done'
})
app.get('/own', () => registry.metrics())
app.get('/json', () => app.metrics.json(['job']))
app.get('/wrong', () =>
  // @ts-expect-error a client is a package, not its name
  Fastify().register(metrics, { client: '${name}' }).then(() => 'boots', (err: { code: string }) => err.code)
)
${listen}`
}

export const modelService: string = `
import model from '@trading-fun/model'
import Fastify from 'fastify'

const app = Fastify()
await app.register(model, {
  repository: 'repository',
  execution: 'process',
  inferenceProtocol: { name: 'mine', version: '1.0.0' }
})
app.post<{ Body: Record<string, number> }>('/predict', async ({ body }) => {
  const { probability, manifest } = await app.model.predict('tiny', app.model.toVector('tiny', body))
  return { probability: probability?.[0], version: manifest.version }
})
app.get('/wrong', () =>
  // @ts-expect-error a repository is required
  Fastify().register(model, {}).then(() => 'boots', (err: { code: string }) => err.code)
)
${listen}`

export const togetherService: string = `
import cache from '@trading-fun/cache'
import metrics from '@trading-fun/metrics'
import model from '@trading-fun/model'
import rateLimit from '@trading-fun/rate-limit'
import Fastify, { type FastifyInstance } from 'fastify'

const app = Fastify()
await app.register(metrics)
const count = app.metrics.define({
  cache_hits_total: { type: 'counter', help: 'Hits.', labels: { cache_type: [] } },
  cache_misses_total: { type: 'counter', help: 'Misses.', labels: { cache_type: [] } },
  model_rows_total: { type: 'counter', help: 'Rows scored.', labels: { model_type: [] } },
  rate_limit_exceeded_total: { type: 'counter', help: 'Refusals.', labels: { endpoint: [] } }
})
await app.register(rateLimit, {
  max: 2,
  onExceeded: ({ endpoint }) => count.rate_limit_exceeded_total.labels({ endpoint }).inc()
})
await app.register(cache, {
  types: ['scores'],
  onHit: (cache_type) => count.cache_hits_total.labels({ cache_type }).inc(),
  onMiss: (cache_type) => count.cache_misses_total.labels({ cache_type }).inc()
})
await app.register(model, {
  repository: 'repository',
  execution: 'thread',
  onRun: (manifest, { rows }) => count.model_rows_total.labels({ model_type: manifest.name }).inc(rows)
})

async function routes(fastify: FastifyInstance): Promise<void> {
  fastify.get('/score', async () => {
    const { value } = await fastify.cache.wrap('scores', 'one', { ttl: 60_000 }, async () => {
      const { probability } = await fastify.model.predict('tiny', Float32Array.of(1, 2))
      return [...(probability ?? [])]
    })
    return value
  })
}
await app.register(routes)
${listen}`

/** `node bench/http.ts`: what counting requests costs, against Fastify without any metrics. */
import { createRequire } from 'node:module'
import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'
import { Counter, Histogram, Registry } from 'prom-client'
import metrics from '../plugins/metrics/index.ts'
import { begin, isVariant, load, rounds, serve, settings, start, table, versus } from './harness.ts'

const CONCURRENCY = 32
const BARE = 'bare Fastify'
const EMPTY = 'an empty onResponse hook'

/** By require: an import would bring a second declaration of `fastify.metrics` into the program. */
function fastifyMetrics(): FastifyPluginAsync<Record<string, unknown>> {
  const require = createRequire(import.meta.url)
  return (require('fastify-metrics') as { default: FastifyPluginAsync<Record<string, unknown>> }).default
}

/** What a service writes that uses prom-client by itself. */
function handWritten(app: FastifyInstance): void {
  const registers = [new Registry()]
  const labelNames = ['method', 'route', 'status'] as const
  const requests = new Counter({ name: 'http_requests_total', help: 'Requests', labelNames, registers })
  const seconds = new Histogram({ name: 'http_request_duration_seconds', help: 'Seconds', labelNames, registers })
  app.addHook('onResponse', (request, reply, done) => {
    const labels = { method: request.method, route: request.routeOptions.url!, status: reply.statusCode }
    requests.inc(labels)
    seconds.observe(labels, reply.elapsedTime / 1000)
    done()
  })
}

const VARIANTS: Record<string, (app: FastifyInstance) => unknown> = {
  [BARE]: () => undefined,
  'bare Fastify again (the noise)': () => undefined,
  [EMPTY]: (app) => app.addHook('onResponse', (_request, _reply, done) => done()),
  '@trading-fun/metrics': (app) => app.register(metrics),
  'prom-client in a hook': handWritten,
  'fastify-metrics, routes only': (app) => app.register(fastifyMetrics(), { defaultMetrics: { enabled: false } }),
  'fastify-metrics': (app) => app.register(fastifyMetrics())
}

async function runVariant(name: string): Promise<void> {
  const app = Fastify()
  await VARIANTS[name]!(app)
  app.get('/hello', async () => ({ hello: 'world' }))
  await serve(app)
}

async function main(): Promise<void> {
  const { seconds } = settings('node bench/http.ts: GET requests to Fastify with and without metrics', 120)
  begin(['fastify', 'fastify-metrics', 'prom-client'])
  const request = Buffer.from('GET /hello HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n')
  const names = Object.keys(VARIANTS)
  const servers = await Promise.all(names.map(async (name) => start(import.meta.filename, name)))
  const targets = servers.map((server) => load(server, CONCURRENCY, request))
  const windows = await rounds(
    targets.map((target) => async () => target.run()),
    seconds
  )

  const bare = windows[names.indexOf(BARE)]!
  const empty = windows[names.indexOf(EMPTY)]!
  console.log(`Medians and quartiles at concurrency ${CONCURRENCY}; a ratio above 1 is better than the base.`)
  table(
    [
      '',
      'CPU us a request',
      'work per CPU second, to bare',
      'throughput, to bare',
      'work, to the empty hook',
      'throughput, to it'
    ],
    names.map((name, i) => [name, ...versus(windows[i]!, bare), ...versus(windows[i]!, empty).slice(1)])
  )
  process.exit()
}

await (isVariant ? runVariant(process.argv[2]!) : main())

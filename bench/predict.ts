/**
 * `node bench/predict.ts`: a prediction against a route that validates the same body and predicts nothing: by the packages for
 * metrics, rate limit and model in a service of their own, and by POST /predict_raw of the whole service.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import { buildApp } from '../app.ts'
import { loadConfig } from '../config.ts'
import { signalOf } from '../domain/signals.ts'
import metrics from '../plugins/metrics/index.ts'
import { featuresSchema } from '../plugins/model/features.ts'
import model, { type Manifest, type Run } from '../plugins/model/index.ts'
import rateLimit from '../plugins/rate-limit/index.ts'
import validation from '../plugins/validation.ts'
import { ModelReference, Probability, Signal, Warnings } from '../schemas/market.ts'
import { begin, isVariant, load, rounds, serve, settings, start, table, versus } from './harness.ts'

const PACKAGES = 'the packages'
const SERVICE = 'the service'
const ECHO = 'echo'
const CONCURRENCIES = [1, 32, 256]
const response = { 200: Type.Object({ prob: Probability, signal: Signal, model: ModelReference, warnings: Warnings }) }
const MANIFEST = join(import.meta.dirname, '../models/outperform/1/manifest.json')

async function runService(): Promise<void> {
  // The model of the simulated market is the linear one. Nothing may be refused: an answer without work would be fast.
  const env = { LOG_LEVEL: 'silent', RATE_LIMIT_RPM: '1000000000', MAX_EVENT_LOOP_DELAY_MS: '0' }
  await serve(await buildApp(loadConfig(env)))
}

/** Metrics and limiter on, as another service installs them. */
async function runPackages(): Promise<void> {
  const app = Fastify()
  await app.register(metrics, { endpoint: '/prometheus' })
  await app.register(rateLimit, { max: 1_000_000_000 })
  await app.register(validation)
  const own = app.metrics.define({
    inference_seconds: { type: 'histogram', help: 'Seconds of a run.', buckets: [0.0001, 0.001, 0.01] },
    rows_total: { type: 'counter', help: 'Rows scored.' }
  })
  const seconds = own.inference_seconds.labels({})
  const rows = own.rows_total.labels({})
  const onRun = (_manifest: Manifest, run: Run): void => {
    seconds.observe(run.seconds)
    rows.inc(run.rows)
  }
  await app.register(model, { repository: join(MANIFEST, '../../..'), refuse: simulatedOnly, onRun })
  const body = Type.Object({ features: app.model.inputSchema('outperform') }, { additionalProperties: false })
  app.post('/predict_raw', { schema: { body, response } }, async (request) => {
    const { features } = request.body as { features: Record<string, number> }
    const vector = app.model.toVector('outperform', features)
    const { probability, manifest } = await app.model.predict('outperform', vector)
    const prob = probability![0]
    const warnings = app.model
      .outOfRange('outperform', vector)
      .map((name) => ({ code: 'feature_out_of_range', message: name }))
    return { prob, signal: signalOf(prob!), model: manifest, warnings }
  })
  await serve(app)
}

function simulatedOnly({ source }: Manifest): string | undefined {
  return source === 'simulated' ? undefined : 'is not the linear model of the simulated market'
}

/** The same body, validated by the same Ajv, and the given reply, printed by the same schema. */
async function runEcho(reply: object): Promise<void> {
  const features = featuresSchema(JSON.parse(await readFile(MANIFEST, 'utf8')) as Manifest)
  const body = Type.Object({ features }, { additionalProperties: false })
  const app = Fastify()
  await app.register(validation)
  app.post('/predict_raw', { schema: { body, response } }, async () => reply)
  await serve(app)
}

/** A row from the middle of the training rows. */
async function exampleBody(): Promise<string> {
  const { features } = JSON.parse(await readFile(MANIFEST, 'utf8')) as Manifest
  return JSON.stringify({ features: Object.fromEntries(features.map(({ name, quantiles }) => [name, quantiles.p50])) })
}

async function main(): Promise<void> {
  const { seconds } = settings('node bench/predict.ts: predictions against an echo of the same size', 120)
  begin(['fastify', 'onnxruntime-node'])
  const body = await exampleBody()
  const service = await start(import.meta.filename, SERVICE)
  const answered = await fetch(`http://127.0.0.1:${service.ready as number}/predict_raw`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body
  })
  const reply = await answered.text()
  console.log(`reply: ${reply}`)
  const echo = await start(import.meta.filename, ECHO, reply)
  const packages = await start(import.meta.filename, PACKAGES)
  const again = await start(import.meta.filename, `${ECHO} again (the noise)`, reply)

  const request = Buffer.from(
    `POST /predict_raw HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  )
  const cases = CONCURRENCIES.flatMap((concurrency) =>
    [echo, again, packages, service].map((server) => ({
      concurrency,
      server,
      target: load(server, concurrency, request)
    }))
  )
  const windows = await rounds(
    cases.map(
      ({ target }) =>
        async () =>
          target.run()
    ),
    seconds
  )

  console.log('Medians and quartiles; a ratio above 1 is better than the echo.')
  table(
    ['concurrency', '', 'CPU us a request', 'work per CPU second, to echo', 'throughput, to echo'],
    cases.map(({ concurrency, server }, i) => {
      const base = cases.findIndex((other) => other.concurrency === concurrency && other.server === echo)
      return [String(concurrency), server.name, ...versus(windows[i]!, windows[base]!)]
    })
  )
  process.exit()
}

async function runVariant(name: string, reply?: string): Promise<void> {
  if (reply !== undefined) await runEcho(JSON.parse(reply) as object)
  else await (name === SERVICE ? runService() : runPackages())
}

await (isVariant ? runVariant(process.argv[2]!, process.argv[3]) : main())

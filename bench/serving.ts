/**
 * `node bench/serving.ts`: what serving a model costs. Over HTTP, against a route that validates the same body and predicts
 * nothing; in the process, against `session.run` in a loop; and how long a large request stops the event loop.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import { buildApp } from '../app.ts'
import { loadConfig } from '../config.ts'
import { signalOf } from '../domain/signals.ts'
import metrics from '../plugins/metrics/index.ts'
import { featuresSchema } from '../plugins/model/features.ts'
import type { Prediction } from '../plugins/model/index.ts'
import rateLimit from '../plugins/rate-limit/index.ts'
import validation from '../plugins/validation.ts'
import { ModelReference, Probability, Signal, Warnings } from '../schemas/market.ts'
import { writeForest } from './forest.ts'
import {
  type Variant,
  type Window,
  begin,
  isVariant,
  load,
  ratios,
  rounds,
  serve,
  settings,
  spread,
  start,
  table,
  versus
} from './harness.ts'
import {
  type Kind,
  LARGE,
  NAMES,
  type Question,
  REPOSITORY,
  WORKS,
  openRaw,
  readManifest,
  registerModel,
  runLoops,
  runTurns
} from './serving-runs.ts'

const CONCURRENCIES = [1, 32, 256]
const response = { 200: Type.Object({ prob: Probability, signal: Signal, model: ModelReference, warnings: Warnings }) }

async function runService(pretenuring: boolean): Promise<void> {
  if (pretenuring) setFlagsFromString('--allocation-site-pretenuring')
  // The model of the simulated market is the linear one. Nothing may be refused: an answer without work would be fast.
  const env = { LOG_LEVEL: 'silent', RATE_LIMIT_RPM: '1000000000', MAX_EVENT_LOOP_DELAY_MS: '0' }
  await serve(await buildApp(loadConfig(env)))
}

/** What a variant has besides the model package. */
type More = 'alone' | 'metrics and limiter' | 'a run a request'

/** The model package, alone or with the packages for metrics and rate limit, as another service installs them. */
async function runPackages(kind: Kind, repository: string, more: More): Promise<void> {
  const name = NAMES[kind]
  const app = Fastify()
  if (more === 'metrics and limiter') {
    await app.register(metrics, { endpoint: '/prometheus' })
    await app.register(rateLimit, { max: 1_000_000_000 })
    const own = app.metrics.define({
      inference_seconds: { type: 'histogram', help: 'Seconds of a run.', buckets: [0.0001, 0.001, 0.01] },
      rows_total: { type: 'counter', help: 'Rows scored.' }
    })
    const seconds = own.inference_seconds.labels({})
    const rows = own.rows_total.labels({})
    await registerModel(app, repository, {
      onRun(_manifest, run) {
        seconds.observe(run.seconds)
        rows.inc(run.rows)
      }
    })
  } else await registerModel(app, repository, {})
  await app.register(validation)
  const body = Type.Object({ features: app.model.inputSchema(name) }, { additionalProperties: false })
  const manifest = app.model.serving(name).manifest
  const run = await openRaw(repository, kind)
  const predict: (vector: Float32Array) => Promise<Prediction> =
    more === 'a run a request'
      ? async (vector) => ({ ...(await run(vector, 1)), manifest })
      : async (vector) => app.model.predict(name, vector)
  app.post('/predict_raw', { schema: { body, response } }, async (request) => {
    const { features } = request.body as { features: Record<string, number> }
    const vector = app.model.toVector(name, features)
    const { probability, manifest: answered } = await predict(vector)
    const prob = probability![0]!
    const warnings = app.model
      .outOfRange(answered, vector)
      .map((feature) => ({ code: 'feature_out_of_range', message: feature }))
    return { prob, signal: signalOf(prob), model: answered, warnings }
  })
  await serve(app)
}

/** The same body, validated by the same Ajv, and the given reply, printed by the same schema. */
async function runEcho(reply: object): Promise<void> {
  const features = featuresSchema(await readManifest())
  const body = Type.Object({ features }, { additionalProperties: false })
  const app = Fastify()
  await app.register(validation)
  app.post('/predict_raw', { schema: { body, response } }, async () => reply)
  await serve(app)
}

const file = import.meta.filename

/** Processes that each variant has, one after the other: those of the same code differ by up to a fourteenth. */
const GENERATIONS = 3

/** The variants, the first one the base. */
async function startServers(forest: string, reply: string): Promise<Variant[]> {
  return [
    await start(file, 'echo', 'echo', reply),
    await start(file, 'echo again (the noise)', 'echo', reply),
    await start(file, 'linear, a `session.run` a request', 'linear', REPOSITORY, 'a run a request'),
    await start(file, 'linear, the model package alone', 'linear', REPOSITORY, 'alone'),
    await start(file, 'linear, with metrics and limiter', 'linear', REPOSITORY, 'metrics and limiter'),
    await start(file, 'trees, with metrics and limiter', 'trees', forest, 'metrics and limiter'),
    await start(file, 'the service, linear', 'service'),
    await start(file, 'the service, V8 as it comes', 'service', 'pretenuring')
  ]
}

/** What the service replies to a request of this body. */
async function askService(body: string): Promise<string> {
  const service = await start(file, 'the service', 'service')
  const headers = { 'content-type': 'application/json' }
  const url = `http://127.0.0.1:${service.ready as number}/predict_raw`
  const reply = await (await fetch(url, { method: 'POST', headers, body })).text()
  service.stop()
  console.log(`reply: ${reply}`)
  return reply
}

async function compareHttp(forest: string, seconds: number): Promise<void> {
  const features = Object.fromEntries(
    (await readManifest()).features.map(({ name, quantiles }) => [name, quantiles.p50])
  )
  const body = JSON.stringify({ features })
  const reply = await askService(body)
  const head = `POST /predict_raw HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`
  const request = Buffer.from(`${head}\r\n\r\n${body}`)
  /** By concurrency, then by variant. */
  let windows: Window[][] = []
  let names: string[] = []
  for (let generation = 0; generation < GENERATIONS; generation++) {
    const servers = await startServers(forest, reply)
    names = servers.map(({ name }) => name)
    const targets = CONCURRENCIES.flatMap((concurrency) => servers.map((server) => load(server, concurrency, request)))
    const results = await rounds(
      targets.map((target) => async () => target.run()),
      seconds / GENERATIONS
    )
    windows = results.map((own, i) => [...(windows[i] ?? []), ...own])
    for (const server of servers) server.stop()
  }
  console.log('Medians and quartiles; a ratio above 1 is better than the echo.')
  table(
    ['connections', '', 'CPU us a request', 'work per CPU second, to echo', 'throughput, to echo'],
    windows.map((own, i) => {
      const variant = i % names.length
      const concurrency = CONCURRENCIES[Math.floor(i / names.length)]!
      return [String(concurrency), names[variant]!, ...versus(own, windows[i - variant]!)]
    })
  )
}

async function compareLoops(forest: string, seconds: number): Promise<void> {
  const loops = await start(file, 'loops', 'loops', forest)
  const questions = (['linear', 'trees'] as const).flatMap((kind) =>
    [0, ...CONCURRENCIES].map((at): Question => ({ kind, loops: at }))
  )
  const results = await rounds(
    questions.map((question) => async () => loops.ask<number>(question)),
    seconds
  )
  table(
    ['model', '', 'rows a second', 'to `session.run` in a loop'],
    questions.map(({ kind, loops: at }, i) => {
      const base = results[questions.findIndex((other) => other.kind === kind)]!
      const what = at === 0 ? '`session.run`, a row at a time' : `\`predict\`, ${at} at a time`
      return [kind, what, spread(results[i]!, 0), spread(ratios(results[i]!, base), 2)]
    })
  )
}

/** A process that takes the core for a moment lengthens any turn: in the best round the fewest did. */
async function compareTurns(forest: string, seconds: number): Promise<void> {
  const variant = await start(file, 'turns', 'turns', forest)
  const results = await rounds(
    WORKS.map((work) => async () => variant.ask<number>(work)),
    seconds
  )
  const base = results[0]!
  table(
    [`${LARGE} rows of trees`, 'longest turn, ms', 'times shorter', 'in the best round, ms', 'times shorter'],
    WORKS.map((work, i) => {
      const own = results[i]!
      return [
        work,
        spread(own, 2),
        spread(ratios(base, own), 1),
        Math.min(...own).toFixed(2),
        (Math.min(...base) / Math.min(...own)).toFixed(1)
      ]
    })
  )
}

async function main(): Promise<void> {
  const { seconds } = settings('node bench/serving.ts: what serving a model costs', 240)
  begin(['fastify', 'onnxruntime-node'])
  const forest = await mkdtemp(join(tmpdir(), 'forest-'))
  try {
    await writeForest(forest, await readManifest())
    await compareTurns(forest, seconds * 0.1)
    await compareLoops(forest, seconds * 0.15)
    await compareHttp(forest, seconds * 0.75)
  } finally {
    await rm(forest, { recursive: true })
  }
  process.exit()
}

async function runVariant(what: string, argument = '', more?: string): Promise<void> {
  if (what === 'service') await runService(argument === 'pretenuring')
  else if (what === 'echo') await runEcho(JSON.parse(argument) as object)
  else if (what === 'loops') await runLoops(argument)
  else if (what === 'turns') await runTurns(argument)
  else await runPackages(what as Kind, argument, more as More)
}

await (isVariant ? runVariant(process.argv[3]!, process.argv[4], process.argv[5]) : main())

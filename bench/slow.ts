/**
 * `node bench/slow.ts`: what a model of half a second a run does to everybody else while fifty clients ask for it: inline, in a
 * thread, in a process.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import Fastify from 'fastify'
import metrics from '../plugins/metrics/index.ts'
import model, { type ModelOptions } from '../plugins/model/index.ts'
import { writeVersion } from '../plugins/model/test/helper.ts'
import { slowModel } from '../plugins/model/test/slow-model.ts'
import { type Variant, answer, begin, isVariant, settings, spread, start, table, unpin } from './harness.ts'

const CLIENTS = 50
/** Rows of the slow model's matrices: half a second on a core of a small server. */
const SIZE = 3300
/** Milliseconds between two scrapes. */
const SCRAPE_MS = 20
const EXECUTIONS = ['inline', 'thread', 'process'] as const
const NANOSECONDS = 1e6

/** What the server says of itself since it was asked last: milliseconds. */
interface Loop {
  runs: number[]
  p99: number
  longest: number
}

async function runServer(execution: ModelOptions['execution'] & string, repository: string): Promise<void> {
  unpin()
  const app = Fastify()
  let runs: number[] = []
  await app.register(metrics, { endpoint: '/prometheus' })
  await app.register(model, { repository, execution, onRun: (_manifest, run) => void runs.push(run.seconds * 1000) })
  app.get('/predict', async () => {
    const { probability } = await app.model.predict('tiny', Float32Array.of(SIZE, 0))
    return { probability: probability![0] }
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  answer((app.server.address() as AddressInfo).port, (): Loop => {
    const loop = { runs, p99: delay.percentile(99) / NANOSECONDS, longest: delay.max / NANOSECONDS }
    runs = []
    delay.reset()
    return loop
  })
}

/** Asks from all clients for so many seconds, and scrapes meanwhile. Resolves to the milliseconds that each scrape took. */
async function crowd(server: Variant, seconds: number): Promise<number[]> {
  const base = `http://127.0.0.1:${server.ready as number}`
  const until = performance.now() + seconds * 1000
  async function ask(path: string): Promise<number> {
    const started = performance.now()
    const reply = await fetch(base + path)
    if (reply.status !== 200) throw new Error(`${path}: ${reply.status}`)
    await reply.text()
    return performance.now() - started
  }
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (performance.now() < until) await ask('/predict')
  })
  const scrapes: number[] = []
  while (performance.now() < until) {
    scrapes.push(await ask('/prometheus'))
    await setTimeout(SCRAPE_MS)
  }
  await Promise.all(clients)
  return scrapes
}

async function main(): Promise<void> {
  const { seconds } = settings('node bench/slow.ts: what a slow model does to everybody else', 30)
  begin(['fastify', 'onnxruntime-node'])
  const repository = await mkdtemp(join(tmpdir(), 'slow-'))
  writeVersion(repository, ['tiny', '1', {}, slowModel()])
  const rows: string[][] = []
  try {
    for (const execution of EXECUTIONS) {
      console.log(`${execution}: ${CLIENTS} clients for ${seconds / EXECUTIONS.length} s`)
      const server = await start(import.meta.filename, execution, repository)
      await crowd(server, 1)
      await server.ask(null)
      const scrapes = await crowd(server, seconds / EXECUTIONS.length)
      const { runs, p99, longest } = await server.ask<Loop>(null)
      server.stop()
      const slowest = Math.max(...scrapes)
      rows.push([
        execution,
        spread(runs, 0),
        p99.toFixed(1),
        longest.toFixed(1),
        spread(scrapes, 1),
        slowest.toFixed(1)
      ])
    }
  } finally {
    await rm(repository, { recursive: true })
  }
  console.log('Milliseconds.')
  table(['', 'a run', "event loop's delay, p99", 'longest', 'a scrape', 'longest scrape'], rows)
  process.exit()
}

await (isVariant ? runServer(process.argv[2] as (typeof EXECUTIONS)[number], process.argv[3]!) : main())

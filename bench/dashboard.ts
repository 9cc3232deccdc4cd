/** `node bench/dashboard.ts`: what the live dashboard costs this service, with an hour of all its panels in memory. */
import { mock } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../app.ts'
import { loadConfig } from '../config.ts'
import { createRandom } from '../domain/random.ts'
import { details, overview } from '../monitoring/panels.ts'
import { CAPACITY, type Ring, TICK, createRing } from '../plugins/metrics/ring.ts'
import { begin, settings, spread, table, watch } from './harness.ts'

const ROWS = [overview, ...details]
const FILES = [
  '',
  '/dashboard.css',
  '/uplot.js',
  '/dashboard.js',
  '/panel.js',
  '/chart.js',
  '/element.js',
  '/format.js'
]
const SAMPLES = 300
/** Rings of which one's memory is a share: of one alone it is lost in the noise. */
const COPIES = 20

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Bytes on the heap and outside of it, in arrays. */
async function memory(): Promise<number> {
  // What is finalised by one collection is freed by the next.
  for (let i = 0; i < 3; i++) {
    collectGarbage()
    await nextTurn()
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const random = createRandom('dashboard')

/** A few requests, never the same number: what repeats itself would compress too well. */
async function use(app: FastifyInstance): Promise<void> {
  for (const url of ['/predict_ticker/AAPL', '/ticker_info/MSFT', '/models', '/countries', '/no/such/page']) {
    for (let n = Math.floor(4 * random.uniform()); n > 0; n--) await app.inject(url)
  }
}

async function measureRing(app: FastifyInstance): Promise<string[][]> {
  let now = Date.now()
  const rings: Ring[] = []
  async function add(): Promise<Ring> {
    const ring = await createRing(app.metrics.registry, ROWS, () => now)
    await ring.tick()
    rings.push(ring)
    return ring
  }
  const ring = await add()
  const before = await memory()
  for (let i = 0; i < COPIES; i++) await add()
  const held = ((await memory()) - before) / COPIES
  const cpu: number[] = []
  for (let i = 0; i < SAMPLES; i++) {
    now += TICK
    await use(app)
    const start = process.cpuUsage()
    const began = performance.now()
    await ring.tick()
    const { user, system } = process.cpuUsage(start)
    // CPU time is counted in milliseconds on some systems: what is smaller is taken from the clock.
    cpu.push(Math.max((user + system) / 1000, performance.now() - began))
  }
  const series = [...ring.since(0).queries].reduce((sum, one) => sum + one.length, 0)
  return [
    [
      'queries, series',
      `${ROWS.flatMap(({ panels }) => panels).reduce((n, { queries }) => n + queries.length, 0)}, ${series}`
    ],
    ['numbers of the ring, KiB', (ring.bytes / 1024).toFixed(0)],
    ['memory of the process, KiB', (held / 1024).toFixed(0)],
    ['a tick, ms', spread(cpu, 2)]
  ]
}

function kilobytes(bytes: number): string {
  return (bytes / 1024).toFixed(1)
}

async function measureReplies(app: FastifyInstance, seconds: number): Promise<string[][]> {
  const gzip = { 'accept-encoding': 'gzip' }
  const size = async (url: string, headers = {}): Promise<number> =>
    (await app.inject({ url: `/dashboard${url}`, headers })).rawPayload.length
  const sum = async (headers = {}): Promise<number> => {
    let all = 0
    for (const file of FILES) all += await size(file, headers)
    return all
  }
  const { instance, next } = (await app.inject('/dashboard/data')).json() as { instance: string; next: number }
  const update = `/data?instance=${instance}&from=${next - 1}`
  const first: Awaited<ReturnType<typeof watch>>[] = []
  const later: typeof first = []
  const end = performance.now() + seconds * 1000
  for (let said = 0; performance.now() < end;) {
    first.push(await watch(async () => size('/data', gzip)))
    later.push(await watch(async () => size(update, gzip)))
    if (performance.now() - said < 10_000) continue
    said = performance.now()
    console.log(`${first.length} first loads, ${Math.round((end - said) / 1000)} s to go`)
  }
  return [
    ['page and files, KiB', kilobytes(await sum())],
    ['compressed', kilobytes(await sum(gzip))],
    ['the hour, KiB', kilobytes(await size('/data'))],
    ['compressed', kilobytes(await size('/data', gzip))],
    ['an update, KiB', kilobytes(await size(update))],
    ['compressed', kilobytes(await size(update, gzip))],
    [
      'the hour, ms',
      spread(
        first.map(({ took }) => took),
        1
      )
    ],
    [
      'longest stall meanwhile, ms',
      spread(
        first.map(({ stall }) => stall),
        2
      )
    ],
    [
      'an update, ms',
      spread(
        later.map(({ took }) => took),
        2
      )
    ],
    [
      'longest stall meanwhile, ms',
      spread(
        later.map(({ stall }) => stall),
        2
      )
    ]
  ]
}

async function main(): Promise<void> {
  const { seconds } = settings(`node bench/dashboard.ts: ${CAPACITY} ticks of all panels in memory`, 20)
  begin(['fastify', 'prom-client'])
  // An hour passes in seconds.
  mock.timers.enable({ apis: ['setInterval', 'Date'], now: Date.now() })
  const app = await buildApp(
    loadConfig({ LOG_LEVEL: 'silent', RATE_LIMIT_RPM: '1000000', MAX_EVENT_LOOP_DELAY_MS: '0' })
  )
  for (const country of ['Switzerland', 'Germany', 'Japan', 'Global']) await app.inject(`/ranking?country=${country}`)
  for (let i = 0; i < CAPACITY; i++) {
    await use(app)
    mock.timers.tick(TICK)
    await nextTurn()
    if (i % 240 === 0) console.log(`${i} of ${CAPACITY} ticks`)
  }
  const rows = [...(await measureRing(app)), ...(await measureReplies(app, seconds))]
  table(['', ''], rows)
  await app.close()
}

await main()

/**
 * What the benchmarks share. The speed of a shared machine drifts by a third within seconds, so variants are never measured one
 * after the other: each lives in a server process of its own, all on one core; this process drives them from another core,
 * in random order and windows of a tenth of a second, and only windows of the same round are compared.
 */
import { fork, spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { type AddressInfo, type Socket, connect } from 'node:net'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import type { FastifyInstance } from 'fastify'

const SERVER_CORE = 0
const CLIENT_CORE = 1
const WINDOW_MS = 100
/** Rounds that are thrown away: until then code is being compiled. */
const WARM_UP = 8
const PROGRESS_MS = 15_000

/** See server.ts. */
const NO_PRETENURING = '--no-allocation-site-pretenuring'

/** Keeps a process, with all threads that it has and will have, on one core. */
function pin(pid: number, core: number): boolean {
  return spawnSync('taskset', ['-acp', String(core), String(pid)], { stdio: 'ignore' }).status === 0
}

/** A process with one variant in it. */
export interface Variant {
  name: string
  /** What the process said when it was ready. */
  ready: unknown
  ask<T>(question: unknown): Promise<T>
  /** Ends the process. */
  stop(): void
}

/** Runs `file` again as the process of one variant; there `answer` must be called. All run on the V8 that server.ts asks for. */
export async function start(file: string, name: string, ...args: string[]): Promise<Variant> {
  const child = fork(file, [name, ...args], { execArgv: [...process.execArgv, NO_PRETENURING] })
  let heard = Promise.withResolvers<unknown>()
  child.on('message', (message) => heard.resolve(message))
  child.once('exit', () => heard.reject(new Error(`the process of "${name}" has ended`)))
  const ready = await heard.promise
  pin(child.pid!, SERVER_CORE)
  return {
    name,
    ready,
    async ask<T>(question: unknown) {
      heard = Promise.withResolvers()
      child.send({ question })
      return (await heard.promise) as T
    },
    stop: () => child.disconnect()
  }
}

/** In a variant's process: lets it, and the threads that it starts from here on, use both cores. */
export function unpin(): void {
  spawnSync('taskset', ['-acp', `${SERVER_CORE},${CLIENT_CORE}`, String(process.pid)], { stdio: 'ignore' })
}

/** Whether this process is one that `start` made. */
export const isVariant: boolean = process.send !== undefined

/** In a variant's process: says that it is ready, and answers what it is asked until the other end is gone. */
export function answer(ready: unknown, reply: (question: unknown) => unknown): void {
  process.once('disconnect', () => process.exit())
  process.on('message', async ({ question }: { question: unknown }) => process.send!(await reply(question)))
  process.send!(ready)
}

/** In a variant's process: listens, and answers with the microseconds of CPU time that it has used. */
export async function serve(app: FastifyInstance): Promise<void> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  answer((app.server.address() as AddressInfo).port, () => {
    const { user, system } = process.cpuUsage()
    return user + system
  })
}

/** The length of the reply at the beginning of `bytes`, head and body; undefined while it is not whole. */
function replyLength(bytes: Buffer): number | undefined {
  const head = bytes.indexOf('\r\n\r\n')
  if (head === -1) return undefined
  const text = bytes.toString('latin1', 0, head)
  if (!text.startsWith('HTTP/1.1 200 ')) throw new Error(`not a 200: ${bytes.toString('latin1')}`)
  const length = head + 4 + Number(/content-length: (\d+)/i.exec(text)![1])
  return bytes.length < length ? undefined : length
}

/** Keep-alive connections that all ask the same; each waits for its reply before it asks again. */
class Client {
  readonly #sockets: Socket[]
  readonly #request: Buffer
  #answered = 0
  #busy = 0
  #until = 0
  #settle: { resolve: () => void; reject: (error: unknown) => void } | undefined

  constructor(port: number, concurrency: number, request: Buffer) {
    this.#request = request
    this.#sockets = Array.from({ length: concurrency }, () => this.#open(port))
  }

  #open(port: number): Socket {
    const socket = connect(port, '127.0.0.1').setNoDelay()
    let rest: Buffer | undefined
    socket.on('data', (chunk) => {
      const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk])
      try {
        const length = replyLength(bytes)
        rest = length === undefined ? bytes : undefined
        if (length === undefined) return
        this.#answered++
        if (performance.now() < this.#until) socket.write(this.#request)
        else if (--this.#busy === 0) this.#settle?.resolve()
      } catch (error) {
        this.#settle?.reject(error)
      }
    })
    socket.on('close', () => this.#settle?.reject(new Error('the server closed a connection')))
    socket.on('error', (error) => this.#settle?.reject(error))
    return socket
  }

  /** Keeps all connections busy for a window, then waits for the last replies. */
  async run(): Promise<{ requests: number; seconds: number }> {
    const started = performance.now()
    this.#answered = 0
    this.#busy = this.#sockets.length
    this.#until = started + WINDOW_MS
    await new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
      for (const socket of this.#sockets) socket.write(this.#request)
    })
    return { requests: this.#answered, seconds: (performance.now() - started) / 1000 }
  }
}

/** One window of one target. */
export interface Window {
  /** Requests a second. */
  throughput: number
  /** Microseconds of the server's CPU time, user and system, a request. */
  cpu: number
}

/** A server under a load. */
export interface Target {
  run(): Promise<Window>
}

/** A target: `concurrency` connections to a variant that called `serve`, each sending `request` over and over. */
export function load(server: Variant, concurrency: number, request: Buffer): Target {
  const client = new Client(server.ready as number, concurrency, request)
  return {
    async run() {
      const before = await server.ask<number>(null)
      const { requests, seconds } = await client.run()
      const cpu = (await server.ask<number>(null)) - before
      return { throughput: requests / seconds, cpu: cpu / requests }
    }
  }
}

/**
 * Runs all tasks once a round, in random order, for the time given.
 * @returns the results of each task, by round
 */
export async function rounds<T>(tasks: readonly (() => Promise<T>)[], seconds: number): Promise<T[][]> {
  const results: T[][] = tasks.map(() => [])
  const started = performance.now()
  let told = started
  for (let round = 0; round <= WARM_UP || performance.now() - started < seconds * 1000; round++) {
    const order = tasks.map((_, i) => ({ i, key: Math.random() })).toSorted((a, b) => a.key - b.key)
    for (const { i } of order) {
      const result = await tasks[i]!()
      if (round >= WARM_UP) results[i]!.push(result)
    }
    if (performance.now() - told < PROGRESS_MS) continue
    told = performance.now()
    console.log(`round ${round + 1}, ${Math.round((told - started) / 1000)} s of ${seconds} s`)
  }
  console.log(`${results[0]!.length} rounds, after ${WARM_UP} to warm up\n`)
  return results
}

/** `median (lower quartile to upper quartile)`. */
export function spread(values: readonly number[], digits = 3): string {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (q: number): string => sorted[Math.round(q * (sorted.length - 1))]!.toFixed(digits)
  return `${at(0.5)} (${at(0.25)} to ${at(0.75)})`
}

/** Of each round the first divided by the second. */
export function ratios(numerators: readonly number[], denominators: readonly number[]): number[] {
  return numerators.map((value, round) => value / denominators[round]!)
}

/** Cells of a table: CPU time, work per CPU second and throughput, the last two as ratios to the base: above 1 is better. */
export function versus(own: readonly Window[], base: readonly Window[]): string[] {
  const cpu = own.map((window) => window.cpu)
  const baseCpu = base.map((window) => window.cpu)
  const throughput = own.map((window) => window.throughput)
  const baseThroughput = base.map((window) => window.throughput)
  return [spread(cpu, 1), spread(ratios(baseCpu, cpu)), spread(ratios(throughput, baseThroughput))]
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

/** Prints a Markdown table. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): void {
  console.log([line(header), line(header.map(() => '---')), ...rows.map(line), ''].join('\n'))
}

/** What a piece of work does to the event loop of its process, in milliseconds. */
export interface Watched {
  /** Until it was done. */
  took: number
  /** The longest time in which nothing else had a turn. */
  stall: number
}

/** Runs `work` beside a loop that does nothing but take its turns. */
export async function watch(work: () => Promise<unknown>): Promise<Watched> {
  const started = performance.now()
  let last = started
  let stall = 0
  let done = false
  function turn(): void {
    const now = performance.now()
    stall = Math.max(stall, now - last)
    last = now
    if (!done) setImmediate(turn)
  }
  setImmediate(turn)
  await work()
  const took = performance.now() - started
  // One turn more: what ran after the last one counts too.
  done = true
  await new Promise(setImmediate)
  return { took, stall }
}

/** Says on what it runs, and binds this process to its core. */
export function begin(packages: readonly string[]): void {
  const require = createRequire(import.meta.url)
  const versions = packages.map((name) => `${name} ${(require(`${name}/package.json`) as { version: string }).version}`)
  console.log(`${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${versions.join(', ')}`)
  console.log(`${availableParallelism()} cores`)
  if (!pin(process.pid, CLIENT_CORE)) {
    console.log('NOT PINNED to cores (no taskset, or fewer than 2 cores): expect wider quartiles')
  }
}

/** The options of a benchmark: `seconds`, and the texts named in `more`. `--help` prints `about` and ends the process. */
export function settings<K extends string = never>(
  about: string,
  seconds: number,
  more: readonly K[] = []
): { seconds: number } & { [name in K]?: string } {
  const own = Object.fromEntries(more.map((name) => [name, { type: 'string' as const }]))
  const { values } = parseArgs({ options: { ...own, help: { type: 'boolean' }, seconds: { type: 'string' } } })
  if (values.help) {
    console.log(`${about}\n\n--seconds N    how long to measure, ${seconds} by default`)
    process.exit()
  }
  const given = Number(values.seconds ?? seconds)
  if (!(given > 0)) throw new TypeError(`--seconds ${values.seconds as string}: not a number above 0`)
  return { ...(values as { [name in K]?: string }), seconds: given }
}

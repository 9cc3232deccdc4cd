/** The rate limit of several processes against a real redis-server, which is paused, killed and started anew under load. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { findProgram, freePorts } from '../../monitoring/stack.ts'
import rateLimit, { type RateLimitOptions, STORE_FAILURES } from '../../plugins/rate-limit/index.ts'

const program = findProgram('redis-server')
if (program === undefined) {
  process.stderr.write(
    'SKIPPED, no rate limit is shared over a real store: redis-server missing, see CONTRIBUTING.md\n'
  )
}
const LIMIT = { timeout: 200_000, skip: program === undefined }
t.setTimeout(600_000)

/** A request that takes longer than this would have waited for the store more than once, however busy the machine is. */
const PATIENCE_MS = 4000

/** A server without anything on disk, killed at the end of the test. */
async function startRedis(t: Test, port: number): Promise<ChildProcess> {
  const server = spawn(program!, ['--bind', '127.0.0.1', '--port', String(port), '--save', ''], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => server.kill('SIGKILL'))
  for await (const line of createInterface({ input: server.stdout })) {
    if (line.includes('Ready to accept connections')) break
  }
  server.stdout.resume()
  return server
}

async function connect(t: Test, port: number): Promise<Redis> {
  const client = new Redis(port, '127.0.0.1', { enableOfflineQueue: false, autoResendUnfulfilledCommands: false })
  // What goes wrong is what the limiter says.
  client.on('error', () => undefined)
  t.teardown(() => client.disconnect())
  await once(client, 'ready')
  return client
}

interface World {
  app: FastifyInstance
  redis: Redis
  /** Requests that the store did not count. */
  without: () => number
  /** The status of a request, and how many requests its headers say are left. */
  ask: (client?: string) => Promise<{ status: number; remaining: number | undefined; ms: number }>
}

/** A process' part in a service, with a client of its own. */
async function build(t: Test, port: number, options: RateLimitOptions): Promise<World> {
  const redis = await connect(t, port)
  const app = Fastify()
  t.teardown(() => app.close())
  let without = 0
  await app.register(rateLimit, { redis, onWithoutStore: () => without++, ...options })
  app.get('/', async () => 'ok')
  return {
    app,
    redis,
    without: () => without,
    async ask(remoteAddress = '10.0.0.1') {
      const started = performance.now()
      const { statusCode: status, headers } = await app.inject({ url: '/', remoteAddress })
      const remaining = headers['ratelimit-remaining']
      return {
        status,
        remaining: remaining === undefined ? undefined : Number(remaining),
        ms: performance.now() - started
      }
    }
  }
}

t.test('two processes let through what one limit allows, not a request more or less', LIMIT, async (t) => {
  const [port] = await freePorts(1)
  await startRedis(t, port!)
  // A busy machine must not make the store look down.
  const options = { max: 100, storeTimeout: 10_000 }
  const worlds = [await build(t, port!, options), await build(t, port!, options)]
  for (const client of ['10.0.0.1', '10.0.0.2', '2001:db8::1']) {
    const replies = await Promise.all(Array.from({ length: 250 }, async (_, i) => worlds[i % 2]!.ask(client)))
    t.equal(replies.filter(({ status }) => status === 200).length, 100)
    t.equal(replies.filter(({ status }) => status === 429).length, 150)
    const left = replies.filter(({ status }) => status === 200).map(({ remaining }) => remaining)
    t.equal(new Set(left).size, 100, 'each is told another number')
  }
  for (const { app, without } of worlds) {
    t.equal(without(), 0)
    t.match(app.rateLimiter.stats(), { windows: 0, store: 'redis', storeState: 'up' })
  }
})

t.test('every window has an end, and it is never further away than its length', LIMIT, async (t) => {
  const [port] = await freePorts(1)
  await startRedis(t, port!)
  const { ask, redis, without } = await build(t, port!, { max: 3, timeWindow: 50_000, storeTimeout: 10_000 })
  await ask()
  const [key, ...others] = await redis.keys('*')
  t.same(others, [])
  t.match(key, /^rate-limit:1:/)
  const left = await redis.pttl(key!)
  t.ok(left > 0 && left <= 50_000, `${left} ms`)
  for (const spoil of [async () => redis.persist(key!), async () => redis.pexpire(key!, 900_000)]) {
    t.equal(await spoil(), 1)
    t.equal((await ask()).status, 200)
    const healed = await redis.pttl(key!)
    t.ok(healed > 0 && healed <= 50_000, `${healed} ms`)
  }
  t.equal((await ask()).status, 429)
  await redis.pexpire(key!, 1)
  // The server's own clock, to which nothing can be injected.
  while ((await redis.exists(key!)) === 1) await sleep(1)
  t.equal((await ask()).remaining, 2, 'a new window')
  await redis.script('FLUSH')
  t.equal((await ask()).remaining, 1, 'the script was forgotten')
  t.equal(without(), 0)
})

for (const onStoreFailure of STORE_FAILURES) {
  t.test(`${onStoreFailure}: a store that hangs, dies and comes back, under load`, LIMIT, async (t) => {
    const [port] = await freePorts(1)
    let server = await startRedis(t, port!)
    const { app, ask, without } = await build(t, port!, { max: 1_000_000, storeTimeout: 1000, onStoreFailure })
    const refused = onStoreFailure === 'closed' ? 503 : 200
    let slowest = 0

    /** Load until the store is as told; then `count` requests more, with what became of them. */
    async function load(state: 'up' | 'down', count: number): Promise<Set<string>> {
      const seen = new Set<string>()
      const end = performance.now() + PATIENCE_MS * 5
      async function client(): Promise<void> {
        for (let after = 0; after < count;) {
          if (performance.now() > end) throw new Error(`the store is not ${state}`)
          // Requests that wait for nothing would keep the process from its sockets.
          await turn()
          const { status, remaining, ms } = await ask()
          slowest = Math.max(slowest, ms)
          if (app.rateLimiter.storeState !== state) continue
          after++
          seen.add(`${status} ${remaining === undefined ? 'without' : 'with'} headers`)
        }
      }
      await Promise.all([client(), client(), client(), client()])
      return seen
    }
    const usual = ['200 with headers']
    const failing = [`${refused} ${onStoreFailure === 'local' ? 'with' : 'without'} headers`]

    await load('up', 100)
    server.kill('SIGSTOP')
    await load('down', 1)
    const before = without()
    t.same([...(await load('down', 500))], failing, 'it hangs')
    t.equal(without() - before, 2000)
    server.kill('SIGCONT')
    await load('up', 5)
    t.same([...(await load('up', 100))], usual, 'it goes on')

    server.kill('SIGKILL')
    await once(server, 'exit')
    await load('down', 1)
    t.same([...(await load('down', 500))], failing, 'it is gone')
    server = await startRedis(t, port!)
    await load('up', 5)
    const counted = without()
    t.same([...(await load('up', 100))], usual, 'it is a new one')
    t.equal(without(), counted)
    t.ok(slowest < PATIENCE_MS, `the slowest request took ${slowest.toFixed(0)} ms`)
    t.comment(`the slowest request took ${slowest.toFixed(0)} ms`)
  })
}

/**
 * The cache's second tier against a real Redis that is killed, stopped, emptied and filled with garbage under load: no request
 * fails, no value is wrong, and Redis is used again as soon as it is well.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { findProgram, freePorts } from '../../monitoring/stack.ts'
import cache, { type TierResult } from '../../plugins/cache/index.ts'
import redis from '../../plugins/redis.ts'
import { build } from '../helper.ts'

const missing = findProgram('redis-server') === undefined
if (missing) {
  process.stderr.write('SKIPPED, the cache is not tried with a real Redis: redis-server missing, see CONTRIBUTING.md\n')
}
const TIMEOUT_MS = 50_000
/** New ones each time: tap makes them its own. */
const options = (): object => ({ skip: missing && 'no redis-server', timeout: TIMEOUT_MS })

/** For what must happen, and does within a few seconds. */
const PATIENCE_MS = 15_000

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(20)) {
    if (await holds()) return
  }
  throw new Error(`${what}: not after ${PATIENCE_MS / 1000} s`)
}

/** A server that keeps nothing; each start is an empty one. */
async function server(t: Test): Promise<{ url: string; start: () => Promise<void>; signal: Signal }> {
  const [port = 0] = await freePorts(1)
  let child: ChildProcess | undefined
  const signal: Signal = async (name) => {
    child!.kill(name)
    if (name === 'SIGKILL') await once(child!, 'exit')
  }
  t.teardown(async () => signal('SIGKILL'))
  async function start(): Promise<void> {
    const settings = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
    child = spawn('redis-server', settings, { stdio: 'ignore' })
    await until('redis-server listens', async () => {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      const open = new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true)).once('close', () => resolve(false))
      })
      return open.finally(() => socket.destroy())
    })
  }
  await start()
  return { url: `redis://127.0.0.1:${port}`, start, signal }
}

type Signal = (name: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT') => Promise<void>

const TTL = 150
const POLICY = { ttl: TTL, staleWhileRevalidate: 100, staleIfError: 3000, jitter: 0.2 }
const KEYS = 60
/** From the load until the value is in the cache, on a busy machine. */
const SLACK_MS = 500

interface Value {
  key: string
  /** Makes a value of some size, and known. */
  text: string
  loadedAt: number
}

const textOf = (key: string): string => `${key} é `.repeat(200)

/** What the workers have seen. */
interface Tally {
  calls: number
  failed: string[]
  wrong: string[]
  slowest: number
}

/** A process of its own but for the process: memory, connection and figures are its own. */
async function host(t: Test, url: string): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(redis, { url })
  await app.register(cache, { redis: app.redis.client, maxEntries: 20 })
  await app.ready()
  return app
}

async function ask(app: FastifyInstance, key: string, tally: Tally): Promise<void> {
  const asked = Date.now()
  const load = async (): Promise<Value> => ({ key, text: textOf(key), loadedAt: Date.now() })
  const { value, age, stale } = await app.cache.wrap('default', key, POLICY, load)
  if (value.key !== key || value.text !== textOf(key))
    tally.wrong.push(`${key} got ${JSON.stringify(value).slice(0, 99)}`)
  if (age < 0) tally.wrong.push(`${key} is ${age} ms old`)
  const old = asked - value.loadedAt
  if (!stale && old > TTL + SLACK_MS) tally.wrong.push(`${key} is called fresh at ${old} ms`)
}

async function quote(app: FastifyInstance, price: number, tally: Tally): Promise<void> {
  const reply = await app.inject('/ticker_info/AAPL')
  if (reply.statusCode !== 200) throw new Error(`status ${reply.statusCode}`)
  if (reply.json().price !== price) tally.wrong.push(`AAPL costs ${reply.json().price}`)
}

/** Works until it is told to stop; a bounded number of calls at once. */
function work(asks: ((tally: Tally) => Promise<void>)[]): { tally: Tally; stop: () => Promise<Tally> } {
  const tally: Tally = { calls: 0, failed: [], wrong: [], slowest: 0 }
  const end = new AbortController()
  const over = AbortSignal.any([end.signal, AbortSignal.timeout(TIMEOUT_MS)])
  const workers = asks.map(async (one) => {
    while (!over.aborted) {
      const started = performance.now()
      tally.calls++
      try {
        await one(tally)
      } catch (error) {
        tally.failed.push(String(error))
      }
      tally.slowest = Math.max(tally.slowest, performance.now() - started)
      await sleep(1)
    }
  })
  async function stop(): Promise<Tally> {
    end.abort()
    await Promise.all(workers)
    return tally
  }
  return { tally, stop }
}

/** Every kind of what can stand under a key. */
async function litter(url: string): Promise<number> {
  const client = new Redis(url)
  const keys = await client.keys('cache:*')
  for (const [i, key] of keys.entries()) {
    const [body, other] = await Promise.all([client.getBuffer(key), client.getBuffer(keys[(i + 1) % keys.length]!)])
    const flipped = Buffer.from(body ?? 'gone')
    flipped[flipped.length >> 1]! ^= 4
    const kinds = [randomBytes(500), flipped, other ?? 'gone', Buffer.alloc(2 ** 21, 0x7b), flipped.subarray(0, 40)]
    if (i % 7 === 5) await client.multi().del(key).rpush(key, 'a list').exec()
    else if (i % 7 === 6) await client.set(key, body ?? 'no end')
    else await client.set(key, kinds[i % 7]!, 'KEEPTTL')
  }
  client.disconnect()
  return keys.length
}

t.test('two instances share what one has loaded, and say so', options(), async (t) => {
  const { url } = await server(t)
  // A busy machine is late, and not what this is about.
  const env = { REDIS_URL: url, REDIS_TIMEOUT_MS: '5000' }
  const [first, second] = await Promise.all([build(t, env), build(t, env)])
  await until('both are connected', () => [first, second].every(({ redis: { status } }) => status === 'connected'))
  const { age_seconds, ...made } = (await first.inject('/ranking?country=Japan')).json()
  t.equal(age_seconds, 0)
  await until('it is stored', () => first.cache.stats()['ranking']?.tier?.writes === 1)
  const shared = (await second.inject('/ranking?country=Japan')).json()
  t.match(shared, made)
  t.match(second.cache.stats()['ranking'], { loads: 0, misses: 1, tier: { lookups: { hit: 1 } } })
  t.match((await second.inject('/health')).json(), { cache_backend: 'redis', redis_status: 'connected' })
  t.match((await second.inject('/metrics')).json().cache_stats, { backend: 'redis', redis_hits: 1, redis_misses: 0 })

  const elsewhere = await build(t, { ...env, SIMULATION_SEED: '2' })
  await until('it is connected', () => elsewhere.redis.status === 'connected')
  await elsewhere.inject('/ranking?country=Japan')
  t.match(elsewhere.cache.stats()['ranking'], { loads: 1 }, 'of another market nothing is shared')
})

t.test('whatever happens to Redis under load, no request fails and no value is wrong', options(), async (t) => {
  const { url, start, signal } = await server(t)
  const hosts = await Promise.all([host(t, url), host(t, url)])
  const app = await build(t, { REDIS_URL: url, QUOTE_TTL_SECONDS: '1' }, { now: () => new Date() })
  const price = (await app.inject('/ticker_info/AAPL')).json().price as number
  let next = 0
  const asks = Array.from({ length: 14 }, (_, i) => async (tally: Tally) => {
    await ask(hosts[i % 2]!, `k${next++ % KEYS}`, tally)
  })
  const { tally, stop } = work([...asks, async (all) => quote(app, price, all), async (all) => quote(app, price, all)])

  const lookups = (result: TierResult): number =>
    hosts.reduce((sum, { cache: of }) => sum + of.stats()['default']!.tier!.lookups[result], 0)
  const failures = (): number =>
    hosts
      .map(({ cache: of }) => of.stats()['default']!.tier!.errors)
      .reduce((sum, { timeout, connection }) => sum + timeout + connection, 0)
  /** More of it than there was. */
  async function rises(what: string, figure: () => number, by: number): Promise<void> {
    const before = figure()
    await until(`${what} rise`, () => figure() >= before + by)
    t.comment(`${what} rose from ${before} to ${figure()}; ${tally.calls} calls so far`)
  }
  const hits = async (): Promise<void> => rises('hits in Redis', () => lookups('hit'), 50)

  await hits()
  await signal('SIGKILL')
  await rises('lookups without Redis', () => lookups('skipped'), 50)
  await start()
  await hits()

  await signal('SIGSTOP')
  await rises('commands that failed', failures, 3)
  await rises('lookups without Redis', () => lookups('skipped'), 50)
  // Longer than values live, so that what it does late is what it must not be believed.
  await sleep(2500)
  await signal('SIGCONT')
  await hits()

  // At the same time: what is found is mended at once.
  const [littered] = await Promise.all([litter(url), rises('corrupt values found', () => lookups('corrupt'), 10)])
  t.ok(littered >= 20, `${littered} keys were littered`)
  await hits()

  const { calls, failed, wrong, slowest } = await stop()
  t.comment(`${calls} calls, the slowest of ${Math.round(slowest)} ms`)
  t.same(failed, [], 'no request failed')
  t.same(wrong, [], 'no value was wrong')
  t.ok(calls > 1000, `${calls} calls`)
  t.ok(slowest < 1500, 'nobody waited for Redis')
  for (const { cache: of } of hosts) {
    const { hits: h, stale, coalesced, misses, errors, tier } = of.stats()['default']!
    t.equal(errors, 0)
    t.equal(
      Object.values(tier!.lookups).reduce((a, b) => a + b, 0) <= stale + misses,
      true,
      'a lookup for each miss, and at most one for each stale answer'
    )
    t.ok(h + stale + coalesced + misses > 0)
  }
  const sum = hosts
    .map(({ cache: of }) => of.stats()['default']!)
    .reduce((all, { hits: h, stale, coalesced, misses }) => all + h + stale + coalesced + misses, 0)
  t.equal(sum, next, 'each call is one of hit, stale, coalesced and miss')
})

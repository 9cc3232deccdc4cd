import { mock } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import cachePlugin, { type Cache, type CacheOptions, type TierStats } from '../index.ts'
import { FakeRedis, replyError } from './redis.ts'

const KEY = 'cache:1:default:k'
/** When the tests take place. */
const TODAY = 1_800_000_000_000

interface Host {
  app: FastifyInstance
  cache: Cache
  /** Its clocks: one that never goes back, and one that may be wrong. */
  clock: { ms: number; wall: number }
  events: string[]
  logs: string[]
}

/** A process with its own memory and clocks. */
async function host(t: Test, redis: FakeRedis, options: CacheOptions = {}): Promise<Host> {
  const clock = { ms: 1000, wall: TODAY }
  const events: string[] = []
  const logs: string[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => void logs.push(line) } } })
  t.teardown(() => app.close())
  await app.register(cachePlugin, {
    redis,
    now: () => clock.ms,
    wallClock: () => clock.wall,
    onTierLookup: (type, result) => events.push(`${type} ${result}`),
    onTierError: (type, command, kind) => events.push(`${type} ${command} ${kind}`),
    onTierState: (state) => events.push(state),
    ...options
  })
  return { app, cache: app.cache, clock, events, logs }
}

/** Time goes by, for all of them. */
function pass(ms: number, redis: FakeRedis, ...hosts: Host[]): void {
  redis.clock.ms += ms
  for (const { clock } of hosts) {
    clock.ms += ms
    clock.wall += ms
  }
}

/** Lets what is not waited for happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const of =
  <T>(value: T): (() => Promise<T>) =>
  async () =>
    value
const never = (): Promise<never> => Promise.reject(new Error('must not be called'))
const failing = async (): Promise<never> => {
  throw new Error('down')
}
/** What a server does that is stopped. */
const silent = (): Promise<never> => new Promise(() => {})

function tierOf({ cache }: Host): TierStats {
  return cache.stats()['default']!.tier!
}

/** A value that another process has loaded. */
async function loaded(redis: FakeRedis, t: Test, policy = { ttl: 100, staleIfError: 1000 }): Promise<Host> {
  const other = await host(t, redis)
  await other.cache.wrap('default', 'k', policy, of({ by: 'other' }))
  await turn()
  return other
}

t.test('what one process loaded answers in another one, for the rest of its time', async (t) => {
  const redis = new FakeRedis()
  const other = await loaded(redis, t)
  const here = await host(t, redis)
  pass(60, redis, other, here)
  t.same(await here.cache.wrap('default', 'k', { ttl: 100 }, never), { value: { by: 'other' }, age: 60, stale: false })
  pass(39, redis, here)
  t.same((await here.cache.wrap('default', 'k', { ttl: 100 }, never)).age, 99, 'then from memory')
  pass(1, redis, here)
  t.same((await here.cache.wrap('default', 'k', { ttl: 100 }, of('new'))).value, 'new')
  await turn()
  t.same(other.events, ['up', 'default miss'])
  t.same(here.events, ['up', 'default hit', 'default stale'])
  t.match(here.cache.stats()['default'], { hits: 1, misses: 2, stale: 0, coalesced: 0, loads: 1 })
  t.match(tierOf(here), { lookups: { hit: 1, stale: 1, miss: 0 }, writes: 1 })
  tierOf(here).writes = 7
  t.equal(tierOf(here).writes, 1, 'figures once read are copies')
})

t.test('a value from Redis cannot be changed by its receiver', async (t) => {
  const redis = new FakeRedis()
  await loaded(redis, t)
  const { value } = await (await host(t, redis)).cache.wrap('default', 'k', { ttl: 100 }, never)
  t.throws(() => Object.assign(value, { by: 'me' }), TypeError)
})

t.test('all who wait for a key wait for one lookup and one load', async (t) => {
  const redis = new FakeRedis()
  const here = await host(t, redis)
  let loads = 0
  const load = async (): Promise<number> => ++loads
  const calls = Array.from({ length: 20 }, async () => here.cache.wrap('default', 'k', { ttl: 100 }, load))
  for (const call of calls) t.same(await call, { value: 1, age: 0, stale: false })
  t.same(redis.sent, [`pttl ${KEY}`, `getrange ${KEY}`, `set ${KEY}`])
  t.match(here.cache.stats()['default'], { misses: 1, coalesced: 19, loads: 1 })
})

t.test('clear empties this memory only, delete reaches Redis', async (t) => {
  const redis = new FakeRedis()
  const here = await loaded(redis, t)
  here.cache.clear()
  t.same((await here.cache.wrap('default', 'k', { ttl: 100 }, never)).value, { by: 'other' })
  here.cache.delete('default', 'k')
  await turn()
  t.equal(redis.entries.size, 0)
  t.equal((await here.cache.wrap('default', 'k', { ttl: 100 }, of('new'))).value, 'new')
  await here.app.close()
  t.equal(redis.entries.size, 1, 'nor does closing')
  t.equal(redis.status, 'ready', 'and the client is left alone')
})

t.test('a stale value of Redis serves as the policy of the call allows', async (t) => {
  const redis = new FakeRedis()
  const other = await loaded(redis, t)
  const stale = { value: { by: 'other' }, age: 150, stale: true }
  const hosts = await Promise.all([host(t, redis), host(t, redis), host(t, redis), host(t, redis)])
  pass(150, redis, other, ...hosts)
  const [behind, failed, strict, swallowed] = hosts
  t.same(await failed.cache.wrap('default', 'k', { ttl: 100, staleIfError: 51 }, failing), stale)
  t.match(failed.cache.stats()['default'], { rescued: 1, errors: 1, misses: 1 })
  t.equal(failed.logs.length, 1)
  failed.cache.clear()
  await t.rejects(failed.cache.wrap('default', 'k', { ttl: 100, staleIfError: 50 }, failing), { message: 'down' })

  const window = { ttl: 100, staleWhileRevalidate: 60 }
  t.same(await swallowed.cache.wrap('default', 'k', window, failing), stale)
  await turn()
  t.equal(swallowed.logs.length, 1, 'nobody else hears of that load')
  t.same(await behind.cache.wrap('default', 'k', window, of('new')), stale)
  await turn()
  t.same(await behind.cache.wrap('default', 'k', window, never), { value: 'new', age: 0, stale: false })
  t.match(behind.cache.stats()['default'], { misses: 1, loads: 1, hits: 1 })
  t.equal((await strict.cache.wrap('default', 'k', { ttl: 100 }, never)).value, 'new')
})

t.test('of two who wait for the same key, each gets what its own window allows', async (t) => {
  const redis = new FakeRedis()
  const other = await loaded(redis, t)
  const here = await host(t, redis)
  pass(150, redis, other, here)
  const calls = [60, 0].map(async (staleWhileRevalidate) =>
    here.cache.wrap('default', 'k', { ttl: 100, staleWhileRevalidate }, of('new'))
  )
  t.same(await calls[0], { value: { by: 'other' }, age: 150, stale: true })
  t.same(await calls[1], { value: 'new', age: 0, stale: false })
  t.match(here.cache.stats()['default'], { misses: 1, coalesced: 1, loads: 1 })

  pass(150, redis, other, here)
  here.cache.clear()
  const joining = [0, 60].map(async (staleWhileRevalidate) =>
    here.cache.wrap('default', 'k', { ttl: 100, staleWhileRevalidate }, of('newer'))
  )
  t.same((await joining[0])?.value, 'newer')
  t.same((await joining[1])?.value, 'new')
})

t.test('a revalidation takes what another process has loaded meanwhile', async (t) => {
  const redis = new FakeRedis()
  const here = await host(t, redis)
  const policy = { ttl: 100, staleWhileRevalidate: 100 }
  await here.cache.wrap('default', 'k', policy, of('old'))
  await turn()
  const other = await host(t, redis)
  pass(120, redis, here, other)
  await other.cache.wrap('default', 'k', { ttl: 100 }, of('new'))
  await turn()
  pass(10, redis, here, other)
  t.same(await here.cache.wrap('default', 'k', policy, never), { value: 'old', age: 130, stale: true })
  await turn()
  t.same(await here.cache.wrap('default', 'k', policy, never), { value: 'new', age: 10, stale: false })
  t.match(here.cache.stats()['default'], { loads: 1, misses: 1, stale: 1, hits: 1 })
})

t.test('a value in Redis that is older than that in memory is no help', async (t) => {
  const redis = new FakeRedis()
  const here = await loaded(redis, t)
  pass(100, redis, here)
  redis.status = 'reconnecting'
  await here.cache.wrap('default', 'k', { ttl: 100 }, of('new'))
  redis.status = 'ready'
  pass(100, redis, here)
  const policy = { ttl: 100, staleIfError: 1000 }
  t.same(await here.cache.wrap('default', 'k', policy, failing), { value: 'new', age: 100, stale: true })
})

t.test('what is deleted during the lookup answers those who wait, and is not kept', async (t) => {
  const redis = new FakeRedis()
  await loaded(redis, t)
  const here = await host(t, redis)
  const waiting = here.cache.wrap('default', 'k', { ttl: 100 }, never)
  here.cache.delete('default', 'k')
  t.same((await waiting).value, { by: 'other' })
  t.equal((await here.cache.wrap('default', 'k', { ttl: 100 }, of('new'))).value, 'new')
})

t.test(
  'no age is negative and nothing is fresh for longer than its ttl, whatever the clocks of hosts say',
  async (t) => {
    for (const skew of [-3_600_000, 3_600_000]) {
      const redis = new FakeRedis()
      const other = await loaded(redis, t)
      const here = await host(t, redis)
      here.clock.wall += skew
      pass(60, redis, other, here)
      const { value, age } = await here.cache.wrap('default', 'k', { ttl: 100 }, of('new'))
      if (skew < 0) t.same([value, age], [{ by: 'other' }, 60], 'behind: by the clock of Redis')
      else t.same([value, age], ['new', 0], 'ahead: it looks old, and is loaded')
      await turn()
      pass(100, redis, other, here)
      t.same((await here.cache.wrap('default', 'k', { ttl: 100 }, of('later'))).value, 'later')
    }
  }
)

t.test('a write that a paused server carries out late is no fresh value', async (t) => {
  const redis = new FakeRedis()
  const here = await host(t, redis)
  pass(600_000, redis, here)
  redis.write(KEY, '"late"', { loadedAt: TODAY })
  t.equal((await here.cache.wrap('default', 'k', { ttl: 100 }, of('new'))).value, 'new')
  t.match(tierOf(here).lookups, { stale: 1 })
})

t.test('what is not what was written is never served: it is counted, deleted, and loaded anew', async (t) => {
  const garbage: Record<string, (redis: FakeRedis) => void> = {
    'something else': (redis) => redis.put(KEY, 'hello'),
    'bytes that are no text': (redis) => redis.put(KEY, Buffer.alloc(5000, 0xff)),
    'one bit': (redis) => {
      redis.write(KEY, '"x"', { loadedAt: TODAY })
      const { body } = redis.entries.get(KEY)!
      body[body.length - 2]! ^= 1
    },
    'half of it': (redis) => {
      redis.write(KEY, '"some text"', { loadedAt: TODAY })
      redis.put(KEY, redis.entries.get(KEY)!.body.subarray(0, 60))
    },
    'the value of another key': (redis) => {
      redis.write('cache:1:default:other', '"x"', { loadedAt: TODAY })
      redis.put(KEY, redis.entries.get('cache:1:default:other')!.body)
    },
    'no end of its life': (redis) => {
      redis.write(KEY, '"x"', { loadedAt: TODAY })
      redis.entries.get(KEY)!.endsAt = null
    },
    'a longer life than it was given': (redis) => redis.write(KEY, '"x"', { loadedAt: TODAY, rest: 2000 }),
    'a head without numbers': (redis) => redis.write(KEY, '"x"', { head: 'a b c' }),
    'a head that is too short': (redis) => redis.write(KEY, '"x"', { head: '1' }),
    'no JSON': (redis) => redis.write(KEY, '{"a":', { loadedAt: TODAY }),
    'a prototype': (redis) => redis.write(KEY, '{"__proto__":{}}', { loadedAt: TODAY }),
    'more than may be': (redis) => redis.write(KEY, JSON.stringify('x'.repeat(10_000)), { loadedAt: TODAY })
  }
  for (const [name, put] of Object.entries(garbage)) {
    const redis = new FakeRedis()
    const here = await host(t, redis, { maxRedisEntryBytes: 4000 })
    put(redis)
    t.equal((await here.cache.wrap('default', 'k', { ttl: 100 }, of('right'))).value, 'right', name)
    t.match(tierOf(here), { lookups: { corrupt: 1 }, errors: { reply: 0 } }, name)
    t.ok(redis.sent.includes(`del ${KEY}`), name)
    await turn()
    here.cache.clear()
    t.equal((await here.cache.wrap('default', 'k', { ttl: 100 }, never)).value, 'right', `${name}: overwritten`)
  }
})

t.test('a key of another kind is corrupt, and no failure of Redis', async (t) => {
  const redis = new FakeRedis()
  const here = await host(t, redis)
  redis.getrangeBuffer = async () => {
    throw replyError('WRONGTYPE Operation against a key holding the wrong kind of value')
  }
  redis.pttl = async () => -1
  for (let i = 0; i < 5; i++) await here.cache.wrap('default', `k${i}`, { ttl: 100 }, of(1))
  t.match(tierOf(here), { lookups: { corrupt: 5, skipped: 0 }, errors: { reply: 0 } })
  t.equal(here.cache.tierState(), 'up')
})

t.test('a value over the bound is not sent', async (t) => {
  const redis = new FakeRedis()
  const here = await host(t, redis, { maxRedisEntryBytes: 200 })
  for (const length of [100, 200]) {
    await here.cache.wrap('default', `k${length}`, { ttl: 100 }, of('é'.repeat(length / 2)))
  }
  await turn()
  t.same([...redis.entries.keys()], ['cache:1:default:k100'])
  t.match(tierOf(here), { writes: 1, oversized: 1 })
  t.equal(here.cache.stats()['default']?.entries, 2, 'memory keeps it')
})

t.test('what may not be kept is neither looked for nor left there', async (t) => {
  const redis = new FakeRedis()
  const here = await host(t, redis)
  t.equal((await here.cache.wrap('default', 'k', { ttl: 0 }, of(1))).value, 1)
  t.same(redis.sent, [])
  redis.write(KEY, '"old"', { loadedAt: TODAY - 500, rest: 500 })
  t.same(await here.cache.wrap('default', 'k', { ttl: () => 0 }, of(2)), { value: 2, age: 0, stale: false })
  await turn()
  t.equal(redis.entries.size, 0)
})

t.test('a command that is not answered in time is given up, and the call goes on', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const redis = new FakeRedis()
  const here = await host(t, redis)
  redis.broken = silent
  const waiting = here.cache.wrap('default', 'k', { ttl: 100 }, of(1))
  await turn()
  mock.timers.tick(49)
  await turn()
  t.match(tierOf(here), { errors: { timeout: 0 } })
  mock.timers.tick(1)
  t.same(await waiting, { value: 1, age: 0, stale: false })
  t.match(tierOf(here), { lookups: { error: 1 }, errors: { timeout: 1 } })
  mock.timers.tick(50)
  await turn()
  t.same(here.events, ['up', 'default get timeout', 'default error', 'default set timeout'], 'and so is the write')
  t.equal(here.logs.length, 0)
})

t.test('an answer that arrived while the process was busy is not late', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const redis = new FakeRedis()
  await loaded(redis, t)
  const here = await host(t, redis)
  const arrival = Promise.withResolvers<never>()
  redis.broken = async () => arrival.promise
  const waiting = here.cache.wrap('default', 'k', { ttl: 100 }, never)
  await turn()
  mock.timers.tick(500)
  arrival.resolve(undefined as never)
  t.same((await waiting).value, { by: 'other' })
})

t.test('after three failures Redis is left alone, then one command tries', async (t) => {
  const redis = new FakeRedis()
  const here = await host(t, redis)
  let next = 0
  const call = async (): Promise<unknown> => {
    const { value } = await here.cache.wrap('default', `k${next++}`, { ttl: 100 }, of('right'))
    await turn()
    return value
  }
  redis.broken = async () => Promise.reject(new Error('read ECONNRESET'))
  for (let i = 0; i < 4; i++) t.equal(await call(), 'right')
  t.match(tierOf(here), { lookups: { error: 2, skipped: 2 }, errors: { connection: 3 } })
  t.same(
    here.events.filter((event) => !event.includes(' ')),
    ['up', 'down']
  )
  t.equal(here.cache.tierState(), 'down')
  const { length } = redis.sent

  here.clock.ms += 1999
  await call()
  t.equal(redis.sent.length, length, 'nothing is sent')
  here.clock.ms += 1
  const [probe, other] = [call(), call()]
  t.equal(redis.sent.length, length + 2, 'one lookup')
  t.same([await probe, await other], ['right', 'right'])
  t.match(tierOf(here).errors, { connection: 4 })
  await call()
  t.equal(redis.sent.length, length + 2, 'alone again')

  redis.broken = undefined
  here.clock.ms += 2000
  await call()
  t.equal(here.cache.tierState(), 'up')
  t.equal(here.events.filter((event) => event === 'up').length, 2)
  t.match(tierOf(here), { lookups: { miss: 1 }, writes: 1 })
})

t.test('an answer in between makes failures no failures in a row', async (t) => {
  const redis = new FakeRedis()
  const here = await host(t, redis)
  redis.set = async () => {
    throw replyError("OOM command not allowed when used memory > 'maxmemory'.")
  }
  for (let i = 0; i < 10; i++) {
    await here.cache.wrap('default', `k${i}`, { ttl: 100 }, of(1))
    await turn()
  }
  t.match(tierOf(here), { lookups: { miss: 10, skipped: 0 }, errors: { reply: 10, connection: 0 }, writes: 0 })
  t.ok(here.events.includes('default set reply'))
})

t.test('without a connection nothing is sent, and with one it is used again', async (t) => {
  const redis = new FakeRedis()
  redis.status = 'connecting'
  const here = await host(t, redis)
  t.equal((await here.cache.wrap('default', 'k', { ttl: 100 }, of(1))).value, 1)
  t.same(redis.sent, [])
  t.same(here.events, ['down', 'default skipped'])
  redis.status = 'ready'
  await here.cache.wrap('default', 'j', { ttl: 100 }, of(1))
  t.same(here.events.slice(2), ['up', 'default miss'])
})

t.test('commands under way are bounded, given up ones included', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const redis = new FakeRedis()
  const here = await host(t, redis)
  const release = Promise.withResolvers<never>()
  redis.broken = async () => release.promise
  const calls = Array.from({ length: 130 }, async (_, i) => here.cache.wrap('default', `k${i}`, { ttl: 100 }, of(i)))
  await turn()
  t.match(tierOf(here).lookups, { skipped: 2 })
  mock.timers.tick(50)
  t.same(
    (await Promise.all(calls)).map(({ value }) => value),
    calls.map((_, i) => i)
  )
  here.clock.ms += 2000
  await here.cache.wrap('default', 'more', { ttl: 100 }, of(1))
  t.equal(redis.sent.length, 256, 'the client still holds 128 lookups of two commands')
  release.reject(new Error('Connection is closed.'))
  await turn()
  redis.broken = undefined
  await here.cache.wrap('default', 'last', { ttl: 100 }, of(1))
  await turn()
  t.match(tierOf(here), { writes: 1, errors: { timeout: 128, connection: 0 } })
})

t.test('a listener of the second tier that throws is logged, and the call goes on', async (t) => {
  const redis = new FakeRedis()
  const throwing = (): never => {
    throw new Error('thrown at once')
  }
  const here = await host(t, redis, { onTierLookup: throwing, onTierError: throwing, onTierState: throwing })
  redis.broken = async () => Promise.reject(new Error('closed'))
  t.equal((await here.cache.wrap('default', 'k', { ttl: 100 }, of(1))).value, 1)
  t.match(JSON.parse(here.logs[0]!), { msg: 'cache listener failed' })
})

t.test('a client of another kind stops the boot; without one there is no second tier', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const half = { status: 'ready', pttl: never, set: never, del: never } as unknown as FakeRedis
  await t.rejects(
    async () => {
      await app.register(cachePlugin, { redis: half })
    },
    {
      code: 'TF_ERR_CACHE_OPTIONS',
      message: 'Invalid cache options, redis.getrangeBuffer: Expected function'
    }
  )
  const plain = Fastify()
  t.teardown(() => plain.close())
  await plain.register(cachePlugin, { redis: undefined })
  t.equal(plain.cache.tierState(), undefined)
  t.notOk('tier' in plain.cache.stats()['default']!)
})

t.test('by default the clocks are those of the machine', async (t) => {
  const redis = new FakeRedis()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(cachePlugin, { redis })
  await app.cache.wrap('default', 'k', { ttl: 3_600_000 }, of(1))
  await turn()
  app.cache.clear()
  t.match(await app.cache.wrap('default', 'k', { ttl: 3_600_000 }, never), { value: 1, stale: false })
})

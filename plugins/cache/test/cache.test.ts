import { readFileSync } from 'node:fs'
import { mock } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import cachePlugin, { type CacheOptions, CacheOptionsSchema, TF_ERR_CACHE_OPTIONS } from '../index.ts'

interface World {
  app: FastifyInstance
  cache: FastifyInstance['cache']
  clock: { ms: number }
  logs: string[]
}

/** A service with only this plugin, and a clock that stands still. */
async function build(t: Test, options: CacheOptions = {}): Promise<World> {
  const clock = { ms: 1000 }
  const logs: string[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => void logs.push(line) } } })
  t.teardown(() => app.close())
  await app.register(cachePlugin, { now: () => clock.ms, ...options })
  await app.ready()
  return { app, cache: app.cache, clock, logs }
}

/** A load that ends when it is told to, and counts how often it was started. */
interface Manual<T> {
  load: () => Promise<T>
  starts: () => number
  resolve: (value: T) => void
  reject: (error: Error) => void
}

function manual<T>(): Manual<T> {
  let starts = 0
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const load = (): Promise<T> => {
    starts++
    return promise
  }
  return { load, starts: () => starts, resolve, reject }
}

/** Lets all settled promises be heard. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const of =
  <T>(value: T): (() => Promise<T>) =>
  async () =>
    value
const failing = (message: string) => async (): Promise<never> => {
  throw new Error(message)
}
const throwing = (): never => {
  throw new Error('thrown at once')
}
const bytes = (key: string, value: unknown): number => Buffer.byteLength(key + JSON.stringify(value))
const never = (): Promise<never> => Promise.reject(new Error('must not be called'))

t.test('a value is fresh while younger than its ttl, to the millisecond', async (t) => {
  const { cache, clock } = await build(t)
  t.same(await cache.wrap('default', 'k', { ttl: 100 }, of({ a: 1 })), { value: { a: 1 }, age: 0, stale: false })
  clock.ms += 99.9
  t.same(await cache.wrap('default', 'k', { ttl: 100 }, never), { value: { a: 1 }, age: 99, stale: false })
  clock.ms += 0.1
  t.same(await cache.wrap('default', 'k', { ttl: 100 }, of({ a: 2 })), { value: { a: 2 }, age: 0, stale: false })
})

t.test('the same key of two types is two entries', async (t) => {
  const { cache } = await build(t, { types: ['ranking', 'quotes'] })
  await cache.wrap('ranking', 'k', { ttl: 100 }, of('r'))
  t.equal((await cache.wrap('quotes', 'k', { ttl: 100 }, of('q'))).value, 'q')
  t.equal((await cache.wrap('ranking', 'k', { ttl: 100 }, never)).value, 'r')
})

t.test('one load answers all who ask for the same key at once', async (t) => {
  const { cache } = await build(t)
  const { load, starts, resolve } = manual<number>()
  const calls = Array.from({ length: 50 }, () => cache.wrap('default', 'k', { ttl: 100 }, load))
  await turn()
  resolve(7)
  for (const call of calls) t.same(await call, { value: 7, age: 0, stale: false })
  t.equal(starts(), 1)
  t.match(cache.stats().default, { misses: 1, coalesced: 49, loads: 1, errors: 0 })
})

t.test('a failed load fails all who waited with one and the same error, and nothing is kept', async (t) => {
  const errors: unknown[] = []
  const { cache } = await build(t, { onLoadError: (type, error) => errors.push([type, error]) })
  const { load, starts, reject } = manual<number>()
  const calls = Promise.allSettled(Array.from({ length: 3 }, () => cache.wrap('default', 'k', { ttl: 100 }, load)))
  await turn()
  const boom = new Error('boom')
  reject(boom)
  for (const call of await calls) t.equal(call.status === 'rejected' && call.reason, boom)
  t.equal(starts(), 1)
  t.same(errors, [['default', boom]])
  t.match(cache.stats().default, { entries: 0, errors: 1, misses: 1, coalesced: 2, rescued: 0 })
  t.equal((await cache.wrap('default', 'k', { ttl: 100 }, of(8))).value, 8)
})

t.test('a load that throws before it returns a promise is a failed load', async (t) => {
  const { cache } = await build(t)
  await t.rejects(cache.wrap('default', 'k', { ttl: 100 }, throwing), { message: 'thrown at once' })
  t.equal((await cache.wrap('default', 'k', { ttl: 100 }, of(1))).value, 1)
})

t.test('a load that does not end is given up, frees its key, and is no unhandled rejection later', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const { cache } = await build(t)
  for (const [policy, ms] of [
    [{ ttl: 100, timeout: 500 }, 500],
    [{ ttl: 100 }, 30_000]
  ] as const) {
    const { load, reject } = manual<string>()
    const calls = Promise.allSettled([
      cache.wrap('default', 'k', policy, load),
      cache.wrap('default', 'k', policy, never)
    ])
    await turn()
    mock.timers.tick(ms - 1)
    t.match(cache.stats()['default'], { errors: ms === 500 ? 0 : 1 })
    mock.timers.tick(1)
    for (const call of await calls) {
      t.match(call.status === 'rejected' && call.reason, {
        code: 'TF_ERR_CACHE_TIMEOUT',
        statusCode: 504,
        message: `The data was not there in ${ms} ms`
      })
    }
    reject(new Error('late'))
    await turn()
  }
  t.equal((await cache.wrap('default', 'k', { ttl: 100 }, of('new'))).value, 'new')
})

t.test('stale-while-revalidate answers at once, marks the answer and reloads once behind it', async (t) => {
  const { cache, clock } = await build(t)
  const policy = { ttl: 100, staleWhileRevalidate: 50 }
  await cache.wrap('default', 'k', policy, of('old'))
  clock.ms += 100
  const { load, starts, resolve } = manual<string>()
  const stale = { value: 'old', age: 100, stale: true }
  t.same(await cache.wrap('default', 'k', policy, load), stale)
  t.same(await cache.wrap('default', 'k', policy, load), stale)
  resolve('new')
  await turn()
  t.equal(starts(), 1)
  t.same(await cache.wrap('default', 'k', policy, never), { value: 'new', age: 0, stale: false })
  t.match(cache.stats().default, { misses: 1, stale: 2, hits: 1, loads: 2 })
})

t.test('past the stale-while-revalidate window a call waits, and joins the revalidation under way', async (t) => {
  const { cache, clock } = await build(t)
  const policy = { ttl: 100, staleWhileRevalidate: 50 }
  await cache.wrap('default', 'k', policy, of('old'))
  clock.ms += 149
  const { load, resolve } = manual<string>()
  t.equal((await cache.wrap('default', 'k', policy, load)).stale, true)
  clock.ms += 1
  const waiting = cache.wrap('default', 'k', policy, never)
  resolve('new')
  t.same(await waiting, { value: 'new', age: 0, stale: false })
  t.match(cache.stats().default, { misses: 1, stale: 1, coalesced: 1, loads: 2 })
})

t.test('a failed revalidation is logged, reported, and tried again by the next call', async (t) => {
  const errors: string[] = []
  const { cache, clock, logs } = await build(t, { onLoadError: (_type, error) => errors.push(String(error)) })
  const policy = { ttl: 100, staleWhileRevalidate: 50 }
  await cache.wrap('default', 'k', policy, of('old'))
  clock.ms += 110
  for (const message of ['first', 'second']) {
    t.equal((await cache.wrap('default', 'k', policy, failing(message))).value, 'old')
    await turn()
  }
  t.same(errors, ['Error: first', 'Error: second'])
  t.match(
    logs.map((line) => JSON.parse(line)),
    [
      { level: 40, err: { message: 'first' }, cache_type: 'default', msg: 'load failed, a stale value was answered' },
      { level: 40, err: { message: 'second' } }
    ]
  )
})

t.test('stale-if-error answers the old value, marked, to all who waited, until its window ends', async (t) => {
  const { cache, clock, logs } = await build(t)
  const policy = { ttl: 100, staleIfError: 1000 }
  await cache.wrap('default', 'k', policy, of('old'))
  clock.ms += 500
  const { load, reject } = manual<string>()
  const calls = [cache.wrap('default', 'k', policy, load), cache.wrap('default', 'k', policy, load)]
  await turn()
  clock.ms += 20
  reject(new Error('down'))
  for (const call of calls) t.same(await call, { value: 'old', age: 520, stale: true })
  t.equal(logs.length, 1, 'one failed load is one line, however many waited')
  t.match(cache.stats().default, { misses: 2, coalesced: 1, rescued: 2, stale: 0, errors: 1 })

  clock.ms += 579
  t.equal((await cache.wrap('default', 'k', policy, failing('down'))).age, 1099)
  clock.ms += 1
  await t.rejects(cache.wrap('default', 'k', policy, failing('still down')), { message: 'still down' })
  await t.rejects(cache.wrap('default', 'k', { ttl: 100 }, failing('no window')), { message: 'no window' })
})

t.test('every call is exactly one of hit, stale, coalesced and miss, and fires that callback', async (t) => {
  const fired: string[] = []
  const { cache, clock } = await build(t, {
    types: ['ranking'],
    onHit: (type) => fired.push(`hit ${type}`),
    onStale: (type) => fired.push(`stale ${type}`),
    onCoalesced: (type) => fired.push(`coalesced ${type}`),
    onMiss: (type) => fired.push(`miss ${type}`)
  })
  const policy = { ttl: 100, staleWhileRevalidate: 50, staleIfError: 1000 }
  const call = (load: () => Promise<number>): Promise<unknown> => cache.wrap('ranking', 'k', policy, load).catch(String)
  await Promise.all([call(failing('a')), call(failing('b'))])
  await Promise.all([call(of(1)), call(of(1))])
  await call(never)
  clock.ms += 120
  await call(of(2))
  await turn()
  clock.ms += 200
  await call(failing('c'))
  t.same(
    fired,
    ['miss', 'coalesced', 'miss', 'coalesced', 'hit', 'stale', 'miss'].map((outcome) => `${outcome} ranking`)
  )
  const { hits, stale, coalesced, misses, loads, errors, rescued } = cache.stats()['ranking']!
  t.same({ hits, stale, coalesced, misses }, { hits: 1, stale: 1, coalesced: 2, misses: 3 })
  t.same({ loads, errors, rescued }, { loads: 4, errors: 2, rescued: 1 })
})

t.test('the ttl may depend on the value, so that a negative answer is short-lived', async (t) => {
  const { cache, clock } = await build(t)
  const policy = { ttl: (found: { price: number } | null) => (found === null ? 10 : 100) }
  t.equal((await cache.wrap('default', 'none', policy, of(null))).value, null)
  await cache.wrap('default', 'some', policy, of({ price: 1 }))
  clock.ms += 9
  t.equal((await cache.wrap('default', 'none', policy, never)).value, null)
  clock.ms += 1
  t.same((await cache.wrap('default', 'none', policy, of({ price: 2 }))).value, { price: 2 })
  t.same((await cache.wrap('default', 'some', policy, never)).value, { price: 1 })
})

t.test('a ttl of 0 keeps nothing, and what was there before is dropped', async (t) => {
  const { cache, clock } = await build(t)
  await cache.wrap('default', 'k', { ttl: 100 }, of('old'))
  clock.ms += 100
  t.same(await cache.wrap('default', 'k', { ttl: () => 0 }, of('partial')), { value: 'partial', age: 0, stale: false })
  t.match(cache.stats().default, { entries: 0, bytes: 0 })
  await t.rejects(cache.wrap('default', 'k', { ttl: 100, staleIfError: 1000 }, failing('down')), { message: 'down' })
})

t.test('jitter takes up to its part off the ttl', async (t) => {
  const { cache, clock } = await build(t, { random: () => 0.5 })
  const policy = { ttl: 100, jitter: 0.2 }
  await cache.wrap('default', 'k', policy, of('old'))
  clock.ms += 89
  t.equal((await cache.wrap('default', 'k', policy, never)).value, 'old')
  clock.ms += 1
  t.equal((await cache.wrap('default', 'k', policy, of('new'))).value, 'new')
})

t.test('without options the clock is monotonic and chance is real', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(cachePlugin)
  await app.cache.wrap('default', 'k', { ttl: 3_600_000, jitter: 0.5 }, of('v'))
  t.equal((await app.cache.wrap('default', 'k', { ttl: 3_600_000 }, never)).value, 'v')
  t.equal(app.cache.stats()['default']?.hits, 1)
})

t.test('receivers can change neither what is cached nor each other', async (t) => {
  const { cache } = await build(t)
  const made = { rows: [{ ticker: 'AAPL', prob: 0.5 }] }
  const first = await cache.wrap('default', 'k', { ttl: 100 }, of(made))
  t.throws(() => {
    // @ts-expect-error a value is read only
    first.value.rows[0]!.prob = 0.9
  }, TypeError)
  t.throws(() => {
    // @ts-expect-error a value is read only
    first.value.rows.push({ ticker: 'X', prob: 1 })
  }, TypeError)
  made.rows[0]!.prob = 0.1
  made.rows.pop()
  t.same((await cache.wrap('default', 'k', { ttl: 100 }, never)).value, { rows: [{ ticker: 'AAPL', prob: 0.5 }] })
})

t.test('bytes are exact for each type through replacement, deletion and close', async (t) => {
  const { app, cache, clock } = await build(t, { types: ['ranking', 'quotes'] })
  await cache.wrap('ranking', 'usa', { ttl: 100 }, of(['Zürich', 1.5]))
  await cache.wrap('ranking', 'é', { ttl: 100 }, of({ a: null, b: undefined }))
  await cache.wrap('quotes', 'q', { ttl: 100 }, of(true))
  const before = cache.stats()
  t.match(before, {
    ranking: { entries: 2, bytes: bytes('usa', ['Zürich', 1.5]) + bytes('é', { a: null }) },
    quotes: { entries: 1, bytes: 5 }
  })
  clock.ms += 100
  await cache.wrap('ranking', 'usa', { ttl: 100 }, of('short'))
  t.match(cache.stats()['ranking'], {
    entries: 2,
    bytes: bytes('usa', 'short') + bytes('é', { a: null }),
    evictions: 0
  })
  cache.delete('ranking', 'é')
  t.match(cache.stats()['ranking'], { entries: 1, bytes: 10 })
  await app.close()
  t.match(cache.stats(), { ranking: { entries: 0, bytes: 0 }, quotes: { entries: 0, bytes: 0 } })
  t.equal(before['ranking']?.entries, 2, 'figures once read do not change')
})

t.test('the least recently used entry makes room, by bytes and by number', async (t) => {
  for (const bound of [{ maxBytes: 8 }, { maxEntries: 2 }]) {
    const evicted: string[] = []
    const { cache } = await build(t, { types: ['a', 'b'], onEvict: (type) => evicted.push(type), ...bound })
    await cache.wrap('a', '1', { ttl: 100 }, of(111))
    await cache.wrap('b', '2', { ttl: 100 }, of(222))
    await cache.wrap('a', '1', { ttl: 100 }, never)
    await cache.wrap('a', '3', { ttl: 100 }, of(333))
    t.same(evicted, ['b'])
    t.match(cache.stats(), { a: { entries: 2, bytes: 8, evictions: 0 }, b: { entries: 0, bytes: 0, evictions: 1 } })
  }
})

t.test('a value over the bound of an entry is answered, not kept, and replaces what was there', async (t) => {
  for (const bound of [{ maxEntryBytes: 10 }, { maxBytes: 10 }]) {
    const { cache, clock } = await build(t, bound)
    await cache.wrap('default', 'k', { ttl: 100 }, of('fits'))
    clock.ms += 100
    t.equal((await cache.wrap('default', 'k', { ttl: 100 }, of('0123456'))).value, '0123456')
    t.match(cache.stats()['default'], { entries: 1, bytes: 10, oversized: 0 })
    clock.ms += 100
    t.equal((await cache.wrap('default', 'k', { ttl: 100 }, of('01234567'))).value, '01234567')
    t.match(cache.stats()['default'], { entries: 0, bytes: 0, oversized: 1, evictions: 0 })
  }
})

t.test('delete and clear also keep out what is being loaded, and new calls load anew', async (t) => {
  const { cache } = await build(t, { types: ['a', 'b'] })
  for (const invalidate of [() => cache.delete('a', 'k'), () => cache.clear('a'), () => cache.clear()]) {
    const before = manual<string>()
    const waiting = cache.wrap('a', 'k', { ttl: 100 }, before.load)
    await turn()
    invalidate()
    t.equal((await cache.wrap('a', 'k', { ttl: 100 }, of('after'))).value, 'after')
    before.resolve('before')
    t.equal((await waiting).value, 'before')
    t.equal((await cache.wrap('a', 'k', { ttl: 100 }, never)).value, 'after')
    invalidate()
    t.equal(cache.stats()['a']?.entries, 0)
  }
  await cache.wrap('a', 'k', { ttl: 100 }, of(1))
  await cache.wrap('b', 'k', { ttl: 100 }, of(1))
  cache.clear('a')
  t.match(cache.stats(), { a: { entries: 0 }, b: { entries: 1 } })
})

t.test('a load that ends after the close keeps nothing and harms nothing', async (t) => {
  const { app, cache, clock, logs } = await build(t)
  const policy = { ttl: 100, staleWhileRevalidate: 50 }
  await cache.wrap('default', 'k', policy, of('old'))
  clock.ms += 100
  const [revalidation, miss] = [manual<string>(), manual<string>()]
  await cache.wrap('default', 'k', policy, revalidation.load)
  const waiting = cache.wrap('default', 'other', policy, miss.load)
  await app.close()
  revalidation.reject(new Error('agent closed'))
  miss.resolve('late')
  t.equal((await waiting).value, 'late')
  await turn()
  t.match(cache.stats()['default'], { entries: 0, bytes: 0, errors: 1 })
  t.equal(logs.length, 1)
})

t.test('a listener that throws is logged and harms neither answer nor store', async (t) => {
  const { cache, clock, logs } = await build(t, {
    maxEntries: 1,
    onHit: throwing,
    onStale: throwing,
    onCoalesced: throwing,
    onMiss: throwing,
    onEvict: throwing,
    onLoadError: throwing
  })
  const policy = { ttl: 100, staleWhileRevalidate: 50 }
  await Promise.all([cache.wrap('default', 'a', policy, of(1)), cache.wrap('default', 'a', policy, of(1))])
  await cache.wrap('default', 'a', policy, never)
  clock.ms += 100
  t.equal((await cache.wrap('default', 'a', policy, failing('down'))).value, 1)
  await turn()
  t.equal((await cache.wrap('default', 'b', policy, of(2))).value, 2)
  t.match(cache.stats()['default'], { entries: 1, bytes: 2, evictions: 1 })
  const messages = logs.map((line) => JSON.parse(line)).filter(({ level }) => level === 50)
  t.equal(messages.length, 7)
  for (const message of messages) t.match(message, { msg: 'cache listener failed', err: { message: 'thrown at once' } })
})

t.test('a value that JSON would change is refused by its path', async (t) => {
  class Quote {
    price = 1
  }
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle
  const cases: [unknown, string][] = [
    [undefined, 'value is undefined'],
    [{ rows: [{ prob: 1 }, { prob: NaN }] }, 'value.rows.1.prob is NaN'],
    [[1, -Infinity], 'value.1 is -Infinity'],
    [[1, undefined], 'value.1 is undefined'],
    [Array(1), 'value.0 is undefined'],
    [{ n: 1n }, 'value.n is bigint'],
    [{ f: never }, 'value.f is function'],
    [{ at: new Date(0) }, 'value.at is an instance of a class'],
    [new Map(), 'value is an instance of a class'],
    [[new Quote()], 'value.0 is an instance of a class'],
    [JSON.parse('{"__proto__": {}}'), 'value is an object with a key __proto__'],
    [cycle, `${['value', ...Array(100).fill('self')].join('.')} is nested over 100 levels deep`]
  ]
  const { cache } = await build(t)
  for (const [value, message] of cases) {
    await t.rejects(cache.wrap('default', 'k', { ttl: 100 }, of(value)), {
      code: 'TF_ERR_CACHE_VALUE',
      statusCode: 500,
      message: `A cached value must be plain JSON data, ${message}`
    })
  }
  t.match(cache.stats()['default'], { entries: 0, errors: cases.length })
  const bare = Object.assign(Object.create(null), { a: [0, '', false, null] })
  t.same((await cache.wrap('default', 'k', { ttl: 100 }, of(bare))).value, { a: [0, '', false, null] })
})

t.test('an unknown type or a wrong policy rejects with a code and calls no load', async (t) => {
  const { cache } = await build(t, { types: ['ranking', 'quotes'] })
  const unknown = {
    code: 'TF_ERR_CACHE_TYPE',
    message: 'Unknown cache type "rankign", expected one of ranking, quotes'
  }
  await t.rejects(cache.wrap('rankign', 'k', { ttl: 1 }, never), unknown)
  t.throws(() => cache.delete('rankign', 'k'), unknown)
  t.throws(() => cache.clear('rankign'), unknown)

  const year = 31_536_000_000
  const cases: [object, string][] = [
    [{ ttl: -1 }, `ttl must be a number from 0 to ${year}, not -1`],
    [{ ttl: NaN }, `ttl must be a number from 0 to ${year}, not NaN`],
    [{ ttl: '60' }, `ttl must be a number from 0 to ${year}, not 60`],
    [{}, `ttl must be a number from 0 to ${year}, not undefined`],
    [
      { ttl: 1, staleWhileRevalidate: year + 1 },
      `staleWhileRevalidate must be a number from 0 to ${year}, not ${year + 1}`
    ],
    [{ ttl: 1, staleIfError: Infinity }, `staleIfError must be a number from 0 to ${year}, not Infinity`],
    [{ ttl: 1, timeout: 600_001 }, 'timeout must be a number from 0 to 600000, not 600001'],
    [{ ttl: 1, jitter: 1.1 }, 'jitter must be a number from 0 to 1, not 1.1']
  ]
  for (const [policy, message] of cases) {
    await t.rejects(cache.wrap('ranking', 'k', policy as { ttl: number }, never), {
      code: 'TF_ERR_CACHE_POLICY',
      message: `Invalid cache policy, ${message}`
    })
  }
  t.equal(cache.stats()['ranking']?.loads, 0)
  await t.rejects(cache.wrap('ranking', 'k', { ttl: () => -5 }, of(1)), {
    code: 'TF_ERR_CACHE_POLICY',
    message: /not -5/
  })
  t.match(cache.stats()['ranking'], { entries: 0, errors: 1 })
})

t.test('wrong or unknown options stop the boot with a code, the field and its bound', async (t) => {
  const cases: [object, string][] = [
    [{ maxBytes: 0 }, 'maxBytes: Expected integer to be greater or equal to 1'],
    [{ maxBytes: '64mb' }, 'maxBytes: Expected integer'],
    [{ maxEntryBytes: 0.5 }, 'maxEntryBytes: Expected integer'],
    [{ maxEntries: 1_000_001 }, 'maxEntries: Expected integer to be less or equal to 1000000'],
    [{ types: [] }, 'types: Expected array length to be greater or equal to 1'],
    [{ types: ['a', 'a'] }, 'types: Expected array elements to be unique'],
    [{ types: ['Ticker Info'] }, "types/0: Expected string to match '^[a-z][a-z0-9_]*$'"],
    [{ typse: ['a'] }, 'typse: Unexpected property'],
    [{ onHit: 'x' }, 'onHit: Expected function'],
    [{ now: 5 }, 'now: Expected function']
  ]
  for (const [options, message] of cases) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(
      async () => {
        await app.register(cachePlugin, options)
      },
      {
        code: 'TF_ERR_CACHE_OPTIONS',
        message: `Invalid cache options, ${message}`
      }
    )
  }
  t.ok(new TF_ERR_CACHE_OPTIONS('x') instanceof TypeError)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(cachePlugin, Object.freeze({ prefix: '/x', logLevel: 'warn' as const, types: ['a'] }))
  t.same(Object.keys(app.cache.stats()), ['a'])
})

t.test('a second registration is refused; two services have two caches', async (t) => {
  const { app } = await build(t)
  const fresh = Fastify()
  t.teardown(() => fresh.close())
  await fresh.register(cachePlugin)
  await fresh.cache.wrap('default', 'k', { ttl: 100 }, of(1))
  t.equal(app.cache.stats()['default']?.entries, 0)
  await t.rejects(
    async () => {
      await fresh.register(cachePlugin)
    },
    { code: 'TF_ERR_CACHE_REGISTERED' }
  )
})

t.test('the README lists every option with its default and description', async (t) => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  for (const [name, option] of Object.entries(CacheOptionsSchema.properties)) {
    const row = readme.split('\n').find((line) => line.startsWith(`| \`${name}\` |`)) ?? ''
    t.ok(row.includes(String(option.default)), `${name}: ${String(option.default)}`)
    t.ok(row.includes(String(option.description)), `${name}: ${option.description}`)
  }
})

/** What requests get when their windows are in a shared store, and when that one fails. */
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import rateLimit, { type RateLimitOptions, STORE_FAILURES, type StoreState } from '../index.ts'
import { type FakeRedis, fakeRedis } from './fake-redis.ts'

interface World {
  app: FastifyInstance
  fake: FakeRedis
  clock: { ms: number }
  logs: { level: number; msg: string; err?: { message: string } }[]
  states: StoreState[]
  modes: string[]
  ask: (url?: string) => Promise<LightMyRequestResponse>
  statuses: (count: number) => Promise<number[]>
}

/** A service of two requests a minute, whose windows are in a fake store. */
async function build(t: Test, options: RateLimitOptions = {}, fake: FakeRedis = fakeRedis()): Promise<World> {
  const clock = { ms: 1000 }
  const logs: World['logs'] = []
  const states: StoreState[] = []
  const modes: string[] = []
  const stream = { write: (line: string): void => void logs.push(JSON.parse(line)) }
  const app = Fastify({ logger: { level: 'info', stream }, disableRequestLogging: true })
  t.teardown(() => app.close())
  await app.register(rateLimit, {
    max: 2,
    redis: fake,
    now: () => clock.ms,
    onStoreState: (state) => states.push(state),
    onWithoutStore: (mode) => modes.push(mode),
    ...options
  })
  app.setNotFoundHandler({ preHandler: app.rateLimit() }, async (_request, reply) => reply.code(404).send('none'))
  app.get('/a', async () => 'a')
  const ask = async (url = '/a'): Promise<LightMyRequestResponse> => app.inject(url)
  async function statuses(count: number): Promise<number[]> {
    const seen: number[] = []
    for (let made = 0; made < count; made++) seen.push((await ask()).statusCode)
    return seen
  }
  return { app, fake, clock, logs, states, modes, ask, statuses }
}

const limits = ({ headers }: LightMyRequestResponse): unknown[] =>
  ['ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset', 'retry-after'].map((name) => headers[name])

const broken = async (): Promise<unknown> => Promise.reject(new Error('secret text of the store'))

t.test('two services with one store have one limit, and its time', async (t) => {
  const fake = fakeRedis()
  const [one, other] = [await build(t, {}, fake), await build(t, {}, fake)]
  fake.left = 29_001
  t.same(limits(await one.ask()), ['2', '1', '30', undefined])
  t.same(limits(await other.ask()), ['2', '0', '30', undefined])
  for (const { ask } of [one, other]) {
    const refused = await ask()
    t.equal(refused.statusCode, 429)
    t.equal(refused.json().code, 'TF_ERR_RATE_LIMIT_EXCEEDED')
    t.same(limits(refused), ['2', '0', '30', '30'])
  }
  t.same(one.states, ['up'])
  t.same(one.modes, [])
  t.same(one.app.rateLimiter.stats(), {
    windows: 0,
    clients: 0,
    endpoints: 0,
    evictions: 0,
    store: 'redis',
    storeState: 'up'
  })
})

t.test('keys are a prefix, a version and a hash, a key for each client and route', async (t) => {
  const { app, fake, ask } = await build(t, { redisPrefix: 'service:' })
  app.get(`/${'long'.repeat(100)}`, async () => 'ok')
  await ask()
  await ask('/nowhere')
  await ask('/nowhere/else')
  await ask(`/${'long'.repeat(100)}`)
  await app.inject({ url: '/a', remoteAddress: '10.0.0.9' })
  t.same([...fake.counts.values()], [1, 2, 1, 1])
  for (const key of fake.counts.keys()) t.match(key, /^service:1:[\w-]{43}$/)
})

t.test('closed: a request that is not counted is refused, and told when to come back', async (t) => {
  const { fake, ask, modes } = await build(t, { onStoreFailure: 'closed' })
  t.equal((await ask()).statusCode, 200)
  fake.answer = broken
  const refused = await ask()
  t.equal(refused.statusCode, 503)
  t.equal(refused.headers['retry-after'], '1')
  t.same(refused.json(), {
    statusCode: 503,
    code: 'TF_ERR_RATE_LIMIT_STORE',
    error: 'Service Unavailable',
    message: 'The store of the rate limits does not answer'
  })
  t.equal((await ask('/nowhere')).statusCode, 503)
  t.same(modes, ['closed', 'closed'])
})

t.test('open: a request that is not counted passes, and no headers say how many may follow', async (t) => {
  const { fake, ask, statuses, modes } = await build(t, { onStoreFailure: 'open' })
  t.same(limits(await ask()), ['2', '1', '30', undefined])
  fake.answer = broken
  for (const url of ['/a', '/nowhere']) t.same(limits(await ask(url)), Array(4).fill(undefined))
  t.same(await statuses(10), Array(10).fill(200))
  t.same(modes, Array(12).fill('open'))
})

t.test('local: a request that is not counted by the store is counted here, by the same limit', async (t) => {
  const { app, fake, clock, ask, statuses, modes } = await build(t)
  app.get('/heavy', { config: { quota: { weight: 2 } } }, async () => 'heavy')
  fake.answer = broken
  t.same(limits(await ask()), ['2', '1', '60', undefined])
  t.same(await statuses(2), [200, 429])
  t.same([(await ask('/heavy')).statusCode, (await ask('/heavy')).statusCode], [200, 429])
  t.match(app.rateLimiter.stats(), { windows: 2, clients: 1, endpoints: 2, store: 'redis' })
  clock.ms += 60_000
  t.same(await statuses(1), [200])
  t.same(modes, Array(6).fill('local'))
})

t.test('what was counted here is not added to what the store counts, and stays for the next outage', async (t) => {
  const { fake, clock, statuses } = await build(t)
  t.same(await statuses(1), [200])
  fake.status = 'reconnecting'
  t.same(await statuses(3), [200, 200, 429])
  fake.status = 'ready'
  t.same(await statuses(2), [200, 429])
  t.same([...fake.counts.values()], [3], 'the store has what it was asked')
  clock.ms += 1000
  fake.status = 'reconnecting'
  t.same(await statuses(1), [429], 'no further window by a further outage')
})

t.test('an outage is logged once and told to who listens, and so is its end', async (t) => {
  const { fake, app, clock, logs, states, statuses } = await build(t, { max: 1000 })
  fake.answer = broken
  await statuses(20)
  t.equal(app.rateLimiter.storeState, 'down')
  fake.answer = undefined
  clock.ms += 1000
  await statuses(20)
  t.equal(app.rateLimiter.stats().storeState, 'up')
  t.same(states, ['up', 'down', 'up'])
  t.match(logs, [
    { level: 40, msg: 'the store of the rate limits is down', err: { message: 'secret text of the store' } },
    { level: 30, msg: 'the store of the rate limits is back' }
  ])
  t.equal(logs.length, 2)
})

t.test('a store that is silent holds up no request for longer than its timeout', async (t) => {
  for (const onStoreFailure of STORE_FAILURES) {
    const { fake, statuses } = await build(t, { onStoreFailure, storeTimeout: 1 })
    fake.answer = async () => new Promise(() => undefined)
    t.same(
      await statuses(6),
      { closed: Array(6).fill(503), open: Array(6).fill(200), local: [200, 200, ...Array(4).fill(429)] }[onStoreFailure]
    )
    t.equal(fake.asked.length, 5)
  }
})

t.test('a listener that throws is logged and fails no request', async (t) => {
  const fail = (): void => {
    throw new Error('of a listener')
  }
  const { fake, logs, statuses } = await build(t, { onStoreState: fail, onWithoutStore: fail })
  fake.status = 'end'
  t.same(await statuses(3), [200, 200, 429])
  t.equal(logs.filter(({ level, msg }) => level === 50 && msg === 'rate limit listener failed').length, 5)
})

t.test('listeners may be absent, and the client is left open', async (t) => {
  const app = Fastify()
  const fake = fakeRedis()
  const closed: string[] = []
  const redis = Object.assign(fake, { quit: () => closed.push('quit'), disconnect: () => closed.push('disconnect') })
  await app.register(rateLimit, { redis })
  app.get('/a', async () => 'a')
  t.equal((await app.inject('/a')).headers['ratelimit-remaining'], '59')
  fake.status = 'close'
  t.equal((await app.inject('/a')).headers['ratelimit-remaining'], '59')
  await app.close()
  t.same(closed, [])
})

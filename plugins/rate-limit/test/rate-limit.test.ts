import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import cors from '@fastify/cors'
import foreignRateLimit from '@fastify/rate-limit'
import Fastify, { type FastifyInstance, type FastifyServerOptions, type InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import rateLimit, { type RateLimitOptions, RateLimitOptionsSchema, TF_ERR_RATE_LIMIT_OPTIONS } from '../index.ts'

interface World {
  app: FastifyInstance
  clock: { ms: number }
  logs: string[]
  /** The status codes of so many requests, one after the other. */
  statuses: (count: number, request: string | InjectOptions) => Promise<number[]>
}

/** A service with this plugin, two routes, and a clock that stands still. */
async function build(t: Test, options: RateLimitOptions = {}, server: FastifyServerOptions = {}): Promise<World> {
  const clock = { ms: 1000.25 }
  const logs: string[] = []
  const stream = { write: (line: string): void => void logs.push(line) }
  const app = Fastify({ logger: { level: 'warn', stream }, ...server })
  t.teardown(() => app.close())
  await app.register(rateLimit, { now: () => clock.ms, ...options })
  app.setNotFoundHandler({ preHandler: app.rateLimit() }, async (_request, reply) => reply.code(404).send('none'))
  app.get('/a', async () => 'a')
  app.get('/b/:id', async () => 'b')
  return {
    app,
    clock,
    logs,
    async statuses(count, request) {
      const seen: number[] = []
      for (let made = 0; made < count; made++) seen.push((await app.inject(request)).statusCode)
      return seen
    }
  }
}

t.test('a client has its own window for each route, whatever the parameters', async (t) => {
  const { statuses } = await build(t, { max: 2 })
  t.same(await statuses(3, '/a'), [200, 200, 429])
  t.same(
    [...(await statuses(1, '/b/1')), ...(await statuses(1, '/b/2')), ...(await statuses(1, '/b/3'))],
    [200, 200, 429]
  )
  t.same(await statuses(1, { url: '/a', remoteAddress: '10.0.0.9' }), [200])
})

t.test('a route of several methods has a window for each', async (t) => {
  const { app, statuses } = await build(t, { max: 2 })
  app.route({ method: ['PUT', 'POST'], url: '/many', handler: async () => 'many' })
  t.same(await statuses(3, { method: 'PUT', url: '/many' }), [200, 200, 429])
  t.same(await statuses(3, { method: 'POST', url: '/many' }), [200, 200, 429])
})

t.test('sixty requests a minute without options', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(rateLimit)
  app.get('/', async () => 'ok')
  for (let made = 0; made < 60; made++) t.equal((await app.inject('/')).statusCode, 200)
  const refused = await app.inject('/')
  t.equal(refused.statusCode, 429)
  const wait = Number(refused.headers['retry-after'])
  t.ok(wait > 50 && wait <= 60, `${wait} s, on a real clock`)
})

t.test('the refusal is a coded error, and its Retry-After is true to the second', async (t) => {
  const { app, clock } = await build(t, { max: 1, timeWindow: 10_000 })
  let seen: unknown
  app.addHook('onError', async (_request, _reply, error) => {
    seen = error
  })
  await app.inject('/a')
  clock.ms += 2500
  const refused = await app.inject('/a')
  t.equal(refused.statusCode, 429)
  t.same(refused.json(), {
    statusCode: 429,
    code: 'TF_ERR_RATE_LIMIT_EXCEEDED',
    error: 'Too Many Requests',
    message: 'Rate limit exceeded, retry in 8 s'
  })
  t.equal(refused.headers['retry-after'], '8')
  t.ok(seen instanceof Error)
  clock.ms += 7499
  const stillRefused = await app.inject('/a')
  t.equal(stillRefused.headers['retry-after'], '1')
  clock.ms += 1
  t.equal((await app.inject('/a')).statusCode, 200)
})

t.test('headers tell the limit, what is left of it and the seconds until it is new', async (t) => {
  const { app, clock } = await build(t, { max: 2 })
  const limit = async (): Promise<unknown[]> => {
    const { headers } = await app.inject('/a')
    return ['ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset', 'retry-after'].map((name) => headers[name])
  }
  t.same(await limit(), ['2', '1', '60', undefined])
  clock.ms += 1000
  t.same(await limit(), ['2', '0', '59', undefined])
  t.same(await limit(), ['2', '0', '59', '59'])
})

t.test('unmatched requests are limited, in one window whatever their url and method', async (t) => {
  const { statuses } = await build(t, { max: 2 })
  t.same(await statuses(1, '/x'), [404])
  t.same(await statuses(1, { method: 'POST', url: '/y' }), [404])
  t.same(await statuses(1, '/z'), [429])
  t.same(await statuses(1, '/a'), [200])
})

t.test('onExceeded is told the route as declared, or that there was none', async (t) => {
  const refused: object[] = []
  const { statuses } = await build(t, { max: 1, onExceeded: (what) => refused.push(what) })
  await statuses(2, '/b/secret')
  await statuses(2, { method: 'PUT', url: '/nowhere' })
  t.same(refused, [
    { endpoint: '/b/:id', method: 'GET' },
    { endpoint: 'unmatched', method: 'PUT' }
  ])
})

t.test('a weight divides what a client may do, a floor keeps it from too little', async (t) => {
  const { app, statuses } = await build(t, { max: 10 })
  app.get('/heavy', { config: { quota: { weight: 4 } } }, async () => 'heavy')
  app.get('/heaviest', { config: { quota: { weight: 100 } } }, async () => 'heaviest')
  app.get('/countries', { config: { quota: { weight: 5, atLeast: 8 } } }, async () => 'countries')
  app.get('/floor', { config: { quota: { atLeast: 8 } } }, async () => 'floor')
  t.same(await statuses(3, '/heavy'), [200, 200, 429])
  t.same(await statuses(2, '/heaviest'), [200, 429])
  t.same(await statuses(9, '/countries'), [...Array(8).fill(200), 429])
  t.same(await statuses(11, '/floor'), [...Array(10).fill(200), 429])
})

t.test('limits are told by method and route, with what they are made of', async (t) => {
  const { app } = await build(t, { max: 10, exempt: ['/exempt'] })
  app.route({
    method: ['GET', 'POST'],
    url: '/heavy/:id',
    config: { quota: { weight: 4 } },
    handler: async () => 'heavy'
  })
  app.get('/floor', { config: { quota: { weight: 5, atLeast: 8 } } }, async () => 'floor')
  app.get('/free', { config: { quota: false } }, async () => 'free')
  app.get('/exempt', async () => 'exempt')
  const { limits } = app.rateLimiter
  t.same(Object.fromEntries(limits), {
    'GET /a': { max: 10, weight: 1, atLeast: 1 },
    'GET /b/:id': { max: 10, weight: 1, atLeast: 1 },
    'GET /heavy/:id': { max: 2, weight: 4, atLeast: 1 },
    'POST /heavy/:id': { max: 2, weight: 4, atLeast: 1 },
    'GET /floor': { max: 8, weight: 5, atLeast: 8 }
  })
  for (const url of ['/a', '/heavy/1', '/floor']) {
    const told = limits.get(`GET ${url.replace('/1', '/:id')}`)!.max
    t.equal((await app.inject(url)).headers['ratelimit-limit'], String(told), url)
  }
})

t.test('exempt routes and those below them, and routes that say so, have no limit and no headers', async (t) => {
  const { app, statuses } = await build(t, { max: 1, exempt: ['/health', '/'] })
  for (const url of ['/health', '/health/live', '/', '/healthy']) app.get(url, async () => 'ok')
  app.get('/free', { config: { quota: false } }, async () => 'ok')
  app.get('/foreign', { config: { rateLimit: false } }, async () => 'ok')
  for (const url of ['/health', '/health/live', '/', '/free', '/foreign']) {
    t.same(await statuses(3, url), [200, 200, 200], url)
    t.notOk('ratelimit-limit' in (await app.inject(url)).headers)
  }
  t.same(await statuses(2, '/healthy'), [200, 429])
  t.same(await statuses(2, '/a'), [200, 429])
  t.match(app.rateLimiter.stats(), { windows: 2, clients: 1, endpoints: 2, evictions: 0 })
})

t.test('HEAD takes from the window of GET, other methods have their own', async (t) => {
  const { app, statuses } = await build(t, { max: 2 })
  app.post('/a', async () => 'posted')
  t.same(await statuses(1, '/a'), [200])
  t.same(await statuses(2, { method: 'HEAD', url: '/a' }), [200, 429])
  t.same(await statuses(1, '/a'), [429])
  t.same(await statuses(2, { method: 'POST', url: '/a' }), [200, 200])
})

t.test('a CORS preflight costs nothing, and a refusal can be read by the page', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(cors, { origin: ['http://page.example'], exposedHeaders: ['retry-after'] })
  await app.register(rateLimit, { max: 1 })
  app.get('/a', async () => 'a')
  const headers = { origin: 'http://page.example' }
  for (let made = 0; made < 3; made++) {
    const preflight = await app.inject({
      method: 'OPTIONS',
      url: '/a',
      headers: { ...headers, 'access-control-request-method': 'GET' }
    })
    t.equal(preflight.statusCode, 204)
  }
  t.equal(app.rateLimiter.stats().windows, 0)
  await app.inject({ url: '/a', headers })
  const refused = await app.inject({ url: '/a', headers })
  t.equal(refused.statusCode, 429)
  t.equal(refused.headers['access-control-allow-origin'], 'http://page.example')
})

t.test('the limit comes before the hooks of a route itself', async (t) => {
  const { app, statuses } = await build(t, { max: 1 })
  const ran: string[] = []
  const first = async (): Promise<void> => void ran.push('first')
  const second = async (): Promise<void> => void ran.push('second')
  app.get('/one', { onRequest: first }, async () => 'ok')
  app.get('/two', { onRequest: [first, second] }, async () => 'ok')
  t.same(await statuses(2, '/one'), [200, 429])
  t.same(await statuses(2, '/two'), [200, 429])
  t.same(ran, ['first', 'first', 'second'])
})

t.test('IPv6 clients are one by their subnet, IPv4 in IPv6 is IPv4', async (t) => {
  const { statuses } = await build(t, { max: 1 })
  const from = (remoteAddress: string): Promise<number[]> => statuses(1, { url: '/a', remoteAddress })
  t.same(await from('2001:db8::1'), [200])
  t.same(await from('2001:db8::ffff:2'), [429])
  t.same(await from('2001:db8:0:1::1'), [200])
  t.same(await from('10.0.0.1'), [200])
  t.same(await from('::ffff:10.0.0.1'), [429])
  const narrow = await build(t, { max: 1, ipv6Subnet: 128 })
  for (const remoteAddress of ['2001:db8::1', '2001:db8::2']) {
    t.same(await narrow.statuses(1, { url: '/a', remoteAddress }), [200])
  }
})

t.test('peers of a Unix socket are limited as one client', async (t) => {
  const { app } = await build(t, { max: 1 })
  const folder = mkdtempSync(join(tmpdir(), 'rate-limit-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const socketPath = join(folder, 'http.sock')
  await app.listen({ path: socketPath })
  const status = (): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const request = httpRequest({ socketPath, path: '/a' }, (response) => {
        response.resume().once('end', () => resolve(response.statusCode))
      })
      request.once('error', reject).end()
    })
  t.equal(await status(), 200)
  t.equal(await status(), 429)
})

t.test('an X-Forwarded-For that is not believed is warned of once', async (t) => {
  const forwarded = { url: '/a', headers: { 'x-forwarded-for': '203.0.113.7' } }
  for (const trustProxy of [false, '10.0.0.0/8']) {
    const { statuses, logs } = await build(t, { max: 1 }, { trustProxy })
    await statuses(1, '/b/1')
    t.equal(logs.length, 0)
    t.same(await statuses(2, forwarded), [200, 429])
    t.match(
      logs.map((line) => JSON.parse(line)),
      [{ level: 40, peer: '127.0.0.1', msg: /trustProxy/ }]
    )
    t.equal(logs.length, 1)
  }
  const { statuses, logs } = await build(t, { max: 1 }, { trustProxy: '127.0.0.1/32' })
  t.same(await statuses(2, forwarded), [200, 429])
  t.same(await statuses(1, { url: '/a', headers: { 'x-forwarded-for': '203.0.113.8' } }), [200])
  t.equal(logs.length, 0)
})

t.test('stats tell the windows that are open now', async (t) => {
  const { app, clock, statuses } = await build(t, { timeWindow: 10_000 })
  t.same(app.rateLimiter.stats(), {
    windows: 0,
    clients: 0,
    endpoints: 0,
    evictions: 0,
    store: 'memory',
    storeState: 'up'
  })
  await statuses(5, '/a')
  await statuses(1, { url: '/a', remoteAddress: '10.0.0.2' })
  clock.ms += 5000
  await statuses(1, { url: '/b/1', remoteAddress: '10.0.0.2' })
  await statuses(2, { url: '/nowhere', remoteAddress: '10.0.0.2' })
  t.match(app.rateLimiter.stats(), { windows: 4, clients: 2, endpoints: 3, evictions: 0 })
  clock.ms += 5000
  t.match(app.rateLimiter.stats(), { windows: 2, clients: 1, endpoints: 2, evictions: 0 })
})

t.test('at the bound the oldest window makes room; those that have ended do so unnoticed', async (t) => {
  const { app, clock, statuses } = await build(t, { max: 1, maxWindows: 2 })
  const from = (client: number): Promise<number[]> => statuses(1, { url: '/a', remoteAddress: `10.0.0.${client}` })
  t.same([await from(1), await from(2), await from(1)], [[200], [200], [429]])
  t.same(await from(3), [200])
  t.match(app.rateLimiter.stats(), { windows: 2, clients: 2, endpoints: 1, evictions: 1 })
  t.same([await from(2), await from(3)], [[429], [429]])
  t.same(await from(1), [200], 'its window was dropped')
  clock.ms += 60_000
  t.same([await from(4), await from(5)], [[200], [200]])
  t.match(app.rateLimiter.stats(), { windows: 2, evictions: 2 })
})

t.test('a limiter with a window of its own length ends at its own time', async (t) => {
  const { app, clock, statuses } = await build(t, { max: 1, maxWindows: 2, exempt: ['/short'] })
  app.get('/short', { onRequest: app.rateLimit({ max: 1, timeWindow: 1000 }) }, async () => 'ok')
  t.same(await statuses(1, '/a'), [200])
  t.same(await statuses(2, '/short'), [200, 429])
  clock.ms += 1000
  t.same(await statuses(2, '/short'), [200, 429])
  t.same(await statuses(1, '/a'), [429])
  t.match(app.rateLimiter.stats(), { windows: 2, evictions: 0 })
})

t.test('wrong or unknown options stop the boot with a code, the field and its bound', async (t) => {
  const cases: [object, string][] = [
    [{ max: '10' }, 'max: Expected integer'],
    [{ max: 0 }, 'max: Expected integer to be greater or equal to 1'],
    [{ max: 1e9 + 1 }, 'max: Expected integer to be less or equal to 1000000000'],
    [{ timeWindow: '1 minute' }, 'timeWindow: Expected integer'],
    [{ timeWindow: 999 }, 'timeWindow: Expected integer to be greater or equal to 1000'],
    [{ exempt: ['health'] }, "exempt/0: Expected string to match '^/'"],
    [{ ipv6Subnet: 129 }, 'ipv6Subnet: Expected integer to be less or equal to 128'],
    [{ maxWindows: 0 }, 'maxWindows: Expected integer to be greater or equal to 1'],
    [{ onExceeded: true }, 'onExceeded: Expected function'],
    [{ now: 0 }, 'now: Expected function'],
    [{ reddis: {} }, 'reddis: Unexpected property'],
    [{ redis: { status: 'ready', evalsha() {} } }, 'redis: Expected client with status, evalsha and eval'],
    [{ redis: { evalsha() {}, eval() {} } }, 'redis: Expected client with status, evalsha and eval'],
    [{ redis: { status: 'ready', eval() {} } }, 'redis: Expected client with status, evalsha and eval'],
    [{ redis: null }, 'redis: Expected client with status, evalsha and eval'],
    [{ redisPrefix: '' }, 'redisPrefix: Expected string length greater or equal to 1'],
    [{ storeTimeout: 0 }, 'storeTimeout: Expected integer to be greater or equal to 1'],
    [{ onStoreFailure: 'ajar' }, "onStoreFailure: Expected string to match '^(closed|open|local)$'"],
    [{ onStoreState: 'up' }, 'onStoreState: Expected function'],
    [{ onWithoutStore: 'local' }, 'onWithoutStore: Expected function']
  ]
  for (const [options, message] of cases) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(
      async () => {
        await app.register(rateLimit, options)
      },
      { code: 'TF_ERR_RATE_LIMIT_OPTIONS', message: `Invalid rate-limit options, ${message}` }
    )
  }
  t.ok(new TF_ERR_RATE_LIMIT_OPTIONS('x') instanceof TypeError)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(rateLimit, Object.freeze({ prefix: '/x', max: 1e9 }))
  t.equal(app.rateLimiter.stats().windows, 0)
})

t.test('a wrong quota stops the boot and names the route', async (t) => {
  const { app } = await build(t)
  const cases: [object, string][] = [
    [{ quota: { weight: 0 } }, 'weight: Expected integer to be greater or equal to 1'],
    [{ quota: { weight: '5' } }, 'weight: Expected integer'],
    [{ quota: { wieght: 5 } }, 'wieght: Unexpected property'],
    [{ rateLimit: { max: 5 } }, 'config.rateLimit: use config.quota']
  ]
  for (const [config, message] of cases) {
    t.throws(() => app.get('/wrong', { config }, async () => 'ok'), {
      code: 'TF_ERR_RATE_LIMIT_QUOTA',
      message: `Invalid quota of route GET /wrong, ${message}`
    })
  }
})

t.test('a second rate limit on an instance is refused, after our own and after a foreign one', async (t) => {
  const [ours, foreign] = [Fastify(), Fastify()]
  await ours.register(rateLimit, { max: 5 })
  await foreign.register(foreignRateLimit, { max: 5 })
  for (const app of [ours, foreign]) {
    t.teardown(() => app.close())
    await t.rejects(
      async () => {
        await app.register(rateLimit)
      },
      { code: 'TF_ERR_RATE_LIMIT_REGISTERED' }
    )
  }
})

t.test('the README lists every option with its default and description', async (t) => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  for (const [name, option] of Object.entries(RateLimitOptionsSchema.properties)) {
    const row = readme.split('\n').find((line) => line.startsWith(`| \`${name}\` |`)) ?? ''
    t.ok(row.includes(String(option.default)), `${name}: ${String(option.default)}`)
    t.ok(row.includes(String(option.description)), `${name}: ${option.description}`)
  }
})

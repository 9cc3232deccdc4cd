/** However a request ends, it is counted once, and nothing stays in flight. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, type Socket, connect } from 'node:net'
import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import metricsPlugin from '../index.ts'

type Samples = Record<string, number>

async function scrape(app: FastifyInstance): Promise<Samples> {
  const text = String(await app.metrics.exposition())
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))])
  )
}

/** The samples of http_requests_total that are not 0. */
async function counted(app: FastifyInstance): Promise<Samples> {
  const found = Object.entries(await scrape(app))
  return Object.fromEntries(
    found
      .filter(([name, value]) => name.startsWith('http_requests_total') && value > 0)
      .map(([name, value]) => [name.slice('http_requests_total'.length), value])
  )
}

async function build(t: Test, options: FastifyServerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({
    requestTimeout: 400,
    bodyLimit: 100,
    // Node looks for late requests every 30 s by default.
    http: { headersTimeout: 300, connectionsCheckingInterval: 50 },
    frameworkErrors(error, request, reply) {
      request.server.metrics.countUnrouted(request, reply)
      reply.statusCode = error.statusCode ?? 500
      reply.send(error as never)
    },
    ...options
  })
  t.teardown(() => app.close())
  await app.register(metricsPlugin, { processMetrics: false, endpoint: null })

  app.get('/ok', async () => 'ok')
  app.post('/body', async () => 'ok')
  app.get('/throws', async () => {
    throw new Error('boom')
  })
  app.get('/refused', { onRequest: async (_request, reply) => reply.code(401).send() }, async () => 'never')
  app.get('/slow', async (request) => {
    await once(request.raw.socket, 'close')
    return 'late'
  })
  app.get('/stream-fails', async (_request, reply) => {
    const stream = new Readable({ read() {} })
    stream.push('some of it')
    setImmediate(() => setImmediate(() => stream.destroy(new Error('the source is gone'))))
    return reply.send(stream)
  })
  app.get('/endless', async (_request, reply) =>
    reply.send(
      new Readable({
        read() {
          setImmediate(() => this.push('x'.repeat(1000)))
        }
      })
    )
  )
  app.get('/hijacked', (_request, reply) => {
    reply.hijack()
    reply.raw.statusCode = 202
    reply.raw.end('mine')
  })
  app.get('/taken', (request, reply) => {
    reply.hijack()
    request.raw.socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nraw')
    request.raw.socket.destroySoon()
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  return app
}

async function open(app: FastifyInstance): Promise<Socket> {
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Sends a text and waits until the server has closed the connection. */
async function send(app: FastifyInstance, text: string): Promise<string> {
  const socket = await open(app)
  let reply = ''
  socket.on('data', (chunk) => (reply += String(chunk)))
  socket.write(text)
  await once(socket, 'close')
  return reply
}

const get = (url: string, method = 'GET'): string => `${method} ${url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
const post = (body: string, type = 'application/json', length = body.length): string =>
  `POST /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n${body}`

type Ending = [name: string, act: (app: FastifyInstance) => Promise<unknown>, expected: Samples]

const ENDINGS: Ending[] = [
  ['a reply', (app) => send(app, get('/ok')), { '{method="GET",endpoint="/ok",status="200"}': 1 }],
  ['HEAD', (app) => send(app, get('/ok', 'HEAD')), { '{method="HEAD",endpoint="/ok",status="200"}': 1 }],
  ['a thrown error', (app) => send(app, get('/throws')), { '{method="GET",endpoint="/throws",status="500"}': 1 }],
  [
    'a hook that replies',
    (app) => send(app, get('/refused')),
    { '{method="GET",endpoint="/refused",status="401"}': 1 }
  ],
  ['404', (app) => send(app, get('/nowhere')), { '{method="GET",endpoint="unmatched",status="404"}': 1 }],
  [
    'an unknown method',
    (app) => send(app, get('/ok', 'PROPFIND')),
    { '{method="OTHER",endpoint="unmatched",status="404"}': 1 }
  ],
  ['413', (app) => send(app, post('"'.padEnd(200, 'x'))), { '{method="POST",endpoint="/body",status="413"}': 1 }],
  ['415', (app) => send(app, post('a', 'image/png')), { '{method="POST",endpoint="/body",status="415"}': 1 }],
  ['a body that is no JSON', (app) => send(app, post('{"a":')), { '{method="POST",endpoint="/body",status="400"}': 1 }],
  [
    'a URL that can not be decoded',
    (app) => send(app, get('/%ff')),
    { '{method="GET",endpoint="unmatched",status="400"}': 1 }
  ],
  [
    'a body that never comes',
    (app) => send(app, post('{', 'application/json', 50)),
    { '{method="POST",endpoint="/body",status="408"}': 1 }
  ],
  [
    'a client that leaves before the reply',
    async (app) => {
      const socket = await open(app)
      socket.write(get('/slow'))
      while ((await scrape(app))['http_requests_in_flight'] !== 1) await new Promise(setImmediate)
      socket.destroy()
    },
    { '{method="GET",endpoint="/slow",status="499"}': 1 }
  ],
  [
    'a client that resets in the middle of a reply',
    async (app) => {
      const socket = await open(app)
      socket.write(get('/endless'))
      await once(socket, 'data')
      socket.resetAndDestroy()
    },
    { '{method="GET",endpoint="/endless",status="499"}': 1 }
  ],
  [
    'a stream that fails in the middle',
    (app) => send(app, get('/stream-fails')),
    { '{method="GET",endpoint="/stream-fails",status="500"}': 1 }
  ],
  ['a hijacked reply', (app) => send(app, get('/hijacked')), { '{method="GET",endpoint="/hijacked",status="202"}': 1 }],
  ['a hijacked socket', (app) => send(app, get('/taken')), { '{method="GET",endpoint="/taken",status="200"}': 1 }],
  [
    'pipelined requests',
    (app) => send(app, `GET /ok HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n${get('/ok')}`),
    { '{method="GET",endpoint="/ok",status="200"}': 2, '{method="GET",endpoint="unmatched",status="404"}': 1 }
  ]
]

for (const [name, act, expected] of ENDINGS) {
  t.test(`${name} is counted once`, async (t) => {
    const app = await build(t)
    await act(app)
    while ((await scrape(app))['http_requests_in_flight']! > 0) await new Promise(setImmediate)
    t.same(await counted(app), expected)
    const found = await scrape(app)
    const durations = Object.entries(found).filter(([sample]) =>
      sample.startsWith('http_request_duration_seconds_count')
    )
    const total = Object.values(expected).reduce((sum, n) => sum + n, 0)
    t.equal(
      durations.reduce((sum, [, n]) => sum + n, 0),
      total,
      'as many durations'
    )
    t.equal(found['http_requests_in_flight'], 0)
  })
}

t.test('what the parser refuses is counted by its code, and is no request', async (t) => {
  const app = await build(t)
  await send(app, 'NONSENSE\r\n\r\n')
  await send(app, `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)
  await send(app, 'GET / HTTP/1.1\r\nHost:')
  await send(app, 'POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n')
  const found = await scrape(app)
  t.equal(found['http_client_errors_total{code="HPE_INVALID_METHOD"}'], 1)
  t.equal(found['http_client_errors_total{code="HPE_HEADER_OVERFLOW"}'], 1)
  t.equal(found['http_client_errors_total{code="ERR_HTTP_REQUEST_TIMEOUT"}'], 1)
  t.equal(found['http_client_errors_total{code="HPE_INVALID_CHUNK_SIZE"}'], 1)
  t.same(await counted(app), { '{method="POST",endpoint="/body",status="400"}': 1 }, 'the one whose head was in order')
})

t.test('an error of the parser that has no name of its own is OTHER', async (t) => {
  const app = await build(t)
  app.server.emit('clientError', new Error('odd'), { writable: false, destroy() {} })
  t.equal((await scrape(app))['http_client_errors_total{code="OTHER"}'], 1)
})

t.test('bytes are those of the wire, on open connections and on closed ones', async (t) => {
  const app = await build(t)
  const request = get('/ok')
  const reply = await send(app, request)
  const socket = await open(app)
  socket.write('GET /ok HTTP/1.1\r\nHost: x\r\n\r\n')
  const [second] = (await once(socket, 'data')) as [Buffer]
  const found = await scrape(app)
  t.equal(found['http_request_bytes_total'], request.length + 'GET /ok HTTP/1.1\r\nHost: x\r\n\r\n'.length)
  t.equal(found['http_response_bytes_total'], reply.length + second.length)
  socket.destroy()
})

t.test(
  'connections of a second server, as listening on localhost opens one, are watched from their first request',
  async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(metricsPlugin, { processMetrics: false, endpoint: null })
    app.get('/ok', async () => 'ok')
    await app.ready()
    const second = createServer((request, response) => app.routing(request, response))
    t.teardown(() => second.close())
    second.listen(0, '127.0.0.1')
    await once(second, 'listening')

    // Both are accepted before the server is known.
    let accepted = 0
    const both = new Promise<void>((resolve) => second.on('connection', () => void (++accepted === 2 && resolve())))
    const sockets = [0, 1].map(() => connect((second.address() as AddressInfo).port, '127.0.0.1'))
    await both
    const request = 'GET /ok HTTP/1.1\r\nHost: x\r\n\r\n'
    for (const socket of sockets) {
      socket.write(request)
      await once(socket, 'data')
      socket.write('NONSENSE\r\n\r\n')
      await once(socket, 'close')
    }
    const found = await scrape(app)
    t.equal(found['http_request_bytes_total'], 2 * `${request}NONSENSE\r\n\r\n`.length)
    t.equal(found['http_client_errors_total{code="HPE_INVALID_METHOD"}'], 2)
    t.equal(found['http_requests_total{method="GET",endpoint="/ok",status="200"}'], 2)
  }
)

t.test('ten thousand random paths add no series after the first', async (t) => {
  const app = await build(t)
  await app.inject('/first-random')
  const before = Object.keys(await scrape(app)).length
  for (let i = 0; i < 10_000; i++) await app.inject(`/random-${i}`)
  t.equal(Object.keys(await scrape(app)).length, before)
  t.same(await counted(app), { '{method="GET",endpoint="unmatched",status="404"}': 10_001 })
})

t.test('a hook that replies before the route is known does not hide the route', async (t) => {
  for (const first of ['hook', 'plugin']) {
    const app = Fastify()
    t.teardown(() => app.close())
    const guard = (): unknown => app.addHook('onRequest', async (_request, reply) => reply.code(401).send())
    if (first === 'hook') guard()
    await app.register(metricsPlugin, { processMetrics: false })
    if (first === 'plugin') guard()
    app.get('/secret', async () => 'ok')
    app.get('/quiet', { config: { metrics: false } }, async () => 'ok')
    await app.inject('/secret')
    await app.inject('/quiet')
    await app.inject('/nowhere')
    const expected = {
      '{method="GET",endpoint="/secret",status="401"}': 1,
      '{method="GET",endpoint="unmatched",status="401"}': 1
    }
    t.same(await counted(app), expected, `${first} first`)
    t.equal((await scrape(app))['http_requests_in_flight'], 0, `${first} first`)
  }
})

/** Connections that no honest client has: each ends within its deadline, and others are served meanwhile. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { scrape } from '../helper.ts'
import {
  answersOf,
  isHealthy,
  isRefusal,
  listen,
  memoryHeld,
  open,
  request,
  say,
  settled,
  untilClosed
} from './client.ts'

const GET = 'GET /models HTTP/1.1\r\nHost: x\r\n\r\n'
const POST = 'POST /predict_raw HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
/** A file of more than a megabyte, which no socket buffers whole when a few are asked for. */
const FILE = 'GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n'

/** What is sent at once, and what follows at a byte a second. */
const SLOW: [name: string, first: string, bytes: string][] = [
  ['says nothing', '', ''],
  ['sends empty lines', '', '\r\n'.repeat(20)],
  ['sends its request line a byte a second', '', GET],
  ['sends its headers a byte a second', 'GET /models HTTP/1.1\r\nHost: x\r\n', 'X-Slow: 12345678901234567890'],
  ['stops in its headers', 'GET /models HTTP/1.1\r\nHost: x\r\n', ''],
  ['stops after its headers', `${POST}Content-Length: 20\r\n\r\n`, ''],
  ['sends its body a byte a second', `${POST}Content-Length: 200\r\n\r\n`, '{"features":{"a":1}}'],
  [
    'sends its chunks a byte a second',
    `${POST}Transfer-Encoding: chunked\r\n\r\n`,
    '1\r\n{\r\n1\r\n"\r\n1\r\n"\r\n1\r\n'
  ],
  ['is told to go on, and does not', `${POST}Expect: 100-continue\r\nContent-Length: 20\r\n\r\n`, ''],
  [
    'sends a body to nowhere a byte a second',
    `${POST.replace('predict_raw', 'nowhere')}Content-Length: 99\r\n\r\n`,
    '{"features":{"a":1}}'
  ]
]

t.test('who is slow is told so and cut off in time, all of them at once', async (t) => {
  const app = await listen(t)
  const started = performance.now()
  const ends = SLOW.map(async ([name, first, bytes]) => {
    const socket = await open(app)
    const reply = untilClosed(socket, 14)
    socket.write(first)
    let sent = 0
    const drip = setInterval(() => {
      if (sent < bytes.length && socket.writable) socket.write(bytes[sent++]!)
    }, 1000)
    const text = await reply
    clearInterval(drip)
    return { name, text, seconds: (performance.now() - started) / 1000 }
  })
  const second = await open(app)
  const reused = untilClosed(second, 14)
  second.write(GET)
  await once(second, 'data')
  second.write(GET.slice(0, -5))

  t.match(answersOf(await say(app, request('GET /countries'))), [{ status: 200 }], 'others are served meanwhile')
  for (const { name, text, seconds } of await Promise.all(ends)) {
    isRefusal(t, text, 408, name)
    t.ok(seconds > 8 && seconds < 13, `${name}: cut off after ${seconds.toFixed(1)} s`)
  }
  t.match(answersOf(await reused), [{ status: 200 }, { status: 408 }], 'the second request of a connection is slow')
  await settled(app)
  const found = await scrape(app)
  t.equal(found['http_requests_total{method="POST",endpoint="/predict_raw",status="408"}'], 4)
  t.equal(found['http_requests_total{method="POST",endpoint="unmatched",status="408"}'], 1)
  t.equal(found['http_client_errors_total{code="ERR_HTTP_REQUEST_TIMEOUT"}'], SLOW.length + 1)
  t.equal(found['http_client_errors_total{code="OTHER"}'], 0)
  await isHealthy(t, app)
})

t.test('who never reads a reply can not keep it for ever', async (t) => {
  const app = await listen(t)
  t.ok(app.server.timeout > 0 && app.server.timeout <= 120_000, `a reply may stand still for ${app.server.timeout} ms`)
  const accepted = once(app.server, 'connection') as Promise<[Socket]>
  const socket = await open(app)
  const [connection] = await accepted
  socket.pause()
  socket.write(FILE.repeat(20))
  while (connection.bytesWritten === 0) await new Promise(setImmediate)
  t.ok((await scrape(app))['http_requests_in_flight']! > 0)
  t.equal(connection.timeout, app.server.timeout)
  // A long wait.
  connection.setTimeout(200)
  await settled(app)
  socket.destroy()
  await isHealthy(t, app)
})

t.test('one connection can not ask for more at a time than the service can hold', async (t) => {
  const app = await listen(t)
  const socket = await open(app)
  socket.pause()
  socket.write(FILE.repeat(1000))
  let peak = 0
  for (let i = 0; i < 50; i++) {
    await new Promise(setImmediate)
    peak = Math.max(peak, (await scrape(app))['http_requests_in_flight']!)
  }
  t.ok(peak <= 250, `${peak} requests in flight for one connection, each with an open file`)
  socket.destroy()
  await isHealthy(t, app)
})

t.test('what the parser refuses never ends up within a reply', async (t) => {
  const app = await listen(t)
  const socket = await open(app)
  socket.write(FILE)
  await once(socket, 'readable')
  socket.write('NONSENSE\r\n\r\n')
  while ((await scrape(app))['http_client_errors_total{code="HPE_INVALID_METHOD"}'] === 0) {
    await new Promise(setImmediate)
  }
  const [{ status, body } = { status: 0, body: '' }] = answersOf(await untilClosed(socket))
  t.equal(status, 200)
  t.ok(body.length > 0 && !body.includes('HTTP/1.1 400'), 'the file, or its beginning, and nothing else')
  await isHealthy(t, app)
})

t.test('who is refused and does not hang up is hung up on', async (t) => {
  const app = await listen(t)
  const refused = [
    'NONSENSE\r\n\r\n',
    `${POST}Content-Length: -1\r\n\r\n`,
    `${POST}Transfer-Encoding: chunked\r\n\r\nzz`
  ]
  const connections = async (): Promise<number> =>
    new Promise((resolve, reject) => app.server.getConnections((error, n) => (error ? reject(error) : resolve(n))))
  for (const bytes of refused) {
    // It reads the end of the reply, and does not end its own side.
    const socket = await open(app, { allowHalfOpen: true })
    let reply = ''
    socket.on('data', (chunk: Buffer) => (reply += chunk.toString('latin1')))
    socket.write(bytes)
    await once(socket, 'end')
    isRefusal(t, reply, 400, JSON.stringify(bytes))
    while ((await connections()) > 0) await sleep(50)
    socket.destroy()
  }
  await isHealthy(t, app)
})

t.test('half-closed connections', async (t) => {
  const app = await listen(t)
  const sayAndEnd = async (text: string): Promise<string> => {
    const socket = await open(app)
    const reply = untilClosed(socket)
    socket.end(text)
    return reply
  }
  t.match(answersOf(await sayAndEnd(GET)), [{ status: 200 }], 'a whole request is answered')
  t.equal(answersOf(await sayAndEnd(GET.repeat(5))).length, 5, 'so are five')
  t.equal(await sayAndEnd(''), '', 'nothing is closed')
  for (const text of [
    'GET',
    GET.slice(0, -2),
    `${POST}Content-Length: 20\r\n\r\n{`,
    `${POST}Transfer-Encoding: chunked\r\n\r\n5\r\n{`
  ]) {
    isRefusal(t, await sayAndEnd(text), 400, `half a request: ${JSON.stringify(text.slice(-20))}`)
  }
  await isHealthy(t, app)
})

t.test('resets, in the middle of anything', async (t) => {
  const app = await listen(t)
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  const body = JSON.stringify({ features })
  for (const [name, bytes] of [
    ['nothing', ''],
    ['a request line', 'GET /mod'],
    ['a head', GET.slice(0, -2)],
    ['a body', `${POST}Content-Length: 1000\r\n\r\n{"features`],
    ['a chunk', `${POST}Transfer-Encoding: chunked\r\n\r\nff\r\n{`],
    ['an inference', `${POST}Content-Length: ${body.length}\r\n\r\n${body}`],
    ['a ranking', 'GET /ranking HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a scrape', 'GET /prometheus HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a file', FILE],
    ['fifty requests', GET.repeat(50)],
    ['nonsense', 'NONSENSE\r\n\r\n']
  ] as const) {
    // At once, and when something was received: of the request or of the reply.
    for (const turns of [0, 1, 5, 20]) {
      const socket = await open(app)
      socket.write(bytes)
      for (let i = 0; i < turns; i++) await new Promise(setImmediate)
      socket.resetAndDestroy()
    }
    await settled(app)
    t.match(answersOf(await say(app, request('GET /models'))), [{ status: 200 }], name)
  }
  const socket = await open(app)
  socket.write(FILE.repeat(3))
  await once(socket, 'data')
  socket.resetAndDestroy()
  await isHealthy(t, app)
})

async function closed(app: Awaited<ReturnType<typeof listen>>): Promise<void> {
  const connections = async (): Promise<number> =>
    new Promise((resolve, reject) =>
      app.server.getConnections((error, count) => (error ? reject(error) : resolve(count)))
    )
  while ((await connections()) > 0) await new Promise(setImmediate)
}

t.test('five hundred idle connections keep nobody out, and no memory', async (t) => {
  const app = await listen(t)
  async function round(): Promise<number> {
    const sockets: Socket[] = await Promise.all(Array.from({ length: 500 }, () => open(app)))
    t.match(answersOf(await say(app, request('GET /models'))), [{ status: 200 }])
    for (const socket of sockets) socket.destroy()
    await closed(app)
    return memoryHeld()
  }
  await round()
  // 25 MB of the service's own come and go from one round to the next.
  const before = Math.max(await round(), await round())
  await round()
  await round()
  const after = Math.min(await round(), await round())
  t.ok(after - before < 5_000_000, `${after - before} bytes more after 1,500 connections`)
  await isHealthy(t, app)
})

t.test('a thousand quick connections', async (t) => {
  const app = await listen(t)
  for (let batch = 0; batch < 10; batch++) {
    await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const socket = await open(app)
        if (i % 2 === 0) socket.write(GET)
        socket.destroy()
      })
    )
  }
  await closed(app)
  await isHealthy(t, app)
})

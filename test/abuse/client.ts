/** A client that sends what it likes over a real connection, and what any service must be after it. */
import { once } from 'node:events'
import { STATUS_CODES } from 'node:http'
import { type AddressInfo, type Socket, connect } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { build, scrape } from '../helper.ts'

/** An answer as it came over the wire. */
export interface Answer {
  status: number
  headers: Record<string, string>
  body: string
}

/** The whole service on a port of its own, which never sheds load: the tests share its event loop. */
export async function listen(t: Test): Promise<FastifyInstance> {
  const app = await build(t, { RATE_LIMIT_RPM: '1000000000', MAX_EVENT_LOOP_DELAY_MS: '0' })
  await app.listen({ host: '127.0.0.1', port: 0 })
  return app
}

/** A connection; errors of it are the client's own affair. With `allowHalfOpen` it does not hang up when the service does. */
export async function open(app: FastifyInstance, { allowHalfOpen = false } = {}): Promise<Socket> {
  const socket = connect({ port: (app.server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** All that comes until the service closes the connection, which it has to do within `seconds`. */
export async function untilClosed(socket: Socket, seconds = 8): Promise<string> {
  let text = ''
  const late = setTimeout(() => {
    text += '\n(the service left the connection open)'
    socket.destroy()
  }, seconds * 1000)
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  await new Promise((resolve) => socket.once('close', resolve))
  clearTimeout(late)
  return text
}

/** What comes back for some bytes on a connection of their own. */
export async function say(app: FastifyInstance, bytes: string | Uint8Array): Promise<string> {
  const socket = await open(app)
  const reply = untilClosed(socket)
  socket.write(bytes)
  return reply
}

/** The answers in what came back, without those that only say to go on. */
export function answersOf(text: string): Answer[] {
  const answers: Answer[] = []
  for (let rest = text; rest !== '';) {
    const [head = ''] = rest.split('\r\n\r\n', 1)
    const [line = '', ...lines] = head.split('\r\n')
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1])
    const headers = Object.fromEntries(
      lines.map((field) => [field.slice(0, field.indexOf(':')).toLowerCase(), field.slice(field.indexOf(':') + 2)])
    )
    const start = head.length + 4
    const end = status < 200 ? start : start + Number(headers['content-length'] ?? rest.length)
    const body = Buffer.from(rest.slice(start, end), 'latin1').toString()
    if (!(status < 200)) answers.push({ status, headers, body })
    rest = rest.slice(end)
  }
  return answers
}

/** A request that is the last of its connection. */
export function request(
  line: string,
  headers: readonly string[] = [],
  body: string | Uint8Array = '',
  host = 'Host: x\r\n'
): Buffer {
  const bytes = Buffer.from(body)
  const length = bytes.length > 0 ? `Content-Length: ${bytes.length}\r\n` : ''
  const fields = headers.map((field) => `${field}\r\n`).join('')
  return Buffer.concat([Buffer.from(`${line} HTTP/1.1\r\n${host}Connection: close\r\n${fields}${length}\r\n`), bytes])
}

function problemOf(body: string): Record<string, unknown> {
  try {
    return JSON.parse(body)
  } catch {
    return { detail: body.slice(0, 200) }
  }
}

/** One answer came, a problem with this status, small and complete, which names the field if there is one. */
export function isRefusal(t: Test, reply: string, status: number, name: string, field?: string): void {
  const answers = answersOf(reply)
  const { headers, body }: Answer = answers[0] ?? { status: 0, headers: {}, body: '' }
  const problem = problemOf(body)
  const { errors, detail } = problem as { errors?: { field: string }[]; detail?: string }
  const named = errors?.map((error) => error.field) ?? detail?.match(/\w+/g) ?? []
  t.match(
    {
      answers: answers.length,
      type: headers['content-type'],
      // The code of a failure of the service would not say what the client did.
      problem: { ...problem, code: problem['code'] === 'TF_ERR_INTERNAL' ? '' : problem['code'], errors: undefined },
      id: headers['x-request-id'],
      // A head may be 16 KiB, and is named twice: as the instance and in the detail.
      size: reply.length < 50_000 ? 'small' : reply.length,
      unnamed: field !== undefined && !named.includes(field) && `${field} is not among ${named.slice(0, 20).join()}`
    },
    {
      answers: 1,
      type: 'application/problem+json; charset=utf-8',
      problem: { type: 'about:blank', title: STATUS_CODES[status], status, detail: /./, code: /^(TF|FST)_[A-Z0-9_]+$/ },
      id: problem['request_id'] ?? /^[0-9a-f-]{36}$/,
      size: 'small',
      unnamed: false
    },
    name
  )
}

/** Resolves when no request is in flight; tap's time-out is the bound. */
export async function settled(app: FastifyInstance): Promise<void> {
  while ((await scrape(app))['http_requests_in_flight'] !== 0) await new Promise(setImmediate)
}

/** Whatever was sent: ready, nothing in flight, never a 5xx, no prototype that has grown. */
export async function isHealthy(t: Test, app: FastifyInstance): Promise<void> {
  await settled(app)
  const [ready] = answersOf(await say(app, request('GET /health/ready')))
  t.match(ready, { status: 200, body: '{"status":"ready"}' })
  await settled(app)
  const failures = Object.entries(await scrape(app)).filter(
    ([sample, value]) => /^http_requests_total\{.*status="5/.test(sample) && value > 0
  )
  t.same(failures, [], 'no 5xx')
  t.same(Object.keys(Object.prototype), [], 'no prototype was written to')
}

/** Bytes that are held after garbage was collected. */
export function memoryHeld(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

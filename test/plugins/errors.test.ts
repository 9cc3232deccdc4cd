import createError from '@fastify/error'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import errors, { clientErrorHandler } from '../../plugins/errors.ts'

async function build(t: Test): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(errors)
  return app
}

t.test('what a 5xx says depends on who says it', async (t) => {
  const app = await build(t)
  const errorsByUrl: Record<string, Error> = {
    '/plain': new Error('secret path'),
    '/coded-500': new (createError('TF_ERR_X_BROKEN', 'secret path', 500))(),
    '/coded-503': new (createError('TF_ERR_X_BUSY', 'The queue is full', 503))(),
    '/foreign-503': Object.assign(new Error('secret host'), { statusCode: 503 }),
    '/foreign-502': Object.assign(new Error('secret host'), { statusCode: 502, code: 'UND_ERR_SOCKET' }),
    '/teapot': Object.assign(new Error('I am a teapot'), { statusCode: 418 }),
    '/odd': Object.assign(new Error('secret'), { statusCode: 200 }),
    '/unnamed': Object.assign(new Error('no such status'), { statusCode: 499 })
  }
  for (const [url, error] of Object.entries(errorsByUrl)) {
    app.get(url, async () => {
      throw error
    })
  }
  const told = {
    detail: 'The service failed to answer; its log has the cause under the request id.',
    code: 'TF_ERR_INTERNAL'
  }
  for (const [url, expected] of [
    ['/plain', { status: 500, title: 'Internal Server Error', ...told }],
    ['/coded-500', { status: 500, ...told }],
    ['/coded-503', { status: 503, title: 'Service Unavailable', detail: 'The queue is full', code: 'TF_ERR_X_BUSY' }],
    ['/foreign-503', { status: 503, ...told }],
    ['/foreign-502', { status: 502, ...told }],
    ['/teapot', { status: 418, detail: 'I am a teapot', code: 'TF_ERR_CLIENT' }],
    ['/odd', { status: 500, ...told }],
    ['/unnamed', { status: 499, title: 'Error', detail: 'no such status' }]
  ] as const) {
    const reply = await app.inject(url)
    t.equal(reply.statusCode, expected.status, url)
    t.match(reply.json(), { type: 'about:blank', instance: url, request_id: String, ...expected }, url)
    t.notMatch(reply.payload, /secret/, url)
  }
})

t.test('a refusal of the service is a warning without a stack, a failure an error with one', async (t) => {
  const lines: object[] = []
  const logger = { level: 'warn', stream: { write: (line: string) => void lines.push(JSON.parse(line)) } }
  const app = Fastify({ logger })
  t.teardown(() => app.close())
  await app.register(errors)
  const coded = (status: number): Error => new (createError('TF_ERR_X', 'in its own words', status))()
  const cause = new Error('what it came from')
  const failures = [
    coded(503),
    Object.assign(coded(503), { cause }),
    coded(502),
    new Error('unexpected'),
    Object.assign(new Error('of another'), { statusCode: 503 })
  ]
  for (const [i, failure] of failures.entries()) {
    app.get(`/${i}`, async () => {
      throw failure
    })
  }
  for (const i of failures.keys()) await app.inject(`/${i}`)
  const refusal = { level: 40, msg: 'request refused', code: 'TF_ERR_X', reason: 'in its own words', err: undefined }
  t.match(lines, [
    { ...refusal, cause: undefined },
    { ...refusal, cause: 'what it came from' },
    { level: 50, msg: 'request failed', err: { code: 'TF_ERR_X', stack: /in its own words/ } },
    { level: 50, err: { stack: /unexpected/ } },
    { level: 50, err: { stack: /of another/ } }
  ])
  t.equal(lines.length, failures.length)
})

t.test('headers of an error reach the client', async (t) => {
  const app = await build(t)
  app.get('/busy', async () => {
    throw Object.assign(new Error('busy'), { statusCode: 429, headers: { 'retry-after': '7' } })
  })
  t.equal((await app.inject('/busy')).headers['retry-after'], '7')
})

t.test('a socket that is gone is destroyed, not written to', async (t) => {
  for (const [code, writable] of [
    ['ECONNRESET', true],
    ['HPE_INVALID_METHOD', false]
  ] as const) {
    const calls: string[] = []
    const socket = { writable, destroy: () => calls.push('destroy'), end: () => calls.push('end') }
    clientErrorHandler(Object.assign(new Error(code), { code }), socket as never)
    t.same(calls, ['destroy'], code)
  }
})

t.test('an error without a code is answered as a bad request', async (t) => {
  let written = ''
  const socket = { writable: true, end: (text: string) => void (written = text) }
  clientErrorHandler(new Error('odd'), socket as never)
  t.match(written, /^HTTP\/1\.1 400 Bad Request\r\n/)
})

import { type AddressInfo, type Socket, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  type BreakerState,
  type Upstream,
  type UpstreamOptions,
  UpstreamError,
  createUpstream
} from '../../sources/upstream.ts'
import { FAULTS, type Handler, type Stub, json, optionsFor, startStub } from './stub.ts'

type Options = Partial<UpstreamOptions>

async function build(t: Test, handler: Handler, options: Options = {}): Promise<{ upstream: Upstream; stub: Stub }> {
  const stub = await startStub(t, handler)
  const upstream = createUpstream({ name: 'yahoo', origin: stub.origin, random: () => 0, ...options })
  t.teardown(async () => upstream.close())
  return { upstream, stub }
}

async function failure(call: Promise<unknown>): Promise<UpstreamError> {
  const error = await call.then(
    () => new Error('it was answered'),
    (reason: unknown) => reason
  )
  if (!(error instanceof UpstreamError)) throw error
  return error
}

/** Fails so many times, then answers what was asked. */
function failing(times: number, fail: Handler): Handler {
  let asked = 0
  return (request, response, body) => {
    if (asked++ < times) fail(request, response, body)
    else json(response, { url: request.url, body: body === '' ? null : JSON.parse(body) })
  }
}

t.test('what is asked, and what is answered', async (t) => {
  const { upstream, stub } = await build(
    t,
    failing(0, () => undefined),
    { headers: { 'x-key': 'k' } }
  )
  t.same(await upstream.get('/a', { query: { q: 'x y&z', n: 1, b: true } }), {
    url: '/a?q=x+y%26z&n=1&b=true',
    body: null
  })
  t.same(await upstream.post('/b', { some: ['body'] }), { url: '/b', body: { some: ['body'] } })
  t.match(stub.requests, [
    { method: 'GET', headers: { accept: 'application/json', 'x-key': 'k' } },
    { method: 'POST', headers: { 'content-type': 'application/json', 'x-key': 'k' } }
  ])
  t.equal(upstream.name, 'yahoo')
  t.equal(upstream.state, 'closed')
})

for (const fault of FAULTS) {
  const { name, expected, handler } = fault
  // What is JSON is a matter for the source that reads it.
  if (name === 'JSON of another form') continue
  t.test(`${name} is ${expected}`, async (t) => {
    const { upstream } = await build(t, handler, { ...optionsFor(fault), retries: 0 })
    const error = await failure(upstream.get('/secret', { query: { key: 'confidential' } }))
    t.equal(error.reason, expected)
    t.match(error.message, /^yahoo: GET \/secret /)
    t.notMatch(JSON.stringify([error, error.message, error.stack]), /confidential/)
  })
}

t.test('what may be over in a moment is asked again, and nothing else', async (t) => {
  for (const [name, again] of [
    ['no answer', true],
    ['half a body', true],
    ['a connection reset', true],
    ['500', true],
    ['401', false],
    ['404', false],
    ['429', false],
    ['broken JSON', false],
    ['302', false]
  ] as const) {
    const fault = FAULTS.find((one) => one.name === name)!
    let retried = 0
    const { attemptTimeout } = optionsFor(fault)
    const options = { attemptTimeout, deadline: 60_000, onRetry: () => retried++ }
    const { upstream, stub } = await build(t, failing(1, fault.handler), options)
    if (again) t.match(await upstream.get('/x'), { url: '/x' }, name)
    else await failure(upstream.get('/x'))
    t.equal(stub.requests.length, again ? 2 : 1, name)
    t.equal(retried, again ? 1 : 0, name)
  }
})

t.test('it gives up after its retries, and says what the last attempt said', async (t) => {
  const { upstream, stub } = await build(t, (_request, response) => json(response, { message: 'no' }, 503), {
    retries: 2
  })
  const error = await failure(upstream.get('/x'))
  t.match(error, { reason: 'upstream_error', status: 503, body: { message: 'no' }, retryAfter: undefined })
  t.equal(stub.requests.length, 3)
})

t.test('Retry-After is kept to, in seconds and as a date, and is not waited for beyond the deadline', async (t) => {
  const limited = (after: string): Handler =>
    failing(1, (_request, response) => json(response, {}, 429, { 'retry-after': after }))
  const soon = await build(t, limited('0'))
  t.match(await soon.upstream.get('/x'), { url: '/x' })
  const past = await build(t, limited('Wed, 21 Oct 2015 07:28:00 GMT'))
  t.match(await past.upstream.get('/x'), { url: '/x' })
  const late = await build(t, limited('60'))
  t.match(await failure(late.upstream.get('/x')), { reason: 'rate_limited', status: 429, retryAfter: 60 })
  t.equal(late.stub.requests.length, 1)
  for (const odd of ['soon', '1.5', '-5', '2001 GMT+x', 'no GMT']) {
    const { upstream, stub } = await build(t, limited(odd))
    t.match(await failure(upstream.get('/x')), { reason: 'rate_limited', retryAfter: undefined }, odd)
    t.equal(stub.requests.length, 1, 'which is no leave to ask again at once')
  }
  const tight = await build(t, limited('1'), { deadline: 900 })
  await failure(tight.upstream.get('/x'))
  t.equal(tight.stub.requests.length, 1, 'nor to ask earlier, to be in time')
})

t.test('a POST is sent again only if its sender says so', async (t) => {
  const broken: Handler = (_request, response) => json(response, {}, 500)
  const once = await build(t, failing(1, broken))
  await failure(once.upstream.post('/x', {}))
  t.equal(once.stub.requests.length, 1)
  const twice = await build(t, failing(1, broken))
  t.match(await twice.upstream.post('/x', { n: 1 }, { retryable: ({ status }) => status === 500 }), { body: { n: 1 } })
  t.equal(twice.stub.requests.length, 2)
})

t.test('after failures in a row the circuit opens, tries one call after a while, and closes', async (t) => {
  let broken = true
  const states: BreakerState[] = []
  const { upstream, stub } = await build(t, (_request, response) => json(response, {}, broken ? 500 : 200), {
    retries: 0,
    failures: 3,
    openFor: 500,
    onState: (state) => states.push(state)
  })
  for (let i = 0; i < 3; i++) t.equal((await failure(upstream.get('/x'))).reason, 'upstream_error')
  t.equal(upstream.state, 'open')
  t.match(await failure(upstream.get('/x')), { reason: 'circuit_open', retryAfter: 1, status: undefined })
  t.equal(stub.requests.length, 3, 'and it is left alone')
  await sleep(600)
  t.equal((await failure(upstream.get('/x'))).reason, 'upstream_error', 'one is tried')
  t.equal((await failure(upstream.get('/x'))).reason, 'circuit_open')
  broken = false
  await sleep(600)
  t.same(await upstream.get('/x'), {})
  t.equal(upstream.state, 'closed')
  t.same(states, ['open', 'half_open', 'open', 'half_open', 'closed'])
})

t.test('an answer, even a refusal, is a sign of life: only what is down opens the circuit', async (t) => {
  let asked = 0
  const { upstream } = await build(t, (_request, response) => json(response, {}, asked++ % 3 === 2 ? 404 : 500), {
    retries: 0,
    failures: 3
  })
  for (let i = 0; i < 12; i++) await failure(upstream.get('/x'))
  t.equal(upstream.state, 'closed')
})

t.test('connections are bounded and used again; what is too much is refused', async (t) => {
  let most = 0
  let now = 0
  const slow: Handler = async (_request, response) => {
    most = Math.max(most, ++now)
    await sleep(5)
    now--
    json(response, {})
  }
  const { upstream, stub } = await build(t, slow, { concurrency: 3, maxPending: 30 })
  const calls = Array.from({ length: 31 }, async () => upstream.get('/x'))
  t.match(await failure(calls.pop()!), { reason: 'rate_limited', retryAfter: 1, status: undefined })
  await Promise.all(calls)
  t.equal(most, 3)
  t.equal(stub.connections(), 3)
})

t.test('the wait for a connection is part of the deadline, and what is given up leaves nothing behind', async (t) => {
  const { upstream, stub } = await build(t, () => undefined, { concurrency: 2, retries: 0, failures: 1000 })
  const calls = Array.from({ length: 100 }, async () =>
    failure(upstream.get('/x', { deadline: 100, attemptTimeout: 100 }))
  )
  t.same(new Set((await Promise.all(calls)).map(({ reason }) => reason)), new Set(['timeout']))
  while (stub.open() > 2) await sleep(5)
  t.ok(stub.requests.length <= 100)
  await upstream.close()
  while (stub.open() > 0) await sleep(5)
  t.pass('no connection is left')
})

t.test('closing ends what is under way', async (t) => {
  const { upstream } = await build(t, () => undefined, { retries: 0 })
  const call = failure(upstream.get('/x'))
  await sleep(20)
  await upstream.close()
  t.equal((await call).reason, 'network')
})

t.test('what a circuit was opened for is told by the calls that opened it', async (t) => {
  const { upstream, stub } = await build(t, (_request, response) => json(response, {}, 503), { failures: 2 })
  t.match(await failure(upstream.get('/x')), { reason: 'upstream_error', status: 503 })
  t.equal(stub.requests.length, 2, 'the third attempt was not made')
  t.equal((await failure(upstream.get('/x'))).reason, 'circuit_open')
  t.match(await failure(upstream.get('/x')), { reason: 'circuit_open' }, 'and every further one is refused at once')
})

t.test('a call that waits for its turn is not late for it', async (t) => {
  const slow: Handler = (_request, response) => void setTimeout(() => json(response, {}), 60)
  const { upstream } = await build(t, slow, { concurrency: 2, attemptTimeout: 600, deadline: 20_000, retries: 0 })
  const calls = Array.from({ length: 30 }, async () => upstream.get('/x'))
  t.same(new Set((await Promise.all(calls)).map((answer) => JSON.stringify(answer))), new Set(['{}']))
})

t.test('a deadline holds while a connection is not made', async (t) => {
  // It accepts, and never ends the handshake of TLS.
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
  await new Promise((resolve) => void server.once('listening', resolve))
  const origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const upstream = createUpstream({ name: 'yahoo', origin, retries: 0, concurrency: 2, deadline: 150, failures: 100 })
  t.teardown(async () => {
    await upstream.close()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const started = performance.now()
  const errors = await Promise.all(Array.from({ length: 6 }, async () => failure(upstream.get('/x'))))
  t.same(new Set(errors.map(({ reason }) => reason)), new Set(['timeout']))
  t.ok(performance.now() - started < 5000)
})

t.test('a body that comes drop by drop is cut at the end of its attempt', async (t) => {
  const drops: Handler = (_request, response) => {
    response.writeHead(200)
    const timer = setInterval(() => response.write(' '), 10)
    response.once('close', () => clearInterval(timer))
  }
  const { upstream } = await build(t, failing(1, drops), { attemptTimeout: 80, deadline: 2000 })
  t.match(await upstream.get('/x'), { url: '/x' }, 'and asked for again')
})

t.test('calls that run out of time in the queue do not open the circuit', async (t) => {
  const steady: Handler = (_request, response) => void setTimeout(() => json(response, {}), 60)
  const { upstream } = await build(t, steady, { concurrency: 2, retries: 0, deadline: 700, failures: 2 })
  const calls = await Promise.allSettled(Array.from({ length: 60 }, async () => upstream.get('/x')))
  t.ok(calls.some(({ status }) => status === 'fulfilled'))
  t.ok(calls.filter(({ status }) => status === 'rejected').length > 20)
  t.equal(upstream.state, 'closed')
  t.same(await upstream.get('/x'), {})
})

t.test('while one call is tried the others wait for it within their own deadlines, and it alone decides', async (t) => {
  let broken = true
  const { upstream } = await build(
    t,
    (_request, response) => void setTimeout(() => json(response, {}, broken ? 500 : 200), broken ? 0 : 600),
    { retries: 0, failures: 1, openFor: 30 }
  )
  await failure(upstream.get('/x'))
  broken = false
  await sleep(50)
  const trial = upstream.get('/x')
  const patient = upstream.get('/x')
  t.equal(upstream.state, 'half_open')
  let tried = false
  void trial.then(() => (tried = true))
  t.equal((await failure(upstream.get('/x', { deadline: 40 }))).reason, 'timeout')
  t.notOk(tried, 'its own deadline, not the end of the trial')
  t.same(await Promise.all([trial, patient]), [{}, {}])
  t.equal(upstream.state, 'closed')
})

t.test('closing ends pauses too', async (t) => {
  let retried = 0
  const { upstream } = await build(t, (_request, response) => json(response, {}, 503, { 'retry-after': '5' }), {
    onRetry: () => retried++
  })
  const call = failure(upstream.get('/x'))
  await sleep(30)
  const started = performance.now()
  await upstream.close()
  t.match(await call, { reason: 'network', message: 'yahoo: the connections are closed' })
  t.ok(performance.now() - started < 500)
  t.equal(retried, 0)
})

t.test('a broken upstream is broken however long it says so', async (t) => {
  const { upstream } = await build(t, (_request, response) => json(response, 'x'.repeat(2000), 500), {
    maxBytes: 1000,
    retries: 0,
    failures: 2
  })
  for (let i = 0; i < 2; i++) t.match(await failure(upstream.get('/x')), { reason: 'upstream_error', status: 500 })
  t.equal(upstream.state, 'open')
})

t.test('what has no room when it is to be sent again tells why it was to be', async (t) => {
  const refused = Promise.withResolvers<void>()
  let asked = 0
  const { upstream } = await build(
    t,
    (_request, response) => {
      if (asked++ > 0) setTimeout(() => json(response, {}), 2000)
      else json(response.once('finish', refused.resolve), {}, 503, { 'retry-after': '1' })
    },
    { concurrency: 1, maxPending: 0, attemptTimeout: 20_000, deadline: 60_000 }
  )
  const first = failure(upstream.get('/first'))
  await refused.promise
  // It has its answer by now, and waits for its second.
  await sleep(300)
  const second = upstream.get('/second')
  t.match(await first, { reason: 'upstream_error', status: 503 })
  t.same(await second, {})
})

t.test('what waits for its turn when the circuit opens is not sent any more', async (t) => {
  const { upstream, stub } = await build(
    t,
    (_request, response) => void setTimeout(() => json(response, {}, 500), 20),
    {
      concurrency: 2,
      failures: 2,
      retries: 0
    }
  )
  const errors = await Promise.all(Array.from({ length: 20 }, async () => failure(upstream.get('/x'))))
  t.equal(errors.filter(({ reason }) => reason === 'circuit_open').length, 20 - stub.requests.length)
  t.ok(stub.requests.length <= 4)
})

t.test('an attempt beyond the quota is refused, and says nothing of the upstream', async (t) => {
  let wait = 0
  const { upstream, stub } = await build(t, (_request, response) => json(response, {}, 500), {
    retries: 0,
    failures: 1,
    openFor: 30,
    quota: { take: () => wait }
  })
  await failure(upstream.get('/x'))
  t.equal(upstream.state, 'open')
  await sleep(50)
  wait = 42
  t.match(await failure(upstream.get('/x')), {
    reason: 'rate_limited',
    status: undefined,
    retryAfter: 42,
    message: 'yahoo: GET /x: the quota is used up'
  })
  t.equal(upstream.state, 'open', 'the circuit waits for an answer')
  t.equal(stub.requests.length, 1)
})

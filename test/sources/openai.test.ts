import t, { type Test } from 'tap'
import { type AnalystSource, messagesFor } from '../../domain/analysis.ts'
import { openaiSource } from '../../sources/openai.ts'
import { type Upstream, createUpstream } from '../../sources/upstream.ts'
import { FAULTS, type Handler, type Stub, TOO_LARGE, json, startStub } from './stub.ts'

const ANSWER = { summary: 'One leads.', picks: [{ ticker: 'AAPL', reason: 'It leads.' }], risks: ['All may change.'] }
const MESSAGES = messagesFor([{ ticker: 'AAPL', prob: 0.6 }], undefined)

/** A completion in OpenAI's form; `choice` replaces parts of the only choice, `usage` undefined leaves it out. */
function completion(
  choice: object = {},
  usage: object | null | undefined = { prompt_tokens: 200, completion_tokens: 100, total_tokens: 300 }
): object {
  const message = { role: 'assistant', content: JSON.stringify(ANSWER), refusal: null }
  return {
    id: 'chatcmpl-invented',
    object: 'chat.completion',
    choices: [{ index: 0, message, finish_reason: 'stop', ...choice }],
    usage
  }
}
const saying = (content: unknown, more: object = {}): object =>
  completion({ message: { role: 'assistant', content, ...more } })
const error = (code: string | null, message: string, param: string | null = null): object => ({
  error: { message, type: 'invalid_request_error', param, code }
})

async function build(
  t: Test,
  handler: Handler,
  {
    timeout = 5000,
    origin,
    ...options
  }: { timeout?: number; origin?: string | undefined; maxBytes?: number; failures?: number } = {}
): Promise<{ source: AnalystSource; stub: Stub; retries: () => number; sent: () => Record<string, unknown>[] }> {
  const stub = await startStub(t, handler)
  let retries = 0
  const upstream = createUpstream({
    name: 'openai',
    origin: origin ?? stub.origin,
    random: () => 0,
    onRetry: () => retries++,
    ...options
  })
  t.teardown(async () => upstream.close())
  const source = openaiSource({ upstream, baseUrl: `${stub.origin}/v1/`, model: 'tiny', timeout })
  const sent = (): Record<string, unknown>[] => stub.requests.map(({ body }) => JSON.parse(body))
  return { source, stub, retries: () => retries, sent }
}

t.test('a request has the model, the messages, the form of the answer, and bounds', async (t) => {
  const { source, stub, sent } = await build(t, (_request, response) => json(response, completion()))
  t.same(await source.complete(MESSAGES), {
    ok: true,
    answer: ANSWER,
    tokens: { prompt: 200, completion: 100, total: 300 }
  })
  t.match(stub.requests, [{ method: 'POST', url: '/v1/chat/completions' }])
  const [request] = sent()
  t.match(request, {
    model: 'tiny',
    messages: MESSAGES,
    max_tokens: 1000,
    temperature: 0.2,
    response_format: {
      type: 'json_schema',
      json_schema: {
        name: 'analysis',
        strict: true,
        schema: { additionalProperties: false, required: ['summary', 'picks', 'risks'] }
      }
    }
  })
  t.notOk('max_completion_tokens' in request!)
})

t.test('usage by either name, and none that is made up', async (t) => {
  for (const [usage, tokens] of [
    [
      { prompt_tokens: 2, completion_tokens: 3 },
      { prompt: 2, completion: 3, total: 5 }
    ],
    [
      { input_tokens: 2, output_tokens: 3, total_tokens: 9 },
      { prompt: 2, completion: 3, total: 9 }
    ],
    [
      { prompt_tokens: 0, completion_tokens: 0 },
      { prompt: 0, completion: 0, total: 0 }
    ],
    [{ prompt_tokens: 2 }, null],
    [{ prompt_tokens: '2', completion_tokens: 3 }, null],
    [{ prompt_tokens: -2, completion_tokens: 3 }, null],
    [{ prompt_tokens: 2.5, completion_tokens: 3 }, null],
    [{ total_tokens: 5 }, null],
    [null, null],
    [undefined, null]
  ] as const) {
    const body = { ...completion(), usage }
    const { source } = await build(t, (_request, response) => json(response, body))
    t.match(await source.complete(MESSAGES), { ok: true, tokens }, JSON.stringify(usage))
  }
})

t.test('an answer may have thoughts before it, a fence around it, and more fields than asked for', async (t) => {
  const text = JSON.stringify({ ...ANSWER, mood: 'good' })
  for (const content of [text, `\`\`\`json\n${text}\n\`\`\``, `<think>{"summary": 1}</think>\nHere it is: ${text}`]) {
    const { source } = await build(t, (_request, response) => json(response, saying(content)))
    t.match(await source.complete(MESSAGES), { ok: true, answer: ANSWER }, content)
  }
})

t.test('answers of no use say why, and what they cost', async (t) => {
  for (const [body, fault] of [
    [saying(null, { refusal: "I can't help with that." }), 'refused'],
    [completion({ finish_reason: 'content_filter' }), 'refused'],
    [completion({ finish_reason: 'length', message: { content: '{"summary": "One' } }), 'truncated'],
    [saying(''), 'empty'],
    [saying(null), 'empty'],
    [saying([{ type: 'text', text: 'x' }]), 'empty'],
    [{ ...completion(), choices: [] }, 'empty'],
    [{ ...completion(), choices: [null] }, 'empty'],
    [{ ...completion(), choices: [{ message: null }] }, 'empty'],
    [{ ...completion(), choices: 'none' }, 'empty'],
    [saying('AAPL leads.'), 'malformed'],
    [saying('{"summary": "One'), 'malformed'],
    [saying('{"summary": "One", "picks": [], "risks": [5]}'), 'malformed'],
    [saying('{"summary": " ", "picks": [], "risks": []}'), 'malformed'],
    [saying('{"summary": "One"}'), 'malformed']
  ] as const) {
    const { source, stub } = await build(t, (_request, response) => json(response, body))
    const found = await source.complete(MESSAGES)
    t.match(found, { ok: false, error: 'schema', fault, tokens: { total: 300 } }, JSON.stringify(body))
    t.equal(stub.requests.length, 1, 'and are not asked for again')
  }
  const { source } = await build(t, (_request, response) => json(response, null))
  t.match(await source.complete(MESSAGES), { ok: false, error: 'schema', fault: 'empty', tokens: null })
})

t.test('a reasoning model is asked in its own terms from then on', async (t) => {
  const { source, sent } = await build(t, (_request, response, body) => {
    const { max_tokens: tokens, temperature } = JSON.parse(body) as Record<string, unknown>
    if (tokens !== undefined) {
      const text =
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
      json(response, error('unsupported_parameter', text, 'max_tokens'), 400)
    } else if (temperature === undefined) json(response, completion())
    else json(response, error('unsupported_value', 'temperature', 'temperature'), 400)
  })
  for (let i = 0; i < 2; i++) t.match(await source.complete(MESSAGES), { ok: true })
  const requests = sent()
  t.equal(requests.length, 3, 'one refusal, remembered')
  for (const request of requests.slice(1)) {
    t.equal(request['max_completion_tokens'], 8000)
    t.notOk('max_tokens' in request || 'temperature' in request)
  }
})

t.test('a server that knows no json_schema, or no format at all, gets what it knows from then on', async (t) => {
  const refusals = {
    json_object: error(null, "'response_format.type' must be json_object or text", 'response_format'),
    text: { detail: [{ loc: ['body'], msg: 'Extra inputs are not permitted' }] }
  }
  for (const [known, refusal] of Object.entries(refusals)) {
    const { source, sent } = await build(t, (_request, response, body) => {
      const { response_format: format = { type: 'text' } } = JSON.parse(body) as { response_format?: { type: string } }
      if (format.type === known) json(response, completion())
      else json(response, refusal, known === 'text' ? 422 : 400)
    })
    for (let i = 0; i < 2; i++) t.match(await source.complete(MESSAGES), { ok: true }, known)
    const formats = sent().map(
      ({ response_format: format }) => (format as { type: string } | undefined)?.type ?? 'text'
    )
    t.same(
      formats,
      known === 'text' ? ['json_schema', 'json_object', 'text', 'text'] : ['json_schema', 'json_object', 'json_object']
    )
  }
})

t.test('other refusals are not adapted to, and what did not help is not remembered', async (t) => {
  const wrong = error('context_length_exceeded', 'too long', 'messages')
  const first = await build(t, (_request, response) => json(response, wrong, 400))
  t.match(await first.source.complete(MESSAGES), {
    ok: false,
    error: 'upstream_error',
    cause: /answered 400 \(context_length_exceeded\)/
  })
  t.equal(first.stub.requests.length, 1)

  let refuse = true
  const second = await build(t, (_request, response) =>
    refuse ? json(response, 'no', 400) : json(response, completion())
  )
  t.match(await second.source.complete(MESSAGES), { ok: false })
  refuse = false
  t.match(await second.source.complete(MESSAGES), { ok: true })
  t.match(second.sent().at(-1), { response_format: { type: 'json_schema' } })
  // A refusal without a body, and one that goes on about what is no longer sent.
  const third = await build(t, (_request, response) => response.writeHead(400).end())
  t.match(await third.source.complete(MESSAGES), { ok: false })
  t.equal(third.stub.requests.length, 3)
  const fourth = await build(t, (_request, response) => json(response, error('x', 'max_tokens', 'max_tokens'), 400))
  t.match(await fourth.source.complete(MESSAGES), { ok: false })
  t.equal(fourth.stub.requests.length, 2)
})

t.test('a limit that says when it ends is waited for; a quota that is used up is not', async (t) => {
  let asked = 0
  const limited = await build(t, (_request, response) => {
    if (asked++ > 0) json(response, completion())
    else json(response, error('rate_limit_exceeded', 'slow down'), 429, { 'retry-after': '0' })
  })
  t.match(await limited.source.complete(MESSAGES), { ok: true })
  t.equal(limited.retries(), 1)

  const long = await build(t, (_request, response) =>
    json(response, error('rate_limit_exceeded', 'x'), 429, { 'retry-after': '17' })
  )
  t.match(await long.source.complete(MESSAGES), { ok: false, error: 'rate_limited', retryAfter: 17 })
  t.equal(long.retries(), 0, 'longer than there is time')

  const quota = await build(t, (_request, response) =>
    json(response, error('insufficient_quota', 'pay'), 429, { 'retry-after': '0' })
  )
  const found = await quota.source.complete(MESSAGES)
  t.match(found, { ok: false, error: 'upstream_error', retryAfter: undefined, cause: /429 \(insufficient_quota\)/ })
  t.equal(quota.stub.requests.length, 1)
})

t.test('a failure is tried again once', async (t) => {
  const broken = await build(t, (_request, response) => json(response, {}, 500))
  t.match(await broken.source.complete(MESSAGES), { ok: false, error: 'upstream_error' })
  t.equal(broken.stub.requests.length, 2)
  let asked = 0
  const reset = await build(t, (request, response) => {
    if (asked++ === 0) request.socket.resetAndDestroy()
    else json(response, completion())
  })
  t.match(await reset.source.complete(MESSAGES), { ok: true })
  const silent = await build(t, () => undefined, { timeout: 150 })
  t.match(await silent.source.complete(MESSAGES), { ok: false, error: 'timeout' })
  t.equal(silent.stub.requests.length, 1)
})

t.test('nothing that the server says is passed on; who reads the log is told where to look', async (t) => {
  for (const [status, hint] of [
    [401, /answered 401 \(invalid_api_key\): see OPENAI_API_KEY$/],
    [403, /answered 403 \(invalid_api_key\): see OPENAI_API_KEY$/],
    [404, /answered 404 \(invalid_api_key\): see OPENAI_MODEL and OPENAI_BASE_URL$/]
  ] as const) {
    const { source } = await build(t, (_request, response) =>
      json(response, error('invalid_api_key', 'your key sk-secret'), status)
    )
    const found = await source.complete(MESSAGES)
    t.match(found, { ok: false, tokens: null, cause: { message: hint, status, body: undefined } })
  }
  const { source } = await build(t, (_request, response) => json(response, error('sk-secret', 'x'), 401))
  t.match(await source.complete(MESSAGES), {
    cause: /^UpstreamError: openai: POST \/v1\/chat\/completions answered 401: see/
  })
})

t.test('it is not available while its circuit is open', async (t) => {
  const { source, stub } = await build(t, (_request, response) => json(response, {}, 500), { failures: 2 })
  t.ok(source.available)
  await source.complete(MESSAGES)
  t.notOk(source.available)
  t.match(await source.complete(MESSAGES), { ok: false, error: 'circuit_open', retryAfter: Number })
  t.equal(stub.requests.length, 2)
})

t.test('an error that is none of the upstream is a fault of the code, and thrown', async (t) => {
  const upstream = {
    post: async () => {
      throw new TypeError('a bug')
    }
  } as unknown as Upstream
  const source = openaiSource({ upstream, baseUrl: 'http://localhost/v1', model: 'tiny', timeout: 100 })
  await t.rejects(source.complete(MESSAGES), { message: 'a bug' })
})

/** Milliseconds: `long` is shorter than what a fault asks us to wait for (Retry-After), which no fault of the resolver does. */
const PATIENCE = { short: 500, long: 5000, resolver: 30_000 }
for (const { name, expected, handler, origin } of FAULTS) {
  t.test(`${name}: ${expected}`, async (t) => {
    const timeout = expected === 'timeout' ? PATIENCE.short : origin === undefined ? PATIENCE.long : PATIENCE.resolver
    const { source } = await build(t, handler, { origin, timeout, maxBytes: TOO_LARGE - 1 })
    t.match(await source.complete(MESSAGES), { ok: false, error: expected, tokens: null })
  })
}

/**
 * The Open Inference Protocol v2 as its specification has it (kserve/open-inference-protocol, specification/protocol:
 * inference_rest.md and open_inference_rest.yaml), with requests of its examples, and of those in Triton's and KServe's
 * documentation, in the shape of the tiny model: two features, one row each.
 */
import { array, assert, asyncProperty, float, tuple } from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import modelPlugin, { type ModelOptions } from '../index.ts'
import { build, fakeSession, repositoryOf } from './helper.ts'

const inferenceProtocol = { name: 'tiny server', version: '1.2.3' }
const JSON_TYPE = { 'content-type': 'application/json' }
const TEXT = 'application/json; charset=utf-8'

const serve = async (t: Test, options: Partial<ModelOptions> = {}): Promise<FastifyInstance> =>
  build(t, { inferenceProtocol, openSession: async () => fakeSession(), ...options })

interface Reply {
  status: number
  body: Record<string, unknown>
  headers: Record<string, unknown>
}

async function get(app: FastifyInstance, url: string): Promise<Reply> {
  const { statusCode: status, headers, payload } = await app.inject(url)
  return { status, headers, body: JSON.parse(payload) }
}

async function infer(
  app: FastifyInstance,
  payload: object | string,
  path = 'tiny',
  headers: Record<string, string> = JSON_TYPE
): Promise<Reply> {
  const reply = await app.inject({ method: 'POST', url: `/v2/models/${path}/infer`, headers, payload })
  return { status: reply.statusCode, headers: reply.headers, body: reply.json() }
}

/** The specification's request example, with the tensor of the tiny model; `change` replaces fields of the input. */
const request = (change: object = {}, more: object = {}): object => ({
  id: '42',
  inputs: [{ name: 'features', shape: [2, 2], datatype: 'FP32', data: [1, 2, 3, 4], ...change }],
  ...more
})
const margin = { name: 'margin', datatype: 'FP32', shape: [2, 1], data: [-2.5, -4.5] }
const probability = {
  name: 'probability',
  datatype: 'FP32',
  shape: [2, 1],
  data: [-2.5, -4.5].map((m) => Math.fround(1 / (1 + Math.exp(-m))))
}
const answer = { model_name: 'tiny', model_version: '1', id: '42', outputs: [probability, margin] }

t.test('without the option there are no routes', async (t) => {
  const app = await build(t, { openSession: async () => fakeSession() })
  for (const url of ['/v2', '/v2/health/live', '/v2/models/tiny']) t.equal((await get(app, url)).status, 404)
  await t.rejects(build(t, { inferenceProtocol: { name: '', version: '1' } }), { code: 'TF_ERR_MODEL_OPTIONS' })
})

t.test('server and models describe themselves', async (t) => {
  const app = await serve(t)
  const server = { name: 'tiny server', version: '1.2.3', extensions: [] }
  const metadata = {
    name: 'tiny',
    versions: ['1'],
    platform: 'onnx_onnxv1',
    inputs: [{ name: 'features', datatype: 'FP32', shape: [-1, 2] }],
    outputs: [
      { name: 'probability', datatype: 'FP32', shape: [-1, 1] },
      { name: 'margin', datatype: 'FP32', shape: [-1, 1] }
    ]
  }
  for (const [url, body] of [
    ['/v2', server],
    ['/v2/', server],
    ['/v2/health/live', { live: true }],
    ['/v2/health/ready', { live: true, ready: true }],
    ['/v2/models/tiny', metadata],
    ['/v2/models/tiny/versions/1', metadata],
    ['/v2/models/tiny/ready', { name: 'tiny', ready: true }],
    ['/v2/models/tiny/versions/1/ready', { name: 'tiny', ready: true }]
  ] as const) {
    const reply = await get(app, url)
    t.strictSame([reply.status, reply.body], [200, body], url)
    t.equal(reply.headers['content-type'], TEXT)
  }
  const controlled = await serve(t, { token: 'open sesame, my friend' })
  t.strictSame((await get(controlled, '/v2')).body['extensions'], ['model_repository'])
})

t.test('inference: what a request may look like', async (t) => {
  const app = await serve(t)
  const only = { ...answer, outputs: [margin] }
  const { id: _, ...anonymous } = answer
  for (const [name, body, expected] of [
    ['flat', request(), answer],
    [
      'nested',
      request({
        data: [
          [1, 2],
          [3, 4]
        ]
      }),
      answer
    ],
    ['without an id', { ...request(), id: undefined }, anonymous],
    ['an empty id', { ...request(), id: '' }, { ...answer, id: '' }],
    ['an id of any text', { ...request(), id: 'é"\\\u0000' }, { ...answer, id: 'é"\\\u0000' }],
    ['one output', request({}, { outputs: [{ name: 'margin' }] }), only],
    [
      'outputs in another order',
      request({}, { outputs: [{ name: 'margin' }, { name: 'probability' }] }),
      { ...answer, outputs: [margin, probability] }
    ],
    ['no outputs are all', request({}, { outputs: [] }), answer],
    [
      'one row',
      request({ shape: [1, 2], data: [[1, 2]] }, { outputs: [{ name: 'margin' }] }),
      { ...answer, outputs: [{ ...margin, shape: [1, 1], data: [-2.5] }] }
    ],
    // Triton's documents: request parameters of its schedulers, of which there are none here.
    [
      'parameters',
      request({ parameters: {} }, { parameters: { sequence_id: 1, sequence_start: true, priority: 1, timeout: 5 } }),
      answer
    ],
    [
      'parameters of an output',
      request({}, { outputs: [{ name: 'margin', parameters: { binary_data: false } }] }),
      only
    ],
    // What Triton's Python client asks for when nothing is said of outputs; it reads JSON as well.
    ['binary outputs', request({}, { parameters: { binary_data_output: true } }), answer],
    ['the model by name', { ...request(), model_name: 'tiny' }, answer]
  ] as const) {
    const reply = await infer(app, body)
    t.strictSame([reply.status, reply.body], [200, expected], name)
    t.equal(reply.headers['content-type'], TEXT)
  }
  t.strictSame((await infer(app, request(), 'tiny/versions/1')).body, answer)
  // As Triton's Python client sends JSON: without a content type.
  t.strictSame((await infer(app, JSON.stringify(request()), 'tiny', {})).body, answer)
  t.strictSame(
    (await infer(app, JSON.stringify(request()), 'tiny', { 'content-type': 'Application/JSON ; charset=utf-8' })).body,
    answer
  )
})

const outputs = (...names: unknown[]): object => request({}, { outputs: names.map((name) => ({ name })) })

t.test('inference: what is wrong is named by its place', async (t) => {
  const app = await serve(t, { maxRequestRows: 3 })
  for (const [body, error] of [
    ['null', 'the body must be an object'],
    ['[]', 'the body must be an object'],
    ['"inputs"', 'the body must be an object'],
    [{}, 'inputs is missing'],
    [{ inputs: {} }, 'inputs must be an array'],
    [{ inputs: [] }, 'inputs must hold the one input of this model, features'],
    [{ inputs: [{}, {}] }, 'inputs must hold the one input of this model, features'],
    [{ inputs: [null] }, 'inputs/0 must be an object'],
    [request({}, { id: 42 }), 'id must be a string'],
    [request({}, { id: null }), 'id must be a string'],
    [request({}, { parameters: [] }), 'parameters must be an object'],
    [request({ parameters: null }), 'inputs/0/parameters must be an object'],
    [request({ name: 'Features' }), 'inputs/0/name is no input of this model, there is features'],
    [request({ name: undefined }), 'inputs/0/name is no input of this model, there is features'],
    // The specification's own example has this one.
    [request({ datatype: 'UINT32' }), 'inputs/0/datatype must be FP32'],
    [request({ datatype: 'FP64' }), 'inputs/0/datatype must be FP32'],
    [request({ datatype: 'fp32' }), 'inputs/0/datatype must be FP32'],
    [request({ datatype: undefined }), 'inputs/0/datatype must be FP32'],
    [request({ shape: undefined }), 'inputs/0/shape is missing'],
    [request({ shape: '2,2' }), 'inputs/0/shape must be an array'],
    ...[[4], [2, 3], [2, 2, 1], ['2', 2], [2, '2'], [-1, 2], [0, 2], [1.5, 2], [null, 2], [2 ** 53, 2]].map(
      (shape) => [request({ shape }), 'inputs/0/shape must be [N,2], N being 1 or more'] as const
    ),
    [request({ shape: [4, 2], data: Array(8).fill(1) }), 'inputs/0/shape has more rows than a request may have, 3'],
    [request({ data: undefined }), 'inputs/0/data is missing'],
    [request({ data: '1,2,3,4' }), 'inputs/0/data must be an array'],
    [request({ data: [1, 2, 3] }), 'inputs/0/data has 3 elements, the shape 4'],
    [request({ data: [] }), 'inputs/0/data has 0 elements, the shape 4'],
    [request({ data: [[1, 2]] }), 'inputs/0/data has 1 rows, the shape 2'],
    [request({ data: [[1, 2], [3]] }), 'inputs/0/data/1 has 1 elements, the shape 2'],
    [request({ data: [[1, 2], 3] }), 'inputs/0/data/1 must be an array'],
    [request({ data: [1, 2, 3, [4]] }), 'inputs/0/data/3 (b) must be a finite number (float32)'],
    [
      request({
        data: [
          [1, 2],
          [[3], 4]
        ]
      }),
      'inputs/0/data/1/0 (a) must be a finite number (float32)'
    ],
    ...['4', true, null, {}, 1e39].map(
      (wrong) => [request({ data: [1, 2, 3, wrong] }), 'inputs/0/data/3 (b) must be a finite number (float32)'] as const
    ),
    [JSON.stringify(request()).replace('[1,', '[-1e999,'), 'inputs/0/data/0 (a) must be a finite number (float32)'],
    [request({}, { outputs: {} }), 'outputs must be an array'],
    [request({}, { outputs: ['margin'] }), 'outputs/0 must be an object'],
    [outputs('score'), 'outputs/0/name is no output of this model, there are probability, margin'],
    [outputs('margin', undefined), 'outputs/1/name is no output of this model, there are probability, margin'],
    [outputs('margin', 'margin'), 'outputs/1/name is asked for already'],
    // Triton's extensions for binary data and for shared memory: the tensor is not where we could find it.
    [
      request({ data: undefined, parameters: { binary_data_size: 16 } }),
      'inputs/0/parameters/binary_data_size is of an extension that is not supported: send the tensor as JSON, in data'
    ],
    [
      request({ data: undefined, parameters: { shared_memory_region: 'r' } }),
      'inputs/0/parameters/shared_memory_region is of an extension that is not supported: send the tensor as JSON, in data'
    ],
    [
      request({}, { outputs: [{ name: 'margin', parameters: { shared_memory_region: 'r' } }] }),
      'outputs/0/parameters/shared_memory_region is of an extension that is not supported: send the tensor as JSON, in data'
    ],
    ['{"inputs":', "Body is not valid JSON but content-type is set to 'application/json'"],
    ['{"__proto__":1}', "Body is not valid JSON but content-type is set to 'application/json'"],
    ['', "Body cannot be empty when content-type is set to 'application/json'"]
  ] as const) {
    const reply = await infer(app, body)
    t.strictSame([reply.status, reply.body], [400, { error }], JSON.stringify(body))
    t.equal(reply.headers['content-type'], TEXT)
  }
  t.strictSame((await infer(app, '', 'tiny', {})).body, { error: 'the body must be an object' })
})

t.test('inference: bodies of another kind, and of another size', async (t) => {
  const app = await serve(t)
  const body = JSON.stringify(request())
  for (const headers of [
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/jsonl' },
    { 'content-type': 'application/octet-stream', 'inference-header-content-length': String(body.length) },
    { 'inference-header-content-length': String(body.length) }
  ]) {
    const reply = await infer(app, body, 'tiny', headers)
    t.equal(reply.status, 415, JSON.stringify(headers))
    t.match(reply.body, { error: /^The body must be application\/json; the binary .* is not supported$/ })
  }
  const large = await infer(app, `${body}${' '.repeat(2 ** 20)}`)
  t.strictSame([large.status, large.body], [413, { error: 'Request body is too large' }])
})

t.test('what is not there is a 404 of the same form', async (t) => {
  const app = await serve(t)
  for (const [method, url, error] of [
    ['GET', '/v2/models/tony', 'There is no model tony'],
    ['GET', '/v2/models/tony/ready', 'There is no model tony'],
    ['GET', '/v2/models/TINY', 'There is no model TINY'],
    ['GET', '/v2/models/..%2ftiny', 'There is no model ../tiny'],
    ['GET', '/v2/models/__proto__', 'There is no model __proto__'],
    ['GET', '/v2/models/tiny/versions/2', 'There is no model tiny/2'],
    ['GET', '/v2/models/tiny/versions/2/ready', 'There is no model tiny/2'],
    ['POST', '/v2/models/tony/infer', 'There is no model tony'],
    ['POST', '/v2/models/tiny/versions/01/infer', 'There is no model tiny/01'],
    ['GET', '/v2/models/tiny/infer', 'There is no route GET /v2/models/tiny/infer'],
    ['GET', '/v2/models/tiny/config?a=%20', 'There is no route GET /v2/models/tiny/config?a=%20'],
    ['POST', '/v2/repository/index', 'There is no route POST /v2/repository/index']
  ] as const) {
    const reply = await app.inject({ method, url, ...(method === 'POST' && { payload: request() }) })
    t.strictSame([reply.statusCode, reply.json()], [404, { error }], `${method} ${url}`)
  }
  t.match((await get(app, '/v1')).body, { message: 'Route GET:/v1 not found' }, 'elsewhere the service answers')
})

t.test('versions of a list answer under their number, and who names none gets the first', async (t) => {
  const repository = repositoryOf(t, [
    ['tiny', '1', {}],
    ['tiny', '2', {}],
    ['tiny', '3', {}]
  ])
  const app = await serve(t, { repository, versionPolicy: { tiny: { list: ['2', '3'] } } })
  t.strictSame((await get(app, '/v2/models/tiny')).body['versions'], ['2', '3'])
  t.equal((await infer(app, request())).body['model_version'], '2')
  t.equal((await infer(app, request(), 'tiny/versions/3')).body['model_version'], '3')
  t.strictSame((await get(app, '/v2/models/tiny/versions/1/ready')).status, 404)
})

t.test('a model that was unloaded is not ready, and neither is the server', async (t) => {
  let ready = true
  const app = await serve(t, { isReady: () => ready })
  ready = false
  t.match(await get(app, '/v2/health/ready'), { status: 503, body: { live: false, ready: false } })
  ready = true
  await app.model.unload('tiny')
  t.match(await get(app, '/v2/health/live'), { status: 200, body: { live: true } })
  t.match(await get(app, '/v2/health/ready'), { status: 503, body: { live: false, ready: false } })
  for (const path of ['tiny', 'tiny/versions/1']) {
    t.match(await get(app, `/v2/models/${path}/ready`), { status: 503, body: { name: 'tiny', ready: false } })
    const error = 'The model tiny is not loaded'
    for (const reply of [await get(app, `/v2/models/${path}`), await infer(app, request(), path)]) {
      t.strictSame([reply.status, reply.headers['retry-after'], reply.body], [503, '10', { error }])
    }
  }
  await app.model.load('tiny')
  t.match(await get(app, '/v2/health/ready'), { status: 200, body: { live: true, ready: true } })
})

t.test('a model that is busy, late or broken says no more than that', async (t) => {
  let failure: Error | undefined
  const app = await serve(t, {
    maxQueueSize: 2,
    async openSession() {
      const session = fakeSession()
      return {
        ...session,
        async run(next) {
          if (failure) throw failure
          return session.run(next)
        }
      }
    }
  })
  const [first, second] = await Promise.all([infer(app, request()), infer(app, request())])
  t.strictSame(first.body, answer)
  t.strictSame([second.status, second.headers['retry-after']], [503, '1'])
  t.strictSame(second.body, { error: 'The model is busy, try again shortly' })

  failure = Object.assign(new Error('It took longer than 5 ms'), { code: 'TF_ERR_MODEL_SLOW', statusCode: 504 })
  t.match(await infer(app, request()), { status: 504, body: { error: 'It took longer than 5 ms' } })
  failure = new Error('a secret of the runtime')
  const broken = await infer(app, request())
  t.strictSame([broken.status, broken.body], [500, { error: 'the request failed' }])
})

t.test('a refusal is a warning without a stack in the log, a failure an error with one', async (t) => {
  const lines: object[] = []
  const app = Fastify({
    logger: { level: 'warn', stream: { write: (line: string) => void lines.push(JSON.parse(line)) } }
  })
  t.teardown(() => app.close())
  let broken = false
  await app.register(modelPlugin, {
    repository: repositoryOf(t, [['tiny', '1', {}]]),
    maxQueueSize: 2,
    inferenceProtocol,
    async openSession() {
      const session = fakeSession()
      return { ...session, run: async (next) => (broken ? Promise.reject(new Error('odd')) : session.run(next)) }
    }
  })
  await Promise.all([infer(app, request()), infer(app, request())])
  broken = true
  await infer(app, request())
  t.match(lines, [
    { level: 40, msg: 'request refused', code: 'TF_ERR_MODEL_BUSY', reason: /busy/, err: undefined },
    { level: 50, msg: 'request failed', err: { stack: /odd/ } }
  ])
  t.equal(lines.length, 2)
})

t.test('an inference that its client gave up is not scored', async (t) => {
  const session = fakeSession()
  const rejects: string[] = []
  let open = (): void => {}
  let gate = Promise.resolve()
  const app = await serve(t, {
    openSession: async () => ({
      ...session,
      async run(next) {
        await gate
        return session.run(next)
      }
    }),
    onReject: (_name, reason) => rejects.push(reason)
  })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  gate = new Promise((resolve) => {
    open = resolve
  })
  session.runs.length = 0
  const ask = async (signal?: AbortSignal): Promise<Response> =>
    fetch(`${address}/v2/models/tiny/infer`, {
      method: 'POST',
      headers: JSON_TYPE,
      body: JSON.stringify(request()),
      ...(signal && { signal })
    })
  const leave = new AbortController()
  const stays = ask()
  const gone = t.rejects(ask(leave.signal), { name: 'AbortError' })
  while (app.model.queueDepth('tiny') < 4) await new Promise(setImmediate)
  leave.abort()
  await gone
  while (rejects.length === 0) await new Promise(setImmediate)
  open()
  t.strictSame(await (await stays).json(), answer)
  t.same(session.runs, [2])
  t.same(rejects, ['aborted'])
})

t.test('a client may have left before its request is looked at', async (t) => {
  const app = await build(t, { openSession: async () => fakeSession() })
  let arrived = (): void => {}
  const here = new Promise<void>((resolve) => (arrived = resolve))
  const seen = new Promise<boolean[]>((resolve) => {
    app.get('/late', async (_request, reply) => {
      const before = app.model.departure(reply).aborted
      const closed = new Promise((gone) => reply.raw.once('close', gone))
      arrived()
      await closed
      resolve([before, app.model.departure(reply).aborted])
      return 'nobody reads this'
    })
  })
  const left = new AbortController()
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const asked = t.rejects(fetch(`${address}/late`, { signal: left.signal }), { name: 'AbortError' })
  await here
  left.abort()
  await asked
  t.same(await seen, [false, true])
})

t.test('errors of other plugins have this form too, and those of no plugin say nothing', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let error: Error = Object.assign(new Error('Too many requests'), { statusCode: 429, headers: { 'retry-after': '7' } })
  app.addHook('onRequest', async () => {
    throw error
  })
  await app.register(modelPlugin, {
    repository: repositoryOf(t, [['tiny', '1', {}]]),
    openSession: async () => fakeSession(),
    inferenceProtocol
  })
  for (const url of ['/v2', '/v2/nowhere']) {
    t.match(await get(app, url), { status: 429, body: { error: 'Too many requests' }, headers: { 'retry-after': '7' } })
  }
  for (const thrown of [new Error('a secret'), Object.assign(new Error('a secret'), { statusCode: 502 })]) {
    error = thrown
    t.strictSame((await get(app, '/v2')).body, { error: 'the request failed' })
  }
})

t.test('what the service does to bodies, replies and errors has no say', async (t) => {
  const app = Fastify({ ajv: { customOptions: { coerceTypes: true, removeAdditional: 'all' } } })
  t.teardown(() => app.close())
  const never = (): never => {
    throw new Error('the service')
  }
  app.setValidatorCompiler(never)
  app.setSerializerCompiler(never)
  app.setErrorHandler(never)
  app.setNotFoundHandler(never)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', never)
  await app.register(modelPlugin, {
    repository: repositoryOf(t, [['tiny', '1', {}]]),
    openSession: async () => fakeSession(),
    inferenceProtocol
  })
  t.strictSame((await infer(app, request())).body, answer)
  t.match(await infer(app, request({ data: ['1', 2, 3, 4] })), { status: 400, body: { error: /data\/0/ } })
  t.strictSame((await get(app, '/v2/nowhere')).body, { error: 'There is no route GET /v2/nowhere' })
})

t.test("the config of the inference routes is the service's, and guesses are limited if requests are", async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const configs: Record<string, unknown> = {}
  app.addHook('onRoute', ({ url, config }) => {
    configs[url] = config
  })
  let guesses = 0
  app.decorate('rateLimit', () => async () => {
    guesses++
  })
  const config = { quota: { weight: 5 } }
  const repository = repositoryOf(t, [['tiny', '1', {}]])
  const openSession = async () => fakeSession()
  await app.register(modelPlugin, { repository, openSession, inferenceProtocol: { ...inferenceProtocol, config } })
  await app.ready()
  for (const path of ['', '/versions/:version']) {
    t.match(configs[`/v2/models/:name${path}/infer`], config)
    t.match(configs[`/v2/models/:name${path}/ready`], { rateLimit: false })
  }
  t.match(configs['/v2/health/ready'], { rateLimit: false })
  await get(app, '/v2/nowhere')
  t.equal(guesses, 1)
})

t.test(
  'nested and flat data score alike, to the bit, and alike to what predict scores, alone or in a batch',
  async (t) => {
    const app = await build(t, { inferenceProtocol })
    const value = float({ min: -1000, max: 1000, noNaN: true })
    const rows = array(tuple(value, value), { minLength: 1, maxLength: 20 })
    await assert(
      asyncProperty(rows, async (nested) => {
        const flat = nested.flat()
        const ask = async (data: unknown, length = nested.length): Promise<unknown> =>
          (await infer(app, request({ data, shape: [length, 2] }))).body['outputs']
        const [one, other, scores, ...singles] = await Promise.all([
          ask(nested),
          ask(flat),
          app.model.predict('tiny', Float32Array.from(flat)),
          ...nested.map(async (row) => ask(row, 1))
        ])
        const tensors = (from: number, to: number): unknown => {
          const shape = [to - from, 1]
          return [
            { ...probability, shape, data: [...scores.probability!.subarray(from, to)] },
            { ...margin, shape, data: [...scores.margin!.subarray(from, to)] }
          ]
        }
        t.strictSame([one, other], [tensors(0, nested.length), tensors(0, nested.length)])
        for (const [row, single] of singles.entries()) t.strictSame(single, tensors(row, row + 1))
      }),
      { numRuns: 50 }
    )
  }
)

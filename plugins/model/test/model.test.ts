import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import modelPlugin, { type Manifest, ManifestSchema, type ModelOptions, type ModelSession, type Run } from '../index.ts'
import { signatureOf } from '../onnx.ts'
import { readModel } from '../repository.ts'
import { type Version, build, fakeSession, repository, repositoryOf, sigmoid, tiny } from './helper.ts'

t.test('a real ONNX model scores rows, and each row alike in every batch', async (t) => {
  const app = await build(t)
  const rows = Array.from({ length: 50 }, (_, i) => [Math.sin(i) * 3, Math.cos(i) * 2] as const)
  const together = await app.model.predict('tiny', Float32Array.from(rows.flat()))
  t.equal(together.manifest.version, '1')
  for (const [i, [a, b]] of rows.entries()) {
    const alone = await app.model.predict('tiny', Float32Array.of(a, b))
    t.equal(together.probability![i], alone.probability![0])
    t.equal(together.margin![i], alone.margin![0])
    t.ok(Math.abs(alone.probability![0]! - sigmoid(a, b)) < 1e-6)
  }
})

t.test('requests of one turn of the event loop share a run, those of the next turn have another', async (t) => {
  const session = fakeSession()
  const reported: [string, Run][] = []
  const app = await build(t, {
    openSession: async () => session,
    onRun: ({ name }, run) => reported.push([name, run])
  })
  session.runs.length = 0
  const first = await Promise.all([1, 2, 3].map(async (a) => app.model.predict('tiny', Float32Array.of(a, 0, a, 1))))
  t.same(session.runs, [6])
  first.forEach(({ probability }, i) => {
    t.same(probability, Float32Array.of(sigmoid(i + 1, 0), sigmoid(i + 1, 1)))
  })
  await app.model.predict('tiny', Float32Array.of(0, 0))
  t.same(session.runs, [6, 1])
  t.match(reported, [
    ['tiny', { rows: 6, requests: 3, scores: { probability: { length: 6 } } }],
    ['tiny', { rows: 1, requests: 1 }]
  ])
  t.ok(reported.every(([, { seconds }]) => seconds >= 0 && seconds < 1))
})

t.test('a run is bounded, a request over the bound runs alone, and a full queue refuses', async (t) => {
  const session = fakeSession()
  const app = await build(t, { openSession: async () => session, maxBatchSize: 3, maxQueueSize: 8 })
  t.equal(app.model.queueCapacity, 8)
  session.runs.length = 0
  const ask = async (rows: number): Promise<number> =>
    (await app.model.predict('tiny', new Float32Array(rows * 2))).probability!.length
  const asked = [ask(2), ask(1), ask(1), ask(4)]
  t.equal(app.model.queueDepth('tiny'), 8)
  await t.rejects(ask(1), { code: 'TF_ERR_MODEL_BUSY', statusCode: 503, headers: { 'retry-after': '1' } })
  t.same(await Promise.all(asked), [2, 1, 1, 4])
  t.same(session.runs, [3, 1, 4])
  t.equal(app.model.queueDepth('tiny'), 0)
  t.equal(await ask(20), 20, 'a request larger than the queue waits alone')
})

t.test('vectors are copied when they come, and a batch grows as it must', async (t) => {
  const app = await build(t)
  const vectors = Array.from({ length: 100 }, (_, i) => Float32Array.of(i / 50, 1 - i / 50))
  const expected = vectors.map(([a, b]) => sigmoid(a!, b!))
  const asked = vectors.map(async (vector) => app.model.predict('tiny', vector))
  for (const vector of vectors) vector.fill(9)
  for (const [i, { probability }] of (await Promise.all(asked)).entries()) {
    t.equal(probability!.length, 1)
    t.ok(Math.abs(probability![0]! - expected[i]!) < 1e-6, `request ${i}`)
  }
})

t.test('a failing run fails the requests in it with its cause, and nothing else', async (t) => {
  let broken = false
  const session = fakeSession()
  const run = session.run.bind(session)
  const reported: Run[] = []
  const app = await build(t, {
    openSession: async () => ({
      ...session,
      async run(next) {
        if (broken) throw new Error('out of memory')
        return run(next)
      }
    }),
    onRun: (_manifest, report) => reported.push(report)
  })
  broken = true
  await t.rejects(app.model.predict('tiny', new Float32Array(2)), {
    code: 'TF_ERR_MODEL_INFERENCE',
    message: 'Inference failed: the runtime failed',
    cause: { message: 'out of memory' }
  })
  broken = false
  t.equal((await app.model.predict('tiny', new Float32Array(2))).probability!.length, 1)
  t.same(
    reported.map(({ scores }) => scores === undefined),
    [true, false]
  )
})

t.test('rows of a runtime that answers later count for the bound until they are scored', async (t) => {
  const finish: (() => void)[] = []
  let slow = false
  const session = fakeSession()
  const app = await build(t, {
    maxQueueSize: 2,
    openSession: async () => ({
      ...session,
      async run(next) {
        const scores = await session.run(next)
        if (slow) await new Promise<void>((resolve) => finish.push(resolve))
        return scores
      }
    })
  })
  slow = true
  const both = [app.model.predict('tiny', new Float32Array(2)), app.model.predict('tiny', new Float32Array(2))]
  await new Promise(setImmediate)
  await new Promise(setImmediate)
  t.equal(app.model.queueDepth('tiny'), 0, 'nothing waits')
  await t.rejects(app.model.predict('tiny', new Float32Array(2)), { code: 'TF_ERR_MODEL_BUSY' })
  finish.forEach((resolve) => resolve())
  t.equal((await Promise.all(both)).length, 2)
  slow = false
  t.equal((await app.model.predict('tiny', new Float32Array(2))).probability!.length, 1)
})

t.test('a listener that throws fails no request', async (t) => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'error', stream: { write: (line: string) => void lines.push(line) } } })
  t.teardown(() => app.close())
  const onRun = (): never => {
    throw new Error('listener')
  }
  await app.register(modelPlugin, { repository, openSession: async () => fakeSession(), onRun })
  t.equal((await app.model.predict('tiny', new Float32Array(2))).probability!.length, 1)
  await new Promise(setImmediate)
  t.match(JSON.parse(lines[0]!), { msg: 'model listener failed', err: { message: 'listener' } })
})

t.test('what is no probability is never answered', async (t) => {
  for (const [probability, margin, message] of [
    [[1.5], [0], 'Inference failed: row 0 has the probability 1.5'],
    [[Number.NaN], [0], 'Inference failed: row 0 has the probability NaN'],
    [[0.5], [Infinity], 'Inference failed: row 0 has the margin Infinity'],
    [[0.5, 0.5], [0], 'Inference failed: 1 rows gave 2 of probability'],
    [[0.5], [], 'Inference failed: 1 rows gave 0 of margin'],
    [[0.5], undefined, 'Inference failed: 1 rows gave 0 of margin']
  ] as const) {
    let ready = false
    const session = fakeSession()
    const app = await build(t, {
      openSession: async () => ({
        ...session,
        async run(next) {
          const scores = await session.run(next)
          if (!ready) return scores
          return {
            probability: Float32Array.from(probability),
            ...(margin && { margin: Float32Array.from(margin) })
          }
        }
      })
    })
    ready = true
    await t.rejects(app.model.predict('tiny', new Float32Array(2)), { code: 'TF_ERR_MODEL_OUTPUT', message })
  }
})

t.test('input that can not be scored is refused by the name of its feature', async (t) => {
  const app = await build(t, { openSession: async () => fakeSession() })
  const refused = (vectors: number[], message: string): Promise<unknown> =>
    t.rejects(app.model.predict('tiny', Float32Array.from(vectors)), {
      code: 'TF_ERR_MODEL_INPUT',
      statusCode: 400,
      message
    })
  await refused([], '0 values are no whole rows of 2 features')
  await refused([1, 2, 3], '3 values are no whole rows of 2 features')
  await refused([1, Number.NaN], 'features/b must be a finite number (float32)')
  await refused([1, 2, 1e39, 2], 'features/a of row 1 must be a finite number (float32)')
  await t.rejects(app.model.predict('tinny', new Float32Array(2)), { code: 'TF_ERR_MODEL_UNKNOWN', statusCode: 404 })

  t.same(app.model.toVector('tiny', { b: 2, a: 1 }), Float32Array.of(1, 2))
  t.throws(() => app.model.toVector('tiny', { a: 1 }), { message: 'features/b is missing' })
  t.throws(() => app.model.toVector('tiny', { a: 1, b: 2, c: 3 }), {
    message: 'features/c is not a feature of this model'
  })
  t.throws(() => app.model.toVector('tiny', { a: 1e300, b: 2 }), {
    message: 'features/a must be a finite number (float32)'
  })
  for (const value of ['1', null, true]) {
    t.throws(() => app.model.toVector('tiny', { a: 1, b: value as unknown as number }), {
      message: 'features/b must be a finite number (float32)'
    })
  }
  t.throws(() => app.model.toVector('tiny', Object.create({ a: 1, b: 2 })), { message: 'features/a is missing' })
})

t.test('rows by name are none of each other, however many there are', async (t) => {
  const app = await build(t, { openSession: async () => fakeSession() })
  const rows = Array.from({ length: 600 }, (_, i) => app.model.toVector('tiny', { a: i, b: -i }))
  for (const [i, row] of rows.entries()) t.same(row, Float32Array.of(i, -i))
})

t.test('the input schema and the training range come from the manifest', async (t) => {
  const app = await build(t, { openSession: async () => fakeSession() })
  const schema = app.model.inputSchema('tiny')
  t.same(schema.required, ['a', 'b'])
  t.equal(schema.additionalProperties, false)
  t.match(schema.properties['a'], {
    type: 'number',
    finite: true,
    description: 'First number',
    'x-quantiles': { p50: 0 }
  })
  t.same(app.model.outOfRange(app.model.serving('tiny').manifest, Float32Array.of(-3, 3)), [])
  t.same(app.model.outOfRange(app.model.serving('tiny').manifest, Float32Array.of(-3.1, 3.1)), ['a', 'b'])
})

t.test('the session is warmed up and self-tested before anyone may ask, and released once on close', async (t) => {
  const session = fakeSession()
  const app = Fastify()
  await app.register(modelPlugin, { repository, openSession: async () => session })
  await app.ready()
  t.same(session.runs, [1, 64, 1, 64, 1, 64, 1, 1])
  const last = app.model.predict('tiny', new Float32Array(2))
  await app.close()
  t.equal((await last).probability!.length, 1, 'a request that was taken is answered before the release')
  t.equal(session.released, 1)
})

t.test('the newest version that is not refused is served', async (t) => {
  const folder = repositoryOf(t, [
    ['tiny', '2', {}],
    ['tiny', '10', {}],
    ['tiny', '11', { source: 'historical' }],
    ['other', '1', {}]
  ])
  const options = { repository: folder, openSession: async () => fakeSession() }
  const refuse = ({ source }: Manifest): string | undefined => (source === 'historical' ? 'is historical' : undefined)
  const app = await build(t, { ...options, refuse })
  t.same(app.model.names, ['other', 'tiny'])
  t.equal(app.model.serving('tiny').manifest.version, '10')
  t.same(
    app.model.versions.map(({ manifest: { name, version }, sizeBytes }) => [name, version, sizeBytes]),
    [
      ['other', '1', 7],
      ['tiny', '11', 7],
      ['tiny', '10', 7],
      ['tiny', '2', 7]
    ]
  )
  await t.rejects(build(t, { ...options, refuse: () => 'is not wanted', advice: 'Train one.' }), {
    code: 'TF_ERR_MODEL_NONE_FITS',
    message: 'No version of other fits: version 1 is not wanted. Train one.'
  })
})

t.test('a manifest needs its required fields, and no other', async (t) => {
  const required = ManifestSchema.required as readonly (keyof Manifest)[]
  t.same(required.toSorted(), [
    'features',
    'format',
    'label',
    'model_type',
    'name',
    'self_test',
    'sha256',
    'trained_at',
    'version'
  ])
  const bytes = readFileSync(join(repository, 'tiny/1/model.onnx'))
  const undefinedOthers = Object.fromEntries(
    Object.keys(tiny)
      .filter((field) => !required.includes(field as keyof Manifest))
      .map((field) => [field, undefined])
  )
  const app = await build(t, { repository: repositoryOf(t, [['tiny', '1', undefinedOthers, bytes]]) })
  t.same(Object.keys(app.model.serving('tiny').manifest).toSorted(), required.toSorted())
  t.equal((await app.model.predict('tiny', new Float32Array(2))).probability!.length, 1)
})

t.test('a file that goes while it is read is told by its version', async (t) => {
  const gone = { manifest: tiny, path: 'tiny/1/model.onnx', file: join(t.testdir({}), 'model.onnx'), sizeBytes: 1 }
  await t.rejects(readModel(gone), { code: 'TF_ERR_MODEL_MANIFEST', message: /^Manifest of tiny\/1: ENOENT/ })
})

t.test('what else lies in the repository is not a version', async (t) => {
  const manifest = JSON.stringify({ ...tiny, sha256: createHash('sha256').update('weights').digest('hex') })
  const version = (): Record<string, string> => ({ 'manifest.json': manifest, 'model.onnx': 'weights' })
  const folder = t.testdir({
    tiny: { 1: version(), '.2.partial': version(), '02': version(), notes: {}, 'README.md': '' },
    '..hidden': { 1: version() },
    empty: {}
  })
  const app = await build(t, { repository: folder, openSession: async () => fakeSession() })
  t.same(
    app.model.versions.map(({ manifest: { name, version: v } }) => `${name}/${v}`),
    ['tiny/1']
  )
})

t.test('a repository that is not in order stops the boot with the place and the reason', async (t) => {
  const cases: [string, Version[], string, RegExp][] = [
    ['no model', [], 'TF_ERR_MODEL_REPOSITORY', /holds no model/],
    ['no JSON', [['tiny', '1', '{']], 'TF_ERR_MODEL_MANIFEST', /^Manifest of tiny\/1: .*JSON/],
    [
      'a wrong field',
      [['tiny', '1', { horizon_days: 0 }]],
      'TF_ERR_MODEL_MANIFEST',
      /tiny\/1: horizon_days: Expected integer/
    ],
    ['another version', [['tiny', '1', { version: '2' }]], 'TF_ERR_MODEL_MANIFEST', /tiny\/1: speaks of tiny\/2/],
    ['another name', [['tiny', '1', { name: 'tony' }]], 'TF_ERR_MODEL_MANIFEST', /tiny\/1: speaks of tony\/1/],
    [
      'features of one name',
      [['tiny', '1', { features: [tiny.features[0], tiny.features[0]] }]],
      'TF_ERR_MODEL_MANIFEST',
      /tiny\/1: two features have one name/
    ],
    [
      'another checksum',
      [['tiny', '1', { sha256: '0'.repeat(64) }]],
      'TF_ERR_MODEL_CHECKSUM',
      /tiny\/1 has another sha256/
    ]
  ]
  for (const [name, versions, code, message] of cases) {
    await t.test(name, async (t) => {
      const folder = repositoryOf(t, versions)
      await t.rejects(build(t, { repository: folder, openSession: async () => fakeSession() }), { code, message })
    })
  }
  await t.rejects(build(t, { repository: '/nowhere/models' }), { code: 'TF_ERR_MODEL_REPOSITORY', message: /ENOENT/ })
  const bare = t.testdir({ tiny: { 1: { 'manifest.json': JSON.stringify(tiny) } } })
  await t.rejects(build(t, { repository: bare }), {
    code: 'TF_ERR_MODEL_MANIFEST',
    message: /tiny\/1: ENOENT.*model\.onnx/
  })
})

t.test('a model that is not what its manifest says is refused, and released', async (t) => {
  const cases: [string, Partial<ModelSession>, { code?: string; message?: string | RegExp }][] = [
    [
      'input width',
      { inputs: [{ name: 'features', type: 'float32', shape: [-1, 3] }] },
      {
        code: 'TF_ERR_MODEL_SIGNATURE',
        message:
          'Model tiny/1: needs the input features float32[-1,2], has features float32[-1,3]: the manifest gives it 2 features'
      }
    ],
    [
      'a flat input',
      { inputs: [{ name: 'features', type: 'float32', shape: [2] }] },
      { code: 'TF_ERR_MODEL_SIGNATURE' }
    ],
    [
      'doubles',
      { inputs: [{ name: 'features', type: 'float64', shape: [-1, 2] }] },
      { code: 'TF_ERR_MODEL_SIGNATURE' }
    ],
    [
      'no tensor',
      { outputs: [{ name: 'probability', type: 'not a tensor', shape: [] }] },
      {
        message:
          'Model tiny/1: needs the output probability float32[-1,1], has probability not a tensor[]: it is a map or sequence, export the classifier with zipmap=False'
      }
    ],
    ['no outputs', { outputs: [] }, { message: 'Model tiny/1: needs the output probability float32[-1,1], has none' }],
    [
      'other answers',
      {
        async run(next) {
          const { rows } = next()
          return { probability: new Float32Array(rows).fill(0.5), margin: new Float32Array(rows) }
        }
      },
      { code: 'TF_ERR_MODEL_SELF_TEST', message: /^Model tiny\/1 fails its self-test: vector 0 should give 0.62/ }
    ],
    [
      'no answers',
      {
        run: async () => {
          throw new Error('broken')
        }
      },
      { message: 'broken' }
    ]
  ]
  for (const [name, over, error] of cases) {
    await t.test(name, async (t) => {
      const session = fakeSession(over)
      await t.rejects(build(t, { openSession: async () => session }), error as Error)
      t.equal(session.released, 1)
    })
  }
})

t.test('maps and sequences are told from tensors', async (t) => {
  t.same(signatureOf({ name: 'output_probability' }), {
    name: 'output_probability',
    type: 'not a tensor',
    shape: []
  })
  t.same(signatureOf({ name: 'x', type: 'float32', shape: ['batch', 3] }), {
    name: 'x',
    type: 'float32',
    shape: [-1, 3]
  })
})

t.test('bytes that are no ONNX model stop the boot', async (t) => {
  await t.rejects(build(t, { repository: repositoryOf(t, [['tiny', '1', {}, 'no model']]) }), {
    message: /protobuf|INVALID/i
  })
})

t.test('a wrong or unknown option, or a second registration, stops the boot', async (t) => {
  for (const [bad, message] of [
    [{ maxBatchSize: 0 }, /maxBatchSize/],
    [{ maxBatchRow: 5 }, /maxBatchRow/],
    [{ repository: '' }, /repository/]
  ] as const) {
    await t.rejects(build(t, bad as Partial<ModelOptions>), { code: 'TF_ERR_MODEL_OPTIONS', message })
  }
  const app = await build(t, { openSession: async () => fakeSession() })
  await t.rejects(async () => app.register(modelPlugin, { repository }), { code: 'TF_ERR_MODEL_REGISTERED' })
})

/** Models that other tools have exported (fixtures/make.py), against what scikit-learn answers; and what can't be served. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { type Manifest, type ModelOptions, type ModelSession, tensorsOf } from '../index.ts'
import { openOnnxSession } from '../onnx.ts'
import { fixedBatch } from '../tensors.ts'
import { build, fakeSession, repositoryOf, tiny } from './helper.ts'

const folder = join(import.meta.dirname, 'fixtures/foreign')
const { rows, answers } = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as {
  rows: number[][]
  answers: Record<string, number[]>
}
const names = ['a', 'b', 'c']
const vectors = Float32Array.from(rows.flat())
const SECOND = { probability: { name: 'probabilities', column: 1 } }
const X = [{ name: 'X' }]
const SCORE = { task: 'regression', calibration: {}, outputs: { score: { name: 'variable' } } } as const

/** The manifest of a model of fixtures/foreign, whose self-test is scikit-learn's first answer. */
function manifestOf(file: string, change: Partial<Manifest>): Partial<Manifest> {
  const role = change.task === 'regression' ? 'score' : 'probability'
  const named = Object.fromEntries(names.map((name, j) => [name, rows[0]![j]!]))
  return {
    features: names.map((name) => ({ ...tiny.features[0]!, name })),
    self_test: [{ features: named, [role]: answers[file]?.[0] ?? 0 }],
    ...change
  }
}

async function serve(
  t: Test,
  file: string,
  change: Partial<Manifest>,
  options: Partial<ModelOptions> = {}
): Promise<FastifyInstance> {
  const bytes = readFileSync(join(folder, `${file}.onnx`))
  return build(t, { repository: repositoryOf(t, [['foreign', '1', manifestOf(file, change), bytes]]), ...options })
}

const served: [file: string, change: Partial<Manifest>][] = [
  ['logistic', { inputs: X, outputs: SECOND }],
  ['dynamic_width', { inputs: X, outputs: SECOND }],
  ['batch_1', { inputs: X, outputs: SECOND }],
  ['batch_8', { inputs: X, outputs: SECOND }],
  ['forest', { inputs: X, outputs: SECOND }],
  ['columns', { inputs: names.map((name) => ({ name, features: [name] })), outputs: { probability: { name: 'p' } } }],
  ['boosted', { inputs: X, ...SCORE }],
  ['gemm', { inputs: X, ...SCORE }],
  ['gemm_double', { inputs: [{ name: 'X', datatype: 'FP64' }], ...SCORE }]
]

for (const [file, change] of served) {
  t.test(`${file}: scikit-learn's answers, each row alike in every batch`, async (t) => {
    for (const execution of ['inline', 'thread'] as const) {
      const app = await serve(t, file, change, { execution })
      const role = change.task === 'regression' ? 'score' : 'probability'
      const together = await app.model.predict('foreign', vectors)
      t.same(Object.keys(together), ['manifest', role])
      const alone = await Promise.all(
        rows.map(async (row) => (await app.model.predict('foreign', Float32Array.from(row)))[role]![0])
      )
      t.equal(together[role]!.length, rows.length)
      for (const [i, expected] of answers[file]!.entries()) {
        t.ok(Math.abs(together[role]![i]! - expected) < 2e-6, `row ${i}: ${together[role]![i]} for ${expected}`)
      }
      if (change.inputs !== X || !['logistic', 'dynamic_width', 'gemm'].includes(file))
        t.same(alone, [...together[role]!])
      await app.close()
    }
  })
}

t.test('a batch is of fixed size if the input is', async (t) => {
  t.equal(fixedBatch([{ name: 'X', type: 'float32', shape: [8, 3] }]), 8)
  t.equal(fixedBatch([{ name: 'X', type: 'float32', shape: [-1, 3] }]), undefined)
  t.equal(fixedBatch([]), undefined)
})

t.test('a batch of fixed size: rows are scored alike, whatever their place and number', async (t) => {
  const app = await serve(t, 'batch_8', { inputs: X, outputs: SECOND })
  const { probability: whole } = await app.model.predict('foreign', vectors)
  for (const count of [1, 7, 8, 9, 16, 17]) {
    const { probability } = await app.model.predict('foreign', vectors.subarray(0, 3 * count))
    t.same(probability, whole!.slice(0, count), `${count} rows`)
  }
})

t.test('features in another order than the columns of the input', async (t) => {
  const reversed = [...names].toReversed()
  const app = await serve(t, 'logistic', {
    features: reversed.map((name) => ({ ...tiny.features[0]!, name })),
    inputs: [{ name: 'X', features: names }],
    outputs: SECOND
  })
  const { probability } = await app.model.predict('foreign', Float32Array.from(rows[1]!.toReversed()))
  t.ok(Math.abs(probability![0]! - answers['logistic']![1]!) < 2e-6)
})

t.test('what can not be served says what to change', async (t) => {
  const cases: [file: string, change: Partial<Manifest>, message: RegExp][] = [
    [
      'zipmap',
      { inputs: X, outputs: { probability: { name: 'output_probability' } } },
      /not a tensor.*: it is a map or sequence, export the classifier with zipmap=False$/
    ],
    [
      'text',
      { inputs: X },
      /needs the input X float32\[-1,3\], has X string\[-1,3\]: it is text, encode it as numbers$/
    ],
    ['integers', { inputs: X }, /X int64\[-1,3\]: export the model with float inputs$/],
    [
      'logistic',
      { inputs: X, outputs: { probability: { name: 'label' } } },
      /name an output of floats, not that of the labels$/
    ],
    ['gemm_double', { inputs: X, ...SCORE }, /X float64\[-1,3\]: say "datatype": "FP64" in the manifest's inputs$/],
    ['gemm', { inputs: [{ name: 'X', datatype: 'FP64' }], ...SCORE }, /X float32\[-1,3\]: say "datatype": "FP32"/],
    [
      'logistic',
      { features: tiny.features, self_test: tiny.self_test, inputs: X },
      /float32\[-1,2\], has X float32\[-1,3\]: the manifest gives it 2 features$/
    ],
    [
      'logistic',
      { outputs: SECOND },
      /has X float32\[-1,3\]: name it in the manifest's inputs, and what answers, of label int64.* probabilities float32.* in its outputs$/
    ],
    [
      'logistic',
      { inputs: X },
      /needs the output probability float32\[-1,1\], has label int64\[-1\], probabilities float32\[-1,2\]: name it in the manifest's outputs$/
    ],
    [
      'logistic',
      { inputs: X, outputs: { probability: { name: 'probabilities' } } },
      /say which column in the manifest's outputs$/
    ],
    ['logistic', { inputs: X, outputs: { probability: { name: 'probabilities', column: 2 } } }, /it has no column 2$/]
  ]
  for (const [file, change, message] of cases) {
    await t.rejects(serve(t, file, change), { code: 'TF_ERR_MODEL_SIGNATURE', statusCode: 422, message })
  }
  await t.rejects(
    serve(t, 'dynamic_width', { features: tiny.features, self_test: tiny.self_test, inputs: X, outputs: SECOND }),
    {
      code: 'TF_ERR_MODEL_SELF_TEST'
    }
  )
})

t.test('sessions of other runtimes are held to the same', async (t) => {
  const input = { name: 'features', type: 'float32', shape: [-1, 2] }
  const output = { name: 'probability', type: 'float32', shape: [-1, 1] }
  const margin = { ...output, name: 'margin' }
  const cases: [object, string][] = [
    [{ inputs: [{ ...input, shape: [2] }] }, 'features float32[2]: it should have rows and columns'],
    [{ inputs: [input, { ...input, name: 'more' }] }, 'has the input more, which no feature of the manifest goes into'],
    [{ outputs: [{ ...output, type: 'string' }, margin] }, ': it is text, name the output of the numbers'],
    [{ outputs: [{ ...output, shape: [] }, margin] }, ': it should have one value a row, or columns'],
    [
      { outputs: [output] },
      "needs the output margin float32[-1,1], has probability float32[-1,1]: name it in the manifest's outputs"
    ]
  ]
  for (const [over, message] of cases) {
    let refused = ''
    const openSession = async (): Promise<ModelSession> => fakeSession(over)
    await build(t, { openSession }).catch(({ code, message: said }: Error & { code: string }) => {
      refused = `${code} ${said}`
    })
    t.match(refused, /^TF_ERR_MODEL_SIGNATURE /)
    t.ok(refused.endsWith(message), refused)
  }
  const free = {
    inputs: [{ ...input, shape: [-1, -1] }],
    outputs: [
      { ...output, shape: [-1, -1] },
      { ...margin, shape: [-1] }
    ]
  }
  t.ok(await build(t, { openSession: async () => fakeSession(free) }))

  const apart = [
    { ...input, name: 'x', shape: [1, 1] },
    { ...input, name: 'y', shape: [8, 1] }
  ]
  const inputs = [
    { name: 'x', features: ['a'] },
    { name: 'y', features: ['b'] }
  ]
  const repository = repositoryOf(t, [['tiny', '1', { inputs }]])
  for (const [tensors, message] of [
    [apart, 'Model tiny/1: takes batches of 1 rows, but the input y those of 8'],
    [
      [{ ...apart[0]!, shape: [-1, 1] }, apart[1]!],
      'Model tiny/1: takes batches of any number of rows, but the input y those of 8'
    ]
  ] as const) {
    await t.rejects(build(t, { repository, openSession: async () => fakeSession({ inputs: tensors }) }), { message })
  }
})

t.test('a model that answers other rows or columns than it has promised is refused', async (t) => {
  const bytes = readFileSync(join(folder, 'logistic.onnx'))
  const { inputs } = tensorsOf({ ...tiny, ...manifestOf('logistic', { inputs: X }) })
  for (const column of [undefined, 2]) {
    const session = await openOnnxSession(bytes, {
      inputs,
      outputs: [{ role: 'probability', name: 'probabilities', column }]
    })
    await t.rejects(
      session.run(() => ({ features: vectors, rows: rows.length })),
      {
        code: 'TF_ERR_MODEL_OUTPUT',
        message: 'Inference failed: probabilities is [23,2] for 23 rows'
      }
    )
    await session.release()
  }
})

t.test('a manifest that contradicts itself is refused', async (t) => {
  const cases: [change: object, message: string][] = [
    [{ trained_at: 'yesterday' }, 'trained_at and window: "yesterday" is no date'],
    [{ window: { from: '2020-01-01', to: 'soon' } }, 'trained_at and window: "soon" is no date'],
    [{ task: 'ranking' }, 'task: must be one of classification, regression'],
    [{ outputs: { label: { name: 'label' } } }, 'outputs/label: Unexpected property'],
    [{ outputs: {} }, 'outputs: a classification needs probability'],
    [{ task: 'regression', outputs: SECOND }, 'outputs: a regression needs score'],
    [{ outputs: { ...SECOND, score: { name: 's' } } }, 'outputs/score: is not for a classification'],
    [{ ...SCORE, outputs: { ...SCORE.outputs, ...SECOND } }, 'outputs/probability: is not for a regression'],
    [{ ...SCORE, outputs: { ...SCORE.outputs, margin: { name: 'm' } } }, 'outputs/margin: is not for a regression'],
    [{ ...SCORE, linear }, 'linear: is not for a regression'],
    [{ outputs: SECOND, linear }, 'linear: needs the output margin'],
    [
      { ...SCORE, calibration: { method: 'platt' } },
      'calibration: a regression has no probability to calibrate, leave it out'
    ],
    [{ ...SCORE, self_test: [{ features: { a: 1, b: 1 }, probability: 0.5 }] }, 'self_test/0/score: is missing'],
    [{ self_test: [{ features: { a: 1, b: 1 }, score: 0.5 }] }, 'self_test/0/probability: is missing'],
    [
      {
        inputs: [
          { name: 'x', features: ['a'] },
          { name: 'x', features: ['b'] }
        ]
      },
      'inputs: two have one name'
    ],
    [{ inputs: [{ name: 'x' }, { name: 'y' }] }, 'inputs/0/features: say which of them go into this input'],
    [{ inputs: [{ name: 'x', features: ['a', 'z'] }] }, 'inputs/0/features: z is no feature, or in an input already'],
    [{ inputs: [{ name: 'x', features: ['a', 'a'] }] }, 'inputs/0/features: a is no feature, or in an input already'],
    [{ inputs: [{ name: 'x', features: ['b'] }] }, 'inputs: none takes the feature a']
  ]
  for (const [change, message] of cases) {
    const repository = repositoryOf(t, [['tiny', '1', change]])
    await t.rejects(
      build(t, { repository, openSession: async () => fakeSession() }),
      { code: 'TF_ERR_MODEL_MANIFEST', message: `Manifest of tiny/1: ${message}` },
      message
    )
  }
})

const linear = { means: [0, 0], scales: [1, 1], weights: [1, -2], intercept: 0.5, calibration: { a: 1, b: 0 } }

t.test('a score may be any number but none, and the self-test holds large ones to their size', async (t) => {
  const expected = answers['boosted']![0]!
  await t.rejects(
    serve(t, 'boosted', { inputs: X, ...SCORE, self_test: [{ features: { a: 0, b: 0, c: 0 }, score: expected + 1 }] }),
    { code: 'TF_ERR_MODEL_SELF_TEST' }
  )
  let factor = 1e6
  const session = fakeSession({
    outputs: [{ name: 'score', type: 'float32', shape: [-1, 1] }],
    async run(next) {
      const { features, rows: count } = next()
      return { score: Float32Array.from({ length: count }, (_, i) => factor * features[2 * i]!) }
    }
  })
  const test = (score: number): object => ({
    task: 'regression',
    calibration: {},
    self_test: [{ features: { a: 1, b: 0 }, score }]
  })
  const openSession = async (): Promise<typeof session> => session
  const off = repositoryOf(t, [['tiny', '1', test(1e6 + 11)]])
  await t.rejects(build(t, { repository: off, openSession }), { code: 'TF_ERR_MODEL_SELF_TEST' })
  const app = await build(t, { repository: repositoryOf(t, [['tiny', '1', test(1e6 + 9)]]), openSession })
  t.same((await app.model.predict('tiny', Float32Array.of(-2, 0))).score, Float32Array.of(-2e6))
  factor = Infinity
  await t.rejects(app.model.predict('tiny', Float32Array.of(1, 0)), {
    code: 'TF_ERR_MODEL_OUTPUT',
    message: 'Inference failed: row 0 has the score Infinity'
  })
})

t.test('the next version must answer what the one before did', async (t) => {
  const bytes = readFileSync(join(folder, 'logistic.onnx'))
  const boosted = readFileSync(join(folder, 'boosted.onnx'))
  const app = await build(t, {
    repository: repositoryOf(t, [
      ['foreign', '1', manifestOf('logistic', { inputs: X, outputs: SECOND }), bytes],
      ['foreign', '2', manifestOf('boosted', { inputs: X, ...SCORE }), boosted]
    ]),
    versionPolicy: { foreign: { pinned: '1' } }
  })
  await t.rejects(app.model.load('foreign', '2'), {
    code: 'TF_ERR_MODEL_REFUSED',
    message: 'Model foreign/2 has other features or answers than the one before'
  })
})

t.test('the inference protocol: versions of a list are asked in their own datatypes', async (t) => {
  const [, double] = served.find(([file]) => file === 'gemm_double')!
  const [, single] = served.find(([file]) => file === 'gemm')!
  const app = await build(t, {
    repository: repositoryOf(t, [
      ['foreign', '1', manifestOf('gemm', single), readFileSync(join(folder, 'gemm.onnx'))],
      ['foreign', '2', manifestOf('gemm_double', double), readFileSync(join(folder, 'gemm_double.onnx'))]
    ]),
    versionPolicy: { foreign: { list: ['1', '2'] } },
    inferenceProtocol: { name: 'test', version: '1' }
  })
  for (const [version, datatype, status] of [
    ['1', 'FP32', 200],
    ['1', 'FP64', 400],
    ['2', 'FP64', 200],
    ['2', 'FP32', 400]
  ] as const) {
    const url = `/v2/models/foreign/versions/${version}`
    const [input] = (await app.inject(url)).json().inputs
    t.equal(input.datatype, version === '1' ? 'FP32' : 'FP64')
    const payload = { inputs: [{ name: input.name, shape: [1, 3], data: [1, 2, 3], datatype }] }
    t.equal((await app.inject({ method: 'POST', url: `${url}/infer`, payload })).statusCode, status, version + datatype)
  }
})

t.test('the inference protocol: inputs by name, each with its datatype, and answers by what they mean', async (t) => {
  const inferenceProtocol = { name: 'test', version: '1' }
  const infer = async (app: FastifyInstance, inputs: object[], outputs?: object[]) => {
    const payload = JSON.stringify({ inputs, outputs })
    const headers = { 'content-type': 'application/json' }
    const reply = await app.inject({ method: 'POST', url: '/v2/models/foreign/infer', headers, payload })
    return { status: reply.statusCode, body: reply.json() as { error?: string; outputs?: { data: number[] }[] } }
  }

  const [, columns] = served.find(([file]) => file === 'columns')!
  const app = await serve(t, 'columns', columns, { inferenceProtocol })
  t.match((await app.inject('/v2/models/foreign')).json(), {
    inputs: names.map((name) => ({ name, datatype: 'FP32', shape: [-1, 1] })),
    outputs: [{ name: 'probability', datatype: 'FP32', shape: [-1, 1] }]
  })
  const column = (j: number, more: object = {}): object => {
    const data = rows.slice(0, 3).map((row) => row[j])
    return { name: names[j], datatype: 'FP32', shape: [3, 1], data, ...more }
  }
  const { body } = await infer(app, [
    column(2),
    column(0),
    column(1, { data: rows.slice(0, 3).map((row) => [row[1]]) })
  ])
  const expected = await app.model.predict('foreign', vectors.subarray(0, 9))
  t.same(body.outputs, [{ name: 'probability', datatype: 'FP32', shape: [3, 1], data: [...expected.probability!] }])
  for (const [inputs, message] of [
    [[column(0), column(1)], 'inputs must hold the 3 inputs of this model, a, b, c'],
    [[column(0), column(0), column(1)], 'inputs lacks c'],
    [[column(0), column(1), column(2, { shape: [2, 1], data: [1, 2] })], 'inputs/2/shape has other rows than a, 3'],
    [[column(0), column(1), column(2, { name: 'd' })], 'inputs/2/name is no input of this model, there is a, b, c'],
    [
      [column(0), column(1), column(2, { data: [1, null, 3] })],
      'inputs/2/data/1 (c) must be a finite number (float32)'
    ],
    [[column(0), column(1), column(2, { data: [1, 2] })], 'inputs/2/data has 2 elements, the shape 3']
  ] as const) {
    t.same(await infer(app, [...inputs]), { status: 400, body: { error: message } })
  }
  t.match(await infer(app, [column(0), column(1), column(2)], [{ name: 'margin' }]), {
    status: 400,
    body: { error: 'outputs/0/name is no output of this model, there are probability' }
  })

  const [, double] = served.find(([file]) => file === 'gemm_double')!
  const regressor = await serve(t, 'gemm_double', double, { inferenceProtocol })
  t.match((await regressor.inject('/v2/models/foreign')).json(), {
    inputs: [{ name: 'X', datatype: 'FP64', shape: [-1, 3] }],
    outputs: [{ name: 'score' }]
  })
  const input = { name: 'X', datatype: 'FP64', shape: [1, 3], data: rows[0] }
  const scored = await infer(regressor, [input])
  t.ok(Math.abs(scored.body.outputs![0]!.data[0]! - answers['gemm_double']![0]!) < 2e-6)
  t.match(await infer(regressor, [{ ...input, datatype: 'FP32' }]), {
    body: { error: 'inputs/0/datatype must be FP64' }
  })
})

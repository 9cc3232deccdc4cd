import t from 'tap'
import { FEATURES } from '../../domain/features.ts'
import { createRandom } from '../../domain/random.ts'
import { score, type LinearModel } from '../../training/model.ts'
import { toOnnx } from '../../training/onnx.ts'
import { verify, withRuntime, type Runtime } from '../../training/verify.ts'

const WIDTH = FEATURES.length
const random = createRandom('onnx test')
const numbers = (next: () => number): Float32Array => Float32Array.from(FEATURES, next)

const MODEL: LinearModel = {
  mean: numbers(() => 100 * random.normal()),
  scale: numbers(() => 10 * random.uniform()),
  weights: numbers(() => 0.3 * random.normal()),
  intercept: Math.fround(0.07),
  platt: { a: Math.fround(0.9), b: Math.fround(-0.02) }
}
const BYTES = toOnnx(MODEL, 'outperform', 'A sentence')

t.test('onnxruntime computes what the trainer does, to 1e-6 on 10,000 rows, whatever the batch', async (t) => {
  const result = await withRuntime(BYTES, WIDTH, (run) => verify(run, MODEL))
  t.equal(result.rows, 10_000)
  t.ok(result.probability > 0 && result.probability < 1e-6, `${result.probability}`)
  t.ok(result.margin < 1e-5, `${result.margin}`)
})

t.test('features beyond the clip change nothing, and margin is the log-odds', async (t) => {
  const at = (sigmas: number): Float32Array => MODEL.mean.map((mean, j) => mean + sigmas * MODEL.scale[j]!)
  const batch = Float32Array.from([...at(4), ...at(400), ...at(0)])
  const { margin, probability } = await withRuntime(BYTES, WIDTH, (run) => run(batch))
  t.equal(margin[0], margin[1])
  const { a, b } = MODEL.platt
  t.ok(Math.abs(margin[2]! - (a * MODEL.intercept + b)) < 1e-6, 'the mean has the intercept only')
  const clipped = MODEL.weights.reduce((sum, weight) => sum + 3 * weight, MODEL.intercept)
  t.ok(Math.abs(margin[0]! - (a * clipped + b)) < 1e-5)
  for (const [i, value] of margin.entries()) t.ok(Math.abs(1 / (1 + Math.exp(-value)) - probability[i]!) < 1e-6)
})

t.test('the file says what it is, and is the same each time', async (t) => {
  const text = Buffer.from(BYTES).toString('latin1')
  for (const part of ['trading-fun-api', 'A sentence', FEATURES.map(({ name }) => name).join(','), 'Clip']) {
    t.ok(text.includes(part), part)
  }
  t.same(toOnnx(MODEL, 'outperform', 'A sentence'), BYTES)
})

/** A runtime that computes rightly but for what `fault` does to a batch of so many rows. */
function faulty(fault: (margin: number, rows: number) => number): Runtime {
  return async (vectors) => {
    const rows = vectors.length / WIDTH
    const scores = Array.from({ length: rows }, (_, i) => score(MODEL, vectors.subarray(i * WIDTH, (i + 1) * WIDTH)))
    const margin = Float32Array.from(scores, (own) => fault(own.margin, rows))
    return { margin, probability: margin.map((value) => 1 / (1 + Math.exp(-value))) }
  }
}

t.test('verification sees a wrong model, a NaN, and a row that depends on its batch', async (t) => {
  await t.resolves(
    verify(
      faulty((margin) => margin),
      MODEL
    )
  )
  await t.rejects(
    verify(
      faulty((margin) => margin + 1e-4),
      MODEL
    ),
    { message: /differ by 2\.\de-5 in a probability/ }
  )
  await t.rejects(
    verify(
      faulty(() => NaN),
      MODEL
    ),
    { message: /differ by NaN/ }
  )
  const dependent = faulty((margin, rows) => margin + (rows === 7 ? 1e-6 : 0))
  await t.rejects(verify(dependent, MODEL), {
    message: /^row 0 scores other bits in a batch of 7 than in one of 10000$/
  })

  const marginOnly: Runtime = async (vectors) => {
    const scores = await faulty((margin) => margin)(vectors)
    if (scores.margin.length === 8) scores.margin[7]! += 1e-3
    return scores
  }
  await t.rejects(verify(marginOnly, MODEL), { message: /^row 7 scores other bits in a batch of 8 / })
})

t.test('a runtime is released when its user fails', async (t) => {
  let left: Runtime | undefined
  const failing = withRuntime(BYTES, WIDTH, async (run) => {
    left = run
    throw new Error('no use')
  })
  await t.rejects(failing, { message: 'no use' })
  await t.rejects(left!(new Float32Array(WIDTH)), { message: /dispos|released/i })
})

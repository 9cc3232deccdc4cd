import t from 'tap'
import { createRandom } from '../../domain/random.ts'
import {
  fitLogistic,
  logit,
  sigmoid,
  type LogisticFit,
  type LogisticRows,
  type Prior
} from '../../training/logistic.ts'

const FLAT: Prior = { mean: 0, deviation: Infinity }

function near(found: number, wanted: number, tolerance = 1e-9): boolean {
  return Math.abs(found - wanted) <= tolerance
}

/** Gradient of the penalised loss, written apart from the code under test. */
function gradient({ x, width, target, weight }: LogisticRows, prior: Prior, fit: LogisticFit): number[] {
  const beta = [...fit.weights, fit.intercept]
  return beta.map((value, j) => {
    let sum = j < width ? (value - prior.mean) / prior.deviation ** 2 : 0
    for (let i = 0; i < target.length; i++) {
      const row = [...x.subarray(i * width, (i + 1) * width), 1]
      const margin = row.reduce((total, xj, k) => total + xj * beta[k]!, 0)
      sum += weight * (1 / (1 + Math.exp(-margin)) - target[i]!) * row[j]!
    }
    return sum
  })
}

t.test('a two by two table has its closed form', async (t) => {
  // x = 0: 3 of 10 positive; x = 1: 6 of 8.
  const x = Float64Array.from({ length: 18 }, (_, i) => (i < 10 ? 0 : 1))
  const target = Float64Array.from({ length: 18 }, (_, i) => (i < 3 || (i >= 10 && i < 16) ? 1 : 0))
  const { weights, intercept } = fitLogistic({ x, width: 1, target, weight: 1 }, FLAT)
  t.ok(near(intercept, Math.log(3 / 7)))
  t.ok(near(weights[0]!, Math.log(6 / 2) - Math.log(3 / 7)))
})

t.test('the gradient is zero at the optimum, with a prior and fractional targets', async (t) => {
  const random = createRandom('logistic test')
  const width = 4
  const x = Float64Array.from({ length: 200 * width }, () => random.normal())
  const target = Float64Array.from({ length: 200 }, (_, i) => sigmoid(2 * x[i * width]! + random.normal()))
  const rows = { x, width, target, weight: 0.25 }
  for (const prior of [FLAT, { mean: 0, deviation: 0.3 }, { mean: 1, deviation: 0.5 }]) {
    const fit = fitLogistic(rows, prior)
    for (const slope of gradient(rows, prior, fit)) t.ok(near(slope, 0, 1e-8))
    t.same(fitLogistic(rows, prior), fit, 'and the same bits again')
  }
})

t.test('a start far from the optimum is walked back to it in halved steps', async (t) => {
  const rows = { x: Float64Array.of(1, 1, 1, -1, -2), width: 1, target: Float64Array.of(0, 0, 1, 1, 1), weight: 1 }
  const prior = { mean: 6, deviation: 1000 }
  for (const slope of gradient(rows, prior, fitLogistic(rows, prior))) t.ok(near(slope, 0, 1e-8))
})

t.test('a tight prior keeps the weights at its mean', async (t) => {
  const rows = { x: Float64Array.of(-1, 1), width: 1, target: Float64Array.of(0, 1), weight: 1 }
  t.ok(near(fitLogistic(rows, { mean: 0.7, deviation: 1e-6 }).weights[0]!, 0.7, 1e-6))
})

t.test('a constant column has no solution without a prior, and weight 0 with one', async (t) => {
  const rows = { x: Float64Array.of(2, 2, 2), width: 1, target: Float64Array.of(0, 1, 1), weight: 1 }
  t.throws(() => fitLogistic(rows, FLAT), { name: 'RangeError', message: /constant or repeated/ })
  const zeros = { ...rows, x: new Float64Array(3) }
  t.equal(fitLogistic(zeros, { mean: 0, deviation: 1 }).weights[0], 0)
})

t.test('logit is the inverse of sigmoid', async (t) => {
  for (const p of [0.01, 0.5, 0.9]) t.ok(near(sigmoid(logit(p)), p, 1e-15))
})

import * as fc from 'fast-check'
import t from 'tap'
import {
  auc,
  average,
  averageRanks,
  bootstrapAuc,
  brier,
  calibrationError,
  logLoss,
  neweyWestT,
  quantile,
  spearman
} from '../../training/evaluation.ts'

const f64 = (...values: number[]): Float64Array => Float64Array.of(...values)
const u8 = (...values: number[]): Uint8Array => Uint8Array.of(...values)

t.test('the AUC is the share of pairs in order, ties counting a half', async () => {
  const rows = fc.array(fc.record({ p: fc.integer({ min: 0, max: 5 }), y: fc.integer({ min: 0, max: 1 }) }), {
    minLength: 2,
    maxLength: 40
  })
  fc.assert(
    fc.property(rows, (sample) => {
      const [positive, negative] = [1, 0].map((label) => sample.filter(({ y }) => y === label))
      fc.pre(positive!.length > 0 && negative!.length > 0)
      let wins = 0
      for (const a of positive!) for (const b of negative!) wins += a.p > b.p ? 1 : a.p === b.p ? 0.5 : 0
      const found = auc(
        Float64Array.from(sample, ({ p }) => p),
        Uint8Array.from(sample, ({ y }) => y)
      )
      return Math.abs(found - wins / (positive!.length * negative!.length)) < 1e-12
    })
  )
})

t.test('the bootstrap interval', async (t) => {
  const p = f64(0.1, 0.4, 0.3, 0.8, 0.2, 0.1, 0.9, 0.7)
  const y = u8(0, 1, 0, 1, 1, 0, 0, 1)
  const area = auc(p, y)
  t.same(bootstrapAuc(p, y, Array(8).fill('2020 Q1')), [area, area], 'one block has nothing to vary')
  const quarters = ['a', 'a', 'a', 'a', 'b', 'b', 'b', 'b']
  const interval = bootstrapAuc(p, y, quarters)
  t.same(interval, [0.5, 1], 'the worse block twice, the better block twice')
  t.same(bootstrapAuc(p, y, quarters), interval, 'and the same again')
})

t.test('ranks of ties are averaged', async (t) => {
  t.same([...averageRanks(f64(3, 1, 3, 2, 3))], [4, 1, 4, 2, 4])
})

t.test('quantiles interpolate', async (t) => {
  const values = f64(40, 10, 30, 20)
  t.same(
    [0, 0.5, 1].map((q) => quantile(values, q)),
    [10, 25, 40]
  )
  t.ok(Math.abs(quantile(values, 0.1) - 13) < 1e-12)
  t.same([...values], [40, 10, 30, 20], 'the sample is as it was')
})

t.test('Brier score and log loss of two rows', async (t) => {
  t.ok(Math.abs(brier(f64(0.8, 0.4), u8(1, 0)) - (0.04 + 0.16) / 2) < 1e-15)
  t.ok(Math.abs(logLoss(f64(0.8, 0.4), u8(1, 0)) + (Math.log(0.8) + Math.log(0.6)) / 2) < 1e-15)
})

t.test('calibration error', async (t) => {
  const tens = (value: (bin: number) => number): number[] =>
    Array.from({ length: 100 }, (_, i) => value(Math.floor(i / 10)))
  const labels = Uint8Array.from({ length: 100 }, (_, i) => (i % 10 < Math.floor(i / 10) ? 1 : 0))
  t.ok(calibrationError(f64(...tens((bin) => bin / 10)), labels) < 1e-12, 'zero where each bin is right')
  t.ok(Math.abs(calibrationError(f64(...tens((bin) => bin / 10 + 0.05)), labels) - 0.05) < 1e-12)
  const constant = calibrationError(new Float64Array(100).fill(0.45), labels)
  t.ok(constant < 1e-12, 'equal probabilities are one bin, in whatever order they come')
  t.ok(Math.abs(calibrationError(f64(0.2, 0.9), u8(0, 1)) - 0.15) < 1e-12, 'fewer rows than bins')
})

t.test('Spearman is 1, -1, or 0 where a side is constant', async (t) => {
  t.equal(spearman(f64(1, 2, 3), f64(10, 100, 1000)), 1)
  t.equal(spearman(f64(1, 2, 3), f64(3, 2, 1)), -1)
  t.equal(spearman(f64(1, 1, 1), f64(3, 2, 1)), 0)
  t.ok(Math.abs(spearman(f64(1, 2, 3, 4), f64(2, 1, 4, 3)) - 0.6) < 1e-12)
})

t.test('Newey-West by hand', async (t) => {
  // d = -1.5 -.5 .5 1.5: sums of products 5 at lag 0, 1.25 at lag 1, -1.5 at lag 2.
  const series = f64(1, 2, 3, 4)
  t.equal(average(series), 2.5)
  t.ok(Math.abs(neweyWestT(series, 0) - 2.5 / (Math.sqrt(5) / 4)) < 1e-12, 'lag 0: the usual t')
  t.ok(Math.abs(neweyWestT(series, 1) - 2.5 / (Math.sqrt(5 + 2 * 0.5 * 1.25) / 4)) < 1e-12)
  const two = 5 + 2 * ((2 / 3) * 1.25 + (1 / 3) * -1.5)
  t.ok(Math.abs(neweyWestT(series, 2) - 2.5 / (Math.sqrt(two) / 4)) < 1e-12)
})

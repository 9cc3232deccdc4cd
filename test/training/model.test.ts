import t from 'tap'
import { FEATURES } from '../../domain/features.ts'
import { createRandom } from '../../domain/random.ts'
import type { Row } from '../../training/dataset.ts'
import { fitModel, score } from '../../training/model.ts'

/** Ten stocks a week for four years; the first feature decides more often than not, the second is noise, the rest constant. */
function rows(drift = 0): Row[] {
  const random = createRandom('model test')
  return Array.from({ length: 2000 }, (_, i) => {
    const week = Date.UTC(2015, 0, 7 + 7 * Math.floor(i / 10))
    const features = new Float32Array(FEATURES.length).fill(5)
    const label = random.uniform() < 0.5 ? 1 : 0
    features[0] = 100 + (label - 0.5) * 4 + 4 * random.normal() + (drift * i) / 2000
    features[1] = random.normal()
    const [date, end] = [week, week + 28 * 86_400_000].map((day) => new Date(day).toISOString().slice(0, 10))
    return { universe: 'Testland', symbol: `S${i % 10}`, date: date!, end: end!, features, forward: label - 0.5, label }
  })
}

t.test('the feature that decides carries the weight; a constant one none, and it divides by nothing', async (t) => {
  const model = fitModel(rows())
  t.ok(model.weights[0]! > 0.03)
  t.ok(Math.abs(model.weights[1]!) < model.weights[0]! / 5)
  t.ok(model.weights.slice(2).every((weight) => weight === 0))
  t.ok(model.scale.slice(2).every((scale) => scale === 1))
  t.ok(Math.abs(model.mean[0]! - 100) < 0.5)
})

t.test('all parameters are float32: what is judged is what is served', async (t) => {
  const { intercept, platt } = fitModel(rows())
  for (const value of [intercept, platt.a, platt.b]) t.equal(Math.fround(value), value)
})

t.test('a feature beyond the clip moves no further, and the probability is the sigmoid of the margin', async (t) => {
  const model = fitModel(rows())
  const at = (value: number): Float32Array => new Float32Array(FEATURES.length).fill(5).with(0, value)
  t.same(score(model, at(1e6)), score(model, at(200)))
  t.ok(score(model, at(104)).probability > score(model, at(96)).probability)
  const { margin, probability } = score(model, at(104))
  t.equal(probability, 1 / (1 + Math.exp(-margin)))
})

t.test('a market that drifts shifts no probabilities: their mean is the share of positives', async (t) => {
  const drifting = rows(8)
  const model = fitModel(drifting)
  const mean = drifting.reduce((sum, row) => sum + score(model, row.features).probability, 0) / drifting.length
  const share = drifting.filter((row) => row.label === 1).length / drifting.length
  t.ok(Math.abs(mean - share) < 0.02, `mean ${mean}, share ${share}`)
})

t.test('the calibration knows no label that was open when its slice began', async (t) => {
  const honest = rows()
  const from = honest[1600]!.date
  const open = ({ date, end }: Row): boolean => date < from && Date.parse(end) + 7 * 86_400_000 >= Date.parse(from)
  const changed = honest.map((row): Row => (open(row) ? { ...row, label: row.label === 1 ? 0 : 1 } : row))
  t.ok(honest.filter(open).length >= 40)
  const [before, after] = [fitModel(honest), fitModel(changed)]
  t.not(after.weights[0], before.weights[0])
  t.equal(after.platt.a, before.platt.a)
})

import t from 'tap'
import { fitPlatt } from '../../training/calibration.ts'

/** So many independent observations a row that the prior on the slope has no say. */
const CERTAIN = 1e9

/** `positive` of `count` rows at each margin. */
function slice(...groups: { margin: number; positive: number; count: number }[]): [Float64Array, Uint8Array] {
  const rows = groups.flatMap(({ margin, positive, count }) =>
    Array.from({ length: count }, (_, i) => ({ margin, label: i < positive ? 1 : 0 }))
  )
  return [Float64Array.from(rows, (row) => row.margin), Uint8Array.from(rows, (row) => row.label)]
}

t.test('two margins are fitted exactly, with smoothed targets', async (t) => {
  const [margins, labels] = slice({ margin: -1, positive: 30, count: 100 }, { margin: 1, positive: 60, count: 100 })
  const { a, b } = fitPlatt(margins, labels, CERTAIN)
  // N+ = 90, N- = 110.
  const [high, low] = [91 / 92, 1 / 112]
  const logOdds = (share: number): number => {
    const target = share * high + (1 - share) * low
    return Math.log(target / (1 - target))
  }
  t.ok(Math.abs(a - (logOdds(0.6) - logOdds(0.3)) / 2) < 1e-6)
  t.ok(Math.abs(b - (logOdds(0.6) + logOdds(0.3)) / 2) < 1e-6)
})

t.test('a separable slice does not give certainty', async (t) => {
  const [margins, labels] = slice({ margin: -1, positive: 0, count: 10 }, { margin: 1, positive: 10, count: 10 })
  const { a, b } = fitPlatt(margins, labels, CERTAIN)
  t.ok(Math.abs(a - Math.log(11)) < 1e-6, 'the log-odds of 11/12 at margin 1')
  t.ok(Math.abs(b) < 1e-6)
})

t.test('margins that order the slice the wrong way give the base rate', async (t) => {
  const [margins, labels] = slice({ margin: -1, positive: 80, count: 100 }, { margin: 1, positive: 20, count: 100 })
  const { a, b } = fitPlatt(margins, labels, CERTAIN)
  t.equal(a, 0)
  t.ok(Math.abs(b) < 1e-12, 'one half')
})

t.test('a slice that says little leaves the slope near 1', async (t) => {
  const [margins, labels] = slice({ margin: -0.1, positive: 60, count: 100 }, { margin: 0.1, positive: 40, count: 100 })
  const { a } = fitPlatt(margins, labels, 0.25)
  t.ok(a > 0.7 && a < 1, `${a}`)
})

import t from 'tap'
import { binOf, stabilityIndex } from '../../domain/drift.ts'
import { FEATURES } from '../../domain/features.ts'
import { createRandom } from '../../domain/random.ts'
import type { Row } from '../../training/dataset.ts'
import { driftBaseline } from '../../training/drift.ts'
import { fitModel } from '../../training/model.ts'

const MEMBERS = 40
const WEEKS = 120

/** Weeks of a market: the first feature is each stock's own, the second half the market's, the third often 0, the rest constant. */
function market(): Row[] {
  const random = createRandom('drift test')
  return Array.from({ length: WEEKS }, (_, week) => {
    const common = random.normal()
    const at = (days: number): string => new Date(Date.UTC(2015, 0, 7 + 7 * week + days)).toISOString().slice(0, 10)
    return Array.from({ length: week === 50 ? 3 : MEMBERS }, (_row, i): Row => {
      const features = new Float32Array(FEATURES.length).fill(5)
      features[0] = random.normal()
      features[1] = common + random.normal()
      features[2] = Math.min(0, random.normal())
      const label = random.uniform() < 0.5 ? 1 : 0
      return { universe: 'Testland', symbol: `S${i}`, date: at(0), end: at(28), features, forward: label - 0.5, label }
    })
  }).flat()
}

const rows = market()
const model = fitModel(rows)
const { features, score } = driftBaseline(rows, model)
const [own, common, capped, constant] = features

t.test('bins are deciles; of equal ones one is left, and the last bin is not empty', async (t) => {
  t.equal(features.length, FEATURES.length)
  for (const { edges, shares } of [own!, common!, score]) {
    t.equal(edges.length, 9)
    for (const share of shares) t.ok(Math.abs(share - 0.1) < 0.01, `${share}`)
  }
  t.ok(capped!.edges.every((edge) => edge < 0))
  t.equal(capped!.edges.length, 5 - 1)
  t.ok(Math.abs(capped!.shares.at(-1)! - 0.6) < 0.02)
  t.same({ edges: constant!.edges, shares: constant!.shares }, { edges: [5], shares: [1, 0] })
})

t.test(
  'a limit is what one part in twenty exceeds, and the more of the market there is in a feature, the higher',
  async (t) => {
    const dates = [...Map.groupBy(rows, ({ date }) => date).values()].filter((part) => part.length === MEMBERS)
    for (const [j, { edges, shares, psi_limits }] of [own!, common!].entries()) {
      const above = dates.filter((part) => {
        const counts = shares.map(() => 0)
        for (const row of part) counts[binOf(edges, row.features[j]!)]!++
        return stabilityIndex(shares, counts) > psi_limits.date
      })
      t.equal(above.length, Math.round((WEEKS - 1) * 0.05))
    }
    t.ok(common!.psi_limits.date > 3 * own!.psi_limits.date, `${common!.psi_limits.date} and ${own!.psi_limits.date}`)
    for (const { psi_limits } of [own!, common!]) t.ok(psi_limits.month < psi_limits.date / 2, 'months average')
    t.same(constant!.psi_limits, { date: 0, month: 0 })
  }
)

t.test('a date of few rows sets no limit', async (t) => {
  const without = driftBaseline(
    rows.filter(({ date }) => date !== rows[50 * MEMBERS]!.date),
    model
  )
  t.ok(Math.abs(without.features[0]!.psi_limits.date - own!.psi_limits.date) < 0.02)
})

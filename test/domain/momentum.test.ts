import t from 'tap'
import { type Momentum, type ScoreParts, momentumScore } from '../../domain/momentum.ts'

const NOTHING: Momentum = { marketCapRank: null, change24h: null, change7d: null, change30d: null, turnover: null }
const NO_POINTS: ScoreParts = { rank: 0, change_24h: 0, change_7d: 0, change_30d: 0, volume: 0 }

/** Each branch, on both sides of its limit: the part of the score that a value of its own gives. */
const CASES: readonly (readonly [
  field: keyof Momentum,
  part: keyof ScoreParts,
  value: number | null,
  points: number
])[] = [
  ['marketCapRank', 'rank', 1, 0.3],
  ['marketCapRank', 'rank', 10, 0.3],
  ['marketCapRank', 'rank', 11, 0.15],
  ['marketCapRank', 'rank', 50, 0.15],
  ['marketCapRank', 'rank', 51, 0],
  ['marketCapRank', 'rank', null, 0],
  ['change24h', 'change_24h', 5.0001, 0.25],
  ['change24h', 'change_24h', 5, 0.15],
  ['change24h', 'change_24h', 0.0001, 0.15],
  ['change24h', 'change_24h', 0, 0.05],
  ['change24h', 'change_24h', -2.9999, 0.05],
  ['change24h', 'change_24h', -3, 0],
  ['change24h', 'change_24h', null, 0],
  ['change7d', 'change_7d', 10.0001, 0.2],
  ['change7d', 'change_7d', 10, 0.1],
  ['change7d', 'change_7d', 0.0001, 0.1],
  ['change7d', 'change_7d', 0, 0],
  ['change7d', 'change_7d', null, 0],
  ['change30d', 'change_30d', 20.0001, 0.15],
  ['change30d', 'change_30d', 20, 0.08],
  ['change30d', 'change_30d', 0.0001, 0.08],
  ['change30d', 'change_30d', 0, 0],
  ['change30d', 'change_30d', null, 0],
  ['turnover', 'volume', 20.0001, 0.1],
  ['turnover', 'volume', 20, 0.05],
  ['turnover', 'volume', 10.0001, 0.05],
  ['turnover', 'volume', 10, 0],
  ['turnover', 'volume', null, 0]
]

for (const [field, part, value, points] of CASES) {
  t.test(`${field} ${value}: ${points}`, async (t) => {
    t.same(momentumScore({ ...NOTHING, [field]: value }), { score: points, parts: { ...NO_POINTS, [part]: points } })
  })
}

t.test('the highest of all are exactly 1, and the score is the sum of its parts', async (t) => {
  const best = { marketCapRank: 1, change24h: 6, change7d: 11, change30d: 21, turnover: 21 }
  t.equal(momentumScore(best).score, 1)
  t.same(momentumScore({ marketCapRank: 20, change24h: -1, change7d: 1, change30d: 1, turnover: 11 }), {
    score: 0.43,
    parts: { rank: 0.15, change_24h: 0.05, change_7d: 0.1, change_30d: 0.08, volume: 0.05 }
  })
})

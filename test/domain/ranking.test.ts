import * as fc from 'fast-check'
import t from 'tap'
import { percentileOf, rank } from '../../domain/ranking.ts'
import { signalOf } from '../../domain/signals.ts'

t.test('the highest probability is first, ties are in order of their symbols', async (t) => {
  const scored = [
    { symbol: 'C', probability: 0.5, name: 'c' },
    { symbol: 'B', probability: 0.4, name: 'b' },
    { symbol: 'D', probability: 0.6, name: 'd' },
    { symbol: 'A', probability: 0.5, name: 'a' }
  ]
  t.same(rank(scored), [
    { symbol: 'D', probability: 0.6, name: 'd', rank: 1, percentile: 100 },
    { symbol: 'A', probability: 0.5, name: 'a', rank: 2, percentile: 50 },
    { symbol: 'C', probability: 0.5, name: 'c', rank: 3, percentile: 50 },
    { symbol: 'B', probability: 0.4, name: 'b', rank: 4, percentile: 0 }
  ])
  t.same(rank([]), [])
  t.equal(scored[0]!.symbol, 'C', 'what is given stays as it is')
})

t.test('a percentile is the share of the others that are beaten', async (t) => {
  t.equal(percentileOf(0.7, []), 50)
  t.equal(percentileOf(0.5, [0.5, 0.5]), 50)
  t.equal(percentileOf(0.5, [0.1, 0.2, 0.9, 0.8]), 50)
  t.equal(percentileOf(0.2, [0.1, 0.5, 0.9, 0.8]), 25)
  t.equal(percentileOf(0.95, [0.1, 0.5, 0.9, 0.8]), 100)
  t.equal(percentileOf(0.05, [0.1, 0.5, 0.9, 0.8]), 0)
})

t.test('a ranking is a permutation whose percentiles fall with the rank and average 50', async () => {
  const members = fc.uniqueArray(
    fc.record({ symbol: fc.string(), probability: fc.double({ min: 0, max: 1, noNaN: true }) }),
    {
      minLength: 2,
      selector: ({ symbol }) => symbol
    }
  )
  fc.assert(
    fc.property(members, (scored) => {
      const ranked = rank(scored)
      const percentiles = ranked.map(({ percentile }) => percentile)
      const mean = percentiles.reduce((sum, p) => sum + p, 0) / percentiles.length
      return (
        ranked.every(({ rank: place }, i) => place === i + 1) &&
        percentiles.every((p, i) => i === 0 || p <= percentiles[i - 1]!) &&
        Math.abs(mean - 50) < 1e-9 &&
        new Set(ranked.map(({ symbol }) => symbol)).size === scored.length
      )
    })
  )
})

t.test('a bound belongs to the stronger signal', async (t) => {
  for (const [probability, signal] of [
    [1, 'STRONG BUY'],
    [0.65, 'STRONG BUY'],
    [0.6499, 'BUY'],
    [0.55, 'BUY'],
    [0.5499, 'HOLD'],
    [0.45, 'HOLD'],
    [0.4499, 'CONSIDER SELLING'],
    [0.35, 'CONSIDER SELLING'],
    [0.3499, 'SELL'],
    [0, 'SELL']
  ] as const) {
    t.equal(signalOf(probability), signal, String(probability))
  }
})

import t from 'tap'
import { binOf, stabilityIndex } from '../../domain/drift.ts'

t.test('a bin reaches up to and with its edge; the last one has no end', async (t) => {
  const edges = [-1, 0, 2.5]
  t.same(
    [-Infinity, -1, -0.5, 0, 1e-9, 2.5, 3, Infinity].map((value) => binOf(edges, value)),
    [0, 0, 1, 1, 2, 2, 3, 3]
  )
})

t.test(
  'the index is 0 for the same shares, whatever the number of rows, and that of the formula otherwise',
  async (t) => {
    t.equal(stabilityIndex([0.25, 0.75], [1, 3]), 0)
    t.equal(stabilityIndex([0.25, 0.75], [100, 300]), 0)
    const expected = (0.5 - 0.25) * Math.log(0.5 / 0.25) + (0.5 - 0.75) * Math.log(0.5 / 0.75)
    t.ok(Math.abs(stabilityIndex([0.25, 0.75], Uint32Array.of(7, 7)) - expected) < 1e-15)
  }
)

t.test('an empty bin is a thousandth, on either side', async (t) => {
  const one = (1 - 0.5) * Math.log(1 / 0.5) + (0.001 - 0.5) * Math.log(0.001 / 0.5)
  t.ok(Math.abs(stabilityIndex([0.5, 0.5], [9, 0]) - one) < 1e-15)
  const other = (0.5 - 1) * Math.log(0.5 / 1) + (0.5 - 0.001) * Math.log(0.5 / 0.001)
  t.ok(Math.abs(stabilityIndex([1, 0], [1, 1]) - other) < 1e-15)
})

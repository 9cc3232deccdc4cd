import t from 'tap'
import { SPARKLINE_DAYS, sparkline } from '../../domain/sparkline.ts'

t.test('the newest sixty, or as many as there are, oldest first', async (t) => {
  const closes = Float64Array.from({ length: 100 }, (_, i) => i + 1)
  t.same(
    sparkline(closes),
    Array.from({ length: SPARKLINE_DAYS }, (_, i) => i + 41)
  )
  t.same(sparkline(closes.subarray(0, 3)), [1, 2, 3])
})

t.test('six digits of the highest, whatever the currency is worth', async (t) => {
  for (const [closes, rounded] of [
    [
      [123.456789, 99.9999999],
      [123.457, 100]
    ],
    [
      [0.000012345678, 0.0000098765432],
      [0.0000123457, 0.0000098765]
    ],
    [
      [999_999.96, 1],
      [1_000_000, 1]
    ],
    [
      [1_234_567.89, 0.4],
      [1_234_568, 0]
    ],
    [[Number.MIN_VALUE], [0]],
    [[Number.MAX_VALUE], [Number.MAX_VALUE]]
  ] as const) {
    t.same(sparkline(Float64Array.from(closes)), rounded, String(closes))
  }
})

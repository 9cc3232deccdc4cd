/** How the page prints numbers and chooses colours: the part of it that needs no browser. */
import t from 'tap'
import { SERIES_COLOURS, colourOf, coloursOf, formatClock, formatValue } from '../page/format.js'

t.test('values as a person reads them', async (t) => {
  for (const [value, unit, expected] of [
    [0, 'per second', '0/s'],
    [0.01667, 'per second', '0.0167/s'],
    [12_345, 'per second', '12.3 k/s'],
    [1.5, 'per minute', '1.5/min'],
    [0, 'bytes per second', '0 B/s'],
    [2048, 'bytes per second', '2 KiB/s'],
    [0, 'seconds', '0 s'],
    [0.00002, 'seconds', '20 µs'],
    [0.0123, 'seconds', '12.3 ms'],
    [90, 'seconds', '90 s'],
    [600, 'seconds', '10 min'],
    [10_800, 'seconds', '3 h'],
    [5 * 86_400, 'seconds', '5 d'],
    [1e-8, 'seconds', '0.01 µs'],
    [0, 'bytes', '0 B'],
    [512, 'bytes', '512 B'],
    [123_456_789, 'bytes', '118 MiB'],
    [3 * 2 ** 30, 'bytes', '3 GiB'],
    [0.9876, 'ratio', '98.8 %'],
    [1, 'ratio', '100 %'],
    [0.000001, 'ratio', '0.0001 %'],
    [7, 'count', '7'],
    [1234, 'count', '1234'],
    [12_345, 'count', '12.3 k'],
    [2.5e6, 'count', '2.5 M'],
    [3e9, 'count', '3 G'],
    [0.0000001, 'count', '0.0000001'],
    [-5, 'count', '-5'],
    [3, 'state', '3']
  ] as const) {
    t.equal(formatValue(value, unit), expected, `${value} ${unit}`)
  }
  const states = ['not loaded', 'loaded'] as const
  t.same([formatValue(0, 'state', states), formatValue(1, 'state', states)], ['not loaded', 'loaded'])
})

t.test('a colour by the threshold that is reached', async (t) => {
  const thresholds = [
    { from: 0, colour: 'green' },
    { from: 1, colour: 'amber' },
    { from: 5, colour: 'red' }
  ] as const
  t.same(
    [-1, 0, 0.9, 1, 4.9, 5, 99].map((value) => colourOf(value, thresholds)),
    ['green', 'green', 'green', 'amber', 'amber', 'red', 'red']
  )
  t.equal(colourOf(1), undefined)
})

t.test('statuses have the colours of what they mean, other names one of their own', async (t) => {
  t.same(coloursOf(['200', '304', '429', '500']), ['--green', '--blue', '--amber', '--red'])
  t.same(coloursOf([]), [])
  const names = Array.from({ length: SERIES_COLOURS }, (_, i) => `/route/${i}`)
  t.equal(new Set(coloursOf(names)).size, SERIES_COLOURS, 'all differ as long as there are colours')
  t.same(coloursOf(names.toReversed()), coloursOf(names).toReversed(), 'in whatever order')
  const many = coloursOf(Array.from({ length: 3 * SERIES_COLOURS }, (_, i) => `/route/${i}`))
  const uses = Map.groupBy(many, (colour) => colour)
  t.same(
    [...uses.values()].map(({ length }) => length),
    Array(SERIES_COLOURS).fill(3),
    'and evenly beyond'
  )
  t.match(many[0], /^--series-\d+$/)
  t.same(coloursOf(['200', 'x'])[0], coloursOf(['x', '200'])[1], 'a status among names is a name')
})

t.test('the time of day', async (t) => {
  const noon = new Date(2026, 10, 22, 16, 5, 9).getTime() / 1000
  t.equal(formatClock(noon), '16:05')
  t.equal(formatClock(noon, true), '16:05:09')
})

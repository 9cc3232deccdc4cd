import t from 'tap'
import { createRandom, type Random } from '../../domain/random.ts'

const SAMPLES = 100_000

function sample(key: string, draw: (random: Random) => number): Float64Array {
  const random = createRandom(key)
  return Float64Array.from({ length: SAMPLES }, () => draw(random))
}

/** Mean of a power of the values. */
function moment(values: Float64Array, power: number): number {
  return values.reduce((sum, value) => sum + value ** power, 0) / values.length
}

t.test('a key gives the same numbers each time, whatever else is drawn', async (t) => {
  const first = createRandom('7/AAPL')
  const second = createRandom('7/AAPL')
  const other = createRandom('7/MSFT')
  const a = Array.from({ length: 50 }, () => first.normal())
  const b = Array.from({ length: 50 }, () => {
    other.uniform()
    return second.normal()
  })
  t.same(a, b)
})

t.test('the numbers of a key do not change between versions: past prices would', async (t) => {
  const random = createRandom('golden')
  const drawn = [random.uniform(), random.uniform(), random.normal(), random.studentT(5)]
  t.same(
    drawn.map((value) => value.toFixed(9)),
    ['0.308555605', '0.943742029', '-1.609430952', '1.066410593']
  )
})

t.test('keys that differ in one character share no pattern', async (t) => {
  const a = sample('1/symbol/A', (random) => random.normal())
  const b = sample('1/symbol/B', (random) => random.normal())
  const correlation = moment(
    a.map((value, i) => value * b[i]!),
    1
  )
  t.ok(Math.abs(correlation) < 0.015, `correlation ${correlation}`)
})

t.test('uniform numbers stay inside the open interval and fill it evenly', async (t) => {
  const values = sample('uniform', (random) => random.uniform())
  t.ok(values.every((value) => value > 0 && value < 1))
  const tenths = Array.from({ length: 10 }, () => 0)
  for (const value of values) tenths[Math.floor(value * 10)]!++
  for (const count of tenths) t.ok(Math.abs(count - SAMPLES / 10) < 400, `${count} in a tenth`)
})

t.test('normal numbers have the moments of the normal distribution', async (t) => {
  const values = sample('normal', (random) => random.normal())
  t.ok(Math.abs(moment(values, 1)) < 0.015)
  t.ok(Math.abs(moment(values, 2) - 1) < 0.02)
  t.ok(Math.abs(moment(values, 4) - 3) < 0.15)
  const beyondTwo = values.filter((value) => Math.abs(value) > 1.96).length / SAMPLES
  t.ok(Math.abs(beyondTwo - 0.05) < 0.004, `${beyondTwo} beyond 1.96`)
})

t.test('Student t numbers have variance 1 and the quantiles of their distribution', async (t) => {
  const values = sample('t', (random) => random.studentT(5))
  t.ok(Math.abs(moment(values, 1)) < 0.015)
  t.ok(Math.abs(moment(values, 2) - 1) < 0.05)
  // 4.0321 is the 99.5 % quantile of t with 5 degrees of freedom, whose variance is 5 / 3.
  const tail = values.filter((value) => Math.abs(value) * Math.sqrt(5 / 3) > 4.0321).length / SAMPLES
  t.ok(Math.abs(tail - 0.01) < 0.002, `${tail} beyond the 1 % point`)
})

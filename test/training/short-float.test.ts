import t from 'tap'
import { shortFloat } from '../../training/evaluation.ts'

t.test('float32 values are printed as short as they read back', async (t) => {
  t.equal(shortFloat(0.1), 0.1)
  t.equal(shortFloat(Math.fround(1 / 3)), 0.33333334)
  t.equal(shortFloat(0), 0)
  t.equal(shortFloat(-12_345.678), -12_345.678)
  for (const value of [Math.PI, 1e-7 / 3, 16_777_217]) t.equal(Math.fround(shortFloat(value)), Math.fround(value))
})

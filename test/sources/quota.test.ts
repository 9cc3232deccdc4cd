import t from 'tap'
import { createQuota } from '../../sources/quota.ts'

t.test('never more than the quota in any minute, and it says when there is room again', async (t) => {
  let now = 0
  const quota = createQuota(3, () => now)
  const granted: number[] = []
  for (; now < 600_000; now += 1000) if (quota.take() === 0) granted.push(now)
  for (const at of granted) t.ok(granted.filter((other) => other > at - 60_000 && other <= at).length <= 3)
  t.equal(granted.length, 30)

  now = 1_000_000
  for (let i = 0; i < 3; i++, now += 10_000) t.equal(quota.take(), 0)
  t.equal(quota.take(), 30, 'the first of them is 30 s old')
  now += 29_500
  t.equal(quota.take(), 1, 'rounded up')
  now += 500
  t.equal(quota.take(), 0)
  t.equal(quota.take(), 10)
})

t.test('what is refused is not counted', async (t) => {
  let now = 0
  const quota = createQuota(1, () => now)
  t.equal(quota.take(), 0)
  for (now = 1000; now < 60_000; now += 1000) t.equal(quota.take(), 60 - now / 1000)
  t.equal(quota.take(), 0)
})

t.test('a reserve is left to those who ask for none of it', async (t) => {
  let now = 0
  const quota = createQuota(5, () => now)
  for (let i = 0; i < 3; i++, now += 1000) t.equal(quota.take(2), 0)
  t.equal(quota.take(2), 57, 'until fewer than three are left of the minute')
  t.equal(quota.take(), 0)
  t.equal(quota.take(), 0)
  t.equal(quota.take(), 57)
  t.equal(quota.take(2), 59, 'until three of them are a minute old')
  t.equal(createQuota(1).take(1), 0, 'one request is for everyone')
})

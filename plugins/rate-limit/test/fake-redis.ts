import type { RedisClient } from '../redis.ts'

/** Redis with the limiter's script as its only command; by default it answers at once. */
export interface FakeRedis extends RedisClient {
  status: string
  /** What it was asked, oldest first. */
  asked: ('evalsha' | 'eval')[]
  /** Requests by key. */
  counts: Map<string, number>
  /** Whether it knows the script. */
  loaded: boolean
  /** What it answers, instead of counting. */
  answer: (() => Promise<unknown>) | undefined
  /** Milliseconds left that it answers. */
  left: number
}

export function fakeRedis(): FakeRedis {
  function run(key: string): Promise<unknown> {
    if (fake.answer) return fake.answer()
    const count = (fake.counts.get(key) ?? 0) + 1
    fake.counts.set(key, count)
    return Promise.resolve([count, fake.left])
  }
  const fake: FakeRedis = {
    status: 'ready',
    asked: [],
    counts: new Map(),
    loaded: true,
    answer: undefined,
    left: 30_000,
    async evalsha(_sha, _keys, key) {
      fake.asked.push('evalsha')
      if (!fake.loaded) throw new Error('NOSCRIPT No matching script. Please use EVAL.')
      return run(String(key))
    },
    async eval(_script, _keys, key) {
      fake.asked.push('eval')
      fake.loaded = true
      return run(String(key))
    }
  }
  return fake
}

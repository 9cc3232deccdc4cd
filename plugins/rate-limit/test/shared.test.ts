/** When the store is asked, and when it is left alone. */
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type SharedStore, type StoreState, createSharedStore } from '../shared.ts'
import { type FakeRedis, fakeRedis } from './fake-redis.ts'

interface World {
  fake: FakeRedis
  store: SharedStore
  clock: { ms: number }
  states: StoreState[]
  causes: unknown[]
  /** What so many requests are told, one after the other: how many there were, or undefined. */
  counts: (requests: number) => Promise<(number | undefined)[]>
}

function build({ timeout = 10_000, status = 'ready' } = {}): World {
  const fake = fakeRedis()
  fake.status = status
  const clock = { ms: 0 }
  const states: StoreState[] = []
  const causes: unknown[] = []
  const onState = (state: StoreState, cause?: unknown): void => {
    states.push(state)
    if (cause !== undefined) causes.push(cause)
  }
  const store = createSharedStore({ client: fake, prefix: 'x:', timeout, now: () => clock.ms, onState })
  async function counts(requests: number): Promise<(number | undefined)[]> {
    const seen: (number | undefined)[] = []
    for (let i = 0; i < requests; i++) seen.push((await store.count('client GET /a', 60_000))?.requests)
    return seen
  }
  return { fake, store, clock, states, causes, counts }
}

const broken = async (): Promise<unknown> => Promise.reject(new Error('READONLY of the store'))
const silence = async (): Promise<unknown> => new Promise(() => undefined)
const none = (count: number): undefined[] => Array<undefined>(count).fill(undefined)

async function down(t: Test, { fake, counts, store }: World, answer = broken): Promise<void> {
  fake.answer = answer
  t.same(await counts(5), none(5))
  t.equal(store.state, 'down')
  t.equal(fake.asked.length, 5)
}

t.test('after five failures in a row the store is left alone for a second, then one request tries it', async (t) => {
  const world = build()
  const { fake, clock, states, causes, counts } = world
  await down(t, world)
  t.same(states, ['down'])
  t.match(causes, [{ message: /READONLY/ }])
  clock.ms += 999
  await counts(3)
  t.equal(fake.asked.length, 5)
  clock.ms += 1
  await counts(3)
  t.equal(fake.asked.length, 6, 'one try, which failed')
  fake.answer = undefined
  await counts(1)
  t.equal(fake.asked.length, 6)
  clock.ms += 1000
  t.same(await counts(3), [1, 2, 3])
  t.same(states, ['down', 'up'])
})

t.test('an answer in between begins the row anew', async (t) => {
  const { fake, store, states, counts } = build()
  for (let round = 0; round < 3; round++) {
    fake.answer = broken
    await counts(4)
    fake.answer = undefined
    t.same(await counts(1), [round + 1])
  }
  t.equal(store.state, 'up')
  t.same(states, [])
})

t.test('while a request tries the store all others do without', async (t) => {
  const world = build()
  const { fake, clock, counts } = world
  await down(t, world)
  const { promise, resolve } = Promise.withResolvers<unknown>()
  fake.answer = async () => promise
  clock.ms += 1000
  const tried = counts(1)
  clock.ms += 1000
  t.same(await counts(3), none(3))
  t.equal(fake.asked.length, 6)
  fake.answer = undefined
  resolve([7, 1])
  t.same(await tried, [7])
  t.same(await counts(1), [1])
})

t.test('a store that hangs is not waited for longer than the timeout, and asked every ten seconds', async (t) => {
  const world = build({ timeout: 1 })
  const { fake, clock, causes, counts } = world
  await down(t, world, silence)
  t.match(causes, [{ message: 'the store did not answer within 1 ms' }])
  clock.ms += 9999
  t.same(await counts(1), none(1))
  t.equal(fake.asked.length, 5)
  clock.ms += 1
  t.same(await counts(1), none(1))
  t.equal(fake.asked.length, 6)
  fake.answer = undefined
  clock.ms += 10_000
  t.same(await counts(2), [1, 2], 'though what it was asked first never got an answer')
  await down(t, { ...world, fake: Object.assign(fake, { asked: [] }) })
  clock.ms += 1000
  fake.answer = undefined
  t.same(await counts(1), [3], 'that is forgotten by then')
})

t.test('an answer that comes too late is none, but says that the store no longer hangs', async (t) => {
  const world = build({ timeout: 1 })
  const { fake, clock, states, counts } = world
  const answers: ((value: unknown) => void)[] = []
  await down(t, world, async () => new Promise((resolve) => void answers.push(resolve)))
  for (const answer of answers) answer([1, 1])
  await turn()
  t.same(states, ['down'])
  fake.answer = undefined
  clock.ms += 999
  t.same(await counts(1), none(1))
  clock.ms += 1
  t.same(await counts(1), [1])
  t.same(states, ['down', 'up'])
})

t.test('a client that is not ready is sent nothing, and asked again as soon as it is', async (t) => {
  const { fake, store, states, causes, counts } = build({ status: 'connecting' })
  t.equal(store.state, 'down')
  t.same(await counts(2), none(2))
  fake.status = 'ready'
  t.equal(store.state, 'up')
  t.same(states, [], 'what it was at the start is no change')
  t.same(await counts(1), [1])
  fake.status = 'reconnecting'
  t.same(await counts(7), none(7))
  t.equal(fake.asked.length, 1)
  fake.status = 'ready'
  t.same(await counts(1), [2])
  t.same(states, ['up', 'down', 'up'])
  t.match(causes, [{ message: 'the client is not ready but reconnecting' }])
})

t.test('what was asked over a connection that is gone is not waited for', async (t) => {
  const world = build({ timeout: 1 })
  const { fake, clock, counts } = world
  await down(t, world, silence)
  fake.status = 'reconnecting'
  await counts(1)
  fake.status = 'ready'
  fake.answer = undefined
  clock.ms += 1000
  t.same(await counts(1), [1])
})

t.test('at most a thousand commands are without an answer', async (t) => {
  const { fake, store, states } = build()
  const { promise, resolve } = Promise.withResolvers<unknown>()
  fake.answer = async () => promise
  const waiting = Array.from({ length: 1000 }, async () => store.count('x', 60_000))
  t.equal(await store.count('x', 60_000), undefined)
  t.equal(fake.asked.length, 1000)
  resolve([1, 1])
  t.ok((await Promise.all(waiting)).every((counted) => counted?.requests === 1))
  t.ok(await store.count('x', 60_000))
  t.same(states, [])
})

t.test('a reply that is no count and no time is a failure', async (t) => {
  const wrong = [
    undefined,
    null,
    'OK',
    1,
    [],
    [1],
    ['1', '1'],
    [0, 1],
    [1.5, 1],
    [1, 0],
    [1, -1],
    [1, 60_001],
    [NaN, 1]
  ]
  for (const reply of wrong) {
    const { fake, counts } = build()
    fake.answer = async () => reply
    t.same(await counts(1), none(1), JSON.stringify(reply))
  }
  const { fake, counts, causes } = build()
  fake.answer = async () => [2 ** 53, 1]
  await counts(5)
  t.match(causes, [{ message: 'the store answered something else than a count and the time that is left' }])
})

t.test('a server that does not know the script is taught it, and only then', async (t) => {
  const { fake, counts } = build()
  fake.loaded = false
  t.same(await counts(2), [1, 2])
  t.same(fake.asked, ['evalsha', 'eval', 'evalsha'])
  fake.answer = broken
  await counts(1)
  fake.answer = async () => Promise.reject('NOSCRIPT') // oxlint-disable-line prefer-promise-reject-errors
  await counts(1)
  t.same(fake.asked, ['evalsha', 'eval', 'evalsha', 'evalsha', 'evalsha'])
})

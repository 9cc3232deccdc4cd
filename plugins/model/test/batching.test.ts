/** The queue before a run: how long it waits, who leaves it, who does not get into it. */
import { getEventListeners } from 'node:events'
import t from 'tap'
import { Batcher, type BatcherOptions, type Clock, type Patience } from '../batcher.ts'
import type { ModelOptions, ModelSession, Prediction, Run } from '../index.ts'
import { type FakeSession, build, fakeSession, repositoryOf, sigmoid, tiny } from './helper.ts'
import { slowModel } from './slow-model.ts'

const turn = async (): Promise<void> => new Promise(setImmediate)

/** Time that the test makes. */
class TestClock implements Clock {
  time = 1000
  readonly timers = new Set<{ at: number; callback: () => void }>()
  readonly now = (): number => this.time
  readonly setTimeout = (callback: () => void, milliseconds: number): unknown => {
    const timer = { at: this.time + milliseconds, callback }
    this.timers.add(timer)
    return timer
  }
  readonly clearTimeout = (timer: unknown): void =>
    void this.timers.delete(timer as { at: number; callback: () => void })

  pass(milliseconds: number): void {
    this.time += milliseconds
    for (const timer of [...this.timers].filter(({ at }) => at <= this.time)) {
      this.timers.delete(timer)
      timer.callback()
    }
  }
}

interface Gated {
  batcher: Batcher
  session: FakeSession
  clock: TestClock
  runs: Run[]
  rejects: string[]
  /** From now on runs wait for a free worker, before they ask for rows. */
  shut: () => void
  open: () => void
  ask: (a: number, patience?: Patience) => Promise<Prediction>
}

/** A queue whose worker is free when the test says so. */
function gated(options: Partial<BatcherOptions> = {}, session = fakeSession()): Gated {
  let gate = Promise.resolve()
  let open = (): void => {}
  const runs: Run[] = []
  const rejects: string[] = []
  const clock = new TestClock()
  const behind: ModelSession = {
    ...session,
    async run(next) {
      await gate
      return session.run(next)
    }
  }
  const batcher = new Batcher(behind, tiny, {
    maxBatchSize: 100,
    maxQueueDelayMs: 0,
    maxQueueSize: 100,
    overflowStatus: 503,
    onRun: (run) => runs.push(run),
    onReject: (error) => rejects.push((error as Error & { code: string }).code),
    clock,
    ...options
  })
  return {
    batcher,
    session,
    clock,
    runs,
    rejects,
    shut() {
      gate = new Promise((resolve) => {
        open = resolve
      })
    },
    open: () => open(),
    ask: async (a, patience) => batcher.score(Float32Array.of(a, 0), patience)
  }
}

t.test('a request waits for others as long as it may, and no longer than its batch is full', async (t) => {
  const { batcher, session, clock, ask } = gated({ maxQueueDelayMs: 20, maxBatchSize: 3 })
  const first = ask(1)
  await turn()
  clock.pass(19)
  const second = ask(2)
  await turn()
  t.same(session.runs, [], 'it waits')
  clock.pass(1)
  t.equal((await first).probability![0]!.toFixed(4), sigmoid(1, 0).toFixed(4))
  t.equal((await second).probability![0]!.toFixed(4), sigmoid(2, 0).toFixed(4))
  t.same(session.runs, [2])

  await Promise.all([ask(1), ask(2), ask(3)])
  t.same(session.runs, [2, 3], 'a full batch does not wait')

  const four = [ask(1), ask(2), ask(3), ask(4)]
  await Promise.all(four.slice(0, 3))
  t.same(session.runs, [2, 3, 3])
  t.equal(batcher.depth, 1, 'what was too much for it waits from when it came')
  clock.pass(20)
  await four[3]
  t.same(session.runs, [2, 3, 3, 1])

  const last = ask(1)
  const closed = batcher.drain(1000)
  t.equal((await last).probability!.length, 1, 'nobody else will come')
  await closed
})

t.test('what has waited for a worker longer than for others does not wait again', async (t) => {
  const { session, clock, ask, shut, open } = gated({ maxQueueDelayMs: 20, maxBatchSize: 2 })
  shut()
  const asked = [ask(1), ask(2), ask(3)]
  clock.time += 20
  open()
  await Promise.all(asked)
  t.same(session.runs, [2, 1])
})

t.test('who waits too long, or no longer, is dropped before the run, and the others are scored as ever', async (t) => {
  const { batcher, session, clock, runs, rejects, ask, shut, open } = gated()
  shut()
  const stop = new AbortController()
  const late = t.rejects(ask(1, { deadline: 50 }), { code: 'TF_ERR_MODEL_DEADLINE', statusCode: 504 })
  const stays = batcher.score(Float32Array.of(2, 0, 3, 0), { deadline: 160 })
  const aborted = t.rejects(ask(4, { signal: stop.signal }), { code: 'TF_ERR_MODEL_ABORTED', statusCode: 499 })
  const last = ask(5, { signal: stop.signal, deadline: 170 })
  const unsignalled = ask(6, { signal: new AbortController().signal })
  t.equal(batcher.depth, 6)
  clock.pass(50)
  await late
  t.equal(batcher.depth, 5)
  stop.abort()
  await aborted
  await t.rejects(last, { code: 'TF_ERR_MODEL_ABORTED' })
  t.equal(batcher.depth, 3)
  clock.time += 250
  open()
  t.same((await stays).probability, Float32Array.of(sigmoid(2, 0), sigmoid(3, 0)))
  t.same((await unsignalled).probability, Float32Array.of(sigmoid(6, 0)))
  t.same(session.runs, [3])
  t.match(runs, [{ rows: 3, requests: 2, waits: [0.3, 0.3] }])
  clock.pass(1000)
  t.same(getEventListeners(stop.signal, 'abort'), [])
  t.same(rejects, ['TF_ERR_MODEL_DEADLINE', 'TF_ERR_MODEL_ABORTED', 'TF_ERR_MODEL_ABORTED'])

  await t.rejects(ask(1, { signal: stop.signal }), { code: 'TF_ERR_MODEL_ABORTED' }, 'before it came')
  for (const deadline of [0, -1, Number.NaN]) await t.rejects(ask(1, { deadline }), { code: 'TF_ERR_MODEL_DEADLINE' })
  t.same(session.runs, [3])
})

t.test('a request that is given up in a run is not answered, and its run goes on', async (t) => {
  let finish = (): void => {}
  const session = fakeSession()
  const run = session.run.bind(session)
  session.run = async (next) => {
    const scores = await run(next)
    await new Promise<void>((resolve) => {
      finish = resolve
    })
    return scores
  }
  const { batcher, ask, rejects } = gated({}, session)
  const stop = new AbortController()
  const gone = t.rejects(ask(1, { signal: stop.signal }), { code: 'TF_ERR_MODEL_ABORTED' })
  const stays = ask(2)
  while (batcher.depth > 0) await turn()
  await turn()
  stop.abort()
  await gone
  finish()
  t.same((await stays).probability, Float32Array.of(sigmoid(2, 0)))
  t.equal(batcher.depth, 0)
  t.same(rejects, ['TF_ERR_MODEL_ABORTED'])
})

t.test('a request that was given up in a run that fails is rejected once', async (t) => {
  let fail: (error: Error) => void = () => {}
  const session = fakeSession()
  session.run = async (next) => {
    next()
    return new Promise((_resolve, reject) => {
      fail = reject
    })
  }
  const { ask, rejects, clock } = gated({}, session)
  const late = t.rejects(ask(1, { deadline: 10 }), { code: 'TF_ERR_MODEL_DEADLINE' })
  await turn()
  clock.pass(10)
  await late
  fail(new Error('out of memory'))
  await turn()
  t.same(rejects, ['TF_ERR_MODEL_DEADLINE'])
  t.same(clock.timers.size, 0)
})

t.test('a run that nobody waits for is not begun, by whatever runtime', async (t) => {
  const repository = repositoryOf(t, [['tiny', '1', {}, slowModel()]])
  const others: Partial<ModelOptions>[] = [
    { openSession: async () => fakeSession() },
    { execution: 'inline' },
    { execution: 'process' }
  ]
  for (const options of others) {
    const runs: Run[] = []
    const app = await build(t, { repository, ...options, onRun: (_, run) => runs.push(run) })
    const stop = new AbortController()
    const gone = app.model.predict('tiny', Float32Array.of(1, 0), { signal: stop.signal })
    stop.abort()
    await t.rejects(gone, { code: 'TF_ERR_MODEL_ABORTED' })
    await turn()
    const { probability } = await app.model.predict('tiny', Float32Array.of(2, 0))
    t.equal(probability![0]!.toFixed(6), sigmoid(2, 0).toFixed(6))
    t.equal(runs.length, 1)
    await app.close()
  }
})

t.test('a full queue refuses, and says how long what waits will take', async (t) => {
  for (const [overflowStatus, code] of [
    [undefined, 503],
    [429, 429]
  ] as const) {
    const options = { maxQueueSize: 4, maxBatchSize: 1, ...(overflowStatus && { overflowStatus }) }
    const own = fakeSession()
    const { clock, rejects, ask, shut, open } = gated(options, {
      ...own,
      async run(next) {
        const scores = await own.run(next)
        clock.time += seconds * 1000
        return scores
      }
    })
    let seconds = 10
    await ask(1)
    shut()
    const asked = [ask(1), ask(2), ask(3), ask(4)]
    const busy = { code: 'TF_ERR_MODEL_BUSY', statusCode: code }
    await t.rejects(ask(5), { ...busy, headers: { 'retry-after': '40' } }, 'those that wait')
    seconds = 0
    open()
    await Promise.all(asked)
    shut()
    const again = [ask(1), ask(2), ask(3), ask(4)]
    await t.rejects(ask(5), { ...busy, headers: { 'retry-after': '17' } }, 'they have become faster')
    open()
    await Promise.all(again)
    t.same(rejects, ['TF_ERR_MODEL_BUSY', 'TF_ERR_MODEL_BUSY'])
  }
})

t.test('a run that waits for a worker is none under way: it does not make the others shorter', async (t) => {
  const own = fakeSession()
  let free = Promise.resolve()
  const work = Promise.withResolvers<void>()
  let first = true
  const { clock, ask } = gated(
    { maxQueueSize: 10, maxBatchSize: 1 },
    {
      ...own,
      // One worker: the next run asks for its rows when the one before has ended.
      async run(next) {
        const before = free
        const { promise, resolve } = Promise.withResolvers<void>()
        free = promise
        await before
        const scores = await own.run(next)
        if (first) clock.time += 3000
        else await work.promise
        first = false
        resolve()
        return scores
      }
    }
  )
  await ask(0)
  const asked = Array.from({ length: 10 }, async (_, i) => ask(i))
  for (let i = 0; i < 5; i++) await turn()
  const busy = { code: 'TF_ERR_MODEL_BUSY', headers: { 'retry-after': '30' } }
  await t.rejects(ask(11), busy, 'one run under way, nine to come')
  work.resolve()
  await Promise.all(asked)
})

t.test('a runtime that is late with saying that it had nothing to do fails nobody', async (t) => {
  const own = fakeSession()
  const { ask, rejects, clock } = gated(
    { maxQueueSize: 1 },
    {
      ...own,
      async run(next) {
        try {
          return await own.run(next)
        } catch (error) {
          for (let i = 0; i < 3; i++) await turn()
          clock.time += 100_000
          throw error
        }
      }
    }
  )
  for (let turns = 0; turns < 6; turns++) {
    const left = new AbortController()
    const given = t.rejects(ask(1, { signal: left.signal }), { code: 'TF_ERR_MODEL_ABORTED' })
    left.abort()
    await given
    for (let i = 0; i < turns; i++) await turn()
    t.ok((await ask(2)).probability)
  }
  t.same(new Set(rejects), new Set(['TF_ERR_MODEL_ABORTED']))
  for (let i = 0; i < 6; i++) await turn()
  const waits = ask(1)
  const busy = { code: 'TF_ERR_MODEL_BUSY', headers: { 'retry-after': '1' } }
  await t.rejects(ask(2), busy, 'nothing to do is not a long run')
  await waits
})

t.test('a runtime that fails before it asks fails nobody who has gone', async (t) => {
  let work = Promise.withResolvers<void>()
  const own = fakeSession()
  const { ask, runs, rejects, clock } = gated(
    {},
    {
      ...own,
      async run(next) {
        await work.promise
        return own.run(next)
      }
    }
  )
  const left = new AbortController()
  const given = t.rejects(ask(1, { signal: left.signal }), { code: 'TF_ERR_MODEL_ABORTED' })
  await turn()
  left.abort()
  await given
  work.reject(new Error('out of memory'))
  await turn()
  t.same([runs.length, rejects], [0, ['TF_ERR_MODEL_ABORTED']])

  work = Promise.withResolvers()
  const failed = t.rejects(ask(1), { code: 'TF_ERR_MODEL_INFERENCE' })
  clock.time += 10_000
  work.reject(new Error('no worker'))
  await failed
  t.match(runs, [{ seconds: 0, waits: [10], answered: 0 }], 'that was a wait, no run')
  work = Promise.withResolvers()
  work.resolve()
  t.ok((await ask(2)).probability, 'the next one is scored')
})

t.test('a deadline beyond the longest timer is none', async (t) => {
  const app = await build(t, { openSession: async () => fakeSession(), maxQueueDelayMs: 20 })
  for (const deadline of [Infinity, 2 ** 31]) t.ok(await app.model.predict('tiny', new Float32Array(2), { deadline }))
})

t.test('what waits when its version ends has its time, and is refused then', async (t) => {
  const { batcher, clock, rejects, ask, shut, open } = gated()
  shut()
  const before = t.rejects(ask(2, { deadline: 10 }), { code: 'TF_ERR_MODEL_DEADLINE' })
  clock.pass(10)
  await before
  const refused = t.rejects(ask(1), { code: 'TF_ERR_MODEL_BUSY', headers: { 'retry-after': '1' } })
  const unloaded = batcher.drain(3000)
  await turn()
  clock.pass(2999)
  t.equal(rejects.length, 1)
  clock.pass(1)
  await refused
  open()
  await unloaded
  t.same(rejects, ['TF_ERR_MODEL_DEADLINE', 'TF_ERR_MODEL_BUSY'])
  t.equal(batcher.depth, 0)
})

t.test('every request without scores is reported, by the reason', async (t) => {
  const rejects: string[] = []
  let run: ModelSession['run'] | undefined
  const session = fakeSession()
  const app = await build(t, {
    openSession: async () => ({ ...session, run: async (next) => (run === undefined ? session.run(next) : run(next)) }),
    onReject: (name, reason) => rejects.push(`${name} ${reason}`)
  })
  const ask = async (a: number): Promise<Prediction> => app.model.predict('tiny', Float32Array.of(a, 0))
  run = async () => Promise.reject(new Error('out of memory'))
  await t.rejects(Promise.all([ask(1), ask(2)]), { code: 'TF_ERR_MODEL_INFERENCE' })
  run = async (next) => ({ ...(await session.run(next)), probability: Float32Array.of(NaN) })
  await t.rejects(ask(1), { code: 'TF_ERR_MODEL_OUTPUT' })
  await t.rejects(ask(Infinity), { code: 'TF_ERR_MODEL_INPUT' })
  await t.rejects(app.model.predict('tony', new Float32Array(2)), { code: 'TF_ERR_MODEL_UNKNOWN' })
  await app.model.unload('tiny')
  await t.rejects(ask(1), { code: 'TF_ERR_MODEL_NOT_LOADED' })
  t.throws(() => app.model.toVector('tiny', { a: 1, b: 2 }), { code: 'TF_ERR_MODEL_NOT_LOADED' })
  t.same(rejects, ['tiny inference', 'tiny inference', 'tiny output', 'tiny not_loaded', 'tiny not_loaded'])
})

t.test('a row that has no scores fails its request, and no other one of the run', async (t) => {
  const runs: Run[] = []
  const rejects: string[] = []
  const app = await build(t, {
    onRun: (_manifest, run) => runs.push(run),
    onReject: (_name, reason) => rejects.push(reason)
  })
  const ask = async (...values: number[]): Promise<Prediction> => app.model.predict('tiny', Float32Array.from(values))
  const huge = -3e38
  const asked = [ask(1, 0), ask(2, 0, 0, huge), ask(3, 0), ask(0, huge), ask(4, 0, 5, 0)]
  const settled = await Promise.allSettled(asked)
  t.match(
    settled.map((result) => (result.status === 'fulfilled' ? result.value.probability!.length : result.reason)),
    [
      1,
      { code: 'TF_ERR_MODEL_OUTPUT', message: 'Inference failed: row 1 has the margin Infinity' },
      1,
      { message: 'Inference failed: row 0 has the margin Infinity' },
      2
    ]
  )
  const expected = [1, 3, 4, 5].map((a) => sigmoid(a, 0).toFixed(6))
  const answered = settled.flatMap((result) => (result.status === 'fulfilled' ? [...result.value.probability!] : []))
  t.same(
    answered.map((p) => p.toFixed(6)),
    expected
  )
  t.match(runs, [{ rows: 7, requests: 5, answered: 4 }])
  t.same([...runs[0]!.scores!.probability!], answered, 'who counts probabilities sees those that were answered')
  t.same(rejects, ['output', 'output'])

  await t.rejects(Promise.all([ask(0, huge), ask(1, huge)]), { code: 'TF_ERR_MODEL_OUTPUT' })
  t.match(runs[1], { rows: 2, answered: 0, scores: undefined }, 'a run in which all fail has failed')
})

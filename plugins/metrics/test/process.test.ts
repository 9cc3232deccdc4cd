/** The monitor of the event loop that several readers share. */
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import t from 'tap'
import metricsPlugin from '../index.ts'
import { type Monitor, OVERLAP, shareMonitor } from '../process.ts'

/** A monitor that is told what it sees. */
class FakeMonitor implements Monitor {
  enabled = false
  seen: number[] = []
  get min() {
    return Math.min(...this.seen)
  }
  get max() {
    return Math.max(0, ...this.seen)
  }
  get mean() {
    return this.seen.reduce((sum, value) => sum + value, 0) / this.seen.length
  }
  get stddev() {
    return this.seen.length
  }
  percentile(share: number) {
    return share
  }
  reset() {
    this.seen = []
  }
  enable() {
    return this.enabled !== (this.enabled = true)
  }
  disable() {
    return this.enabled !== (this.enabled = false)
  }
}

interface Clocked {
  shared: Monitor
  made: FakeMonitor[]
  clock: { now: number }
  /** What both monitors see, as they do. */
  see: (value: number) => void
  /** A reading as prom-client makes it: the largest value, and then back. */
  read: () => number
}

function build(): Clocked {
  const made: FakeMonitor[] = []
  const clock = { now: 0 }
  const create = (): Monitor => {
    made.push(new FakeMonitor())
    return made.at(-1)!
  }
  const shared = shareMonitor(create, () => clock.now)
  return {
    shared,
    made,
    clock,
    see: (value) => made.forEach(({ seen }) => seen.push(value)),
    read() {
      const { max } = shared
      shared.reset()
      return max
    }
  }
}

t.test('a peak is in the readings of all who read within the overlap', async (t) => {
  const { clock, see, read } = build()
  clock.now = 20_000
  read()
  see(7)
  clock.now += 1000
  t.equal(read(), 7, 'the first reader')
  clock.now += 1000
  t.equal(read(), 7, 'the second one has it too')
  for (const end = clock.now + OVERLAP - 3000; clock.now < end; clock.now += 1000) t.equal(read(), 7, `${clock.now}`)
})

t.test('a reading covers at least the overlap, and not much more when readers come often', async (t) => {
  const { clock, see, read } = build()
  const lasted: number[] = []
  for (let peak = 0; peak < 10; peak++) {
    clock.now += 1700 * (peak + 1)
    for (let i = 0; i < 40; i++) {
      clock.now += 1000
      read()
    }
    see(9)
    const since = clock.now
    while (read() === 9) clock.now += 1000
    lasted.push(clock.now - since)
  }
  t.ok(Math.min(...lasted) >= OVERLAP, lasted.join())
  t.ok(Math.max(...lasted) <= 2 * OVERLAP + 1000, lasted.join())
})

t.test('a reader alone misses nothing, however seldom it comes', async (t) => {
  const { clock, see, read } = build()
  for (const peak of [5, 3, 4]) {
    clock.now += 60_000
    read()
    clock.now += 1000
    see(peak)
    clock.now += 59_000
    t.ok(read() >= peak, `${peak}`)
  }
  clock.now += 60_000
  t.equal(read(), 4, 'once more: the reading before the last one')
  clock.now += 60_000
  t.equal(read(), 0)
})

t.test('all that prom-client asks is that of the older one; both are started and stopped', async (t) => {
  const { shared, made, see } = build()
  t.equal(made.length, 2)
  t.equal(shared.enable(), true)
  t.same([made[0]!.enabled, made[1]!.enabled], [true, true])
  t.equal(shared.enable(), false)
  see(2)
  see(4)
  made[1]!.reset()
  t.same([shared.min, shared.max, shared.mean, shared.stddev, shared.percentile(99)], [2, 4, 3, 2, 99])
  t.equal(shared.disable(), true)
  t.same([made[0]!.enabled, made[1]!.enabled], [false, false])
  t.equal(shared.disable(), false)
})

t.test('its clock is that of the process', async (t) => {
  const made: FakeMonitor[] = []
  const shared = shareMonitor(() => {
    made.push(new FakeMonitor())
    return made.at(-1)!
  })
  made[0]!.seen.push(1)
  shared.reset()
  t.equal(shared.max, 1)
})

t.test('what blocked the event loop is in the readings of all, not only in the first one', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metricsPlugin)
  const read = async (): Promise<number> => {
    const [metric] = await app.metrics.json(['nodejs_eventloop_lag_max_seconds'])
    return metric!.series[0]!.value!
  }
  // The gauge of the delays is set by that of the lag: all are read.
  const readAll = async (): Promise<number> => {
    await app.metrics.json()
    return read()
  }
  for (let seen = 0, tries = 0; seen < 0.1 && tries < 20; tries++) {
    await sleep(15)
    for (const end = performance.now() + 150; performance.now() < end;);
    await sleep(15)
    seen = await readAll()
  }
  t.ok((await readAll()) >= 0.1, 'the second reader')
  t.ok((await readAll()) >= 0.1, 'and the third one')
})

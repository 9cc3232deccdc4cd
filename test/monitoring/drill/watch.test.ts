/** The drill's judgement, of a Prometheus that says what it is told, by a clock that moves with each look. */
import t from 'tap'
import { type Fault, NOT_REHEARSED, REMEMBERING } from '../../../monitoring/drill/faults.ts'
import { problemsOf, silenceOf, tableOf } from '../../../monitoring/drill/table.ts'
import { type Notice, type View, type Watcher, rehearse, settle } from '../../../monitoring/drill/watch.ts'

/** Seconds between two looks. */
const STEP = 1

/** What is said at each look, by alert and state; the last one goes on. */
interface Moment {
  pending?: string[]
  firing?: string[]
  heldBack?: string[]
  /** Notifications that have come since the last look. */
  told?: Omit<Notice, 'at'>[]
}

function watcherOf(moments: readonly Moment[]): Watcher & { said: string[]; looks: number } {
  let at = 0
  const notices: Notice[] = []
  const watcher = {
    said: [] as string[],
    looks: 0,
    notices,
    now: () => at,
    async look(): Promise<View> {
      const { pending = [], firing = [], heldBack = [], told = [] } = moments[watcher.looks] ?? {}
      watcher.looks++
      for (const notice of told) notices.push({ ...notice, at })
      return { pending: new Set(pending), firing: new Set(firing), heldBack: new Set(heldBack) }
    },
    async pause() {
      at += STEP * 1000
    },
    limit: 5000,
    say: (line: string) => watcher.said.push(line)
  }
  return watcher
}

function faultOf(over: Partial<Fault> = {}): Fault & { done: string[] } {
  const done: string[] = []
  return {
    name: 'flood',
    expected: ['Wet'],
    consequences: ['Cold', 'ErrorBudgetBurn 6h'],
    inject: () => done.push('inject'),
    heal: () => done.push('heal'),
    done,
    ...over
  }
}

const fires = (alert = 'Wet', receiver = 'warning'): Omit<Notice, 'at'> => ({ alert, receiver, status: 'firing' })
const ends = (alert = 'Wet', receiver = 'warning'): Omit<Notice, 'at'> => ({ alert, receiver, status: 'resolved' })

t.test('a fault that is noticed, told, resolved, and told to be over', async (t) => {
  const watcher = watcherOf([
    { pending: ['Wet'] },
    { firing: ['Wet'] },
    { firing: ['Wet'], told: [fires()] },
    { firing: ['Wet'] },
    {},
    { told: [ends()] }
  ])
  const fault = faultOf()
  const outcome = await rehearse(fault, watcher)
  t.same(outcome, {
    fault: 'flood',
    alerts: [{ alert: 'Wet', fired: 1, told: { receiver: 'warning', after: 2 }, resolved: 1, toldResolved: true }],
    consequences: [],
    falseAlarms: [],
    restless: []
  })
  t.same(fault.done, ['inject', 'heal'])
  t.same(watcher.said, ['injected', 'Wet fires after 1 s', 'healed', 'Wet is resolved after 1 s'])
  t.same(problemsOf(outcome), [])
})

t.test('one that is held back is told to nobody, and that is right', async (t) => {
  const watcher = watcherOf([{ firing: ['Wet'] }, { firing: ['Wet'], heldBack: ['Wet'] }, {}])
  const outcome = await rehearse(faultOf(), watcher)
  t.match(outcome.alerts, [{ told: 'held back', toldResolved: true, resolved: 0 }])
  t.same(problemsOf(outcome), [])
})

t.test('each of several alerts has its own time', async (t) => {
  const watcher = watcherOf([
    { firing: ['Wet'], told: [fires()] },
    { firing: ['Wet', 'Deep'], told: [fires('Deep', 'critical'), fires()] },
    { firing: ['Wet'], told: [ends('Deep', 'critical')] },
    { told: [ends()] }
  ])
  const { alerts } = await rehearse(faultOf({ expected: ['Wet', 'Deep'] }), watcher)
  t.same(alerts, [
    { alert: 'Wet', fired: 0, told: { receiver: 'warning', after: 0 }, resolved: 1, toldResolved: true },
    { alert: 'Deep', fired: 1, told: { receiver: 'critical', after: 1 }, resolved: 0, toldResolved: true }
  ])
})

t.test('what does not happen within the limit is a problem', async (t) => {
  const never = await rehearse(faultOf(), watcherOf([{ pending: ['Wet'] }]))
  t.same(problemsOf(never), ['flood: Wet did not fire'])

  const forever = Array.from({ length: 30 }, () => ({ firing: ['Wet'] }))
  const silent = await rehearse(faultOf(), watcherOf(forever))
  t.same(problemsOf(silent), [
    'flood: Wet was told to nobody',
    'flood: Wet was not resolved',
    'flood: Wet was not over at the end, or somebody thinks so'
  ])

  const late = await rehearse(
    faultOf(),
    watcherOf([...Array.from({ length: 5 }, () => ({})), { firing: ['Wet'], told: [fires()] }, { told: [ends()] }])
  )
  t.same(problemsOf(late), ['flood: Wet did not fire'], 'after the healing is too late')

  const told = await rehearse(faultOf(), watcherOf([{ firing: ['Wet'], told: [fires()] }]))
  t.same(problemsOf(told), [
    'flood: nobody was told that Wet is over',
    'flood: Wet was not over at the end, or somebody thinks so'
  ])
})

t.test('what else fires is a consequence or a false alarm, until it is quiet', async (t) => {
  const outcome = await rehearse(
    faultOf(),
    watcherOf([
      { firing: ['Wet', 'Cold'], heldBack: ['Wet'] },
      { pending: ['Fire'] },
      { firing: ['Fire', 'ErrorBudgetBurn 6h'] },
      { firing: ['ErrorBudgetBurn 6h'] }
    ])
  )
  t.match(outcome, { consequences: ['Cold', 'ErrorBudgetBurn 6h'], falseAlarms: ['Fire'], restless: [] })
  t.same(problemsOf(outcome), ['flood: Fire fired, and should not have'])
})

t.test(
  'before the next fault whoever was told of a consequence is told of its end, unless that is held back',
  async (t) => {
    const wet = { firing: ['Wet'], heldBack: ['Wet'] }
    const waits = watcherOf([wet, { told: [fires('Cold')] }, {}, {}, { told: [ends('Cold')] }])
    t.match(await rehearse(faultOf(), waits), { restless: [] })
    t.equal(waits.looks, 5)
    const held = { firing: ['Wet', 'Cold'], heldBack: ['Wet', 'Cold'] }
    t.match(await rehearse(faultOf(), watcherOf([held, { told: [fires('Cold')] }])), { restless: [] })
    const remembers = watcherOf([wet, { told: [fires('ErrorBudgetBurn 6h')] }])
    t.match(await rehearse(faultOf(), remembers), { restless: [] })
  }
)

t.test('notifications of an earlier fault do not count', async (t) => {
  const watcher = watcherOf([{ told: [fires()] }, { firing: ['Wet'] }])
  await watcher.look()
  await watcher.pause()
  const outcome = await rehearse(faultOf(), watcher)
  t.match(outcome.alerts, [{ fired: 0, told: undefined }])
})

t.test('a fault is healed when the drill is stopped, and when it could not be injected', async (t) => {
  const stopped = faultOf()
  const pause = async (): Promise<void> => Promise.reject(new Error('stopped'))
  await t.rejects(rehearse(stopped, { ...watcherOf([]), pause }), { message: 'stopped' })
  t.same(stopped.done, ['inject', 'heal'])

  const impossible = faultOf({ inject: async () => Promise.reject(new Error('no')) })
  await t.rejects(rehearse(impossible, watcherOf([])), { message: 'no' })
  t.same(impossible.done, ['heal'])
})

t.test('it is quiet when nothing has been active for so long', async (t) => {
  const watcher = watcherOf([{}, { pending: ['Wet'] }, {}, {}, {}])
  t.same(await settle(watcher, 2000), [])
  t.equal(watcher.looks, 4)
  t.same(await settle(watcherOf(Array.from({ length: 9 }, () => ({ pending: ['Wet'], firing: ['Wet', 'Cold'] }))), 0), [
    'Wet',
    'Cold'
  ])
})

t.test('the table', async (t) => {
  const table = tableOf([
    {
      fault: 'flood',
      alerts: [
        { alert: 'Wet', fired: 1.5, told: { receiver: 'warning', after: 2 }, resolved: 3, toldResolved: true },
        { alert: 'Deep', fired: 2, told: 'held back', resolved: 3, toldResolved: true }
      ],
      consequences: ['Cold', 'Dark'],
      falseAlarms: [],
      restless: []
    },
    {
      fault: 'fire',
      alerts: [{ alert: 'Hot', toldResolved: true }],
      consequences: [],
      falseAlarms: ['Wet'],
      restless: []
    }
  ])
  t.equal(
    table,
    `
| fault | alert expected | fired after | told         | resolved after | consequences | false alarms |
| ----- | -------------- | ----------- | ------------ | -------------- | ------------ | ------------ |
| flood | Wet            | 1.5 s       | warning, 2 s | 3 s            | Cold, Dark   | none         |
|       | Deep           | 2 s         | held back    | 3 s            |              |              |
| fire  | Hot            | never       | nobody       | never          |              | Wet          |`.trim()
  )
})

t.test('alerts that no fault raises are told, a line a reason', async (t) => {
  const lines = silenceOf().split('\n')
  t.equal(lines.length, NOT_REHEARSED.length)
  t.ok(lines.includes('not rehearsed, they remember for hours and days: ' + REMEMBERING.join(', ')))
})

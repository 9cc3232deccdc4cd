/** One fault, from quiet to quiet: what fires, who is told, what is resolved, and what should not have fired. */
import { type Fault, REMEMBERING } from './faults.ts'

/** What Prometheus and Alertmanager say at one moment. */
export interface View {
  pending: ReadonlySet<string>
  firing: ReadonlySet<string>
  /** Fires, and nobody is told, because of another one that fires. */
  heldBack: ReadonlySet<string>
}

/** A notification that reached a receiver. */
export interface Notice {
  alert: string
  status: 'firing' | 'resolved'
  receiver: string
  /** By the clock of the drill. */
  at: number
}

export interface Watcher {
  look: () => Promise<View>
  /** All notifications so far. */
  notices: readonly Notice[]
  /** Milliseconds of a clock that never goes back. */
  now: () => number
  /** Until the next look. @throws when the drill is stopped */
  pause: () => Promise<void>
  /** Milliseconds for each: until the alerts have fired, until they are resolved, until it is quiet again. */
  limit: number
  say: (line: string) => void
}

/** Seconds; undefined: it did not happen within the limit. */
export interface AlertOutcome {
  alert: string
  /** After the injection. */
  fired?: number
  told?: { receiver: string; after: number } | 'held back'
  /** After the healing. */
  resolved?: number
  /** Whether who was told that it fires was told of its end. */
  toldResolved: boolean
}

export interface Outcome {
  fault: string
  alerts: AlertOutcome[]
  /** What else fired, and may. */
  consequences: string[]
  falseAlarms: string[]
  /** What still was pending or fired long after the healing. */
  restless: string[]
}

const seconds = (from: number, to: number): number => Math.round((to - from) / 100) / 10

/** Looks until something holds. @returns whether it did within the limit */
async function until(watcher: Watcher, holds: (view: View) => boolean): Promise<boolean> {
  const end = watcher.now() + watcher.limit
  while (watcher.now() < end) {
    if (holds(await watcher.look())) return true
    await watcher.pause()
  }
  return false
}

/** Alerts that are not silent, but for those that remember earlier faults. */
function noise({ pending, firing }: View): string[] {
  return [...firing, ...pending].filter((alert) => !REMEMBERING.includes(alert))
}

/** Alerts that receivers take to be firing: before they hear of the end they would not hear of a new beginning. */
function open(notices: readonly Notice[]): string[] {
  const last = new Map(notices.map(({ alert, status }) => [alert, status]))
  return [...last.keys()].filter((alert) => last.get(alert) === 'firing' && !REMEMBERING.includes(alert))
}

/**
 * Waits until nothing is pending, nothing fires and every receiver knows, for some time.
 * @param quiet milliseconds
 * @param heldBack alerts whose end may be held back too
 * @returns what is not over
 */
export async function settle(
  watcher: Watcher,
  quiet: number,
  seen: (view: View) => void = () => undefined,
  heldBack: ReadonlySet<string> = new Set()
): Promise<string[]> {
  let left: string[] = []
  let since = watcher.now()
  await until(watcher, (view) => {
    seen(view)
    left = [...new Set([...noise(view), ...open(watcher.notices).filter((alert) => !heldBack.has(alert))])]
    if (left.length > 0) since = watcher.now()
    return left.length === 0 && watcher.now() - since >= quiet
  })
  return left
}

/** What has become of the expected alerts since the injection. Only while the fault lasts: later is too late. */
function noteBeginning(
  alerts: readonly AlertOutcome[],
  view: View,
  start: number,
  { notices, now, say }: Watcher
): void {
  for (const outcome of alerts) {
    const { alert } = outcome
    if (view.firing.has(alert) && outcome.fired === undefined) {
      outcome.fired = seconds(start, now())
      say(`${alert} fires after ${outcome.fired} s`)
    }
    if (outcome.told !== undefined) continue
    const notice = notices.find((one) => one.at >= start && one.alert === alert && one.status === 'firing')
    if (notice) outcome.told = { receiver: notice.receiver, after: seconds(start, notice.at) }
    else if (view.heldBack.has(alert)) outcome.told = 'held back'
  }
}

/** What has become of those that fired since the healing. */
function noteEnd(alerts: readonly AlertOutcome[], view: View, healed: number, { notices, now, say }: Watcher): void {
  for (const outcome of alerts) {
    const { alert, fired, told, resolved } = outcome
    if (fired !== undefined && resolved === undefined && !view.firing.has(alert)) {
      outcome.resolved = seconds(healed, now())
      say(`${alert} is resolved after ${outcome.resolved} s`)
    }
    outcome.toldResolved =
      typeof told !== 'object' ||
      notices.some((one) => one.at >= healed && one.alert === alert && one.status === 'resolved')
  }
}

/** Injects a fault and heals it, whatever happens in between. It must be quiet before. */
export async function rehearse(fault: Fault, watcher: Watcher): Promise<Outcome> {
  const { now, say } = watcher
  const alerts = fault.expected.map((alert): AlertOutcome => ({ alert, toldResolved: true }))
  const others = new Set<string>()
  const held = new Set<string>()
  function noteOthers({ firing, heldBack }: View): void {
    for (const alert of heldBack) held.add(alert)
    for (const alert of firing) if (!fault.expected.includes(alert)) others.add(alert)
  }

  const start = now()
  say('injected')
  try {
    await fault.inject()
    await until(watcher, (view) => {
      noteOthers(view)
      noteBeginning(alerts, view, start, watcher)
      return alerts.every(({ fired, told }) => fired !== undefined && told !== undefined)
    })
  } finally {
    await fault.heal()
  }
  const healed = now()
  say('healed')
  await until(watcher, (view) => {
    noteOthers(view)
    noteEnd(alerts, view, healed, watcher)
    return alerts.every(
      ({ fired, resolved, toldResolved }) => fired === undefined || (resolved !== undefined && toldResolved)
    )
  })
  const restless = await settle(watcher, 0, noteOthers, held)
  const fired = [...others].toSorted()
  return {
    fault: fault.name,
    alerts,
    consequences: fired.filter((alert) => fault.consequences.includes(alert)),
    falseAlarms: fired.filter((alert) => !fault.consequences.includes(alert)),
    restless
  }
}

/**
 * `npm run drill`: breaks a running service in every way that it is watched for, one after the other, with the repository's own
 * rules on a fast clock, and tells for each whether the alert fired, somebody was told, and it was resolved.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { faultsOf } from './drill/faults.ts'
import { type DrillOptions, startDrill } from './drill/stack.ts'
import { problemsOf, tableOf } from './drill/table.ts'
import { startTraffic } from './drill/traffic.ts'
import { type Outcome, type Watcher, rehearse, settle } from './drill/watch.ts'

/** Thirty times as fast: 5 minutes are 10 seconds. Faster, windows would hold too few scrapes, which take a second. */
const SPEED = 30
/** In milliseconds of the rules' clock: longer than the slowest alert takes. */
const PATIENCE = 3_600_000
/** Of the same clock: at first the windows of most rules must have filled. */
const FIRST_QUIET = 300_000
/** Milliseconds between two looks; an alert fires for a second at least. */
const LOOK_EVERY = 500

export interface Drill extends DrillOptions {
  /** Faults to inject, by name; all by default. */
  only?: readonly string[]
  /** Stops the drill. */
  signal: AbortSignal
  say: (line: string) => void
}

/** Milliseconds. */
const clock = (): number => performance.now()

/** Runs the drill, and leaves nothing running. @throws if the stack does not start, does not get quiet, or is stopped */
export async function drill({ only, signal, say, ...options }: Drill): Promise<Outcome[]> {
  const stack = await startDrill(options, clock)
  const traffic = startTraffic(stack.service.url)
  try {
    const watcher: Watcher = {
      look: stack.look,
      notices: stack.notices,
      now: clock,
      pause: async () => sleep(LOOK_EVERY, undefined, { signal }),
      limit: PATIENCE / options.speed,
      say: (line) => say(`  ${line}`)
    }
    say('waiting for quiet')
    const restless = await settle(watcher, FIRST_QUIET / options.speed)
    if (restless.length > 0) throw new Error(`Nothing is wrong, and still it is not quiet: ${restless.join(', ')}`)
    const faults = faultsOf(stack.service, traffic, stack.redis)
    const outcomes: Outcome[] = []
    for (const fault of faults.filter(({ name }) => only?.includes(name) ?? true)) {
      say(fault.name)
      outcomes.push(await rehearse(fault, watcher))
    }
    return outcomes
  } finally {
    await traffic.stop()
    await stack.close()
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      speed: { type: 'string', default: String(SPEED) },
      prometheus: { type: 'string' },
      alertmanager: { type: 'string' }
    }
  })
  const started = performance.now()
  const say = (line: string): boolean =>
    process.stdout.write(`${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s  ${line}\n`)
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())
  process.exitCode = 1
  try {
    const outcomes = await drill({
      speed: Number(values.speed),
      signal: stop.signal,
      say,
      ...(positionals.length > 0 && { only: positionals }),
      ...(values.prometheus !== undefined && { prometheus: values.prometheus }),
      ...(values.alertmanager !== undefined && { alertmanager: values.alertmanager })
    })
    const problems = outcomes.flatMap(problemsOf)
    process.stdout.write(`\n${tableOf(outcomes)}\n\n${problems.map((line) => `${line}\n`).join('')}`)
    process.exitCode = problems.length > 0 ? 1 : 0
  } catch (error) {
    process.stderr.write(`${stop.signal.aborted ? 'Stopped.' : (error as Error).message}\n`)
  }
}

if (import.meta.main) await main()

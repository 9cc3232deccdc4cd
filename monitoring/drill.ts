/**
 * `npm run drill`: breaks a running service in most ways that it is watched for, one after the other, with the repository's own
 * rules on a fast clock, and tells for each whether the alert fired, somebody was told, and it was resolved.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { faultsOf } from './drill/faults.ts'
import { type DrillOptions, startDrill } from './drill/stack.ts'
import { problemsOf, silenceOf, tableOf } from './drill/table.ts'
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

/** Runs the drill, and leaves nothing running. @throws if the stack does not start or get quiet, if there is no such fault, or when it is stopped */
export async function drill({ only, signal, say, ...options }: Drill): Promise<Outcome[]> {
  if (!(options.speed >= 1)) throw new Error('--speed must be a number from 1 on')
  const stack = await startDrill(options, clock)
  const traffic = startTraffic(stack.service.url)
  try {
    const faults = faultsOf(stack.service, traffic, stack.redis)
    const names = faults.map(({ name }) => name)
    const chosen = only ?? names
    for (const name of chosen) {
      if (!names.includes(name)) throw new Error(`There is no fault ${name}; there are: ${names.join(', ')}`)
    }
    if (!stack.redis) say('no Redis outage: there is no redis-server, on Debian: apt install redis-server')
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
    const outcomes: Outcome[] = []
    for (const fault of faults.filter(({ name }) => chosen.includes(name))) {
      say(fault.name)
      outcomes.push(await rehearse(fault, watcher))
    }
    return outcomes
  } finally {
    await traffic.stop()
    await stack.close()
  }
}

const HELP = `npm run drill -- [options] [FAULT ...]: breaks a service of its own in every way that it knows, or in these

--speed N              how many times as fast the rules' clock runs (${SPEED}); faster, windows hold too few scrapes
--prometheus PROGRAM   another Prometheus than the one on the PATH
--alertmanager PROGRAM another Alertmanager

Exits with 1 if an alert does not fire, is told to nobody or is not resolved, or if one fires that should not.
`

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      speed: { type: 'string', default: String(SPEED) },
      prometheus: { type: 'string' },
      alertmanager: { type: 'string' },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) {
    process.stdout.write(HELP)
    return
  }
  const started = clock()
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())
  process.exitCode = 1
  try {
    const outcomes = await drill({
      speed: Number(values.speed),
      signal: stop.signal,
      say: (line) => process.stdout.write(`${((clock() - started) / 1000).toFixed(0).padStart(4)} s  ${line}\n`),
      ...(positionals.length > 0 && { only: positionals }),
      ...(values.prometheus !== undefined && { prometheus: values.prometheus }),
      ...(values.alertmanager !== undefined && { alertmanager: values.alertmanager })
    })
    const problems = outcomes.flatMap(problemsOf)
    process.stdout.write(`\n${[tableOf(outcomes), '', silenceOf(), ...problems].join('\n')}\n`)
    process.exitCode = Math.min(problems.length, 1)
  } catch (error) {
    // Ctrl-C reaches the programs too: whatever failed then, it is because of that.
    process.stderr.write(`${stop.signal.aborted ? 'Stopped.' : (error as Error).message}\n`)
  }
}

if (import.meta.main) await main()

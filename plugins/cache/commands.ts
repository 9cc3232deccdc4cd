/** Commands to a server that may be slow, gone or full: each has a deadline, their number is bounded, failures make a pause. */

/** What is done in the second tier. */
export const TIER_COMMANDS = ['get', 'set', 'delete'] as const
export type TierCommand = (typeof TIER_COMMANDS)[number]

/**
 * Why a command failed. `timeout`: no answer by `redisTimeout`. `connection`: it broke. `reply`: the server answered with an
 * error (out of memory, read only, still loading, no permission).
 */
export const TIER_ERRORS = ['timeout', 'connection', 'reply'] as const
export type TierError = (typeof TIER_ERRORS)[number]

/** `down`: not connected, or left alone for a while because it failed. */
export type TierState = 'up' | 'down'

/** An answer, an error, or `skipped`: not sent, because the server is down or too much is under way. */
export type Outcome<T> = { result: 'ok'; reply: T } | { result: 'error'; kind: TierError } | { result: 'skipped' }

export interface CommandsSettings {
  /** What the client says of its connection. */
  isConnected: () => boolean
  /** Milliseconds that a command is waited for. */
  timeout: number
  /** Milliseconds of a clock that never goes back. */
  now: () => number
  onState: (state: TierState) => void
}

export interface Commands {
  /** Never rejects. */
  run<T>(send: () => Promise<T>): Promise<Outcome<T>>
  state(): TierState
}

/** So many failures in a row, and the server is left alone. */
const MAX_FAILURES = 3
/** Milliseconds for which it is; then one command tries. */
const PAUSE = 2000
/** Commands not settled yet, given up ones included: they hold memory until the client lets go of them. */
const MAX_UNDERWAY = 128

/** A command given up. */
const LATE = Symbol('late')

export function createCommands({ isConnected, timeout, now, onState }: CommandsSettings): Commands {
  let underway = 0
  let failures = 0
  let retryAt = 0
  let trying = false
  let told: TierState | undefined

  function state(): TierState {
    return isConnected() && failures < MAX_FAILURES ? 'up' : 'down'
  }

  function tell(): void {
    const current = state()
    if (current === told) return
    told = current
    onState(current)
  }

  async function run<T>(send: () => Promise<T>): Promise<Outcome<T>> {
    tell()
    const open = failures >= MAX_FAILURES
    if (!isConnected() || underway >= MAX_UNDERWAY || (open && (trying || now() < retryAt)))
      return { result: 'skipped' }
    trying = open
    const outcome = await attempt(send)
    if (open) trying = false
    if (outcome.result === 'ok') failures = 0
    else {
      failures++
      retryAt = now() + PAUSE
    }
    tell()
    return outcome
  }

  async function attempt<T>(send: () => Promise<T>): Promise<Outcome<T>> {
    underway++
    const work = send().finally(() => underway--)
    try {
      const reply = await inTime(work, timeout)
      return reply === LATE ? { result: 'error', kind: 'timeout' } : { result: 'ok', reply }
    } catch (error) {
      const answered = error instanceof Error && error.name === 'ReplyError'
      return { result: 'error', kind: answered ? 'reply' : 'connection' }
    }
  }

  return { run, state }
}

async function inTime<T>(work: Promise<T>, ms: number): Promise<T | typeof LATE> {
  const { promise: late, resolve } = Promise.withResolvers<typeof LATE>()
  // A loop that was blocked hears its timers before its sockets: what has arrived meanwhile is not late.
  const timer = setTimeout(() => setImmediate(resolve, LATE), ms).unref()
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

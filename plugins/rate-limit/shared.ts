/** A store that may fail: every wait for it has an end, and while it is down it is left alone. */
import { type Counted, type RedisClient, countInRedis } from './redis.ts'

export type StoreState = 'up' | 'down'

/** Failures in a row after which the store is left alone. */
const FAILURES = 5

/** Milliseconds for which it is; then one request tries it. */
const LEFT_ALONE_MS = 1000

/** The same while a command is still without an answer, which is what a store that hangs would answer first. */
const LEFT_HANGING_MS = 10_000

/** Commands without an answer, those included that no request waits for any more. */
const MAX_UNANSWERED = 1000

export interface SharedStoreOptions {
  client: RedisClient
  /** Of all keys. */
  prefix: string
  /** Milliseconds that a request waits. */
  timeout: number
  /** Milliseconds of a clock that never goes back. */
  now: () => number
  /** Called at every change that a request meets, with what it was that failed. */
  onState: (state: StoreState, cause?: unknown) => void
}

export interface SharedStore {
  readonly state: StoreState
  /** Counts a request; undefined: it could not, within `timeout`. Never rejects. */
  count(key: string, timeWindow: number): Promise<Counted | undefined>
}

export function createSharedStore({ client, prefix, timeout, now, onState }: SharedStoreOptions): SharedStore {
  /** Whether it is left alone. */
  let open = false
  let failures = 0
  let triedAt = 0
  /** Numbers of the newest command, and of the newest one with an answer: a server answers in order, or never. */
  let sent = 0
  let answered = 0
  const stateNow = (): StoreState => (client.status === 'ready' && !open ? 'up' : 'down')
  let told = stateNow()

  function tell(state: StoreState, cause?: unknown): void {
    if (told === state) return
    told = state
    onState(state, cause)
  }

  /** While it is left alone, one command at a time: a store that hangs will have little to do when it goes on. */
  function mayAsk(): boolean {
    if (!open) return sent - answered < MAX_UNANSWERED
    return now() - triedAt >= (sent === answered ? LEFT_ALONE_MS : LEFT_HANGING_MS)
  }

  async function ask(key: string, timeWindow: number): Promise<Counted> {
    const number = ++sent
    try {
      return await countInRedis(client, prefix, key, timeWindow)
    } finally {
      answered = Math.max(answered, number)
    }
  }

  return {
    get state() {
      return stateNow()
    },
    async count(key, timeWindow) {
      if (client.status !== 'ready') {
        // What was asked went with the connection; what is asked now would wait in the client for the next one.
        answered = sent
        tell('down', new Error(`the client is not ready but ${client.status}`))
        return undefined
      }
      if (!mayAsk()) return undefined
      triedAt = now()
      try {
        const counted = await within(timeout, ask(key, timeWindow))
        open = false
        failures = 0
        tell('up')
        return counted
      } catch (error) {
        failures++
        open = failures >= FAILURES
        if (open) tell('down', error)
        return undefined
      }
    }
  }
}

/** The work's end, or an Error if it takes longer. */
async function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void => reject(new Error(`the store did not answer within ${milliseconds} ms`))
    // A reply that has come while this process itself was late is read first.
    const timer = setTimeout(() => setImmediate(late), milliseconds)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

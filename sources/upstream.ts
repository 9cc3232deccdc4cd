/** The one way out to the world: JSON over HTTP with deadlines, bounds, retries and a circuit breaker for each upstream. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  BrokenCircuitError,
  BulkheadRejectedError,
  CircuitState,
  ConsecutiveBreaker,
  bulkhead,
  circuitBreaker,
  handleWhenResult
} from 'cockatiel'
import { type Dispatcher, Pool } from 'undici'
import type { FetchError, Upstream as UpstreamName } from '../domain/market.ts'
import type { Quota } from './quota.ts'

/** What an upstream did not answer. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError'
  readonly reason: FetchError
  /** The status that it answered; undefined if it did not. */
  readonly status: number | undefined
  /** Seconds after which it may be asked again, if that is known. */
  readonly retryAfter: number | undefined
  /** The JSON body of its refusal, if it had one. For decisions and logs: never for replies. */
  readonly body: unknown

  constructor(
    upstream: UpstreamName,
    reason: FetchError,
    message: string,
    more: { status?: number; retryAfter?: number | undefined; body?: unknown; cause?: unknown } = {}
  ) {
    super(`${upstream}: ${message}`, { cause: more.cause })
    this.reason = reason
    this.status = more.status
    this.retryAfter = more.retryAfter
    this.body = more.body
  }
}

/** closed: calls go out. open: they are refused at once. half_open: one is tried. */
export type BreakerState = 'closed' | 'half_open' | 'open'

export interface UpstreamOptions {
  name: UpstreamName
  /** `https://api.example.com`, without a path. */
  origin: string
  headers?: Readonly<Record<string, string>>
  /** Requests under way at once; further ones wait, within their deadline. @default 8 */
  concurrency?: number
  /** Requests under way and waiting for their turn; one more is refused as `rate_limited`. @default 1024 */
  maxPending?: number
  /** Milliseconds of a call, with its wait and all retries. @default 10_000 */
  deadline?: number
  /** Milliseconds of one attempt, from its turn to the last byte of the body. @default 5000 */
  attemptTimeout?: number
  /** Further attempts of an idempotent call. @default 2 */
  retries?: number
  /** Bytes of a reply's body. @default 4 MiB */
  maxBytes?: number
  /** Failures in a row that open the circuit: no answer, or a status from 500 on. @default 5 */
  failures?: number
  /** Milliseconds for which it stays open. @default 10_000 */
  openFor?: number
  /** Asked before each attempt, retries too; an attempt that it does not grant is refused as `rate_limited`. @default none */
  quota?: Quota
  /** From 0 to below 1, for jitter. @default Math.random */
  random?: () => number
  onRetry?: () => void
  onState?: (state: BreakerState) => void
}

export interface CallOptions {
  query?: Readonly<Record<string, string | number | boolean>>
  /** For this call alone. */
  deadline?: number
  attemptTimeout?: number
  /** Requests a minute of the quota that this call leaves to others. @default 0 */
  reserve?: number
}

export interface PostOptions extends CallOptions {
  /** Whether a failed POST may be sent again. @default never */
  retryable?: (error: UpstreamError) => boolean
}

export interface Upstream {
  readonly name: UpstreamName
  readonly state: BreakerState
  /** The parsed JSON of a 2xx; retried. @throws UpstreamError */
  get(path: string, options?: CallOptions): Promise<unknown>
  /** The same for a POST of JSON. @throws UpstreamError */
  post(path: string, body: unknown, options?: PostOptions): Promise<unknown>
  /** Ends its connections; calls under way fail. */
  close(): Promise<void>
}

const STATES: Record<CircuitState, BreakerState> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.HalfOpen]: 'half_open',
  [CircuitState.Open]: 'open',
  [CircuitState.Isolated]: 'open'
}
const RETRIED_STATUS = [500, 502, 503, 504]
const FIRST_PAUSE = 100
const LONGEST_PAUSE = 2000

/**
 * Connections are kept alive; no redirect is followed, and no compression is asked for: what is counted is what is parsed.
 * HTTP/1.1 only: over one HTTP/2 connection undici sends everything at once.
 */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { name, origin, concurrency = 8, maxPending = 1024, retries = 2, random = Math.random } = options
  const { maxBytes = 4 * 1024 * 1024, failures = 5, openFor = 10_000, quota, onRetry, onState } = options
  const pool = new Pool(origin, {
    connections: concurrency,
    pipelining: 1,
    allowH2: false,
    connect: { timeout: options.attemptTimeout ?? 5000 }
  })
  const turns = bulkhead(concurrency, Math.max(0, maxPending - concurrency))
  const breaker = circuitBreaker(
    handleWhenResult((outcome) => (outcome as Outcome).down),
    { breaker: new ConsecutiveBreaker(failures), halfOpenAfter: openFor }
  )
  const calls = new Set<AbortController>()
  let openedAt = 0
  breaker.onStateChange((state) => {
    if (state === CircuitState.Open) openedAt = performance.now()
    onState?.(STATES[state])
  })

  function fail(
    reason: FetchError,
    message: string,
    more?: ConstructorParameters<typeof UpstreamError>[3]
  ): UpstreamError {
    return new UpstreamError(name, reason, message, more)
  }

  /** What undici threw, as what it means. */
  function unanswered(cause: unknown, what: string): UpstreamError {
    if (cause instanceof UpstreamError) return cause
    const { name: kind, code } = cause as { name: string; code?: unknown }
    const late = kind === 'TimeoutError' || String(code).endsWith('_TIMEOUT')
    return fail(late ? 'timeout' : 'network', `${what} got no answer (${kind}, ${String(code)})`, { cause })
  }

  async function read({ body, statusCode: status }: Dispatcher.ResponseData, what: string): Promise<string> {
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length
      // Leaving the loop ends the connection.
      if (bytes > maxBytes) throw fail('upstream_error', `${what} is larger than ${maxBytes} bytes`, { status })
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString()
  }

  /** @throws what undici throws, or UpstreamError */
  async function ask(request: Dispatcher.RequestOptions, what: string): Promise<unknown> {
    const reply = await pool.request(request)
    const { statusCode: status, headers } = reply
    const json = parse(await read(reply, what))
    const good = status >= 200 && status < 300
    if (good && json !== undefined) return json
    if (good) throw fail('schema', `${what} answered no JSON`, { status })
    const retryAfter = secondsUntil(headers['retry-after'])
    throw fail(reasonOf(status), `${what} answered ${status}`, { status, retryAfter, body: json })
  }

  /** What an attempt says of the upstream; throws what says nothing, so that the breaker does not count it. */
  async function attempt({ request, what, whole, until, attemptTimeout, deadline }: Call): Promise<Outcome> {
    // After a long wait for its turn a call ends before any upstream could answer it.
    const enough = until - performance.now() >= Math.min(attemptTimeout, deadline) / 2
    const fair = enough || breaker.state === CircuitState.HalfOpen
    const signal = AbortSignal.any([whole, AbortSignal.timeout(attemptTimeout)])
    try {
      return { down: false, json: await unlessAborted(signal, ask({ ...request, signal }, what)) }
    } catch (cause) {
      const error = unanswered(cause, what)
      if (error === whole.reason && !(fair && error.reason === 'timeout')) throw error
      return { down: isDown(error), error }
    }
  }

  function refused(what: string): UpstreamError {
    const retryAfter = Math.max(1, Math.ceil((openedAt + openFor - performance.now()) / 1000))
    return fail('circuit_open', `${what} is not asked: the circuit is open`, { retryAfter })
  }

  /** One attempt, in its turn, unless the circuit is open by then. */
  async function once(asked: Call): Promise<unknown> {
    const { what, whole, reserve } = asked
    if (breaker.state === CircuitState.Open && performance.now() < openedAt + openFor) throw refused(what)
    try {
      const outcome = await turns.execute(async () => {
        const wait = quota?.take(reserve) ?? 0
        // Before the breaker, which would take the refusal for an answer of the upstream.
        if (wait > 0) throw fail('rate_limited', `${what}: the quota is used up`, { retryAfter: wait })
        return breaker.execute(async () => attempt(asked), whole)
      }, whole)
      if (outcome.error) throw outcome.error
      return outcome.json
    } catch (error) {
      if (error instanceof BrokenCircuitError) throw refused(what)
      if (!(error instanceof BulkheadRejectedError)) throw error
      throw fail('rate_limited', `${what}: ${maxPending} requests are pending`, { retryAfter: 1 })
    }
  }

  /** An attempt and, while that may help and there is time, further ones. */
  async function again(asked: Call, tried = 0, before?: UpstreamError): Promise<unknown> {
    try {
      return await once(asked)
    } catch (error) {
      const failure = error as UpstreamError
      const pause = failure.retryAfter === undefined ? jitter(tried) : failure.retryAfter * 1000
      if (tried >= retries || !asked.retryable(failure) || performance.now() + pause >= asked.until) {
        // What was not even asked any more hides what went wrong before.
        throw isRefusal(failure) ? (before ?? failure) : failure
      }
      await sleep(pause, undefined, { signal: asked.whole })
      onRetry?.()
      return again(asked, tried + 1, failure)
    }
  }

  /** Ends at its deadline, whatever it then waits for: its turn, a connection, an answer, a pause. */
  async function call(
    request: Dispatcher.RequestOptions,
    retryable: Call['retryable'],
    { deadline = options.deadline ?? 10_000, attemptTimeout = options.attemptTimeout ?? 5000, reserve = 0 }: CallOptions
  ): Promise<unknown> {
    const what = `${request.method} ${request.path.split('?')[0]}`
    const controller = new AbortController()
    const late = (): void => controller.abort(fail('timeout', `${what} took more than ${deadline} ms`))
    const timer = setTimeout(late, deadline)
    const until = performance.now() + deadline
    const whole = controller.signal
    calls.add(controller)
    return unlessAborted(
      whole,
      again({ request, what, retryable, whole, until, attemptTimeout, deadline, reserve })
    ).finally(() => {
      clearTimeout(timer)
      calls.delete(controller)
    })
  }

  /** Full jitter: anything up to twice as much each time. */
  function jitter(tried: number): number {
    return random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** tried)
  }

  return {
    name,
    get state() {
      return STATES[breaker.state]
    },
    get: async (path, { query = {}, ...more } = {}) =>
      call({ method: 'GET', path: withQuery(path, query), headers: headersOf(options) }, isWorthRetrying, more),
    post: async (path, body, { query = {}, retryable = never, ...more } = {}) =>
      call(
        {
          method: 'POST',
          path: withQuery(path, query),
          headers: { ...headersOf(options), 'content-type': 'application/json' },
          body: JSON.stringify(body)
        },
        retryable,
        more
      ),
    async close() {
      for (const controller of calls) controller.abort(fail('network', 'the connections are closed'))
      await pool.destroy()
    }
  }
}

interface Call {
  request: Dispatcher.RequestOptions
  /** Method and path, without the query, which may hold a key. */
  what: string
  retryable: (error: UpstreamError) => boolean
  /** Aborted at the deadline, and when the upstream is closed. */
  whole: AbortSignal
  /** The deadline, by `performance.now()`. */
  until: number
  attemptTimeout: number
  deadline: number
  reserve: number
}

interface Outcome {
  /** Whether the breaker is to count it. */
  down: boolean
  json?: unknown
  error?: UpstreamError
}

/** The work's end or the signal's, whichever is first: undici notices a signal only when it has a connection. */
async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', end, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', end))
  })
}

/** undefined: the text is no JSON, which is never undefined. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** No answer, or one that says that it is broken. */
function isDown({ reason, status = 0 }: UpstreamError): boolean {
  return reason === 'network' || reason === 'timeout' || status >= 500
}

/** What may be over in a moment: no answer, some statuses, and a limit that says when it ends. */
export function isWorthRetrying({ reason, status, retryAfter }: UpstreamError): boolean {
  if (reason === 'rate_limited') return status !== undefined && retryAfter !== undefined
  return reason === 'network' || reason === 'timeout' || RETRIED_STATUS.includes(status!)
}

/** Whether a call was refused here, by an open circuit, by the quota or for want of room, and not by the upstream. */
function isRefusal({ status, retryAfter }: UpstreamError): boolean {
  return status === undefined && retryAfter !== undefined
}

function never(): boolean {
  return false
}

function reasonOf(status: number): FetchError {
  if (status === 404) return 'not_found'
  return status === 429 ? 'rate_limited' : 'upstream_error'
}

/** Retry-After in seconds from now on, which may be given as a date; undefined for anything else (`Date.parse` takes 1.5). */
function secondsUntil(header: string | string[] | undefined): number | undefined {
  const text = String(header)
  if (/^\d+$/.test(text)) return Number(text)
  const seconds = text.endsWith(' GMT') ? (Date.parse(text) - Date.now()) / 1000 : Number.NaN
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds)
}

function headersOf({ headers = {} }: UpstreamOptions): Record<string, string> {
  return { accept: 'application/json', ...headers }
}

function withQuery(path: string, query: Readonly<Record<string, string | number | boolean>>): string {
  const pairs = Object.entries(query).map(([key, value]) => [key, String(value)] as [string, string])
  const text = new URLSearchParams(pairs).toString()
  return text === '' ? path : `${path}?${text}`
}

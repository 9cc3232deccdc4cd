/** The one way out to the world: JSON over HTTP with deadlines, bounds, retries and a circuit breaker for each upstream. */
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from 'cockatiel'
import { type Dispatcher, Pool } from 'undici'
import type { FetchError, Upstream as UpstreamName } from '../domain/market.ts'

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
  /** Calls under way and waiting; one more is refused as `rate_limited`. @default 1024 */
  maxPending?: number
  /** Milliseconds of a call, with its wait and all retries. @default 10_000 */
  deadline?: number
  /** Milliseconds of one attempt, once it has a connection, to the reply's head, and between two pieces of its body. @default 5000 */
  attemptTimeout?: number
  /** Further attempts of an idempotent call. @default 2 */
  retries?: number
  /** Bytes of a reply's body. @default 4 MiB */
  maxBytes?: number
  /** Failures in a row that open the circuit: no answer, or a status from 500 on. @default 5 */
  failures?: number
  /** Milliseconds for which it stays open. @default 10_000 */
  openFor?: number
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

/** Connections are kept alive; no redirect is followed, and no compression is asked for: what is counted is what is parsed. */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { name, origin, concurrency = 8, maxPending = 1024, retries = 2, random = Math.random } = options
  const { maxBytes = 4 * 1024 * 1024, failures = 5, openFor = 10_000, onRetry, onState } = options
  const pool = new Pool(origin, { connections: concurrency, pipelining: 1, connect: { timeout: 5000 } })
  const breaker = circuitBreaker(handleWhen(isDown), {
    breaker: new ConsecutiveBreaker(failures),
    halfOpenAfter: openFor
  })
  let openedAt = 0
  let pending = 0
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

  async function read({ body }: Dispatcher.ResponseData, what: string): Promise<string> {
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length
      // Leaving the loop ends the connection.
      if (bytes > maxBytes) throw fail('upstream_error', `${what} is larger than ${maxBytes} bytes`)
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString()
  }

  /** The parsed JSON, or what was wrong; throws only what the breaker is to count, so that any other answer closes it. */
  async function attempt(request: Dispatcher.RequestOptions, what: string): Promise<Outcome> {
    try {
      const reply = await pool.request(request)
      const { statusCode: status, headers } = reply
      const json = parse(await read(reply, what))
      const good = status >= 200 && status < 300
      if (good && json !== undefined) return { json }
      if (good) throw fail('schema', `${what} answered no JSON`, { status })
      const retryAfter = secondsUntil(headers['retry-after'])
      throw fail(reasonOf(status), `${what} answered ${status}`, { status, retryAfter, body: json })
    } catch (cause) {
      const error = unanswered(cause, what)
      if (isDown(error)) throw error
      return { error }
    }
  }

  async function guarded(request: Dispatcher.RequestOptions, what: string): Promise<unknown> {
    const outcome = await breaker
      .execute(async () => attempt(request, what))
      .catch((error: unknown) => {
        if (!(error instanceof BrokenCircuitError)) throw error
        const left = Math.max(1, Math.ceil((openedAt + openFor - performance.now()) / 1000))
        throw fail('circuit_open', `${what} is not asked: the circuit is open`, { retryAfter: left })
      })
    if (outcome.error) throw outcome.error
    return outcome.json
  }

  async function call(
    request: Dispatcher.RequestOptions,
    retryable: (error: UpstreamError) => boolean,
    { deadline = options.deadline ?? 10_000, attemptTimeout = options.attemptTimeout ?? 5000 }: CallOptions
  ): Promise<unknown> {
    const what = `${request.method} ${request.path.split('?')[0]}`
    if (pending >= maxPending) throw fail('rate_limited', `${what}: ${pending} calls are pending`, { retryAfter: 1 })
    // Undici's own deadlines begin with the request's turn: the wait for it counts for the whole call only.
    const limited = {
      ...request,
      headersTimeout: attemptTimeout,
      bodyTimeout: attemptTimeout,
      signal: AbortSignal.timeout(deadline)
    }
    const once = async (): Promise<unknown> => guarded(limited, what)
    pending++
    return again(once, retryable, performance.now() + deadline).finally(() => pending--)
  }

  /** A call and, while that may help and there is time, further ones. */
  async function again(
    once: () => Promise<unknown>,
    retryable: (error: UpstreamError) => boolean,
    until: number,
    tried = 0,
    before?: UpstreamError
  ): Promise<unknown> {
    try {
      return await once()
    } catch (error) {
      const failure = error as UpstreamError
      const pause = failure.retryAfter === undefined ? jitter(tried) : failure.retryAfter * 1000
      if (tried >= retries || !retryable(failure) || performance.now() + pause >= until) {
        // A circuit that has opened in between hides what it was opened for.
        throw failure.reason === 'circuit_open' ? (before ?? failure) : failure
      }
      onRetry?.()
      await sleep(pause)
      return again(once, retryable, until, tried + 1, failure)
    }
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
    close: async () => pool.destroy()
  }
}

interface Outcome {
  json?: unknown
  error?: UpstreamError
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
function isDown(error: unknown): boolean {
  const { reason, status = 0 } = error as UpstreamError
  return reason === 'network' || reason === 'timeout' || status >= 500
}

/** What may be over in a moment: no answer, some statuses, and a limit that says when it ends. */
export function isWorthRetrying({ reason, status, retryAfter }: UpstreamError): boolean {
  if (reason === 'rate_limited') return status !== undefined && retryAfter !== undefined
  return reason === 'network' || reason === 'timeout' || RETRIED_STATUS.includes(status!)
}

function never(): boolean {
  return false
}

function reasonOf(status: number): FetchError {
  if (status === 404) return 'not_found'
  return status === 429 ? 'rate_limited' : 'upstream_error'
}

/** Retry-After in seconds from now on, which may be given as a date. */
function secondsUntil(header: string | string[] | undefined): number | undefined {
  const text = String(header)
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000
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

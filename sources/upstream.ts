/** The one way out to the world: JSON over HTTP with deadlines, bounds, retries and a circuit breaker for each upstream. */
import type { FetchError, Upstream as UpstreamName } from '../domain/market.ts'

/** What an upstream did not answer. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError'
  readonly upstream: UpstreamName
  readonly reason: FetchError
  /** The status that it answered; undefined if it did not. */
  readonly status: number | undefined
  /** Seconds after which it may be asked again, if it said so. */
  readonly retryAfter: number | undefined
  /** The JSON body of its refusal. For decisions and logs: never for replies. */
  readonly body: unknown

  constructor(
    upstream: UpstreamName,
    reason: FetchError,
    message: string,
    more: { status?: number | undefined; retryAfter?: number | undefined; body?: unknown; cause?: unknown } = {}
  ) {
    super(`${upstream}: ${message}`, { cause: more.cause })
    this.upstream = upstream
    this.reason = reason
    this.status = more.status
    this.retryAfter = more.retryAfter
    this.body = more.body
  }
}

export type BreakerState = 'closed' | 'half_open' | 'open'

export interface UpstreamOptions {
  name: UpstreamName
  /** `https://api.example.com`, without a path. */
  origin: string
  headers?: Readonly<Record<string, string>>
  /** Requests under way at once; further ones wait, within their deadline. @default 8 */
  concurrency?: number
  /** Requests that may wait; beyond them one is refused as `circuit_open`... @default 256 */
  maxQueue?: number
  /** Milliseconds of a call, with its wait and all retries. @default 10_000 */
  deadline?: number
  /** Milliseconds of one attempt, to the last byte of the body. @default 5_000 */
  attemptTimeout?: number
  /** Further attempts of an idempotent call. @default 2 */
  retries?: number
  /** Bytes of a reply's body, decompressed. @default 4 MiB */
  maxBytes?: number
  onRetry?: () => void
  onState?: (state: BreakerState) => void
}

export interface CallOptions {
  query?: Readonly<Record<string, string | number | boolean>>
  /** For this call alone. */
  deadline?: number
  attemptTimeout?: number
}

export interface Upstream {
  readonly name: UpstreamName
  readonly state: BreakerState
  /** GET, retried. The parsed JSON of a 2xx. @throws UpstreamError */
  get(path: string, options?: CallOptions): Promise<unknown>
  /** POST of JSON; retried only where `retryable` says so of a failure. @throws UpstreamError */
  post(
    path: string,
    body: unknown,
    options?: CallOptions & { retryable?: (error: UpstreamError) => boolean }
  ): Promise<unknown>
  /** Ends its connections; calls under way fail. */
  close(): Promise<void>
}

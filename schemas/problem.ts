import { type Static, Type } from '@sinclair/typebox'
import type { FetchFailure } from '../domain/market.ts'

/** An error as RFC 9457 has it, with a stable `code` and the id that the log lines of the request carry. */
export const Problem = Type.Object({
  type: Type.String({ description: 'Always `about:blank`: `code` tells errors apart.' }),
  title: Type.String({ description: 'The status in words.' }),
  status: Type.Integer(),
  detail: Type.String({ description: 'What went wrong, for a person.' }),
  instance: Type.String({ description: 'The path that was asked for.' }),
  code: Type.String({ description: 'What went wrong, for a program: `TF_ERR_...` or `FST_ERR_...`.' }),
  request_id: Type.String(),
  errors: Type.Optional(
    Type.Array(
      Type.Object({
        in: Type.String({ description: 'body, querystring, params or headers.' }),
        field: Type.String({ description: 'The field, with dots into the body: `features.rsi_14`.' }),
        message: Type.String()
      }),
      { description: 'The fields that are wrong, the first twenty.' }
    )
  )
})
export type Problem = Static<typeof Problem>

const DESCRIPTIONS: Record<number, string> = {
  400: 'The request breaks its schema; `errors` names each field.',
  401: 'A bearer token is needed.',
  404: 'There is no such thing.',
  413: 'The body is larger than 1 MiB.',
  415: 'The body is not JSON.',
  422: 'There is not enough data to answer.',
  429: 'Too many requests; `Retry-After` says when to come back.',
  500: 'The service failed; its log has the cause under the request id.',
  502: 'The source of the prices failed.',
  504: 'It took too long.',
  503: 'Not now; `Retry-After` says when to come back.'
}

/** The error replies of a route by status, for its response schema; 429, 500 and 503 can always be. */
export function problems(...statuses: number[]): Record<number, object> {
  const content = { 'application/problem+json': { schema: Problem } }
  return Object.fromEntries(
    [...new Set([...statuses, 429, 500, 503])].map((status) => [status, { description: DESCRIPTIONS[status], content }])
  )
}

/** A source that is slow, or wants to be left alone for a while, is not a source that is broken. */
const FAILURE_STATUS: Partial<Record<FetchFailure['error'], number>> = {
  timeout: 504,
  rate_limited: 503,
  circuit_open: 503
}
/** Seconds to come back after, where the source says nothing, and at most. */
const RETRY_AFTER = 10
const MAX_RETRY_AFTER = 3600

/** How the failure of a source is answered: what to assign to the error. */
export function failureReply({ error, retryAfter = RETRY_AFTER }: Pick<FetchFailure, 'error' | 'retryAfter'>): {
  statusCode: number
  headers: { 'retry-after': string }
} {
  const seconds = Math.min(MAX_RETRY_AFTER, Math.max(1, Math.ceil(retryAfter)))
  return { statusCode: FAILURE_STATUS[error] ?? 502, headers: { 'retry-after': String(seconds) } }
}

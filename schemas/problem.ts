import { type Static, Type } from '@sinclair/typebox'

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
  422: 'There is not enough data to answer, or the model cannot explain its answer.',
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

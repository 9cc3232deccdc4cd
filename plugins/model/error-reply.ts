/** Errors below /v2: the protocol's shape for clients, and what the log is told. */
import type { FastifyReply, FastifyRequest } from 'fastify'

export type ReplyError = Error & { code?: string; statusCode?: number; headers?: Record<string, string> }

/**
 * A coded 503 is a refusal of a plugin's own, in its own words: a warning without a stack, since they come in thousands just
 * when there is too much to do.
 */
function note(error: ReplyError, status: number, { log }: FastifyRequest): void {
  const { code = '', message } = error
  if (status === 503 && code.startsWith('TF_ERR_')) log.warn({ code, reason: message }, 'request refused')
  else if (status >= 500) log.error({ err: error }, 'request failed')
}

/** @param mayTell of an error from 500 on: whether its message is for clients too */
export function errorReply(mayTell: (status: number, code: string) => boolean) {
  return (error: ReplyError, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const { statusCode: status = 500, headers = {}, message, code = '' } = error
    note(error, status, request)
    const told = status < 500 || mayTell(status, code)
    return reply
      .code(status)
      .headers(headers)
      .send({ error: told ? message : 'the request failed' })
  }
}

/** Errors as RFC 9457 problems, one shape for all, also for requests that no hook ever sees. */
import { randomUUID } from 'node:crypto'
import { STATUS_CODES, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import createError from '@fastify/error'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Problem } from '../schemas/problem.ts'

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8'

export const TF_ERR_NOT_FOUND = createError<[string, string]>('TF_ERR_NOT_FOUND', 'There is no route %s %s', 404)

/** Wrong fields that are named: a reply must not be larger than the request that asked for it. */
const MAX_FIELDS = 20

/** HTTP/1.1 asks for exactly one Host; Node would answer on its own, and with no body, or take the first. */
export const TF_ERR_HOST = createError('TF_ERR_HOST', 'A request has one Host header', 400)
/** Node would answer this on its own too. */
export const TF_ERR_EXPECTATION = createError<[string]>('TF_ERR_EXPECTATION', 'Expect: %s is not understood', 417)

/** The fault of a request's head that Node leaves to us (`requireHostHeader: false`, `checkExpectation`). */
function headFault({ raw }: FastifyRequest): Error | undefined {
  const { rawHeaders, httpVersion } = raw
  const { expect } = raw.headers
  let hosts = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1')) return new TF_ERR_HOST()
  return expect === undefined || expect.toLowerCase() === '100-continue' ? undefined : new TF_ERR_EXPECTATION(expect)
}

type FieldError = NonNullable<Problem['errors']>[number]

/** Which field is wrong: where Ajv points to, and for a missing or unknown property its name. */
function fieldErrors({ validation, validationContext = 'body' }: FastifyError): FieldError[] | undefined {
  return validation?.slice(0, MAX_FIELDS).map(({ instancePath, keyword, params, message }) => {
    const path = instancePath.split('/').slice(1)
    const field = (...names: unknown[]): string => [...path, ...names].join('.')
    if (keyword === 'required')
      return { in: validationContext, field: field(params['missingProperty']), message: 'is missing' }
    if (keyword === 'additionalProperties') {
      return {
        in: validationContext,
        field: field(params['additionalProperty']),
        message: 'is not a field that is known here'
      }
    }
    return { in: validationContext, field: field(), message: message! }
  })
}

function problemOf(error: FastifyError, instance: string, requestId: string): Problem {
  const status = error.statusCode !== undefined && error.statusCode >= 400 ? error.statusCode : 500
  const fields = fieldErrors(error)
  // A coded 502 to 504 says what its own plugin wrote; the text of any other failure is the log's, not the client's.
  const mayTell = status < 500 || (status > 500 && error.code?.startsWith('TF_ERR_'))
  const detail = fields?.map(({ field, message }) => `${field === '' ? 'the body' : field} ${message}`).join('; ')
  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail:
      detail ?? (mayTell ? error.message : 'The service failed to answer; its log has the cause under the request id.'),
    instance,
    code: mayTell ? (error.code ?? 'TF_ERR_CLIENT') : 'TF_ERR_INTERNAL',
    request_id: requestId,
    ...(fields && { errors: fields })
  }
}

/**
 * A coded 503 is a refusal of the service's own, in its own words: a warning without a stack, since they come in thousands just
 * when there is too much to do.
 */
function note(error: FastifyError, status: number, { log }: FastifyRequest): void {
  if (status < 500) log.debug({ err: error }, 'request refused')
  else if (status === 503 && error.code?.startsWith('TF_ERR_')) {
    const { code, message, cause } = error
    log.warn({ code, reason: message, cause: cause instanceof Error ? cause.message : undefined }, 'request refused')
  } else log.error({ err: error }, 'request failed')
}

function send(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = problemOf(error, request.url, request.id)
  note(error, problem.status, request)
  const { headers } = error as { headers?: Record<string, string> }
  return reply
    .code(problem.status)
    .headers({ ...headers, 'x-request-id': request.id, 'x-content-type-options': 'nosniff' })
    .type(PROBLEM_TYPE)
    .serializer(JSON.stringify)
    .send(problem)
}

/** For Fastify's `frameworkErrors`: bad URLs and over-long parameters, which run no hook. */
export function frameworkErrors(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  request.server.metrics.countUnrouted(request, reply)
  send(error, request, reply)
}

const PARSER_STATUS: Record<string, number> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }

/** For Fastify's `clientErrorHandler`: what Node's parser refuses, before there is a request. */
export function clientErrorHandler(error: NodeJS.ErrnoException, socket: Socket): void {
  // In the middle of a reply the client would take ours for a part of it. Node itself asks it in this way.
  // oxlint-disable-next-line no-underscore-dangle
  const reply = (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage
  if (error.code === 'ECONNRESET' || !socket.writable || reply?.headersSent) {
    socket.destroy()
    return
  }
  const status = PARSER_STATUS[error.code ?? ''] ?? 400
  const id = randomUUID()
  const title = STATUS_CODES[status]!
  const problem: Problem = {
    type: 'about:blank',
    title,
    status,
    detail: status === 400 ? 'The request is not HTTP' : title,
    instance: '',
    code: 'TF_ERR_CLIENT',
    request_id: id
  }
  const body = JSON.stringify(problem)
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `x-request-id: ${id}\r\nconnection: close\r\n\r\n${body}`
  )
  // Who does not hang up is hung up on.
  setTimeout(() => socket.resetAndDestroy(), 1000).unref()
}

/** Every reply names its request and is what its content type says. To be registered first: a route keeps the error handler that is set when it is added. */
async function errors(fastify: FastifyInstance): Promise<void> {
  fastify.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    reply.header('x-content-type-options', 'nosniff')
    done(headFault(request))
  })
  fastify.server.on('checkExpectation', (request, response) => fastify.routing(request, response))
  fastify.setErrorHandler(send)
}

/** The handler for requests that no route matches. */
export function notFound(request: FastifyRequest): never {
  throw new TF_ERR_NOT_FOUND(request.method, request.url)
}

export default fp(errors, { name: 'errors', fastify: '5.x' })

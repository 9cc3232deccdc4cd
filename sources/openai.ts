import { Value } from '@sinclair/typebox/value'
import type { AnalystSource, AnswerFault, ChatMessage, Completion, Tokens } from '../domain/analysis.ts'
import { Answer } from '../schemas/analysis.ts'
import { type Upstream, UpstreamError, isWorthRetrying } from './upstream.ts'

export interface OpenaiSourceOptions {
  /** To the server's origin, with the key in its headers; its concurrency is that of this source. */
  upstream: Upstream
  /** `https://api.openai.com/v1`. */
  baseUrl: string
  model: string
  /** Milliseconds of a call, with all that it takes to find the server's dialect. */
  timeout: number
}

/** What servers and models that call themselves compatible differ in. */
interface Dialect {
  /** Reasoning models take no temperature, and `max_completion_tokens` instead of `max_tokens`, which is all that many other servers know. */
  reasoning: boolean
  format: 'json_schema' | 'json_object' | 'text'
}

const MAX_TOKENS = 1000
/** Thoughts are counted too. */
const MAX_REASONING_TOKENS = 8000
const TEMPERATURE = 0.2

const REFUSED = [400, 422]
const LESS_FORMAT = { json_schema: 'json_object', json_object: 'text', text: undefined } as const
/** Words of errors that are logged. Others could repeat what was sent, the key too. */
const KNOWN_CODES: readonly unknown[] = [
  'insufficient_quota',
  'invalid_api_key',
  'model_not_found',
  'context_length_exceeded',
  'rate_limit_exceeded',
  'unsupported_parameter',
  'unsupported_value'
]

/**
 * Any server with OpenAI's chat completions. What it refuses of a request is left out of the next one, and of all later ones
 * once that has been answered. A request is repeated when the server says when (429 with Retry-After), and once if it
 * failed; never when the quota is used up.
 */
export function openaiSource({ upstream, baseUrl, model, timeout }: OpenaiSourceOptions): AnalystSource {
  const path = `${new URL(baseUrl).pathname.replace(/\/+$/, '')}/chat/completions`
  let dialect: Dialect = { reasoning: false, format: 'json_schema' }

  async function ask(messages: readonly ChatMessage[], tried: Dialect, until: number): Promise<unknown> {
    const deadline = Math.max(1, Math.floor(until - performance.now()))
    const body = { model, messages, ...parametersOf(tried) }
    try {
      const reply = await upstream.post(path, body, { retryable: retries(), deadline, attemptTimeout: deadline })
      dialect = tried
      return reply
    } catch (error) {
      const next = adapted(tried, error as UpstreamError)
      if (next === undefined) throw error
      return ask(messages, next, until)
    }
  }

  return {
    model,
    baseUrl,
    get available() {
      return upstream.state !== 'open'
    },
    async complete(messages) {
      try {
        return read(await ask(messages, dialect, performance.now() + timeout))
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error
        return failureOf(error)
      }
    }
  }
}

function parametersOf({ reasoning, format }: Dialect): object {
  const schema = { name: 'analysis', strict: true, schema: Answer }
  return {
    ...(reasoning
      ? { max_completion_tokens: MAX_REASONING_TOKENS }
      : { max_tokens: MAX_TOKENS, temperature: TEMPERATURE }),
    ...(format !== 'text' && {
      response_format: format === 'json_schema' ? { type: format, json_schema: schema } : { type: format }
    })
  }
}

interface Refusal {
  param?: unknown
  code?: unknown
}

function refusalOf({ body }: UpstreamError): Refusal {
  return (body as { error?: Refusal | null } | null | undefined)?.error ?? {}
}

/** A dialect without what a server refuses; undefined: it refuses something else. */
function adapted(tried: Dialect, error: UpstreamError): Dialect | undefined {
  if (!REFUSED.includes(error.status!)) return undefined
  const said = JSON.stringify(error.body ?? '')
  if (!tried.reasoning && /max_tokens|temperature/.test(said)) return { ...tried, reasoning: true }
  const { param, code } = refusalOf(error)
  // Who does not say what is wrong may mean the format.
  const unsaid = (param ?? code ?? undefined) === undefined
  const format = unsaid || /response.?format|json_(schema|object)/i.test(said) ? LESS_FORMAT[tried.format] : undefined
  return format && { ...tried, format }
}

/** For one call: a limit that says when it ends is waited for, a failure is tried again once. When an answer is late there is no time left. */
function retries(): (error: UpstreamError) => boolean {
  let failed = false
  return (error) => {
    if (!isWorthRetrying(error) || isQuota(error)) return false
    if (error.reason === 'rate_limited') return true
    const first = !failed
    failed = true
    return first
  }
}

function isQuota(error: UpstreamError): boolean {
  return error.status === 429 && refusalOf(error).code === 'insufficient_quota'
}

/** A failure without what the server said, which may be anything; with a hint for whoever reads the log. */
function failureOf(error: UpstreamError): Completion {
  const { status, retryAfter } = error
  const { code } = refusalOf(error)
  const quota = isQuota(error)
  // Another kind of limit: it does not end by itself.
  const reason = quota ? 'upstream_error' : error.reason
  const hint =
    status === 401 || status === 403
      ? ': see OPENAI_API_KEY'
      : status === 404
        ? ': see OPENAI_MODEL and OPENAI_BASE_URL'
        : ''
  const message = `${error.message.replace(/^openai: /, '')}${KNOWN_CODES.includes(code) ? ` (${String(code)})` : ''}${hint}`
  const cause = new UpstreamError('openai', reason, message, {
    ...(status !== undefined && { status }),
    cause: error.cause
  })
  return { ok: false, error: reason, retryAfter: quota ? undefined : retryAfter, cause, tokens: null }
}

interface Reply {
  choices?: { finish_reason?: unknown; message?: { content?: unknown; refusal?: unknown } | null }[]
  usage?: Record<string, unknown> | null
}

/** What is in a reply, whatever it is. */
function read(body: unknown): Completion {
  const { choices, usage } = (body ?? {}) as Reply
  const choice = Array.isArray(choices) ? choices[0] : undefined
  const { content, refusal } = choice?.message ?? {}
  const tokens = tokensOf(usage)
  if (isText(refusal) || choice?.finish_reason === 'content_filter') return useless('refused', tokens)
  if (choice?.finish_reason === 'length') return useless('truncated', tokens)
  if (!isText(content)) return useless('empty', tokens)
  const answer = answerIn(content)
  return answer === undefined ? useless('malformed', tokens) : { ok: true, answer, tokens }
}

function useless(fault: AnswerFault, tokens: Tokens | null): Completion {
  return { ok: false, error: 'schema', fault, tokens }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== ''
}

/** The answer in a text, which may have thoughts before it and a fence around it. */
function answerIn(content: string): Answer | undefined {
  const said = content.replace(/^\s*<think>[^]*<\/think>/, '')
  try {
    const parsed = JSON.parse(said.slice(said.indexOf('{'), said.lastIndexOf('}') + 1)) as unknown
    const answer = Value.Clean(Answer, parsed)
    return Value.Check(Answer, answer) && isText(answer.summary) ? answer : undefined
  } catch {
    return undefined
  }
}

/** Counts by either name; null unless both are there: nothing is made up. */
function tokensOf(usage: Reply['usage']): Tokens | null {
  const count = (...names: string[]): number | undefined =>
    names
      .map((name) => usage?.[name])
      .find((value): value is number => Number.isSafeInteger(value) && (value as number) >= 0)
  const prompt = count('prompt_tokens', 'input_tokens')
  const completion = count('completion_tokens', 'output_tokens')
  if (prompt === undefined || completion === undefined) return null
  return { prompt, completion, total: count('total_tokens') ?? prompt + completion }
}

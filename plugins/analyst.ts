/** Rankings explained by a language model: `fastify.analyst`, through the cache. Without a model it says so, and nothing else changes. */
import { createHash } from 'node:crypto'
import createError from '@fastify/error'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { unsupportedNumbers } from '../domain/analysis-numbers.ts'
import {
  type AnalysisRow,
  type AnalystSource,
  type Answer,
  COIN_FLIP,
  type Completion,
  PROMPT_VERSION,
  type Tokens,
  cleanContext,
  messagesFor,
  settle,
  textOf,
  topRows
} from '../domain/analysis.ts'
import type { FetchError } from '../domain/market.ts'
import { failureReply } from '../schemas/problem.ts'
import type { DeepReadonly } from './cache/index.ts'

/** An analysis as the cache keeps it. */
export interface Analysis extends Answer {
  /** The answer as one text. */
  text: string
  model: string
  /** What was told, the best first. */
  tickers: string[]
  /** Of the call that it was made by; null: the server does not say. */
  tokens: Tokens | null
  warnings: { code: string; message: string }[]
}

/** What `fastify.analyst` offers. */
export interface Analyst {
  /** null: no language model is configured. */
  readonly model: string | null
  /** Whether one is configured and not left alone because it failed. */
  readonly available: boolean
  /**
   * The top ten of a ranking explained, `context` being a remark of the reader.
   * @throws TF_ERR_ANALYST_NOT_CONFIGURED, TF_ERR_ANALYST_SOURCE, TF_ERR_ANALYST_ANSWER
   */
  analyze(
    rows: readonly AnalysisRow[],
    context?: string
  ): Promise<{ analysis: DeepReadonly<Analysis>; cached: boolean; age: number }>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by the `analyst` plugin. */
    analyst: Analyst
  }
}

/** A call to the model that was made, not an answer of the cache. */
export interface AnalystCall {
  seconds: number
  /** undefined: it was answered. */
  error: FetchError | undefined
  /** null: the server does not say. */
  tokens: Tokens | null
}

export interface AnalystOptions {
  /** undefined: there is none. */
  source: AnalystSource | undefined
  /** Milliseconds for which an analysis is kept. */
  ttl: number
  /** Called after each call to the model. */
  onCall?: (call: AnalystCall) => void
  /** Called for each analysis that is answered; cached: without a call of its own. */
  onAnalysis?: (cached: boolean) => void
}

export const TF_ERR_ANALYST_NOT_CONFIGURED = createError(
  'TF_ERR_ANALYST_NOT_CONFIGURED',
  'No language model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL to a server of your own',
  503
)
export const TF_ERR_ANALYST_SOURCE = createError<[string]>(
  'TF_ERR_ANALYST_SOURCE',
  'The language model has no answer (%s)',
  502
)
export const TF_ERR_ANALYST_ANSWER = createError<[string]>(
  'TF_ERR_ANALYST_ANSWER',
  'The language model gave no answer of use (%s)',
  502
)

/** Milliseconds: longer than any source takes, which has a deadline of its own. */
const PATIENCE = 90_000

async function analyst(fastify: FastifyInstance, options: AnalystOptions): Promise<void> {
  const { source, ttl, onCall, onAnalysis } = options

  async function make(
    model: AnalystSource,
    rows: readonly AnalysisRow[],
    context: string | undefined
  ): Promise<Analysis> {
    const started = performance.now()
    const completion = await model.complete(messagesFor(rows, context))
    const error = completion.ok ? undefined : completion.error
    onCall?.({ seconds: (performance.now() - started) / 1000, error, tokens: completion.tokens })
    if (!completion.ok) throw failure(completion)
    const { answer, unknown } = settle(completion.answer, rows)
    return {
      ...answer,
      text: textOf(answer),
      model: model.model,
      tickers: rows.map(({ ticker }) => ticker),
      tokens: completion.tokens,
      warnings: warningsOf(answer, unknown, rows, context)
    }
  }

  const decorator: Analyst = {
    model: source?.model ?? null,
    get available() {
      return source?.available ?? false
    },
    async analyze(given, remark) {
      if (source === undefined) throw new TF_ERR_ANALYST_NOT_CONFIGURED()
      const rows = topRows(given)
      const context = cleanContext(remark)
      let called = false
      const entry = await fastify.cache.wrap(
        'analysis',
        keyOf(source, rows, context),
        { ttl, timeout: PATIENCE },
        async () => {
          called = true
          return make(source, rows, context)
        }
      )
      onAnalysis?.(!called)
      return { analysis: entry.value, cached: !called, age: entry.age }
    }
  }
  fastify.decorate('analyst', Object.freeze(decorator))
}

/** All that an answer depends on. */
function keyOf({ model, baseUrl }: AnalystSource, rows: readonly AnalysisRow[], context: string | undefined): string {
  const all = [PROMPT_VERSION, baseUrl, model, rows.map(({ ticker, prob }) => [ticker, prob]), context ?? null]
  return createHash('sha256').update(JSON.stringify(all)).digest('base64url')
}

function failure(completion: Extract<Completion, { ok: false }>): Error {
  if (completion.fault !== undefined) return new TF_ERR_ANALYST_ANSWER(completion.fault)
  const error = new TF_ERR_ANALYST_SOURCE(completion.error)
  return Object.assign(error, failureReply(completion), { cause: completion.cause })
}

function warningsOf(
  { summary, picks, risks }: Answer,
  unknown: readonly string[],
  rows: readonly AnalysisRow[],
  context: string | undefined
): Analysis['warnings'] {
  const given = [COIN_FLIP, ...rows.map(({ prob }) => prob)]
  const said = [summary, ...picks.map(({ reason }) => reason), ...risks].join('\n')
  const numbers = unsupportedNumbers(said, given, context)
  return [
    ...(unknown.length > 0
      ? [
          {
            code: 'unknown_ticker',
            message: `Left out, because the ranking does not have them: ${unknown.join(', ')}.`
          }
        ]
      : []),
    ...(numbers.length > 0
      ? [{ code: 'unsupported_number', message: `In the text, but not in the ranking: ${numbers.join(', ')}.` }]
      : [])
  ]
}

export default fp(analyst, { name: 'analyst', fastify: '5.x', dependencies: ['@trading-fun/cache'] })

/** Rankings and predictions from prices: histories, features once, one batched inference. Decorates `fastify.ranking`. */
import createError from '@fastify/error'
import type { Static } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { FEATURES, HISTORY_BARS, featureRecord, latestFeatures } from '../domain/features.ts'
import type { Candles, FetchError, MarketSourceName } from '../domain/market.ts'
import { RANKING_MODEL, percentileOf, rank } from '../domain/ranking.ts'
import { signalOf } from '../domain/signals.ts'
import { sparkline } from '../domain/sparkline.ts'
import type { ModelReference, Warning } from '../schemas/market.ts'
import type { Explanation, Ranking, SkipReason, TickerPrediction } from '../schemas/ranking.ts'
import type { CacheEntry, CachePolicy } from './cache/index.ts'
import type { Manifest, ModelVersion } from './model/index.ts'

/** A ranking with what small charts of its rows are drawn from, apart from them because most replies go without. */
export interface RankingWithSparklines extends Ranking {
  /** In the order of the rows. */
  sparklines: number[][]
}

/** What `fastify.ranking` offers. Symbols are canonical. */
export interface Rankings {
  /** The ranking of a universe, from the cache while it is fresh. @throws TF_ERR_MARKET_UNKNOWN_COUNTRY */
  ofUniverse(country: string): Promise<CacheEntry<RankingWithSparklines>>
  /** The ranking of symbols of one's own choice among themselves. */
  ofSymbols(symbols: readonly string[]): Promise<RankingWithSparklines>
  /**
   * One symbol, with its place in the smallest universe it belongs to, from the cache while it is fresh; with its explanation
   * if that is asked for.
   * @throws TF_ERR_RANKING_SHORT_HISTORY, TF_ERR_RANKING_NOT_EXPLAINABLE, Market.failure
   */
  predict(symbol: string, explained: boolean): Promise<CacheEntry<TickerPrediction & Partial<Explanation>>>
  /**
   * The parts of one row's answer, beside what the model is worth.
   * @param manifest of the version that answered
   * @throws TF_ERR_RANKING_NOT_EXPLAINABLE
   */
  explain(manifest: Manifest, vector: Float32Array): Explanation
  /** The model as replies name it. */
  describe(manifest: Manifest): Static<typeof ModelReference>
  /** A warning for each feature of a vector that the version with this manifest was not trained on. */
  extrapolations(manifest: Manifest, vector: Float32Array): Static<typeof Warning>[]
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by the `ranking` plugin. */
    ranking: Rankings
  }
}

/** A ranking that was made, not taken from the cache. */
export interface RankingMade {
  /** undefined: symbols of a client's own. */
  country: string | undefined
  seconds: number
  /** Skipped ones included. */
  tickers: number
  source: MarketSourceName
  /** Day of the newest price in it, YYYY-MM-DD; null: it has none. */
  newest: string | null
}

export interface RankingOptions {
  /** Milliseconds for which a universe's ranking, and a prediction, is fresh. */
  ttl: number
  /** The share of the symbols, 0 to 1, below which a ranking is a failure of its source and no answer. */
  minCoverage: number
  /** The clock. */
  now: () => Date
  /** Called with the rows that a model has scored, and the symbols it could not: of rankings and predictions that were made, not taken from the cache. */
  onScored?: (manifest: Manifest, rows: readonly ScoredRow[], missing: readonly string[]) => void
  /** Called after each ranking that was made. */
  onRanking?: (made: RankingMade) => void
}

export const TF_ERR_RANKING_SHORT_HISTORY = createError<[string]>(
  'TF_ERR_RANKING_SHORT_HISTORY',
  '%s has too short a history: a year of daily prices is needed',
  422
)

export const TF_ERR_RANKING_NOT_EXPLAINABLE = createError(
  'TF_ERR_RANKING_NOT_EXPLAINABLE',
  'explain=true is not available for this model: its manifest has no linear block',
  422
)

/** Said beside contributions, which are easily taken for more. */
const NOTE =
  "A contribution is to this model's log-odds, and no reason why a price moves; skill says how little or much the model knows."

/** Prices older than this are worth a warning: longer than any exchange's holidays. */
const OLD_DAYS = 7
const DAY = 86_400_000
const HOUR = 3_600_000
/** Milliseconds for which a ranking is fresh that lacks symbols because their source failed. */
const PARTIAL_TTL = 5000
/** Milliseconds for which it is known that a symbol has no prices, or too few. */
const NEGATIVE_TTL = 60_000

/** A symbol whose last prices a model has scored. */
export interface ScoredRow {
  symbol: string
  probability: number
  price: number
  /** Day of the price, YYYY-MM-DD. */
  asOf: string
  vector: Float32Array
  sparkline: number[]
}

interface Skipped {
  ticker: string
  reason: SkipReason
}

/** A prediction as the cache keeps it: made with its explanation, which is cheaper than to look its model up again. */
interface Kept {
  prediction: TickerPrediction
  /** null: the model has none. */
  explanation: Explanation | null
}

/** How long what was made is kept. */
interface Policy<T> extends CachePolicy<T> {
  ttl: (made: T) => number
}

type Warned = Static<typeof Warning>

async function ranking(fastify: FastifyInstance, options: RankingOptions): Promise<void> {
  const { ttl, minCoverage, now, onScored, onRanking } = options
  const policy: Policy<RankingWithSparklines> = {
    // What the source could not give may be there in a moment.
    ttl: ({ coverage }) => (coverage === 1 ? ttl : Math.min(ttl, PARTIAL_TTL)),
    staleWhileRevalidate: ttl,
    staleIfError: ttl === 0 ? 0 : HOUR
  }
  const { market, model, cache } = fastify

  /** One pass: what can be scored is scored in one inference, the rest is named with its reason. */
  async function score(
    symbols: readonly string[]
  ): Promise<{ scored: ScoredRow[]; skipped: Skipped[]; manifest: Manifest }> {
    const histories = await market.history(symbols, HISTORY_BARS)
    const candidates: Omit<ScoredRow, 'probability'>[] = []
    const skipped: Skipped[] = []
    for (const [symbol, history] of histories) {
      const vector = history.ok ? latestFeatures(history.value.adjClose) : undefined
      if (history.ok && vector) candidates.push({ symbol, vector, ...lastPrices(history.value) })
      else skipped.push({ ticker: symbol, reason: history.ok ? 'short_history' : history.error })
    }
    const missing = skipped.map(({ ticker }) => ticker)
    if (candidates.length === 0) {
      const { manifest } = model.serving(RANKING_MODEL)
      onScored?.(manifest, [], missing)
      return { scored: [], skipped, manifest }
    }

    const vectors = new Float32Array(candidates.length * FEATURES.length)
    candidates.forEach(({ vector }, i) => vectors.set(vector, i * FEATURES.length))
    // A model without is refused.
    const { probability, manifest } = await model.predict(RANKING_MODEL, vectors)
    const scored = candidates.map((item, i) => ({ ...item, probability: probability![i]! }))
    onScored?.(manifest, scored, missing)
    return { scored, skipped, manifest }
  }

  async function make(symbols: readonly string[], country: string | undefined): Promise<RankingWithSparklines> {
    const started = performance.now()
    const { scored, skipped, manifest } = await score(symbols)
    const failures = skipped.filter(({ reason }) => reason !== 'not_found' && reason !== 'short_history')
    const coverage = 1 - failures.length / symbols.length
    // A thin list would look like an answer, and an empty one like a market without stocks.
    if (coverage < minCoverage || (scored.length === 0 && failures.length > 0)) {
      const whose = country ?? 'the tickers asked for'
      throw market.failure(`${failures.length} of the ${symbols.length} symbols of ${whose}`, commonest(failures))
    }
    const ranked = rank(scored)
    const reply: RankingWithSparklines = {
      ranking: ranked.map((row) => {
        const instrument = market.instrument(row.symbol)
        return {
          rank: row.rank,
          ticker: row.symbol,
          name: instrument?.name ?? row.symbol,
          sector: instrument?.sector ?? null,
          prob: row.probability,
          signal: signalOf(row.probability),
          percentile: row.percentile,
          price: row.price,
          currency: instrument?.currency ?? null,
          as_of: row.asOf
        }
      }),
      skipped,
      coverage,
      country: country ?? null,
      source: market.name,
      data_as_of: newest(scored),
      model: describe(manifest),
      warnings: warnings(manifest, scored),
      sparklines: ranked.map((row) => row.sparkline)
    }
    const seconds = (performance.now() - started) / 1000
    onRanking?.({ country, seconds, tickers: symbols.length, source: market.name, newest: reply.data_as_of })
    return reply
  }

  function warnings(manifest: Manifest, scored: readonly ScoredRow[]): Warned[] {
    const found: Warned[] = []
    if (market.kind === 'simulated') {
      found.push({ code: 'simulated_data', message: 'Prices are invented by a seeded simulator.' })
    } else if (manifest.source === 'simulated') {
      found.push({
        code: 'simulated_model',
        message: 'The model was trained on invented prices: its numbers mean nothing here.'
      })
    }
    const oldest = new Date(now().getTime() - OLD_DAYS * DAY).toISOString().slice(0, 10)
    const old = scored.filter(({ asOf }) => asOf < oldest)
    if (old.length > 0) {
      const message = `${old.length} of ${scored.length} prices are older than ${OLD_DAYS} days; as_of says how old.`
      found.push({ code: 'old_prices', message })
    }
    return found
  }

  /**
   * Kept with the model that serves now. If another one has taken over when it is made it may be that one's: who waits gets it, and
   * nobody finds it after a rollback.
   */
  async function cached<T>(
    type: string,
    name: string,
    kept: Policy<T>,
    load: () => Promise<T>
  ): Promise<CacheEntry<T>> {
    const by = fileOf(model.serving(RANKING_MODEL))
    // Prices change with the day: rankings of two days are never compared.
    const key = `${by}:${now().toISOString().slice(0, 10)}:${name}`
    function ttlOf(made: T): number {
      const serving = model.find(RANKING_MODEL)
      return serving && fileOf(serving) === by ? kept.ttl(made) : 0
    }
    return cache.wrap(type, key, { ...kept, ttl: ttlOf }, load)
  }

  async function ofUniverse(country: string): Promise<CacheEntry<RankingWithSparklines>> {
    const universe = market.universe(country)
    return cached('ranking', country, policy, async () => make(universe.symbols, country))
  }

  function extrapolations(manifest: Manifest, vector: Float32Array): Warned[] {
    return model.outOfRange(manifest, vector).map((name) => ({
      code: 'feature_out_of_range',
      message: `${name} is outside the middle 99 % of what the model was trained on.`
    }))
  }

  /** Kept like a ranking; that there is nothing to predict from is kept too, for a while. */
  const predictionPolicy: Policy<Kept | Skipped> = {
    ...policy,
    ttl: (made) => ('reason' in made ? Math.min(ttl, NEGATIVE_TTL) : ttl)
  }

  function explain(manifest: Manifest, vector: Float32Array): Explanation {
    const parts = model.explain(manifest, vector)
    if (parts === undefined) throw new TF_ERR_RANKING_NOT_EXPLAINABLE()
    const { contributions, base, margin } = parts
    return { contributions, base, margin, skill: manifest.metrics ?? {}, note: NOTE }
  }

  async function predict(
    symbol: string,
    explained: boolean
  ): Promise<CacheEntry<TickerPrediction & Partial<Explanation>>> {
    const entry = await cached('prediction', symbol, predictionPolicy, async () => makePrediction(symbol))
    const { value } = entry
    if (!('reason' in value)) {
      const { prediction, explanation } = value
      if (explained && explanation === null) throw new TF_ERR_RANKING_NOT_EXPLAINABLE()
      return { ...entry, value: explained ? { ...prediction, ...explanation } : prediction }
    }
    throw value.reason === 'short_history'
      ? new TF_ERR_RANKING_SHORT_HISTORY(symbol)
      : market.failure(symbol, value.reason)
  }

  async function makePrediction(symbol: string): Promise<Kept | Skipped> {
    const { scored, skipped, manifest } = await score([symbol])
    const [one] = scored
    if (one === undefined) {
      const { reason } = skipped[0]!
      if (reason === 'short_history' || reason === 'not_found') return skipped[0]!
      throw market.failure(symbol, reason)
    }

    const universe = market.homeOf(symbol)
    // The cached ranking may be older than this probability, or lack the symbol: it is compared with the others only.
    const members = universe && (await ofUniverse(universe.name)).value.ranking
    const others = members?.filter(({ ticker }) => ticker !== symbol).map(({ prob }) => prob)
    const prediction: TickerPrediction = {
      ticker: symbol,
      prob: one.probability,
      signal: signalOf(one.probability),
      percentile: others === undefined ? null : percentileOf(one.probability, others),
      universe: universe?.name ?? null,
      features: featureRecord(one.vector),
      price: one.price,
      currency: market.instrument(symbol)?.currency ?? null,
      as_of: one.asOf,
      source: market.name,
      model: describe(manifest),
      warnings: [...warnings(manifest, scored), ...extrapolations(manifest, one.vector)]
    }
    return { prediction, explanation: manifest.linear ? explain(manifest, one.vector) : null }
  }

  const decorator: Rankings = {
    ofUniverse,
    ofSymbols: async (symbols) => make(symbols, undefined),
    predict,
    explain,
    describe,
    extrapolations
  }
  fastify.decorate('ranking', Object.freeze(decorator))
}

/** A version by its file: instances that share a cache may have different ones of the same number. */
function fileOf({ manifest: { version, sha256 } }: ModelVersion): string {
  return `${version}:${sha256.slice(0, 12)}`
}

function describe({ name, version, label, horizon_days, trained_at, source }: Manifest): Static<typeof ModelReference> {
  // A model without these two is refused.
  return { name, version, label, horizon_days: horizon_days!, trained_at, source: source! }
}

function lastPrices({ close, adjClose, dates }: Candles): Pick<ScoredRow, 'price' | 'asOf' | 'sparkline'> {
  return { price: close.at(-1)!, asOf: dates.at(-1)!, sparkline: sparkline(adjClose) }
}

/** The reason that occurs most often: what to tell of many failures. */
function commonest(failures: readonly Skipped[]): FetchError {
  const reasons = failures.map(({ reason }) => reason)
  const count = (reason: SkipReason): number => reasons.filter((other) => other === reason).length
  return reasons.toSorted((a, b) => count(b) - count(a))[0] as FetchError
}

function newest(scored: readonly ScoredRow[]): string | null {
  return (
    scored
      .map(({ asOf }) => asOf)
      .toSorted()
      .at(-1) ?? null
  )
}

export default fp(ranking, {
  name: 'ranking',
  fastify: '5.x',
  dependencies: ['market', '@trading-fun/model', '@trading-fun/cache']
})

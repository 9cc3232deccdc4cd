/**
 * Where events become numbers: the callbacks that the plugins report to, and the gauges that are read at each scrape. The
 * plugins know nothing of metrics, and each metric of the catalogue is written here (HTTP's own by the metrics plugin).
 */
import type { FastifyInstance } from 'fastify'
import {
  DATA_SOURCES,
  FETCH_ERRORS,
  type DataSourceName,
  type FetchError,
  MARKET_SOURCES,
  type MarketSourceName,
  type Upstream
} from '../domain/market.ts'
import { RANKING_MODEL } from '../domain/ranking.ts'
import type { AnalystCall } from '../plugins/analyst.ts'
import { TIER_COMMANDS, TIER_ERRORS, TIER_RESULTS, type TierEvents } from '../plugins/cache/index.ts'
import type { CoinFetch } from '../plugins/coins.ts'
import type { DriftReport } from '../plugins/drift.ts'
import type { Metrics } from '../plugins/metrics/index.ts'
import { type Manifest, REJECT_REASONS, type RejectReason, type Reload, type Run } from '../plugins/model/index.ts'
import type { RankingMade } from '../plugins/ranking.ts'
import type { StoreFailure } from '../plugins/rate-limit/index.ts'
import {
  CACHE_TYPES,
  CUSTOM_COUNTRY,
  FEATURE_NAMES,
  MODEL_TYPES,
  OTHER_MODEL,
  SCORING_MODELS,
  STORE_FAILURES,
  catalogue
} from './catalogue.ts'

/** A value a key: what is bound once and looked up by a plain string afterwards. */
function bind<K extends string, V>(keys: readonly K[], make: (key: K) => V): Readonly<Record<string, V>> {
  return Object.fromEntries(keys.map((key) => [key, make(key)]))
}

/** A model as the metrics know it. */
function knownModel(name: string): (typeof SCORING_MODELS)[number] {
  return MODEL_TYPES.find((type) => type === name) ?? OTHER_MODEL
}

/**
 * Gauges that prom-client names like counters, which `promtool check metrics` refuses. Nothing is lost: each is the sum of the
 * metric of its name without `_total`.
 */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

const OPEN = { closed: 0, half_open: 0.5, open: 1 }

/** Reloads that could not be done, whatever state the versions are in: there is nothing to put right. */
const NOT_TRIED: ReadonlySet<Reload['reason']> = new Set(['unknown', 'not_loaded', 'no_rollback', 'changing'])

/** The callbacks of each plugin's options, and `watch` for what is read rather than reported. */
export interface Meters {
  overload: { onShed: () => void }
  cache: Record<'onHit' | 'onStale' | 'onMiss' | 'onCoalesced', (type: string) => void> &
    Required<Pick<TierEvents, 'onTierLookup' | 'onTierError'>>
  upstream: (name: Upstream) => { onRetry: () => void; onState: (state: 'closed' | 'half_open' | 'open') => void }
  market: { onFetch: (source: MarketSourceName, seconds: number, errors: readonly FetchError[]) => void }
  coins: { onFetch: (fetch: CoinFetch) => void }
  model: {
    onRun: (manifest: Manifest, run: Run) => void
    onReject: (model: string, reason: RejectReason) => void
    onReload: (reload: Reload) => void
  }
  ranking: { onRanking: (made: RankingMade) => void }
  analyst: { onCall: (call: AnalystCall) => void; onAnalysis: (cached: boolean) => void }
  rateLimit: { onExceeded: (event: { endpoint: string }) => void; onWithoutStore: (mode: StoreFailure) => void }
  /**
   * Sets the gauges of an app whose plugins are all there, and makes the series of label sets that are known only now.
   * @param now the clock
   */
  watch: (app: FastifyInstance, about: { service: string; version: string }, now: () => Date) => void
}

/** Registers the catalogue; to be called before the plugins that report. */
export function createMeters(metrics: Metrics): Meters {
  const m = metrics.define(catalogue)
  for (const name of MISNAMED) metrics.registry.removeSingleMetric(name)
  const hits = bind(CACHE_TYPES, (cache_type) => m.cache_hits_total.labels({ cache_type }))
  const misses = bind(CACHE_TYPES, (cache_type) => m.cache_misses_total.labels({ cache_type }))
  const tierLookups = bind(CACHE_TYPES, (cache_type) =>
    bind(TIER_RESULTS, (result) => m.cache_tier_lookups_total.labels({ cache_type, result }))
  )
  const tierErrors = bind(TIER_COMMANDS, (command) =>
    bind(TIER_ERRORS, (error_type) => m.cache_tier_errors_total.labels({ command, error_type }))
  )
  const fetches = bind(DATA_SOURCES, (source) => ({
    seconds: m.data_fetch_duration_seconds.labels({ source }),
    errors: bind(FETCH_ERRORS, (error_type) => m.data_fetch_errors_total.labels({ source, error_type }))
  }))
  const models = bind(SCORING_MODELS, (model_type) => ({
    seconds: m.model_prediction_duration_seconds.labels({ model_type }),
    rows: m.model_batch_size.labels({ model_type }),
    predictions: m.model_predictions_total.labels({ model_type }),
    waited: m.model_queue_duration_seconds.labels({ model_type }),
    executions: m.model_executions_total.labels({ model_type }),
    rejects: bind(REJECT_REASONS, (reason) => m.model_rejects_total.labels({ model: model_type, reason })),
    reloaded: m.model_last_reload_successful.labels({ model: model_type })
  }))
  for (const { reloaded } of Object.values(models)) reloaded.set(1)
  /** Models of which a version was tried last and failed: several are known by one label. */
  const failing = new Set<string>()
  const probability = m.model_prediction_probability.labels({})
  const stale = bind(CACHE_TYPES, (cache_type) => m.cache_stale_total.labels({ cache_type }))
  const ages = bind(MARKET_SOURCES, (source) => m.market_data_timestamp_seconds.labels({ source }))
  const withoutStore = bind(STORE_FAILURES, (mode) => m.rate_limit_without_store_total.labels({ mode }))
  const coinSeconds = m.crypto_fetch_duration_seconds.labels({})
  const coinItems = m.crypto_items_fetched.labels({})
  const analysisSeconds = m.ai_analysis_duration_seconds.labels({})
  const analysisTokens = m.ai_analysis_tokens_used.labels({})
  const analysesCached = m.ai_analysis_requests_total.labels({ cached: 'yes' })
  const analysesMade = m.ai_analysis_requests_total.labels({ cached: 'no' })
  const shed = m.http_requests_shed_total.labels({})
  const tickersProcessed = m.ranking_tickers_processed.labels({})
  const onHit = (type: string): void => hits[type]!.inc()
  const onStale = (type: string): void => {
    onHit(type)
    stale[type]!.inc()
  }
  const onMiss = (type: string): void => misses[type]!.inc()

  function onDataFetch(source: DataSourceName, seconds: number, errors: readonly FetchError[]): void {
    fetches[source]!.seconds.observe(seconds)
    for (const error of errors) fetches[source]!.errors[error]!.inc()
  }

  /** Drift is made up when somebody reads it; a report stays the same until rows are added. */
  function watchDrift(app: FastifyInstance): void {
    const model = { model_type: RANKING_MODEL } as const
    for (const [gauge, read] of [
      [m.model_drift_samples, ({ samples }: DriftReport) => samples],
      [m.model_missing_ratio, ({ missing }: DriftReport) => missing],
      [m.model_score_psi, ({ score }: DriftReport) => score.psi],
      [m.model_score_psi_limit, ({ score }: DriftReport) => score.limit]
    ] as const) {
      const cell = gauge.labels(model)
      gauge.onCollect(() => cell.set(read(app.drift.report())))
    }
    for (const [gauge, value] of [
      [m.model_feature_psi, 'psi'],
      [m.model_feature_psi_limit, 'limit'],
      [m.model_feature_out_of_range_ratio, 'outside']
    ] as const) {
      const cells = bind(FEATURE_NAMES, (feature) => gauge.labels({ ...model, feature }))
      gauge.onCollect(() => {
        for (const feature of app.drift.report().features) cells[feature.name]!.set(feature[value])
      })
    }
  }

  return {
    overload: { onShed: () => shed.inc() },
    // Answered at once is a hit, made to wait is a miss.
    cache: {
      onHit,
      onStale,
      onMiss,
      onCoalesced: onMiss,
      onTierLookup: (type, result) => tierLookups[type]![result]!.inc(),
      onTierError: (_type, command, kind) => tierErrors[command]![kind]!.inc()
    },
    upstream(name) {
      const retries = m.upstream_retries_total.labels({ upstream: name })
      const open = m.upstream_circuit_open.labels({ upstream: name })
      return { onRetry: () => retries.inc(), onState: (state) => open.set(OPEN[state]) }
    },
    market: { onFetch: onDataFetch },
    coins: {
      onFetch({ source, kind, seconds, errors, items }) {
        // `simulated` is the market of stocks.
        if (source !== 'simulated') onDataFetch(source, seconds, errors)
        if (kind === 'markets') coinSeconds.observe(seconds)
        if (items !== undefined) coinItems.observe(items)
      }
    },
    model: {
      onRun({ name }, { seconds, rows, waits, answered, scores }) {
        const model = models[knownModel(name)]!
        model.seconds.observe(seconds)
        for (const wait of waits) model.waited.observe(wait)
        if (scores === undefined) return
        model.executions.inc()
        model.rows.observe(rows)
        model.predictions.inc(answered)
        if (name !== RANKING_MODEL) return
        for (const p of scores.probability ?? []) probability.observe(p)
      },
      onReject: (name, reason) => models[knownModel(name)]!.rejects[reason]!.inc(),
      onReload({ model: name, result, reason }) {
        const model = knownModel(name)
        m.model_reloads_total.labels({ model, result, reason }).inc()
        if (result === 'success') failing.delete(name)
        else if (!NOT_TRIED.has(reason)) failing.add(name)
        models[model]!.reloaded.set(Number(![...failing].some((failed) => knownModel(failed) === model)))
      }
    },
    ranking: {
      onRanking({ country = CUSTOM_COUNTRY, seconds, tickers, source, newest }) {
        m.ranking_generation_duration_seconds.labels({ country }).observe(seconds)
        tickersProcessed.observe(tickers)
        if (newest !== null) ages[source]!.set(Date.parse(newest) / 1000)
      }
    },
    analyst: {
      onCall({ seconds, error, tokens }) {
        onDataFetch('openai', seconds, error === undefined ? [] : [error])
        if (error === undefined) analysisSeconds.observe(seconds)
        // What is of no use has been paid for all the same.
        if (tokens !== null) analysisTokens.observe(tokens.total)
      },
      onAnalysis: (cached) => (cached ? analysesCached : analysesMade).inc()
    },
    rateLimit: {
      onExceeded: ({ endpoint }) => m.rate_limit_exceeded_total.labels({ endpoint }).inc(),
      onWithoutStore: (mode) => withoutStore[mode]!.inc()
    },
    watch(app, about, now) {
      m.system_info.labels(about).set(1)
      m.openai_configured.labels({}).set(Number(app.analyst.model !== null))
      m.redis_configured.labels({}).set(Number(app.redis.status !== 'not_used'))
      const up = m.redis_up.labels({})
      m.redis_up.onCollect(() => up.set(Number(app.redis.status === 'connected')))
      const loaded = m.model_loaded.labels({})
      m.model_loaded.onCollect(() => loaded.set(Number(app.model.find(RANKING_MODEL) !== undefined)))
      const storeUp = m.rate_limit_store_up.labels({})
      m.rate_limit_store_up.onCollect(() => storeUp.set(Number(app.rateLimiter.storeState === 'up')))
      const bytes = bind(CACHE_TYPES, (cache_type) => m.cache_size_bytes.labels({ cache_type }))
      m.cache_size_bytes.onCollect(() => {
        for (const [type, stats] of Object.entries(app.cache.stats())) bytes[type]!.set(stats.bytes)
      })
      const depths = bind(MODEL_TYPES, (model_type) => m.model_queue_depth.labels({ model_type }))
      m.model_queue_depth.onCollect(() => {
        for (const [name, depth] of Object.entries(depths)) depth.set(app.model.queueDepth(name))
      })
      for (const model_type of MODEL_TYPES) {
        m.model_queue_capacity.labels({ model_type }).set(app.model.queueCapacity)
      }
      const modelAges = bind(MODEL_TYPES, (model_type) => m.model_age_seconds.labels({ model_type }))
      m.model_age_seconds.onCollect(() => {
        for (const [name, age] of Object.entries(modelAges)) {
          const trained = app.model.find(name)?.manifest.trained_at
          age.set(trained === undefined ? 0 : (now().getTime() - Date.parse(trained)) / 1000)
        }
      })
      watchDrift(app)
      // Series do not go away: a version that answers no more is 0.
      m.model_info.onCollect(() => {
        m.model_info.reset()
        for (const model_type of MODEL_TYPES) {
          const manifest = app.model.find(model_type)?.manifest
          if (manifest === undefined) continue
          // A model of unknown source is refused.
          m.model_info.labels({ model_type, version: manifest.version, source: manifest.source! }).set(1)
        }
      })
      m.model_info.collect()
      for (const country of [...app.market.universes.map(({ name }) => name), CUSTOM_COUNTRY]) {
        m.ranking_generation_duration_seconds.labels({ country })
      }
      m.rate_limit_exceeded_total.labels({ endpoint: 'unmatched' })
      app.addHook('onRoute', ({ url }) => void m.rate_limit_exceeded_total.labels({ endpoint: url }))
    }
  }
}

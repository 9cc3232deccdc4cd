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
import type { Metrics } from '../plugins/metrics/index.ts'
import type { Manifest, Run } from '../plugins/model/index.ts'
import type { RankingMade } from '../plugins/ranking.ts'
import { CACHE_TYPES, CUSTOM_COUNTRY, MODEL_TYPES, catalogue } from './catalogue.ts'

/** A value a key: what is bound once and looked up by a plain string afterwards. */
function bind<K extends string, V>(keys: readonly K[], make: (key: K) => V): Readonly<Record<string, V>> {
  return Object.fromEntries(keys.map((key) => [key, make(key)]))
}

/**
 * Gauges that prom-client names like counters, which `promtool check metrics` refuses. Nothing is lost: each is the sum of the
 * metric of its name without `_total`.
 */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

const OPEN = { closed: 0, half_open: 0.5, open: 1 }

/** The callbacks of each plugin's options, and `watch` for what is read rather than reported. */
export interface Meters {
  overload: { onShed: () => void }
  cache: Record<'onHit' | 'onStale' | 'onMiss' | 'onCoalesced', (type: string) => void>
  upstream: (name: Upstream) => { onRetry: () => void; onState: (state: 'closed' | 'half_open' | 'open') => void }
  market: { onFetch: (source: MarketSourceName, seconds: number, errors: readonly FetchError[]) => void }
  model: { onRun: (manifest: Manifest, run: Run) => void }
  ranking: { onRanking: (made: RankingMade) => void }
  analyst: { onCall: (call: AnalystCall) => void; onAnalysis: (cached: boolean) => void }
  rateLimit: { onExceeded: (event: { endpoint: string }) => void }
  /** Sets the gauges of an app whose plugins are all there, and makes the series of label sets that are known only now. */
  watch: (app: FastifyInstance, about: { service: string; version: string }) => void
}

/** Registers the catalogue; to be called before the plugins that report. */
export function createMeters(metrics: Metrics): Meters {
  const m = metrics.define(catalogue)
  for (const name of MISNAMED) metrics.registry.removeSingleMetric(name)
  const hits = bind(CACHE_TYPES, (cache_type) => m.cache_hits_total.labels({ cache_type }))
  const misses = bind(CACHE_TYPES, (cache_type) => m.cache_misses_total.labels({ cache_type }))
  const fetches = bind(DATA_SOURCES, (source) => ({
    seconds: m.data_fetch_duration_seconds.labels({ source }),
    errors: bind(FETCH_ERRORS, (error_type) => m.data_fetch_errors_total.labels({ source, error_type }))
  }))
  const models = bind(MODEL_TYPES, (model_type) => ({
    seconds: m.model_prediction_duration_seconds.labels({ model_type }),
    rows: m.model_batch_size.labels({ model_type }),
    predictions: m.model_predictions_total.labels({ model_type })
  }))
  const probability = m.model_prediction_probability.labels({})
  const stale = bind(CACHE_TYPES, (cache_type) => m.cache_stale_total.labels({ cache_type }))
  const ages = bind(MARKET_SOURCES, (source) => m.market_data_timestamp_seconds.labels({ source }))
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

  return {
    overload: { onShed: () => shed.inc() },
    // Answered at once is a hit, made to wait is a miss.
    cache: { onHit, onStale, onMiss, onCoalesced: onMiss },
    upstream(name) {
      const retries = m.upstream_retries_total.labels({ upstream: name })
      const open = m.upstream_circuit_open.labels({ upstream: name })
      return { onRetry: () => retries.inc(), onState: (state) => open.set(OPEN[state]) }
    },
    market: { onFetch: onDataFetch },
    model: {
      onRun({ name }, { seconds, rows, scores }) {
        models[name]!.seconds.observe(seconds)
        if (scores === undefined) return
        models[name]!.rows.observe(rows)
        models[name]!.predictions.inc(rows)
        for (const p of scores.probability) probability.observe(p)
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
      onExceeded: ({ endpoint }) => m.rate_limit_exceeded_total.labels({ endpoint }).inc()
    },
    watch(app, about) {
      m.system_info.labels(about).set(1)
      m.openai_configured.labels({}).set(Number(app.analyst.model !== null))
      const loaded = m.model_loaded.labels({})
      m.model_loaded.onCollect(() => loaded.set(Number(app.model.names.includes(RANKING_MODEL))))
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
        const { version, source } = app.model.serving(model_type).manifest
        m.model_info.labels({ model_type, version, source }).set(1)
      }
      for (const country of [...app.market.universes.map(({ name }) => name), CUSTOM_COUNTRY]) {
        m.ranking_generation_duration_seconds.labels({ country })
      }
      m.rate_limit_exceeded_total.labels({ endpoint: 'unmatched' })
      app.addHook('onRoute', ({ url }) => void m.rate_limit_exceeded_total.labels({ endpoint: url }))
    }
  }
}

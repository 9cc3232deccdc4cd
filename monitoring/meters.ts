/**
 * Where events become numbers: the callbacks that the plugins report to, and the gauges that are read at each scrape. The
 * plugins know nothing of metrics, and each metric of the catalogue is written here (HTTP's own by the metrics plugin).
 */
import type { FastifyInstance } from 'fastify'
import {
  FETCH_ERRORS,
  type FetchError,
  MARKET_SOURCES,
  type MarketSourceName,
  type Upstream
} from '../domain/market.ts'
import { RANKING_MODEL } from '../domain/ranking.ts'
import type { Metrics } from '../plugins/metrics/index.ts'
import { type Manifest, REJECT_REASONS, type RejectReason, type Reload, type Run } from '../plugins/model/index.ts'
import type { RankingMade } from '../plugins/ranking.ts'
import { CACHE_TYPES, CUSTOM_COUNTRY, MODEL_TYPES, OTHER_MODEL, catalogue } from './catalogue.ts'

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
  model: {
    onRun: (manifest: Manifest, run: Run) => void
    onReject: (model: string, reason: RejectReason) => void
    onReload: (reload: Reload) => void
  }
  ranking: { onRanking: (made: RankingMade) => void }
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
  const fetches = bind(MARKET_SOURCES, (source) => ({
    seconds: m.data_fetch_duration_seconds.labels({ source }),
    errors: bind(FETCH_ERRORS, (error_type) => m.data_fetch_errors_total.labels({ source, error_type }))
  }))
  const models = bind(MODEL_TYPES, (model_type) => ({
    seconds: m.model_prediction_duration_seconds.labels({ model_type }),
    rows: m.model_batch_size.labels({ model_type }),
    predictions: m.model_predictions_total.labels({ model_type }),
    waited: m.model_queue_duration_seconds.labels({ model_type }),
    executions: m.model_executions_total.labels({ model_type }),
    rejects: bind(REJECT_REASONS, (reason) => m.model_rejects_total.labels({ model: model_type, reason }))
  }))
  const probability = m.model_prediction_probability.labels({})
  const stale = bind(CACHE_TYPES, (cache_type) => m.cache_stale_total.labels({ cache_type }))
  const ages = bind(MARKET_SOURCES, (source) => m.market_data_timestamp_seconds.labels({ source }))
  const shed = m.http_requests_shed_total.labels({})
  const tickersProcessed = m.ranking_tickers_processed.labels({})
  const onHit = (type: string): void => hits[type]!.inc()
  const onStale = (type: string): void => {
    onHit(type)
    stale[type]!.inc()
  }
  const onMiss = (type: string): void => misses[type]!.inc()

  return {
    overload: { onShed: () => shed.inc() },
    // Answered at once is a hit, made to wait is a miss.
    cache: { onHit, onStale, onMiss, onCoalesced: onMiss },
    upstream(name) {
      const retries = m.upstream_retries_total.labels({ upstream: name })
      const open = m.upstream_circuit_open.labels({ upstream: name })
      return { onRetry: () => retries.inc(), onState: (state) => open.set(OPEN[state]) }
    },
    market: {
      onFetch(source, seconds, errors) {
        fetches[source]!.seconds.observe(seconds)
        for (const error of errors) fetches[source]!.errors[error]!.inc()
      }
    },
    model: {
      onRun({ name }, { seconds, rows, waits, scores }) {
        models[name]!.seconds.observe(seconds)
        for (const wait of waits) models[name]!.waited.observe(wait)
        if (scores === undefined) return
        models[name]!.executions.inc()
        models[name]!.rows.observe(rows)
        models[name]!.predictions.inc(rows)
        for (const p of scores.probability) probability.observe(p)
      },
      onReject: (name, reason) => models[name]!.rejects[reason]!.inc(),
      onReload({ model: name, result, reason }) {
        const known = MODEL_TYPES.find((type) => type === name) ?? OTHER_MODEL
        m.model_reloads_total.labels({ model: known, result, reason }).inc()
      }
    },
    ranking: {
      onRanking({ country = CUSTOM_COUNTRY, seconds, tickers, source, newest }) {
        m.ranking_generation_duration_seconds.labels({ country }).observe(seconds)
        tickersProcessed.observe(tickers)
        if (newest !== null) ages[source]!.set(Date.parse(newest) / 1000)
      }
    },
    rateLimit: {
      onExceeded: ({ endpoint }) => m.rate_limit_exceeded_total.labels({ endpoint }).inc()
    },
    watch(app, about) {
      m.system_info.labels(about).set(1)
      m.openai_configured.labels({}).set(0)
      const loaded = m.model_loaded.labels({})
      m.model_loaded.onCollect(() => loaded.set(Number(app.model.find(RANKING_MODEL) !== undefined)))
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
      // Series do not go away: a version that answers no more is 0.
      m.model_info.onCollect(() => {
        m.model_info.reset()
        for (const model_type of MODEL_TYPES) {
          const manifest = app.model.find(model_type)?.manifest
          if (manifest === undefined) continue
          m.model_info.labels({ model_type, version: manifest.version, source: manifest.source }).set(1)
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

/**
 * Every metric of this service: name, type, help, labels with their closed value sets, buckets. The handles that write them
 * are made from it (a typo in a name, label or value does not compile), and so are the checks of docs, rules and dashboards.
 * An empty label set is one that is known at boot: countries are the universes of the market source.
 */
import { FEATURES } from '../domain/features.ts'
import { DATA_SOURCES, FETCH_ERRORS, MARKET_SOURCES, UPSTREAMS } from '../domain/market.ts'
import { RANKING_MODEL } from '../domain/ranking.ts'
import { TIER_COMMANDS, TIER_ERRORS, TIER_RESULTS } from '../plugins/cache/index.ts'
import { type Catalogue, pluginCatalogue } from '../plugins/metrics/index.ts'
import { REJECT_REASONS, RELOAD_REASONS } from '../plugins/model/index.ts'
import type { StoreFailure } from '../plugins/rate-limit/index.ts'

/** What the cache holds: the values of `cache_type`. */
export const CACHE_TYPES = ['ranking', 'prediction', 'ticker_info', 'coins', 'coin_details', 'analysis'] as const

/** The models: the values of `model_type`. */
export const MODEL_TYPES = [RANKING_MODEL] as const

/** What becomes of a request that the store of the rate limits does not count: the values of `mode`. */
export const STORE_FAILURES = ['closed', 'open', 'local'] as const satisfies readonly StoreFailure[]

/** What the models are given: the values of `feature`. */
export const FEATURE_NAMES: readonly string[] = FEATURES.map(({ name }) => name)

/** A model that is none of this service's own: one that lies in the repository too, or that somebody asks it for. */
export const OTHER_MODEL = 'other'

/** Every model that may score something. */
export const SCORING_MODELS = [...MODEL_TYPES, OTHER_MODEL] as const

/** The country of a ranking of a client's own tickers. */
export const CUSTOM_COUNTRY = 'custom'

/** The bounds of the monitoring guide, which queries name, and finer ones: without them every quantile of a fast service is the first bound. */
const INFERENCE_SECONDS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1]
/** A turn of the event loop, up to what nobody waits for. */
const QUEUE_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10]
const PROBABILITIES = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]

export const catalogue = {
  ...pluginCatalogue,
  model_predictions_total: {
    type: 'counter',
    help: 'Rows scored, by model.',
    labels: { model_type: SCORING_MODELS }
  },
  model_prediction_duration_seconds: {
    type: 'histogram',
    help: 'Seconds of one inference, of however many rows.',
    labels: { model_type: SCORING_MODELS },
    buckets: INFERENCE_SECONDS
  },
  model_prediction_probability: {
    type: 'histogram',
    help: 'Probabilities predicted by the model of the rankings.',
    buckets: PROBABILITIES
  },
  model_batch_size: {
    type: 'histogram',
    help: 'Rows of one inference.',
    labels: { model_type: SCORING_MODELS },
    buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 4096]
  },
  model_queue_depth: {
    type: 'gauge',
    help: 'Rows that wait for an inference.',
    labels: { model_type: MODEL_TYPES }
  },
  model_queue_capacity: {
    type: 'gauge',
    help: 'Rows that may wait for an inference or be in one; more are refused with 503.',
    labels: { model_type: MODEL_TYPES }
  },
  model_queue_duration_seconds: {
    type: 'histogram',
    help: 'Seconds that a request waited for its inference to begin.',
    labels: { model_type: SCORING_MODELS },
    buckets: QUEUE_SECONDS
  },
  model_executions_total: {
    type: 'counter',
    help: 'Inferences that succeeded; model_predictions_total counts their rows.',
    labels: { model_type: SCORING_MODELS }
  },
  model_rejects_total: {
    type: 'counter',
    help: 'Requests to a model that got no scores although nothing was wrong with them, by the reason.',
    labels: { model: SCORING_MODELS, reason: REJECT_REASONS }
  },
  model_loaded: { type: 'gauge', help: '1: the model is loaded and has passed its self-test; 0: it is not.' },
  model_info: {
    type: 'gauge',
    help: '1: the version answers; 0: it did before. The labels say what it was trained on.',
    labels: { model_type: MODEL_TYPES, version: [], source: ['simulated', 'historical'] }
  },
  model_age_seconds: {
    type: 'gauge',
    help: 'Seconds since the served version was trained, by the trained_at of its manifest.',
    labels: { model_type: MODEL_TYPES }
  },
  model_drift_samples: {
    type: 'gauge',
    help: 'Rows of the last 20 market days that drift is measured on: each symbol of a universe once a day.',
    labels: { model_type: MODEL_TYPES }
  },
  model_feature_psi: {
    type: 'gauge',
    help: 'Population stability index of a feature against the training rows; 0 below 200 samples.',
    labels: { model_type: MODEL_TYPES, feature: FEATURE_NAMES }
  },
  model_feature_psi_limit: {
    type: 'gauge',
    help: "The PSI that 5 % of the training's own dates exceed, or of its months once 15 days are sampled; 0: unknown.",
    labels: { model_type: MODEL_TYPES, feature: FEATURE_NAMES }
  },
  model_missing_ratio: {
    type: 'gauge',
    help: "Share of the universes' symbols that had no feature vector when they were asked for last: no prices, too few, or a source that failed.",
    labels: { model_type: MODEL_TYPES }
  },
  model_feature_out_of_range_ratio: {
    type: 'gauge',
    help: 'Share of the samples with the feature outside the middle 99 % of the training rows; 0 below 200 samples.',
    labels: { model_type: MODEL_TYPES, feature: FEATURE_NAMES }
  },
  model_score_psi: {
    type: 'gauge',
    help: 'Population stability index of the probability against the training rows; 0 below 200 samples.',
    labels: { model_type: MODEL_TYPES }
  },
  model_score_psi_limit: {
    type: 'gauge',
    help: "The PSI of the probability that 5 % of the training's own dates or months exceed; 0: unknown.",
    labels: { model_type: MODEL_TYPES }
  },
  model_reloads_total: {
    type: 'counter',
    help: 'Loads and rollbacks of a model in the running service, by how they ended; a failure changes nothing.',
    labels: { model: SCORING_MODELS, result: ['success', 'failure'], reason: RELOAD_REASONS }
  },
  model_last_reload_successful: {
    type: 'gauge',
    help: '0: a version failed the last time one was to be loaded, and what answered before still does; 1: none failed.',
    labels: { model: SCORING_MODELS }
  },
  cache_hits_total: { type: 'counter', help: 'Lookups that the cache answered.', labels: { cache_type: CACHE_TYPES } },
  cache_misses_total: {
    type: 'counter',
    help: 'Lookups that had to wait for a load, their own or another one under way.',
    labels: { cache_type: CACHE_TYPES }
  },
  cache_stale_total: {
    type: 'counter',
    help: 'Lookups, counted as hits too, that got a value past its time to live while a new one was made.',
    labels: { cache_type: CACHE_TYPES }
  },
  cache_size_bytes: { type: 'gauge', help: 'Bytes that the cache holds.', labels: { cache_type: CACHE_TYPES } },
  cache_tier_lookups_total: {
    type: 'counter',
    help: 'Lookups in Redis of what was not in memory, or not fresh there, by what they found; skipped: Redis was left alone.',
    labels: { cache_type: CACHE_TYPES, result: TIER_RESULTS }
  },
  cache_tier_errors_total: {
    type: 'counter',
    help: 'Commands of the cache to Redis that failed; what they were for went on without.',
    labels: { command: TIER_COMMANDS, error_type: TIER_ERRORS }
  },
  redis_configured: { type: 'gauge', help: '1: REDIS_URL is set; 0: the instance has its own memory only.' },
  redis_up: { type: 'gauge', help: '1: Redis is connected; 0: it is not, or none is configured.' },
  ranking_generation_duration_seconds: {
    type: 'histogram',
    help: 'Seconds to make a ranking that was not in the cache; country custom: tickers of a client.',
    labels: { country: [] },
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10, 30, 60, 120]
  },
  ranking_tickers_processed: {
    type: 'histogram',
    help: 'Tickers of one ranking, skipped ones included.',
    buckets: [10, 25, 50, 100, 200, 500]
  },
  crypto_fetch_duration_seconds: {
    type: 'histogram',
    help: 'Seconds of one fetch of coin markets.',
    buckets: [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30]
  },
  crypto_items_fetched: {
    type: 'histogram',
    help: 'Coins of one fetch of coin markets that did not fail.',
    buckets: [20, 50, 100, 200, 250]
  },
  ai_analysis_requests_total: {
    type: 'counter',
    help: 'Analyses answered; cached yes: without a call of their own to the language model.',
    labels: { cached: ['yes', 'no'] }
  },
  ai_analysis_duration_seconds: {
    type: 'histogram',
    help: 'Seconds of one call to the language model that brought an analysis.',
    buckets: [1, 5, 10, 20, 30, 60]
  },
  ai_analysis_tokens_used: {
    type: 'histogram',
    help: 'Tokens of one call to the language model, as its server reports them; without a report nothing is counted.',
    buckets: [100, 500, 1000, 2000, 5000, 10_000]
  },
  data_fetch_duration_seconds: {
    type: 'histogram',
    help: 'Seconds of one fetch from a source of stocks or coins (not of simulated coins), or of one call to the language model.',
    labels: { source: DATA_SOURCES },
    buckets: [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30]
  },
  upstream_retries_total: {
    type: 'counter',
    help: 'Requests that were sent to an upstream again.',
    labels: { upstream: UPSTREAMS }
  },
  upstream_circuit_open: {
    type: 'gauge',
    help: 'Whether an upstream is left alone because it failed: 1, 0.5 while one request is tried, 0 otherwise.',
    labels: { upstream: UPSTREAMS }
  },
  data_fetch_errors_total: {
    type: 'counter',
    help: 'Symbols for which a source had no answer; of coins: fetches that failed, coins that made no sense or do not exist; of openai: calls that brought no analysis.',
    labels: { source: DATA_SOURCES, error_type: FETCH_ERRORS }
  },
  market_data_timestamp_seconds: {
    type: 'gauge',
    help: 'Unix time of the newest daily price in the ranking made last; 0: none has been made.',
    labels: { source: MARKET_SOURCES }
  },
  http_requests_shed_total: {
    type: 'counter',
    help: 'Requests refused with 503 because the event loop was late.'
  },
  rate_limit_exceeded_total: {
    type: 'counter',
    help: 'Requests refused with 429, by route template.',
    labels: { endpoint: [] }
  },
  rate_limit_store_up: {
    type: 'gauge',
    help: 'Whether the store of the rate limits counts: 1; 0: it does not, and requests are decided without it. Memory is always up.'
  },
  rate_limit_without_store_total: {
    type: 'counter',
    help: 'Requests that the store of the rate limits did not count: refused (closed), let through (open), counted by this process (local).',
    labels: { mode: STORE_FAILURES }
  },
  openai_configured: { type: 'gauge', help: '1: a language model is configured; 0: none is.' },
  system_info: { type: 'gauge', help: 'Always 1; the labels say what runs.', labels: { service: [], version: [] } }
} as const satisfies Catalogue

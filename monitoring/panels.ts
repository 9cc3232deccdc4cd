/**
 * Every panel, as data: what it asks, in which unit, where it gets serious. Grafana's dashboard is made from this by
 * dashboard.ts, and the metrics plugin draws it at /dashboard. The first twelve have the titles of the monitoring guide.
 */
import type { Panel as AnyPanel, Row as AnyRow } from '../plugins/metrics/index.ts'
import type { Query } from './query.ts'

/** A panel whose questions are typed by the catalogue. */
export type Panel = AnyPanel<Query>
type Row = AnyRow<Query>

/** What clients wait for: neither health checks, which dilute every ratio, nor the language model, slow by nature. */
const API = { not: /\/analyze|\/health.*/ }
/** The part of requests that may fail: 99.9 % must not. */
export const ERROR_BUDGET = 0.001

const whole = [{ metric: 'http_requests_total', where: { endpoint: API } }] as const
const failed = [{ metric: 'http_requests_total', where: { endpoint: API, status: /5../ } }] as const
const lookups = [{ metric: 'cache_hits_total' }, { metric: 'cache_misses_total' }] as const

/** The monitoring guide's twelve. */
export const overview: Row = {
  title: 'Overview',
  panels: [
    {
      title: 'API Request Rate',
      description: 'Requests answered, by route. Every request counts once, whatever ended it.',
      unit: 'per second',
      show: 'lines',
      queries: [{ kind: 'rate', metric: 'http_requests_total', by: ['endpoint'] }]
    },
    {
      title: 'API Response Time (p95)',
      description:
        'The time within which 95 % of the requests of a route were answered. SlowResponseTime fires at 2 s over all.',
      unit: 'seconds',
      show: 'lines',
      queries: [{ kind: 'quantile', metric: 'http_request_duration_seconds', quantile: 0.95, by: ['endpoint'] }],
      thresholds: [
        { from: 0, colour: 'green' },
        { from: 0.5, colour: 'amber' },
        { from: 2, colour: 'red' }
      ],
      idle: 'no requests'
    },
    {
      title: 'Model Predictions Per Minute',
      description: 'Rows scored. A ranking scores its whole universe at once.',
      unit: 'per minute',
      show: 'lines',
      queries: [{ kind: 'rate', metric: 'model_predictions_total', by: ['model_type'], per: 'minute' }]
    },
    {
      title: 'Cache Hit Rate',
      description: 'Lookups that did not wait, among all. LowCacheHitRate fires below one half.',
      unit: 'ratio',
      show: 'gauge',
      queries: [{ kind: 'ratio', part: [{ metric: 'cache_hits_total' }], whole: lookups }],
      thresholds: [
        { from: 0, colour: 'red' },
        { from: 0.5, colour: 'amber' },
        { from: 0.8, colour: 'green' }
      ],
      idle: 'no lookups'
    },
    {
      title: 'Model Loaded Status',
      description: 'Whether every instance has its model loaded and self-tested. Without it nothing can be ranked.',
      unit: 'state',
      show: 'number',
      queries: [{ kind: 'value', metric: 'model_loaded', over: 'min' }],
      states: ['not loaded', 'loaded'],
      thresholds: [
        { from: 0, colour: 'red' },
        { from: 1, colour: 'green' }
      ]
    },
    {
      title: 'OpenAI Configured',
      description: 'Whether a language model is configured for analyses. Everything else works without one.',
      unit: 'state',
      show: 'number',
      queries: [{ kind: 'value', metric: 'openai_configured', over: 'min' }],
      states: ['not configured', 'configured'],
      thresholds: [
        { from: 0, colour: 'blue' },
        { from: 1, colour: 'green' }
      ]
    },
    {
      title: 'Ranking Generation Time',
      description: 'The median time to make a ranking that was not in the cache, by country.',
      unit: 'seconds',
      show: 'lines',
      queries: [{ kind: 'quantile', metric: 'ranking_generation_duration_seconds', quantile: 0.5, by: ['country'] }],
      thresholds: [
        { from: 0, colour: 'green' },
        { from: 5, colour: 'amber' },
        { from: 30, colour: 'red' }
      ],
      idle: 'no ranking made'
    },
    {
      title: 'Model Prediction Distribution',
      description: 'How many predictions fell into each tenth of probability. Honest ones stay near one half.',
      unit: 'ratio',
      show: 'heatmap',
      queries: [{ kind: 'heatmap', metric: 'model_prediction_probability' }]
    },
    {
      title: 'Data Fetch Duration',
      description:
        'The time within which 95 % of the fetches from a source ended; of openai: of the calls to the language model.',
      unit: 'seconds',
      show: 'lines',
      queries: [{ kind: 'quantile', metric: 'data_fetch_duration_seconds', quantile: 0.95, by: ['source'] }],
      thresholds: [
        { from: 0, colour: 'green' },
        { from: 2, colour: 'amber' },
        { from: 10, colour: 'red' }
      ],
      idle: 'no fetch'
    },
    {
      title: 'AI Analysis Requests',
      description:
        'Analyses answered, by whether the cache had them or the language model was asked. Failed ones are among the fetch errors.',
      unit: 'per minute',
      show: 'stacked',
      queries: [
        {
          kind: 'rate',
          metric: 'ai_analysis_requests_total',
          by: ['cached'],
          per: 'minute',
          legend: 'from the cache: {{cached}}'
        }
      ]
    },
    {
      title: 'Rate Limit Violations',
      description: 'Requests refused with 429, by route. RateLimitStorm fires when they are a fifth of all.',
      unit: 'per minute',
      show: 'stacked',
      queries: [{ kind: 'rate', metric: 'rate_limit_exceeded_total', by: ['endpoint'], per: 'minute' }]
    },
    {
      title: 'Data Fetch Errors',
      description:
        'Symbols for which a source had no answer, and failed calls to the language model, by source and reason.',
      unit: 'per minute',
      show: 'stacked',
      queries: [{ kind: 'rate', metric: 'data_fetch_errors_total', by: ['source', 'error_type'], per: 'minute' }]
    }
  ]
}

/** What is behind the twelve. */
export const details: readonly Row[] = [
  {
    title: 'Service level',
    panels: [
      {
        title: 'Failed requests',
        description: `The share of requests that ended with 5xx within five minutes; ${ERROR_BUDGET * 100} % is the objective, HighErrorRate fires at 5 %.`,
        unit: 'ratio',
        show: 'number',
        queries: [{ kind: 'ratio', part: failed, whole, window: '5m' }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: ERROR_BUDGET, colour: 'amber' },
          { from: 0.05, colour: 'red' }
        ],
        idle: 'no requests'
      },
      {
        title: 'Error budget burn',
        description:
          'How many times faster than allowed requests fail: at 1 the budget of 30 days lasts 30 days, at 14.4 two.',
        unit: 'count',
        show: 'lines',
        queries: [
          { kind: 'ratio', part: failed, whole, times: 1 / ERROR_BUDGET, window: '5m', legend: 'over 5 minutes' },
          { kind: 'ratio', part: failed, whole, times: 1 / ERROR_BUDGET, window: '1h', legend: 'over 1 hour' }
        ],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 1, colour: 'amber' },
          { from: 14.4, colour: 'red' }
        ],
        idle: 'no requests'
      },
      {
        title: 'Requests within 250 ms',
        description: 'The share of requests answered within 250 ms, whatever the answer.',
        unit: 'ratio',
        show: 'number',
        queries: [
          {
            kind: 'ratio',
            part: [{ metric: 'http_request_duration_seconds', where: { endpoint: API }, upTo: 0.25 }],
            whole: [{ metric: 'http_request_duration_seconds', where: { endpoint: API } }],
            window: '5m'
          }
        ],
        thresholds: [
          { from: 0, colour: 'red' },
          { from: 0.95, colour: 'amber' },
          { from: 0.99, colour: 'green' }
        ],
        idle: 'no requests'
      },
      {
        title: 'Response time',
        description: 'Quantiles over all routes.',
        unit: 'seconds',
        show: 'lines',
        queries: [
          {
            kind: 'quantile',
            metric: 'http_request_duration_seconds',
            where: { endpoint: API },
            quantile: 0.5,
            legend: 'p50'
          },
          {
            kind: 'quantile',
            metric: 'http_request_duration_seconds',
            where: { endpoint: API },
            quantile: 0.95,
            legend: 'p95'
          },
          {
            kind: 'quantile',
            metric: 'http_request_duration_seconds',
            where: { endpoint: API },
            quantile: 0.99,
            legend: 'p99'
          }
        ],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 0.5, colour: 'amber' },
          { from: 2, colour: 'red' }
        ],
        idle: 'no requests'
      },
      {
        title: 'Replies by status',
        description: '499: the client closed the connection before the reply.',
        unit: 'per second',
        show: 'stacked',
        queries: [{ kind: 'rate', metric: 'http_requests_total', by: ['status'] }]
      },
      {
        title: 'Requests in flight',
        description: 'Arrived and not answered yet, over all instances.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'value', metric: 'http_requests_in_flight', over: 'sum', legend: 'in flight' }]
      },
      {
        title: 'Bytes on the wire',
        description: 'Heads and bodies, of all HTTP connections.',
        unit: 'bytes per second',
        show: 'lines',
        queries: [
          { kind: 'rate', metric: 'http_request_bytes_total', legend: 'received' },
          { kind: 'rate', metric: 'http_response_bytes_total', legend: 'sent' }
        ]
      },
      {
        title: 'Refused connections',
        description: "Connections that Node's HTTP parser gave up, by its error code: no route ever sees them.",
        unit: 'per minute',
        show: 'stacked',
        queries: [{ kind: 'rate', metric: 'http_client_errors_total', by: ['code'], per: 'minute' }]
      }
    ]
  },
  {
    title: 'Upstreams',
    folded: true,
    panels: [
      {
        title: 'Fetches',
        description:
          'Fetches from each source, one of which may ask for many symbols, and calls to the language model.',
        unit: 'per second',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'data_fetch_duration_seconds', by: ['source'] }]
      },
      {
        title: 'Circuits',
        description:
          'Whether an upstream is left alone because it failed: 1, or 0.5 while one request is tried. CircuitOpen watches it.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'value', metric: 'upstream_circuit_open', over: 'max', by: ['upstream'] }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 0.5, colour: 'amber' },
          { from: 1, colour: 'red' }
        ]
      },
      {
        title: 'Retries',
        description:
          'Requests that were sent to an upstream again, after no answer or one that may be over in a moment.',
        unit: 'per minute',
        show: 'stacked',
        queries: [{ kind: 'rate', metric: 'upstream_retries_total', by: ['upstream'], per: 'minute' }]
      },
      {
        title: 'Age of the newest price',
        description:
          'Since midnight (UTC) of the newest daily price in the ranking made last. StaleMarketData fires at seven days.',
        unit: 'seconds',
        show: 'lines',
        queries: [{ kind: 'age', metric: 'market_data_timestamp_seconds', by: ['source'] }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 5 * 86_400, colour: 'amber' },
          { from: 7 * 86_400, colour: 'red' }
        ],
        idle: 'no ranking made yet'
      },
      {
        title: 'Tickers of a ranking',
        description: 'The mean number of tickers of the rankings that were made.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'mean', metric: 'ranking_tickers_processed', legend: 'tickers' }],
        idle: 'no ranking made'
      },
      {
        title: 'Coin fetch duration',
        description: 'The time within which 95 % of the fetches of coin markets ended.',
        unit: 'seconds',
        show: 'lines',
        queries: [{ kind: 'quantile', metric: 'crypto_fetch_duration_seconds', quantile: 0.95, legend: 'p95' }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 2, colour: 'amber' },
          { from: 10, colour: 'red' }
        ],
        idle: 'no fetch'
      },
      {
        title: 'Coins of a fetch',
        description: 'The mean number of coins of one fetch of markets.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'mean', metric: 'crypto_items_fetched', legend: 'coins' }],
        idle: 'no fetch'
      },
      {
        title: 'AI analysis duration',
        description: 'The time within which 95 % of the analyses by the language model ended.',
        unit: 'seconds',
        show: 'lines',
        queries: [{ kind: 'quantile', metric: 'ai_analysis_duration_seconds', quantile: 0.95, legend: 'p95' }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 10, colour: 'amber' },
          { from: 20, colour: 'red' }
        ],
        idle: 'no analysis'
      },
      {
        title: 'Tokens of an analysis',
        description: 'The mean number of tokens that one call to the language model used, as its server reports them.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'mean', metric: 'ai_analysis_tokens_used', legend: 'tokens' }],
        idle: 'no analysis'
      }
    ]
  },
  {
    title: 'Cache',
    folded: true,
    panels: [
      {
        title: 'Lookups',
        description: 'Hits did not wait. Stale ones are hits too, on a value past its time to live.',
        unit: 'per second',
        show: 'lines',
        queries: [
          { kind: 'rate', metric: 'cache_hits_total', by: ['cache_type'], legend: 'hits: {{cache_type}}' },
          { kind: 'rate', metric: 'cache_misses_total', by: ['cache_type'], legend: 'misses: {{cache_type}}' },
          { kind: 'rate', metric: 'cache_stale_total', by: ['cache_type'], legend: 'stale: {{cache_type}}' }
        ]
      },
      {
        title: 'Cache size',
        description: 'Bytes held, over all instances; CACHE_MAX_BYTES bounds each of them.',
        unit: 'bytes',
        show: 'stacked',
        queries: [{ kind: 'value', metric: 'cache_size_bytes', over: 'sum', by: ['cache_type'] }]
      },
      {
        title: 'Lookups in Redis',
        description:
          'What Redis was asked because memory had nothing fresh, by what it had. Skipped: it was left alone because it failed. Nothing without REDIS_URL.',
        unit: 'per second',
        show: 'stacked',
        queries: [{ kind: 'rate', metric: 'cache_tier_lookups_total', by: ['result'] }]
      },
      {
        title: 'Redis errors',
        description:
          'Commands of the cache that failed. Requests go on without Redis, and load what it would have had.',
        unit: 'per minute',
        show: 'stacked',
        queries: [{ kind: 'rate', metric: 'cache_tier_errors_total', by: ['command', 'error_type'], per: 'minute' }]
      },
      {
        title: 'Redis',
        description: 'How many instances are connected, of those that have a REDIS_URL. RedisDown watches it.',
        unit: 'count',
        show: 'lines',
        queries: [
          { kind: 'value', metric: 'redis_configured', over: 'sum', legend: 'configured' },
          { kind: 'value', metric: 'redis_up', over: 'sum', legend: 'connected' }
        ]
      }
    ]
  },
  {
    title: 'Model',
    folded: true,
    panels: [
      {
        title: 'Serving version',
        description: 'How many instances answer with which version, and what it was trained on.',
        unit: 'count',
        show: 'number',
        queries: [{ kind: 'value', metric: 'model_info', over: 'sum', by: ['model_type', 'version', 'source'] }]
      },
      {
        title: 'Last reload',
        description:
          'Whether the version that was to be loaded last failed in any instance: what answered before still does. ModelReloadFailed watches it.',
        unit: 'state',
        show: 'number',
        queries: [{ kind: 'value', metric: 'model_last_reload_successful', over: 'min', by: ['model'] }],
        states: ['failed', 'in order'],
        thresholds: [
          { from: 0, colour: 'red' },
          { from: 1, colour: 'green' }
        ]
      },
      {
        title: 'Inference time',
        description: 'Of one run of the model, of however many rows.',
        unit: 'seconds',
        show: 'lines',
        queries: [
          {
            kind: 'quantile',
            metric: 'model_prediction_duration_seconds',
            quantile: 0.5,
            by: ['model_type'],
            legend: 'p50: {{model_type}}'
          },
          {
            kind: 'quantile',
            metric: 'model_prediction_duration_seconds',
            quantile: 0.99,
            by: ['model_type'],
            legend: 'p99: {{model_type}}'
          }
        ],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 0.01, colour: 'amber' },
          { from: 0.1, colour: 'red' }
        ],
        idle: 'no inference'
      },
      {
        title: 'Rows of an inference',
        description: 'The mean number of rows of one run: requests of one turn of the event loop are scored together.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'mean', metric: 'model_batch_size', by: ['model_type'] }],
        idle: 'no inference'
      },
      {
        title: 'Queue',
        description: 'Rows that wait for a run, and how many may. ModelQueueSaturated fires at 80 %.',
        unit: 'count',
        show: 'lines',
        queries: [
          {
            kind: 'value',
            metric: 'model_queue_depth',
            over: 'max',
            by: ['model_type'],
            legend: 'waiting: {{model_type}}'
          },
          {
            kind: 'value',
            metric: 'model_queue_capacity',
            over: 'min',
            by: ['model_type'],
            legend: 'bound: {{model_type}}'
          }
        ]
      },
      {
        title: 'Wait for an inference',
        description:
          'The time within which 95 % of the requests of a model were scored next: how long its queue is, in time.',
        unit: 'seconds',
        show: 'lines',
        queries: [{ kind: 'quantile', metric: 'model_queue_duration_seconds', quantile: 0.95, by: ['model_type'] }],
        idle: 'no inference'
      },
      {
        title: 'Inferences',
        description: 'Runs of the model. Rows that are scored together share one.',
        unit: 'per second',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'model_executions_total', by: ['model_type'], per: 'second' }],
        idle: 'no inference'
      },
      {
        title: 'Requests without scores',
        description:
          'Requests that a model refused or failed to answer. ModelRejecting fires when there are twenty in five minutes.',
        unit: 'per minute',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'model_rejects_total', by: ['model', 'reason'], per: 'minute' }],
        idle: 'none'
      },
      {
        title: 'Reloads',
        description:
          'Loads and rollbacks in the running service. One that fails changes nothing: the version before answers.',
        unit: 'per minute',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'model_reloads_total', by: ['model', 'result', 'reason'], per: 'minute' }],
        idle: 'no reload'
      }
    ]
  },
  {
    title: 'Drift',
    folded: true,
    panels: [
      {
        title: 'Features against training',
        description:
          "Population stability index of each feature over its own limit: at 1 it strays as far as one in twenty of the training's dates or months. ModelDrift fires when more than a fifth of the features are above 1 for a day.",
        unit: 'count',
        show: 'lines',
        queries: [
          {
            kind: 'share',
            metric: 'model_feature_psi',
            of: 'model_feature_psi_limit',
            over: 'max',
            by: ['model_type', 'feature'],
            legend: '{{feature}} ({{model_type}})'
          }
        ],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 1, colour: 'amber' }
        ],
        idle: 'no baseline'
      },
      {
        title: 'Probabilities against training',
        description:
          'Population stability index of the probabilities, and the one that one in twenty of the training dates or months exceeds.',
        unit: 'count',
        show: 'lines',
        queries: [
          {
            kind: 'value',
            metric: 'model_score_psi',
            over: 'max',
            by: ['model_type'],
            legend: 'index: {{model_type}}'
          },
          {
            kind: 'value',
            metric: 'model_score_psi_limit',
            over: 'max',
            by: ['model_type'],
            legend: 'limit: {{model_type}}'
          }
        ]
      },
      {
        title: 'Symbols without features',
        description:
          "The share of the universes' symbols that had no feature vector when they were asked for last. A vector is whole or there is none, so this is the rate of missing values of every feature.",
        unit: 'ratio',
        show: 'lines',
        queries: [{ kind: 'value', metric: 'model_missing_ratio', over: 'max', by: ['model_type'] }]
      },
      {
        title: 'Features out of range',
        description:
          'The share of samples with a feature outside the middle 99 % of the training rows, where the model extrapolates: one in a hundred is usual.',
        unit: 'ratio',
        show: 'lines',
        queries: [
          {
            kind: 'value',
            metric: 'model_feature_out_of_range_ratio',
            over: 'max',
            by: ['model_type', 'feature'],
            legend: '{{feature}} ({{model_type}})'
          }
        ]
      },
      {
        title: 'Drift samples',
        description:
          'Rows that drift is measured on, in the instance that has fewest: below 200 nothing is said, and every index is 0.',
        unit: 'count',
        show: 'number',
        queries: [{ kind: 'value', metric: 'model_drift_samples', over: 'min', by: ['model_type'] }],
        thresholds: [
          { from: 0, colour: 'amber' },
          { from: 200, colour: 'green' }
        ]
      },
      {
        title: 'Age of the model',
        description:
          'Since the training of the oldest version that is served. ModelOld fires at 400 days, unless the market is simulated.',
        unit: 'seconds',
        show: 'number',
        queries: [{ kind: 'value', metric: 'model_age_seconds', over: 'max', by: ['model_type'] }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 200 * 86_400, colour: 'amber' },
          { from: 400 * 86_400, colour: 'red' }
        ]
      }
    ]
  },
  {
    title: 'Runtime',
    folded: true,
    panels: [
      {
        title: 'Event loop delay',
        description: 'How late the event loop is; everything waits for it. EventLoopSaturated watches p99.',
        unit: 'seconds',
        show: 'lines',
        queries: [
          { kind: 'value', metric: 'nodejs_eventloop_lag_p50_seconds', over: 'max', legend: 'p50' },
          { kind: 'value', metric: 'nodejs_eventloop_lag_p99_seconds', over: 'max', legend: 'p99' },
          { kind: 'value', metric: 'nodejs_eventloop_lag_max_seconds', over: 'max', legend: 'max' }
        ],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 0.1, colour: 'amber' },
          { from: 0.2, colour: 'red' }
        ]
      },
      {
        title: 'Requests shed',
        description: 'Requests refused with 503 because the event loop was late.',
        unit: 'per minute',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'http_requests_shed_total', per: 'minute', legend: 'shed' }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 1, colour: 'red' }
        ]
      },
      {
        title: 'Rate limits without their store',
        description:
          'Requests that the shared store did not count: refused (closed), let through (open) or counted by each process alone (local).',
        unit: 'per minute',
        show: 'stacked',
        queries: [{ kind: 'rate', metric: 'rate_limit_without_store_total', by: ['mode'], per: 'minute' }]
      },
      {
        title: 'CPU',
        description: 'Cores in use, over all instances. JavaScript runs on one of each.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'process_cpu_seconds_total', legend: 'cores' }]
      },
      {
        title: 'Memory',
        description: 'Of the largest instance.',
        unit: 'bytes',
        show: 'lines',
        queries: [
          { kind: 'value', metric: 'process_resident_memory_bytes', over: 'max', legend: 'resident' },
          { kind: 'value', metric: 'nodejs_heap_size_used_bytes', over: 'max', legend: 'heap' },
          { kind: 'value', metric: 'nodejs_external_memory_bytes', over: 'max', legend: 'external' }
        ]
      },
      {
        title: 'Garbage collection',
        description: 'The mean pause, by kind.',
        unit: 'seconds',
        show: 'lines',
        queries: [{ kind: 'mean', metric: 'nodejs_gc_duration_seconds', by: ['kind'] }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 0.05, colour: 'amber' },
          { from: 0.2, colour: 'red' }
        ],
        idle: 'no collection'
      },
      {
        title: 'Open files',
        description: 'Of the instance with most: connections, above all.',
        unit: 'count',
        show: 'lines',
        queries: [{ kind: 'value', metric: 'process_open_fds', over: 'max', legend: 'open' }]
      },
      {
        title: 'Uptime',
        description: 'Since the last start of any instance.',
        unit: 'seconds',
        show: 'number',
        queries: [{ kind: 'age', metric: 'process_start_time_seconds' }]
      },
      {
        title: 'Running',
        description: 'Instances, by version.',
        unit: 'count',
        show: 'number',
        queries: [{ kind: 'value', metric: 'system_info', over: 'sum', by: ['service', 'version'] }]
      },
      {
        title: 'Rate limit store',
        description:
          'Whether every instance counts in the store of the rate limits: 1. 0: one does not. Memory is always up.',
        unit: 'count',
        show: 'number',
        queries: [{ kind: 'value', metric: 'rate_limit_store_up', over: 'min', legend: 'up' }],
        thresholds: [
          { from: 0, colour: 'red' },
          { from: 1, colour: 'green' }
        ]
      },
      {
        title: 'Scrape time',
        description: 'The mean time to print the metrics, including the pauses in which requests are answered.',
        unit: 'seconds',
        show: 'lines',
        queries: [{ kind: 'mean', metric: 'metrics_scrape_duration_seconds', legend: 'scrape' }],
        idle: 'no scrape'
      },
      {
        title: 'Series dropped',
        description:
          "Label sets beyond a metric's bound, counted in its overflow series instead. Must be 0; SeriesDropped also sees the first one of a metric, of which no rate can be had.",
        unit: 'per minute',
        show: 'lines',
        queries: [{ kind: 'rate', metric: 'metrics_series_dropped_total', by: ['metric'], per: 'minute' }],
        thresholds: [
          { from: 0, colour: 'green' },
          { from: 0.1, colour: 'red' }
        ],
        idle: 'none'
      }
    ]
  }
]

/** All panels, in the order of the dashboard. */
export const panels: readonly Panel[] = [overview, ...details].flatMap((row) => row.panels)

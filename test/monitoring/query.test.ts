import t from 'tap'
import { catalogue } from '../../monitoring/catalogue.ts'
import { type Query, promql } from '../../monitoring/query.ts'
import { build, scrape } from '../helper.ts'

const bare = (query: Query): string => promql(query, { interval: '5m' })
const selected = (query: Query): string => promql(query, { selector: 'job="api"', interval: '$__rate_interval' })

t.test('rate: events per second or minute, of a counter or of what a histogram observed', async (t) => {
  t.equal(bare({ kind: 'rate', metric: 'http_requests_total' }), 'sum(rate(http_requests_total[5m]))')
  t.equal(
    selected({ kind: 'rate', metric: 'http_requests_total', by: ['endpoint', 'status'], where: { method: 'GET' } }),
    'sum by (endpoint, status) (rate(http_requests_total{job="api", method="GET"}[$__rate_interval]))'
  )
  t.equal(
    bare({ kind: 'rate', metric: 'model_predictions_total', per: 'minute' }),
    'sum(rate(model_predictions_total[5m])) * 60'
  )
  t.equal(
    bare({ kind: 'rate', metric: 'model_predictions_total', per: 'second' }),
    'sum(rate(model_predictions_total[5m]))'
  )
  t.equal(
    selected({ kind: 'rate', metric: 'data_fetch_duration_seconds', by: ['source'], per: 'minute' }),
    'sum by (source) (rate(data_fetch_duration_seconds_count{job="api"}[$__rate_interval])) * 60'
  )
})

t.test('quantile: of all instances together, and nothing instead of NaN', async (t) => {
  t.equal(
    bare({ kind: 'quantile', metric: 'ai_analysis_duration_seconds', quantile: 0.5 }),
    'histogram_quantile(0.5, sum by (le) (rate(ai_analysis_duration_seconds_bucket[5m]))) >= 0'
  )
  t.equal(
    selected({
      kind: 'quantile',
      metric: 'http_request_duration_seconds',
      quantile: 0.99,
      by: ['endpoint'],
      where: { method: 'GET' }
    }),
    'histogram_quantile(0.99, sum by (endpoint, le) ' +
      '(rate(http_request_duration_seconds_bucket{job="api", method="GET"}[$__rate_interval]))) >= 0'
  )
})

t.test('mean: the sum by the number, and nothing instead of NaN', async (t) => {
  t.equal(
    bare({ kind: 'mean', metric: 'ranking_tickers_processed' }),
    'sum(rate(ranking_tickers_processed_sum[5m])) / (sum(rate(ranking_tickers_processed_count[5m])) > 0)'
  )
  t.equal(
    selected({ kind: 'mean', metric: 'nodejs_gc_duration_seconds', by: ['kind'] }),
    'sum by (kind) (rate(nodejs_gc_duration_seconds_sum{job="api"}[$__rate_interval])) / ' +
      '(sum by (kind) (rate(nodejs_gc_duration_seconds_count{job="api"}[$__rate_interval])) > 0)'
  )
})

t.test('ratio: of counters, of the buckets of a histogram, of several metrics', async (t) => {
  t.equal(
    bare({
      kind: 'ratio',
      part: [{ metric: 'http_requests_total', where: { status: /5../ } }],
      whole: [{ metric: 'http_requests_total' }]
    }),
    'sum(rate(http_requests_total{status=~"5.."}[5m])) / (sum(rate(http_requests_total[5m])) > 0)'
  )
  t.equal(
    selected({
      kind: 'ratio',
      part: [{ metric: 'http_request_duration_seconds', where: { method: 'GET' }, upTo: 0.25 }],
      whole: [{ metric: 'http_request_duration_seconds' }],
      window: '1h'
    }),
    'clamp_max(sum(rate(http_request_duration_seconds_bucket{job="api", method="GET", le="0.25"}[1h])) / ' +
      '(sum(rate(http_request_duration_seconds_count{job="api"}[1h])) > 0), 1)'
  )
  t.equal(
    bare({
      kind: 'ratio',
      part: [{ metric: 'cache_hits_total' }],
      whole: [{ metric: 'cache_hits_total' }, { metric: 'cache_misses_total' }],
      times: 1000
    }),
    'sum(rate(cache_hits_total[5m])) / ' +
      '((sum(rate(cache_hits_total[5m])) + sum(rate(cache_misses_total[5m]))) > 0) * 1000'
  )
  t.equal(
    bare({
      kind: 'ratio',
      part: [{ metric: 'cache_hits_total' }, { metric: 'cache_misses_total' }],
      whole: [{ metric: 'http_requests_total' }],
      window: '5m'
    }),
    '(sum(rate(cache_hits_total[5m])) + sum(rate(cache_misses_total[5m]))) / (sum(rate(http_requests_total[5m])) > 0)'
  )
})

t.test('share: of another gauge with the same labels, and nothing where that is 0', async (t) => {
  const share = { kind: 'share', metric: 'model_feature_psi', of: 'model_feature_psi_limit', over: 'max' } as const
  t.equal(
    selected({ ...share, by: ['feature'] }),
    'max by (feature) (model_feature_psi{job="api"} / (model_feature_psi_limit{job="api"} > 0))'
  )
  const where = { feature: 'macd' }
  t.equal(
    bare({ ...share, where }),
    'max(model_feature_psi{feature="macd"} / (model_feature_psi_limit{feature="macd"} > 0))'
  )
})

t.test('value, age and heatmap', async (t) => {
  t.equal(bare({ kind: 'value', metric: 'model_loaded', over: 'min' }), 'min(model_loaded)')
  t.equal(
    selected({ kind: 'value', metric: 'cache_size_bytes', over: 'sum', by: ['cache_type'] }),
    'sum by (cache_type) (cache_size_bytes{job="api"})'
  )
  t.equal(
    bare({ kind: 'value', metric: 'model_queue_depth', over: 'max', where: { model_type: 'outperform' } }),
    'max(model_queue_depth{model_type="outperform"})'
  )
  t.equal(bare({ kind: 'age', metric: 'process_start_time_seconds' }), 'time() - max(process_start_time_seconds > 0)')
  t.equal(
    selected({ kind: 'age', metric: 'market_data_timestamp_seconds', by: ['source'] }),
    'time() - max by (source) (market_data_timestamp_seconds{job="api"} > 0)'
  )
  t.equal(
    selected({ kind: 'heatmap', metric: 'model_prediction_probability' }),
    'sum by (le) (increase(model_prediction_probability_bucket{job="api"}[$__rate_interval]))'
  )
  t.equal(
    bare({ kind: 'heatmap', metric: 'model_batch_size', where: { model_type: 'outperform' } }),
    'sum by (le) (increase(model_batch_size_bucket{model_type="outperform"}[5m]))'
  )
})

t.test('values and patterns are printed as strings of PromQL', async (t) => {
  const where = (endpoint: string | RegExp | { not: RegExp }): string =>
    /\{.*\}/.exec(bare({ kind: 'rate', metric: 'http_requests_total', where: { endpoint } }))![0]
  t.equal(where('/ranking'), '{endpoint="/ranking"}')
  t.equal(where('a "b" \\c\n'), String.raw`{endpoint="a \"b\" \\c\n"}`)
  t.equal(where(/\/health.*/), '{endpoint=~"/health.*"}', 'a slash needs no escape')
  t.equal(where({ not: /\/analyze|\/v2\/models\/\d+/ }), String.raw`{endpoint!~"/analyze|/v2/models/\\d+"}`)
  t.equal(where(/\\\/"/), String.raw`{endpoint=~"\\\\/\""}`, 'an escaped backslash before an escaped slash')
})

t.test('a bound is printed as it is exposed', async (t) => {
  const app = await build(t)
  const samples = Object.keys(await scrape(app))
  const whole = { metric: 'http_request_duration_seconds' } as const
  for (const upTo of catalogue.http_request_duration_seconds.buckets) {
    const [le] = /le="[^"]+"/.exec(bare({ kind: 'ratio', part: [{ ...whole, upTo }], whole: [whole] }))!
    t.ok(
      samples.some((sample) => sample.startsWith(`${whole.metric}_bucket{`) && sample.includes(`,${le}}`)),
      le
    )
  }
})

t.test('what can not be asked does not compile', async (t) => {
  const wrong: Query[] = [
    // @ts-expect-error a misspelt metric
    { kind: 'rate', metric: 'http_request_total' },
    // @ts-expect-error a label that the metric has not
    { kind: 'rate', metric: 'http_requests_total', by: ['country'] },
    // @ts-expect-error a label that the metric has not, to select by
    { kind: 'rate', metric: 'cache_hits_total', where: { endpoint: '/ranking' } },
    // @ts-expect-error a label of a metric without any
    { kind: 'value', metric: 'model_loaded', over: 'min', where: { model_type: 'outperform' } },
    // @ts-expect-error a counter where a gauge is needed
    { kind: 'value', metric: 'http_requests_total', over: 'sum' },
    // @ts-expect-error a gauge where events are needed
    { kind: 'rate', metric: 'model_loaded' },
    // @ts-expect-error a counter where a histogram is needed
    { kind: 'quantile', metric: 'http_requests_total', quantile: 0.95 },
    {
      kind: 'ratio',
      // @ts-expect-error a bound that the histogram has not
      part: [{ metric: 'http_request_duration_seconds', upTo: 0.3 }],
      whole: [{ metric: 'http_request_duration_seconds' }]
    },
    {
      kind: 'ratio',
      // @ts-expect-error a bound of a counter
      part: [{ metric: 'cache_hits_total', upTo: 1 }],
      whole: [{ metric: 'cache_misses_total' }]
    }
  ]
  t.equal(wrong.length, 9)
})

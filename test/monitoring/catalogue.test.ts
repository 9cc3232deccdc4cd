import t from 'tap'
import { catalogue } from '../../monitoring/catalogue.ts'
import type { Catalogue } from '../../plugins/metrics/index.ts'
import { build, scrape } from '../helper.ts'

/** The metrics of the monitoring guide: type, labels and the bounds that queries name. */
const GUIDE: Record<string, [type: string, labels: string[], bounds?: number[]]> = {
  http_requests_total: ['counter', ['method', 'endpoint', 'status']],
  http_request_duration_seconds: [
    'histogram',
    ['method', 'endpoint'],
    [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 0.001, 0.0025, 0.005, 0.025, 0.25, 2]
  ],
  model_predictions_total: ['counter', ['model_type']],
  model_prediction_duration_seconds: ['histogram', ['model_type'], [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1]],
  model_prediction_probability: ['histogram', [], [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]],
  cache_hits_total: ['counter', ['cache_type']],
  cache_misses_total: ['counter', ['cache_type']],
  cache_size_bytes: ['gauge', ['cache_type']],
  ranking_generation_duration_seconds: ['histogram', ['country'], [1, 5, 10, 30, 60, 120]],
  ranking_tickers_processed: ['histogram', [], [10, 25, 50, 100, 200, 500]],
  crypto_fetch_duration_seconds: ['histogram', [], [0.5, 1, 2, 5, 10, 30]],
  crypto_items_fetched: ['histogram', [], [20, 50, 100, 200, 250]],
  ai_analysis_requests_total: ['counter', ['cached']],
  ai_analysis_duration_seconds: ['histogram', [], [1, 5, 10, 20, 30, 60]],
  ai_analysis_tokens_used: ['histogram', [], [100, 500, 1000, 2000, 5000, 10_000]],
  data_fetch_duration_seconds: ['histogram', ['source'], [0.1, 0.5, 1, 2, 5, 10, 30]],
  data_fetch_errors_total: ['counter', ['source', 'error_type']],
  rate_limit_exceeded_total: ['counter', ['endpoint']],
  model_loaded: ['gauge', []],
  openai_configured: ['gauge', []],
  system_info: ['gauge', ['service', 'version']]
}

const specs: Catalogue = catalogue

t.test('every metric of the guide is declared, with its labels and at least its bounds', async (t) => {
  for (const [name, [type, labels, bounds = []]] of Object.entries(GUIDE)) {
    const spec = specs[name]
    t.equal(spec?.type, type, name)
    t.same(Object.keys(spec?.labels ?? {}), labels, name)
    const buckets = spec?.type === 'histogram' ? spec.buckets : []
    t.same(
      bounds.filter((bound) => !buckets.includes(bound)),
      [],
      `${name}: bounds that queries name`
    )
  }
})

t.test('what is declared is exposed, and what is exposed is declared', async (t) => {
  const app = await build(t)
  const { payload } = await app.inject('/prometheus')
  const exposed = [...payload.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type])
  const own = exposed.filter(([name]) => !/^(process|nodejs)_/.test(name!))
  t.same(Object.fromEntries(own), Object.fromEntries(Object.entries(specs).map(([name, { type }]) => [name, type])))
  t.ok(exposed.some(([name]) => name === 'process_resident_memory_bytes'))
  t.ok(exposed.some(([name]) => name === 'nodejs_eventloop_lag_p99_seconds'))
  const helped = [...payload.matchAll(/^# HELP (\S+) \S/gm)].map(([, name]) => name)
  t.same(
    helped,
    exposed.map(([name]) => name),
    'each with its help'
  )
})

t.test('bounds print as floats', async (t) => {
  const app = await build(t)
  const bounds = Object.keys(await scrape(app)).flatMap((sample) => /le="([^"]+)"/.exec(sample)?.[1] ?? [])
  t.same(
    [...new Set(bounds)].filter((bound) => !/^\d+\.\d+$|^\+Inf$|^\d+(\.\d+)?e-\d+$/.test(bound)),
    []
  )
  for (const bound of ['0.0', '0.7', '1.0', '2.0', '5.0', '10.0', '10000.0']) t.ok(bounds.includes(bound), bound)
})

/** After one pass over all routes every metric of the monitoring guide has been written, by real work. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { build, scrape } from '../helper.ts'
import { startStub } from '../sources/stub.ts'
import { languageModel } from '../stack/traffic.ts'

const DOCUMENT = join(import.meta.dirname, '../../docs/monitoring.md')

/** Each metric of the guide, as the sample that grows with its events (of a gauge: the gauge), and how much the pass below must make of it at least. */
const GUIDE = {
  'http_requests_total{method="GET",endpoint="/ranking",status="200"}': 2,
  'http_request_duration_seconds_count{method="GET",endpoint="/ranking"}': 2,
  'model_predictions_total{model_type="outperform"}': 30,
  'model_prediction_duration_seconds_count{model_type="outperform"}': 3,
  model_prediction_probability_count: 30,
  'cache_hits_total{cache_type="ranking"}': 1,
  'cache_misses_total{cache_type="ranking"}': 1,
  'cache_size_bytes{cache_type="ranking"}': 1000,
  'ranking_generation_duration_seconds_count{country="Switzerland"}': 1,
  ranking_tickers_processed_count: 1,
  crypto_fetch_duration_seconds_count: 1,
  crypto_items_fetched_sum: 250,
  'ai_analysis_requests_total{cached="no"}': 1,
  'ai_analysis_requests_total{cached="yes"}': 1,
  ai_analysis_duration_seconds_count: 1,
  ai_analysis_tokens_used_sum: 850,
  model_loaded: 1,
  openai_configured: 1,
  'data_fetch_duration_seconds_count{source="simulated"}': 2,
  'data_fetch_errors_total{source="simulated",error_type="not_found"}': 1,
  'rate_limit_exceeded_total{endpoint="/models"}': 1
}

t.test('every metric of the guide is written by one pass over all routes', async (t) => {
  const { origin } = await startStub(t, languageModel)
  const app = await build(t, { OPENAI_BASE_URL: `${origin}/v1`, RATE_LIMIT_RPM: '10' })
  const before = await scrape(app)
  for (const sample of Object.keys(GUIDE)) t.ok(sample in before, `${sample} exists before its first event`)

  const get = async <T>(url: string): Promise<T> => (await app.inject(url)).json() as T
  const post = async (url: string, payload: object): Promise<number> =>
    (await app.inject({ method: 'POST', url, payload })).statusCode
  const { ranking } = await get<{ ranking: object[] }>('/ranking?country=Switzerland')
  await get('/ranking?country=Switzerland')
  const { features } = await get<{ features: object }>('/predict_ticker/NESN.SW')
  t.equal(await post('/predict_raw', { features }), 200)
  for (const url of [
    '/ticker_info/AAPL',
    '/predict_ticker/NOSUCH',
    '/countries',
    '/crypto/ranking',
    '/metrics',
    '/health'
  ])
    await get(url)
  for (const url of ['/crypto/search?query=bitcoin', '/crypto/details/bitcoin']) await get(url)
  t.equal(await post('/ticker_info_batch', ['AAPL', 'MSFT']), 200)
  for (let again = 0; again < 2; again++) t.equal(await post('/analyze', { ranking }), 200)
  for (let again = 0; again < 11; again++) await get('/models')

  const after = await scrape(app)
  for (const [sample, least] of Object.entries(GUIDE)) t.ok(after[sample]! >= least, `${sample}: ${after[sample]}`)
  t.ok(
    Object.entries(after).some(([sample, value]) => sample.startsWith('system_info{') && value === 1),
    'system_info'
  )
  const [, said = ''] = /The service has about ([\d,]+),/.exec(await readFile(DOCUMENT, 'utf8')) ?? []
  const series = Number(said.replaceAll(',', ''))
  for (const samples of [before, after]) {
    const count = Object.keys(samples).length
    t.ok(Math.abs(count / series - 1) < 0.1, `${count} series, docs/monitoring.md says about ${said}`)
  }
})

import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { createMeters } from '../../monitoring/meters.ts'
import metrics from '../../plugins/metrics/index.ts'
import type { Manifest, ReloadReason } from '../../plugins/model/index.ts'
import { build, fakeSource, scrape, waveCandles } from '../helper.ts'

/** An app with metrics and nothing that writes them. */
async function bare(t: Test): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metrics, { endpoint: '/prometheus' })
  return app
}

t.test('a stale answer is a hit, and counted as stale too', async (t) => {
  const app = await bare(t)
  const { cache } = createMeters(app.metrics)
  cache.onHit('ranking')
  cache.onStale('ranking')
  cache.onMiss('ranking')
  cache.onCoalesced('ranking')
  t.match(await scrape(app), {
    'cache_hits_total{cache_type="ranking"}': 2,
    'cache_stale_total{cache_type="ranking"}': 1,
    'cache_misses_total{cache_type="ranking"}': 2
  })
})

t.test('what Redis was asked, and what failed', async (t) => {
  const app = await bare(t)
  const { cache } = createMeters(app.metrics)
  cache.onTierLookup('ranking', 'hit')
  cache.onTierLookup('ranking', 'corrupt')
  cache.onTierError('ranking', 'set', 'timeout')
  t.match(await scrape(app), {
    'cache_tier_lookups_total{cache_type="ranking",result="hit"}': 1,
    'cache_tier_lookups_total{cache_type="ranking",result="corrupt"}': 1,
    'cache_tier_lookups_total{cache_type="ranking",result="miss"}': 0,
    'cache_tier_errors_total{command="set",error_type="timeout"}': 1
  })
})

t.test('a run of a model without probabilities is a run, and no probability', async (t) => {
  const app = await bare(t)
  const { model } = createMeters(app.metrics)
  const scores = { score: Float32Array.of(1, 2) }
  model.onRun({ name: 'outperform' } as Manifest, {
    seconds: 0.1,
    rows: 2,
    requests: 1,
    waits: [0],
    answered: 2,
    scores
  })
  t.match(await scrape(app), {
    'model_predictions_total{model_type="outperform"}': 2,
    'model_executions_total{model_type="outperform"}': 1,
    model_prediction_probability_count: 0
  })
})

t.test('models that the service does not know are counted as one, and their probabilities as none', async (t) => {
  const app = await bare(t)
  const { model } = createMeters(app.metrics)
  const scores = { probability: Float32Array.of(0.1, 0.2) }
  for (const name of ['tiny', 'forest']) {
    model.onRun({ name } as Manifest, { seconds: 0.1, rows: 3, requests: 1, waits: [0], answered: 2, scores })
    model.onReject(name, 'busy')
  }
  t.match(await scrape(app), {
    'model_predictions_total{model_type="other"}': 4,
    'model_executions_total{model_type="other"}': 2,
    'model_batch_size_sum{model_type="other"}': 6,
    'model_queue_duration_seconds_count{model_type="other"}': 2,
    'model_rejects_total{model="other",reason="busy"}': 2,
    'model_predictions_total{model_type="outperform"}': 0,
    model_prediction_probability_count: 0
  })
})

t.test('of models that share a label one that failed is told of, whatever becomes of the others', async (t) => {
  const app = await bare(t)
  const { model } = createMeters(app.metrics)
  const reload = (name: string, reason: ReloadReason): void => {
    const result = reason === 'none' ? 'success' : 'failure'
    model.onReload({ model: name, version: undefined, result, reason, seconds: 0.1 })
  }
  const successful = async (): Promise<number | undefined> =>
    (await scrape(app))['model_last_reload_successful{model="other"}']
  for (const reason of ['unknown', 'not_loaded', 'no_rollback', 'changing'] as const) reload('tiny', reason)
  t.equal(await successful(), 1, 'no version was tried')
  reload('tiny', 'checksum')
  reload('forest', 'none')
  t.match(await scrape(app), {
    'model_last_reload_successful{model="other"}': 0,
    'model_last_reload_successful{model="outperform"}': 1
  })
  reload('tiny', 'changing')
  t.equal(await successful(), 0)
  reload('tiny', 'none')
  t.equal(await successful(), 1)
})

t.test('requests that are shed are counted', async (t) => {
  const app = await bare(t)
  createMeters(app.metrics).overload.onShed()
  t.equal((await scrape(app))['http_requests_shed_total'], 1)
})

t.test('requests that the store of the rate limits does not count are counted, and whether it does', async (t) => {
  const app = await build(t)
  t.equal((await scrape(app))['rate_limit_store_up'], 1)
  const other = await bare(t)
  const { rateLimit } = createMeters(other.metrics)
  rateLimit.onWithoutStore('open')
  rateLimit.onWithoutStore('open')
  rateLimit.onWithoutStore('local')
  t.match(await scrape(other), {
    'rate_limit_without_store_total{mode="closed"}': 0,
    'rate_limit_without_store_total{mode="open"}': 2,
    'rate_limit_without_store_total{mode="local"}': 1
  })
})

t.test("a ranking says how old its newest price is, and one without prices leaves the last one's word", async (t) => {
  const source = fakeSource({ AAA: waveCandles(320, '2026-11-19'), BBB: waveCandles(320, '2026-11-20') })
  const app = await build(t, {}, { source })
  const key = `market_data_timestamp_seconds{source="${source.name}"}`
  t.equal((await scrape(app))[key], 0)
  await app.inject('/ranking?country=Testland')
  t.equal((await scrape(app))[key], Date.parse('2026-11-20') / 1000)
  await app.inject('/ranking?country=Testland&tickers=ZZZ')
  t.equal((await scrape(app))[key], Date.parse('2026-11-20') / 1000)
  t.equal((await scrape(app))['model_queue_capacity{model_type="outperform"}'], 65_536)
})

import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import type { MarketSource } from '../../domain/market.ts'
import type { OpenSession } from '../../plugins/model/index.ts'
import { openOnnxSession } from '../../plugins/model/onnx.ts'
import { build, fakeSource, scrape, waveCandles } from '../helper.ts'

async function predictRaw(app: FastifyInstance, features: unknown): Promise<LightMyRequestResponse> {
  const payload = typeof features === 'string' ? features : JSON.stringify({ features })
  return app.inject({ method: 'POST', url: '/predict_raw', headers: { 'content-type': 'application/json' }, payload })
}

t.test('a prediction, the ranking and a raw prediction agree to the bit', async (t) => {
  const app = await build(t)
  const prediction = (await app.inject('/predict_ticker/AAPL')).json()
  const { ranking } = (await app.inject({ url: '/ranking', query: { country: 'United States' } })).json()
  const row = ranking.find(({ ticker }: { ticker: string }) => ticker === 'AAPL')
  t.equal(prediction.prob, row.prob)
  t.equal(prediction.percentile, row.percentile)
  t.equal(prediction.signal, row.signal)
  t.equal(prediction.price, row.price)
  const raw = (await predictRaw(app, prediction.features)).json()
  t.equal(raw.prob, prediction.prob)
  t.same(raw.model, prediction.model)
  t.match(prediction, {
    ticker: 'AAPL',
    universe: 'United States',
    source: 'simulated',
    as_of: '2026-11-20',
    currency: 'USD'
  })
})

t.test('a ticker is found however it is written', async (t) => {
  const app = await build(t)
  for (const written of ['brk.b', 'BRK-B', 'BRK%2FB', '%20BRK.B%20']) {
    t.equal((await app.inject(`/predict_ticker/${written}`)).json().ticker, 'BRK-B', written)
  }
})

t.test('unknown, too young, failing and impossible tickers', async (t) => {
  const app = await build(t, {}, { source: fakeSource({ YOUNG: waveCandles(100), DOWN: 'timeout' }) })
  for (const [ticker, status, code] of [
    ['NOSUCH', 404, 'TF_ERR_MARKET_UNKNOWN_TICKER'],
    ['YOUNG', 422, 'TF_ERR_RANKING_SHORT_HISTORY'],
    ['DOWN', 504, 'TF_ERR_MARKET_SOURCE'],
    ['WAYTOOLONGTICKER', 400, 'FST_ERR_VALIDATION'],
    ['A$', 400, 'FST_ERR_VALIDATION']
  ] as const) {
    const reply = await app.inject(`/predict_ticker/${ticker}`)
    t.equal(reply.statusCode, status, ticker)
    t.equal(reply.json().code, code, ticker)
  }
})

t.test('a prediction is made once while it is fresh, and that there is none is remembered too', async (t) => {
  const fake = fakeSource({ A: waveCandles(), YOUNG: waveCandles(100), DOWN: 'network' })
  const asked: string[] = []
  const history: MarketSource['history'] = async (symbols, days) => {
    asked.push(symbols.join())
    return fake.history(symbols, days)
  }
  const app = await build(t, {}, { source: { ...fake, universes: [], history } })
  const first = (await app.inject('/predict_ticker/A')).json()
  t.match(first, { stale: false, age_seconds: 0 })
  const { age_seconds: age, ...again } = (await app.inject('/predict_ticker/A')).json()
  t.ok(age >= 0)
  t.same({ ...again, age_seconds: 0 }, first)
  for (const ticker of ['YOUNG', 'NOSUCH', 'DOWN']) {
    const one = (await app.inject(`/predict_ticker/${ticker}`)).json()
    const two = (await app.inject(`/predict_ticker/${ticker}`)).json()
    t.same([one.code, one.detail], [two.code, two.detail])
  }
  t.same(asked, ['A', 'YOUNG', 'NOSUCH', 'DOWN', 'DOWN'], 'a failure is not')
})

t.test('a symbol outside every universe has a probability and no percentile', async (t) => {
  const candles = waveCandles()
  const source = fakeSource({ A: candles }, { universes: [] })
  const app = await build(t, {}, { source })
  t.match((await app.inject('/predict_ticker/A')).json(), {
    ticker: 'A',
    percentile: null,
    universe: null,
    currency: null
  })
})

t.test('what the model was not trained on is said', async (t) => {
  const app = await build(t)
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  const usual = (await predictRaw(app, features)).json()
  t.same(usual.warnings, [])
  const wild = (await predictRaw(app, { ...features, rsi_14: 100.5, volatility_20d: 3 })).json()
  t.same(
    wild.warnings.map(({ message }: { message: string }) => message.split(' ')[0]),
    ['volatility_20d', 'rsi_14']
  )
  const jump = waveCandles()
  jump.adjClose[jump.adjClose.length - 1]! *= 3
  const other = await build(t, {}, { source: fakeSource({ JUMP: jump }) })
  const { warnings } = (await other.inject('/predict_ticker/JUMP')).json()
  t.match(warnings, [{ code: 'simulated_data' }, { code: 'feature_out_of_range', message: /return_5d/ }])
})

t.test('a raw prediction needs every feature, finite and a number, and nothing else', async (t) => {
  const app = await build(t)
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  const { rsi_14: _, ...missing } = features
  const text = JSON.stringify({ features })
  for (const [sent, field, message] of [
    [missing, 'features.rsi_14', 'is missing'],
    [{ ...features, extra: 1 }, 'features.extra', 'is not a field that is known here'],
    [{ ...features, rsi_14: null }, 'features.rsi_14', 'must be number'],
    [{ ...features, rsi_14: true }, 'features.rsi_14', 'must be number'],
    [{ ...features, rsi_14: '50' }, 'features.rsi_14', 'must be number'],
    [text.replace(/"rsi_14":[^,}]+/, '"rsi_14":1e999'), 'features.rsi_14', 'must be a finite number'],
    ['{}', 'features', 'is missing'],
    ['[]', '', 'must be object']
  ]) {
    const reply = await predictRaw(app, sent)
    t.equal(reply.statusCode, 400)
    t.match(reply.json(), { code: 'FST_ERR_VALIDATION', errors: [{ in: 'body', field, message }] }, message)
  }
  const overflow = await predictRaw(app, { ...features, rsi_14: 1e300 })
  t.match(overflow.json(), { status: 400, detail: 'features/rsi_14 must be a finite number (float32)' })
})

t.test('each prediction is counted and timed by its model', async (t) => {
  const app = await build(t)
  const before = await scrape(app)
  t.equal(before['model_predictions_total{model_type="outperform"}'], 0, 'warm-up and self-test are not predictions')
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  await Promise.all([predictRaw(app, features), predictRaw(app, features)])
  const { countries } = (await app.inject('/countries')).json()
  const { size } = countries.find(({ name }: { name: string }) => name === 'United States')
  const after = await scrape(app)
  t.equal(after['model_predictions_total{model_type="outperform"}'], 1 + size + 2)
  t.equal(after['model_prediction_probability_count'], 1 + size + 2)
  t.equal(after['model_prediction_duration_seconds_count{model_type="outperform"}'], 3, 'two raw ones shared a run')
  t.equal(after['model_batch_size_sum{model_type="outperform"}'], 1 + size + 2)
  t.ok(after['model_prediction_duration_seconds_sum{model_type="outperform"}']! > 0)
})

t.test('a model that fails is a 500 that tells nothing, timed but not counted', async (t) => {
  let broken = false
  const openSession: OpenSession = async (bytes, tensors) => {
    const session = await openOnnxSession(bytes, tensors)
    return {
      ...session,
      async run(next) {
        if (broken) throw new Error('secret path')
        return session.run(next)
      }
    }
  }
  const app = await build(t, {}, { openSession })
  broken = true
  const reply = await app.inject('/predict_ticker/AAPL')
  t.equal(reply.statusCode, 500)
  t.match(reply.json(), { code: 'TF_ERR_INTERNAL', detail: /^The service failed/ })
  t.notMatch(reply.payload, /secret/)
  const found = await scrape(app)
  t.equal(found['model_prediction_duration_seconds_count{model_type="outperform"}'], 1)
  t.equal(found['model_predictions_total{model_type="outperform"}'], 0)
  t.equal(found['http_requests_total{method="GET",endpoint="/predict_ticker/:ticker",status="500"}'], 1)
})

import t from 'tap'
import { FEATURES } from '../../domain/features.ts'
import { build, scrape } from '../helper.ts'

const INFER = '/v2/models/outperform/infer'

t.test('inference answers what /predict_raw does, to the bit, and is counted like it', async (t) => {
  const app = await build(t)
  const vectors: number[][] = []
  const probabilities: number[] = []
  for (const ticker of ['AAPL', 'NESN.SW', '7203.T']) {
    const { features } = (await app.inject(`/predict_ticker/${ticker}`)).json()
    const raw = await app.inject({ method: 'POST', url: '/predict_raw', payload: { features } })
    vectors.push(FEATURES.map(({ name }) => features[name]))
    probabilities.push(raw.json().prob)
  }
  const before = await scrape(app)
  const infer = async (data: unknown, url = INFER) =>
    app.inject({
      method: 'POST',
      url,
      payload: { id: 'x', inputs: [{ name: 'features', shape: [3, FEATURES.length], datatype: 'FP32', data }] }
    })
  const { version } = app.model.serving('outperform').manifest
  const versioned = `/v2/models/outperform/versions/${version}/infer`
  for (const reply of [await infer(vectors), await infer(vectors.flat(), versioned)]) {
    const { model_name, model_version, id, outputs } = reply.json()
    t.strictSame([model_name, model_version, id], ['outperform', version, 'x'])
    t.strictSame(outputs[0], { name: 'probability', datatype: 'FP32', shape: [3, 1], data: probabilities })
  }
  const after = await scrape(app)
  const grew = (name: string): number => after[name]! - before[name]!
  t.equal(grew('model_predictions_total{model_type="outperform"}'), 6)
  t.equal(grew(`http_requests_total{method="POST",endpoint="/v2/models/:name/infer",status="200"}`), 1)
  t.equal(
    grew(`http_requests_total{method="POST",endpoint="/v2/models/:name/versions/:version/infer",status="200"}`),
    1
  )
})

t.test('errors below /v2 have the form of the protocol, elsewhere that of the service', async (t) => {
  const app = await build(t, { RATE_LIMIT_RPM: '8' })
  t.match((await app.inject('/v2')).json(), { name: 'Trading Fun API', version: '0.1.0', extensions: [] })
  for (const [url, status, error] of [
    ['/v2/models/nobody', 404, 'There is no model nobody'],
    ['/v2/models/outperform/versions/99', 404, 'There is no model outperform/99'],
    ['/v2/nowhere', 404, 'There is no route GET /v2/nowhere']
  ] as const) {
    const reply = await app.inject(url)
    t.strictSame([reply.statusCode, reply.json()], [status, { error }])
    t.ok(reply.headers['x-request-id'], 'the log can be found by it')
  }
  t.match((await app.inject('/nowhere')).json(), { code: 'TF_ERR_NOT_FOUND' })

  const guesses: number[] = []
  for (let i = 0; i < 8; i++) guesses.push((await app.inject(`/v2/guess/${i}`)).statusCode)
  t.strictSame(guesses, [404, 404, 404, 404, 404, 404, 429, 429], 'one budget with what is unknown elsewhere')
  const limited = await app.inject('/v2/guess')
  t.match(limited.json(), { error: String })
  t.ok(limited.headers['retry-after'])
  for (let i = 0; i < 20; i++) t.equal((await app.inject('/v2/health/ready')).statusCode, 200)
  const empty = async () => app.inject({ method: 'POST', url: INFER, payload: {} })
  for (let i = 0; i < 8; i++) t.equal((await empty()).statusCode, 400, 'eight in any case')
  t.equal((await empty()).statusCode, 429)
})

t.test('a service that drains, or has no model, is not ready', async (t) => {
  const app = await build(t)
  t.equal((await app.inject('/v2/health/ready')).statusCode, 200)
  app.health.drain()
  const reply = await app.inject('/v2/health/ready')
  t.strictSame([reply.statusCode, reply.json()], [503, { live: false, ready: false }])
  t.equal((await app.inject('/v2/health/live')).statusCode, 200)
})

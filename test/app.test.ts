import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp } from '../app.ts'
import type { Candles } from '../domain/market.ts'
import { openOnnxSession } from '../plugins/model/onnx.ts'
import { build, fakeSource, scrape, testConfig, waveCandles } from './helper.ts'

/** What a raw connection gets back for a text. */
async function raw(app: FastifyInstance, text: string): Promise<string> {
  const { port } = app.server.address() as AddressInfo
  return new Promise((resolve, reject) => {
    let reply = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    socket.on('data', (chunk) => (reply += String(chunk)))
    socket.on('close', () => resolve(reply))
    socket.on('error', reject)
  })
}

/** A model repository with one version only. */
function repositoryOf(t: Test, version: string): string {
  // Beside what the test has in its folder: testdir() would empty it.
  const folder = join(t.testdirName, 'models')
  cpSync(join(testConfig().MODEL_DIR, 'outperform', version), join(folder, 'outperform', version), { recursive: true })
  return folder
}

/** A folder of prices as `MARKET_SOURCE=csv` reads them. */
function pricesFolder(t: Test, members: Record<string, Record<string, Candles>>): string {
  const header = 'date,open,high,low,close,adj_close,volume'
  const lines = ({ dates, close }: Candles): string[] => dates.map((date, i) => `${date},,,,${close[i]},${close[i]},`)
  const files = Object.entries(members).map(([market, tickers]) => [
    market,
    Object.fromEntries(
      Object.entries(tickers).map(([ticker, candles]) => [`${ticker}.csv`, [header, ...lines(candles), ''].join('\n')])
    )
  ])
  return t.testdir(Object.fromEntries(files))
}

t.test('a boot that fails closes what it opened', async (t) => {
  let released = 0
  const openSession: typeof openOnnxSession = async (bytes, tensors) => {
    const session = await openOnnxSession(bytes, tensors)
    const release = async (): Promise<void> => {
      released++
      await session.release()
    }
    return { ...session, release }
  }
  // A universe whose name is no text: found out when its series are made, after the model was opened.
  const source = fakeSource({}, { universes: [{ name: 5 as never, symbols: ['A'], origin: '', date: '' }] })
  await t.rejects(buildApp(testConfig(), { source, openSession }), { message: /label country can't be 5/ })
  t.equal(released, 1)
})

t.test('bounded label sets are there with 0 before anything happened, within the budget', async (t) => {
  const app = await build(t)
  const { payload } = await app.inject('/prometheus')
  const found = await scrape(app)
  for (const sample of [
    'http_requests_total{method="GET",endpoint="/ranking",status="200"}',
    'http_requests_total{method="GET",endpoint="/ranking",status="500"}',
    'http_requests_total{method="POST",endpoint="/predict_raw",status="500"}',
    'http_request_duration_seconds_bucket{method="GET",endpoint="/predict_ticker/:ticker",le="2.0"}',
    'model_predictions_total{model_type="outperform"}',
    'model_prediction_probability_bucket{le="0.7"}',
    'cache_hits_total{cache_type="ranking"}',
    'cache_misses_total{cache_type="ranking"}',
    'cache_size_bytes{cache_type="ranking"}',
    'ranking_generation_duration_seconds_count{country="United Kingdom"}',
    'ranking_generation_duration_seconds_count{country="custom"}',
    'data_fetch_errors_total{source="csv",error_type="not_found"}',
    'ai_analysis_requests_total{cached="yes"}',
    'ai_analysis_requests_total{cached="no"}',
    'ai_analysis_tokens_used_count',
    'crypto_items_fetched_count',
    'rate_limit_exceeded_total{endpoint="/ranking"}',
    'rate_limit_exceeded_total{endpoint="unmatched"}',
    'openai_configured'
  ]) {
    t.equal(found[sample], 0, sample)
  }
  t.equal(found['model_loaded'], 1)
  t.equal(found['system_info{service="trading-fun-api",version="0.1.0"}'], 1)
  t.ok(Object.keys(found).length < 1500, `${Object.keys(found).length} series`)
  t.ok(payload.length < 300_000, `${payload.length} bytes`)
})

t.test('two services in one process never meet', async (t) => {
  const one = await build(t)
  const two = await build(t)
  await one.inject('/ranking?country=Japan')
  const sample = 'ranking_generation_duration_seconds_count{country="Japan"}'
  t.equal((await scrape(one))[sample], 1)
  t.equal((await scrape(two))[sample], 0)
})

t.test('a folder of real prices is ranked by the model that was trained on real prices', async (t) => {
  const folder = pricesFolder(t, {
    US: { AAPL: waveCandles(320, '2026-11-20', 1), 'BRK-B': waveCandles(320, '2026-11-20', 2) },
    UK: { 'BP.L': waveCandles(320, '2026-11-20', 3) },
    MOON: { ROCK: waveCandles(320, '2026-11-20', 4) }
  })
  const app = await build(t, { MARKET_SOURCE: 'csv', MARKET_DATA_DIR: folder })
  const historical = app.model.versions.find(({ manifest }) => manifest.source === 'historical')!.manifest.version
  const body = (await app.inject('/ranking?country=United States')).json()
  t.match(body, {
    source: 'csv',
    country: 'United States',
    model: { version: historical, source: 'historical' },
    warnings: []
  })
  t.match(body.ranking.map(({ ticker }: { ticker: string }) => ticker).toSorted(), ['AAPL', 'BRK-B'])
  t.match(
    body.ranking.find(({ ticker }: { ticker: string }) => ticker === 'AAPL'),
    { name: 'Apple', currency: 'USD' }
  )
  t.match((await app.inject('/ranking?country=MOON')).json().ranking, [
    { ticker: 'ROCK', name: 'ROCK', currency: null }
  ])
  t.match((await app.inject('/predict_ticker/BP.L')).json(), { currency: 'GBp', universe: 'United Kingdom' })
  const found = await scrape(app)
  t.equal(found['data_fetch_duration_seconds_count{source="csv"}'], 4)
  t.equal(found['ranking_generation_duration_seconds_count{country="MOON"}'], 1)
  t.equal(found[`model_info{model_type="outperform",version="${historical}",source="historical"}`], 1)
})

t.test('real prices without a model that knows them stop the boot with the way out', async (t) => {
  const folder = pricesFolder(t, { US: { AAPL: waveCandles() } })
  const env = { MARKET_SOURCE: 'csv', MARKET_DATA_DIR: folder, MODEL_DIR: repositoryOf(t, '1') }
  await t.rejects(build(t, env), {
    code: 'TF_ERR_MODEL_NONE_FITS',
    message:
      'No version of outperform fits: version 1 was trained on simulated prices, and MARKET_SOURCE=csv has historical ones. ' +
      'Train one: npm run train -- --data DIR --out models; or set ALLOW_SIMULATED_MODEL=1.'
  })
  const app = await build(t, { ...env, ALLOW_SIMULATED_MODEL: '1' })
  const { model, warnings } = (await app.inject('/predict_ticker/AAPL')).json()
  t.match(model, { version: '1', source: 'simulated' })
  t.match(warnings, [{ code: 'simulated_model' }])
})

t.test(
  'a model that learned from real prices of long ago is warned of at the start, an invented one is not',
  async (t) => {
    const folder = pricesFolder(t, { US: { AAPL: waveCandles(320, '2024-07-30') } })
    async function warned(env: Record<string, string>, day: string): Promise<object[]> {
      const lines: { msg: string }[] = []
      const logger = { level: 'warn', stream: { write: (line: string) => void lines.push(JSON.parse(line)) } }
      await build(t, env, { logger, now: () => new Date(day) })
      return lines.filter(({ msg }) => msg.includes('model'))
    }
    const csv = { MARKET_SOURCE: 'csv', MARKET_DATA_DIR: folder }
    // It learned until 2023-06-28, and 2024-08-01 is 400 days later.
    t.same(await warned(csv, '2024-08-01T00:00:00Z'), [])
    t.match(await warned(csv, '2024-08-02T12:00:00Z'), [
      { version: '2', days: 401, msg: /^the model learned from prices of long ago/ }
    ])
    t.same(await warned({}, '2028-01-01T00:00:00Z'), [])
  }
)

t.test('a model of real prices never scores invented ones', async (t) => {
  t.testdir()
  await t.rejects(build(t, { MODEL_DIR: repositoryOf(t, '2') }), {
    code: 'TF_ERR_MODEL_NONE_FITS',
    message:
      'No version of outperform fits: version 2 was trained on historical prices, and MARKET_SOURCE=simulated has simulated ones. ' +
      'Train one: npm run train; or set MARKET_SOURCE to csv or yahoo.'
  })
})

t.test('a model with other features, or in another order, is not served', async (t) => {
  t.testdir()
  const folder = repositoryOf(t, '1')
  const file = join(folder, 'outperform/1/manifest.json')
  const manifest = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...manifest, features: manifest.features.toReversed() }))
  await t.rejects(build(t, { MODEL_DIR: folder }), {
    code: 'TF_ERR_MODEL_NONE_FITS',
    message: /version 1 has other features than this service computes/
  })
})

t.test('a model may be without log-odds, but not without probabilities', async (t) => {
  const folderWith = (change: object): string => {
    t.testdir()
    const folder = repositoryOf(t, '1')
    const file = join(folder, 'outperform/1/manifest.json')
    const { linear: _, ...manifest } = JSON.parse(readFileSync(file, 'utf8'))
    writeFileSync(file, JSON.stringify({ ...manifest, ...change }))
    return folder
  }
  const app = await build(t, { MODEL_DIR: folderWith({ outputs: { probability: { name: 'probability' } } }) })
  t.equal((await app.inject('/predict_ticker/AAPL')).statusCode, 200)
  t.equal((await app.inject('/predict_ticker/AAPL?explain=true')).statusCode, 422)
  const self_test = [{ features: {}, score: 1 }]
  await t.rejects(build(t, { MODEL_DIR: folderWith({ task: 'regression', calibration: {}, self_test }) }), {
    code: 'TF_ERR_MODEL_NONE_FITS',
    message: /version 1 answers no probability/
  })
  for (const unsaid of ['source', 'horizon_days']) {
    await t.rejects(build(t, { MODEL_DIR: folderWith({ [unsaid]: undefined }) }), {
      code: 'TF_ERR_MODEL_NONE_FITS',
      message: /version 1 says no horizon_days, or no source/
    })
  }
})

t.test('a folder that is not there stops the boot', async (t) => {
  await t.rejects(build(t, { MARKET_SOURCE: 'csv', MARKET_DATA_DIR: '/nowhere/prices' }), {
    code: 'TF_ERR_SOURCE_CSV_DIRECTORY',
    message: /\/nowhere\/prices/
  })
})

t.test('the log says that prices are simulated, and which rows of a file were dropped', async (t) => {
  const lines: Record<string, unknown>[] = []
  const logger = { level: 'warn', stream: { write: (line: string) => void lines.push(JSON.parse(line)) } }
  await build(t, {}, { logger })
  t.match(lines, [{ msg: /^prices are simulated/, seed: 1 }])
  lines.length = 0
  const candles = waveCandles()
  candles.close[10] = -1
  await build(
    t,
    { MARKET_SOURCE: 'csv', MARKET_DATA_DIR: pricesFolder(t, { US: { AAPL: candles } }) },
    { logger }
  ).then((app) => app.inject('/predict_ticker/AAPL'))
  t.match(lines, [{ msg: /dropped/ }])
})

t.test('no secret is in any log line or reply', async (t) => {
  const lines: string[] = []
  const logger = { level: 'trace', stream: { write: (line: string) => void lines.push(line) } }
  const app = await build(t, { METRICS_TOKEN: 'open sesame, my friend' }, { logger })
  const replies = []
  for (const authorization of ['Bearer open sesame, my friend', 'Bearer hunter2']) {
    for (const url of ['/prometheus', '/metrics', '/', '/health', '/nowhere', '/ranking?limit=0']) {
      replies.push(
        await app.inject({ url, headers: { authorization, cookie: 'session=hunter2', 'x-api-key': 'hunter2' } })
      )
    }
  }
  t.ok(lines.length > 10)
  t.notMatch(lines.join(''), /sesame|hunter2/)
  t.notMatch(replies.map(({ headers, payload }) => JSON.stringify(headers) + payload).join(''), /sesame|hunter2/)
})

t.test('what Fastify and Node refuse before any hook is a problem like any other', async (t) => {
  const app = await build(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const problem = async (text: string): Promise<[string, Record<string, unknown>]> => {
    const reply = await raw(app, text)
    const [head = '', body = ''] = reply.split('\r\n\r\n')
    t.match(head, /content-type: application\/problem\+json; charset=utf-8/i)
    t.match(head, /x-request-id: [0-9a-f-]{36}/i)
    return [head.split('\r\n')[0]!, JSON.parse(body)]
  }
  const close = 'Host: x\r\nConnection: close\r\n\r\n'
  t.match(await problem(`GET /%ff HTTP/1.1\r\n${close}`), [
    'HTTP/1.1 400 Bad Request',
    { code: 'FST_ERR_BAD_URL', instance: '/%ff' }
  ])
  t.match(await problem(`GET /predict_ticker/${'A'.repeat(200)} HTTP/1.1\r\n${close}`), [
    'HTTP/1.1 414 URI Too Long',
    { status: 414 }
  ])
  t.match(await problem('NONSENSE\r\n\r\n'), [
    'HTTP/1.1 400 Bad Request',
    { code: 'TF_ERR_CLIENT', detail: 'The request is not HTTP' }
  ])
  t.match(await problem(`GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n${close}`), [
    'HTTP/1.1 431 Request Header Fields Too Large',
    { status: 431 }
  ])
})

t.test('bodies are bounded, typed, and never trusted', async (t) => {
  const app = await build(t)
  const post = async (payload: string, type = 'application/json') =>
    app.inject({ method: 'POST', url: '/predict_raw', payload, headers: { 'content-type': type } })
  t.match((await post('{"features":')).json(), { status: 400, code: 'FST_ERR_CTP_INVALID_JSON_BODY' })
  t.match((await post('x'.repeat(2 ** 20 + 1))).json(), { status: 413, code: 'FST_ERR_CTP_BODY_TOO_LARGE' })
  t.match((await post('a=1', 'application/x-www-form-urlencoded')).json(), { status: 415 })
  t.match((await post('{"__proto__":{"x":1}}')).json(), { status: 400 })
  t.match((await app.inject({ method: 'DELETE', url: '/ranking' })).json(), {
    status: 404,
    detail: 'There is no route DELETE /ranking'
  })
})

t.test('the version is that of the package, and the clock is a real one by default', async (t) => {
  const app = await buildApp(testConfig())
  t.teardown(() => app.close())
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'))
  t.equal((await app.inject('/')).json().version, version)
  const age = Date.now() - Date.parse((await app.inject('/ranking?country=Japan')).json().data_as_of)
  t.ok(age > 0 && age < 5 * 86_400_000, 'the last candle is of the last weekday')
})

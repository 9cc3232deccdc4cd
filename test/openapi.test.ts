import { createConfig, lintFromString } from '@redocly/openapi-core'
import t from 'tap'
import { build } from './helper.ts'

t.test('the OpenAPI document lints clean', async (t) => {
  const app = await build(t, { MODEL_CONTROL_TOKEN: 'open sesame, my friend' })
  const { payload } = await app.inject('/openapi.json')
  // Health and metrics are neither limited nor given anything to refuse: they have no 4xx.
  const config = await createConfig({ extends: ['recommended'], rules: { 'operation-4xx-response': 'off' } })
  const found = await lintFromString({ source: payload, config })
  t.same(
    found.map(({ ruleId, message, location }) => `${ruleId} ${location[0]?.pointer}: ${message}`),
    []
  )
  t.equal(JSON.parse(payload).openapi, '3.1.0')
})

t.test('every route of the service is documented, with every error it can answer', async (t) => {
  const app = await build(t)
  const { paths } = (await app.inject('/openapi.json')).json()
  t.same(Object.keys(paths).toSorted(), [
    '/',
    '/analyze',
    '/countries',
    '/crypto/details/{id}',
    '/crypto/ranking',
    '/crypto/search',
    '/health',
    '/health/live',
    '/health/ready',
    '/metrics',
    '/models',
    '/predict_raw',
    '/predict_ticker/{ticker}',
    '/ranking',
    '/ticker_info/{ticker}',
    '/ticker_info_batch',
    '/v2',
    '/v2/health/live',
    '/v2/health/ready',
    ...['', '/infer', '/ready'].map((path) => `/v2/models/{name}${path}`),
    ...['', '/infer', '/ready'].map((path) => `/v2/models/{name}/versions/{version}${path}`)
  ])
  t.equal((await app.inject('/dashboard')).statusCode, 200, 'a page for people is not part of the API')
  const infer = paths['/v2/models/{name}/infer'].post
  t.strictSame(Object.keys(infer.responses), ['200', '4XX', '5XX'])
  t.match(infer.requestBody.content, { 'application/json': { schema: { required: ['inputs'] } } })
  const always = ['429', '500', '503']
  for (const [path, method, ...statuses] of [
    ['/', 'get'],
    ['/analyze', 'post', '400', '413', '415', '502', '504'],
    ['/countries', 'get'],
    ['/crypto/details/{id}', 'get', '400', '404', '502', '504'],
    ['/crypto/ranking', 'get', '400', '502', '504'],
    ['/crypto/search', 'get', '400', '404', '502', '504'],
    ['/metrics', 'get', '400', '401'],
    ['/models', 'get'],
    ['/predict_raw', 'post', '400', '413', '415', '422'],
    ['/predict_ticker/{ticker}', 'get', '400', '404', '422', '502', '504'],
    ['/ranking', 'get', '400', '502', '504'],
    ['/ticker_info/{ticker}', 'get', '400', '404', '502', '504'],
    ['/ticker_info_batch', 'post', '400', '413', '415']
  ] as const) {
    t.same(Object.keys(paths[path][method].responses), ['200', ...statuses, ...always].toSorted(), path)
  }
  const { features } = paths['/predict_raw'].post.requestBody.content['application/json'].schema.properties
  t.equal(features.required.length, 17)
  t.match(features.properties.rsi_14, { type: 'number', 'x-quantiles': { p50: Number } })
})

t.test('the documentation page needs nothing from elsewhere', async (t) => {
  const app = await build(t)
  const page = await app.inject('/docs')
  t.equal(page.statusCode, 200)
  t.notMatch(page.payload, /(src|href)="https?:/)
  const policy = String(page.headers['content-security-policy'])
  t.match(policy, "default-src 'self'")
  t.notMatch(policy, /upgrade-insecure-requests|unsafe-eval|script-src[^;]*unsafe-inline/)
})

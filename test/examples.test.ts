import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { build as buildCache } from '../examples/cache.ts'
import { build as buildMetrics } from '../examples/metrics.ts'
import { build as buildModel } from '../examples/model.ts'
import { build as buildRateLimit } from '../examples/rate-limit.ts'

/** An example as its file builds it, without a log line for each request; closed when the test ends. */
async function start(t: Test, build: () => Promise<FastifyInstance>): Promise<FastifyInstance> {
  const app = await build()
  t.teardown(() => app.close())
  app.log.level = 'silent'
  return app
}

t.test('cache: the second answer is the first one, from the cache', async (t) => {
  const app = await start(t, buildCache)
  const first = (await app.inject('/quotes/AAPL')).json()
  t.match(first, { ticker: 'AAPL', stale: false })
  t.ok(first.price >= 100 && first.price < 101, `${first.price}`)
  const second = (await app.inject('/quotes/AAPL')).json()
  t.equal(second.price, first.price)
  t.match((await app.inject('/stats')).json(), { quotes: { misses: 1, hits: 1, loads: 1 } })
})

t.test('rate-limit: a route of weight 3 gives three answers, others their ten', async (t) => {
  const app = await start(t, buildRateLimit)
  const statuses: number[] = []
  for (let i = 0; i < 4; i++) statuses.push((await app.inject('/report')).statusCode)
  t.same(statuses, [200, 200, 200, 429])
  const quote = await app.inject('/quote')
  t.same(quote.json(), { price: 100 })
  t.equal(quote.headers['ratelimit-remaining'], '9')
  const unmatched = await app.inject('/nothing')
  t.equal(unmatched.statusCode, 404)
  t.equal(unmatched.headers['ratelimit-remaining'], '9')
})

t.test('metrics: a quote is counted by route, by market and by price', async (t) => {
  const app = await start(t, buildMetrics)
  const quote = (await app.inject('/quotes/AAPL')).json()
  t.equal(quote.ticker, 'AAPL')
  t.ok(quote.price >= 50 && quote.price < 150, `${quote.price}`)
  await app.inject('/health')
  const lines = (await app.inject('/metrics')).payload.split('\n')
  for (const line of [
    'http_requests_total{method="GET",endpoint="/quotes/:ticker",status="200"} 1',
    'quotes_total{market="stock"} 1',
    'quotes_total{market="coin"} 0',
    'quote_price_dollars_bucket{le="10.0"} 0',
    'quote_price_dollars_count 1',
    `quote_price_dollars_sum ${quote.price}`
  ]) {
    t.ok(lines.includes(line), line)
  }
  t.notOk(lines.some((line) => line.includes('/health')))
  t.match((await app.inject('/dashboard')).payload, '<title>Dashboard</title>')
  const { rows } = (await app.inject('/dashboard/data')).json()
  t.match(rows, [{ title: 'Requests' }, { title: 'Process' }])
})

t.test('model: a named vector is scored, and one that is not whole is refused by name', async (t) => {
  const app = await start(t, buildModel)
  const predict = async (payload: string): Promise<{ statusCode: number; json(): unknown }> =>
    app.inject({ method: 'POST', url: '/predict', headers: { 'content-type': 'application/json' }, payload })

  const scored = (await predict('{"a":1,"b":2}')).json() as { probability: number }
  t.ok(Math.abs(scored.probability - 1 / (1 + Math.exp(2.5))) < 1e-6, `${scored.probability}`)
  t.match(scored, { label: 'a is large against b', version: '1', outOfRange: [] })
  t.match((await predict('{"a":1,"b":9}')).json(), { outOfRange: ['b'] })

  const tensors = { inputs: [{ name: 'features', shape: [1, 2], datatype: 'FP32', data: [1, 2] }] }
  const inferred = (await app.inject({ method: 'POST', url: '/v2/models/tiny/infer', payload: tensors })).json()
  t.match(inferred, {
    model_name: 'tiny',
    model_version: '1',
    outputs: [{ data: [scored.probability] }, { data: [-2.5] }]
  })

  for (const [payload, message] of [
    ['{"a":1}', "body must have required property 'b'"],
    ['{"a":null,"b":2}', 'body/a must be number'],
    ['{"a":1e999,"b":2}', 'body/a must be number'],
    ['{"a":1,"b":2,"c":3}', 'body must NOT have additional properties'],
    ['{"a":1e39,"b":2}', 'features/a must be a finite number (float32)']
  ] as const) {
    const refused = await predict(payload)
    t.equal(refused.statusCode, 400)
    t.match(refused.json(), { message })
  }
})

/** Runs in an example's process before it: says which port it asks for, and gives it a free one. */
const prelude = `
  import { Server } from 'node:net'
  const { listen } = Server.prototype
  Server.prototype.listen = function (address, ...rest) {
    console.log('asks for ' + address.host + ':' + address.port)
    return listen.call(this, { ...address, port: 0 }, ...rest)
  }
  process.once('SIGTERM', () => process.exit(0))
`

const vector = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":0,"b":0}' }
for (const [name, port, path, init, answer] of [
  ['cache', 3001, '/stats', {}, /"misses":0/],
  ['rate-limit', 3002, '/quote', {}, /^{"price":100}$/],
  ['metrics', 3003, '/metrics', {}, /^quotes_total{market="stock"} 0$/m],
  ['model', 3004, '/predict', vector, /^{"probability":0.62245/]
] as const) {
  t.test(`${name}: node examples/${name}.ts listens on port ${port} of the loopback address`, async (t) => {
    const script = join(import.meta.dirname, `../examples/${name}.ts`)
    const child = spawn(process.execPath, ['--import', `data:text/javascript,${encodeURIComponent(prelude)}`, script])
    t.teardown(() => child.kill('SIGKILL'))
    let asked = ''
    let url = ''
    for await (const line of createInterface({ input: child.stdout })) {
      asked ||= /asks for (.*)/.exec(line)?.[1] ?? ''
      url = /Server listening at (http:[^"]+)/.exec(line)?.[1] ?? ''
      if (url !== '') break
    }
    t.equal(asked, `127.0.0.1:${port}`)
    t.match(await (await fetch(`${url}${path}`, init)).text(), answer)
    child.kill('SIGTERM')
    t.same(await once(child, 'exit'), [0, null])
  })
}

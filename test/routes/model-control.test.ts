import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { troubledRuntime } from '../../monitoring/drill/service.ts'
import { type Manifest, type OpenSession, openOnnxSession } from '../../plugins/model/index.ts'
import { build, fakeSource, scrape, waveCandles } from '../helper.ts'

const MODEL_CONTROL_TOKEN = 'open sesame, my friend'
const authorization = `Bearer ${MODEL_CONTROL_TOKEN}`

t.test('the service survives without its model, and says so everywhere', async (t) => {
  const app = await build(t, { MODEL_CONTROL_TOKEN })
  const { version } = app.model.serving('outperform').manifest
  const info = `model_info{model_type="outperform",version="${version}",source="simulated"}`
  t.match(await scrape(app), { model_loaded: 1, [info]: 1 })
  const post = async (path: string) =>
    app.inject({ method: 'POST', url: `/v2/repository/models/outperform/${path}`, headers: { authorization } })

  t.equal((await post('unload')).statusCode, 200)
  for (const url of ['/ranking?country=Japan', '/ranking?tickers=AAPL,MSFT', '/predict_ticker/AAPL']) {
    const reply = await app.inject(url)
    t.equal(reply.statusCode, 503, url)
    t.equal(reply.headers['retry-after'], '10')
    t.match(reply.json(), { code: 'TF_ERR_MODEL_NOT_LOADED', detail: 'The model outperform is not loaded' })
  }
  const features = Object.fromEntries(app.model.versions[0]!.manifest.features.map(({ name }) => [name, 0]))
  const raw = await app.inject({ method: 'POST', url: '/predict_raw', payload: { features } })
  t.match(raw.json(), { status: 503, code: 'TF_ERR_MODEL_NOT_LOADED' })
  const health = (await app.inject('/health')).json()
  t.match(health, { status: 'ok', model_loaded: false, model_path: null, api_healthy: false })
  const ready = await app.inject('/health/ready')
  t.equal(ready.statusCode, 503)
  t.same(ready.json(), { status: 'not ready', failing: ['model'] })
  const nobody = { path: null, loaded: false, name: 'outperform', version: null }
  t.same((await app.inject('/metrics')).json().model_info, nobody)
  const models = (await app.inject('/models')).json()
  t.equal(models.current_model, null)
  t.ok(models.available_models.length > 0)
  t.match(await scrape(app), {
    model_loaded: 0,
    [info]: 0,
    'model_queue_depth{model_type="outperform"}': 0,
    'model_rejects_total{model="outperform",reason="not_loaded"}': 4
  })

  t.same((await post('load')).json(), { name: 'outperform', version })
  t.equal((await app.inject('/ranking?country=Japan')).statusCode, 200)
  t.equal((await app.inject('/health/ready')).statusCode, 200)
  t.match(await scrape(app), { model_loaded: 1, [info]: 1 })
})

t.test('reloads are counted by how they ended, whatever is asked for', async (t) => {
  const app = await build(t, { MODEL_CONTROL_TOKEN })
  const { version } = app.model.serving('outperform').manifest
  await app.model.load('outperform', version)
  await t.rejects(app.model.load('outperform', '999'))
  await t.rejects(app.model.load('nobody'))
  t.match(await scrape(app), {
    'model_reloads_total{model="outperform",result="success",reason="none"}': 1,
    'model_reloads_total{model="outperform",result="failure",reason="unknown"}': 1,
    'model_reloads_total{model="outperform",result="failure",reason="checksum"}': 0,
    'model_reloads_total{model="other",result="failure",reason="unknown"}': 1,
    'model_last_reload_successful{model="outperform"}': 1,
    'model_last_reload_successful{model="other"}': 1
  })
})

t.test('a version that fails is told of until one loads, but not what was only mistyped', async (t) => {
  const runtime = troubledRuntime(openOnnxSession)
  const lines: string[] = []
  const logger = { level: 'warn', stream: { write: (line: string) => void lines.push(line) } }
  const app = await build(t, { MODEL_CONTROL_TOKEN }, { openSession: runtime.open, logger })
  const successful = async (): Promise<number | undefined> =>
    (await scrape(app))['model_last_reload_successful{model="outperform"}']
  t.equal(await successful(), 1)
  runtime.refusing = true
  await t.rejects(app.model.load('outperform'), { code: 'TF_ERR_MODEL_OPEN' })
  t.equal(await successful(), 0)
  t.match(JSON.parse(lines.at(-1)!), {
    msg: 'a load or rollback failed',
    model: 'outperform',
    code: 'TF_ERR_MODEL_OPEN'
  })
  runtime.refusing = false
  await t.rejects(app.model.load('outperform', '999'))
  t.equal(await successful(), 0, 'nothing was tried')
  await app.model.load('outperform')
  t.equal(await successful(), 1)
})

t.test('the routes are there with a token only, documented, and limited', async (t) => {
  const paths = ['index', 'models/{name}/load', 'models/{name}/unload', 'models/{name}/rollback']
  const app = await build(t, { MODEL_CONTROL_TOKEN, RATE_LIMIT_RPM: '2' })
  const { paths: documented } = (await app.inject('/openapi.json')).json()
  t.same(
    Object.keys(documented)
      .filter((path) => path.startsWith('/v2/repository/'))
      .toSorted(),
    paths.map((path) => `/v2/repository/${path}`).toSorted()
  )
  const guess = async (): Promise<number> =>
    (await app.inject({ method: 'POST', url: '/v2/repository/index', headers: { authorization: 'Bearer guess' } }))
      .statusCode
  t.same([await guess(), await guess(), await guess()], [401, 401, 429])
  const closed = await build(t)
  t.equal((await closed.inject({ method: 'POST', url: '/v2/repository/index' })).statusCode, 404)
})

t.test('runs are counted with the wait for them', async (t) => {
  const app = await build(t)
  await app.inject('/ranking?country=Japan')
  const samples = await scrape(app)
  t.match(samples, {
    'model_executions_total{model_type="outperform"}': 1,
    'model_queue_duration_seconds_count{model_type="outperform"}': 1,
    'model_rejects_total{model="outperform",reason="busy"}': 0
  })
  t.ok(samples['model_predictions_total{model_type="outperform"}']! > 10, 'of many rows')
})

t.test('a swap under load fails no request of the service', async (t) => {
  const app = await build(t, { RANKING_TTL_SECONDS: '0' })
  const { version } = app.model.serving('outperform').manifest
  const statuses: number[] = []
  const load = { ended: false }
  const client = async (): Promise<void> => {
    while (!load.ended) statuses.push((await app.inject('/ranking?tickers=AAPL,MSFT')).statusCode)
  }
  const clients = [client(), client(), client()]
  await app.model.load('outperform', version)
  load.ended = true
  await Promise.all(clients)
  t.ok(statuses.length > 3)
  t.same(new Set(statuses), new Set([200]))
  const succeeded = 'model_reloads_total{model="outperform",result="success",reason="none"}'
  t.equal((await scrape(app))[succeeded], 1)
})

/** A repository of two versions of the committed model, of which the second one knows nothing but zeros. */
async function twoVersions(t: Test): Promise<string> {
  const folder = t.testdir({ outperform: {} })
  for (const version of ['1', '2']) {
    const target = join(folder, 'outperform', version)
    await cp(join(import.meta.dirname, '../../models/outperform/1'), target, { recursive: true })
    const manifest = JSON.parse(await readFile(join(target, 'manifest.json'), 'utf8')) as Manifest
    const quantiles = { p0_5: -1e-9, p50: 0, p99_5: 1e-9 }
    const features = version === '1' ? manifest.features : manifest.features.map((each) => ({ ...each, quantiles }))
    await writeFile(join(target, 'manifest.json'), JSON.stringify({ ...manifest, version, features }))
  }
  return folder
}

t.test('a request is answered and judged by the version that scored it, whatever is served by then', async (t) => {
  /** By session: what its runs wait for. */
  const gates: PromiseWithResolvers<void>[] = []
  let opened = 0
  const openSession: OpenSession = async (bytes, tensors) => {
    const session = await openOnnxSession(bytes, tensors)
    const own = opened++
    return {
      ...session,
      async run(next) {
        await gates[own]?.promise
        return session.run(next)
      }
    }
  }
  const app = await build(t, { MODEL_DIR: await twoVersions(t) }, { openSession })
  const { manifest } = await app.model.load('outperform', '1')
  const features = Object.fromEntries(manifest.features.map(({ name, quantiles }) => [name, quantiles.p50]))
  const ask = async () => app.inject({ method: 'POST', url: '/predict_raw', payload: { features } })
  const shut = (): PromiseWithResolvers<void> => (gates[opened - 1] = Promise.withResolvers<void>())

  for (const change of [
    async () => app.model.load('outperform', '2'),
    async () => app.model.load('outperform', '1').then(async () => app.model.unload('outperform'))
  ]) {
    const { version } = app.model.serving('outperform').manifest
    const gate = shut()
    const asked = ask()
    while (app.model.queueDepth('outperform') === 0) await new Promise(setImmediate)
    const changed = change()
    while (app.model.find('outperform')?.manifest.version === version) await new Promise(setImmediate)
    gate.resolve()
    const reply = await asked
    t.equal(reply.statusCode, 200)
    const { model, warnings } = reply.json()
    t.equal(model.version, version)
    t.equal(warnings.length > 0, version === '2')
    await changed
  }
  t.equal((await ask()).statusCode, 503, 'it is unloaded')
})

t.test('a version may be pinned by its number', async (t) => {
  const MODEL_DIR = await twoVersions(t)
  const app = await build(t, { MODEL_DIR, MODEL_VERSION: '1' })
  t.equal((await app.inject('/models')).json().current_model, 'outperform/1')
  t.equal((await app.model.load('outperform', '2')).manifest.version, '2', 'who asks for another one gets it')
  t.equal((await app.model.load('outperform')).manifest.version, '1')
  await t.rejects(build(t, { MODEL_DIR, MODEL_VERSION: '7' }), { code: 'TF_ERR_MODEL_UNKNOWN' })
  await t.rejects(build(t, { MODEL_VERSION: '2' }), {
    code: 'TF_ERR_MODEL_REFUSED',
    message: /outperform\/2 was trained on historical prices/
  })
})

t.test('a prediction that its client gave up is not scored', async (t) => {
  const runtime = troubledRuntime(openOnnxSession)
  const app = await build(t, {}, { openSession: runtime.open })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const { features } = app.model.serving('outperform').manifest
  const body = JSON.stringify({ features: Object.fromEntries(features.map(({ name }) => [name, 0])) })
  const before = (await scrape(app))['model_predictions_total{model_type="outperform"}']!
  runtime.hang()
  const left = new AbortController()
  const headers = { 'content-type': 'application/json' }
  const asked = fetch(`${address}/predict_raw`, { method: 'POST', headers, body, signal: left.signal })
  const given = t.rejects(asked, { name: 'AbortError' })
  while (app.model.queueDepth('outperform') === 0) await new Promise(setImmediate)
  left.abort()
  await given
  while (app.model.queueDepth('outperform') > 0) await new Promise(setImmediate)
  runtime.go()
  t.match(await scrape(app), {
    'model_rejects_total{model="outperform",reason="aborted"}': 1,
    'model_predictions_total{model_type="outperform"}': before
  })
})

t.test('what a version scored that took over meanwhile is not found after the rollback', async (t) => {
  const source = fakeSource({ A: waveCandles(), B: waveCandles(280) })
  let swap: (() => Promise<unknown>) | undefined
  const history: typeof source.history = async (...asked) => {
    await swap?.()
    return source.history(...asked)
  }
  const app = await build(t, { MODEL_DIR: await twoVersions(t) }, { source: { ...source, history } })
  const versionOf = async (url: string): Promise<string> => (await app.inject(url)).json().model.version
  for (const url of ['/ranking?country=Testland', '/predict_ticker/A']) {
    await app.model.load('outperform', '1')
    swap = async () => {
      swap = undefined
      await app.model.load('outperform', '2')
    }
    t.equal(await versionOf(url), '2', `who waited for ${url} has the scores of the new one, by its name`)
    await app.model.rollback('outperform')
    t.equal(await versionOf(url), '1')
  }
})

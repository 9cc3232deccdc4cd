import t from 'tap'
import { build, fakeSession, repositoryOf } from './helper.ts'

const token = 'open sesame, my friend'
const authorization = `Bearer ${token}`

t.test('without a token there are no routes that change what is served', async (t) => {
  const app = await build(t, { openSession: async () => fakeSession() })
  t.equal((await app.inject({ method: 'POST', url: '/v2/repository/index' })).statusCode, 404)
  await t.rejects(build(t, { token: 'short' }), { code: 'TF_ERR_MODEL_OPTIONS', message: /token/ })
})

t.test('whoever has the token may look, load, unload and go back', async (t) => {
  const repository = repositoryOf(t, [
    ['tiny', '1', {}],
    ['tiny', '2', {}],
    ['tiny', '3', {}]
  ])
  const app = await build(t, { repository, token, openSession: async () => fakeSession() })
  async function post(path: string, payload?: object, headers: Record<string, string> = { authorization }) {
    const url = `/v2/repository${path}`
    const reply = await app.inject({ method: 'POST', url, headers, ...(payload && { payload }) })
    return { status: reply.statusCode, body: reply.json(), headers: reply.headers }
  }
  const ready = { name: 'tiny', state: 'READY', reason: '' }
  const unavailable = { name: 'tiny', state: 'UNAVAILABLE', reason: '' }
  const all = [
    { ...ready, version: '3' },
    { ...unavailable, version: '2' },
    { ...unavailable, version: '1' }
  ]
  t.match(await post('/index'), { status: 200, body: all })
  t.match(await post('/index', {}), { status: 200, body: all })
  t.match(await post('/index', { ready: true }), { status: 200, body: [all[0]] })

  const load = { parameters: { version: '1' } }
  t.match(await post('/models/tiny/load', load), { status: 200, body: { name: 'tiny', version: '1' } })
  t.match(await post('/models/tiny/rollback'), { status: 200, body: { name: 'tiny', version: '3' } })
  t.match(await post('/models/tiny/unload', { parameters: { unload_dependents: false } }), { status: 200, body: {} })
  t.same(app.model.names, [])
  t.match(await post('/models/tiny/unload'), {
    status: 503,
    body: { error: 'The model tiny is not loaded' },
    headers: { 'retry-after': '10' }
  })
  t.match(await post('/models/tiny/load'), { status: 200, body: { version: '3' } })

  t.match(await post('/models/tony/load'), { status: 404, body: { error: 'There is no model tony' } })
  t.match(await post('/models/..%2ftiny/load'), { status: 404 })
  for (const [body, error] of [
    [{ parameters: { version: 2 } }, 'parameters/version: Expected string'],
    [{ parameters: { version: '01' } }, "parameters/version: Expected string to match '^[1-9][0-9]{0,8}$'"],
    [{ config: '{}' }, 'config: Unexpected property'],
    [[], 'the body: Expected object']
  ] as const) {
    t.match(await post('/models/tiny/load', body), { status: 400, body: { error } })
  }
  t.match(await post('/index', {}, { authorization: `bearer ${token}` }), { status: 200 })

  const others: Record<string, string>[] = [{}, { authorization: token }, { authorization: `${authorization}.` }]
  for (const headers of others) {
    for (const path of ['/index', '/models/tiny/load', '/models/tiny/unload', '/models/tiny/rollback']) {
      const refused = await post(path, {}, headers)
      t.match(refused, { status: 401, headers: { 'www-authenticate': 'Bearer' }, body: { error: /token/ } }, path)
    }
  }
  t.equal(app.model.serving('tiny').manifest.version, '3')
})

t.test('what fails for no reason of this package is not told', async (t) => {
  const repository = repositoryOf(t, [['tiny', '1', {}]])
  let broken = false
  const app = await build(t, {
    repository,
    token,
    openSession: async () => fakeSession(),
    refuse() {
      if (broken) throw new Error('a secret')
      return undefined
    }
  })
  broken = true
  const reply = await app.inject({
    method: 'POST',
    url: '/v2/repository/models/tiny/load',
    headers: { authorization }
  })
  t.equal(reply.statusCode, 500)
  t.same(reply.json(), { error: 'the request failed' })
})

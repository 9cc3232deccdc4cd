import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import modelPlugin, { type Manifest, type Model, type ModelOptions, type Reload } from '../index.ts'
import {
  type FakeSession,
  type Version,
  build,
  fakeSession,
  repositoryOf,
  sigmoid,
  tiny,
  writeVersion
} from './helper.ts'

const row = new Float32Array(2)
const ONE_AND_TWO: Version[] = [
  ['tiny', '1', {}],
  ['tiny', '2', {}]
]

interface Served {
  app: FastifyInstance
  model: Model
  folder: string
  /** Every session that was opened. */
  sessions: FakeSession[]
  reloads: Reload[]
  /** The version that answers. */
  version: () => string
}

async function serve(t: Test, versions: Version[], options: Partial<ModelOptions> = {}): Promise<Served> {
  const sessions: FakeSession[] = []
  const reloads: Reload[] = []
  const folder = repositoryOf(t, versions)
  const app = await build(t, {
    repository: folder,
    async openSession() {
      const session = fakeSession()
      sessions.push(session)
      return session
    },
    onReload: (reload) => reloads.push(reload),
    ...options
  })
  const version = (): string => app.model.serving('tiny').manifest.version
  return { app, model: app.model, folder, sessions, reloads, version }
}

/** Moves a part of the repository elsewhere and leaves a link to it. */
function moveOut(t: Test, folder: string, path: string): void {
  const elsewhere = mkdtempSync(join(tmpdir(), 'models-'))
  t.teardown(() => rmSync(elsewhere, { recursive: true }))
  cpSync(join(folder, path), join(elsewhere, 'moved'), { recursive: true })
  rmSync(join(folder, path), { recursive: true })
  symlinkSync(join(elsewhere, 'moved'), join(folder, path))
}

/** A run that works so many times. */
function failingAfter(runs: number): Partial<FakeSession> {
  const works = fakeSession()
  let left = runs
  return {
    async run(next) {
      if (left-- > 0) return works.run(next)
      throw new Error('out of memory')
    }
  }
}

t.test('a version is loaded by its number, and the one before is released', async (t) => {
  const { model, sessions, reloads, version } = await serve(t, ONE_AND_TWO)
  t.equal(version(), '2')
  t.equal((await model.load('tiny', '1')).manifest.version, '1')
  t.equal(version(), '1')
  t.equal((await model.predict('tiny', row)).manifest.version, '1')
  t.same(
    sessions.map(({ released }) => released),
    [1, 0]
  )
  t.equal((await model.load('tiny')).manifest.version, '2', 'the policy says latest')
  t.match(reloads, [
    { model: 'tiny', version: '1', result: 'success', reason: 'none', seconds: Number },
    { model: 'tiny', version: '2', result: 'success', reason: 'none', seconds: Number }
  ])
})

t.test('what comes into the repository later can be loaded', async (t) => {
  const { model, folder, version } = await serve(t, [['tiny', '1', {}]])
  await t.rejects(model.load('other'), { code: 'TF_ERR_MODEL_UNKNOWN', statusCode: 404 })
  writeVersion(folder, ['tiny', '2', {}])
  writeVersion(folder, ['other', '7', {}])
  t.equal((await model.load('other')).manifest.version, '7')
  await t.rejects(model.load('other', '8'), { code: 'TF_ERR_MODEL_UNKNOWN', message: 'There is no model other/8' })
  t.equal((await model.load('tiny')).manifest.version, '2')
  t.equal(version(), '2')
  t.same(model.names, ['tiny', 'other'])
  t.same(
    model.versions.map(({ path }) => path),
    ['tiny/2/model.onnx', 'tiny/1/model.onnx', 'other/7/model.onnx']
  )
})

t.test('an unloaded model answers nobody, says when to come again, and can be loaded', async (t) => {
  const { model, sessions } = await serve(t, [['tiny', '1', {}]])
  const last = model.predict('tiny', row)
  await model.unload('tiny')
  t.equal((await last).probability!.length, 1, 'what was asked before is answered')
  t.equal(sessions[0]!.released, 1)
  const refused = { code: 'TF_ERR_MODEL_NOT_LOADED', statusCode: 503, headers: { 'retry-after': '10' } }
  await t.rejects(model.predict('tiny', row), refused)
  t.throws(() => model.serving('tiny'), refused)
  await t.rejects(model.unload('tiny'), refused)
  await t.rejects(model.rollback('tiny'), refused)
  t.same(model.names, [])
  t.equal(model.find('tiny'), undefined)
  t.equal(model.queueDepth('tiny'), 0)
  t.match(await model.index(), [{ name: 'tiny', version: '1', state: 'UNAVAILABLE', reason: '' }])
  await model.load('tiny')
  t.equal(model.find('tiny')?.manifest.version, '1')
  t.equal((await model.predict('tiny', row)).probability!.length, 1)
  await t.rejects(model.unload('tony'), { code: 'TF_ERR_MODEL_UNKNOWN' })
})

t.test('a rollback goes to what was served before, and further', async (t) => {
  const { model, version } = await serve(
    t,
    ['1', '2', '3', '4'].map((number) => ['tiny', number, {}])
  )
  await model.load('tiny', '2')
  await model.load('tiny', '1')
  const back = async (): Promise<string> => (await model.rollback('tiny')).manifest.version
  t.same([await back(), await back()], ['2', '4'])
  t.equal(version(), '4')
})

t.test('an unload is no step back, and versions that are gone are passed over', async (t) => {
  const versions = ['1', '2', '3', '4'].map((number): Version => ['tiny', number, {}])
  const { model, folder } = await serve(t, versions, { versionPolicy: { tiny: { pinned: '1' } } })
  const back = async (): Promise<string> => (await model.rollback('tiny')).manifest.version
  await model.load('tiny', '4')
  await model.unload('tiny')
  await model.load('tiny', '2')
  t.equal(await back(), '4', 'was served before')
  await model.unload('tiny')
  await model.load('tiny', '4')
  t.equal(await back(), '1', 'loading the same again is no step either')

  for (let i = 0; i < 20; i++) {
    await model.unload('tiny')
    await model.load('tiny', '1')
  }
  for (const number of ['2', '3', '4', '2']) await model.load('tiny', number)
  rmSync(join(folder, 'tiny/4'), { recursive: true })
  t.same([await back(), await back(), await back()], ['3', '2', '1'])
})

t.test('after a boot, a rollback goes to the newest version below that fits', async (t) => {
  const refuse = ({ version }: Manifest): string | undefined => (version === '2' ? 'is not wanted' : undefined)
  const versions: Version[] = ['1', '2', '3', '4', '5'].map((number) => ['tiny', number, {}])
  const { model, folder, reloads } = await serve(t, versions, { refuse })
  const back = async (): Promise<string> => (await model.rollback('tiny')).manifest.version
  t.equal(await back(), '4')
  writeFileSync(join(folder, 'tiny/3/manifest.json'), '{')
  t.equal(await back(), '1', '3 is broken, 2 is refused')
  await t.rejects(back(), { code: 'TF_ERR_MODEL_NO_ROLLBACK', statusCode: 409 })
  t.match(reloads.at(-1), { version: undefined, result: 'failure', reason: 'no_rollback' })
  for (let i = 0; i < 20; i++) await model.load('tiny', i % 2 === 0 ? '4' : '5')
  for (let i = 0; i < 16; i++) await back()
  t.equal(await back(), '4', 'sixteen versions are remembered, then it is the one below')
})

t.test('policies: a pinned version, and a list that is served at once', async (t) => {
  const versions: Version[] = ['1', '2', '3'].map((number) => ['tiny', number, {}])
  const pinned = await serve(t, versions, { versionPolicy: { tiny: { pinned: '2' } } })
  t.equal(pinned.version(), '2')
  await pinned.model.load('tiny', '3')
  t.equal(pinned.version(), '3', 'whoever asks by number gets it')
  await pinned.model.load('tiny')
  t.equal(pinned.version(), '2')

  const { model, sessions, version } = await serve(t, versions, { versionPolicy: { tiny: { list: ['2', '1'] } } })
  const answering = async (number?: string): Promise<string> =>
    (await model.predict('tiny', row, number === undefined ? {} : { version: number })).manifest.version
  t.same([await answering(), await answering('1'), await answering('2')], ['2', '1', '2'])
  await t.rejects(answering('3'), { code: 'TF_ERR_MODEL_UNKNOWN', message: 'There is no model tiny/3' })
  await model.load('tiny', '3')
  t.same([await answering(), await answering('1'), await answering('2')], ['3', '1', '2'], 'the list stays')
  t.equal(sessions.length, 3, 'as it is')
  await model.load('tiny')
  t.equal(version(), '2')
  t.same(
    sessions.map(({ released }) => released),
    [1, 1, 1, 0, 0],
    'all of it anew'
  )
  await model.unload('tiny')
  t.ok(sessions.every(({ released }) => released === 1))

  for (const [versionPolicy, code, message] of [
    [{ tony: 'latest' }, 'TF_ERR_MODEL_OPTIONS', 'Invalid model options, versionPolicy/tony: there is no such model'],
    [{ '../x': 'latest' }, 'TF_ERR_MODEL_OPTIONS', /versionPolicy/],
    [{ tiny: { pinned: '9' } }, 'TF_ERR_MODEL_UNKNOWN', 'There is no model tiny/9'],
    [{ tiny: { pinned: '01' } }, 'TF_ERR_MODEL_OPTIONS', /versionPolicy/],
    [{ tiny: { list: [] } }, 'TF_ERR_MODEL_OPTIONS', /versionPolicy/]
  ] as const) {
    const options = { versionPolicy } as unknown as Partial<ModelOptions>
    await t.rejects(serve(t, versions, options), { code, message }, JSON.stringify(versionPolicy))
  }
})

t.test('a version that is asked for by its number does not depend on others, a newest one does', async (t) => {
  const broken: Version[] = [...ONE_AND_TWO, ['tiny', '3', 'no JSON']]
  const { model, folder, version } = await serve(t, broken, { versionPolicy: { tiny: { pinned: '1' } } })
  t.equal(version(), '1')
  t.same(
    model.versions.map(({ path }) => path),
    ['tiny/2/model.onnx', 'tiny/1/model.onnx']
  )
  const listed = await serve(t, [...ONE_AND_TWO, ['tiny', '3', {}]], { versionPolicy: { tiny: { list: ['3', '2'] } } })
  rmSync(join(listed.folder, 'tiny/2'), { recursive: true })
  t.equal((await listed.model.load('tiny', '1')).manifest.version, '1')
  t.equal((await listed.model.predict('tiny', row, { version: '2' })).manifest.version, '2', 'is served on')
  await t.rejects(listed.model.load('tiny'), { code: 'TF_ERR_MODEL_UNKNOWN' })

  writeVersion(folder, ['other', '1', {}])
  writeVersion(folder, ['other', '2', 'no JSON'])
  await t.rejects(model.load('other'), { code: 'TF_ERR_MODEL_MANIFEST' })
  t.equal((await model.load('other', '1')).manifest.version, '1')
  writeVersion(folder, ['constructor', '1', {}])
  t.equal((await model.load('constructor')).manifest.name, 'constructor')
})

t.test('what waits for a version that is being replaced, or is not the first of a list, is in the depth', async (t) => {
  const gate = Promise.withResolvers<void>()
  let shut = false
  const { model } = await serve(t, ONE_AND_TWO, {
    versionPolicy: { tiny: { list: ['2', '1'] } },
    async openSession() {
      const session = fakeSession()
      return {
        ...session,
        async run(next) {
          if (shut) await gate.promise
          return session.run(next)
        }
      }
    }
  })
  shut = true
  const waiting = ['1', '2', '2'].map(async (version) => model.predict('tiny', row, { version }))
  t.equal(model.queueDepth('tiny'), 3)
  const unloaded = model.unload('tiny')
  await new Promise(setImmediate)
  t.equal(model.queueDepth('tiny'), 3, 'they still wait')
  gate.resolve()
  await Promise.all([...waiting, unloaded])
  t.equal(model.queueDepth('tiny'), 0)
  t.equal(model.queueDepth('nobody'), 0)
})

t.test('one change of a model at a time, and none after the end', async (t) => {
  const opened: (() => void)[] = []
  let slow = false
  const sessions: FakeSession[] = []
  const { app, model, reloads } = await serve(t, ONE_AND_TWO, {
    async openSession() {
      if (slow) await new Promise<void>((resolve) => opened.push(resolve))
      const session = fakeSession()
      sessions.push(session)
      return session
    }
  })
  slow = true
  const first = model.load('tiny', '1')
  const changing = { code: 'TF_ERR_MODEL_CHANGING', statusCode: 409 }
  await t.rejects(model.load('tiny', '1'), changing)
  await t.rejects(model.rollback('tiny'), changing)
  await t.rejects(model.unload('tiny'), changing)
  t.match(reloads, [{ reason: 'changing' }, { reason: 'changing' }])
  while (opened.length === 0) await new Promise(setImmediate)
  const closed = app.close()
  opened[0]!()
  t.equal((await first).manifest.version, '1', 'a change under way ends before the service does')
  await closed
  t.same(
    sessions.map(({ released }) => released),
    [1, 1]
  )
  await t.rejects(model.load('tiny'), changing)
  await t.rejects(model.predict('tiny', row), { code: 'TF_ERR_MODEL_NOT_LOADED' })
})

t.test('a load that fails changes nothing, and each cause has its code', async (t) => {
  const cases: [string, (folder: string, t: Test) => void, Partial<FakeSession> | Error | undefined, string?][] = [
    ['unknown', (folder) => rmSync(join(folder, 'tiny/2'), { recursive: true }), undefined],
    ['manifest', (folder) => writeFileSync(join(folder, 'tiny/2/manifest.json'), '{'), undefined],
    ['manifest', (folder) => rmSync(join(folder, 'tiny/2/model.onnx')), undefined],
    [
      'manifest',
      (folder) => {
        rmSync(join(folder, 'tiny/2/model.onnx'))
        mkdirSync(join(folder, 'tiny/2/model.onnx'))
      },
      undefined
    ],
    [
      'manifest',
      (folder) => {
        rmSync(join(folder, 'tiny/2/model.onnx'))
        execFileSync('mkfifo', [join(folder, 'tiny/2/model.onnx')])
      },
      undefined
    ],
    ['checksum', (folder) => writeFileSync(join(folder, 'tiny/2/model.onnx'), 'half a mod'), undefined],
    ['path', (folder, t) => moveOut(t, folder, 'tiny/2/model.onnx'), undefined],
    ['path', (folder, t) => moveOut(t, folder, 'tiny/2/manifest.json'), undefined],
    ['path', (folder, t) => moveOut(t, folder, 'tiny/2'), undefined],
    ['open', () => {}, new Error('no protobuf')],
    ['signature', () => {}, { inputs: [{ name: 'features', type: 'float32', shape: [-1, 3] }] }],
    ['warm_up', () => {}, { run: async () => Promise.reject(new Error('out of memory')) }],
    ['output', () => {}, { run: async () => ({ probability: Float32Array.of(NaN), margin: Float32Array.of(0) }) }],
    ['self_test', () => {}, { run: async () => ({ probability: Float32Array.of(0.1), margin: Float32Array.of(0) }) }],
    ['inference', () => {}, failingAfter(6)]
  ]
  for (const [reason, damage, session] of cases) {
    await t.test(reason, async (t) => {
      let next: Partial<FakeSession> | Error | undefined
      const opened: FakeSession[] = []
      const { model, folder, reloads, version } = await serve(t, ONE_AND_TWO, {
        versionPolicy: { tiny: { pinned: '1' } },
        async openSession() {
          if (next instanceof Error) throw next
          opened.push(fakeSession(next))
          return opened.at(-1)!
        }
      })
      damage(folder, t)
      next = session
      const code = `TF_ERR_MODEL_${reason.toUpperCase()}`
      const wrong = { code, statusCode: reason === 'unknown' ? 404 : 422, message: /tiny\/2/ }
      await t.rejects(model.load('tiny', '2'), wrong)
      t.match(reloads, [{ model: 'tiny', version: undefined, result: 'failure', reason }])
      t.equal(version(), '1')
      t.equal((await model.predict('tiny', row)).manifest.version, '1')
      t.equal(opened[0]!.released, 0)
      t.ok(opened.slice(1).every(({ released }) => released === 1))
      const entries = await model.index()
      t.match(entries.at(-1), { name: 'tiny', version: '1', state: 'READY', reason: '' })
      if (reason !== 'unknown') t.match(entries[0], { version: '2', state: 'UNAVAILABLE', reason: /\w/ })
    })
  }
})

t.test('a load is refused by the service, for features of its own, and for a service that throws', async (t) => {
  let refuse: (manifest: Manifest) => string | undefined = () => undefined
  const other = tiny.features.toReversed()
  const { model, reloads, version } = await serve(
    t,
    [
      ['tiny', '1', {}],
      ['tiny', '2', {}],
      ['tiny', '3', { features: other }]
    ],
    { refuse: (manifest) => refuse(manifest), versionPolicy: { tiny: { pinned: '1' } }, advice: 'Train one.' }
  )
  await t.rejects(model.load('tiny', '3'), {
    code: 'TF_ERR_MODEL_REFUSED',
    statusCode: 422,
    message: 'Model tiny/3 has other features or answers than the one before'
  })
  refuse = () => 'is not wanted'
  await t.rejects(model.load('tiny', '2'), {
    code: 'TF_ERR_MODEL_REFUSED',
    message: 'Model tiny/2 is not wanted. Train one.'
  })
  refuse = () => {
    throw new Error('a fault of the service')
  }
  await t.rejects(model.load('tiny', '2'), { message: 'a fault of the service' })
  t.same(
    reloads.map(({ reason }) => reason),
    ['refused', 'refused', 'other']
  )
  t.equal(version(), '1')
})

t.test('versions of a list have the same features, at boot too', async (t) => {
  const versions: Version[] = [
    ['tiny', '1', { features: tiny.features.toReversed() }],
    ['tiny', '2', {}]
  ]
  await t.rejects(serve(t, versions, { versionPolicy: { tiny: { list: ['2', '1'] } } }), {
    code: 'TF_ERR_MODEL_REFUSED',
    message: 'Model tiny/1 has other features or answers than the one before'
  })
})

t.test("a session that can not be released is the log's business: the new version answers", async (t) => {
  const lines: string[] = []
  const reloads: Reload[] = []
  const logger = { level: 'error', stream: { write: (line: string) => void lines.push(line) } }
  const app = Fastify({ logger })
  t.teardown(() => app.close())
  const release = async (): Promise<void> => Promise.reject(new Error('twice'))
  const openSession = async (): Promise<FakeSession> => fakeSession({ release })
  const onReload = (reload: Reload): number => reloads.push(reload)
  await app.register(modelPlugin, { repository: repositoryOf(t, ONE_AND_TWO), openSession, onReload })
  t.equal((await app.model.load('tiny', '1')).manifest.version, '1')
  t.match(reloads, [{ version: '1', result: 'success', reason: 'none' }])
  t.match(JSON.parse(lines[0]!), { msg: 'model could not be released', err: { message: 'twice' } })
})

t.test('links within the repository are followed, names that are paths are no names', async (t) => {
  const { model, folder } = await serve(t, [['tiny', '1', {}]])
  symlinkSync('1', join(folder, 'tiny/2'))
  await t.rejects(model.load('tiny', '2'), { code: 'TF_ERR_MODEL_MANIFEST', message: /speaks of tiny\/1/ })
  rmSync(join(folder, 'tiny/2'))
  cpSync(join(folder, 'tiny/1'), join(folder, 'tiny/.1'), { recursive: true })
  rmSync(join(folder, 'tiny/1'), { recursive: true })
  symlinkSync('.1', join(folder, 'tiny/1'))
  t.match((await model.load('tiny', '1')).file, /tiny\/\.1\/model\.onnx$/)
  writeFileSync(join(folder, 'file'), '')
  symlinkSync('file', join(folder, 'link'))
  symlinkSync('nowhere', join(folder, 'dangling'))
  for (const name of ['../tiny', 'tiny/../tiny', '/etc', 'Tiny', '', '.', 'link', 'dangling']) {
    await t.rejects(model.load(name), { code: 'TF_ERR_MODEL_UNKNOWN', statusCode: 404 }, name)
  }
  for (const version of ['../1', '1/../1', '01', '-1', '']) {
    await t.rejects(model.load('tiny', version), { code: 'TF_ERR_MODEL_UNKNOWN', statusCode: 404 }, version)
  }
  t.same(
    (await model.index()).map(({ name, version }) => `${name}/${version}`),
    ['tiny/1']
  )
  symlinkSync('round', join(folder, 'round'))
  await t.rejects(model.load('round'), { code: 'TF_ERR_MODEL_REPOSITORY', message: /ELOOP/ })
  moveOut(t, folder, 'tiny')
  await t.rejects(model.load('tiny'), { code: 'TF_ERR_MODEL_PATH', message: 'tiny leads out of the model repository' })
  rmSync(folder, { recursive: true })
  await t.rejects(model.index(), { code: 'TF_ERR_MODEL_REPOSITORY' })
  t.equal((await model.predict('tiny', row)).probability!.length, 1, 'what is loaded needs no files')
})

t.test('two hundred swaps under load fail no request, and each session but the last is released', async (t) => {
  const { model, sessions, reloads } = await serve(t, ONE_AND_TWO)
  const load = { ended: false }
  const answered = { 1: 0, 2: 0 }
  async function client(): Promise<void> {
    while (!load.ended) {
      const { manifest, probability } = await model.predict('tiny', Float32Array.of(1, 0))
      if (Math.abs(probability![0]! - sigmoid(1, 0)) > 1e-6) t.fail(`scored ${probability![0]}`)
      answered[manifest.version as '1' | '2']++
    }
  }
  const clients = Array.from({ length: 20 }, client)
  for (let i = 0; i < 200; i++) await model.load('tiny', i % 2 === 0 ? '1' : '2')
  load.ended = true
  await Promise.all(clients)
  t.equal(sessions.length, 201)
  t.same(
    sessions.map(({ released }) => released),
    [...Array.from({ length: 200 }, () => 1), 0]
  )
  t.ok(
    sessions.every(({ late }) => late === 0),
    'no run on a session that was released'
  )
  t.equal(reloads.filter(({ result }) => result === 'success').length, 200)
  t.ok(answered[1] > 100 && answered[2] > 100, JSON.stringify(answered))
})

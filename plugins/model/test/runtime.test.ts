/** Where models run, with real threads and processes: what a slow, a hanging and a dying model does to the service. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import modelPlugin, { type ModelOptions, type ModelSession } from '../index.ts'
import { Isolate } from '../isolate.ts'
import { type PoolOptions, openPool } from '../pool.ts'
import { createRuntime } from '../runtime.ts'
import { tensorsOf } from '../tensors.ts'
import { type Version, build, repository as tinyRepository, repositoryOf, sigmoid, tiny } from './helper.ts'
import { slowModel } from './slow-model.ts'

t.setTimeout(600_000)

/** A row that takes the slow model some seconds. */
const ENDLESS = 5000
const slow = (version: string, size?: number): Version => ['tiny', version, {}, slowModel(size)]
const ask = async (session: ModelSession, a: number, b = 0): Promise<number> =>
  (await session.run(() => ({ features: Float32Array.of(a, b), rows: 1 }))).probability![0]!

const patient: PoolOptions = { kind: 'process', timeout: 20_000, startTimeout: 20_000, endTimeout: 20_000, workers: 1 }

async function pool(t: Test, options: Partial<PoolOptions>, bytes = slowModel()): Promise<ModelSession> {
  const session = await openPool(bytes, tensorsOf(tiny), { ...patient, ...options })
  t.teardown(async () => session.release())
  return session
}

/** Process ids of this process's children that run a model. */
function children(): number[] {
  const lines = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)], { encoding: 'utf8' }).split(
    '\n'
  )
  return lines.filter((line) => line.includes('plugins/model/worker')).map((line) => Number.parseInt(line, 10))
}

/** Whether a process is there, or its end was not yet noticed here. */
function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

for (const execution of ['inline', 'thread', 'process'] as const) {
  t.test(`${execution}: each row is scored alike, alone and in every batch`, async (t) => {
    const app = await build(t, { execution, workers: 2 })
    t.equal(app.model.execution('tiny'), execution)
    const rows = Array.from({ length: 50 }, (_, i) => [Math.sin(i) * 3, Math.cos(i) * 2] as const)
    const together = await app.model.predict('tiny', Float32Array.from(rows.flat()))
    const alone = await Promise.all(rows.map(async (row) => app.model.predict('tiny', Float32Array.from(row))))
    for (const [i, [a, b]] of rows.entries()) {
      t.equal(alone[i]!.probability![0], together.probability![i])
      t.ok(Math.abs(together.probability![i]! - sigmoid(a, b)) < 1e-6)
    }
    const session = await createRuntime({ execution, workers: 1, runTimeoutMs: 20_000 }, undefined, (error) =>
      t.error(error)
    )(readFileSync(join(tinyRepository, 'tiny/1/model.onnx')), tiny, true)
    t.equal(session.execution, execution, 'also in a service that runs')
    await session.session.release()
  })
}

t.test("a request larger than a batch is scored alike, and its array stays the asker's", async (t) => {
  const values = Float32Array.from({ length: 140_000 }, (_, i) => Math.sin(i))
  const before = values.slice()
  const [inline, thread] = await Promise.all(
    (['inline', 'thread'] as const).map(async (execution) => {
      const app = await build(t, { execution, maxBatchSize: 1000 })
      return (await app.model.predict('tiny', values)).probability!
    })
  )
  t.equal(inline!.length, 70_000)
  t.equal(Buffer.compare(Buffer.from(inline!.buffer), Buffer.from(thread!.buffer)), 0)
  t.equal(Buffer.compare(Buffer.from(values.buffer), Buffer.from(before.buffer)), 0)
})

t.test('a run that the runtime refuses fails alone, wherever it is', async (t) => {
  const repository = repositoryOf(t, [slow('1')])
  for (const execution of ['inline', 'thread', 'process'] as const) {
    const app = await build(t, { repository, execution })
    await t.rejects(app.model.predict('tiny', Float32Array.of(1e9, 0)), {
      code: 'TF_ERR_MODEL_INFERENCE',
      cause: { message: /memory|alloc|size/i }
    })
    t.equal((await app.model.predict('tiny', Float32Array.of(1, 0))).probability!.length, 1)
    await app.close()
  }
})

t.test('auto: inline, or in a thread if a run takes long', async (t) => {
  const folder = repositoryOf(t, [slow('1'), slow('2', 1400)])
  const app = await build(t, { repository: folder })
  t.equal(app.model.execution('tiny'), 'thread')
  // A busy machine may be slow once.
  for (let tries = 0; tries < 20 && app.model.execution('tiny') !== 'inline'; tries++) await app.model.load('tiny', '1')
  t.equal(app.model.execution('tiny'), 'inline')
  await app.model.load('tiny', '2')
  t.equal(app.model.execution('tiny'), 'thread')
  t.same(children(), [], 'the processes in which they were tried have ended')
})

t.test('a slow model stops nobody else, and who closes waits for its runs', async (t) => {
  const app = await build(t, {
    repository: repositoryOf(t, [slow('1')]),
    execution: 'thread',
    maxBatchSize: 10,
    runTimeoutMs: 300_000,
    drainTimeoutMs: 300_000
  })
  app.get('/ping', async () => 'pong')
  let answered = 0
  const clients = Array.from({ length: 50 }, async (_, i) => {
    // The first run is long, whatever the machine: the others need not be.
    const { probability } = await app.model.predict('tiny', Float32Array.of(i < 10 ? 4000 : 1500, 0))
    answered++
    return probability![0]
  })
  while (app.model.queueDepth('tiny') === 50) await new Promise(setImmediate)
  for (let i = 0; i < 20; i++) t.equal((await app.inject('/ping')).payload, 'pong')
  t.equal(answered, 0, 'the run is still under way')
  await app.close()
  t.same(
    await Promise.all(clients),
    Array.from({ length: 50 }, () => 1)
  )
})

t.test('a service that closes under load ends by itself, and well', async (t) => {
  const folder = repositoryOf(t, [slow('1')])
  const script = `
    import Fastify from '${import.meta.resolve('fastify')}'
    import model from '${new URL('../index.ts', import.meta.url).href}'
    for (const execution of ['thread', 'process']) {
      const app = Fastify()
      await app.register(model, { repository: ${JSON.stringify(folder)}, execution, maxBatchSize: 2 })
      const asked = Array.from({ length: 6 }, () => app.model.predict('tiny', Float32Array.of(1200, 0)))
      await new Promise((resolve) => setTimeout(resolve, 1))
      await app.close()
      const scored = await Promise.all(asked)
      console.log(execution, scored.length)
    }`
  const file = join(folder, 'service.mjs')
  writeFileSync(file, script)
  t.equal(execFileSync(process.execPath, [file], { encoding: 'utf8' }), 'thread 6\nprocess 6\n')
})

t.test('a process that does not return is killed, and the next run has another one', async (t) => {
  const session = await pool(t, { timeout: 700 })
  const [first] = children()
  await t.rejects(ask(session, ENDLESS), { code: 'TF_ERR_MODEL_DEADLINE', statusCode: 504 })
  t.ok(Math.abs((await ask(session, 1)) - sigmoid(1, 0)) < 1e-6)
  const [second, ...others] = children()
  t.same(others, [])
  t.not(second, first)
})

t.test('a process that dies in a run fails that run only', async (t) => {
  const app = await build(t, { repository: repositoryOf(t, [slow('1')]), execution: 'process' })
  const run = t.rejects(app.model.predict('tiny', Float32Array.of(ENDLESS, 0)), {
    code: 'TF_ERR_MODEL_CRASHED',
    statusCode: 503,
    headers: { 'retry-after': '1' }
  })
  while (app.model.queueDepth('tiny') > 0) await new Promise(setImmediate)
  const waits = app.model.predict('tiny', Float32Array.of(1, 0))
  process.kill(children()[0]!, 'SIGKILL')
  await run
  t.ok(Math.abs((await waits).probability![0]! - sigmoid(1, 0)) < 1e-6)
  const [second] = children() as [number]
  process.kill(second, 'SIGKILL')
  while (exists(second)) await new Promise(setImmediate)
  t.equal(
    (await app.model.predict('tiny', Float32Array.of(1, 0))).probability!.length,
    1,
    'one that died idle is replaced'
  )
})

t.test('a process that ends by itself is told of once, with its signal, but not one that was ended', async (t) => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'error', stream: { write: (line: string) => void lines.push(line) } } })
  t.teardown(() => app.close())
  await app.register(modelPlugin, { repository: repositoryOf(t, [slow('1')]), execution: 'process', runTimeoutMs: 700 })
  const predict = async (a: number): Promise<unknown> => app.model.predict('tiny', Float32Array.of(a, 0))
  await t.rejects(predict(ENDLESS), { code: 'TF_ERR_MODEL_DEADLINE' })
  await predict(1)
  t.same(lines, [], 'who is late is killed')
  const [pid] = children() as [number]
  process.kill(pid, 'SIGSEGV')
  while (exists(pid)) await new Promise(setImmediate)
  t.match(JSON.parse(lines[0]!), {
    msg: 'a thread or process of a model has ended by itself',
    err: { code: 'TF_ERR_MODEL_CRASHED', stack: /caused by: Error: SIGSEGV/ }
  })
  await predict(1)
  await app.close()
  t.equal(lines.length, 1)
})

t.test('a thread that ends by what is thrown in it says what', async (t) => {
  const folder = repositoryOf(t, [slow('1')])
  const thrower = join(folder, 'thrower.mjs')
  const thrown = "if (!isMainThread) throw new Error('out of something')"
  writeFileSync(thrower, `import { isMainThread } from 'node:worker_threads'\n${thrown}`)
  const script = `
    import { openPool } from '${new URL('../pool.ts', import.meta.url).href}'
    const tell = (word) => ({ code, cause }) => console.log(word, code, cause.message)
    const options = { kind: 'thread', workers: 1, timeout: 20000, startTimeout: 20000, endTimeout: 20 }
    await openPool(Buffer.from(''), {}, { ...options, onCrash: tell('told') }).catch(tell('failed'))`
  const file = join(folder, 'service.mjs')
  writeFileSync(file, script)
  const { stdout } = spawnSync(process.execPath, ['--import', thrower, file], { encoding: 'utf8', timeout: 300_000 })
  t.equal(stdout, 'told TF_ERR_MODEL_CRASHED out of something\nfailed TF_ERR_MODEL_CRASHED out of something\n')
})

t.test('a thread that is late is left to its run; who waits for it waits no longer than a run may take', async (t) => {
  const session = await pool(t, { kind: 'thread', timeout: 150 })
  const late = { code: 'TF_ERR_MODEL_DEADLINE' }
  await t.rejects(ask(session, 4000), late)
  await t.rejects(ask(session, 1), late)
  for (;;) {
    const score = await ask(session, 1).catch(() => undefined)
    if (score === undefined) continue
    t.ok(Math.abs(score - sigmoid(1, 0)) < 1e-6)
    break
  }
})

t.test('nobody waits for ever for a thread that ends', async (t) => {
  const session = await pool(t, { kind: 'thread', timeout: 20, endTimeout: 20 })
  await t.rejects(ask(session, 3000), { code: 'TF_ERR_MODEL_DEADLINE' })
  await session.release()
  // Its run goes on, and must have ended before this process does: the tests below take longer.
})

t.test('a process that is late at its end is killed', async (t) => {
  const session = await pool(t, { endTimeout: 0 })
  const [pid] = children() as [number]
  await session.release()
  while (exists(pid)) await new Promise(setImmediate)
  t.same(children(), [])
})

t.test('a service exits without a thread that is late, or ends well when its run has ended', async (t) => {
  const folder = repositoryOf(t, [slow('1')])
  const script = `
    import { openPool } from '${new URL('../pool.ts', import.meta.url).href}'
    import { tensorsOf } from '${new URL('../tensors.ts', import.meta.url).href}'
    import { readFileSync } from 'node:fs'
    const manifest = JSON.parse(readFileSync('${join(folder, 'tiny/1/manifest.json')}'))
    const bytes = readFileSync('${join(folder, 'tiny/1/model.onnx')}')
    const options = { kind: 'thread', workers: 1, timeout: 20, startTimeout: 20000, endTimeout: 20 }
    const session = await openPool(bytes, tensorsOf(manifest), options)
    const rows = { features: Float32Array.of(Number(process.argv[2]), 0), rows: 1 }
    await session.run(() => rows).catch(({ code }) => console.log(code))
    await session.release()
    if (process.argv[3] === 'exit') process.exit(3)`
  const file = join(folder, 'service.mjs')
  writeFileSync(file, script)
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [file, ...args], { encoding: 'utf8', timeout: 300_000 })
  const late = run('9000', 'exit')
  t.match(late, {
    signal: 'SIGKILL',
    stdout: 'TF_ERR_MODEL_DEADLINE\n',
    stderr: /^The process exits while a model is in a run/
  })
  t.match(run('2500'), { status: 0, stdout: 'TF_ERR_MODEL_DEADLINE\n', stderr: '' })
})

t.test('a process that dies while another run waits for it is replaced by that one', async (t) => {
  const session = await pool(t, {})
  const dies = t.rejects(ask(session, ENDLESS), { code: 'TF_ERR_MODEL_CRASHED' })
  const waits = ask(session, 1)
  process.kill(children()[0]!, 'SIGKILL')
  await dies
  t.ok(Math.abs((await waits) - sigmoid(1, 0)) < 1e-6)
})

t.test('a process that dies as it starts fails the run that started it, and the next one tries again', async (t) => {
  const session = await pool(t, {})
  const [first] = children() as [number]
  process.kill(first, 'SIGKILL')
  while (exists(first)) await new Promise(setImmediate)
  const starts = t.rejects(ask(session, 1), { code: 'TF_ERR_MODEL_CRASHED' })
  const waits = ask(session, 1)
  process.kill(children()[0]!, 'SIGKILL')
  await starts
  t.ok(Math.abs((await waits) - sigmoid(1, 0)) < 1e-6)
})

t.test('who asks an isolate that has ended is told so', async (t) => {
  const isolate = new Isolate(patient)
  await isolate.open(slowModel(), tensorsOf(tiny))
  const [pid] = children() as [number]
  process.kill(pid, 'SIGKILL')
  while (isolate.alive) await new Promise(setImmediate)
  await t.rejects(isolate.run(Float32Array.of(1, 0), 1), {
    code: 'TF_ERR_MODEL_CRASHED',
    headers: { 'retry-after': '1' }
  })
})

t.test('workers run at the same time, and no more of them than are allowed', async (t) => {
  const session = await pool(t, { workers: 2 })
  t.equal(children().length, 1, 'the second one is not needed yet')
  await Promise.all([ask(session, 800), ask(session, 800), ask(session, 800)])
  t.equal(children().length, 2)
  await session.release()
  t.same(children(), [])
})

t.test('what can not be opened says why, and leaves nothing behind', async (t) => {
  for (const kind of ['thread', 'process'] as const) {
    await t.rejects(openPool(Buffer.from('no model'), tensorsOf(tiny), { ...patient, kind }), /protobuf/i)
  }
  await t.rejects(openPool(slowModel(), tensorsOf(tiny), { ...patient, startTimeout: 1 }), {
    code: 'TF_ERR_MODEL_DEADLINE'
  })
  t.same(children(), [])
})

t.test(
  'in a service that runs, a version that hangs or is no model is tried in a process, and changes nothing',
  async (t) => {
    const folder = repositoryOf(t, [slow('1'), slow('2', ENDLESS), ['tiny', '3', {}, 'no model']])
    const options: Partial<ModelOptions> = {
      repository: folder,
      versionPolicy: { tiny: { pinned: '1' } },
      runTimeoutMs: 500
    }
    const reasons: string[] = []
    const app = await build(t, { ...options, onReload: ({ reason }) => reasons.push(reason) })
    const hangs = { code: 'TF_ERR_MODEL_DEADLINE', statusCode: 422, message: /^Model tiny\/2: / }
    await t.rejects(app.model.load('tiny', '2'), hangs)
    await t.rejects(app.model.load('tiny', '3'), { code: 'TF_ERR_MODEL_OPEN', message: /tiny\/3 .*protobuf/i })
    t.same(reasons, ['deadline', 'open'])
    t.equal((await app.model.predict('tiny', Float32Array.of(1, 0))).manifest.version, '1')
    t.same(children(), [])
  }
)

/**
 * Carries out the Dockerfile without a container engine: its own instructions, on the files that .dockerignore lets through,
 * in folders outside of the repository, so that no module is found in the repository's node_modules. What it can't show: the
 * base image (the Node that runs this stands for it), other CPUs, and RUN lines that write outside of the working directory.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs'
import { rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { freePorts } from '../../monitoring/stack.ts'

const run = promisify(execFile)
const repository = join(import.meta.dirname, '../..')
const dockerfile = readFileSync(join(repository, 'Dockerfile'), 'utf8')
// Installing the packages takes most of it.
t.setTimeout(600_000)

const NO_NETWORK = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT/

/** A stage: its file system, and what its instructions have set. */
interface Stage {
  root: string
  directory: string
  env: Record<string, string>
  user: string
  ports: string[]
  command: string[]
  health: string[]
  stopSignal: string
}

/** Whether .dockerignore keeps `path` out: the last pattern that matches it, or a folder that it is in, decides. */
function ignored(path: string, patterns: readonly string[]): boolean {
  const parts = path.split('/')
  const matches = (glob: string): boolean => {
    const escaped = glob.replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    const source = escaped.replaceAll(/\*\*\/|\*/g, (wildcard) => (wildcard === '*' ? '[^/]*' : '(?:.*/)?'))
    return parts.some((_, i) => new RegExp(`^${source}$`).test(parts.slice(0, i + 1).join('/')))
  }
  const last = patterns.findLast((pattern) => matches(pattern.replace(/^!/, '')))
  return last !== undefined && !last.startsWith('!')
}

function readPatterns(): string[] {
  const lines = readFileSync(join(repository, '.dockerignore'), 'utf8').split('\n')
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
}

/** Copies what a build may see to `target`. */
function copyContext(target: string): void {
  const patterns = readPatterns()
  cpSync(repository, target, {
    recursive: true,
    filter(source) {
      const path = relative(repository, source)
      if (path === '' || !ignored(path, patterns)) return true
      // A folder that is ignored may hold files that are not.
      return statSync(source).isDirectory() && patterns.some((pattern) => pattern.startsWith(`!${path}/`))
    }
  })
}

function parse(text: string): { keyword: string; rest: string }[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.trimStart().startsWith('#'))
  const joined = lines.join('\n').replaceAll(/\\\n\s*/g, '')
  return joined.split('\n').map((line) => ({
    keyword: line.slice(0, line.indexOf(' ')),
    rest: line.slice(line.indexOf(' ') + 1).trim()
  }))
}

/** COPY's rule: a folder gives what is in it; a file goes into a target that is, or ends like, a folder. */
function copy(from: string, sources: readonly string[], stage: Stage, target: string): void {
  const to = join(stage.root, resolve(stage.directory, target))
  for (const source of sources) {
    const path = join(from, source)
    const into = !statSync(path).isDirectory() && (target.endsWith('/') || existsSync(to))
    cpSync(path, into ? join(to, basename(path)) : to, { recursive: true, verbatimSymlinks: true })
  }
}

/** How the network is reached from a build. */
function network(): NodeJS.ProcessEnv {
  const kept = /^(HOME|https?_proxy|no_proxy|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|npm_config_(cache|registry))$/i
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => kept.test(name)))
}

/** Arguments of `env` that start `command` with these variables only: tap gives its own to every child process. */
function only(env: NodeJS.ProcessEnv, command: readonly string[]): string[] {
  return ['-i', ...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...command]
}

/** Carries out all instructions and returns the last stage. An instruction that it does not know is an error. */
async function build(folder: string, path: string): Promise<Stage> {
  const context = join(folder, 'context')
  copyContext(context)
  const stages = new Map<string, Stage>()
  let stage: Stage | undefined
  for (const { keyword, rest } of parse(dockerfile)) {
    if (keyword === 'FROM') {
      const [base = '', , name = `stage ${stages.size}`] = rest.split(/\s+/)
      stage = startFrom(stages.get(base), join(folder, name))
      stages.set(name, stage)
      continue
    }
    if (stage === undefined) throw new Error(`${keyword} before FROM`)
    await apply(stage, keyword, rest, { context, stages, path })
  }
  return stage!
}

function startFrom(base: Stage | undefined, root: string): Stage {
  mkdirSync(root)
  if (base === undefined) {
    return { root, directory: '/', env: {}, user: 'root', ports: [], command: [], health: [], stopSignal: 'SIGTERM' }
  }
  cpSync(base.root, root, { recursive: true, verbatimSymlinks: true })
  return { ...base, root, env: { ...base.env }, ports: [...base.ports] }
}

interface Build {
  context: string
  stages: ReadonlyMap<string, Stage>
  path: string
}

async function apply(stage: Stage, keyword: string, rest: string, { context, stages, path }: Build): Promise<void> {
  const cwd = join(stage.root, stage.directory)
  if (keyword === 'WORKDIR') {
    stage.directory = resolve(stage.directory, rest)
    mkdirSync(join(stage.root, stage.directory), { recursive: true })
  } else if (keyword === 'ENV') {
    for (const [, name, value] of rest.matchAll(/(\w+)=(\S+)/g)) stage.env[name!] = value!
  } else if (keyword === 'COPY') {
    const [, name, words] = /^(?:--from=(\S+) )?(.+)$/.exec(rest)!
    const sources = words!.split(/\s+/)
    const target = sources.pop()!
    copy(name === undefined ? context : stages.get(name)!.root, sources, stage, target)
  } else if (keyword === 'RUN') {
    await run('env', only({ ...network(), PATH: path, ...stage.env }, ['/bin/sh', '-ec', rest]), { cwd })
  } else if (keyword === 'USER') stage.user = rest
  else if (keyword === 'EXPOSE') stage.ports.push(rest)
  else if (keyword === 'STOPSIGNAL') stage.stopSignal = rest
  else if (keyword === 'CMD') stage.command = JSON.parse(rest)
  else if (keyword === 'HEALTHCHECK') stage.health = JSON.parse(rest.slice(rest.indexOf('CMD ') + 4))
  else if (keyword !== 'LABEL') throw new Error(`The test does not know the instruction ${keyword}`)
}

/** A Node of its own, in a folder that every user can reach. */
function installNode(folder: string): string {
  mkdirSync(join(folder, 'bin'))
  copyFileSync(process.execPath, join(folder, 'bin/node'))
  const others = process.env['PATH']!.split(delimiter).filter((entry) => !entry.includes('node_modules'))
  return [join(folder, 'bin'), ...others].join(delimiter)
}

async function listening(child: ChildProcess): Promise<void> {
  let printed = ''
  child.stdout!.on('data', (chunk) => (printed += String(chunk)))
  child.stderr!.on('data', (chunk) => (printed += String(chunk)))
  while (!printed.includes('Server listening')) {
    if (child.exitCode !== null) throw new Error(`the service has stopped: ${printed}`)
    await Promise.race([once(child.stdout!, 'data'), once(child, 'close')])
  }
}

function skip(t: Test, reason: string): void {
  process.stderr.write(`SKIPPED, the image is not tested: ${reason}\n`)
  t.pass('the image is not tested', { skip: reason })
}

t.test('.dockerignore lets through what the service runs, and nothing that is secret or only for development', (t) => {
  const patterns = readPatterns()
  const outsiders = ['.env', '.git/config', 'node_modules/fastify/package.json', 'test/helper.ts', 'training/train.ts']
  const nested = ['plugins/model/.env.local', 'plugins/cache/node_modules/x.js', 'plugins/model/test/model.test.ts']
  const quiet = ['monitoring/prometheus.yml', 'compose.yaml', 'Dockerfile', 'README.md', 'plugins/cache/dist/index.js']
  const code = ['server.ts', 'plugins/model/index.ts', 'monitoring/meters.ts', 'plugins/metrics/page/dashboard.js']
  const needed = [...code, 'plugins/metrics/page/dashboard.css', 'package-lock.json', 'LICENSE']
  t.same(
    [...outsiders, ...nested, ...quiet].filter((path) => !ignored(path, patterns)),
    []
  )
  t.same(
    [...needed, 'models/outperform/1/model.onnx'].filter((path) => ignored(path, patterns)),
    []
  )
  t.end()
})

t.test('the image that the Dockerfile makes', async (t) => {
  if (process.platform !== 'linux') return skip(t, 'it is of Linux')
  const folder = mkdtempSync(join(tmpdir(), 'trading-fun-image-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  chmodSync(folder, 0o755)
  const path = installNode(folder)
  let stage: Stage
  try {
    stage = await build(folder, path)
  } catch (error) {
    if (!NO_NETWORK.test(String(error))) throw error
    return skip(t, 'no package registry can be reached')
  }
  const app = join(stage.root, stage.directory)

  await t.test('holds the packages of the lock file that production needs, and no others', async (t) => {
    type Lock = Record<string, { version: string; dev?: true; devOptional?: true; optional?: true; link?: true }>
    const lock: Lock = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8')).packages
    const expected = Object.entries(lock)
      .filter(([key, { dev, devOptional, optional }]) => /node_modules/.test(key) && !dev && !devOptional && !optional)
      .filter(([, { link }]) => !link)
      .map(([key, { version }]) => `${key} ${version}`)
    const found = globSync('**/node_modules/{*,@*/*}/package.json', { cwd: app }).map((file) => {
      return `${file.slice(0, -'/package.json'.length)} ${JSON.parse(readFileSync(join(app, file), 'utf8')).version}`
    })
    const packages = found.filter((name) => !name.startsWith('node_modules/@trading-fun/'))
    t.same(packages.toSorted(), expected.toSorted())
  })

  await t.test('holds the binaries of one platform only, and is small', async (t) => {
    const bin = join(app, 'node_modules/onnxruntime-node/bin')
    t.same(
      globSync('*/*/*/*.node', { cwd: bin }).map((file) => file.split('/').slice(1).join('/')),
      [`linux/${process.arch}/onnxruntime_binding.node`]
    )
    const sizes = globSync('**/*', { cwd: app, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => statSync(join(entry.parentPath, entry.name)).size)
    const megabytes = sizes.reduce((sum, size) => sum + size, 0) / 1e6
    t.comment(`${megabytes.toFixed(0)} MB beside the base image`)
    t.ok(megabytes < 120, `${megabytes} MB`)
  })

  await t.test('starts as its user, turns healthy, ranks, and stops by its signal', async (t) => {
    t.equal(stage.user, 'node')
    t.same(stage.ports, ['8000'])
    t.equal(stage.env['HOST'], '0.0.0.0')
    const [port = 0] = await freePorts(1)
    // The user `node` of the image is 1000; it owns no file here either, if this test may change users at all.
    const user = process.getuid?.() === 0 ? { uid: 1000, gid: 1000 } : {}
    const env = { ...stage.env, PATH: path, HOST: '127.0.0.1', PORT: String(port), SHUTDOWN_DELAY_SECONDS: '1' }
    const health = async (): Promise<number> => {
      const check = spawn('env', only(env, stage.health), { cwd: app, ...user })
      return (await once(check, 'close'))[0] as number
    }
    const ask = (url: string): Promise<Response> => {
      return fetch(`http://127.0.0.1:${port}${url}`, { signal: AbortSignal.timeout(10_000) })
    }
    t.equal(await health(), 1, 'not healthy before it runs')
    const before = globSync('**', { cwd: app }).length
    const child = spawn('env', only(env, stage.command), { cwd: app, ...user })
    t.teardown(() => child.kill('SIGKILL'))
    await listening(child)

    t.equal(await health(), 0)
    const ready = await ask('/health/ready')
    t.same([ready.status, await ready.json()], [200, { status: 'ready' }])
    const reply = await ask('/ranking?country=Switzerland')
    t.equal(reply.status, 200)
    t.match(await reply.json(), { country: 'Switzerland', coverage: 1, ranking: { length: 30 } })

    for (const file of ['', '/data', '/dashboard.css', '/uplot.js', '/panel.js']) {
      t.equal((await ask(`/dashboard${file}`)).status, 200, `/dashboard${file}`)
    }

    const draining = once(child.stdout, 'data')
    const closed = once(child, 'close')
    child.kill(stage.stopSignal as NodeJS.Signals)
    await draining
    t.equal(await health(), 1, 'not healthy while it stops')
    t.equal((await closed)[0], 0)
    t.equal(globSync('**', { cwd: app }).length, before, 'no file was written')
  })
})

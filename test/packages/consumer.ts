/** What a stranger does with a package: packs are installed in a folder far from here, type-checked, run and asked. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'

/** Root of the repository. */
export const root: string = join(import.meta.dirname, '../..')

/** The compiler of the repository, at its strictest; libraries are checked like the service. */
const compilerOptions = {
  target: 'es2024',
  lib: ['es2024'],
  types: ['node'],
  module: 'nodenext',
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  erasableSyntaxOnly: true,
  verbatimModuleSyntax: true,
  skipLibCheck: false,
  noEmit: true
}

/**
 * Before each command: the Node of the tests comes first, also for npm, which chooses versions by the Node it runs on; and
 * without what tap adds to NODE_OPTIONS of every child, to collect coverage, at the last moment.
 */
const prefix = ['NODE_OPTIONS=', `PATH=${dirname(process.execPath)}${delimiter}${process.env['PATH']}`]

/** Runs a command to its end. @throws Error with all that it printed, if it fails */
async function run(cwd: string, command: string, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('env', [...prefix, command, ...args], { cwd, maxBuffer: 1 << 24 }, (err, stdout, stderr) => {
      if (err === null) return resolve(stdout)
      return reject(new Error(`${command} ${args.join(' ')}\n${stdout}${stderr}`))
    })
  })
}

/** npm's codes when nothing answered; an answer of any kind means that the registry is there. */
const NO_ANSWER = /npm error code (ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|E\w+UNREACH|\w+TIMEOUT|ETIMEDOUT)\b/

/** Why the npm registry can't be reached, as npm's code; undefined if it can. An install would only speak of versions. */
export async function registryTrouble(): Promise<string | undefined> {
  const flags = ['--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--fetch-timeout=10000']
  return NO_ANSWER.exec(await run(root, 'npm', 'ping', ...flags).catch(String))?.[1]
}

/** Packs all workspaces into a folder, as they are in a fresh clone; the tarballs by the packages' names, without their scope. */
export async function pack(folder: string, names: readonly string[]): Promise<Record<string, string>> {
  for (const name of names) await rm(join(root, 'plugins', name, 'dist'), { recursive: true, force: true })
  const packed = await run(root, 'npm', 'pack', '--workspaces', '--json', '--pack-destination', folder)
  const tarballs = Object.values(JSON.parse(packed) as Record<string, { name: string; filename: string }>)
  return Object.fromEntries(
    tarballs.map(({ name, filename }) => [name.replace('@trading-fun/', ''), join(folder, filename)])
  )
}

/** Makes the folder of a service. */
export async function createFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
}

/** Adds packages (names with ranges, tarballs) to a service. */
export async function install(folder: string, packages: readonly string[]): Promise<void> {
  const flags = ['--prefer-offline', '--fetch-retries=5', '--no-audit', '--no-fund', '--ignore-scripts']
  await run(folder, 'npm', 'install', ...flags, ...packages)
}

/** A service of another process. */
export interface Service {
  /** Asks it, with JSON if there is a body. */
  ask(path: string, body?: object): Promise<{ status: number; headers: Headers; text: string }>
  /** Ends it as an operator would; resolves to its exit code, null if it had to be killed. */
  stop(): Promise<number | null>
}

/** Writes a service into its folder, type-checks it and runs it; it must print its URL and end at SIGTERM. */
export async function start(t: Test, folder: string, source: string): Promise<Service> {
  await writeFile(join(folder, 'service.ts'), source)
  await run(folder, join(root, 'node_modules/.bin/tsc'))

  const child = spawn('env', [...prefix, 'node', 'service.ts'], { cwd: folder })
  const exit = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  let printed = ''
  child.stderr.on('data', (chunk) => (printed += String(chunk)))
  let url = ''
  for await (const line of createInterface({ input: child.stdout })) {
    url = line
    break
  }
  if (url === '') throw new Error(`the service did not start: ${printed}`)

  return {
    async ask(path, body) {
      const json = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
      const reply = await fetch(`${url}${path}`, body === undefined ? {} : json)
      return { status: reply.status, headers: reply.headers, text: await reply.text() }
    },
    async stop() {
      child.kill('SIGTERM')
      const patience = setTimeout(() => child.kill('SIGKILL'), 10_000)
      const [code] = (await exit) as [number | null]
      clearTimeout(patience)
      return code
    }
  }
}

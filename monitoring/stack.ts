/**
 * `npm run stack`: the service, Prometheus and Alertmanager on this machine, without Docker, with the very configuration that
 * compose.yaml mounts; only the addresses in it are replaced. Data lives in a temporary folder. Ctrl-C stops everything.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { parse, stringify } from 'yaml'

const here = import.meta.dirname
const START_MS = 30_000
const STOP_MS = 20_000

export interface Ports {
  api: number
  prometheus: number
  alertmanager: number
}

export interface StackOptions {
  ports: Ports
  /** Environment of the service, beside the one of this process. */
  env?: Readonly<Record<string, string>>
  /** The Prometheus to run: a path, or a name on the PATH. */
  prometheus?: string
  /** Gets every line that one of the processes prints. */
  onLine?: (name: string, line: string) => void
}

/** What runs, by address. */
export interface Stack {
  api: string
  prometheus: string
  alertmanager: string
  /** Resolves when one of the processes has ended by itself, with what to tell. */
  ended: Promise<string>
  /** Stops all, in the order in which nobody misses anybody, and deletes the data. */
  close(): Promise<void>
}

/** The first of some programs that is on the PATH, or is a path itself; undefined if none is. */
export function findProgram(...names: string[]): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  const candidates = names.flatMap((name) =>
    name.includes('/') ? [name] : folders.map((folder) => join(folder, name))
  )
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

interface PrometheusConfig {
  rule_files: string[]
  alerting: { alertmanagers: { static_configs: { targets: string[] }[] }[] }
  scrape_configs: { static_configs: { targets: string[] }[] }[]
}

/** prometheus.yml with this machine's addresses instead of Compose's. */
export function localConfig(text: string, ports: Ports): string {
  const config = parse(text) as PrometheusConfig
  const addresses: Record<string, string> = {
    'api:8000': `127.0.0.1:${ports.api}`,
    'localhost:9090': `127.0.0.1:${ports.prometheus}`,
    'alertmanager:9093': `127.0.0.1:${ports.alertmanager}`
  }
  for (const { static_configs } of [...config.alerting.alertmanagers, ...config.scrape_configs]) {
    for (const entry of static_configs) entry.targets = entry.targets.map((target) => addresses[target] ?? target)
  }
  config.rule_files = config.rule_files.map((file) => join(here, file))
  return stringify(config)
}

interface Running {
  name: string
  child: ChildProcess
  exited: Promise<string>
}

function run(name: string, program: string, args: string[], options: StackOptions, env?: NodeJS.ProcessEnv): Running {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(env && { env }) })
  const last: string[] = []
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`${name} does not start: ${error.message}`))
    child.once('close', (code, signal) => resolve([`${name} ended (${signal ?? code})`, ...last].join('\n  ')))
  })
  for (const input of [child.stdout, child.stderr]) {
    createInterface({ input }).on('line', (line) => {
      if (last.push(line) > 5) last.shift()
      options.onLine?.(name, line)
    })
  }
  return { name, child, exited }
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2000) })).ok
  } catch {
    return false
  }
}

/** Waits until an address answers 200. @throws what a process that ended had to say; after 30 s that it is not ready */
async function ready({ name, exited }: Running, url: string): Promise<void> {
  let over: string | undefined
  void exited.then((reason) => (over = reason))
  for (const until = performance.now() + START_MS; performance.now() < until; await sleep(100)) {
    if (over !== undefined) throw new Error(over)
    if (await answers(url)) return
  }
  throw new Error(`${name} is not ready after ${START_MS / 1000} s: ${url}`)
}

async function stop({ child, exited }: Running): Promise<void> {
  const kill = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  child.kill('SIGTERM')
  await exited
  clearTimeout(kill)
}

/**
 * Starts all three, and resolves when all are ready.
 * @throws if a program is missing, with the Debian package that has it, or if one does not get ready: then none is left running
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { ports, env = {} } = options
  const prometheus = findProgram(options.prometheus ?? 'prometheus')
  const alertmanager = findProgram('prometheus-alertmanager', 'alertmanager')
  if (prometheus === undefined || alertmanager === undefined) {
    throw new Error('Prometheus and Alertmanager are needed: on Debian, apt install prometheus prometheus-alertmanager')
  }
  const folder = await mkdtemp(join(tmpdir(), 'trading-fun-stack-'))
  const urls = {
    api: `http://127.0.0.1:${ports.api}`,
    prometheus: `http://127.0.0.1:${ports.prometheus}`,
    alertmanager: `http://127.0.0.1:${ports.alertmanager}`
  }
  const running: Running[] = []
  const close = async (): Promise<void> => {
    // Prometheus first: it would see the others go, and alert.
    for (const one of running.splice(0).toReversed()) await stop(one)
    await rm(folder, { recursive: true, force: true })
  }
  const begin = async (one: Running, url: string): Promise<void> => {
    running.push(one)
    await ready(one, url)
  }
  try {
    // Prometheus is stopped first: nobody needs the last scrape that the delay is for.
    const own = { HOST: '127.0.0.1', PORT: String(ports.api), SHUTDOWN_DELAY_SECONDS: '0', ...env }
    const server = join(here, '../server.ts')
    await begin(
      run('service', process.execPath, [server], options, { ...process.env, ...own }),
      `${urls.api}/health/ready`
    )
    const alertmanagerArgs = [
      `--config.file=${join(here, 'alertmanager.yml')}`,
      `--storage.path=${join(folder, 'alertmanager')}`,
      `--web.listen-address=127.0.0.1:${ports.alertmanager}`,
      '--cluster.listen-address='
    ]
    await begin(run('alertmanager', alertmanager, alertmanagerArgs, options), `${urls.alertmanager}/-/ready`)
    const config = join(folder, 'prometheus.yml')
    await writeFile(config, localConfig(await readFile(join(here, 'prometheus.yml'), 'utf8'), ports))
    const prometheusArgs = [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'prometheus')}`,
      `--web.listen-address=127.0.0.1:${ports.prometheus}`
    ]
    await begin(run('prometheus', prometheus, prometheusArgs, options), `${urls.prometheus}/-/ready`)
  } catch (error) {
    await close()
    throw error
  }
  return { ...urls, ended: Promise.race(running.map(async ({ exited }) => exited)), close }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8000' },
      'prometheus-port': { type: 'string', default: '9090' },
      'alertmanager-port': { type: 'string', default: '9093' },
      prometheus: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) {
    process.stdout.write(`npm run stack -- [options]: the service, Prometheus and Alertmanager, without Docker

--port N               of the service (8000); its settings come from the environment, as for npm start
--prometheus-port N    (9090)
--alertmanager-port N  (9093)
--prometheus PROGRAM   another Prometheus than the one on the PATH
--verbose              print what they print
`)
    return
  }
  const stack = await startStack({
    ports: {
      api: Number(values.port),
      prometheus: Number(values['prometheus-port']),
      alertmanager: Number(values['alertmanager-port'])
    },
    ...(values.prometheus !== undefined && { prometheus: values.prometheus }),
    onLine: (name, line) => values.verbose && process.stdout.write(`${name.padEnd(12)} ${line}\n`)
  })
  process.stdout.write(`
  Service        ${stack.api}
  Rankings       ${stack.api}/ranking?country=Switzerland
  Metrics        ${stack.api}/prometheus
  Prometheus     ${stack.prometheus}/graph
  Alert rules    ${stack.prometheus}/alerts
  Targets        ${stack.prometheus}/targets
  Alertmanager   ${stack.alertmanager}

  Grafana with the dashboard comes with Docker: docker compose up -d. Ctrl-C stops everything.
`)
  const stopped = new Promise<undefined>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(undefined))
  })
  const reason = await Promise.race([stack.ended, stopped])
  process.stdout.write(`${reason ?? '\nStopping ...'}\n`)
  await stack.close()
  process.exitCode = reason === undefined ? 0 : 1
}

if (process.argv[1] === import.meta.filename) await main()

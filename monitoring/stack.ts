/**
 * `npm run stack`: the service, Prometheus and Alertmanager on this machine, without Docker, with the very configuration that
 * compose.yaml mounts; only the addresses in it are replaced. Data lives in a temporary folder. Ctrl-C stops everything.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { parse, stringify } from 'yaml'

const here = import.meta.dirname
const STOP_MS = 20_000

export interface Ports {
  api: number
  prometheus: number
  alertmanager: number
}

/** Gets every line that one of the processes prints. */
export type OnLine = (name: string, line: string) => void

export interface StackOptions {
  ports: Ports
  /** Environment of the service, beside the one of this process. */
  env?: Readonly<Record<string, string>>
  /** The Prometheus to run: a path, or a name on the PATH. */
  prometheus?: string
  /** The Alertmanager to run: a path, or a name on the PATH. */
  alertmanager?: string
  onLine?: OnLine
  /** Milliseconds that each may take until it is ready. @default 30_000 */
  patience?: number
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

/** Ports that are free now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map(async (server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map(async (server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** The first of some programs that is on the PATH, or is a path itself; undefined if none is. */
export function findProgram(...names: string[]): string | undefined {
  const folders = String(process.env['PATH']).split(delimiter)
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

/** A process that was started. */
export interface Running {
  /** Resolves when it has ended, with how it ended and its last lines. */
  exited: Promise<string>
  /** Asks it to end, forces it after 20 s, and resolves when it has. */
  stop(): Promise<void>
}

/** Starts a program; what it prints goes to `onLine`. */
export function run(name: string, program: string, args: string[], onLine?: OnLine, env = process.env): Running {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env })
  const last: string[] = []
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`${name} does not start: ${error.message}`))
    child.once('close', (code, signal) => resolve([`${name} has ended (${signal ?? code})`, ...last].join('\n  ')))
  })
  for (const input of [child.stdout, child.stderr]) {
    createInterface({ input }).on('line', (line) => {
      if (last.push(line) > 5) last.shift()
      onLine?.(name, line)
    })
  }
  async function stop(): Promise<void> {
    const kill = setTimeout(child.kill.bind(child), STOP_MS, 'SIGKILL')
    child.kill('SIGTERM')
    await exited
    clearTimeout(kill)
  }
  return { exited, stop }
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2000) })).ok
  } catch {
    return false
  }
}

/** The process, once an address answers 200. @throws what it said before it ended, or when it is not ready in time; then it is stopped */
async function ready(running: Running, url: string, patience = 30_000): Promise<Running> {
  let over: string | undefined
  void running.exited.then((reason) => (over = reason))
  for (const until = performance.now() + patience; performance.now() < until; await sleep(100)) {
    if (over !== undefined) throw new Error(over)
    if (await answers(url)) return running
  }
  await running.stop()
  throw new Error(`${url} does not answer after ${patience / 1000} s`)
}

/** A Prometheus with the repository's configuration, as `configure` changes it, when it is ready; its files go to `folder`. */
export async function runPrometheus(
  program: string,
  ports: Ports,
  folder: string,
  onLine?: OnLine,
  configure = (text: string): string => localConfig(text, ports)
): Promise<Running> {
  const config = join(folder, 'prometheus.yml')
  await writeFile(config, configure(await readFile(join(here, 'prometheus.yml'), 'utf8')))
  const args = [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(folder, 'prometheus')}`,
    `--web.listen-address=127.0.0.1:${ports.prometheus}`
  ]
  return ready(run('prometheus', program, args, onLine), `http://127.0.0.1:${ports.prometheus}/-/ready`)
}

/** An Alertmanager with a configuration file, when it is ready; its data go to `folder`. */
export async function runAlertmanager(
  program: string,
  port: number,
  config: string,
  folder: string,
  onLine?: OnLine,
  patience?: number
): Promise<Running> {
  const args = [
    `--config.file=${config}`,
    `--storage.path=${join(folder, 'alertmanager')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--cluster.listen-address='
  ]
  return ready(run('alertmanager', program, args, onLine), `http://127.0.0.1:${port}/-/ready`, patience)
}

/** Paths of both programs. @throws if one is missing, with the Debian package that has it */
export function findPrograms(options: Pick<StackOptions, 'prometheus' | 'alertmanager'>): {
  prometheus: string
  alertmanager: string
} {
  const prometheus = findProgram(options.prometheus ?? 'prometheus')
  const alertmanager = findProgram(
    ...(options.alertmanager ? [options.alertmanager] : ['prometheus-alertmanager', 'alertmanager'])
  )
  if (prometheus === undefined || alertmanager === undefined) {
    throw new Error('Prometheus and Alertmanager are needed: on Debian, apt install prometheus prometheus-alertmanager')
  }
  return { prometheus, alertmanager }
}

/**
 * Starts all three, and resolves when all are ready.
 * @throws if a program is missing, with the Debian package that has it, or if one does not get ready: then none is left running
 */
export async function startStack({ ports, env = {}, onLine, patience, ...options }: StackOptions): Promise<Stack> {
  const { prometheus, alertmanager } = findPrograms(options)
  const urls = {
    api: `http://127.0.0.1:${ports.api}`,
    prometheus: `http://127.0.0.1:${ports.prometheus}`,
    alertmanager: `http://127.0.0.1:${ports.alertmanager}`
  }
  const folder = await mkdtemp(join(tmpdir(), 'trading-fun-stack-'))
  const running: Running[] = []
  const close = async (): Promise<void> => {
    // Prometheus first: it would see the others go, and alert.
    for (const one of running.splice(0).toReversed()) await one.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    // Nobody needs the last scrape that the delay is for.
    const own = { HOST: '127.0.0.1', PORT: String(ports.api), SHUTDOWN_DELAY_SECONDS: '0', ...env }
    const service = run('service', process.execPath, [join(here, '../server.ts')], onLine, { ...process.env, ...own })
    running.push(await ready(service, `${urls.api}/health/ready`, patience))
    const config = join(here, 'alertmanager.yml')
    running.push(await runAlertmanager(alertmanager, ports.alertmanager, config, folder, onLine, patience))
    running.push(await runPrometheus(prometheus, ports, folder, onLine))
  } catch (error) {
    await close()
    throw error
  }
  return { ...urls, ended: Promise.race(running.map(async ({ exited }) => exited)), close }
}

/** @throws if a port can't be listened on, or is meant for two, with the option that chooses another one */
async function checkPorts(ports: Record<string, number>): Promise<void> {
  const given = new Set<number>()
  for (const [option, port] of Object.entries(ports)) {
    if (given.has(port)) throw new Error(`Port ${port} is meant for two: --${option} N chooses another one`)
    given.add(port)
    const server = createServer().listen(port, '127.0.0.1')
    await once(server, 'listening').catch((error: NodeJS.ErrnoException) => {
      throw new Error(`Port ${port} is not free (${error.code}): --${option} N chooses another one`)
    })
    await new Promise((resolve) => server.close(resolve))
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8000' },
      'prometheus-port': { type: 'string', default: '9090' },
      'alertmanager-port': { type: 'string', default: '9093' },
      prometheus: { type: 'string', default: 'prometheus' },
      alertmanager: { type: 'string' },
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
--alertmanager PROGRAM another Alertmanager
--verbose              print what they print
`)
    return
  }
  const ports: Ports = {
    api: Number(values.port),
    prometheus: Number(values['prometheus-port']),
    alertmanager: Number(values['alertmanager-port'])
  }
  // Before anything starts: whoever else listens there might answer for the service.
  await checkPorts({ port: ports.api, 'prometheus-port': ports.prometheus, 'alertmanager-port': ports.alertmanager })
  const stack = await startStack({
    ports,
    prometheus: values.prometheus,
    ...(values.alertmanager !== undefined && { alertmanager: values.alertmanager }),
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

  Grafana with the dashboard comes with Docker: docker compose up -d prometheus grafana
  Ctrl-C stops everything.
`)
  const stopped = new Promise<undefined>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(undefined))
  })
  const reason = await Promise.race([stack.ended, stopped])
  process.stdout.write(`${reason ?? '\nStopping ...'}\n`)
  await stack.close()
  process.exitCode = reason === undefined ? 0 : 1
}

if (process.argv[1] === import.meta.filename) {
  await main().catch((error: Error) => {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  })
}

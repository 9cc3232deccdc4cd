/** What a drill runs in: the service, Prometheus and Alertmanager with a fast clock, a receiver, and a Redis if there is one. */
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram, findPrograms, freePorts, localConfig, run, runAlertmanager, runPrometheus } from '../stack.ts'
import { type Gate, openGate } from './gate.ts'
import { shortenAlertmanager, shortenPrometheus, shortenRules } from './rules.ts'
import { type DrillService, startService } from './service.ts'
import type { Notice, View } from './watch.ts'

const monitoring = join(import.meta.dirname, '..')

export interface DrillOptions {
  /** How many times as fast as in production the rules' clock runs. */
  speed: number
  /** The Prometheus to run: a path, or a name on the PATH. */
  prometheus?: string
  /** The Alertmanager to run. */
  alertmanager?: string
}

export interface DrillStack {
  service: DrillService
  /** The way to Redis; undefined: there is no redis-server on this machine. */
  redis: Gate | undefined
  /** What the receivers got. */
  notices: readonly Notice[]
  look: () => Promise<View>
  close(): Promise<void>
}

interface Labels {
  alertname: string
  window?: string
}

/** An alert's name, with its window if several rules have the name. */
const nameOf = ({ alertname, window }: Labels): string => (window === undefined ? alertname : `${alertname} ${window}`)

async function ask<T>(url: string): Promise<T> {
  const reply = await fetch(url, { signal: AbortSignal.timeout(5000) })
  if (!reply.ok) throw new Error(`${url} answered ${reply.status}`)
  return (await reply.json()) as T
}

/** What a Prometheus and an Alertmanager say now. @throws if one of them does not answer */
export async function lookAt(prometheus: string, alertmanager: string): Promise<View> {
  const [{ data }, held] = await Promise.all([
    ask<{ data: { alerts: { labels: Labels; state: string }[] } }>(`${prometheus}/api/v1/alerts`),
    ask<{ labels: Labels; status: { inhibitedBy: string[] } }[]>(`${alertmanager}/api/v2/alerts`)
  ])
  const inState = (wanted: string): Set<string> =>
    new Set(data.alerts.filter(({ state }) => state === wanted).map(({ labels }) => nameOf(labels)))
  return {
    pending: inState('pending'),
    firing: inState('firing'),
    heldBack: new Set(held.filter(({ status }) => status.inhibitedBy.length > 0).map(({ labels }) => nameOf(labels)))
  }
}

/** Who is told: a webhook whose path is the receiver's name. */
export async function startReceiver(
  now: () => number
): Promise<{ url: string; notices: readonly Notice[]; close: () => void }> {
  const notices: Notice[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    const { alerts } = JSON.parse(body) as { alerts: { labels: Labels; status: Notice['status'] }[] }
    const receiver = request.url!.slice(1)
    for (const { labels, status } of alerts) notices.push({ alert: nameOf(labels), status, receiver, at: now() })
    response.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    notices,
    close() {
      server.closeAllConnections()
      server.close()
    }
  }
}

async function original(file: string): Promise<string> {
  return readFile(join(monitoring, file), 'utf8')
}

/**
 * Starts everything, each on a free port of 127.0.0.1.
 * @throws if a program is missing, with the Debian package that has it, or if one does not get ready: then none is left running
 */
export async function startDrill(options: DrillOptions, now: () => number): Promise<DrillStack> {
  const { speed } = options
  const programs = findPrograms(options)
  const folder = await mkdtemp(join(tmpdir(), 'trading-fun-drill-'))
  const opened: (() => unknown)[] = [async () => rm(folder, { recursive: true, force: true })]
  async function close(): Promise<void> {
    for (const end of opened.splice(0).toReversed()) await end()
  }
  try {
    const redis = await startRedis(opened)
    const service = await startService(redis && `redis://127.0.0.1:${redis.port}`)
    opened.push(async () => service.close())
    const receiver = await startReceiver(now)
    opened.push(() => receiver.close())

    const [prometheus = 0, alertmanager = 0] = await freePorts(2)
    const config = join(folder, 'alertmanager.yml')
    await writeFile(config, shortenAlertmanager(await original('alertmanager.yml'), speed, receiver.url))
    const notifier = await runAlertmanager(programs.alertmanager, alertmanager, config, folder)
    opened.push(async () => notifier.stop())
    for (const file of ['recording_rules.yml', 'alert_rules.yml']) {
      await writeFile(join(folder, file), shortenRules(await original(file), speed))
    }
    const ports = { api: service.scrapes.port, prometheus, alertmanager }
    const configure = (text: string): string => shortenPrometheus(localConfig(text, ports), speed, folder)
    const judge = await runPrometheus(programs.prometheus, ports, folder, undefined, configure)
    opened.push(async () => judge.stop())
    return {
      service,
      redis,
      notices: receiver.notices,
      look: async () => lookAt(`http://127.0.0.1:${prometheus}`, `http://127.0.0.1:${alertmanager}`),
      close
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** A Redis that keeps nothing, behind a gate. */
async function startRedis(opened: (() => unknown)[]): Promise<Gate | undefined> {
  const program = findProgram('redis-server')
  if (program === undefined) return undefined
  const [port = 0] = await freePorts(1)
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  const server = run('redis', program, settings)
  opened.push(async () => server.stop())
  const gate = await openGate(port)
  opened.push(async () => gate.cut())
  return gate
}

/** The drill's service, the ways to it and from it, its clients, and whether each fault is one and is over when it is healed. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, type Server, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { mock } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { type Fault, NOT_REHEARSED, REMEMBERING, faultsOf } from '../../../monitoring/drill/faults.ts'
import { type Gate, openGate } from '../../../monitoring/drill/gate.ts'
import { type DrillService, startService, troubled } from '../../../monitoring/drill/service.ts'
import { type Traffic, startTraffic } from '../../../monitoring/drill/traffic.ts'
import { fakeSource, scrape, waveCandles } from '../../helper.ts'

const portOf = (server: Server): number => (server.address() as AddressInfo).port

async function service(t: Test, redis?: string): Promise<DrillService> {
  // However busy the machine is, requests are answered.
  const started = await startService(redis, 0)
  t.teardown(async () => started.close())
  return started
}

/** What a connection gets before it ends; undefined if it is refused. */
async function hear(port: number): Promise<string | undefined> {
  const socket = connect(port, '127.0.0.1')
  let heard: string | undefined
  socket.on('connect', () => (heard = '')).on('data', (chunk) => (heard += String(chunk)))
  socket.on('error', () => undefined)
  await new Promise((resolve) => socket.once('close', resolve))
  return heard
}

t.test('a gate lets through, refuses, ends what is under way, and lets through again', async (t) => {
  const server = createServer((socket) => socket.end('hello')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const gate = await openGate(portOf(server))
  t.teardown(async () => gate.cut())
  t.equal(await hear(gate.port), 'hello')

  server.removeAllListeners('connection').on('connection', (socket) => socket.on('error', () => undefined).write('...'))
  const held = connect(gate.port, '127.0.0.1').on('error', () => undefined)
  await once(held, 'data')
  const ended = new Promise((resolve) => held.once('close', resolve))
  await gate.cut()
  await ended
  t.equal(await hear(gate.port), undefined)

  server.removeAllListeners('connection').on('connection', (socket) => socket.end('again'))
  await gate.mend()
  t.equal(await hear(gate.port), 'again')
})

t.test('a gate to nobody ends its connections', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  await new Promise((resolve) => server.close(resolve))
  const gate = await openGate(port)
  t.teardown(async () => gate.cut())
  t.equal(await hear(gate.port), '')
})

t.test('a market is in trouble when it is told so', async (t) => {
  const trouble = { failing: false, delay: 0 }
  const market = troubled(fakeSource({ A: waveCandles() }), trouble)
  t.match((await market.quotes(['A'])).get('A'), { ok: true })
  t.match((await market.history(['A', 'B'], 5)).get('B'), { ok: false, error: 'not_found' })
  trouble.failing = true
  for (const answer of [await market.quotes(['A', 'B']), await market.history(['A', 'B'], 5)]) {
    t.same([...answer.keys()], ['A', 'B'])
    t.match(answer.get('A'), { ok: false, error: 'upstream_error' })
  }
  trouble.delay = 30
  const started = performance.now()
  await market.quotes(['A'])
  t.ok(performance.now() - started > 25)
})

t.test(
  'clients ask for the same every half second, each from an address of its own, and a storm is of one client',
  async (t) => {
    const asked: { path: string; client: string }[] = []
    const server = createHttpServer((request, response) => {
      asked.push({ path: request.url!, client: String(request.headers['x-forwarded-for']) })
      response.end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    mock.timers.enable({ apis: ['setInterval'] })
    const traffic = startTraffic(`http://127.0.0.1:${portOf(server)}`)
    mock.timers.tick(1000)
    traffic.storm = true
    mock.timers.tick(500)
    traffic.storm = false
    traffic.flood = true
    mock.timers.tick(500)
    await traffic.stop()
    mock.timers.tick(5000)
    mock.timers.reset()
    t.equal(traffic.sent, asked.length)
    const from = (client: string): string[] => asked.filter((one) => one.client === client).map(({ path }) => path)
    t.equal(from('198.51.100.0').length, 10)
    t.equal(from('198.51.100.2').length, 10)
    t.equal(from('198.51.100.3').length, 10 + 25)
    const coinOf = (client: string): string => from(client).find((path) => path.startsWith('/crypto/details/'))!
    t.not(coinOf('198.51.100.0'), coinOf('198.51.100.1'), 'another coin')
    t.same(new Set(from('203.0.113.9')), new Set(['/countries']))
    t.equal(from('203.0.113.9').length, 15)
  }
)

t.test('a service that does not answer gets no more requests than it may have under way', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const sockets: { destroy: () => void }[] = []
  server.on('connection', (socket) => sockets.push(socket.on('error', () => undefined)))
  mock.timers.enable({ apis: ['setInterval'] })
  const traffic = startTraffic(`http://127.0.0.1:${portOf(server)}`)
  mock.timers.tick(60_000)
  mock.timers.reset()
  t.equal(traffic.sent, 300)
  const stopped = traffic.stop()
  server.on('connection', (socket) => socket.destroy())
  for (const socket of sockets) socket.destroy()
  await stopped
})

const calm = (): Traffic => ({ storm: false, flood: false, sent: 0, stop: async () => undefined })

/** The fault of a name, of a service and clients of its own. */
async function prepare(
  t: Test,
  name: string
): Promise<{
  fault: Fault
  drilled: DrillService
  traffic: Traffic
  status: (path: string) => Promise<number>
}> {
  const drilled = await service(t)
  const traffic = calm()
  const fault = faultsOf(drilled, traffic).find((one) => one.name === name)!
  return { fault, drilled, traffic, status: async (path) => (await drilled.app.inject(path)).statusCode }
}

t.test('scrape outage', async (t) => {
  const { fault, drilled } = await prepare(t, 'scrape outage')
  const scraped = async (): Promise<boolean> =>
    fetch(`http://127.0.0.1:${drilled.scrapes.port}/prometheus`).then(
      ({ ok }) => ok,
      () => false
    )
  t.equal(await scraped(), true)
  await fault.inject()
  t.equal(await scraped(), false)
  t.equal((await fetch(`${drilled.url}/health`)).status, 200, 'clients do not notice')
  await fault.heal()
  t.equal(await scraped(), true)
})

t.test('latency', async (t) => {
  const { fault, drilled } = await prepare(t, 'latency')
  await fault.inject()
  t.same(drilled.trouble, { failing: false, delay: 2500 })
  await fault.heal()
  t.same(drilled.trouble, { failing: false, delay: 0 })
})

t.test('errors', async (t) => {
  const { fault, status } = await prepare(t, 'errors')
  t.equal(await status('/ticker_info/NESN.SW'), 200)
  await fault.inject()
  t.equal(await status('/ticker_info/NESN.SW'), 502)
  await fault.heal()
  t.equal(await status('/ticker_info/NESN.SW'), 200)
})

t.test('cold cache', async (t) => {
  const { fault, drilled, status } = await prepare(t, 'cold cache')
  const misses = async (): Promise<number> => {
    await status('/ranking?country=Switzerland')
    return (await scrape(drilled.app))['cache_misses_total{cache_type="ranking"}']!
  }
  t.equal(await misses(), 1)
  t.equal(await misses(), 1)
  mock.timers.enable({ apis: ['setInterval'] })
  await fault.inject()
  mock.timers.tick(20)
  t.equal(await misses(), 2)
  mock.timers.tick(20)
  t.equal(await misses(), 3)
  await fault.heal()
  mock.timers.tick(100)
  t.equal(await misses(), 3)
  mock.timers.reset()
})

t.test('request storm', async (t) => {
  const { fault, traffic } = await prepare(t, 'request storm')
  await fault.inject()
  t.equal(traffic.storm, true)
  await fault.heal()
  t.equal(traffic.storm, false)
})

t.test('unloaded model', async (t) => {
  const { fault, status } = await prepare(t, 'unloaded model')
  t.equal(await status('/health/ready'), 200)
  await fault.inject()
  t.equal(await status('/health/ready'), 503)
  await fault.heal()
  t.equal(await status('/health/ready'), 200)
})

t.test('dead upstream', async (t) => {
  const { fault, status } = await prepare(t, 'dead upstream')
  t.equal(await status('/crypto/ranking'), 200)
  t.equal(await status('/crypto/details/one'), 200)
  await fault.inject()
  t.equal(await status('/crypto/details/two'), 502)
  await fault.heal()
  t.equal(await status('/crypto/details/two'), 200)
})

t.test('dead language model', async (t) => {
  const { fault, drilled, traffic } = await prepare(t, 'dead language model')
  const analyse = async (): Promise<number> => {
    const payload = { ranking: [{ ticker: 'NESN.SW', prob: 0.6 }] }
    return (await drilled.app.inject({ method: 'POST', url: '/analyze', payload })).statusCode
  }
  t.equal(await analyse(), 200)
  await fault.inject()
  t.equal(await analyse(), 502)
  await fault.heal()
  t.equal(await analyse(), 200)
  t.same(traffic, calm())
})

t.test('broken version', async (t) => {
  const { fault, drilled, status } = await prepare(t, 'broken version')
  const successful = async (): Promise<number | undefined> =>
    (await scrape(drilled.app))['model_last_reload_successful{model="outperform"}']
  t.equal(await successful(), 1)
  await fault.inject()
  t.equal(await successful(), 0)
  t.equal(await status('/ranking?country=Switzerland'), 200, 'the version before answers')
  await fault.heal()
  t.equal(await successful(), 1)
})

t.test('hanging model', async (t) => {
  const { fault, drilled, traffic } = await prepare(t, 'hanging model')
  const { model } = drilled.app
  const [name = ''] = model.names
  const row = new Float32Array(model.serving(name).manifest.features.length)
  await model.predict(name, row)
  await fault.inject()
  t.equal(traffic.flood, true)
  const predicted = model.predict(name, row)
  const first = await Promise.race([predicted.then(() => 'scored'), setTimeout(50, 'waits')])
  t.equal(first, 'waits')
  t.match(await scrape(drilled.app), { [`model_queue_depth{model_type="${name}"}`]: 1 })
  await fault.heal()
  t.equal(traffic.flood, false)
  await predicted
})

t.test('busy event loop', async (t) => {
  const { fault } = await prepare(t, 'busy event loop')
  const stalled = async (): Promise<boolean> => {
    const delay = monitorEventLoopDelay({ resolution: 5 })
    delay.enable()
    await setTimeout(700)
    delay.disable()
    return delay.max > 250e6
  }
  await fault.inject()
  t.equal(await stalled(), true)
  await fault.heal()
  // What else the machine does may stall it too, but not each time.
  let quiet = false
  for (let i = 0; i < 20 && !quiet; i++) quiet = !(await stalled())
  t.equal(quiet, true)
})

t.test('Redis outage: if there is a Redis', async (t) => {
  const drilled = await service(t, 'redis://127.0.0.1:1')
  t.match(await scrape(drilled.app), { redis_configured: 1 })
  const traffic = calm()
  const done: string[] = []
  const redis: Gate = { port: 1, cut: async () => void done.push('cut'), mend: async () => void done.push('mend') }
  const [fault, ...others] = faultsOf(drilled, traffic, redis)
  t.same(
    faultsOf(drilled, traffic).map(({ name }) => name),
    others.map(({ name }) => name)
  )
  t.equal(fault!.name, 'Redis outage')
  await fault!.inject()
  await fault!.heal()
  t.same(done, ['cut', 'mend'])
})

t.test('faults name alerts that there are, and all that there are are rehearsed or said not to be', async (t) => {
  interface Rule {
    alert: string
    labels: { window?: string }
  }
  const rules = readFileSync(join(import.meta.dirname, '../../../monitoring/alert_rules.yml'), 'utf8')
  const known: string[] = parse(rules).groups.flatMap((group: { rules: Rule[] }) =>
    group.rules.map(({ alert, labels: { window } }) => (window === undefined ? alert : `${alert} ${window}`))
  )
  const redis: Gate = { port: 1, cut: async () => undefined, mend: async () => undefined }
  const faults = faultsOf(await service(t), calm(), redis)
  for (const alert of faults.flatMap(({ consequences }) => consequences)) t.ok(known.includes(alert), alert)
  const rehearsed = faults.flatMap(({ expected }) => expected)
  t.same([...rehearsed, ...NOT_REHEARSED.flatMap(([, alerts]) => alerts)].toSorted(), known.toSorted())

  const documented = readFileSync(join(import.meta.dirname, '../../../docs/monitoring.md'), 'utf8')
  for (const { name, expected } of faults) {
    const rows = expected.map((alert, i) => String.raw`\| ${i === 0 ? name : ''} *\| ${alert} +\|.*\n`)
    t.match(documented, new RegExp(rows.join('')), `the table of a drill has ${name}`)
  }

  const failing = faults.map(({ consequences }) => REMEMBERING.some((alert) => consequences.includes(alert)))
  t.notOk(failing.slice(failing.indexOf(true)).includes(false), 'those that fail no request come first')
})

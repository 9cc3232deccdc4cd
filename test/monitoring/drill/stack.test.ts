/** The drill's stack and command, with stand-ins for the programs. test/stack/drill.test.ts has the real ones. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { drill } from '../../../monitoring/drill.ts'
import { lookAt, startDrill, startReceiver } from '../../../monitoring/drill/stack.ts'

const monitoring = join(import.meta.dirname, '../../../monitoring')

// A folder of this file's own, so that what stays behind in it is ours.
process.env['TMPDIR'] = t.testdir()
const leftovers = async (): Promise<string[]> =>
  (await readdir(tmpdir())).filter((name) => name.startsWith('trading-fun-drill-'))

/** What stands for all programs: it is ready, and no alert is active but those in the environment. */
const STAND_IN = `#!${process.execPath}
const [, port] = /--web.listen-address=127.0.0.1:(\\d+)/.exec(process.argv.join(' ')) ?? []
const alerts = (process.env.ACTIVE ?? '').split(',').filter(Boolean).map((alertname) => ({ labels: { alertname }, state: 'firing' }))
const answers = { '/api/v1/alerts': { data: { alerts } }, '/api/v2/alerts': [] }
require('node:http').createServer((request, response) => response.end(JSON.stringify(answers[request.url] ?? {})))
  .listen(port ?? 0, '127.0.0.1')
`

/** A folder of programs, as PATH. */
async function pathOf(t: Test, ...names: string[]): Promise<string> {
  const folder = t.testdir(Object.fromEntries(names.map((name) => [name, STAND_IN])))
  for (const name of names) await chmod(join(folder, name), 0o755)
  return folder
}

/** Sets PATH until the test is over. */
function usePath(t: Test, path: string): void {
  const { PATH } = process.env
  t.teardown(() => Object.assign(process.env, { PATH }))
  process.env['PATH'] = path
}

const PROGRAMS = ['prometheus', 'prometheus-alertmanager']
const signal = new AbortController().signal
/** So fast that nothing is waited for. */
const SPEED = 1_000_000

t.test('what Prometheus and Alertmanager say', async (t) => {
  const answers: Record<string, unknown> = {
    '/api/v1/alerts': {
      data: {
        alerts: [
          { labels: { alertname: 'A', job: 'x' }, state: 'firing' },
          { labels: { alertname: 'B', window: '1h' }, state: 'firing' },
          { labels: { alertname: 'C' }, state: 'pending' }
        ]
      }
    },
    '/api/v2/alerts': [
      { labels: { alertname: 'A' }, status: { inhibitedBy: ['1'] } },
      { labels: { alertname: 'B', window: '1h' }, status: { inhibitedBy: [] } }
    ]
  }
  const server = createServer((request, response) => {
    const answer = answers[String(request.url)]
    response.writeHead(answer === undefined ? 404 : 200).end(JSON.stringify(answer))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  t.same(await lookAt(url, url), {
    pending: new Set(['C']),
    firing: new Set(['A', 'B 1h']),
    heldBack: new Set(['A'])
  })
  await t.rejects(lookAt(`${url}/other`, url), { message: `${url}/other/api/v1/alerts answered 404` })
})

t.test('the receiver takes down what it is told', async (t) => {
  const receiver = await startReceiver(() => 42)
  t.teardown(() => receiver.close())
  const alerts = [
    { labels: { alertname: 'A', window: '6h' }, status: 'firing' },
    { labels: { alertname: 'B' }, status: 'resolved' }
  ]
  const reply = await fetch(`${receiver.url}/critical`, { method: 'POST', body: JSON.stringify({ alerts }) })
  t.equal(reply.status, 200)
  t.same(receiver.notices, [
    { alert: 'A 6h', status: 'firing', receiver: 'critical', at: 42 },
    { alert: 'B', status: 'resolved', receiver: 'critical', at: 42 }
  ])
})

t.test('a missing program is named, and nothing is started', async (t) => {
  usePath(t, t.testdir())
  await t.rejects(
    startDrill({ speed: 30 }, () => 0),
    { message: /^Prometheus and Alertmanager are needed: on Debian, apt install / }
  )
  t.same(await leftovers(), [])
})

t.test('when one does not start nothing stays behind', async (t) => {
  usePath(t, await pathOf(t, ...PROGRAMS))
  await t.rejects(
    startDrill({ speed: 30, alertmanager: process.execPath }, () => 0),
    { message: /^alertmanager has ended/ }
  )
  t.same(await leftovers(), [])
})

t.test('with all programs there is a Redis too, and all ends with close', async (t) => {
  usePath(t, await pathOf(t, ...PROGRAMS, 'redis-server'))
  const stack = await startDrill({ speed: 30 }, () => 0)
  t.equal(typeof stack.redis?.port, 'number')
  t.same(await stack.look(), { pending: new Set(), firing: new Set(), heldBack: new Set() })
  t.equal((await leftovers()).length, 1)
  await stack.close()
  await t.rejects(fetch(stack.service.url))
  t.same(await leftovers(), [])
})

t.test('a drill says what it does, and what came of it', async (t) => {
  usePath(t, await pathOf(t, ...PROGRAMS))
  const said: string[] = []
  const outcomes = await drill({ speed: SPEED, only: ['latency'], signal, say: (line) => said.push(line) })
  t.match(outcomes, [{ fault: 'latency', alerts: [{ alert: 'SlowResponseTime', fired: undefined }] }])
  t.same(said, [
    'no Redis outage: there is no redis-server, on Debian: apt install redis-server',
    'waiting for quiet',
    'latency',
    '  injected',
    '  healed'
  ])
})

t.test('a drill does not begin when something is wrong', async (t) => {
  usePath(t, await pathOf(t, ...PROGRAMS))
  const options = { speed: SPEED, signal, say: () => undefined }
  await t.rejects(drill({ ...options, speed: 0 }), { message: '--speed must be a number from 1 on' })
  await t.rejects(drill({ ...options, only: ['flood'] }), {
    message: /^There is no fault flood; there are: scrape outage, /
  })
  process.env['ACTIVE'] = 'Wet'
  t.teardown(() => delete process.env['ACTIVE'])
  await t.rejects(drill({ ...options, speed: 10_000 }), { message: 'Nothing is wrong, and still it is not quiet: Wet' })
  t.same(await leftovers(), [])
})

/** The command with arguments of its own, and what it prints until it has ended. */
function command(t: Test, path: string, ...args: string[]): { child: ChildProcess; printed: () => string } {
  const env = { ...process.env, PATH: path }
  const child = spawn(process.execPath, [join(monitoring, 'drill.ts'), ...args], { env })
  t.teardown(() => child.kill())
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (printed += String(chunk)))
  return { child, printed: () => printed }
}

t.test('the command prints the table and the problems', async (t) => {
  const path = await pathOf(t, ...PROGRAMS)
  const programs = ['--prometheus', 'prometheus', '--alertmanager', 'prometheus-alertmanager']
  const { child, printed } = command(t, path, '--speed', String(SPEED), ...programs, 'errors')
  const [code] = await once(child, 'close')
  t.match(printed(), /\| errors +\| HighErrorRate +\| never/)
  t.match(printed(), /^errors: HighErrorRate did not fire$/m)
  t.equal(code, 1)
})

t.test('Ctrl-C stops it, and all that it has started', async (t) => {
  const { child, printed } = command(t, await pathOf(t, ...PROGRAMS))
  for await (const _ of child.stdout!.iterator({ destroyOnReturn: false })) {
    if (printed().includes('waiting for quiet')) break
  }
  child.kill('SIGINT')
  const [code] = await once(child, 'close')
  t.equal(code, 1)
  t.match(printed(), /^Stopped\.$/m)
  t.same(await leftovers(), [])
})

t.test('help, and what is wrong with the arguments', async (t) => {
  const help = command(t, '', '--help')
  t.equal((await once(help.child, 'close'))[0], 0)
  t.match(help.printed(), /^npm run drill -- \[options\]/)
  const missing = command(t, '')
  t.equal((await once(missing.child, 'close'))[0], 1)
  t.equal(
    missing.printed(),
    'Prometheus and Alertmanager are needed: on Debian, apt install prometheus prometheus-alertmanager\n'
  )
})

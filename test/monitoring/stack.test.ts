import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, readdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { findProgram, freePorts, localConfig, startStack } from '../../monitoring/stack.ts'

const monitoring = join(import.meta.dirname, '../../monitoring')

/** What stands for Prometheus and Alertmanager: it listens where it is told, and says what they say. */
const STAND_IN = `#!${process.execPath}
const address = process.argv.find((arg) => arg.startsWith('--web.listen-address=')).split('=')[1]
const [host, port] = address.split(':')
for (let i = 0; i < 6; i++) console.error('starting')
require('node:http').createServer((request, response) => response.end('pid ' + process.pid))
  .on('error', () => {
    console.error('listen tcp ' + address + ': bind: address already in use')
    process.exit(1)
  })
  .listen(port, host, () => console.error('Server is ready to receive web requests.'))
`

/** The stand-in as a program. */
async function standIn(t: Test): Promise<string> {
  const program = join(t.testdir({ 'stand-in.cjs': STAND_IN }), 'stand-in.cjs')
  await chmod(program, 0o755)
  return program
}

// A folder of this file's own, so that what stays behind in it is ours.
process.env['TMPDIR'] = t.testdir()

async function leftovers(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith('trading-fun-stack-'))
}

/** `npm run stack` with arguments of its own, and all that it prints until it has said `until` or has ended. */
async function command(t: Test, args: string[], until: RegExp): Promise<{ child: ChildProcess; printed: string }> {
  const child = spawn(process.execPath, [join(monitoring, 'stack.ts'), ...args])
  t.teardown(() => child.kill())
  let printed = ''
  const said = new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      printed += String(chunk)
      if (until.test(printed)) resolve()
    })
  })
  child.stderr.on('data', (chunk: Buffer) => (printed += String(chunk)))
  await Promise.race([said, once(child, 'close')])
  return { child, printed }
}

t.test('only addresses are replaced in the configuration', async (t) => {
  const text = await readFile(join(monitoring, 'prometheus.yml'), 'utf8')
  const before = parse(text)
  const after = parse(localConfig(text, { api: 1, prometheus: 2, alertmanager: 3 }))
  t.same(
    after.scrape_configs.map(({ static_configs }: { static_configs: unknown }) => static_configs),
    [[{ targets: ['127.0.0.1:1'] }], [{ targets: ['127.0.0.1:2'] }], [{ targets: ['127.0.0.1:3'] }]]
  )
  t.same(after.alerting.alertmanagers[0].static_configs, [{ targets: ['127.0.0.1:3'] }])
  t.same(after.rule_files, [join(monitoring, 'recording_rules.yml'), join(monitoring, 'alert_rules.yml')])
  for (const [i, scrape] of before.scrape_configs.entries()) {
    scrape.static_configs = after.scrape_configs[i].static_configs
  }
  t.same(after, { ...before, alerting: after.alerting, rule_files: after.rule_files })
})

t.test('an address that is no service of Compose stays', async (t) => {
  const text = await readFile(join(monitoring, 'prometheus.yml'), 'utf8')
  const other = text.replace("['api:8000']", "['api:8000', 'elsewhere:1234']")
  const [first] = parse(localConfig(other, { api: 1, prometheus: 2, alertmanager: 3 })).scrape_configs
  t.same(first.static_configs, [{ targets: ['127.0.0.1:1', 'elsewhere:1234'] }])
})

t.test('programs are found on the PATH, or by their path', async (t) => {
  t.match(findProgram('no-such-program', 'sh'), /\/sh$/)
  t.equal(findProgram(process.execPath), process.execPath)
  t.equal(findProgram('no-such-program', '/no/such/program'), undefined)
})

t.test('a missing program is named with its package', async (t) => {
  const ports = { api: 0, prometheus: 0, alertmanager: 0 }
  const message = 'Prometheus and Alertmanager are needed: on Debian, apt install prometheus prometheus-alertmanager'
  await t.rejects(startStack({ ports, prometheus: 'no-such-program' }), { message })
  const { PATH } = process.env
  t.teardown(() => Object.assign(process.env, { PATH }))
  process.env['PATH'] = t.testdir()
  await t.rejects(startStack({ ports }), { message })
})

t.test('the command prints where everything is, and Ctrl-C stops it all', async (t) => {
  const [api, prometheus, alertmanager] = (await freePorts(3)).map(String) as [string, string, string]
  const program = await standIn(t)
  const ports = ['--port', api, '--prometheus-port', prometheus, '--alertmanager-port', alertmanager]
  const before = await leftovers()
  const { child, printed } = await command(
    t,
    [...ports, '--prometheus', program, '--alertmanager', program, '--verbose'],
    /Ctrl-C/
  )
  for (const port of [api, prometheus, alertmanager]) t.match(printed, `http://127.0.0.1:${port}`)
  const guide = await readFile(join(monitoring, '../docs/monitoring.md'), 'utf8')
  const [docker] = /docker compose up [\w -]+/.exec(printed)!
  t.ok(guide.includes(`\n${docker}\n`), `${docker}: as in the guide`)
  t.match(printed, /^prometheus +.*Server is ready to receive web requests/m, 'and what they say, if asked for')
  t.equal((await fetch(`http://127.0.0.1:${api}/health/ready`)).status, 200)
  child.kill('SIGINT')
  const [code] = await once(child, 'close')
  t.equal(code, 0)
  for (const port of [api, prometheus, alertmanager]) await t.rejects(fetch(`http://127.0.0.1:${port}`))
  t.same(await leftovers(), before)
})

t.test('when one does not start it says why, and nothing stays behind', async (t) => {
  const busy = createServer().listen(0, '127.0.0.1')
  await once(busy, 'listening')
  t.teardown(() => busy.close())
  const { port } = busy.address() as { port: number }
  const [api = 0, alertmanager = 0] = await freePorts(2)
  const before = await leftovers()
  const program = await standIn(t)
  const options = { prometheus: program, alertmanager: program, env: { LOG_LEVEL: 'silent' } }
  await t.rejects(startStack({ ...options, ports: { api, alertmanager, prometheus: port } }), {
    message: /^prometheus has ended \(1\)[^]*address already in use/
  })
  await t.rejects(fetch(`http://127.0.0.1:${api}`))
  t.same(await leftovers(), before)
})

t.test('when one does not get ready in time, all are stopped', async (t) => {
  const program = join(
    t.testdir({ 'mute.cjs': `#!${process.execPath}\nsetInterval(() => undefined, 1000)` }),
    'mute.cjs'
  )
  await chmod(program, 0o755)
  const [api = 0, alertmanager = 0, prometheus = 0] = await freePorts(3)
  const options = { prometheus: program, alertmanager: program, env: { LOG_LEVEL: 'silent' }, patience: 15_000 }
  await t.rejects(startStack({ ...options, ports: { api, alertmanager, prometheus } }), {
    message: `http://127.0.0.1:${alertmanager}/-/ready does not answer after 15 s`
  })
  await t.rejects(fetch(`http://127.0.0.1:${api}`))
  t.same(await leftovers(), [])
})

t.test('a port that is taken is named, in one line, with the option that chooses another', async (t) => {
  const busy = createServer().listen(0, '127.0.0.1')
  await once(busy, 'listening')
  t.teardown(() => busy.close())
  const { port } = busy.address() as { port: number }
  const free = (await freePorts(3)).map(String)
  const program = await standIn(t)
  const options = ['--port', '--prometheus-port', '--alertmanager-port']
  for (const option of options) {
    const ports = options.flatMap((other, i) => [other, other === option ? String(port) : free[i]!])
    const { child, printed } = await command(
      t,
      [...ports, '--prometheus', program, '--alertmanager', program],
      /Ctrl-C/
    )
    t.equal(printed, `Port ${port} is not free (EADDRINUSE): ${option} N chooses another one\n`)
    t.equal(child.exitCode, 1)
  }
  const same = ['--port', free[0]!, '--alertmanager-port', free[0]!, '--prometheus', program, '--alertmanager', program]
  const { printed } = await command(t, same, /Ctrl-C/)
  t.equal(printed, `Port ${free[0]} is meant for two: --alertmanager-port N chooses another one\n`)
  t.same(await leftovers(), [])
})

t.test('the command says in one line which program is missing', async (t) => {
  const [api, prometheus, alertmanager] = (await freePorts(3)).map(String) as [string, string, string]
  const ports = ['--port', api, '--prometheus-port', prometheus, '--alertmanager-port', alertmanager]
  const { child, printed } = await command(t, [...ports, '--prometheus', 'no-such-program'], /never/)
  t.match(printed, /^Prometheus and Alertmanager are needed: [^\n]+\n$/)
  t.equal(child.exitCode, 1)
})

t.test('when one ends, all end', async (t) => {
  const [api, prometheus, alertmanager] = (await freePorts(3)).map(String) as [string, string, string]
  const program = await standIn(t)
  const ports = ['--port', api, '--prometheus-port', prometheus, '--alertmanager-port', alertmanager]
  const { child } = await command(t, [...ports, '--prometheus', program, '--alertmanager', program], /Ctrl-C/)
  let printed = ''
  child.stdout!.on('data', (chunk: Buffer) => (printed += String(chunk)))
  const reply = await fetch(`http://127.0.0.1:${alertmanager}`)
  process.kill(Number((await reply.text()).split(' ')[1]), 'SIGKILL')
  const [code] = await once(child, 'close')
  t.equal(code, 1)
  t.match(printed, /^alertmanager has ended \(SIGKILL\)/)
  await t.rejects(fetch(`http://127.0.0.1:${api}`))
})

t.test('help', async (t) => {
  const { printed } = await command(t, ['--help'], /never/)
  t.match(printed, /^npm run stack -- \[options\]/)
})

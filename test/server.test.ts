import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'

interface Service {
  url: string
  child: ChildProcess
  /** Everything that was printed so far, on stdout and on stderr. */
  output: () => string
  exit: Promise<number | null>
}

/** Starts the real server in a process of its own, on a free port; `prelude` is code that runs there before it. */
function spawnServer(t: Test, env: Record<string, string>, prelude = ''): Omit<Service, 'url'> {
  const script = join(import.meta.dirname, '../server.ts')
  const child = spawn(process.execPath, ['--import', `data:text/javascript,${prelude}`, script], {
    env: { ...process.env, PORT: '0', LOG_LEVEL: 'info', ...env }
  })
  t.teardown(() => child.kill('SIGKILL'))
  let printed = ''
  child.stdout.on('data', (chunk) => (printed += String(chunk)))
  child.stderr.on('data', (chunk) => (printed += String(chunk)))
  return { child, output: () => printed, exit: once(child, 'close').then(([code]) => code as number | null) }
}

async function start(t: Test, env: Record<string, string> = {}, prelude = ''): Promise<Service> {
  const service = spawnServer(t, env, prelude)
  for (;;) {
    const url = /Server listening at (http:[^"]+)/.exec(service.output())?.[1]
    if (url !== undefined) return { ...service, url }
    if (service.child.exitCode !== null) throw new Error(`the server has stopped: ${service.output()}`)
    await Promise.race([once(service.child.stdout!, 'data'), service.exit])
  }
}

t.test('wrong settings: every one is named on stderr, and the exit code is 1', async (t) => {
  const { exit, output } = spawnServer(t, { PORT: 'x', RATE_LIMIT_RPM: '0' })
  t.equal(await exit, 1)
  t.match(
    output(),
    'TF_ERR_CONFIG: Invalid configuration:\n  PORT=x must be integer\n  RATE_LIMIT_RPM=0 must be >= 1\n'
  )
})

t.test('a boot that fails says its code, and the exit code is 1', async (t) => {
  const { exit, output } = spawnServer(t, { MODEL_DIR: '/nowhere' })
  t.equal(await exit, 1)
  t.match(output(), /^TF_ERR_MODEL_REPOSITORY: Model repository: ENOENT/m)
})

t.test('a port that is taken says so', async (t) => {
  const { url } = await start(t)
  const second = spawnServer(t, { PORT: new URL(url).port })
  t.equal(await second.exit, 1)
  t.match(second.output(), /^EADDRINUSE: listen EADDRINUSE/m)
})

t.test('an error that nobody thought of ends the boot with its stack', async (t) => {
  const prelude = "process.cwd = () => { throw new TypeError('no cwd') }"
  const { exit, output } = spawnServer(t, { MODEL_DIR: 'models' }, prelude)
  t.equal(await exit, 1)
  t.match(output(), /TypeError: no cwd\n +at /)
})

t.test('an uncaught error is logged, the service closed, and the exit code is 1', async (t) => {
  const prelude = "process.on('SIGUSR2', () => { throw new Error('boom') })"
  const { child, exit, output } = await start(t, {}, prelude)
  child.kill('SIGUSR2')
  t.equal(await exit, 1)
  t.match(output(), /"level":60.*"message":"boom".*"msg":"stopping on an error"/)
  t.match(output(), /"msg":"stopped"/)
})

t.test('SIGTERM: not ready, still answering and scraped, then done with exit code 0', async (t) => {
  const { url, child, exit } = await start(t, { SHUTDOWN_DELAY_SECONDS: '5' })
  t.equal((await fetch(`${url}/health/ready`)).status, 200)
  child.kill('SIGTERM')
  let status = 200
  while (status === 200) status = (await fetch(`${url}/health/ready`)).status
  t.equal(status, 503)
  t.match(await (await fetch(`${url}/prometheus`)).text(), /^http_requests_total/m)
  t.equal((await fetch(`${url}/ranking?country=Japan`)).status, 200)
  t.equal(await exit, 0)
})

/** A request of which the server has the head and half of the body: it is under way, and waits. */
async function halfSent(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  socket.write(
    'POST /ticker_info_batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n["AA'
  )
  // A second request that is answered shows that the first has arrived.
  await fetch(`${url}/health/live`)
  return socket
}

t.test('SIGINT: what does not finish in time is cut off, and the exit code is 1', async (t) => {
  const { url, child, exit, output } = await start(t, { SHUTDOWN_DELAY_SECONDS: '300', SHUTDOWN_TIMEOUT_SECONDS: '1' })
  const socket = await halfSent(url)
  child.kill('SIGINT')
  t.equal(await exit, 1)
  t.match(output(), /"msg":"requests in flight did not finish in time"/)
  socket.destroy()
})

t.test('SIGINT: a request in flight is answered, then exit code 0 without the delay', async (t) => {
  const { url, child, exit } = await start(t, { SHUTDOWN_DELAY_SECONDS: '300' })
  const socket = await halfSent(url)
  child.kill('SIGINT')
  socket.write('PL"]')
  let reply = ''
  socket.on('data', (chunk) => (reply += String(chunk)))
  await once(socket, 'close')
  t.match(reply, /^HTTP\/1\.1 200 OK\r\n/)
  t.match(reply, '"ticker":"AAPL"')
  t.equal(await exit, 0)
})

import { once } from 'node:events'
import { type AddressInfo, type Server, type Socket, createServer } from 'node:net'
import { mock } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import redisPlugin from '../../plugins/redis.ts'

interface Stub {
  server: Server
  url: string
  /** What it has been asked. */
  asked: string[]
  hangUp: () => void
}

/** Speaks as much of Redis' protocol as a client asks for to be ready; `answer` says something else to a command. */
async function stub(t: Test, answer: (command: string) => string | undefined = () => undefined): Promise<Stub> {
  const sockets = new Set<Socket>()
  const asked: string[] = []
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (data) => {
      for (const command of String(data).split(/^\*/m).slice(1)) {
        const words = command.split('\r\n').filter((_, i) => i > 0 && i % 2 === 0)
        asked.push(words.join(' '))
        const name = words[0]!.toLowerCase()
        const usual = { hello: '%0', info: '$9\r\nloading:0' }[name] ?? '+OK'
        socket.write(`${answer(words.join(' ')) ?? usual}\r\n`)
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const hangUp = (): void => sockets.forEach((socket) => socket.destroy())
  t.teardown(() => {
    hangUp()
    server.close()
  })
  return { server, asked, hangUp, url: `redis://:hunter2@127.0.0.1:${(server.address() as AddressInfo).port}/3` }
}

async function build(t: Test, url: string | undefined): Promise<{ app: FastifyInstance; logs: string[] }> {
  const logs: string[] = []
  const app = Fastify({ logger: { level: 'info', stream: { write: (line: string) => void logs.push(line) } } })
  t.teardown(() => app.close())
  await app.register(redisPlugin, { url })
  await app.ready()
  return { app, logs }
}

function said(logs: string[]): object[] {
  return logs.map((line) => {
    const { level, msg, reason } = JSON.parse(line)
    return { level, msg, ...(reason !== undefined && { reason }) }
  })
}

/** `once` of node:events would reject with an error that comes first. */
async function heard(app: FastifyInstance, event: string): Promise<void> {
  await new Promise<void>((resolve) => app.redis.client!.once(event, () => resolve()))
}

const IS_THERE = { level: 30, msg: 'redis is connected' }
const IS_NOT = 'redis is not there: the service goes on without'

t.test('without a url it is not used', async (t) => {
  const { app } = await build(t, undefined)
  t.equal(app.redis.client, undefined)
  t.equal(app.redis.status, 'not_used')
})

t.test('the service starts before its connection, and each change of it is logged once', async (t) => {
  const { url, asked, hangUp } = await stub(t)
  const { app, logs } = await build(t, url)
  const client = app.redis.client!
  t.equal(app.redis.status, 'error', 'not there yet')
  await heard(app, 'ready')
  t.equal(app.redis.status, 'connected')
  t.ok(
    asked.some((command) => /hunter2/.test(command)),
    'with the password'
  )
  t.ok(asked.includes('select 3'), 'and the database')

  hangUp()
  await heard(app, 'close')
  t.equal(app.redis.status, 'error')
  await t.rejects(client.get('k'), /enableOfflineQueue/, 'nothing waits in a queue')
  await heard(app, 'ready')
  t.equal(app.redis.status, 'connected', 'it comes back by itself')
  const ended = heard(app, 'end')
  await app.close()
  await ended
  t.equal(app.redis.status, 'error')
  t.same(said(logs), [IS_THERE, { level: 40, msg: IS_NOT, reason: 'closed' }, IS_THERE])
})

t.test('a server that is not there is one line, however often it is tried', async (t) => {
  const { server, url } = await stub(t)
  server.close()
  const { app, logs } = await build(t, url)
  for (let i = 0; i < 2; i++) await heard(app, 'reconnecting')
  t.equal(app.redis.status, 'error')
  t.same(said(logs), [{ level: 40, msg: IS_NOT, reason: 'ECONNREFUSED' }])
})

t.test('no log has the password, though the server repeats the command', async (t) => {
  const { url } = await stub(t, (command) =>
    /^(hello|auth)/i.test(command)
      ? `-ERR unknown command, with args beginning with: ${command}`
      : '-NOAUTH Authentication required.'
  )
  const { app, logs } = await build(t, url)
  await heard(app, 'error')
  t.equal(app.redis.status, 'error')
  t.match(said(logs), [{ level: 40, msg: IS_NOT, reason: /^(ERR|NOAUTH)$/ }])
  t.notMatch(logs.join(''), 'hunter2')
})

t.test('a server that accepts connections and says nothing is no connection', async (t) => {
  const silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const { app, logs } = await build(t, `redis://127.0.0.1:${(silent.address() as AddressInfo).port}`)
  await heard(app, 'connect')
  t.equal(app.redis.status, 'error')
  const hungUp = heard(app, 'close')
  mock.timers.tick(2000)
  await hungUp
  t.match(said(logs), [{ level: 40, msg: IS_NOT, reason: /^Socket timeout/ }])
})

import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import errors, { clientErrorHandler } from '../../plugins/errors.ts'
import overload from '../../plugins/overload.ts'

async function build(t: Test, maxEventLoopDelay: number, onShed = (): void => undefined): Promise<FastifyInstance> {
  const app = Fastify({ clientErrorHandler })
  t.teardown(() => app.close())
  await app.register(errors)
  await app.register(overload, { maxEventLoopDelay, exempt: ['/health'], sampleInterval: 100, onShed })
  app.get('/work', async () => 'ok')
  app.get('/health/ready', async () => 'ok')
  await app.ready()
  return app
}

/** Keeps the event loop busy, and then lets a sample be taken of how late it was. */
async function block(milliseconds: number): Promise<void> {
  const until = performance.now() + milliseconds
  while (performance.now() < until);
  await sleep(0)
}

t.test(
  'while the event loop is late, requests are refused with Retry-After, and those who watch are answered',
  async (t) => {
    let shed = 0
    const app = await build(t, 50, () => shed++)
    t.equal((await app.inject('/work')).statusCode, 200)
    let refused = await app.inject('/work')
    while (refused.statusCode === 200) {
      await block(1000)
      // The delay that was measured is in this sample or in the next.
      for (let i = 0; i < 50 && refused.statusCode === 200; i++) {
        await sleep(2)
        refused = await app.inject('/work')
      }
    }
    t.match(refused.json(), { status: 503, code: 'TF_ERR_OVERLOADED', title: 'Service Unavailable' })
    t.equal(refused.headers['retry-after'], '5')
    t.equal(shed, 1)
    t.equal((await app.inject('/nowhere')).statusCode, 503)
    t.equal(shed, 2)
    t.equal((await app.inject('/health/ready')).statusCode, 200)
    while ((await app.inject('/work')).statusCode !== 200) await sleep(20)
    t.pass('and once it keeps up again, they are answered')
  }
)

t.test('a limit of 0 sheds nothing', async (t) => {
  const app = await build(t, 0)
  for (let i = 0; i < 5; i++) {
    await block(100)
    t.equal((await app.inject('/work')).statusCode, 200)
  }
})

t.test('a connection may have a bounded number of requests under way, and is closed beyond', async (t) => {
  const app = await build(t, 0)
  const seen: unknown[] = []
  app.server.on('clientError', (error: NodeJS.ErrnoException) => seen.push(error.code))
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const send = async (requests: number, before = ''): Promise<string> => {
    const socket = connect(port, '127.0.0.1')
    let replies = ''
    socket.on('data', (chunk) => (replies += String(chunk)))
    socket.on('error', () => {})
    const last = 'GET /work HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    socket.write(before)
    if (before !== '') await once(socket, 'data')
    socket.write('GET /work HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(requests - 1) + last)
    await once(socket, 'close')
    return replies
  }
  t.equal((await send(128)).match(/200 OK/g)?.length, 128)
  t.same(seen, [])
  await send(1000)
  t.same(seen, ['TF_ERR_OVERLOADED_CONNECTION'])
  await send(1000, 'GET /work HTTP/1.1\r\nHost: x\r\nExpect: nothing\r\n\r\n')
  t.equal(seen.length, 2, 'also after a request that was refused before it was counted')
})

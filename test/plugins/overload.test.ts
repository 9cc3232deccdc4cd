import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import errors from '../../plugins/errors.ts'
import overload from '../../plugins/overload.ts'

async function build(t: Test, maxEventLoopDelay: number): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(errors)
  await app.register(overload, { maxEventLoopDelay, exempt: ['/health'], sampleInterval: 20 })
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
    const app = await build(t, 50)
    t.equal((await app.inject('/work')).statusCode, 200)
    await block(500)
    const refused = await app.inject('/work')
    t.match(refused.json(), { status: 503, code: 'TF_ERR_OVERLOADED', title: 'Service Unavailable' })
    t.equal(refused.headers['retry-after'], '5')
    t.equal((await app.inject('/nowhere')).statusCode, 503)
    t.equal((await app.inject('/health/ready')).statusCode, 200)
    while ((await app.inject('/work')).statusCode !== 200) await sleep(20)
    t.pass('and once it keeps up again, they are answered')
  }
)

t.test('a limit of 0 sheds nothing', async (t) => {
  const app = await build(t, 0)
  await block(500)
  t.equal((await app.inject('/work')).statusCode, 200)
})

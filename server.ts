/** The process: configuration, listening, signals. */
import { setFlagsFromString } from 'node:v8'
import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import { buildApp } from './app.ts'
import { loadConfig } from './config.ts'

/** Says what is wrong with the settings or the folders on stderr and exits with 1; any other error is thrown on, with its stack. */
function fail(error: NodeJS.ErrnoException): never {
  if (error.code === undefined) throw error
  process.stderr.write(`${error.code}: ${error.message}\n`)
  process.exit(1)
}

/** Closes the app; what is still in flight when the time is over ends with the process, and exit code 1. */
async function closeWithin(app: FastifyInstance, seconds: number): Promise<void> {
  const late = setTimeout(() => {
    app.log.error({ seconds }, 'requests in flight did not finish in time')
    process.exit(1)
  }, seconds * 1000)
  await app.close()
  clearTimeout(late)
}

/**
 * V8 learns where long-lived objects are made, and makes them in the old heap from then on. At a few hundred requests in flight
 * it takes requests for such; from then on all that a request refers to grows old with it, and each costs a fifth more
 * (docs/performance.md).
 */
function tuneHeap(): void {
  setFlagsFromString('--no-allocation-site-pretenuring')
}

async function start(): Promise<void> {
  tuneHeap()
  const config = loadConfig(process.env)
  const app = await buildApp(config)

  // No delay of its own: how long closing may take depends on the signal.
  closeWithGrace({ delay: false, logger: app.log }, async ({ signal, err }) => {
    if (err) app.log.fatal({ err }, 'stopping on an error')
    app.health.drain()
    if (signal === 'SIGTERM') {
      app.log.info({ seconds: config.SHUTDOWN_DELAY_SECONDS }, 'not ready any more, still answering')
      await new Promise((resolve) => setTimeout(resolve, config.SHUTDOWN_DELAY_SECONDS * 1000))
    }
    await closeWithin(app, config.SHUTDOWN_TIMEOUT_SECONDS)
    app.log.info('stopped')
  })

  await app.listen({ host: config.HOST, port: config.PORT })
}

await start().catch(fail)

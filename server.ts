/** The process: configuration, listening, signals. */
import closeWithGrace from 'close-with-grace'
import { buildApp } from './app.ts'
import { loadConfig } from './config.ts'

/** Says what is wrong with the settings or the folders on stderr and exits with 1; any other error is thrown on, with its stack. */
function fail(error: NodeJS.ErrnoException): never {
  if (error.code === undefined) throw error
  process.stderr.write(`${error.code}: ${error.message}\n`)
  process.exit(1)
}

async function start(): Promise<void> {
  const config = loadConfig(process.env)
  const app = await buildApp(config)
  const delay = (config.SHUTDOWN_DELAY_SECONDS + config.SHUTDOWN_TIMEOUT_SECONDS) * 1000

  closeWithGrace({ delay, logger: app.log }, async ({ signal, err }) => {
    if (err) app.log.fatal({ err }, 'stopping on an error')
    app.health.drain()
    if (signal === 'SIGTERM') {
      app.log.info({ seconds: config.SHUTDOWN_DELAY_SECONDS }, 'not ready any more, still answering')
      await new Promise((resolve) => setTimeout(resolve, config.SHUTDOWN_DELAY_SECONDS * 1000))
    }
    await app.close()
    app.log.info('stopped')
  })

  await app.listen({ host: config.HOST, port: config.PORT })
}

await start().catch(fail)

/** The process: configuration, listening, signals. */
import closeWithGrace from 'close-with-grace'
import { buildApp } from './app.ts'
import { ConfigError, loadConfig } from './config.ts'

/** Says why on stderr and exits with 1. */
function fail(error: unknown): never {
  const known = error instanceof ConfigError || (error instanceof Error && 'code' in error)
  process.stderr.write(
    `${known ? `${String(error.code)}: ${error.message}` : error instanceof Error ? error.stack : String(error)}\n`
  )
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

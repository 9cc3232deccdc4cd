/** The table of contents: which plugins there are, how they are wired to each other, which routes there are. */
import { hash, randomUUID } from 'node:crypto'
import cors from '@fastify/cors'
import swaggerUi from '@fastify/swagger-ui'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Config } from './config.ts'
import type { CoinSource } from './domain/coins.ts'
import { FEATURES } from './domain/features.ts'
import type { MarketSource } from './domain/market.ts'
import { OLD_MODEL_DAYS, RANKING_MODEL } from './domain/ranking.ts'
import { CACHE_TYPES } from './monitoring/catalogue.ts'
import { createMeters } from './monitoring/meters.ts'
import { details, overview } from './monitoring/panels.ts'
import pkg from './package.json' with { type: 'json' }
import analyst from './plugins/analyst.ts'
import cache from './plugins/cache/index.ts'
import coins from './plugins/coins.ts'
import drift from './plugins/drift.ts'
import errors, { clientErrorHandler, frameworkErrors, notFound } from './plugins/errors.ts'
import health from './plugins/health.ts'
import market from './plugins/market.ts'
import metrics from './plugins/metrics/index.ts'
import model, { type Manifest, type OpenSession, tensorsOf } from './plugins/model/index.ts'
import openapi from './plugins/openapi.ts'
import overload from './plugins/overload.ts'
import pageHeaders from './plugins/page-headers.ts'
import ranking from './plugins/ranking.ts'
import rateLimit from './plugins/rate-limit/index.ts'
import redis from './plugins/redis.ts'
import validation from './plugins/validation.ts'
import { type Context, openAnalyst, openCoinSource, openMarketSource } from './providers.ts'
import analysisRoutes from './routes/analysis.ts'
import cryptoRoutes from './routes/crypto.ts'
import healthRoutes from './routes/health.ts'
import indexRoutes from './routes/index.ts'
import metricsRoutes from './routes/metrics.ts'
import modelsRoutes from './routes/models.ts'
import predictionsRoutes from './routes/predictions.ts'
import rankingRoutes from './routes/ranking.ts'
import tickersRoutes from './routes/tickers.ts'

/** What tests and the server replace. */
export interface Overrides {
  logger?: FastifyServerOptions['logger']
  /** Instead of the configured source. */
  source?: MarketSource
  /** Instead of the configured source of coins. */
  coinSource?: CoinSource
  /** Instead of onnxruntime-node. */
  openSession?: OpenSession
  /** The clock. */
  now?: () => Date
}

const NAME = 'Trading Fun API'
const SIMULATED =
  'Prices are invented by a seeded simulator: rankings mean nothing. Requests, times and errors are real.'
/** What helps if no model fits prices of this kind. */
const ADVICE = {
  simulated: 'Train one: npm run train; or set MARKET_SOURCE to csv or yahoo.',
  historical: 'Train one: npm run train -- --data DIR --out models; or set ALLOW_SIMULATED_MODEL=1.'
}
const MEBIBYTE = 1024 * 1024
const DAY = 86_400_000

/**
 * The whole service, ready to `inject` or `listen`. What it opened is closed again if the boot fails.
 * @throws the coded error of the plugin that could not start
 */
export async function buildApp(config: Config, overrides: Overrides = {}): Promise<FastifyInstance> {
  const app = Fastify({
    logger: overrides.logger ?? { level: config.LOG_LEVEL },
    genReqId: () => randomUUID(),
    bodyLimit: MEBIBYTE,
    // An empty list trusts nobody. Hop counts and `true` are not offered: the one hides clients, the other believes anyone.
    trustProxy: [...config.TRUST_PROXY],
    // Requests that come in while the service closes are still answered, like those in flight.
    return503OnClosing: false,
    // Who reads no reply and sends nothing is cut off; longer than an idle connection is kept.
    connectionTimeout: 80_000,
    requestTimeout: 10_000,
    // Node looks for late headers and bodies every 30 s by default, so that its deadlines come up to 30 s late.
    http: { headersTimeout: 9000, connectionsCheckingInterval: 1000, requireHostHeader: false },
    frameworkErrors,
    clientErrorHandler
  })
  try {
    await assemble(app, config, overrides)
    await app.ready()
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}

async function assemble(app: FastifyInstance, config: Config, overrides: Overrides): Promise<void> {
  const { now = () => new Date() } = overrides
  const clock = (): number => now().getTime()
  await app.register(errors)
  // Before all routes: those that are registered earlier are not counted.
  await app.register(metrics, {
    endpoint: '/prometheus',
    dashboard: {
      title: `${NAME} - Performance Monitoring`,
      rows: [overview, ...details],
      links: { Start: '/', Documentation: '/docs' },
      notice: () => (source.kind === 'simulated' ? SIMULATED : undefined)
    },
    ...(config.METRICS_TOKEN !== undefined && { token: config.METRICS_TOKEN })
  })
  const meters = createMeters(app.metrics)
  const context: Context = { app, config, now, meters }
  const source = overrides.source ?? (await openMarketSource(context))

  await app.register(overload, {
    maxEventLoopDelay: config.MAX_EVENT_LOOP_DELAY_MS,
    exempt: ['/prometheus', '/metrics', '/dashboard', '/health', '/v2/health'],
    ...meters.overload
  })
  await app.register(validation)
  // All bodies are JSON.
  app.removeContentTypeParser('text/plain')
  await app.register(cors, {
    // A bare OPTIONS is a request to a route that does not exist, like any other.
    strictPreflight: false,
    origin: config.CORS_ORIGINS.includes('*') ? '*' : config.CORS_ORIGINS,
    exposedHeaders: ['x-request-id', 'retry-after', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset']
  })
  await app.register(openapi, { title: NAME, description: pkg.description, version: pkg.version, tags: TAGS })
  // Before those who use it, so that it closes after them.
  await app.register(redis, { url: config.REDIS_URL })
  await app.register(rateLimit, {
    ...(app.redis.client && { redis: app.redis.client }),
    max: config.RATE_LIMIT_RPM,
    exempt: ['/docs', '/dashboard', '/landing'],
    onStoreFailure: config.RATE_LIMIT_STORE_FAILURE,
    ...meters.rateLimit
  })
  // Limited too: guessing urls must not be free.
  app.setNotFoundHandler({ preHandler: app.rateLimit() }, notFound)
  await app.register(cache, {
    types: [...CACHE_TYPES],
    maxBytes: config.CACHE_MAX_BYTES,
    redis: app.redis.client,
    redisPrefix: `trading-fun:${fingerprint(config)}:`,
    redisTimeout: config.REDIS_TIMEOUT_MS,
    // Otherwise a clock that never goes back.
    ...(overrides.now && { now: clock, wallClock: clock }),
    onTierState: (state) => app.log.info({ state }, 'second tier of the cache'),
    ...meters.cache
  })
  await app.register(market, { source, ...meters.market })
  await app.register(coins, {
    source: overrides.coinSource ?? openCoinSource(context),
    ttl: config.COINS_TTL_SECONDS * 1000,
    ...meters.coins
  })
  await app.register(model, {
    repository: config.MODEL_DIR,
    ...(config.MODEL_VERSION !== undefined && { versionPolicy: { [RANKING_MODEL]: { pinned: config.MODEL_VERSION } } }),
    refuse: (manifest) => refusal(manifest, source, config),
    advice: ADVICE[source.kind],
    ...(config.MODEL_CONTROL_TOKEN !== undefined && { token: config.MODEL_CONTROL_TOKEN }),
    // A request may hold many rows.
    inferenceProtocol: { name: NAME, version: pkg.version, config: { quota: { weight: 2, atLeast: 8 } } },
    isReady: () => app.health.failing().length === 0,
    ...(overrides.openSession && { openSession: overrides.openSession }),
    ...meters.model
  })
  warnOfAge(app, clock())
  await app.register(drift)
  await app.register(ranking, {
    ttl: config.RANKING_TTL_SECONDS * 1000,
    minCoverage: config.RANKING_MIN_COVERAGE_PERCENT / 100,
    now,
    onScored: (manifest, rows, missing) => app.drift.observe(manifest, rows, missing),
    ...meters.ranking
  })
  await app.register(analyst, {
    source: openAnalyst(context),
    ttl: config.ANALYSIS_TTL_SECONDS * 1000,
    ...meters.analyst
  })
  await app.register(health, { checks: { model: () => app.model.find(RANKING_MODEL) !== undefined } })
  meters.watch(app, { service: pkg.name, version: pkg.version }, now)

  const about = { name: NAME, version: pkg.version, description: pkg.description }
  // In a scope of their own: twelve headers cost as much as a whole small reply, and data has no use for them.
  await app.register(async (pages) => {
    await pages.register(pageHeaders)
    await pages.register(indexRoutes, about)
  })
  await app.register(async (pages) => {
    await pages.register(pageHeaders, { inlineStyles: true })
    await pages.register(swaggerUi, { routePrefix: '/docs', logLevel: 'warn' })
  })
  await app.register(predictionsRoutes)
  await app.register(rankingRoutes)
  await app.register(tickersRoutes, { ttl: config.QUOTE_TTL_SECONDS * 1000 })
  await app.register(cryptoRoutes)
  await app.register(analysisRoutes)
  await app.register(modelsRoutes)
  await app.register(healthRoutes)
  await app.register(metricsRoutes, { requestsPerMinute: config.RATE_LIMIT_RPM })
}

/** Of what cached values depend on besides their keys: services that differ in it never share a value. */
function fingerprint(config: Config): string {
  const { MARKET_SOURCE, MARKET_DATA_DIR, YAHOO_ORIGIN, SIMULATION_SEED, RANKING_MIN_COVERAGE_PERCENT } = config
  const ofMarket = [MARKET_SOURCE, MARKET_DATA_DIR, YAHOO_ORIGIN, SIMULATION_SEED, RANKING_MIN_COVERAGE_PERCENT]
  const ofCoins = [config.COIN_SOURCE, config.COINGECKO_PLAN, config.COINGECKO_ORIGIN]
  return hash('sha256', JSON.stringify([pkg.version, ofMarket, ofCoins])).slice(0, 12)
}

/** What a model was trained on must be what it is given: these features, in this order, of prices of the same kind. */
function refusal(manifest: Manifest, source: MarketSource, config: Config): string | undefined {
  const names = manifest.features.map(({ name }) => name)
  if (names.join() !== FEATURES.map(({ name }) => name).join()) return 'has other features than this service computes'
  const roles = tensorsOf(manifest).outputs.map(({ role }) => role)
  if (!roles.includes('probability')) return 'answers no probability'
  if (manifest.horizon_days === undefined || manifest.source === undefined) return 'says no horizon_days, or no source'
  if (manifest.source === source.kind) return undefined
  if (source.kind === 'historical' && config.ALLOW_SIMULATED_MODEL) return undefined
  return `was trained on ${manifest.source} prices, and MARKET_SOURCE=${source.name} has ${source.kind} ones`
}

/** An invented market does not change: only what learned from real prices grows old. */
function warnOfAge(app: FastifyInstance, now: number): void {
  const manifest = app.model.find(RANKING_MODEL)?.manifest
  if (manifest?.source !== 'historical') return
  const days = Math.floor((now - Date.parse(manifest.trained_at)) / DAY)
  if (days > OLD_MODEL_DAYS) {
    const { version, trained_at } = manifest
    app.log.warn({ version, trained_at, days }, 'the model learned from prices of long ago: train one on newer ones')
  }
}

const TAGS = [
  { name: 'rankings', description: 'Universes and their order' },
  { name: 'predictions', description: 'One stock, or one feature vector' },
  { name: 'inference', description: 'The model by the Open Inference Protocol v2' },
  { name: 'tickers', description: 'Names, prices and ranges' },
  { name: 'crypto', description: 'Coins, and their momentum' },
  { name: 'analysis', description: 'Rankings explained by a language model' },
  { name: 'models', description: 'What predicts, and what it is worth' },
  { name: 'operations', description: 'Health, metrics, self-description' }
]

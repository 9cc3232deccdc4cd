/** Opens what the configuration names: the source of prices, that of coins, and the language model. */
import type { FastifyInstance } from 'fastify'
import type { Config } from './config.ts'
import type { AnalystSource } from './domain/analysis.ts'
import type { CoinSource } from './domain/coins.ts'
import type { MarketSource } from './domain/market.ts'
import type { Meters } from './monitoring/meters.ts'
import pkg from './package.json' with { type: 'json' }
import { COINGECKO_PLANS, coingeckoSource } from './sources/coingecko.ts'
import { openCsvSource } from './sources/csv.ts'
import { openaiSource } from './sources/openai.ts'
import { createQuota } from './sources/quota.ts'
import { simulatedCoinSource } from './sources/simulated-coins.ts'
import { simulatedSource } from './sources/simulated.ts'
import { type Upstream, type UpstreamOptions, createUpstream } from './sources/upstream.ts'
import { yahooSource } from './sources/yahoo.ts'

/** One request in so many of CoinGecko's quota is kept for the list of all coins. */
const COIN_LIST_SHARE = 5
/** Bytes of an answer of the language model. */
const MAX_ANALYSIS_BYTES = 1024 * 1024

/** What a provider needs of the service that opens it. */
export interface Context {
  app: FastifyInstance
  config: Config
  now: () => Date
  meters: Meters
}

/** A way out that is measured, says who asks, and closes with the service. */
function connect({ app, meters }: Context, { headers, ...options }: UpstreamOptions): Upstream {
  const upstream = createUpstream({
    ...options,
    headers: { 'user-agent': `${pkg.name}/${pkg.version}`, ...headers },
    ...meters.upstream(options.name)
  })
  app.addHook('onClose', async () => upstream.close())
  return upstream
}

/** The market. @throws if the folder of prices can't be read */
export async function openMarketSource(context: Context): Promise<MarketSource> {
  const { app, config, now } = context
  if (config.MARKET_SOURCE === 'simulated') {
    app.log.warn({ seed: config.SIMULATION_SEED }, 'prices are simulated: set MARKET_SOURCE for real ones')
    return simulatedSource({ seed: config.SIMULATION_SEED, now })
  }
  if (config.MARKET_SOURCE === 'yahoo') {
    return yahooSource({ upstream: connect(context, { name: 'yahoo', origin: config.YAHOO_ORIGIN }), now })
  }
  return openCsvSource({
    directory: config.MARKET_DATA_DIR!,
    now,
    log: (report) => app.log.warn(report, 'rows of a price file were dropped')
  })
}

/** The coins. */
export function openCoinSource(context: Context): CoinSource {
  const { app, config, now } = context
  if (config.COIN_SOURCE === 'simulated') {
    app.log.warn({ seed: config.SIMULATION_SEED }, 'coins are simulated: set COIN_SOURCE for real ones')
    return simulatedCoinSource({ seed: config.SIMULATION_SEED, now })
  }
  const { origin, header } = COINGECKO_PLANS[config.COINGECKO_PLAN]
  const upstream = connect(context, {
    name: 'coingecko',
    origin: config.COINGECKO_ORIGIN ?? origin,
    headers: config.COINGECKO_API_KEY === undefined ? {} : { [header]: config.COINGECKO_API_KEY },
    quota: createQuota(config.COINGECKO_RPM)
  })
  return coingeckoSource({ upstream, reserve: Math.ceil(config.COINGECKO_RPM / COIN_LIST_SHARE) })
}

/** The language model; undefined: none is configured. A server of one's own needs no key. */
export function openAnalyst(context: Context): AnalystSource | undefined {
  const { OPENAI_API_KEY: key, OPENAI_BASE_URL: baseUrl, OPENAI_MODEL: model, ...config } = context.config
  const { origin, hostname } = new URL(baseUrl)
  if (key === undefined && hostname === 'api.openai.com') return undefined
  const timeout = config.OPENAI_TIMEOUT_SECONDS * 1000
  const upstream = connect(context, {
    name: 'openai',
    origin,
    headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
    concurrency: 4,
    maxPending: 32,
    deadline: timeout,
    attemptTimeout: timeout,
    maxBytes: MAX_ANALYSIS_BYTES
  })
  return openaiSource({ upstream, baseUrl, model, timeout })
}

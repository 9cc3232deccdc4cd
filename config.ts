/**
 * The environment as a frozen object. The only reader of `process.env`: every setting of the service is declared here, with
 * its bounds, default and meaning; the README's table and .env.example are made from it.
 */
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { type Static, type TUnsafe, Type } from '@sinclair/typebox'
import { Ajv, type ErrorObject } from 'ajv'

function oneOf<const V extends readonly string[]>(values: V, options: object): TUnsafe<V[number]> {
  return Type.Unsafe<V[number]>({ type: 'string', enum: values, ...options })
}

/** Settings by the name of their environment variable. */
export const ConfigSchema = Type.Object(
  {
    HOST: Type.String({ default: '127.0.0.1', minLength: 1, description: 'Address to listen on; `0.0.0.0` for all.' }),
    PORT: Type.Integer({
      default: 8000,
      minimum: 0,
      maximum: 65_535,
      description: 'Port to listen on; 0 takes a free one.'
    }),
    LOG_LEVEL: oneOf(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
      default: 'info',
      description: 'Least severity that is logged.'
    }),
    CORS_ORIGINS: Type.Array(Type.String({ pattern: '^(https?://[^/\\s]+|\\*|null)$' }), {
      default: ['http://localhost:3000', 'http://localhost:5173', 'http://localhost:5174'],
      description: 'Comma-separated origins whose pages may call the API; `*` for all.'
    }),
    MARKET_SOURCE: oneOf(['simulated', 'csv', 'yahoo'], {
      default: 'simulated',
      description:
        '`simulated`: the embedded market. `csv`: a folder of real prices. `yahoo`: Yahoo Finance, over the network.'
    }),
    MARKET_DATA_DIR: Type.Optional(
      Type.String({ minLength: 1, description: 'Folder of `<MARKET>/<TICKER>.csv` for `MARKET_SOURCE=csv`.' })
    ),
    YAHOO_ORIGIN: Type.String({
      default: 'https://query1.finance.yahoo.com',
      pattern: '^https?://[^/\\s]+$',
      description: 'Where `MARKET_SOURCE=yahoo` asks: Yahoo itself, or a proxy of your own.'
    }),
    COIN_SOURCE: oneOf(['simulated', 'coingecko'], {
      default: 'simulated',
      description: '`simulated`: 250 invented markets of real coins. `coingecko`: CoinGecko, over the network.'
    }),
    COINGECKO_PLAN: oneOf(['demo', 'pro'], {
      default: 'demo',
      description: 'Whose API and key: `demo` also without a key, `pro` needs one.'
    }),
    COINGECKO_API_KEY: Type.Optional(
      Type.String({
        pattern: '^[\\x21-\\x7e]+$',
        maxLength: 200,
        secret: true,
        description: 'Key of the plan; it is sent in a header and shown nowhere.'
      })
    ),
    COINGECKO_ORIGIN: Type.Optional(
      Type.String({
        pattern: '^https?://[^/\\s]+$',
        description: "Where `COIN_SOURCE=coingecko` asks instead of the plan's own address: a proxy of yours."
      })
    ),
    COINGECKO_RPM: Type.Integer({
      default: 10,
      minimum: 1,
      maximum: 1000,
      description: 'Requests a minute that CoinGecko is asked at most, retries too: no more than the plan allows.'
    }),
    COINS_TTL_SECONDS: Type.Integer({
      default: 60,
      minimum: 0,
      maximum: 86_400,
      description: 'How long coins are served from the cache; 0 asks the source for every request.'
    }),
    OPENAI_API_KEY: Type.Optional(
      Type.String({
        pattern: '^[\\x21-\\x7e]+$',
        maxLength: 500,
        secret: true,
        description: 'Key of the language model that explains rankings; it is sent in a header and shown nowhere.'
      })
    ),
    OPENAI_BASE_URL: Type.String({
      default: 'https://api.openai.com/v1',
      pattern: '^https?://[^\\s?#@]+$',
      description:
        'Where the language model is: OpenAI, or any compatible server. Without OPENAI_API_KEY `/analyze` is off, unless this is not OpenAI.'
    }),
    OPENAI_MODEL: Type.String({
      default: 'gpt-4o-mini',
      pattern: '^\\S+$',
      maxLength: 200,
      description: 'Name of the language model, as its server knows it.'
    }),
    OPENAI_TIMEOUT_SECONDS: Type.Integer({
      default: 30,
      minimum: 1,
      maximum: 70,
      description: 'How long the language model may take, with retries.'
    }),
    ANALYSIS_TTL_SECONDS: Type.Integer({
      default: 300,
      minimum: 0,
      maximum: 86_400,
      description: 'How long an analysis is served from the cache; 0 asks the language model for every request.'
    }),
    SIMULATION_SEED: Type.Integer({
      default: 1,
      minimum: 0,
      maximum: 4_294_967_295,
      description: 'Which simulated market; the same seed gives the same prices for the same day.'
    }),
    MODEL_DIR: Type.String({ default: 'models', minLength: 1, description: 'The model repository.' }),
    MODEL_VERSION: Type.Optional(
      Type.String({
        pattern: '^[1-9][0-9]{0,8}$',
        description:
          'Number of the version that is served from the start, so that a rollback outlasts a restart; without one the newest that fits the prices.'
      })
    ),
    ALLOW_SIMULATED_MODEL: Type.Boolean({
      default: false,
      description: 'Let a model trained on the simulator score real prices; every reply then carries a warning.'
    }),
    MODEL_CONTROL_TOKEN: Type.Optional(
      Type.String({
        minLength: 16,
        secret: true,
        description:
          'Bearer token of the routes under `/v2/repository`, which load, unload and roll back models; without one there are none.'
      })
    ),
    RATE_LIMIT_RPM: Type.Integer({
      default: 60,
      minimum: 1,
      maximum: 1_000_000_000,
      description:
        'Requests a minute that one client may make to a plain route; costly ones allow fewer: README.md, Rate limits.'
    }),
    RATE_LIMIT_STORE_FAILURE: oneOf(['closed', 'open', 'local'], {
      default: 'local',
      description:
        'While the shared store of the rate limits fails, requests are refused (`closed`), let through (`open`), or counted by each process alone (`local`).'
    }),
    METRICS_TOKEN: Type.Optional(
      Type.String({
        minLength: 16,
        secret: true,
        description: 'Bearer token that `/prometheus` and `/metrics` ask for; without one they are open.'
      })
    ),
    TRUST_PROXY: Type.Array(Type.String(), {
      default: [],
      description:
        'Comma-separated addresses or CIDR ranges of the proxies whose `X-Forwarded-For` is believed; `loopback`, `linklocal`, `uniquelocal` are names for ranges.'
    }),
    MAX_EVENT_LOOP_DELAY_MS: Type.Integer({
      default: 500,
      minimum: 0,
      maximum: 60_000,
      description:
        'How late the event loop may be, as a mean over a second, before requests are answered 503; 0 never does.'
    }),
    CACHE_MAX_BYTES: Type.Integer({
      default: 67_108_864,
      minimum: 1024,
      maximum: 17_179_869_184,
      description: 'Bytes that the cache may hold.'
    }),
    REDIS_URL: Type.Optional(
      Type.String({
        // No query: the client would take it for options of its own.
        pattern: '^rediss?://([^\\s/?#@]*@)?[^\\s/?#@]+(/\\d{1,4})?$',
        secret: true,
        description:
          'Redis or Valkey that instances share their cache in: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS. Without one each has its own memory only.'
      })
    ),
    REDIS_TIMEOUT_MS: Type.Integer({
      default: 50,
      minimum: 1,
      maximum: 10_000,
      description: 'How long an answer of Redis is waited for, before the service goes on without.'
    }),
    RANKING_TTL_SECONDS: Type.Integer({
      default: 60,
      minimum: 0,
      maximum: 86_400,
      description: 'How long a ranking is served from the cache; 0 ranks anew for every request.'
    }),
    RANKING_MIN_COVERAGE_PERCENT: Type.Integer({
      default: 80,
      minimum: 0,
      maximum: 100,
      description: 'Share of the symbols whose prices must be there; below it a ranking is a 502, not a thin list.'
    }),
    QUOTE_TTL_SECONDS: Type.Integer({
      default: 60,
      minimum: 0,
      maximum: 86_400,
      description: 'How long a quote is served from the cache; 0 asks the source for every request.'
    }),
    SHUTDOWN_DELAY_SECONDS: Type.Integer({
      default: 11,
      minimum: 0,
      maximum: 300,
      description:
        'After SIGTERM, how long requests are still taken while `/health/ready` says no: longer than a scrape interval. SIGINT does not wait. Where the platform kills sooner (`docker stop`: 10 s), give it more time.'
    }),
    SHUTDOWN_TIMEOUT_SECONDS: Type.Integer({
      default: 10,
      minimum: 1,
      maximum: 300,
      description: 'How long requests in flight may take to finish after that, before the process exits with 1.'
    })
  },
  { additionalProperties: false }
)

export type Config = Readonly<Static<typeof ConfigSchema>>

/** Every wrong setting, a line each. */
export class ConfigError extends Error {
  readonly code = 'TF_ERR_CONFIG'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`Invalid configuration:\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

const schemas: Readonly<Record<string, { type?: string; default?: unknown; secret?: boolean }>> =
  ConfigSchema.properties

/** A setting's text as its schema's type; what can't be converted stays text, and fails the check. */
function convert(text: string, type: string | undefined): unknown {
  if (type === 'integer') return /^-?\d+$/.test(text) ? Number(text) : text
  if (type === 'boolean')
    return ({ true: true, 1: true, false: false, 0: false } as Record<string, unknown>)[text] ?? text
  if (type === 'array') return text.split(',').map((item) => item.trim())
  return text
}

/** An address, an address with the length of its prefix, or one of proxy-addr's names. */
function isRange(text: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(text)) return true
  const [address = '', prefix, ...more] = text.split('/')
  const bits = { 4: 32, 6: 128 }[isIP(address)]
  return (
    bits !== undefined &&
    more.length === 0 &&
    (prefix === undefined || (/^\d+$/.test(prefix) && Number(prefix) <= bits))
  )
}

/** Whether a URL of the right form can be taken apart. */
function isDecodable(url: string): boolean {
  try {
    decodeURIComponent(new URL(url).href)
    return true
  } catch {
    return false
  }
}

function describe({ instancePath, message, params }: ErrorObject, env: NodeJS.ProcessEnv): string {
  const [, name = ''] = instancePath.split('/')
  const allowed = Array.isArray(params['allowedValues']) ? `: ${params['allowedValues'].join(', ')}` : ''
  return `${schemas[name]?.secret ? name : `${name}=${env[name]}`} ${message}${allowed}`
}

/**
 * Reads the settings; an empty variable counts as not set, as Compose's `${PORT:-}` leaves it.
 * @throws ConfigError with every wrong setting.
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const values: Record<string, unknown> = {}
  for (const [name, { type, default: fallback }] of Object.entries(schemas)) {
    const text = env[name]
    if (text !== undefined && text.trim() !== '') values[name] = convert(text.trim(), type)
    else if (fallback !== undefined) values[name] = fallback
  }
  const check = new Ajv({ allErrors: true, keywords: ['secret'] }).compile<Config>(ConfigSchema)
  const problems = check(values) ? [] : check.errors!.map((error) => describe(error, env))
  for (const range of values['TRUST_PROXY'] as string[]) {
    if (!isRange(range))
      problems.push(`TRUST_PROXY=${env['TRUST_PROXY']} has ${range}, which is no address and no range`)
  }
  const url = values['REDIS_URL']
  if (problems.length === 0 && typeof url === 'string' && !isDecodable(url)) {
    problems.push('REDIS_URL has a port out of range, or a % in its password that is not written %25')
  }
  if (values['MARKET_SOURCE'] === 'csv' && values['MARKET_DATA_DIR'] === undefined) {
    problems.push('MARKET_DATA_DIR must be set for MARKET_SOURCE=csv')
  }
  if (values['COINGECKO_PLAN'] === 'pro' && values['COINGECKO_API_KEY'] === undefined) {
    problems.push('COINGECKO_API_KEY must be set for COINGECKO_PLAN=pro')
  }
  if (!URL.canParse(String(values['OPENAI_BASE_URL'])))
    problems.push(`OPENAI_BASE_URL=${env['OPENAI_BASE_URL']} is no address`)
  if (problems.length > 0) throw new ConfigError(problems)

  // The model repository of the project is found wherever the service is started; a folder that is given is the caller's.
  const base = env['MODEL_DIR']?.trim() ? process.cwd() : import.meta.dirname
  return Object.freeze({ ...(values as Config), MODEL_DIR: resolve(base, String(values['MODEL_DIR'])) })
}

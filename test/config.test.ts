import { join } from 'node:path'
import t from 'tap'
import { ConfigError, ConfigSchema, loadConfig } from '../config.ts'

/** Settings that may be absent. */
const OPTIONAL = [
  'COINGECKO_API_KEY',
  'COINGECKO_ORIGIN',
  'MARKET_DATA_DIR',
  'METRICS_TOKEN',
  'MODEL_VERSION',
  'MODEL_CONTROL_TOKEN',
  'OPENAI_API_KEY',
  'REDIS_URL'
]

t.test('every setting has a description, and a default unless it may be absent', async (t) => {
  for (const [name, schema] of Object.entries(ConfigSchema.properties)) {
    t.ok(schema.description, name)
    t.equal('default' in schema, !OPTIONAL.includes(name), name)
  }
})

t.test('an empty environment gives the defaults, frozen', async (t) => {
  const config = loadConfig({ PORT: '', HOST: '  ', MODEL_DIR: ' ' })
  t.match(config, {
    HOST: '127.0.0.1',
    PORT: 8000,
    LOG_LEVEL: 'info',
    MARKET_SOURCE: 'simulated',
    ALLOW_SIMULATED_MODEL: false,
    RATE_LIMIT_RPM: 60,
    MODEL_DIR: join(import.meta.dirname, '../models')
  })
  t.ok(Object.isFrozen(config))
  t.notOk('MARKET_DATA_DIR' in config)
})

t.test('texts become what the schema says', async (t) => {
  const config = loadConfig({
    PORT: ' 8123 ',
    CORS_ORIGINS: 'https://a.example, http://localhost:5173',
    ALLOW_SIMULATED_MODEL: '1',
    MARKET_SOURCE: 'csv',
    MARKET_DATA_DIR: '../prices',
    MODEL_DIR: '/srv/models',
    UNRELATED: 'x'
  })
  t.match(config, {
    PORT: 8123,
    CORS_ORIGINS: ['https://a.example', 'http://localhost:5173'],
    ALLOW_SIMULATED_MODEL: true,
    MARKET_SOURCE: 'csv',
    MARKET_DATA_DIR: '../prices',
    MODEL_DIR: '/srv/models'
  })
  t.notOk('UNRELATED' in config)
  t.equal(loadConfig({ ALLOW_SIMULATED_MODEL: 'false' }).ALLOW_SIMULATED_MODEL, false)
  t.equal(loadConfig({ MODEL_DIR: 'mine' }).MODEL_DIR, join(process.cwd(), 'mine'), "a given folder is the caller's")
})

t.test('every wrong setting is named at once', async (t) => {
  const env = {
    PORT: '99999',
    RATE_LIMIT_RPM: 'sixty',
    LOG_LEVEL: 'loud',
    ALLOW_SIMULATED_MODEL: 'maybe',
    CORS_ORIGINS: 'https://ok.example,not an origin',
    MARKET_SOURCE: 'csv',
    SHUTDOWN_DELAY_SECONDS: '1.5',
    METRICS_TOKEN: 'hunter2',
    COINGECKO_PLAN: 'free',
    COINGECKO_API_KEY: 'hunter2 and 3',
    COINGECKO_ORIGIN: 'https://proxy.example/api',
    TRUST_PROXY: 'proxy'
  }
  const error = t.throws(() => loadConfig(env))
  t.ok(error instanceof ConfigError)
  if (!(error instanceof ConfigError)) return
  t.same(error.problems.toSorted(), [
    'ALLOW_SIMULATED_MODEL=maybe must be boolean',
    'COINGECKO_API_KEY must match pattern "^[\\x21-\\x7e]+$"',
    'COINGECKO_ORIGIN=https://proxy.example/api must match pattern "^https?://[^/\\s]+$"',
    'COINGECKO_PLAN=free must be equal to one of the allowed values: demo, pro',
    'CORS_ORIGINS=https://ok.example,not an origin must match pattern "^(https?://[^/\\s]+|\\*|null)$"',
    'LOG_LEVEL=loud must be equal to one of the allowed values: fatal, error, warn, info, debug, trace, silent',
    'MARKET_DATA_DIR must be set for MARKET_SOURCE=csv',
    'METRICS_TOKEN must NOT have fewer than 16 characters',
    'PORT=99999 must be <= 65535',
    'RATE_LIMIT_RPM=sixty must be integer',
    'SHUTDOWN_DELAY_SECONDS=1.5 must be integer',
    'TRUST_PROXY=proxy has proxy, which is no address and no range'
  ])
  t.notMatch(error.message, 'hunter2', 'a secret is not repeated')
  t.equal(error.code, 'TF_ERR_CONFIG')
  t.match(error.message, /^Invalid configuration:\n {2}\S/)
})

t.test("Redis' address is a URL that can be taken apart, and never repeated", async (t) => {
  for (const url of ['redis://localhost', 'rediss://user:p%25w@[::1]:6380/15'])
    t.equal(loadConfig({ REDIS_URL: url }).REDIS_URL, url)
  t.equal('REDIS_URL' in loadConfig({ REDIS_URL: '' }), false)
  for (const bad of [
    'localhost:6379',
    'http://localhost',
    'redis://',
    'redis://hunter2@h?enableOfflineQueue=true',
    'redis://h/database',
    'redis://:hunter2@h:99999',
    'redis://:hunter2%@h'
  ]) {
    const error = t.throws(() => loadConfig({ REDIS_URL: bad }))
    t.match(error, { problems: [/^REDIS_URL (must match pattern|has a port)/] }, bad)
    t.notMatch(String(error), 'hunter2')
  }
})

t.test('proxies are addresses, ranges or names of ranges', async (t) => {
  const good = '10.0.0.1,10.0.0.0/8,2001:db8::/32,::1,loopback,linklocal,uniquelocal'
  t.same(loadConfig({ TRUST_PROXY: good }).TRUST_PROXY, good.split(','))
  for (const bad of [
    '1',
    'true',
    '999.1.1.1',
    '10.0.0.0/33',
    '10.0.0.0/8/8',
    '::1/129',
    '10.0.0.0/x',
    '1:2',
    '10.0.0.1,proxy'
  ]) {
    const wrong = bad.split(',').at(-1)
    t.throws(
      () => loadConfig({ TRUST_PROXY: bad }),
      { message: `TRUST_PROXY=${bad} has ${wrong}, which is no address and no range` },
      bad
    )
  }
})

t.test("CoinGecko's pro plan needs a key", async (t) => {
  t.throws(() => loadConfig({ COINGECKO_PLAN: 'pro' }), {
    message: 'Invalid configuration:\n  COINGECKO_API_KEY must be set for COINGECKO_PLAN=pro'
  })
  t.match(loadConfig({ COINGECKO_PLAN: 'pro', COINGECKO_API_KEY: 'key' }), { COINGECKO_API_KEY: 'key' })
})

t.test('where the language model is must be an address, without a secret in it', async (t) => {
  const problemsOf = (env: Record<string, string>): readonly string[] => {
    try {
      loadConfig(env)
      return []
    } catch (error) {
      return (error as ConfigError).problems
    }
  }
  for (const good of ['http://localhost:11434/v1', 'https://models.example/a/b/', 'http://[::1]:8080'])
    t.same(problemsOf({ OPENAI_BASE_URL: good }), [], good)
  for (const bad of [
    'localhost:11434',
    'https://me:secret@models.example',
    'https://models.example/v1?key=x',
    'http://[::1'
  ])
    t.match(problemsOf({ OPENAI_BASE_URL: bad }), [/^OPENAI_BASE_URL=/], bad)
  t.match(problemsOf({ OPENAI_API_KEY: 'sk with spaces' }), [/^OPENAI_API_KEY must match/], 'the key is not repeated')
})

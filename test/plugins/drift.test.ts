import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import type { Candles, MarketSource } from '../../domain/market.ts'
import drift, { type DriftReport, type ObservedRow } from '../../plugins/drift.ts'
import type { Manifest } from '../../plugins/model/index.ts'
import { simulatedSource } from '../../sources/simulated.ts'
import { NOW, build, fakeSource, scrape, testConfig, waveCandles } from '../helper.ts'

const LIMITS = { date: 0.5, month: 0.1 }
const bins = { edges: [0], shares: [0.5, 0.5], psi_limits: LIMITS }

/** A model of one feature, of which the plugin looks at nothing else. */
function manifestOf(version: string, over: object = {}): Manifest {
  const features = [{ name: 'a', quantiles: { p0_5: -2, p50: 0, p99_5: 2 } }]
  return {
    version,
    sha256: version,
    features,
    drift: { features: [bins], score: bins },
    ...over
  } as unknown as Manifest
}

interface Bench {
  app: FastifyInstance
  /** undefined: the model is unloaded. */
  serve: (manifest: Manifest | undefined) => void
}

/** The plugin over a market of 400 symbols and a model that can be exchanged. */
async function bench(t: Test, manifest = manifestOf('1')): Promise<Bench> {
  let serving: Manifest | undefined = manifest
  const app = Fastify()
  t.teardown(() => app.close())
  app.decorate('market', { universes: [{ symbols: symbols(300) }, { symbols: symbols(400) }] } as never)
  app.decorate('model', {
    serving: () => ({ manifest: serving }),
    find: () => serving && { manifest: serving }
  } as never)
  for (const name of ['market', '@trading-fun/model']) await app.register(fp(async () => {}, { name }))
  await app.register(drift)
  return { app, serve: (next) => (serving = next) }
}

function symbols(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `S${i}`)
}

/** Rows of one day, each with its value. */
function rowsOf(asOf: string, count: number, value: (i: number) => number): ObservedRow[] {
  return symbols(count).map((symbol, i) => ({
    symbol,
    asOf,
    vector: Float32Array.of(value(i)),
    probability: i % 2 === 0 ? 0.1 : -0.1
  }))
}

const balanced = (i: number): number => (i % 2 === 0 ? 1 : -1)
const day = (i: number): string => new Date(Date.UTC(2026, 0, 1 + i)).toISOString().slice(0, 10)
const feature = ({ features }: DriftReport): DriftReport['features'][number] => features[0]!

t.test('nothing is said below 200 rows, and then what the rows say', async (t) => {
  const { app } = await bench(t)
  t.same(app.drift.report(), {
    samples: 0,
    missing: 0,
    features: [{ name: 'a', psi: 0, limit: 0.5, outside: 0 }],
    score: { psi: 0, limit: 0.5 }
  })
  app.drift.observe(
    manifestOf('1'),
    rowsOf(day(0), 199, () => 3)
  )
  t.match(app.drift.report(), { samples: 199, features: [{ psi: 0, outside: 0 }], score: { psi: 0 } })
  app.drift.observe(
    manifestOf('1'),
    rowsOf(day(1), 1, () => -3)
  )
  const { samples, features, score } = app.drift.report()
  t.equal(samples, 200)
  t.ok(features[0]!.psi > 2, `${features[0]!.psi}`)
  t.equal(features[0]!.outside, 1)
  t.ok(score.psi < 0.001, 'of the probability, which has its own bins')
})

t.test('a symbol counts once a day, however often it is scored, and only if it is of a universe', async (t) => {
  const { app } = await bench(t)
  const manifest = manifestOf('1')
  app.drift.observe(manifest, rowsOf(day(0), 300, balanced))
  for (let again = 0; again < 5; again++)
    app.drift.observe(
      manifest,
      rowsOf(day(0), 300, () => 9)
    )
  t.same(app.drift.report(), {
    samples: 300,
    missing: 0,
    features: [{ name: 'a', psi: 0, limit: 0.5, outside: 0 }],
    score: { psi: 0, limit: 0.5 }
  })
  app.drift.observe(manifest, [{ symbol: 'BTC-USD', asOf: day(0), vector: Float32Array.of(9), probability: 0.5 }])
  t.equal(app.drift.report().samples, 300)
})

t.test('a share of the rows is outside the range: 3 of 300 above or below', async (t) => {
  const { app } = await bench(t)
  app.drift.observe(
    manifestOf('1'),
    rowsOf(day(0), 300, (i) => (i < 2 ? 2.5 : i === 2 ? -2.5 : balanced(i)))
  )
  t.equal(feature(app.drift.report()).outside, 0.01)
})

t.test('the window is the last 20 days; older ones neither enter nor stay', async (t) => {
  const { app } = await bench(t)
  const manifest = manifestOf('1')
  app.drift.observe(
    manifest,
    rowsOf(day(0), 100, () => 1)
  )
  for (let i = 1; i < 19; i++) app.drift.observe(manifest, rowsOf(day(i), 20, balanced))
  // Days may come in any order: a delisted stock's last price is old.
  app.drift.observe(manifest, rowsOf(day(-1), 20, balanced))
  t.equal(app.drift.report().samples, 100 + 19 * 20)
  t.ok(feature(app.drift.report()).psi > 0.01)
  app.drift.observe(manifest, rowsOf(day(-2), 30, balanced))
  t.equal(app.drift.report().samples, 100 + 19 * 20, 'older than all of a full window')
  for (const late of [19, 20]) app.drift.observe(manifest, rowsOf(day(late), 20, balanced))
  t.match(app.drift.report(), { samples: 20 * 20, features: [{ psi: 0 }] })
})

t.test('15 days are judged like a month; a day and the last prices of delisted stocks are not', async (t) => {
  const { app } = await bench(t)
  for (let i = 0; i < 14; i++) app.drift.observe(manifestOf('1'), rowsOf(day(i), 20, balanced))
  t.match(app.drift.report(), { features: [{ limit: LIMITS.date }], score: { limit: LIMITS.date } })
  app.drift.observe(manifestOf('1'), rowsOf(day(14), 20, balanced))
  t.match(app.drift.report(), { features: [{ limit: LIMITS.month }], score: { limit: LIMITS.month } })
  const other = await bench(t)
  for (let i = 0; i < 19; i++) other.app.drift.observe(manifestOf('1'), rowsOf(day(i), 3, balanced))
  other.app.drift.observe(manifestOf('1'), rowsOf(day(19), 300, balanced))
  t.match(other.app.drift.report(), { samples: 357, features: [{ limit: LIMITS.date }] })
})

t.test('another version starts anew, and late answers of the old one are not its', async (t) => {
  const { app, serve } = await bench(t)
  app.drift.observe(
    manifestOf('1'),
    rowsOf(day(0), 300, () => 1)
  )
  const more = { drift: { features: [bins], score: { ...bins, psi_limits: { date: 0.7, month: 0.2 } } } }
  serve(manifestOf('2', more))
  t.match(app.drift.report(), { samples: 0, score: { limit: 0.7 } })
  app.drift.observe(
    manifestOf('1'),
    rowsOf(day(0), 300, () => 1)
  )
  t.equal(app.drift.report().samples, 0)
  app.drift.observe(manifestOf('2', more), rowsOf(day(0), 300, balanced))
  t.match(app.drift.report(), { samples: 300, features: [{ psi: 0 }] })
  serve(manifestOf('2', more))
  t.match(app.drift.report(), { samples: 300 }, 'the same, read anew')
  serve(undefined)
  t.match(app.drift.report(), { samples: 300, features: [{ psi: 0 }] }, 'an unloaded model leaves its last report')
  serve(manifestOf('2'))
  t.match(app.drift.report(), { samples: 0, score: { limit: 0.5 } }, 'the same weights with other limits')
})

t.test('a model without a baseline has a range, and no index', async (t) => {
  const { app } = await bench(t, manifestOf('1', { drift: undefined }))
  app.drift.observe(
    manifestOf('1', { drift: undefined }),
    rowsOf(day(0), 300, () => 3)
  )
  t.same(app.drift.report(), {
    samples: 300,
    missing: 0,
    features: [{ name: 'a', psi: 0, limit: 0, outside: 1 }],
    score: { psi: 0, limit: 0 }
  })
})

/** What ModelDrift looks at: the share of features that are above their own limit. */
async function driftingShare(app: FastifyInstance): Promise<number> {
  const found = await scrape(app)
  const names = Object.keys(found).filter((sample) => sample.startsWith('model_feature_psi{'))
  t.equal(names.length, 17)
  return names.filter((name) => found[name]! > found[name.replace('psi{', 'psi_limit{')]!).length / names.length
}

async function rankAll(app: FastifyInstance): Promise<void> {
  for (const { name } of app.market.universes) {
    t.equal((await app.inject({ url: '/ranking', query: { country: name } })).statusCode, 200)
  }
}

t.test('the embedded market, over a month, does not look like drift', async (t) => {
  let now = NOW
  const app = await build(t, {}, { now: () => now })
  t.match(await scrape(app), { 'model_drift_samples{model_type="outperform"}': 0 })
  t.equal(await driftingShare(app), 0)
  const members = new Set(app.market.universes.flatMap((universe) => universe.symbols)).size
  await rankAll(app)
  t.equal((await scrape(app))['model_drift_samples{model_type="outperform"}'], members, 'Global adds none')
  t.ok((await driftingShare(app)) < 0.2)
  for (let week = 1; week <= 4; week++) {
    now = new Date(NOW.getTime() + week * 7 * 86_400_000)
    await rankAll(app)
    t.ok((await driftingShare(app)) < 0.2, `week ${week}`)
  }
  const { samples, score, features } = app.drift.report()
  t.equal(samples, members * 5)
  t.ok(score.psi > 0 && score.psi < score.limit)
  t.ok(features.every(({ outside }) => outside < 0.1))
})

/** The embedded market with every log return multiplied. */
function wilder(factor: number): MarketSource {
  const source = simulatedSource({ seed: 1, now: () => NOW })
  const stretch = (candles: Candles): Candles => {
    const last = candles.adjClose.at(-1)!
    const adjClose = candles.adjClose.map((price) => last * (price / last) ** factor)
    return { ...candles, adjClose, close: adjClose }
  }
  return {
    ...source,
    async history(asked, days) {
      const histories = await source.history(asked, days)
      return new Map(
        [...histories].map(([symbol, found]) => [symbol, found.ok ? { ...found, value: stretch(found.value) } : found])
      )
    }
  }
}

t.test('the share of symbols without features is that of their last answers, of the universes alone', async (t) => {
  const { app } = await bench(t)
  t.equal(app.drift.report().missing, 0)
  const manifest = manifestOf('1')
  app.drift.observe(manifest, rowsOf(day(0), 3, balanced), ['S3', 'NOSUCH'])
  t.equal(app.drift.report().missing, 0.25)
  app.drift.observe(manifest, [], ['S0'])
  t.equal(app.drift.report().missing, 0.5)
  app.drift.observe(manifest, rowsOf(day(1), 4, balanced))
  t.equal(app.drift.report().missing, 0, 'they are there again')
})

t.test('a source without prices of some symbols is seen, and one without any', async (t) => {
  const app = await build(
    t,
    { RANKING_MIN_COVERAGE_PERCENT: '0', RANKING_TTL_SECONDS: '0' },
    {
      source: fakeSource({ A: waveCandles(), B: 'timeout', C: waveCandles(30), D: 'not_found' })
    }
  )
  const ratio = async (): Promise<number> => (await scrape(app))['model_missing_ratio{model_type="outperform"}']!
  t.equal(await ratio(), 0)
  await app.inject('/ranking?country=Testland')
  t.equal(await ratio(), 0.75)
  await app.inject('/predict_ticker/C')
  t.equal(await ratio(), 0.75)
})

t.test('a market three times as wild does, within a day', async (t) => {
  const app = await build(t, {}, { source: wilder(3) })
  await rankAll(app)
  const share = await driftingShare(app)
  t.ok(share > 0.2, `${share}`)
  const found = await scrape(app)
  const outside = found['model_feature_out_of_range_ratio{model_type="outperform",feature="volatility_60d"}']!
  t.ok(outside > 0.2, `${outside}`)
  await rankAll(app)
  t.equal(await driftingShare(app), share, 'answers from the cache change nothing')
})

t.test('raw predictions are not of the market', async (t) => {
  const app = await build(t)
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  for (let i = 0; i < 3; i++) await app.inject({ method: 'POST', url: '/predict_raw', payload: { features } })
  // The prediction of AAPL made the ranking that its place is in.
  t.equal(app.drift.report().samples, app.market.universe('United States').symbols.length)
})

t.test('one of the metrics alone is up to date too', async (t) => {
  const app = await build(t, {}, { source: wilder(3) })
  await rankAll(app)
  const { metrics } = (await app.inject('/metrics?name=model_feature_psi_limit')).json()
  const limits = metrics[0].series.map(({ value }: { value: number }) => value)
  t.same(
    limits,
    app.drift.report().features.map(({ limit }) => limit)
  )
})

t.test('the age of the model is that of its training', async (t) => {
  const app = await build(t)
  const { trained_at: trained } = app.model.serving('outperform').manifest
  const age = (await scrape(app))['model_age_seconds{model_type="outperform"}']
  t.equal(age, (NOW.getTime() - Date.parse(trained)) / 1000)
})

t.test('the service without a baseline is silent', async (t) => {
  const folder = t.testdir()
  cpSync(join(testConfig().MODEL_DIR, 'outperform/1'), join(folder, 'outperform/1'), { recursive: true })
  const file = join(folder, 'outperform/1/manifest.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), drift: undefined }))
  const app = await build(t, { MODEL_DIR: folder })
  await rankAll(app)
  t.equal(await driftingShare(app), 0)
  t.ok((await scrape(app))['model_drift_samples{model_type="outperform"}']! > 200)
})

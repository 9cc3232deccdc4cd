import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { FEATURES } from '../../domain/features.ts'
import { build, testConfig } from '../helper.ts'

interface Explained {
  prob: number
  features: Record<string, number>
  contributions: Record<string, number>
  base: number
  margin: number
  skill: { auc: number; auc_ci90: [number, number] }
  note: string
}

const NAMES = FEATURES.map(({ name }) => name)

async function explainRaw(app: FastifyInstance, features: object): Promise<Explained> {
  return (await app.inject({ method: 'POST', url: '/predict_raw?explain=true', payload: { features } })).json()
}

t.test('a prediction is explained by parts that add up to what the model answered', async (t) => {
  const app = await build(t)
  const explained: Explained = (await app.inject('/predict_ticker/AAPL?explain=true')).json()
  const { contributions, base, margin, prob, features } = explained
  t.same(Object.keys(contributions), NAMES)
  const sum = Object.values(contributions).reduce((total, part) => total + part, base)
  t.ok(Math.abs(sum - margin) < 1e-9, `${sum} and ${margin}`)
  t.ok(Math.abs(prob - 1 / (1 + Math.exp(-margin))) < 1e-7)
  const { manifest } = app.model.serving('outperform')
  const vector = Float32Array.from(NAMES, (name) => features[name]!)
  t.ok(Math.abs(sum - app.model.explain(manifest, vector)!.margin) < 1e-9)
  t.same(explained.skill, manifest.metrics)
  t.ok(explained.skill.auc > 0.5 && explained.skill.auc_ci90[0] > 0.5)
  t.match(explained.note, /no reason why a price moves/)

  const raw = await explainRaw(app, features)
  t.same([raw.contributions, raw.base, raw.margin, raw.skill], [contributions, base, margin, explained.skill])
})

t.test('a contribution is what the answer would change by, were the feature at its mean', async (t) => {
  const app = await build(t)
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  const whole = await explainRaw(app, features)
  const { means } = app.model.serving('outperform').manifest.linear!
  for (const [j, name] of NAMES.entries()) {
    const without = await explainRaw(app, { ...features, [name]: means[j]! })
    t.ok(Math.abs(whole.margin - without.margin - whole.contributions[name]!) < 1e-6, name)
  }
})

t.test('nothing is explained unasked, and the cache serves both', async (t) => {
  const app = await build(t)
  const plain = (await app.inject('/predict_ticker/AAPL')).json()
  for (const key of ['contributions', 'base', 'margin', 'skill', 'note']) t.notHas(plain, key)
  const explained = (await app.inject('/predict_ticker/AAPL?explain=true')).json()
  t.match(explained, { ...plain, age_seconds: Number })
  t.same(Object.keys(explained).length - Object.keys(plain).length, 5)
  t.equal(app.cache.stats()['prediction']!.misses, 1)
  const raw = await app.inject({ method: 'POST', url: '/predict_raw', payload: { features: plain.features } })
  t.same(Object.keys(raw.json()), ['prob', 'signal', 'model', 'warnings'])
  t.match((await app.inject('/predict_ticker/AAPL?explain=perhaps')).json(), {
    status: 400,
    errors: [{ in: 'querystring', field: 'explain' }]
  })
})

/** The committed repository's model of the simulated market, its manifest without one of its parts. */
function modelWithout(t: Test, part: string): string {
  const folder = t.testdir()
  cpSync(join(testConfig().MODEL_DIR, 'outperform/1'), join(folder, 'outperform/1'), { recursive: true })
  const file = join(folder, 'outperform/1/manifest.json')
  const manifest = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...manifest, [part]: undefined }))
  return folder
}

t.test('a model that is not linear says so, and predicts all the same', async (t) => {
  const app = await build(t, { MODEL_DIR: modelWithout(t, 'linear') })
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  for (const reply of [
    await app.inject('/predict_ticker/AAPL?explain=true'),
    await app.inject({ method: 'POST', url: '/predict_raw?explain=true', payload: { features } })
  ]) {
    t.equal(reply.statusCode, 422)
    t.match(reply.json(), { code: 'TF_ERR_RANKING_NOT_EXPLAINABLE', detail: /^explain=true is not available/ })
  }
})

t.test('of a model whose manifest says nothing of its skill nothing is said', async (t) => {
  const app = await build(t, { MODEL_DIR: modelWithout(t, 'metrics') })
  t.same((await app.inject('/predict_ticker/AAPL?explain=true')).json().skill, {})
  t.notHas((await app.inject('/models')).json().available_models[0], 'metrics')
})

import { createHash } from 'node:crypto'
import { FEATURES, type FeatureDefinition } from '../domain/features.ts'
import { HORIZON_DAYS, type Dataset } from './dataset.ts'
import { driftBaseline, type DriftBaseline } from './drift.ts'
import { quantileOfSorted, shortFloat } from './evaluation.ts'
import { CLIP, score, type LinearModel } from './model.ts'
import { MODEL_NAME, type Training } from './pipeline.ts'
import type { Metrics } from './walk-forward.ts'

/** The quantiles of each feature among the training rows. */
const QUANTILES = { p0_5: 0.005, p5: 0.05, p25: 0.25, p50: 0.5, p75: 0.75, p95: 0.95, p99_5: 0.995 }

export type Quantiles = Record<keyof typeof QUANTILES, number>

/** What one universe gave to the training. */
export interface UniverseSummary {
  name: string
  symbols: number
  rows: number
  from: string
  to: string
}

/** manifest.json: the contract of a served model. */
export interface Manifest {
  name: string
  version: string
  format: 'onnx'
  model_type: 'logistic_regression'
  features: (FeatureDefinition & { quantiles: Quantiles })[]
  label: string
  horizon_days: number
  /** SOURCE_DATE_EPOCH, else the end of the window: the same training gives the same bytes. */
  trained_at: string
  /** First date whose features, and last date whose price, the model has seen. */
  window: { from: string; to: string }
  source: Training['source']
  universe: UniverseSummary[]
  calibration: { method: 'platt'; a: number; b: number }
  metrics: Metrics & { gate_passed: boolean }
  /** Of model.onnx. */
  sha256: string
  self_test: { features: Record<string, number>; probability: number }[]
  /** The parameters of model.onnx, for explanations. */
  linear: {
    means: number[]
    scales: number[]
    clip: number
    weights: number[]
    intercept: number
    calibration: { a: number; b: number }
  }
  drift: DriftBaseline
}

/** The sentence that the probability is a probability of. */
export const LABEL: string = `The adjusted return over the next ${HORIZON_DAYS} trading days is above the median of the universe of the stock's country`

/** @param epoch SOURCE_DATE_EPOCH, seconds since 1970; undefined: the training is dated by its data. */
export function toManifest(training: Training, onnx: Uint8Array, version: string, epoch: string | undefined): Manifest {
  const { rows, model, evaluation } = training
  const window = windowOf(rows)
  const features = FEATURES.map((feature, j) => ({ ...feature, quantiles: quantilesOf(rows, j) }))
  const { a, b } = model.platt
  return {
    name: MODEL_NAME,
    version,
    format: 'onnx',
    model_type: 'logistic_regression',
    features,
    label: LABEL,
    horizon_days: HORIZON_DAYS,
    trained_at: new Date(epoch === undefined ? window.to : Number(epoch) * 1000).toISOString(),
    window,
    source: training.source,
    universe: summariseUniverses(rows),
    calibration: { method: 'platt', a: shortFloat(a), b: shortFloat(b) },
    metrics: { ...roundMetrics(evaluation.metrics), gate_passed: training.failures.length === 0 },
    sha256: createHash('sha256').update(onnx).digest('hex'),
    self_test: selfTest(
      features.map(({ quantiles }) => quantiles),
      model
    ),
    linear: linearOf(model),
    drift: driftBaseline(rows, model)
  }
}

function linearOf({ mean, scale, weights, intercept, platt }: LinearModel): Manifest['linear'] {
  const calibration = { a: shortFloat(platt.a), b: shortFloat(platt.b) }
  return {
    means: Array.from(mean, shortFloat),
    scales: Array.from(scale, shortFloat),
    clip: CLIP,
    weights: Array.from(weights, shortFloat),
    intercept: shortFloat(intercept),
    calibration
  }
}

/** Universes by name, with what each gave. */
export function summariseUniverses(rows: Dataset): UniverseSummary[] {
  return [...Map.groupBy(rows, (row) => row.universe)].map(([name, own]) => ({
    name,
    symbols: new Set(own.map((row) => row.symbol)).size,
    rows: own.length,
    ...windowOf(own)
  }))
}

/** From the first row's date to the end of the last label. */
function windowOf(rows: Dataset): { from: string; to: string } {
  const to = rows.reduce((latest, { end }) => (end > latest ? end : latest), '')
  return { from: rows[0]!.date, to }
}

function quantilesOf(rows: Dataset, j: number): Quantiles {
  const values = Float64Array.from(rows, (row) => row.features[j]!).toSorted()
  const at = (q: number): number => shortFloat(quantileOfSorted(values, q))
  const { p0_5, p5, p25, p50, p75, p95, p99_5 } = QUANTILES
  return { p0_5: at(p0_5), p5: at(p5), p25: at(p25), p50: at(p50), p75: at(p75), p95: at(p95), p99_5: at(p99_5) }
}

function roundMetrics(metrics: Metrics): Metrics {
  const {
    auc_ci90: [low, high],
    ...single
  } = metrics
  const rounded = Object.fromEntries(Object.entries(single).map(([name, value]) => [name, round(value)]))
  return { ...metrics, ...rounded, auc_ci90: [round(low), round(high)] }
}

/** To six decimals: the seventh is noise, and a reader compares them by eye. */
function round(value: number): number {
  return Number(value.toFixed(6))
}

/** Made-up vectors, none a real stock's: the middle, both sides, alternating extremes, and far beyond the clip. */
function selfTest(features: readonly Quantiles[], model: LinearModel): Manifest['self_test'] {
  const vectors = [
    features.map(({ p50 }) => p50),
    features.map(({ p5 }) => p5),
    features.map(({ p95 }) => p95),
    features.map(({ p0_5, p99_5 }, j) => (j % 2 === 0 ? p0_5 : p99_5)),
    features.map(({ p50 }, j) => p50 + (j % 3 === 0 ? -10 : 10) * model.scale[j]!)
  ]
  return vectors.map((values) => {
    const vector = Float32Array.from(values)
    const named = FEATURES.map(({ name }, j) => [name, shortFloat(vector[j]!)])
    return { features: Object.fromEntries(named), probability: shortFloat(score(model, vector).probability) }
  })
}

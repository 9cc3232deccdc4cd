import { FEATURES } from '../domain/features.ts'
import { fitPlatt, type Platt } from './calibration.ts'
import { DAYS_BETWEEN_ROWS, HORIZON_DAYS, type Dataset } from './dataset.ts'
import { average } from './evaluation.ts'
import { fitLogistic, sigmoid, type Prior } from './logistic.ts'

/**
 * What a training finds: log-odds = a · (intercept + Σ weights[j] · clip((x[j] - mean[j]) / scale[j], ±CLIP)) + b.
 * Every number is a float32, as the runtime's are: the model that is evaluated is the model that is served, but for the last bits.
 */
export interface LinearModel {
  mean: Float32Array
  scale: Float32Array
  weights: Float32Array
  intercept: number
  platt: Platt
}

/** Standardised features are cut here: one wild day must not move a probability further than a rare one. */
export const CLIP = 3

/**
 * With 17 standardised features a deviation of .03 expects log-odds of about ±.12, an AUC of .53: as much as anyone finds
 * in daily prices.
 */
const WEIGHTS: Prior = { mean: 0, deviation: 0.03 }
/** Labels of neighbouring weeks share their days: a row counts for the part of its label that is its own. */
const ROW_WEIGHT = DAYS_BETWEEN_ROWS / HORIZON_DAYS

/** The newest share of the rows, which calibrates the model that the older ones made. */
const CALIBRATION_SHARE = 0.2

const DAY = 86_400_000
/** Calendar days (5 trading days) between the last day of a training label and the first row that judges it. */
const EMBARGO_DAYS = 7

/** The rows whose labels were known, with the embargo to spare, before `date` (ISO): no window reaches across. */
export function knownBefore(rows: Dataset, date: string): Dataset {
  const last = new Date(Date.parse(date) - EMBARGO_DAYS * DAY).toISOString().slice(0, 10)
  return rows.filter((row) => row.end < last)
}

/**
 * Trains on rows in order of date. The Platt scaling comes from the newest fifth, scored by a model of the older rows
 * that were known before it; then the weights are fitted once more, on all rows.
 *
 * Both times the scaling sees margins less their mean. The mean of a slice is the state of its market (all momentum is up
 * after a rally), on which a label that is relative to the median cannot depend; carried over, it would be an offset.
 */
export function fitModel(rows: Dataset): LinearModel {
  const from = rows[Math.floor(rows.length * (1 - CALIBRATION_SHARE))]!.date
  const unseen = rows.filter((row) => row.date >= from)
  const margins = rawMargins(fitWeights(knownBefore(rows, from)), unseen)
  const level = average(margins)
  const labels = Uint8Array.from(unseen, (row) => row.label)
  const { a, b } = fitPlatt(
    margins.map((margin) => margin - level),
    labels,
    ROW_WEIGHT
  )
  const weights = fitWeights(rows)
  return { ...weights, platt: { a: Math.fround(a), b: Math.fround(b - a * average(rawMargins(weights, rows))) } }
}

type Weights = Omit<LinearModel, 'platt'>

function fitWeights(rows: Dataset): Weights {
  const { mean, scale } = moments(rows)
  const width = FEATURES.length
  const x = new Float64Array(rows.length * width)
  for (const [i, row] of rows.entries()) {
    for (let j = 0; j < width; j++) x[i * width + j] = standardise(row.features[j]!, mean[j]!, scale[j]!)
  }
  const target = Float64Array.from(rows, (row) => row.label)
  const { weights, intercept } = fitLogistic({ x, width, target, weight: ROW_WEIGHT }, WEIGHTS)
  return { mean, scale, weights: Float32Array.from(weights), intercept: Math.fround(intercept) }
}

/** Mean and standard deviation of each feature. A constant feature has scale 1: it standardises to 0. */
function moments(rows: Dataset): Pick<LinearModel, 'mean' | 'scale'> {
  const mean = Float32Array.from(columnMeans(rows, (x) => x))
  const variance = columnMeans(rows, (x, j) => (x - mean[j]!) ** 2)
  return { mean, scale: Float32Array.from(variance, (value) => Math.sqrt(value) || 1) }
}

function columnMeans(rows: Dataset, value: (x: number, column: number) => number): Float64Array {
  const sums = new Float64Array(FEATURES.length)
  for (const { features } of rows) {
    for (let j = 0; j < sums.length; j++) sums[j]! += value(features[j]!, j)
  }
  return sums.map((sum) => sum / rows.length)
}

function standardise(x: number, mean: number, scale: number): number {
  return Math.max(-CLIP, Math.min(CLIP, (x - mean) / scale))
}

function rawMargins(weights: Weights, rows: Dataset): Float64Array {
  return Float64Array.from(rows, (row) => rawMargin(weights, row.features))
}

function rawMargin({ mean, scale, weights, intercept }: Weights, vector: Float32Array): number {
  let margin = intercept
  for (let j = 0; j < weights.length; j++) margin += weights[j]! * standardise(vector[j]!, mean[j]!, scale[j]!)
  return margin
}

/** Calibrated log-odds and probability of one feature vector, in float64. */
export function score(model: LinearModel, vector: Float32Array): { margin: number; probability: number } {
  const margin = model.platt.a * rawMargin(model, vector) + model.platt.b
  return { margin, probability: sigmoid(margin) }
}

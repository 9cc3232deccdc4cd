import { fitLogistic, logit, type Prior } from './logistic.ts'

/** P(label) = sigmoid(a · margin + b). */
export interface Platt {
  a: number
  b: number
}

/**
 * A slope of 1 is what a model with the right prior has. A slice of a few years says little about it (a standard error of
 * about .7 on daily prices), so a fit that is free to follow the slice serves its noise: twice as sure, or inverted.
 */
const SLOPE: Prior = { mean: 1, deviation: 0.5 }

/**
 * Platt scaling (Platt 1999, in the convex form of Lin, Lin & Weng 2007) with a prior on the slope: a logistic regression
 * of the labels on the margins of rows that the model has not seen. The targets are smoothed, (N₊ + 1) / (N₊ + 2) and
 * 1 / (N₋ + 2), so that a short or separable slice does not give certainty.
 *
 * `a` is never negative. Where the margins order the slice clearly the wrong way there is no skill to serve, and turning
 * the order round would be fitting noise: then `a` = 0 and every probability is the base rate of the slice.
 *
 * @param weight what one row counts, as a share of an independent observation.
 */
export function fitPlatt(margins: Float64Array, labels: Uint8Array, weight: number): Platt {
  const positives = labels.reduce((sum, label) => sum + label, 0)
  const high = (positives + 1) / (positives + 2)
  const low = 1 / (labels.length - positives + 2)
  const target = Float64Array.from(labels, (label) => (label === 1 ? high : low))
  const { weights, intercept } = fitLogistic({ x: margins, width: 1, target, weight }, SLOPE)
  const a = weights[0]!
  if (a > 0) return { a, b: intercept }
  return { a: 0, b: logit(target.reduce((sum, value) => sum + value, 0) / target.length) }
}

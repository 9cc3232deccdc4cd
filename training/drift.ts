import { binOf, stabilityIndex, type Distribution } from '../domain/drift.ts'
import { FEATURES } from '../domain/features.ts'
import type { Dataset, Row } from './dataset.ts'
import { quantile, quantileOfSorted, shortFloat } from './evaluation.ts'
import { score, type LinearModel } from './model.ts'

/** What the training rows looked like in one quantity, and how far their own parts stray from that. */
export interface Baseline extends Distribution {
  /** The PSI that one part in twenty exceeds, of the dates of the training, and of its months. */
  psi_limits: { date: number; month: number }
}

export interface DriftBaseline {
  features: Baseline[]
  /** Of the probability. */
  score: Baseline
}

const BINS = 10
const LIMIT = 0.95

/**
 * The baseline that a service measures drift against: deciles of each feature and of the probability among all training
 * rows, and the PSI of the training's own dates and months against them. Stocks move together, so a date's stocks all stray
 * to one side: what is usual has to be measured, and is different for each feature and length of time.
 */
export function driftBaseline(rows: Dataset, model: LinearModel): DriftBaseline {
  const parts = { date: partsOf(rows, ({ date }) => date), month: partsOf(rows, ({ date }) => date.slice(0, 7)) }
  const baseline = (value: (row: Row) => number): Baseline => {
    const edges = edgesOf(Float64Array.from(rows, value))
    const shares = countsOf(edges, rows, value).map((count) => count / rows.length)
    const limit = (own: Dataset[]): number => {
      const indices = own.map((part) => stabilityIndex(shares, countsOf(edges, part, value)))
      return round(quantile(Float64Array.from(indices), LIMIT))
    }
    return { edges, shares: shares.map(round), psi_limits: { date: limit(parts.date), month: limit(parts.month) } }
  }
  return {
    features: FEATURES.map((_, j) => baseline((row) => row.features[j]!)),
    score: baseline((row) => Math.fround(score(model, row.features).probability))
  }
}

/** The rows of each date or month. Those of less than half the usual size are left out: their PSI is that of small numbers. */
function partsOf(rows: Dataset, key: (row: Row) => string): Dataset[] {
  const parts = [...Map.groupBy(rows, key).values()]
  const usual = quantile(
    Float64Array.from(parts, (part) => part.length),
    0.5
  )
  return parts.filter((part) => part.length >= usual / 2)
}

/** The deciles. Of equal ones one is left, and the last bin is never empty: many stocks are at their highest price of a year. */
function edgesOf(values: Float64Array): number[] {
  const sorted = values.toSorted()
  const deciles = Array.from({ length: BINS - 1 }, (_, i) => shortFloat(quantileOfSorted(sorted, (i + 1) / BINS)))
  const distinct = [...new Set(deciles)].filter((edge) => edge < sorted.at(-1)!)
  return distinct.length > 0 ? distinct : [shortFloat(sorted.at(-1)!)]
}

function countsOf(edges: readonly number[], rows: Dataset, value: (row: Row) => number): number[] {
  const counts = Array.from({ length: edges.length + 1 }, () => 0)
  for (const row of rows) counts[binOf(edges, value(row))]!++
  return counts
}

/** To four decimals: a limit is no sharper than that. */
function round(value: number): number {
  return Number(value.toFixed(4))
}

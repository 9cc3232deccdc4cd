/** Order and percentiles of scored symbols. */

/** The model that rankings and predictions are made with. */
export const RANKING_MODEL = 'outperform'

/** So long after what it learned from ended a model of real prices is old; the alert ModelOld has the same limit. */
export const OLD_MODEL_DAYS = 400

/** One symbol's score. */
export interface Scored {
  symbol: string
  probability: number
}

/** A scored symbol in its place: 1 is the most probable; percentile as in `percentileOf`. */
export type Ranked<T extends Scored> = T & { rank: number; percentile: number }

/**
 * Share of the other members that a probability beats, in percent, a tie counting half: 100 is the best, 0 the worst, 50
 * where there are no others.
 */
export function percentileOf(probability: number, others: readonly number[]): number {
  if (others.length === 0) return 50
  let beaten = 0
  for (const other of others) {
    if (other < probability) beaten += 1
    else if (other === probability) beaten += 0.5
  }
  return (100 * beaten) / others.length
}

/** Sorts by probability, the highest first, ties by symbol, and numbers the places from 1. */
export function rank<T extends Scored>(scored: readonly T[]): Ranked<T>[] {
  const sorted = scored.toSorted((a, b) => b.probability - a.probability || (a.symbol < b.symbol ? -1 : 1))
  const members = sorted.map(({ probability }) => probability)
  return sorted.map((item, i) => ({
    ...item,
    rank: i + 1,
    percentile: percentileOf(item.probability, members.toSpliced(i, 1))
  }))
}

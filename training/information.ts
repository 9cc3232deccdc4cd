import { DAYS_BETWEEN_ROWS, HORIZON_DAYS, type Row } from './dataset.ts'
import { average, neweyWestT, spearman } from './evaluation.ts'

/** How well a score orders the stocks of a universe by their next return. */
export interface RankIc {
  mean: number
  /** Newey-West, lag = weeks whose labels overlap. */
  t: number
}

/** Items of one universe on one date each, in the order they come. */
export function crossSections<T extends { row: Row }>(items: readonly T[]): T[][] {
  return [...Map.groupBy(items, ({ row }) => `${row.date} ${row.universe}`).values()]
}

/**
 * Rank information coefficient: Spearman's correlation of score and forward return inside a universe, one value a date (its
 * universes count by their rows), averaged over dates.
 *
 * @param sections by date, see `crossSections`.
 */
export function rankIc<T extends { row: Row }>(sections: readonly T[][], score: (item: T) => number): RankIc {
  const dates = Map.groupBy(sections, (section) => section[0]!.row.date)
  const series = Float64Array.from(dates.values(), (universes) => {
    let [sum, rows] = [0, 0]
    for (const section of universes) {
      const returns = Float64Array.from(section, ({ row }) => row.forward)
      sum += section.length * spearman(Float64Array.from(section, score), returns)
      rows += section.length
    }
    return sum / rows
  })
  return { mean: average(series), t: neweyWestT(series, HORIZON_DAYS / DAYS_BETWEEN_ROWS) }
}

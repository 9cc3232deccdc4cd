import type { Dataset, Row } from './dataset.ts'
import { auc, average, bootstrapAuc, brier, calibrationError, logLoss } from './evaluation.ts'
import { crossSections, rankIc } from './information.ts'
import { fitModel, knownBefore, score } from './model.ts'

/** Years of rows before the first year that is judged. */
export const TRAINING_YEARS = 4

/** One year judged by a model that knew nothing of it. */
export interface Fold {
  year: string
  train: Dataset
  test: Dataset
}

/** A row of a judged year, with the forecast it got and the share of positives in that fold's training rows. */
export interface Forecast {
  row: Row
  probability: number
  base: number
}

/** Figures of one year, or of all. */
export interface YearFigures {
  year: string
  rows: number
  auc: number
  rank_ic: number
  brier: number
  brier_base: number
}

/** All figures come from forecasts of purged walk-forward folds. */
export interface Metrics {
  rows: number
  folds: number
  auc: number
  /** 5 % and 95 % bounds, bootstrap by calendar quarter. */
  auc_ci90: [number, number]
  auc_years_above_half: number
  /** Of the probability, see `rankIc`. */
  rank_ic: number
  rank_ic_t: number
  brier: number
  /** Of the share of positives known at training time. */
  brier_base: number
  log_loss: number
  /** Ten bins of equal count. */
  ece: number
  /** Share of positives in the top tenth of each universe and date. */
  top_decile_hit: number
}

export interface Evaluation {
  metrics: Metrics
  years: YearFigures[]
}

/**
 * Expanding walk-forward: each calendar year is forecast by a model of all rows whose label windows ended before it.
 *
 * @param rows by date.
 */
export function yearlyFolds(rows: Dataset): Fold[] {
  const years = [...new Set(rows.map((row) => row.date.slice(0, 4)))]
  const first = Date.parse(rows[0]?.date ?? '') + TRAINING_YEARS * 365 * 86_400_000
  return years
    .filter((year) => Date.parse(`${year}-01-01`) >= first)
    .map((year) => ({
      year,
      train: knownBefore(rows, `${year}-01-01`),
      test: rows.filter((row) => row.date.startsWith(year))
    }))
}

/** Trains and forecasts one fold. */
export function forecastFold({ train, test }: Fold): Forecast[] {
  const model = fitModel(train)
  const base = average(train.map((row) => row.label))
  return test.map((row) => ({ row, base, probability: score(model, row.features).probability }))
}

/** Figures of all forecasts together, and of each year. */
export function evaluate(forecasts: readonly Forecast[]): Evaluation {
  const years = [...Map.groupBy(forecasts, ({ row }) => row.date.slice(0, 4))].map(([year, own]) =>
    yearFigures(year, own)
  )
  const { p, y } = columns(forecasts)
  const sections = crossSections(forecasts)
  const ic = rankIc(sections, ({ probability }) => probability)
  const quarters = forecasts.map(({ row }) => quarterOf(row.date))
  const { rows, auc: area, brier: error, brier_base } = yearFigures('all', forecasts)
  const metrics: Metrics = {
    rows,
    folds: years.length,
    auc: area,
    auc_ci90: bootstrapAuc(p, y, quarters),
    auc_years_above_half: years.filter((year) => year.auc > 0.5).length,
    rank_ic: ic.mean,
    rank_ic_t: ic.t,
    brier: error,
    brier_base,
    log_loss: logLoss(p, y),
    ece: calibrationError(p, y),
    top_decile_hit: topDecileHit(sections)
  }
  return { metrics, years }
}

function yearFigures(year: string, forecasts: readonly Forecast[]): YearFigures {
  const { p, y, base } = columns(forecasts)
  return {
    year,
    rows: forecasts.length,
    auc: auc(p, y),
    rank_ic: rankIc(crossSections(forecasts), ({ probability }) => probability).mean,
    brier: brier(p, y),
    brier_base: brier(base, y)
  }
}

function columns(forecasts: readonly Forecast[]): { p: Float64Array; y: Uint8Array; base: Float64Array } {
  return {
    p: Float64Array.from(forecasts, ({ probability }) => probability),
    y: Uint8Array.from(forecasts, ({ row }) => row.label),
    base: Float64Array.from(forecasts, ({ base }) => base)
  }
}

function topDecileHit(sections: readonly Forecast[][]): number {
  return average(
    sections.flatMap((section) =>
      section
        .toSorted((a, b) => b.probability - a.probability)
        .slice(0, Math.max(1, Math.round(section.length / 10)))
        .map(({ row }) => row.label)
    )
  )
}

function quarterOf(date: string): string {
  return `${date.slice(0, 4)} Q${Math.ceil(Number(date.slice(5, 7)) / 3)}`
}

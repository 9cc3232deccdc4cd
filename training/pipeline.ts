import type { MarketSource } from '../domain/market.ts'
import { RANKING_MODEL } from '../domain/ranking.ts'
import { buildDataset, type Dataset, type FeatureFunction } from './dataset.ts'
import { checkForLeak, gateFailures } from './gate.ts'
import { fitModel, type LinearModel } from './model.ts'
import { evaluate, forecastFold, TRAINING_YEARS, yearlyFolds, type Evaluation } from './walk-forward.ts'

/** The name under which the model is served. */
export const MODEL_NAME = RANKING_MODEL

/** All that a training found. */
export interface Training {
  source: MarketSource['kind']
  rows: Dataset
  model: LinearModel
  evaluation: Evaluation
  /** Why the promotion gate refuses the model; empty if it does not. */
  failures: string[]
}

/**
 * Prices to model: rows, purged walk-forward evaluation, leak alarm, promotion gate, and the final fit on all rows.
 *
 * @param features replaces the service's features; a test hands in some that know the future.
 * @throws LeakError if the figures are too good to be true; RangeError if there is too little history to judge.
 */
export async function trainOn(
  source: MarketSource,
  log: (line: string) => void,
  features?: FeatureFunction
): Promise<Training> {
  const rows = await buildDataset(source, features)
  const folds = yearlyFolds(rows)
  if (folds.length === 0) {
    throw new RangeError(
      `too little history: ${rows.length} weekly rows, and the first ${TRAINING_YEARS} years only train`
    )
  }
  log(`${rows.length} weekly rows from ${rows[0]!.date} to ${rows.at(-1)!.date}`)
  const forecasts = folds.flatMap((fold) => {
    const own = forecastFold(fold)
    log(`${fold.year}: ${fold.train.length} rows trained, ${fold.test.length} forecast`)
    return own
  })
  const evaluation = evaluate(forecasts)
  checkForLeak(source.kind, evaluation.metrics, rows)
  const failures = gateFailures(evaluation.metrics)
  return { source: source.kind, rows, model: fitModel(rows), evaluation, failures }
}

import type { MarketSource } from '../domain/market.ts'
import type { Metrics } from './walk-forward.ts'

/**
 * Nobody forecasts the direction of large caps from their daily prices this well (good public benchmarks reach .52). On
 * real prices a higher AUC means that the features know the future.
 */
export const LEAK_AUC = 0.55

/** The figures are too good to be true. Nothing overrides it. */
export class LeakError extends Error {
  constructor(area: number) {
    super(
      `leak alarm: a walk-forward AUC of ${area.toFixed(3)} on real prices is above ${LEAK_AUC}. ` +
        'A feature that knows the future is likelier than such skill: check dates, adjustments and the feature function'
    )
    this.name = 'LeakError'
  }
}

/** @throws LeakError if figures from real prices are above LEAK_AUC. A simulator may plant any signal it likes. */
export function checkForLeak({ auc }: Metrics, kind: MarketSource['kind']): void {
  if (kind === 'historical' && auc > LEAK_AUC) throw new LeakError(auc)
}

/** Why a model must not be promoted: sentences, none if it may. It has to show skill, and to beat quoting the base rate. */
export function gateFailures({ auc, auc_ci90: [low], brier, brier_base }: Metrics): string[] {
  const failures: string[] = []
  if (!(low > 0.5)) {
    failures.push(
      `no skill shown: AUC ${auc.toFixed(4)}, and its 5 % bootstrap bound ${low.toFixed(4)} is not above .5`
    )
  }
  if (!(brier <= brier_base)) {
    failures.push(
      `probabilities no better than the base rate: Brier ${brier.toFixed(5)} against ${brier_base.toFixed(5)}`
    )
  }
  return failures
}

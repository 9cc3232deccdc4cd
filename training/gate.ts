import { FEATURES } from '../domain/features.ts'
import type { MarketSource } from '../domain/market.ts'
import type { Dataset } from './dataset.ts'
import { crossSections, rankIc } from './information.ts'
import type { Metrics } from './walk-forward.ts'

/**
 * Nobody forecasts the direction of large caps from their daily prices this well (good public benchmarks reach .52). On
 * real prices a higher AUC means that the features know the future.
 */
const LEAK_AUC = 0.55
/**
 * The AUC alone does not see a feature that is one day ahead (measured on real prices: .543). A single feature does: its
 * rank IC is then .08 to .10 with t from 9 to 14, where no honest one passed .03 and t 2.5.
 */
const LEAK_IC = 0.05
const LEAK_T = 6

/** The figures are too good to be true. Nothing overrides it. */
export class LeakError extends Error {
  override name = 'LeakError'

  constructor(evidence: string) {
    super(
      `leak alarm: ${evidence}. A feature that knows the future is likelier than such skill: ` +
        'check dates, adjustments and the feature function'
    )
  }
}

/**
 * Looks at figures of real prices; a simulator may plant any signal it likes.
 *
 * @param rows by date.
 * @throws LeakError if the model, or a single feature, is too good to be true.
 */
export function checkForLeak(kind: MarketSource['kind'], { auc }: Metrics, rows: Dataset): void {
  if (kind === 'simulated') return
  if (auc > LEAK_AUC) throw new LeakError(`a walk-forward AUC of ${auc.toFixed(3)} is above ${LEAK_AUC}`)
  const sections = crossSections(rows.map((row) => ({ row })))
  for (const [j, { name }] of FEATURES.entries()) {
    const { mean, t } = rankIc(sections, ({ row }) => row.features[j]!)
    if (Math.abs(mean) > LEAK_IC && Math.abs(t) > LEAK_T) {
      throw new LeakError(`${name} alone has a rank IC of ${mean.toFixed(3)}, t ${t.toFixed(1)}`)
    }
  }
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

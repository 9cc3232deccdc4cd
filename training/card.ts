import { DAYS_BETWEEN_ROWS, HORIZON_DAYS, MIN_MEMBERS } from './dataset.ts'
import type { Manifest } from './manifest.ts'
import { TRAINING_YEARS, type Metrics, type YearFigures } from './walk-forward.ts'

/** What a card says beyond the manifest. */
export interface CardDetails {
  years: readonly YearFigures[]
  /** Why the promotion gate refused the model; empty if it did not. */
  failures: readonly string[]
  /** The command that makes the same bytes again. */
  command: string
  /** What is known of the data, by the person who trained; undefined: nothing. */
  notes: string | undefined
}

/** CARD.md: what the model is, what it is worth and where it must not be used, in plain words. */
export function toCard(manifest: Manifest, { years, failures, command, notes }: CardDetails): string {
  const { name, version, source, metrics } = manifest
  return `${[
    `# ${name} ${version} (${source === 'simulated' ? 'simulated market' : 'real prices'})`,
    ...failures.map(
      (failure) => `**The promotion gate refused this model; it was written by force.** Reason: ${failure}.`
    ),
    ...(source === 'simulated' ? [SIMULATED_WARNING] : []),
    '## What it predicts',
    `The probability that the following is true: ${manifest.label}. A logistic regression of ${manifest.features.length} scale-free features of daily adjusted closes, ${HORIZON_DAYS} trading days ahead.`,
    '## What it is worth',
    verdict(metrics),
    source === 'simulated' ? SIMULATED_SUMMARY : HISTORICAL_SUMMARY,
    yearTable(years).join('\n'),
    figureTable(metrics).join('\n'),
    '## Data',
    universeTable(manifest).join('\n'),
    `Weekly rows (Wednesdays, every ${DAYS_BETWEEN_ROWS} trading days) from ${manifest.window.from}; the last label ends on ${manifest.window.to}. Dates with fewer than ${MIN_MEMBERS} members are left out.`,
    ...(source === 'historical' ? [HISTORICAL_CAVEATS] : []),
    ...(notes === undefined ? [] : [`Notes on this data: ${notes}`]),
    '## How it was trained and judged',
    METHOD,
    calibration(manifest),
    RECIPE_HISTORY,
    '## Use and limits',
    source === 'simulated' ? SIMULATED_USE : HISTORICAL_USE,
    '## When it leaves what it knows',
    DRIFT,
    driftTable(manifest).join('\n'),
    '## Reproduce',
    `\`\`\`\n${command}\n\`\`\``,
    'The same data and code give the same bytes: nothing depends on the clock or on chance. `trained_at` is the end of the data window, or `SOURCE_DATE_EPOCH` where it is set.'
  ].join('\n\n')}\n`
}

/** The walk-forward years as a Markdown table, one line each. */
export function yearTable(years: readonly YearFigures[]): string[] {
  return [
    '| year | rows | AUC | rank IC | Brier | Brier of the base rate |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
    ...years.map(
      ({ year, rows, auc, rank_ic, brier, brier_base }) =>
        `| ${year} | ${rows} | ${auc.toFixed(4)} | ${rank_ic.toFixed(4)} | ${brier.toFixed(5)} | ${brier_base.toFixed(5)} |`
    )
  ]
}

/** The figures of all years together as a Markdown table, one line each. */
export function figureTable(metrics: Metrics): string[] {
  const [low, high] = metrics.auc_ci90
  return [
    '| all years | |',
    '| --- | --- |',
    `| AUC | ${metrics.auc.toFixed(4)}, 90 % interval ${low.toFixed(4)} to ${high.toFixed(4)} (bootstrap by quarter) |`,
    `| years above .5 | ${metrics.auc_years_above_half} of ${metrics.folds} |`,
    `| rank IC | ${metrics.rank_ic.toFixed(4)}, t ${metrics.rank_ic_t.toFixed(2)} (Newey-West) |`,
    `| Brier | ${metrics.brier.toFixed(5)}, base rate ${metrics.brier_base.toFixed(5)} |`,
    `| log loss | ${metrics.log_loss.toFixed(5)} |`,
    `| calibration error (ECE) | ${metrics.ece.toFixed(4)}, ten bins of equal count |`,
    `| top tenth right | ${(metrics.top_decile_hit * 100).toFixed(1)} % |`,
    `| rows forecast | ${metrics.rows} |`
  ]
}

function verdict({ auc, auc_ci90: [low, high], rank_ic_t, gate_passed }: Manifest['metrics']): string {
  const pairs = Math.round(auc * 1000)
  const proof =
    low > 0.5
      ? `The interval (${low.toFixed(4)} to ${high.toFixed(4)}) leaves .5 out, by ${(low - 0.5).toFixed(4)}.`
      : `The interval (${low.toFixed(4)} to ${high.toFixed(4)}) holds .5: this may be no skill at all.`
  const order =
    Math.abs(rank_ic_t) >= 2 ? 'is statistically distinct from 0' : 'is not statistically distinct from 0 (|t| < 2)'
  return [
    `Of two stocks, one that beat its median and one that did not, it puts the right one first ${pairs} times in 1,000; a coin does 500.`,
    proof,
    `The order inside a date (rank IC, t ${rank_ic_t.toFixed(2)}) ${order}.`,
    `Promotion gate (5 % bound of the AUC above .5, Brier not above the base rate's): ${gate_passed ? 'passed' : 'failed'}.`
  ].join(' ')
}

function universeTable({ universe }: Manifest): string[] {
  return [
    '| universe | symbols | rows | from | to |',
    '| --- | ---: | ---: | --- | --- |',
    ...universe.map(({ name, symbols, rows, from, to }) => `| ${name} | ${symbols} | ${rows} | ${from} | ${to} |`)
  ]
}

function calibration({ calibration: { a, b } }: Manifest): string {
  return `Calibration: Platt scaling, log-odds = ${a} · margin + ${b}, fitted on the newest fifth of the rows, scored by a model of the older ones, on margins less their mean, with a normal prior (1, .5) on the slope. Then the weights were fitted on all rows.`
}

/** The limits of the manifest, as a reader compares them. */
function driftTable({ features, drift }: Manifest): string[] {
  const limits = [...features.map(({ name }) => name), 'probability'].map((name, j) => {
    const { date, month } = (drift.features[j] ?? drift.score).psi_limits
    return `| ${name} | ${date.toFixed(2)} | ${month.toFixed(2)} |`
  })
  return ['| PSI that 5 % exceed | of the dates | of the months |', '| --- | ---: | ---: |', ...limits]
}

const DRIFT =
  'The manifest has the deciles of each feature and of the probability among the training rows, and how far the training strays from itself: stocks move together, so single dates and months are always far from the sum of all (population stability index, .25 being the textbook alarm). A service compares what it scores with these limits. Beyond them, and outside the middle 99 % of a feature (`feature_out_of_range`), the model extrapolates: its figures above say nothing there.'

const SIMULATED_WARNING =
  '**Trained on a simulated market. It learned the signal that the simulator plants, knows nothing of real markets, and must never score real prices.**'

const SIMULATED_SUMMARY =
  'The figures say that the training finds a signal that is there. They say nothing about any real share.'

const HISTORICAL_SUMMARY =
  'The direction of one large cap over 20 days is nearly a coin flip, with this model as with any. Its probabilities stay close to .5 because that is the truth; the rank within a universe carries what little it knows. It is not a trading strategy: no costs, no spreads and no capacity were looked at, and a year on the wrong side of .5 is normal.'

const HISTORICAL_CAVEATS =
  'Read the figures with these in mind: the symbols are those that somebody chose to keep, usually members near the end of the sample (survivorship), membership is not point-in-time, and adjusted closes are as good as their source (a dividend that is not adjusted counts as a loss). All of it flatters or blurs the result; none of it was corrected.'

const METHOD = `Purged walk-forward, the only evaluation there is: each calendar year after the first ${TRAINING_YEARS} is forecast by a model of the rows whose labels had ended more than a week before it. Weights: logistic regression on standardised features cut at ±3, with a normal prior of deviation .03 (L2), each row counting a quarter because four weekly labels overlap. The AUC is that of the calibrated probability over all universes and dates together.`

const RECIPE_HISTORY =
  'How many recipes were looked at: four, on real prices of 74 US, UK and German large caps, with the same features, penalty and folds: rows weighted by their distance from the median with a free Platt slope (AUC .506), the same with a prior on the slope (.508), unweighted rows with that prior (.508), and that with the scaling fitted on margins less their mean (.508, kept: its probabilities are clearly the truest on simulated markets of other seeds, and on real prices the last three are equal). Differences below .005 are noise; the choice flatters figures from those prices a little.'

const SIMULATED_USE =
  'For demonstrations, tests and load: it comes with the simulated market and is served with it only. The simulated market that is served by default has another seed than the one that was learned from.'

const HISTORICAL_USE =
  'For ranking large caps of a country against each other, as one weak opinion among others, with its rank and its skill shown beside it. Not for single decisions, other horizons, small caps, other asset classes, or absolute returns: the label says nothing about whether the market rises. Not investment advice.'

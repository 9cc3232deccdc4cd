/** How the landing page puts things. Pure functions: tests run them outside of a browser. */

/** @typedef {import('../../schemas/ranking.ts').RankingReply} Ranking */
/**
 * What is read of a model of /models. Its figures are whatever its manifest has.
 * @typedef {object} Model
 * @property {string} name
 * @property {string} version
 * @property {string} label
 * @property {string} source
 * @property {string} trained_at
 * @property {{ from: string, to: string }} window
 * @property {{ [name: string]: unknown }} metrics
 */

const LANGUAGE = 'en-GB'
const UNKNOWN = 'not known'

/** @param {number} share 0 to 1 */
export const percent = (share) => `${(share * 100).toFixed(1)} %`

/** @param {number | null} value @param {string | null} currency */
export function price(value, currency) {
  if (value === null) return UNKNOWN
  const digits = value >= 1 ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumSignificantDigits: 4 }
  const number = value.toLocaleString(LANGUAGE, digits)
  // Not as a currency: "GBp" is a hundredth of what Intl makes of it.
  return currency === null ? number : `${number} ${currency}`
}

/** From the first to the last price, with its sign. @param {readonly number[]} closes @returns {number} a share */
export function change(closes) {
  const [first = 0] = closes
  const [last = 0] = closes.slice(-1)
  return first > 0 ? last / first - 1 : 0
}

/** @param {number} share */
export const signed = (share) => `${share < 0 ? '−' : '+'}${percent(Math.abs(share))}`

/** A day as people write it. @param {string} iso YYYY-MM-DD, or a time that begins so */
export function day(iso) {
  const options = /** @type {const} */ ({ day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' })
  return new Date(iso.slice(0, 10)).toLocaleDateString(LANGUAGE, options)
}

/** @param {number} at milliseconds of Unix time */
export const clock = (at) => new Date(at).toLocaleTimeString(LANGUAGE)

/** @type {{ [code: string]: string }} */
const TITLES = {
  simulated_data: 'Simulated prices',
  simulated_model: 'Model of simulated prices',
  old_prices: 'Old prices'
}
/** So many of what is left out are named. */
const NAMED = 5

/**
 * What to know before a ranking is read, each with a title.
 * @param {Ranking} ranking
 * @returns {{ title: string, text: string }[]}
 */
export function notices({ warnings, stale, age_seconds: age, skipped, ranking }) {
  const found = warnings.map(({ code, message }) => ({ title: TITLES[code] ?? 'Note', text: message }))
  if (stale) {
    const text = `This ranking is ${Math.round(age)} s old. A new one is being made, or the source of prices has failed.`
    found.push({ title: 'Stale', text })
  }
  if (skipped.length > 0) {
    const named = skipped.slice(0, NAMED).map(({ ticker, reason }) => `${ticker} (${reason.replaceAll('_', ' ')})`)
    const rest = skipped.length > NAMED ? ` and ${skipped.length - NAMED} more` : ''
    const text = `${skipped.length} of ${skipped.length + ranking.length} stocks are left out: ${named.join(', ')}${rest}.`
    found.push({ title: 'Incomplete', text })
  }
  return found
}

/** @param {unknown} value @param {number} digits */
const number = (value, digits) => (typeof value === 'number' ? value.toFixed(digits) : UNKNOWN)

/** @param {unknown} value @returns {[number, number] | undefined} */
function pair(value) {
  if (!Array.isArray(value)) return undefined
  const [low, high] = value
  return typeof low === 'number' && typeof high === 'number' ? [low, high] : undefined
}

/**
 * What a model is worth in a sentence or two.
 * @param {Model} model
 */
export function verdict({ metrics, source }) {
  const { auc } = metrics
  if (typeof auc !== 'number') return 'Nobody has measured what this model is worth.'
  const interval = pair(metrics['auc_ci90'])
  const sentences = [
    `Of two stocks, one that beat its median and one that did not, it puts the right one first ${Math.round(auc * 1000)} times in 1,000; a coin does 500.`
  ]
  if (interval && interval[0] <= 0.5) sentences.push('The interval has the coin in it: it may know nothing at all.')
  if (source === 'simulated') sentences.push('It learned from invented prices, which says nothing of real ones.')
  return sentences.join(' ')
}

/**
 * The figures of a model, by what they are.
 * @param {Model} model
 * @returns {{ term: string, text: string }[]}
 */
export function figures({ metrics, label, source, trained_at: trained, window, name, version }) {
  const interval = pair(metrics['auc_ci90'])
  const { rows, folds } = metrics
  const judged =
    typeof rows === 'number' ? `${rows.toLocaleString(LANGUAGE)} forecasts of days it had not seen` : UNKNOWN
  return [
    { term: 'Model', text: `${name} ${version}` },
    { term: 'Predicts', text: label },
    {
      term: 'AUC',
      text: `${number(metrics['auc'], 3)}, ${interval ? `90 % interval ${interval[0].toFixed(3)} to ${interval[1].toFixed(3)}` : 'without an interval'}; a coin has 0.500`
    },
    {
      term: 'Rank IC',
      text: `${number(metrics['rank_ic'], 3)}, t ${number(metrics['rank_ic_t'], 1)}; below 2 it is not distinct from 0`
    },
    {
      term: 'Brier score',
      text: `${number(metrics['brier'], 4)}; who always says the base rate has ${number(metrics['brier_base'], 4)}, and less is better`
    },
    { term: 'Judged on', text: typeof folds === 'number' ? `${judged}, in ${folds} years` : judged },
    {
      term: 'Trained',
      text: `${day(trained)}, on ${source} prices from ${day(window.from)} to ${day(window.to)}`
    }
  ]
}

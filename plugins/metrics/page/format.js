/** How the dashboard prints numbers and chooses colours. Pure functions: tests run them outside of a browser. */

/** @typedef {import('../panels.ts').Unit} Unit */
/** @typedef {import('../panels.ts').Threshold} Threshold */

/**
 * Three digits, without zeros at the end, never in powers of ten.
 * @param {number} value
 * @returns {string}
 */
function short(value) {
  const digits = Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))
  return /e/.test(digits) ? value.toFixed(9).replace(/0+$/, '') : digits
}

/**
 * A value in the largest of some units that it reaches.
 * @param {number} value
 * @param {readonly (readonly [number, string])[]} units from the largest down; the last one for all that is smaller
 * @returns {string}
 */
function scaled(value, units) {
  const [size, name] = units.find(([least]) => Math.abs(value) >= least) ?? units.at(-1) ?? [1, '']
  return `${short(value / size)}${name}`
}

/** @type {[number, string][]} */
const SECONDS = [
  [2 * 86_400, ' d'],
  [2 * 3600, ' h'],
  [120, ' min'],
  [1, ' s'],
  [1e-3, ' ms'],
  [1e-6, ' µs']
]
/** @type {[number, string][]} */
const BYTES = [
  [2 ** 30, ' GiB'],
  [2 ** 20, ' MiB'],
  [2 ** 10, ' KiB'],
  [1, ' B']
]
/** @type {[number, string][]} */
const PLAIN = [
  [1e9, ' G'],
  [1e6, ' M'],
  [1e4, ' k'],
  [1, '']
]

/** @param {number} value @param {[number, string][]} units */
const withZero = (value, units) => (value === 0 ? `0${units.at(-1)?.[1]}` : scaled(value, units))

/**
 * A value as a person reads it.
 * @param {number} value
 * @param {Unit} unit
 * @param {readonly [string, string]} [states] names of 0 and 1, of the unit `state`
 * @returns {string}
 */
export function formatValue(value, unit, states) {
  switch (unit) {
    case 'per second':
      return `${scaled(value, PLAIN)}/s`
    case 'per minute':
      return `${scaled(value, PLAIN)}/min`
    case 'bytes per second':
      return `${withZero(value, BYTES)}/s`
    case 'seconds':
      return value === 0 ? '0 s' : scaled(value, SECONDS)
    case 'bytes':
      return withZero(value, BYTES)
    case 'ratio':
      return `${short(value * 100)} %`
    case 'state':
      return states?.[value >= 1 ? 1 : 0] ?? short(value)
    default:
      return scaled(value, PLAIN)
  }
}

/**
 * The colour that a value's thresholds give it.
 * @param {number} value
 * @param {readonly Threshold[]} [thresholds] ascending
 * @returns {Threshold['colour'] | undefined}
 */
export function colourOf(value, thresholds = []) {
  const [base, ...steps] = thresholds
  return steps.findLast(({ from }) => value >= from)?.colour ?? base?.colour
}

/** Colours that the style sheet has: `--series-0` and so on. */
export const SERIES_COLOURS = 12

/** What statuses mean. @type {Record<string, string>} */
const STATUS_COLOURS = { 2: 'green', 3: 'blue', 4: 'amber', 5: 'red' }

/**
 * A colour for each name: the one of its letters, or the next that is free, so that a name looks the same on every panel unless
 * two meet. Statuses have the colours of what they mean.
 * @param {readonly string[]} names
 * @returns {string[]} names of custom properties
 */
export function coloursOf(names) {
  if (names.length > 0 && names.every((name) => /^[2345]\d\d$/.test(name))) {
    return names.map((name) => `--${STATUS_COLOURS[name.charAt(0)]}`)
  }
  /** @type {Set<number>} */
  const taken = new Set()
  /** @type {Map<string, number>} */
  const places = new Map()
  for (const name of names.toSorted()) {
    let hash = 0
    for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0
    let place = hash % SERIES_COLOURS
    while (taken.has(place) && taken.size % SERIES_COLOURS !== 0) place = (place + 1) % SERIES_COLOURS
    if (taken.size === SERIES_COLOURS) taken.clear()
    taken.add(place)
    places.set(name, place)
  }
  return names.map((name) => `--series-${places.get(name)}`)
}

/**
 * The time of day in 24 hours: `16:05`.
 * @param {number} seconds Unix time
 * @param {boolean} [precise] with seconds
 * @returns {string}
 */
export function formatClock(seconds, precise = false) {
  return new Date(seconds * 1000).toLocaleTimeString('en-GB').slice(0, precise ? 8 : 5)
}

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
 * A unit: its size, its name, and the least value that is printed in it if that is not its size.
 * @typedef {{ size: number, name: string, from?: number }} Scale
 */

/** From the largest down. @type {Scale[]} */
const SECONDS = [
  { size: 86_400, name: ' d', from: 2 * 86_400 },
  { size: 3600, name: ' h', from: 2 * 3600 },
  { size: 60, name: ' min', from: 120 },
  { size: 1, name: ' s' },
  { size: 1e-3, name: ' ms' },
  { size: 1e-6, name: ' µs', from: 0 }
]
/** @type {Scale[]} */
const BYTES = [
  { size: 2 ** 30, name: ' GiB' },
  { size: 2 ** 20, name: ' MiB' },
  { size: 2 ** 10, name: ' KiB' },
  { size: 1, name: ' B', from: 0 }
]
/** @type {Scale[]} */
const PLAIN = [
  { size: 1e9, name: ' G' },
  { size: 1e6, name: ' M' },
  { size: 1e3, name: ' k', from: 1e4 },
  { size: 1, name: '', from: 0 }
]

/** A value in the largest unit that it reaches. @param {number} value @param {Scale[]} scales */
function scaled(value, scales) {
  const reached = scales.find(({ size, from = size }) => Math.abs(value) >= from)
  const { size, name } = /** @type {Scale} */ (reached)
  return `${short(value / size)}${name}`
}

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
      return `${scaled(value, BYTES)}/s`
    case 'seconds':
      return value === 0 ? '0 s' : scaled(value, SECONDS)
    case 'bytes':
      return scaled(value, BYTES)
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
    for (const letter of name) hash = (hash * 31 + Number(letter.codePointAt(0))) >>> 0
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

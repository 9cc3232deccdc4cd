/** Whether the numbers in a text are those that its author was given. */

/** `59`, `59.4`, `59,4`, `.594`. */
const NUMBER = String.raw`(?:\d+(?:[.,]\d+)?|[.,]\d+)`
/** The sign belongs to the number unless it is the dash of a range or of a word. */
const SIGNED = String.raw`(?<![\p{L}\p{N}.,%])[-−+]?${NUMBER}`
const PERCENT = String.raw`\s*(?:[%％٪]|per\s?cent|pct\b)`
/** `59.4 %`, `55 to 59 percent`, `55%-59%`. */
const PERCENTAGES = new RegExp(String.raw`(${SIGNED})(?:\s*(?:-|–|—|\bto\b|\band\b)\s*(${NUMBER}))?${PERCENT}`, 'giu')
/** `0.594`, `.594`, `1.0`: what may be a probability. */
const FRACTIONS = new RegExp(
  String.raw`(?<![\p{L}\p{N}.,])[-−]?(?:0?[.,]\d+|1[.,]0+)(?![\p{L}\p{N}]|[.,]\d|${PERCENT})`,
  'giu'
)

interface Quoted {
  /** As it is written, with the percent sign. */
  text: string
  value: number
  /** Half of the last digit that is written: as far as rounding goes. */
  tolerance: number
}

function quote(written: string, scale: number): Omit<Quoted, 'text'> {
  const plain = written.replace('−', '-').replace(',', '.')
  const digits = plain.split('.')[1]?.length ?? 0
  return { value: Number(plain) * scale, tolerance: (10 ** -digits / 2) * scale }
}

/** Percentages and fractions of a text, as probabilities from 0 to 1. */
function quotedIn(text: string): Quoted[] {
  const percentages = [...text.matchAll(PERCENTAGES)].flatMap(([, first = '', second]) =>
    [first, second].flatMap((written) =>
      written === undefined ? [] : { text: `${written}%`, ...quote(written, 0.01) }
    )
  )
  const fractions = [...text.matchAll(FRACTIONS)].map(([written]) => ({ text: written, ...quote(written, 1) }))
  return [...percentages, ...fractions]
}

/** For binary fractions. */
const EPSILON = 1e-9

/**
 * The percentages and probabilities of a text that are none of the given ones, rounded as they are written: of .594, `59.4 %`, `59 %` and `0.6`
 * are right, `60 %` is not. Numbers of `context`, which the author has read, are given too. Other numbers (prices, dates, counts, odds in words)
 * are not looked at.
 */
export function unsupportedNumbers(text: string, given: readonly number[], context = ''): string[] {
  const known = [...given, ...quotedIn(context).map(({ value }) => value)]
  const wrong = quotedIn(text).filter(
    ({ value, tolerance }) => !known.some((number) => Math.abs(number - value) <= tolerance + EPSILON)
  )
  return [...new Set(wrong.map((quoted) => quoted.text))]
}

/** The last prices of a stock as small charts need them. */

/** Trading days in a sparkline: about a quarter of a year. */
export const SPARKLINE_DAYS = 60
const DIGITS = 6

/**
 * The newest adjusted closes, oldest first, at most SPARKLINE_DAYS. All are rounded to the place of the sixth significant digit of
 * the highest: no chart shows more, and in a reply the unrounded ones are twice as long.
 * @param adjClose adjusted closes, ascending by date, all positive.
 */
export function sparkline(adjClose: Float64Array): number[] {
  const recent = adjClose.subarray(-SPARKLINE_DAYS)
  const places = DIGITS - 1 - Math.floor(Math.log10(Math.max(...recent)))
  // Whole numbers stay whole: dividing by a fraction would give them digits of its own. The other end keeps the product finite.
  const unit = 10 ** Math.min(Math.max(0, places), 100)
  return Array.from(recent, (close) => Math.round(close * unit) / unit)
}

/** The words for a probability, strongest first. */
export const SIGNALS = ['STRONG BUY', 'BUY', 'HOLD', 'CONSIDER SELLING', 'SELL'] as const
export type Signal = (typeof SIGNALS)[number]

/** The word for a probability of outperforming: .65, .55, .45 and .35 belong to the stronger word. */
export function signalOf(probability: number): Signal {
  if (probability >= 0.65) return 'STRONG BUY'
  if (probability >= 0.55) return 'BUY'
  if (probability >= 0.45) return 'HOLD'
  if (probability >= 0.35) return 'CONSIDER SELLING'
  return 'SELL'
}

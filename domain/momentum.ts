/** The momentum score of a coin: points for size, rising prices and turnover. It is a rule of thumb, and no probability. */

/** What the score looks at. null: the source has no value. */
export interface Momentum {
  /** By market capitalisation, 1 is the largest. */
  marketCapRank: number | null
  /** Percent. */
  change24h: number | null
  /** Percent. */
  change7d: number | null
  /** Percent. */
  change30d: number | null
  /** Volume of 24 hours over market capitalisation, in percent. */
  turnover: number | null
}

/** The points of each part. */
export interface ScoreParts {
  rank: number
  change_24h: number
  change_7d: number
  change_30d: number
  volume: number
}

export interface MomentumScore {
  /** 0 to 1. */
  score: number
  parts: ScoreParts
}

/** Points in hundredths, so that they add up exactly. The first limit that a value is beyond counts. */
type Steps = readonly (readonly [limit: number, points: number])[]

const RANK: Steps = [
  [10, 30],
  [50, 15]
]
const CHANGE_24H: Steps = [
  [5, 25],
  [0, 15],
  [-3, 5]
]
const CHANGE_7D: Steps = [
  [10, 20],
  [0, 10]
]
const CHANGE_30D: Steps = [
  [20, 15],
  [0, 8]
]
const TURNOVER: Steps = [
  [20, 10],
  [10, 5]
]

function above(value: number | null, steps: Steps): number {
  return value === null ? 0 : (steps.find(([limit]) => value > limit)?.[1] ?? 0)
}

/**
 * The score that this API has always given to coins: rank <= 10 .30, <= 50 .15; 24 h > 5 % .25, > 0 .15, > -3 .05; 7 days > 10 %
 * .20, > 0 .10; 30 days > 20 % .15, > 0 .08; turnover > 20 % .10, > 10 .05. The highest of all add up to 1. What is null
 * gives no points.
 */
export function momentumScore({ marketCapRank, change24h, change7d, change30d, turnover }: Momentum): MomentumScore {
  const points = {
    rank: marketCapRank === null ? 0 : (RANK.find(([limit]) => marketCapRank <= limit)?.[1] ?? 0),
    change_24h: above(change24h, CHANGE_24H),
    change_7d: above(change7d, CHANGE_7D),
    change_30d: above(change30d, CHANGE_30D),
    volume: above(turnover, TURNOVER)
  }
  const sum = Object.values(points).reduce((total, part) => total + part, 0)
  const parts = Object.fromEntries(Object.entries(points).map(([name, part]) => [name, part / 100]))
  return { score: sum / 100, parts: parts as unknown as ScoreParts }
}

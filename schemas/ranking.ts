/** A ranking and a prediction: as they are answered, and as the cache keeps them. */
import { type Static, Type } from '@sinclair/typebox'
import { FETCH_ERRORS } from '../domain/market.ts'
import { SPARKLINE_DAYS } from '../domain/sparkline.ts'
import { Finite } from './finite.ts'
import {
  Freshness,
  IsoDate,
  MaybeNumber,
  MaybeText,
  ModelReference,
  Percentile,
  Probability,
  Signal,
  Source,
  Warnings
} from './market.ts'

/** Why a ticker is not in a ranking. */
export const SKIP_REASONS = [...FETCH_ERRORS, 'short_history'] as const
export type SkipReason = (typeof SKIP_REASONS)[number]

export const RankingRow = Type.Object({
  rank: Type.Integer({ minimum: 1 }),
  ticker: Type.String(),
  name: Type.String(),
  sector: MaybeText,
  prob: Probability,
  signal: Signal,
  percentile: Percentile,
  price: MaybeNumber,
  currency: MaybeText,
  as_of: IsoDate
})

export const Ranking = Type.Object({
  ranking: Type.Array(RankingRow),
  skipped: Type.Array(
    Type.Object({ ticker: Type.String(), reason: Type.Unsafe<SkipReason>({ type: 'string', enum: SKIP_REASONS }) })
  ),
  coverage: Finite({
    minimum: 0,
    maximum: 1,
    description:
      'Share of the tickers for which the source did not fail. Unknown tickers and short histories are no failures.'
  }),
  country: Type.Union([Type.String(), Type.Null()], { description: 'The universe; null for tickers of your own.' }),
  source: Source,
  data_as_of: Type.Union([IsoDate, Type.Null()], { description: 'The newest price in the ranking.' }),
  model: ModelReference,
  warnings: Warnings
})
export type Ranking = Static<typeof Ranking>

const RowWithSparkline = Type.Composite([
  RankingRow,
  Type.Object({
    sparkline: Type.Optional(
      Type.Array(Finite(), {
        maxItems: SPARKLINE_DAYS,
        description: 'With `sparkline=true`: the last closes, adjusted for splits and dividends, oldest first.'
      })
    )
  })
])
/** What `/ranking` answers. */
export const RankingReply = Type.Composite([
  Type.Object({ ranking: Type.Array(RowWithSparkline) }),
  Type.Omit(Ranking, ['ranking']),
  Freshness
])
export type RankingReply = Static<typeof RankingReply>

export const TickerPrediction = Type.Object({
  ticker: Type.String(),
  prob: Probability,
  signal: Signal,
  percentile: Type.Union([Percentile, Type.Null()], { description: 'Within `universe`; null without one.' }),
  universe: MaybeText,
  features: Type.Record(Type.String(), Finite(), { description: 'What the model was given.' }),
  price: MaybeNumber,
  currency: MaybeText,
  as_of: IsoDate,
  source: Source,
  model: ModelReference,
  warnings: Warnings
})
export type TickerPrediction = Static<typeof TickerPrediction>

/** What `explain=true` adds to a prediction. */
export const Explanation = Type.Object({
  contributions: Type.Record(Type.String(), Finite(), {
    description: "What each feature adds to the model's log-odds. Exact: they and `base` add up to `margin`."
  }),
  base: Finite({ description: 'The part of the log-odds that no feature has to do with.' }),
  margin: Finite({
    description:
      'The log-odds in double precision. The model computes them in float32: `prob` is 1 / (1 + exp(-margin)) as well as that allows.'
  }),
  skill: Type.Record(Type.String(), Type.Unknown(), {
    description:
      'What the model is worth, in purged walk-forward figures: the AUC (.5 is a coin) with its interval, and others.'
  }),
  note: Type.String()
})
export type Explanation = Static<typeof Explanation>

/** Query of routes that can explain their prediction. */
export const ExplainQuery = Type.Object(
  {
    explain: Type.Boolean({
      default: false,
      description: "Adds each feature's contribution to the model's log-odds, beside the model's measured skill."
    })
  },
  { additionalProperties: false }
)

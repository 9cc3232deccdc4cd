/** What the replies about markets share. */
import { Type } from '@sinclair/typebox'
import { MARKET_SOURCES } from '../domain/market.ts'
import { SIGNALS } from '../domain/signals.ts'
import { SYMBOL_PATTERN } from '../domain/symbols.ts'
import { Finite } from './finite.ts'

/** A symbol as clients write it; parseSymbol makes it canonical. */
export const Ticker = Type.String({
  pattern: SYMBOL_PATTERN,
  description: 'A symbol such as AAPL, NESN.SW or BRK.B (also BRK-B, BRK/B); spaces around it and lower case are fine.',
  examples: ['AAPL']
})

/** A text or nothing. */
export const MaybeText = Type.Union([Type.String(), Type.Null()])
/** A finite number or nothing: the source has no value. */
export const MaybeNumber = Type.Union([Finite(), Type.Null()])

export const Probability = Finite({ minimum: 0, maximum: 1, description: "Of the model's label, calibrated." })
export const Percentile = Finite({
  minimum: 0,
  maximum: 100,
  description: 'Share of the universe with a lower probability, in percent; ties count half. 100 is the best.'
})
export const Signal = Type.Unsafe<(typeof SIGNALS)[number]>({
  type: 'string',
  enum: SIGNALS,
  description: '>= .65 STRONG BUY, >= .55 BUY, >= .45 HOLD, >= .35 CONSIDER SELLING, else SELL'
})
export const IsoDate = Type.String({ format: 'date' })
export const Source = Type.Unsafe<(typeof MARKET_SOURCES)[number]>({
  type: 'string',
  enum: MARKET_SOURCES,
  description: 'Where the prices come from. `simulated` prices are invented.'
})

/** The model that answered. */
export const ModelReference = Type.Object({
  name: Type.String(),
  version: Type.String(),
  label: Type.String({ description: 'What the probability is a probability of.' }),
  horizon_days: Type.Integer({ description: 'Trading days ahead.' }),
  trained_at: Type.String(),
  source: Type.String({ description: 'What it was trained on: simulated or historical prices.' })
})

/** How old an answer is that the cache may have kept. */
export const Freshness = Type.Object({
  stale: Type.Boolean({
    description: 'Older than it is kept fresh: a new one is being made, or its source has failed.'
  }),
  age_seconds: Finite({ minimum: 0, description: 'Since the answer was made.' })
})

/** Something to know before the numbers are used. */
export const Warning = Type.Object({ code: Type.String(), message: Type.String() })
export const Warnings = Type.Array(Warning, { description: 'What to know before the numbers are used; often empty.' })

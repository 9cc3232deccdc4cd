/** What a language model is to answer; the form that it is given, and the one that its answer is checked against. */
import { type Static, Type } from '@sinclair/typebox'

// Without bounds, and with every field required: not every server takes more of JSON Schema than that. No list of the tickers either:
// servers compile a schema when they first see it, and it would be a new one for every ranking.
export const Answer = Type.Object(
  {
    summary: Type.String(),
    picks: Type.Array(Type.Object({ ticker: Type.String(), reason: Type.String() }, { additionalProperties: false })),
    risks: Type.Array(Type.String())
  },
  { additionalProperties: false }
)
export type Answer = Static<typeof Answer>

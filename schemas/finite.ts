import { type NumberOptions, type TNumber, Type } from '@sinclair/typebox'

/**
 * A number that is neither NaN nor infinite. JSON and query strings can carry `1e999`, which parses to Infinity and passes
 * `maximum`; the keyword `finite` (plugins/validation.ts) refuses it.
 */
export function Finite(options: NumberOptions = {}): TNumber {
  return Type.Number({ finite: true, ...options })
}

/**
 * What a client may send as a symbol, for a JSON schema (with or without the `u` flag): 1 to 10 ASCII characters, at
 * least one of them a letter or a digit, lower case and surrounding white space allowed. Exactly the texts that
 * `parseSymbol` accepts.
 */
export const SYMBOL_PATTERN: string = '^\\s*(?=[.\\-=^/]*[A-Za-z0-9])[A-Za-z0-9.\\-=^/]{1,10}\\s*$'

const symbol = new RegExp(SYMBOL_PATTERN)

/** A share class after a dot, at the end (`BRK.B`) or before an exchange suffix (`BT.A.L`). */
const dottedClass = /(?<=[A-Z0-9])\.([A-E])(?=$|\.[A-Z]{1,3}$)/g

/**
 * The canonical spelling of a symbol, or undefined if the text is none: trimmed, upper-cased, share classes behind a
 * dash. `brk.b`, `BRK/B` and ` BRK-B ` are `BRK-B`; `BT.A.L` is `BT-A.L`; exchange suffixes (`NESN.SW`, `7203.T`) stay.
 *
 * A dot and one letter is a share class only for A to E: Yahoo's one-letter exchange suffixes are F (Frankfurt),
 * L (London), T (Tokyo) and V (Toronto Venture), so the two never meet.
 *
 * Only ASCII is accepted, and that is checked before upper-casing: `ß` would become the two letters SS, `ı` an I.
 */
export function parseSymbol(text: string): string | undefined {
  if (!symbol.test(text)) return undefined
  return text.trim().toUpperCase().replaceAll('/', '-').replace(dottedClass, '-$1')
}

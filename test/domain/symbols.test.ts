import * as fc from 'fast-check'
import t from 'tap'
import { parseSymbol, SYMBOL_PATTERN } from '../../domain/symbols.ts'

/** Texts near the grammar: allowed characters, lower case, white space, and characters that upper-case into ASCII. */
const nearSymbols = fc.string({
  unit: fc.constantFrom(...'ABCDEFLTZabcdl059.-=^/ \t\u00a0_$ßıſK٣'.split('')),
  maxLength: 13
})

t.test('one spelling comes out of the many that go in', async (t) => {
  const spellings: [string, string][] = [
    ['AAPL', 'AAPL'],
    [' aapl\n', 'AAPL'],
    ['BRK.B', 'BRK-B'],
    ['brk/b', 'BRK-B'],
    ['BRK-B', 'BRK-B'],
    ['BT.A.L', 'BT-A.L'],
    ['BT-A.L', 'BT-A.L'],
    ['BT/A.L', 'BT-A.L'],
    ['GIB.A.TO', 'GIB-A.TO'],
    ['BTC/USD', 'BTC-USD'],
    ['^GSPC', '^GSPC'],
    ['EURUSD=X', 'EURUSD=X'],
    ['7203.T', '7203.T'],
    ['F', 'F']
  ]
  for (const [text, symbol] of spellings) t.equal(parseSymbol(text), symbol, JSON.stringify(text))
})

t.test('exchange suffixes are no share classes', async (t) => {
  const symbols = [
    'NESN.SW',
    'SAP.DE',
    'MC.PA',
    'HSBA.L',
    'BP.L',
    '7203.T',
    'RY.TO',
    'VOW3.F',
    'ABC.V',
    'ASML.AS',
    'ENI.MI'
  ]
  for (const symbol of symbols) t.equal(parseSymbol(symbol), symbol)
})

t.test('what is no symbol is refused', async (t) => {
  const texts = ['', ' ', '.', '-', '^', '...', 'ABCDEFGHIJK', 'AA PL', 'A_B', 'A,B', 'a\u0000', '%41', 'ABCDEFGHI.L.']
  for (const text of texts) t.equal(parseSymbol(text), undefined, JSON.stringify(text))
})

t.test('only ASCII counts, also where upper-casing would lead into it', async (t) => {
  for (const text of ['ß', 'straße', 'ıbm', 'ſap', '\u212a', '٣', 'ＡＡＰＬ', 'é']) {
    t.equal(parseSymbol(text), undefined, text)
  }
})

t.test('the length limit holds for the text without its white space', async (t) => {
  t.equal(parseSymbol('  abcdefghij  '), 'ABCDEFGHIJ')
  t.equal(parseSymbol('abcdefghijk'), undefined)
})

t.test('a canonical symbol is its own canonical symbol', async () => {
  fc.assert(
    fc.property(nearSymbols, (text) => {
      const symbol = parseSymbol(text)
      return symbol === undefined || parseSymbol(symbol) === symbol
    }),
    { numRuns: 5000 }
  )
})

t.test('a canonical symbol has 1 to 10 characters of its alphabet', async () => {
  fc.assert(
    fc.property(nearSymbols, (text) => {
      const symbol = parseSymbol(text)
      return symbol === undefined || (/^[A-Z0-9.=^-]{1,10}$/.test(symbol) && /[A-Z0-9]/.test(symbol))
    }),
    { numRuns: 5000 }
  )
})

t.test('case, surrounding space and the sign before a share class make no difference', async () => {
  const root = fc.string({
    unit: fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'.split('')),
    minLength: 1,
    maxLength: 5
  })
  fc.assert(
    fc.property(
      root,
      fc.constantFrom(...'ABCDE'.split('')),
      fc.constantFrom('', '.L', '.TO'),
      (name, letter, exchange) => {
        const symbol = `${name}-${letter}${exchange}`
        const spellings = ['.', '-', '/'].map((sign) => ` ${name.toLowerCase()}${sign}${letter}${exchange} `)
        return spellings.every((spelling) => parseSymbol(spelling) === symbol)
      }
    )
  )
})

t.test('the schema pattern accepts exactly what the parser accepts, with and without the u flag', async () => {
  const plain = new RegExp(SYMBOL_PATTERN)
  const unicode = new RegExp(SYMBOL_PATTERN, 'u')
  fc.assert(
    fc.property(fc.oneof(nearSymbols, fc.string({ unit: 'binary', maxLength: 12 })), (text) => {
      const parsed = parseSymbol(text) !== undefined
      return plain.test(text) === parsed && unicode.test(text) === parsed
    }),
    { numRuns: 1000 }
  )
})

import t from 'tap'
import { parseSymbol } from '../../domain/symbols.ts'
import { LISTINGS, UNIVERSES } from '../../sources/universes.ts'

/** The sectors of the Global Industry Classification Standard. */
const GICS = [
  'Communication Services',
  'Consumer Discretionary',
  'Consumer Staples',
  'Energy',
  'Financials',
  'Health Care',
  'Industrials',
  'Information Technology',
  'Materials',
  'Real Estate',
  'Utilities'
]

const COUNTRIES = [
  { country: 'United States', currency: 'USD', suffix: /^[A-Z]+(-[A-Z])?$/ },
  { country: 'Switzerland', currency: 'CHF', suffix: /\.SW$/ },
  { country: 'Germany', currency: 'EUR', suffix: /\.DE$/ },
  { country: 'United Kingdom', currency: 'GBp', suffix: /\.L$/ },
  { country: 'France', currency: 'EUR', suffix: /\.PA$/ },
  { country: 'Japan', currency: 'JPY', suffix: /^\d{4}\.T$/ },
  { country: 'Canada', currency: 'CAD', suffix: /\.TO$/ }
]

const listings = [...LISTINGS.values()]

t.test('the eight universes, Global first', async (t) => {
  t.same(
    UNIVERSES.map(({ name }) => name),
    ['Global', ...COUNTRIES.map(({ country }) => country)]
  )
})

t.test('each universe has a date, an origin and at least 20 different, listed symbols', async (t) => {
  for (const { name, symbols, origin, date } of UNIVERSES) {
    t.equal(date, '2026-11-22')
    t.match(origin, /^Selected by hand from the .*; not point-in-time$/)
    t.ok(symbols.length >= 20, `${name} has ${symbols.length}`)
    t.equal(new Set(symbols).size, symbols.length, `${name} has no symbol twice`)
    t.same(
      symbols.filter((symbol) => !LISTINGS.has(symbol)),
      []
    )
  }
})

t.test('a country universe is the listings of that country, in its currency and with its suffix', async (t) => {
  for (const { country, currency, suffix } of COUNTRIES) {
    const members = listings.filter((listing) => listing.country === country)
    t.same(
      UNIVERSES.find(({ name }) => name === country)?.symbols,
      members.map(({ symbol }) => symbol)
    )
    t.same(
      members.filter((listing) => listing.currency !== currency || !suffix.test(listing.symbol)),
      []
    )
  }
})

t.test('no listing outside the countries, no symbol and no name twice', async (t) => {
  const counted = UNIVERSES.slice(1).reduce((sum, { symbols }) => sum + symbols.length, 0)
  t.equal(counted, LISTINGS.size)
  t.equal(new Set(listings.map(({ name }) => name)).size, listings.length)
})

t.test('every symbol is canonical', async (t) => {
  t.same(
    listings.filter(({ symbol }) => parseSymbol(symbol) !== symbol),
    []
  )
})

t.test('every listing has a name, a GICS sector and figures to start a simulation from', async (t) => {
  const faulty = listings.filter(({ name, sector, price, shares, peRatio }) => {
    const named = name !== '' && name.trim() === name && GICS.includes(sector)
    return !named || !(price > 0) || !(shares > 0) || !(peRatio === null || peRatio > 0)
  })
  t.same(faulty, [])
})

t.test('Global spans every country', async (t) => {
  const countries = new Set(UNIVERSES[0]?.symbols.map((symbol) => LISTINGS.get(symbol)?.country))
  t.same(countries, new Set(COUNTRIES.map(({ country }) => country)))
})

t.test('the best-known names are there', async (t) => {
  t.match(LISTINGS.get('BRK-B'), { name: 'Berkshire Hathaway', sector: 'Financials', currency: 'USD' })
  t.match(LISTINGS.get('NESN.SW'), { name: 'Nestlé', sector: 'Consumer Staples', country: 'Switzerland' })
  t.match(LISTINGS.get('BT-A.L'), { name: 'BT Group', currency: 'GBp' })
  t.match(LISTINGS.get('7203.T'), { name: 'Toyota Motor', currency: 'JPY' })
})

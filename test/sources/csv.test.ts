import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Fetched } from '../../domain/market.ts'
import { type CsvFileReport, openCsvSource } from '../../sources/csv.ts'

const HEADER = 'date,open,high,low,close,adj_close,volume'
const GOOD = ['2026-11-19,10,12,9,11,5.5,1000', '2026-11-20,11,13,10,12.1,6.05,2000']

function csv(...rows: string[]): string {
  return [HEADER, ...rows, ''].join('\n')
}

/** The value under a symbol; a test that expects one fails without it. */
function valueOf<T>(answers: Map<string, Fetched<T>>, symbol: string): T {
  const answer = answers.get(symbol)
  if (!answer?.ok) throw new Error(`no value for ${symbol}`)
  return answer.value
}

/** Opens a folder and keeps what it reports. */
async function open(
  directory: string
): Promise<{ source: Awaited<ReturnType<typeof openCsvSource>>; reports: CsvFileReport[] }> {
  const reports: CsvFileReport[] = []
  const source = await openCsvSource({
    directory,
    log: (report) => reports.push(report),
    now: () => new Date('2026-12-31T12:00:00Z')
  })
  return { source, reports }
}

t.test('candles come out column by column, empty cells as NaN', async (t) => {
  const { source, reports } = await open(t.testdir({ US: { 'AAPL.csv': csv('2026-11-18,,,,10,5,', ...GOOD) } }))
  t.equal(source.name, 'csv')
  t.equal(source.kind, 'historical')
  t.same(valueOf(await source.history(['AAPL'], 10), 'AAPL'), {
    dates: ['2026-11-18', '2026-11-19', '2026-11-20'],
    open: Float64Array.of(NaN, 10, 11),
    high: Float64Array.of(NaN, 12, 13),
    low: Float64Array.of(NaN, 9, 10),
    close: Float64Array.of(10, 11, 12.1),
    adjClose: Float64Array.of(5, 5.5, 6.05),
    volume: Float64Array.of(NaN, 1000, 2000)
  })
  t.same(reports, [], 'nothing to report')
})

t.test('history gives the newest days, as copies', async (t) => {
  const { source } = await open(t.testdir({ US: { 'AAPL.csv': csv(...GOOD) } }))
  t.equal(valueOf(await source.history(['AAPL'], 3), 'AAPL').dates.length, 2, 'all, if there are fewer')
  const last = valueOf(await source.history(['AAPL'], 1), 'AAPL')
  t.same(last.dates, ['2026-11-20'])
  last.close.fill(0)
  t.equal(valueOf(await source.history(['AAPL'], 1), 'AAPL').close[0], 12.1)
})

t.test('a quote tells what the file does', async (t) => {
  const { source } = await open(t.testdir({ US: { 'AAPL.csv': csv(...GOOD) } }))
  t.same(valueOf(await source.quotes(['AAPL']), 'AAPL'), {
    price: 12.1,
    change: (12.1 / 11 - 1) * 100,
    volume: 2000,
    marketCap: null,
    peRatio: null,
    fiftyTwoWeekHigh: 13,
    fiftyTwoWeekLow: 9,
    asOf: '2026-11-20'
  })
})

t.test('a quote of a file with closes only', async (t) => {
  const rows = ['2026-11-18,,,,10,10,', '2026-11-19,,,,14,14,', '2026-11-20,,,,12,12,']
  const { source } = await open(t.testdir({ UK: { 'BT.A.L.csv': csv(...rows) } }))
  t.match(valueOf(await source.quotes(['BT-A.L']), 'BT-A.L'), {
    fiftyTwoWeekHigh: 14,
    fiftyTwoWeekLow: 10,
    volume: null
  })
})

t.test('a quote of a single day knows no change', async (t) => {
  const { source } = await open(t.testdir({ US: { 'NEW.csv': csv('2026-11-20,10,12,9,11,11,0') } }))
  t.match(valueOf(await source.quotes(['NEW']), 'NEW'), { price: 11, change: null, volume: 0 })
})

t.test('the 52-week range leaves older days out', async (t) => {
  const day = (i: number): string => new Date(Date.UTC(2025, 0, 1 + i)).toISOString().slice(0, 10)
  const rows = Array.from({ length: 253 }, (_, i) => `${day(i)},,,,${i === 0 ? 999 : 10},10,`)
  const { source } = await open(t.testdir({ US: { 'OLD.csv': csv(...rows) } }))
  t.equal(valueOf(await source.quotes(['OLD']), 'OLD').fiftyTwoWeekHigh, 10)
})

t.test('folders become universes: countries by code, others by name, Global of all', async (t) => {
  const later = csv(...GOOD, '2026-11-23,11,13,10,12,6,2000')
  const { source } = await open(
    t.testdir({
      US: { 'brk.b.csv': csv(...GOOD), 'AAPL.csv': csv(...GOOD) },
      GB: { 'VOD.L.csv': csv(...GOOD) },
      UK: { 'HSBA.L.csv': later },
      ch: { 'NESN.SW.csv': csv(...GOOD) },
      Global: { 'X.csv': csv(...GOOD) },
      mine: { 'SAP.DE.csv': csv(...GOOD) },
      empty: {}
    })
  )
  t.same(source.universes, [
    {
      name: 'Global',
      symbols: ['VOD.L', 'X', 'HSBA.L', 'AAPL', 'BRK-B', 'NESN.SW', 'SAP.DE'],
      origin: 'csv folders GB, Global, UK, US, ch, mine',
      date: '2026-11-23'
    },
    { name: 'United Kingdom', symbols: ['VOD.L', 'HSBA.L'], origin: 'csv folders GB, UK', date: '2026-11-23' },
    { name: 'United States', symbols: ['AAPL', 'BRK-B'], origin: 'csv folder US', date: '2026-11-20' },
    { name: 'Switzerland', symbols: ['NESN.SW'], origin: 'csv folder ch', date: '2026-11-20' },
    { name: 'mine', symbols: ['SAP.DE'], origin: 'csv folder mine', date: '2026-11-20' }
  ])
})

t.test('country and currency come from the folder, name and sector from what is known', async (t) => {
  const folders = ['US', 'CH', 'DE', 'GB', 'FR', 'JP', 'CA', 'mine']
  const { source } = await open(
    t.testdir(Object.fromEntries(folders.map((folder) => [folder, { [`Z.${folder}.csv`]: csv(...GOOD) }])))
  )
  const places = source.universes[0]?.symbols.map((symbol) => {
    const { country, currency } = source.instrument(symbol)!
    return [symbol, country, currency]
  })
  t.same(places, [
    ['Z.CA', 'Canada', 'CAD'],
    ['Z.CH', 'Switzerland', 'CHF'],
    ['Z.DE', 'Germany', 'EUR'],
    ['Z.FR', 'France', 'EUR'],
    ['Z.GB', 'United Kingdom', 'GBp'],
    ['Z.JP', 'Japan', 'JPY'],
    ['Z.US', 'United States', 'USD'],
    ['Z.MINE', null, null]
  ])

  const known = await open(t.testdir({ mine: { 'MUV2.DE.csv': csv(...GOOD), 'Q.csv': csv(...GOOD) } }))
  const unplaced = { country: null, currency: null }
  t.same(known.source.instrument('MUV2.DE'), {
    symbol: 'MUV2.DE',
    name: 'Münchener Rück',
    sector: 'Financials',
    ...unplaced
  })
  t.same(known.source.instrument('Q'), { symbol: 'Q', name: 'Q', sector: null, ...unplaced })
  t.equal(known.source.instrument('NOPE'), undefined)
})

t.test('bad rows are dropped one by one and counted by reason, once per file', async (t) => {
  const rows = [
    '2026-11-02,1,1,1,1,1,1',
    'yesterday,1,1,1,1,1,1',
    '2026-02-31,1,1,1,1,1,1',
    '2026-13-01,1,1,1,1,1,1',
    '2026-11-2,1,1,1,1,1,1',
    '2026-11-02,2,2,2,2,2,2',
    '2026-11-01,2,2,2,2,2,2',
    '2026-11-03,1,1,1,1,1',
    '2026-11-03,1,1,1,1,1,1,1',
    ',',
    '2026-11-03,1,1,1,,1,1',
    '2026-11-03,1,1,1,1,,1',
    '2026-11-03,1,1,1,0,1,1',
    '2026-11-03,1,1,1,1,-1,1',
    '2026-11-03,1,1,1,1,Infinity,1',
    '2026-11-03,1,1,1,1,1e999,1',
    '2026-11-03,n/a,1,1,1,1,1',
    '2026-11-03,1,0,1,1,1,1',
    '2026-11-03,1,1,-1,1,1,1',
    '2026-11-03,1,1,1,n/a,1,1',
    '2026-11-03,1,1,1,1,1,-1',
    '2026-11-03,1,1,1,1,1,many',
    '2026-11-03,3,3,3,3,3,3'
  ]
  const { source, reports } = await open(t.testdir({ US: { 'AAPL.csv': csv(...rows) } }))
  t.same(reports, [
    { file: 'US/AAPL.csv', rows: 2, dropped: { date: 4, order: 2, columns: 3, price: 10, volume: 2 }, skipped: null }
  ])
  t.same([...valueOf(await source.history(['AAPL'], 9), 'AAPL').adjClose], [1, 3])
})

t.test('byte order mark, CRLF and empty lines are no faults', async (t) => {
  const text = `\uFEFF${HEADER}\r\n${GOOD.join('\r\n\r\n')}\r\n\r\n`
  const { source, reports } = await open(t.testdir({ US: { 'AAPL.csv': text } }))
  t.same(reports, [])
  t.same([...valueOf(await source.history(['AAPL'], 9), 'AAPL').volume], [1000, 2000])
})

t.test('files that cannot be used are skipped and reported', async (t) => {
  const { source, reports } = await open(
    t.testdir({
      US: {
        'BRK-B.csv': csv(...GOOD),
        'BRK.B.csv': csv(...GOOD),
        'NOT A SYMBOL.csv': csv(...GOOD),
        'HEADER.csv': 'Date,Close\n2026-11-20,1\n',
        'NOTHING.csv': '',
        'EMPTY.csv': csv(),
        'BAD.csv': csv('2026-11-20,1,1,1,1,,1')
      },
      ZZ: { 'BRK-B.csv': csv(...GOOD) }
    })
  )
  t.same(source.universes[0]?.symbols, ['BRK-B'])
  t.same(
    reports.map(({ file, rows, dropped, skipped }) => [file, rows, dropped, skipped]),
    [
      ['US/BAD.csv', 0, { price: 1 }, 'empty'],
      ['US/BRK.B.csv', 0, {}, 'duplicate'],
      ['US/EMPTY.csv', 0, {}, 'empty'],
      ['US/HEADER.csv', 0, {}, 'header'],
      ['US/NOT A SYMBOL.csv', 0, {}, 'symbol'],
      ['US/NOTHING.csv', 0, {}, 'header'],
      ['ZZ/BRK-B.csv', 0, {}, 'duplicate']
    ]
  )
})

t.test('only plain .csv files one level down are read, without following links', async (t) => {
  const directory = t.testdir({
    'AAPL.csv': csv(...GOOD),
    US: {
      'MSFT.csv': csv(...GOOD),
      'notes.txt': 'none',
      'XOM.csv.bak': csv(...GOOD),
      deeper: { 'IBM.csv': csv(...GOOD) },
      'DIR.csv': {}
    }
  })
  await symlink(join(directory, 'AAPL.csv'), join(directory, 'US', 'LINK.csv'))
  await symlink(join(directory, 'US'), join(directory, 'CA'))
  const { source, reports } = await open(directory)
  t.same(source.universes[0]?.symbols, ['MSFT'])
  t.same(reports, [])
})

t.test('unknown symbols are not found', async (t) => {
  const source = await openCsvSource({ directory: t.testdir({ US: { 'AAPL.csv': csv(...GOOD) } }) })
  t.same(await source.history(['NOPE'], 5), new Map([['NOPE', { ok: false, error: 'not_found' }]]))
  t.same(await source.quotes(['NOPE']), new Map([['NOPE', { ok: false, error: 'not_found' }]]))
})

t.test('a folder that is missing or has nothing to offer stops the opening', async (t) => {
  const code = 'TF_ERR_SOURCE_CSV_DIRECTORY'
  const directory = t.testdir({ none: {}, bad: { US: { 'AAPL.csv': csv() } }, file: 'no folder' })
  for (const [name, message] of [
    ['missing', 'Cannot read the price folder'],
    ['file', 'Cannot read the price folder'],
    ['none', 'No usable <MARKET>/<TICKER>.csv in the price folder'],
    ['bad', 'No usable <MARKET>/<TICKER>.csv in the price folder']
  ] as const) {
    const path = join(directory, name)
    await t.rejects(openCsvSource({ directory: path }), { code, message: `${message} ${path}` })
  }
})

t.test(
  'a day that is yet to come, and a price that no share has ever had, are dropped and spoil nothing after them',
  async (t) => {
    const now = (): Date => new Date('2026-11-20T12:00:00Z')
    const rows = [
      '2026-11-16,,,,100,100,',
      '2205-03-01,,,,101,101,',
      '2026-11-17,,,,1e200,1e200,',
      '2026-11-18,,,,1e-200,1e-200,',
      '2026-11-20,,,,102,102,'
    ]
    const directory = t.testdir({
      US: { 'AAPL.csv': ['date,open,high,low,close,adj_close,volume', ...rows].join('\n') }
    })
    const reports: CsvFileReport[] = []
    const source = await openCsvSource({ directory, now, log: (report) => reports.push(report) })
    const history = (await source.history(['AAPL'], 10)).get('AAPL')
    t.match(history, { ok: true, value: { dates: ['2026-11-16', '2026-11-20'] } })
    t.same(reports, [{ file: 'US/AAPL.csv', rows: 2, dropped: { date: 1, price: 2 }, skipped: null }])
  }
)

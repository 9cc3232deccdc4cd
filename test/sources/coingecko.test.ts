import t, { type Test } from 'tap'
import type { CoinDetails, CoinMarkets, CoinSource } from '../../domain/coins.ts'
import type { Fetched } from '../../domain/market.ts'
import { coingeckoSource } from '../../sources/coingecko.ts'
import { createQuota } from '../../sources/quota.ts'
import { createUpstream, UpstreamError, type UpstreamOptions } from '../../sources/upstream.ts'
import { FAULTS, type Handler, type Stub, json, optionsFor, startStub } from './stub.ts'

/** A row in the form of CoinGecko's, of an invented coin. */
function row(id: string, over: object = {}): Record<string, unknown> {
  return {
    id,
    symbol: id.slice(0, 3),
    name: `The ${id}`,
    image: `https://pictures.example/${id}.png`,
    current_price: 2,
    market_cap: 1000,
    market_cap_rank: 7,
    total_volume: 150,
    price_change_percentage_24h: 1,
    price_change_percentage_24h_in_currency: 1.5,
    price_change_percentage_7d_in_currency: -2,
    price_change_percentage_30d_in_currency: 30,
    roi: null,
    ...over
  }
}

const detailed = {
  id: 'inventium',
  symbol: 'inv',
  name: 'Inventium',
  image: { large: 'https://pictures.example/large.png' },
  description: { en: 'Made <a href="https://x.example">up</a>. <scr<b>ipt>1 < 2' },
  links: { homepage: ['https://inventium.example', ''] },
  categories: ['Layer 1', null, 'Fiction'],
  genesis_date: '2020-02-03',
  market_cap_rank: 3,
  last_updated: '2026-11-22T10:00:00.000Z',
  market_data: {
    current_price: { usd: 2, eur: 1.8 },
    market_cap: { usd: 1000 },
    total_volume: { usd: 150 },
    high_24h: { usd: 2.1 },
    low_24h: { usd: 1.9 },
    ath: { usd: 9 },
    ath_date: { usd: '2021-11-10T14:24:11.849Z' },
    atl: { usd: 0.1 },
    atl_date: { usd: 'long ago' },
    price_change_percentage_24h: 1.5,
    price_change_percentage_7d: -2,
    price_change_percentage_30d: null,
    circulating_supply: 500,
    total_supply: null
  }
}

async function build(
  t: Test,
  handler: Handler,
  { reserve = 0, ...options }: Partial<UpstreamOptions> & { reserve?: number } = {}
): Promise<{ source: CoinSource; stub: Stub }> {
  const stub = await startStub(t, handler)
  const upstream = createUpstream({ name: 'coingecko', origin: stub.origin, retries: 0, ...options })
  t.teardown(async () => upstream.close())
  return { source: coingeckoSource({ upstream, reserve }), stub }
}

/** A source that is answered so, whatever it asks. */
async function answering(t: Test, body: unknown): Promise<CoinSource> {
  return (await build(t, (_request, response) => json(response, body))).source
}

/** The value of an answer; a test that expects one fails without it. */
function valueOf<T>(fetched: Fetched<T>): T {
  if (!fetched.ok) throw new Error(fetched.error)
  return fetched.value
}

const asked = ({ requests }: Stub): URL[] => requests.map(({ url }) => new URL(url, 'http://x'))

t.test('the largest coins are one page', async (t) => {
  const { source, stub } = await build(t, (_request, response) => json(response, [row('inventium'), row('apecoin')]))
  t.equal(source.name, 'coingecko')
  t.same(valueOf(await source.largest()), {
    coins: [
      {
        id: 'inventium',
        symbol: 'INV',
        name: 'The inventium',
        price: 2,
        change24h: 1.5,
        change7d: -2,
        change30d: 30,
        marketCap: 1000,
        marketCapRank: 7,
        volume: 150,
        image: 'https://pictures.example/inventium.png',
        nft: false
      },
      {
        ...valueOf(await source.largest()).coins[1],
        id: 'apecoin',
        nft: true
      }
    ],
    dropped: 0
  })
  const [url] = asked(stub)
  t.equal(url!.pathname, '/api/v3/coins/markets')
  t.same(Object.fromEntries(url!.searchParams), {
    vs_currency: 'usd',
    order: 'market_cap_desc',
    per_page: '250',
    page: '1',
    sparkline: 'false',
    price_change_percentage: '24h,7d,30d'
  })
})

t.test('null where CoinGecko has nothing, and the older name of the change of a day', async (t) => {
  const source = await answering(t, [
    row('young', {
      current_price: null,
      market_cap: 0,
      market_cap_rank: null,
      total_volume: undefined,
      image: 'missing_large.png',
      price_change_percentage_24h_in_currency: null,
      price_change_percentage_7d_in_currency: undefined,
      price_change_percentage_30d_in_currency: null
    })
  ])
  t.match(valueOf(await source.largest()).coins, [
    { price: null, marketCap: 0, marketCapRank: null, volume: null, image: null, change24h: 1, change7d: null }
  ])
})

t.test('a row that makes no sense is dropped and counted, the others are answered', async (t) => {
  const wrong: unknown[] = [
    null,
    'text',
    {},
    row('a', { id: 7 }),
    row('a', { id: '../b' }),
    row('a', { id: 'Upper' }),
    row('a', { symbol: '' }),
    row('a', { name: null }),
    row('a', { current_price: '2' }),
    row('a', { current_price: -1 }),
    row('a', { market_cap: -1 }),
    row('a', { market_cap_rank: 1.5 }),
    row('a', { market_cap_rank: 0 }),
    row('a', { total_volume: 'much' }),
    row('a', { price_change_percentage_7d_in_currency: {} }),
    row('good')
  ]
  const { coins, dropped } = valueOf(await (await answering(t, [...wrong, row('good')])).largest())
  t.same(
    coins.map(({ id }) => id),
    ['good']
  )
  t.equal(dropped, 16, 'a coin that is there twice too')
  // JSON.parse makes Infinity of it.
  const { source } = await build(t, (_request, response) => {
    response.end(JSON.stringify([row('big', { current_price: 7777 }), row('good')]).replace('7777', '1e999'))
  })
  t.match(valueOf(await source.largest()), { coins: [{ id: 'good' }], dropped: 1 })
})

t.test('a list without one good row is no answer, and neither is an empty page of the largest', async (t) => {
  for (const body of [[], [{}], ['x'], {}, null, 7]) {
    t.match(await (await answering(t, body)).largest(), { ok: false, error: 'schema' }, JSON.stringify(body))
  }
  t.match(await (await answering(t, [{}])).byIds(['a']), { ok: false, error: 'schema' })
  t.same(valueOf(await (await answering(t, [])).byIds(['nope'])), { coins: [], dropped: 0 }, 'ids may be unknown')
})

t.test('ids are asked for in parts of a page, and of an address that is not too long', async (t) => {
  const echo: Handler = (request, response) => {
    const ids = new URL(request.url!, 'http://x').searchParams.get('ids')!.split(',')
    json(response, [...ids.map((id) => row(id)), {}])
  }
  const cases: [length: number, parts: number[]][] = [
    [3, [250, 10]],
    // 103 characters each with their commas.
    [100, [29, 29, 2]]
  ]
  for (const [length, parts] of cases) {
    const { source, stub } = await build(t, echo)
    const count = parts.reduce((sum, part) => sum + part)
    const ids = Array.from({ length: count }, (_, i) => String(i).padStart(length, 'x'))
    const { coins, dropped } = valueOf<CoinMarkets>(await source.byIds(ids))
    t.same(
      coins.map(({ id }) => id),
      ids
    )
    t.equal(dropped, parts.length)
    t.same(
      asked(stub)
        .map(({ searchParams }) => searchParams.get('ids')!.split(',').length)
        .toSorted((a, b) => b - a),
      parts
    )
    for (const { url } of stub.requests) t.ok(url.length < 3300, `${url.length}`)
  }
})

t.test('one part that fails fails all: the others would look like an answer', async (t) => {
  const { source } = await build(t, (request, response) =>
    request.url!.includes('last') ? json(response, {}, 401) : json(response, [row('a')])
  )
  const ids = [...Array.from({ length: 250 }, (_, i) => `id-${i}`), 'last']
  t.match(await source.byIds(ids), { ok: false, error: 'upstream_error' })
})

t.test('a search is answered by the first id that can be asked for', async (t) => {
  const { source, stub } = await build(t, (_request, response) =>
    json(response, { coins: [{ id: 7 }, null, { id: '1 move' }, { id: 'inventium' }, { id: 'other' }] })
  )
  t.equal(valueOf(await source.search('inv & co')), 'inventium')
  t.equal(stub.requests[0]!.url, '/api/v3/search?query=inv+%26+co')
  t.same(await (await answering(t, { coins: [] })).search('x'), { ok: false, error: 'not_found' })
  t.match(await (await answering(t, { coins: {} })).search('x'), { ok: false, error: 'schema' })
})

t.test('details are a typed part of what there is', async (t) => {
  const { source, stub } = await build(t, (_request, response) => json(response, detailed))
  t.same(valueOf<CoinDetails>(await source.details('inventium')), {
    id: 'inventium',
    symbol: 'INV',
    name: 'Inventium',
    nft: false,
    price: 2,
    change24h: 1.5,
    change7d: -2,
    change30d: null,
    marketCap: 1000,
    marketCapRank: 3,
    volume: 150,
    image: 'https://pictures.example/large.png',
    description: 'Made up. script>1  2',
    homepage: 'https://inventium.example',
    categories: ['Layer 1', 'Fiction'],
    genesisDate: '2020-02-03',
    high24h: 2.1,
    low24h: 1.9,
    circulatingSupply: 500,
    totalSupply: null,
    maxSupply: null,
    ath: 9,
    athDate: '2021-11-10T14:24:11.849Z',
    atl: 0.1,
    atlDate: null,
    lastUpdated: '2026-11-22T10:00:00.000Z'
  })
  t.equal(asked(stub)[0]!.pathname, '/api/v3/coins/inventium')
  t.equal(asked(stub)[0]!.searchParams.get('tickers'), 'false')
})

t.test('details of which little is known are mostly null', async (t) => {
  const bare = { id: 'bare', symbol: 'b', name: 'Bare', market_data: {} }
  const found = valueOf<CoinDetails>(await (await answering(t, bare)).details('bare'))
  t.match(found, { price: null, description: null, homepage: null, categories: [], image: null, genesisDate: null })
  const odd = { ...bare, description: { en: '<b></b> ' }, links: { homepage: ['javascript:alert(1)'] }, image: 'x' }
  const described = valueOf<CoinDetails>(await (await answering(t, odd)).details('bare'))
  t.match(described, { description: null, homepage: null, image: null })
  for (const body of [{ ...bare, market_data: null }, { ...bare, market_data: 'x' }, { ...bare, name: 5 }, [], null]) {
    t.match(await (await answering(t, body)).details('bare'), { ok: false, error: 'schema' }, JSON.stringify(body))
  }
})

t.test("what is a list below /coins/ is no coin, and isn't asked for", async (t) => {
  const { source, stub } = await build(t, (_request, response) => json(response, []))
  for (const id of ['list', 'markets', 'categories', 'top_gainers_losers']) {
    t.same(await source.details(id), { ok: false, error: 'not_found' })
  }
  t.equal(stub.requests.length, 0)
})

t.test('the quota bounds requests and retries, and keeps some of them for the list of all', async (t) => {
  let now = 0
  let status = 503
  const quota = createQuota(5, () => now)
  const handler: Handler = (_request, response) => json(response, [row('a')], status)
  const { source, stub } = await build(t, handler, { quota, retries: 2, random: () => 0, reserve: 2 })
  t.match(await source.largest(), { ok: false, error: 'upstream_error' })
  t.equal(stub.requests.length, 3)
  status = 200
  now = 20_000
  t.match(await source.byIds(['a']), { ok: false, error: 'rate_limited', retryAfter: 40 })
  t.match(await source.search('a'), { ok: false, error: 'rate_limited', retryAfter: 40 })
  t.match(await source.details('a'), { ok: false, error: 'rate_limited', retryAfter: 40 })
  t.equal(stub.requests.length, 3)
  t.equal((await source.largest()).ok, true)
  t.equal((await source.largest()).ok, true)
  t.match(await source.largest(), { ok: false, error: 'rate_limited', retryAfter: 40 })
  t.equal(stub.requests.length, 5)
  now = 60_000
  t.equal((await source.largest()).ok, true)
})

for (const fault of FAULTS) {
  const { name, expected, handler } = fault
  t.test(`${name}: ${expected}, whatever is asked`, async (t) => {
    const { source } = await build(t, handler, { ...optionsFor(fault), failures: 100 })
    const all = [source.largest(), source.byIds(['a']), source.search('a'), source.details('a')]
    for (const fetched of await Promise.all(all)) {
      t.match(fetched, { ok: false, error: expected, cause: UpstreamError })
      const seconds = { '429 with Retry-After': 7, '429 with a date': 60 }[name]
      if (seconds) t.ok(!fetched.ok && fetched.retryAfter! > seconds - 2 && fetched.retryAfter! <= seconds)
    }
  })
}

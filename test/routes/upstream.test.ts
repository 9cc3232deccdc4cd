/** The service over a live source: what its clients and its metrics see of an upstream that works, fails and comes back. */
import t from 'tap'
import { build, NOW, scrape, waveCandles } from '../helper.ts'
import { FAULTS, type Handler, TOO_LARGE, json, startStub } from '../sources/stub.ts'

/** A chart of any symbol, in Yahoo's form. */
const works: Handler = (request, response) => {
  const phase = request.url!.charCodeAt(20)
  const { dates, close, adjClose } = waveCandles(320, '2026-11-20', phase)
  const closes = [...close]
  json(response, {
    chart: {
      result: [
        {
          meta: { gmtoffset: 0, currency: 'CHF' },
          timestamp: dates.map((date) => Date.parse(date) / 1000),
          indicators: {
            quote: [{ open: closes, high: closes, low: closes, close: closes, volume: closes }],
            adjclose: [{ adjclose: [...adjClose] }]
          }
        }
      ],
      error: null
    }
  })
}

const YAHOO = { MARKET_SOURCE: 'yahoo', ALLOW_SIMULATED_MODEL: '1' }
const SWISS = '/ranking?country=Switzerland'

t.test('a ranking of live prices, one request a symbol', async (t) => {
  const stub = await startStub(t, works)
  const app = await build(t, { ...YAHOO, YAHOO_ORIGIN: stub.origin })
  const body = (await app.inject(SWISS)).json()
  t.match(body, { source: 'yahoo', coverage: 1, data_as_of: '2026-11-20', skipped: [], stale: false })
  t.equal(stub.requests.length, body.ranking.length)
  t.match(stub.requests[0]!.headers['user-agent'], /^trading-fun-api\//)
  t.ok(stub.connections() <= 8)
  const found = await scrape(app)
  t.equal(found['data_fetch_duration_seconds_count{source="yahoo"}'], 1)
  t.equal(found['upstream_circuit_open{upstream="yahoo"}'], 0)
  t.match((await app.inject('/ticker_info/NESN.SW')).json(), { source: 'yahoo', currency: 'CHF', market_cap: null })
})

t.test(
  'when the upstream dies, rankings are stale, then a problem, never empty; the circuit opens and closes',
  async (t) => {
    let dead = false
    const stub = await startStub(t, (request, response, body) =>
      dead ? json(response, { secret: 'text' }, 500) : works(request, response, body)
    )
    let now = NOW
    const later = (seconds: number): void => {
      now = new Date(now.getTime() + seconds * 1000)
    }
    const app = await build(t, { ...YAHOO, YAHOO_ORIGIN: stub.origin }, { now: () => now })
    const fresh = (await app.inject(SWISS)).json()
    dead = true
    later(130)
    const stale = (await app.inject(SWISS)).json()
    t.match(stale, { stale: true, age_seconds: 130, ranking: fresh.ranking })
    t.equal((await scrape(app))['upstream_circuit_open{upstream="yahoo"}'], 1)
    later(3600)
    const gone = await app.inject(SWISS)
    t.equal(gone.statusCode, 503)
    t.equal(gone.headers['retry-after'], '10')
    t.match(gone.json(), {
      code: 'TF_ERR_MARKET_SOURCE',
      detail: /no answer for 30 of the 30 symbols of Switzerland \(circuit_open\)/
    })
    t.notMatch(gone.payload, /secret/)
    const found = await scrape(app)
    const refused = found['data_fetch_errors_total{source="yahoo",error_type="circuit_open"}']!
    const failed = found['data_fetch_errors_total{source="yahoo",error_type="upstream_error"}']!
    t.equal(refused + failed, 60)
    t.ok(failed >= 5 && failed <= 20, 'what waited when the circuit opened was not sent')
    t.ok(found['upstream_retries_total{upstream="yahoo"}']! > 0)
  }
)

for (const { name, expected, handler, origin } of FAULTS) {
  // Their deadlines are those of production.
  if (expected === 'timeout') continue
  t.test(`${name}: one status, one code, one count`, async (t) => {
    const stub = await startStub(t, handler)
    const app = await build(t, { ...YAHOO, YAHOO_ORIGIN: origin ?? stub.origin })
    const reply = await app.inject('/predict_ticker/AAPL')
    const status = { not_found: 404, rate_limited: 503 }[expected as string] ?? 502
    // A large reply of another form is read whole: the bound of the service is larger.
    const reason = name === 'a reply that is too large' ? 'schema' : expected
    t.equal(reply.statusCode, status)
    t.equal(reply.json().code, status === 404 ? 'TF_ERR_MARKET_UNKNOWN_TICKER' : 'TF_ERR_MARKET_SOURCE')
    t.equal(reply.headers['retry-after'], status === 404 ? undefined : '10')
    t.ok(reply.payload.length < TOO_LARGE)
    t.equal((await scrape(app))[`data_fetch_errors_total{source="yahoo",error_type="${reason}"}`], 1)
  })
}

/** Traffic of known size against a running service, with what must be counted for it. */
import { connect } from 'node:net'
import { type Handler, json } from '../sources/stub.ts'

/** What the client has seen: the ground truth of the truth test. */
export interface Tally {
  /** Replies by `method endpoint status`. */
  replies: Map<string, number>
  /** Rows that the model must have scored. */
  predictions: number
  /** Tickers of the rankings that had to be made. */
  ranked: number
  rankingsMade: number
  cacheHits: number
  /** Fetches of coin markets, and the coins of all of them. */
  coinFetches: number
  coinsFetched: number
  coinMisses: number
  coinHits: number
  analyses: { made: number; cached: number; failed: number; tokens: number }
}

/** Tokens of each call to the language model, of which the remark REFUSE makes it refuse. */
const USAGE = { prompt_tokens: 700, completion_tokens: 150 }
const REFUSE = 'REFUSE'

/** A language model for the service, to be started before it. */
export const languageModel: Handler = (_request, response, body) => {
  const refused = body.includes(REFUSE)
  const content = JSON.stringify({ summary: 'The first is ahead.', picks: [], risks: [] })
  const message = refused ? { content: null, refusal: 'No.' } : { content, refusal: null }
  json(response, { choices: [{ message, finish_reason: 'stop' }], usage: USAGE })
}

/** Requests a minute to a plain route, to be given to the service: enough for what follows. */
export const RATE_LIMIT_RPM = 500

interface Row {
  features: Record<string, number>
}

/** Asks every kind of question, right and wrong. Each country's ranking must be new to the service, and fresh afterwards. */
export async function drive(base: string): Promise<Tally> {
  const tally: Tally = {
    replies: new Map(),
    predictions: 0,
    ranked: 0,
    rankingsMade: 0,
    cacheHits: 0,
    coinFetches: 0,
    coinsFetched: 0,
    coinMisses: 0,
    coinHits: 0,
    analyses: { made: 0, cached: 0, failed: 0, tokens: 0 }
  }
  async function ask<T>(endpoint: string, path = endpoint, body?: unknown): Promise<T> {
    const init = body === undefined ? {} : { method: 'POST', headers: JSON_TYPE, body: JSON.stringify(body) }
    const reply = await fetch(base + path, { ...init, signal: AbortSignal.timeout(10_000) })
    const key = `${body === undefined ? 'GET' : 'POST'} ${endpoint} ${reply.status}`
    tally.replies.set(key, (tally.replies.get(key) ?? 0) + 1)
    const text = await reply.text()
    return (reply.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text) as T
  }

  const { countries } = await ask<{ countries: { name: string }[] }>('/countries')
  for (const { name } of countries) {
    const path = `/ranking?country=${encodeURIComponent(name)}`
    const made = await ask<{ ranking: unknown[]; skipped: unknown[] }>('/ranking', path)
    tally.predictions += made.ranking.length
    tally.ranked += made.ranking.length + made.skipped.length
    tally.rankingsMade++
    for (let again = 0; again < 3; again++) await ask('/ranking', path)
    tally.cacheHits += 3
  }
  await ask('/ranking', '/ranking?country=Atlantis')

  let features: Row['features'] = {}
  for (const ticker of ['AAPL', 'MSFT', 'NESN.SW']) {
    ;({ features } = await ask<Row>('/predict_ticker/:ticker', `/predict_ticker/${ticker}`))
    tally.predictions++
    // Its place is that in the ranking of its country.
    tally.cacheHits++
  }
  await ask('/predict_ticker/:ticker', '/predict_ticker/NOSUCH')
  await Promise.all(Array.from({ length: 20 }, async () => ask('/predict_raw', '/predict_raw', { features })))
  tally.predictions += 20
  await ask('/predict_raw', '/predict_raw', { features: { ...features, rsi_14: null } })
  const row = Object.values(features)
  const infer = async (data: number[]): Promise<unknown> => {
    const input = { name: 'features', datatype: 'FP32', shape: [3, row.length], data }
    return ask('/v2/models/:name/infer', '/v2/models/outperform/infer', { inputs: [input] })
  }
  await infer([...row, ...row, ...row])
  tally.predictions += 3
  await infer(row)

  const { analyses } = tally
  for (const ticker of ['AAPL', 'MSFT', 'NESN.SW']) {
    const ranking = [{ ticker, prob: 0.57 }]
    await ask('/analyze', '/analyze', { ranking })
    for (let again = 0; again < 2; again++) await ask('/analyze', '/analyze', { ranking })
    await ask('/analyze', '/analyze', { ranking, user_context: REFUSE })
    analyses.made++
    analyses.cached += 2
    analyses.failed++
  }
  await ask('/analyze', '/analyze', { ranking: [] })
  // What is refused is paid for too.
  analyses.tokens = (analyses.made + analyses.failed) * (USAGE.prompt_tokens + USAGE.completion_tokens)

  await ask('/ticker_info/:ticker', '/ticker_info/AAPL')
  await ask('/ticker_info_batch', '/ticker_info_batch', ['AAPL', 'NOSUCH'])
  await askForCoins(ask, tally)
  await ask('/')
  await ask('/metrics')
  await ask('unmatched', '/no/such/page')
  for (let i = 0; i < RATE_LIMIT_RPM + 10; i++) await ask('/models')
  return tally
}

/** One fetch of the list of all coins answers nearly everything; what is not in it is asked for once. */
async function askForCoins(ask: (endpoint: string, path?: string) => Promise<unknown>, tally: Tally): Promise<void> {
  const all = (await ask('/crypto/ranking', '/crypto/ranking?limit=250')) as { ranking: unknown[] }
  tally.coinsFetched += all.ranking.length
  tally.coinFetches++
  tally.coinMisses++
  for (const path of ['?limit=5', '?include_nft=false', '?crypto_ids=bitcoin,ethereum']) {
    await ask('/crypto/ranking', `/crypto/ranking${path}`)
    tally.coinHits++
  }
  // The list, and a fetch of an id that there is not.
  await ask('/crypto/ranking', '/crypto/ranking?crypto_ids=nosuch')
  tally.coinFetches++
  tally.coinHits++
  tally.coinMisses++
  await ask('/crypto/ranking', '/crypto/ranking?limit=0')

  await ask('/crypto/search', '/crypto/search?query=btc')
  tally.coinHits++
  // The list, and a search that finds nothing.
  await ask('/crypto/search', '/crypto/search?query=nosuch')
  tally.coinHits++
  tally.coinMisses++
  for (const id of ['bitcoin', 'bitcoin', 'nosuch']) await ask('/crypto/details/:id', `/crypto/details/${id}`)
}

const JSON_TYPE = { 'content-type': 'application/json' }

/** Sends what is no HTTP, and resolves when the service has hung up. */
export async function sendGarbage(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.resume().write('NONSENSE / HTTP/1.1\r\n\r\n')
  await new Promise((resolve) => socket.once('close', resolve))
}

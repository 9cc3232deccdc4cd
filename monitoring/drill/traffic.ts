/** What clients do while the drill runs: every second the same, and more in a storm or a flood. */
import { FEATURES } from '../../domain/features.ts'
import { RANKING_MODEL } from '../../domain/ranking.ts'

/** Milliseconds between two volleys. */
const TICK = 500
/** Requests under way; further ones are left out. */
const MAX_UNDER_WAY = 300
/** Requests of a volley of a storm, all of one client. */
const STORM = 15
/** Inferences of a volley of a flood, and the rows of each: three volleys are more rows than a model's queue holds. */
const FLOOD = 25
const FLOOD_ROWS = 1024
/** Clients that take turns: each has a minute's allowance again before its next volley. */
const CLIENTS = 200

/** More than are asked for while one late answer is waited for: who asks for the same waits for the same, and less long. */
const TICKERS = [
  'NESN.SW',
  'NOVN.SW',
  'UBSG.SW',
  'ZURN.SW',
  'ABBN.SW',
  'SIKA.SW',
  'LONN.SW',
  'HOLN.SW',
  'GIVN.SW',
  'SREN.SW'
]

export interface Traffic {
  /** Whether one client asks far more than it may. */
  storm: boolean
  /** Whether every client wants many rows scored. */
  flood: boolean
  /** Requests sent so far. */
  readonly sent: number
  /** Resolves when the last one is answered. */
  stop(): Promise<void>
}

interface Asked {
  path: string
  /** JSON, which makes it a POST. */
  body?: string
}

/** Addresses that are nobody's (RFC 5737), as a proxy would report them. */
const STORMER = '203.0.113.9'
const clientOf = (volley: number): string => `198.51.100.${volley % CLIENTS}`

/**
 * Two of three lookups are answered by the cache, one request in ten needs the market, another one CoinGecko: each of them
 * alone, when it fails, is above the limits of its alert. Analyses, which need the language model, have an alert of their own.
 */
function ordinary(volley: number): Asked[] {
  const paths = [
    ...Array<string>(5).fill('/ranking?country=Switzerland'),
    '/crypto/ranking?limit=5',
    '/models',
    `/ticker_info/${TICKERS[volley % TICKERS.length]}`,
    // A coin that nobody has asked for yet.
    `/crypto/details/coin-${volley}`
  ]
  const ranking = [{ ticker: 'NESN.SW', prob: 0.6 }]
  return [...paths.map((path) => ({ path })), { path: '/analyze', body: JSON.stringify({ ranking }) }]
}

/** Rows of zeros, by the Open Inference Protocol. */
function inference(rows: number): Asked {
  const shape = [rows, FEATURES.length]
  const data = Array<number>(rows * FEATURES.length).fill(0)
  const body = JSON.stringify({ inputs: [{ name: 'features', datatype: 'FP32', shape, data }] })
  return { path: `/v2/models/${RANKING_MODEL}/infer`, body }
}

/** Sends volleys until it is stopped. */
export function startTraffic(base: string): Traffic {
  const underWay = new Set<Promise<void>>()
  const large = inference(FLOOD_ROWS)
  let volleys = 0
  let sent = 0

  /** What comes back is for the service itself to count. */
  async function ask({ path, body }: Asked, client: string): Promise<void> {
    const post = body !== undefined && { method: 'POST', body }
    const headers = { 'x-forwarded-for': client, ...(post && { 'content-type': 'application/json' }) }
    try {
      await (await fetch(base + path, { ...post, headers, signal: AbortSignal.timeout(10_000) })).arrayBuffer()
    } catch {}
  }
  function send(asked: Asked, client: string): void {
    if (underWay.size >= MAX_UNDER_WAY) return
    sent++
    const answered = ask(asked, client).finally(() => underWay.delete(answered))
    underWay.add(answered)
  }
  const traffic = {
    storm: false,
    flood: false,
    get sent() {
      return sent
    },
    async stop() {
      clearInterval(timer)
      await Promise.all(underWay)
    }
  }
  const timer = setInterval(() => {
    const client = clientOf(volleys)
    for (const asked of ordinary(volleys)) send(asked, client)
    volleys++
    if (traffic.storm) for (let i = 0; i < STORM; i++) send({ path: '/countries' }, STORMER)
    if (traffic.flood) for (let i = 0; i < FLOOD; i++) send(large, client)
  }, TICK)
  return traffic
}

/** What clients do while the drill runs: every second the same, and more in a storm. */

/** Milliseconds between two volleys. */
const TICK = 500
/** Requests under way; further ones are left out. */
const MAX_UNDER_WAY = 300
/** Requests of a volley of a storm, all of one client. */
const STORM = 15
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
  /** Requests sent so far. */
  readonly sent: number
  /** Resolves when the last one is answered. */
  stop(): Promise<void>
}

/** Addresses that are nobody's (RFC 5737), as a proxy would report them. */
const STORMER = '203.0.113.9'
const clientOf = (volley: number): string => `198.51.100.${volley % CLIENTS}`

/**
 * Three of four lookups are answered by the cache, one request in nine needs the market, another one CoinGecko: each of them
 * alone, when it fails, is above the limits of its alert.
 */
function ordinary(volley: number): string[] {
  return [
    ...Array<string>(5).fill('/ranking?country=Switzerland'),
    '/crypto/ranking?limit=5',
    '/models',
    `/ticker_info/${TICKERS[volley % TICKERS.length]}`,
    // A coin that nobody has asked for yet.
    `/crypto/details/coin-${volley}`
  ]
}

/** Sends volleys until it is stopped. */
export function startTraffic(base: string): Traffic {
  const underWay = new Set<Promise<void>>()
  let volleys = 0
  let sent = 0

  /** What comes back is for the service itself to count. */
  async function ask(path: string, client: string): Promise<void> {
    const headers = { 'x-forwarded-for': client }
    try {
      await (await fetch(base + path, { headers, signal: AbortSignal.timeout(10_000) })).arrayBuffer()
    } catch {}
  }
  function send(path: string, client: string): void {
    if (underWay.size >= MAX_UNDER_WAY) return
    sent++
    const asked = ask(path, client).finally(() => underWay.delete(asked))
    underWay.add(asked)
  }
  const traffic = {
    storm: false,
    get sent() {
      return sent
    },
    async stop() {
      clearInterval(timer)
      await Promise.all(underWay)
    }
  }
  const timer = setInterval(() => {
    for (const path of ordinary(volleys)) send(path, clientOf(volleys))
    volleys++
    if (traffic.storm) for (let i = 0; i < STORM; i++) send('/countries', STORMER)
  }, TICK)
  return traffic
}

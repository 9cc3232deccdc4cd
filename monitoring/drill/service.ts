/**
 * The service that is drilled: the real one, on the simulated market, a CoinGecko and a language model on real sockets, and
 * onnxruntime, each of which can be made to fail. Trouble enters through its collaborators only.
 */
import { once } from 'node:events'
import { type RequestListener, type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../../app.ts'
import { loadConfig } from '../../config.ts'
import type { Fetched, MarketSource } from '../../domain/market.ts'
import { type OpenSession, openOnnxSession } from '../../plugins/model/index.ts'
import { simulatedSource } from '../../sources/simulated.ts'
import { type Gate, openGate } from './gate.ts'

/** What is wrong with a market. */
export interface Trouble {
  /** Every symbol is answered with an error. */
  failing: boolean
  /** Milliseconds by which every answer is late. */
  delay: number
}

/** A market that is in trouble when it is told so. */
export function troubled(source: MarketSource, trouble: Readonly<Trouble>): MarketSource {
  async function answer<T>(symbols: readonly string[], ask: () => Promise<Map<string, Fetched<T>>>) {
    await sleep(trouble.delay)
    if (!trouble.failing) return ask()
    return new Map(symbols.map((symbol) => [symbol, { ok: false as const, error: 'upstream_error' as const }]))
  }
  return {
    ...source,
    history: async (symbols, days) => answer(symbols, async () => source.history(symbols, days)),
    quotes: async (symbols) => answer(symbols, async () => source.quotes(symbols))
  }
}

/** A runtime that can be made to hang, and to refuse. */
export interface Runtime {
  /** Whether no version can be opened. */
  refusing: boolean
  /** Runs begin when `go` is called, not before. */
  hang(): void
  go(): void
  open: OpenSession
}

export function troubledRuntime(open: OpenSession): Runtime {
  let free = Promise.withResolvers<void>()
  free.resolve()
  const runtime: Runtime = {
    refusing: false,
    hang: () => void (free = Promise.withResolvers()),
    go: () => free.resolve(),
    async open(bytes, tensors) {
      if (runtime.refusing) throw new Error('no version can be opened')
      const session = await open(bytes, tensors)
      const run: typeof session.run = async (next) => {
        await free.promise
        return session.run(next)
      }
      return { ...session, run }
    }
  }
  return runtime
}

/** A coin in the form of CoinGecko's replies. */
function coin(id: string): object {
  return {
    id,
    symbol: 'inv',
    name: 'Invented',
    current_price: 2,
    market_cap: 1000,
    market_cap_rank: 1,
    total_volume: 150,
    price_change_percentage_24h: 1,
    market_data: { current_price: { usd: 2 }, market_cap: { usd: 1000 }, total_volume: { usd: 150 } }
  }
}

/** What stands for CoinGecko: one coin is the whole market, and every id has details. */
function coingeckoReply(path: string): unknown {
  return path.endsWith('/coins/markets') ? [coin('inventium')] : coin(path.slice(path.lastIndexOf('/') + 1))
}

/** What stands for the language model: it has one opinion, in the form of OpenAI's completions. */
function completion(): object {
  const answer = {
    summary: 'One leads.',
    picks: [{ ticker: 'NESN.SW', reason: 'It leads.' }],
    risks: ['All may change.']
  }
  const message = { role: 'assistant', content: JSON.stringify(answer) }
  return { choices: [{ index: 0, message, finish_reason: 'stop' }] }
}

async function startServer(reply: (path: string) => unknown): Promise<Server> {
  const listener: RequestListener = (request, response) => {
    const [path = ''] = request.url!.split('?')
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(reply(path)))
  }
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

export interface DrillService {
  app: FastifyInstance
  url: string
  /** The market's; to be changed. */
  trouble: Trouble
  /** The model's. */
  runtime: Runtime
  /** The way to CoinGecko. */
  coingecko: Gate
  /** The way to the language model. */
  languageModel: Gate
  /** The way by which the service is scraped. */
  scrapes: Gate
  close(): Promise<void>
}

/**
 * The service, listening.
 * @param redis address of a Redis, if there is one
 * @param maxEventLoopDelay milliseconds; a busy machine is no fault of the drill, and one that is as late as this is of no use for it
 */
export async function startService(redis?: string, maxEventLoopDelay = 200): Promise<DrillService> {
  const servers = [await startServer(coingeckoReply), await startServer(completion)]
  const ways = await Promise.all(servers.map(async (server) => openGate((server.address() as AddressInfo).port)))
  const [coingecko, languageModel] = ways as [Gate, Gate]
  const trouble: Trouble = { failing: false, delay: 0 }
  const runtime = troubledRuntime(openOnnxSession)
  const config = loadConfig({
    LOG_LEVEL: 'silent',
    COIN_SOURCE: 'coingecko',
    COINGECKO_ORIGIN: `http://127.0.0.1:${coingecko.port}`,
    COINGECKO_RPM: '1000',
    OPENAI_BASE_URL: `http://127.0.0.1:${languageModel.port}/v1`,
    OPENAI_MODEL: 'invented',
    MAX_EVENT_LOOP_DELAY_MS: String(maxEventLoopDelay),
    // Clients have addresses of their own.
    TRUST_PROXY: 'loopback',
    // Rankings and coins stay in the cache, unless the fault is a cold one; quotes and analyses are asked for every time.
    RANKING_TTL_SECONDS: '3600',
    COINS_TTL_SECONDS: '3600',
    QUOTE_TTL_SECONDS: '0',
    ANALYSIS_TTL_SECONDS: '0',
    ...(redis !== undefined && { REDIS_URL: redis })
  })
  const source = troubled(simulatedSource({ seed: config.SIMULATION_SEED }), trouble)
  const app = await buildApp(config, { source, openSession: runtime.open })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const scrapes = await openGate(Number(new URL(url).port))
  async function close(): Promise<void> {
    runtime.go()
    await Promise.all([scrapes.cut(), app.close(), ...ways.map(async (way) => way.cut())])
    for (const server of servers) {
      server.closeAllConnections()
      server.close()
    }
  }
  return { app, url, trouble, runtime, coingecko, languageModel, scrapes, close }
}

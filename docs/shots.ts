/**
 * `npm run shots`: the pictures of README.md. Starts the service, has it used for some time as on a lively day, and takes a
 * picture of each page in a headless Chromium.
 */
import { stat } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { chromium } from 'playwright-core'
import { buildApp } from '../app.ts'
import { loadConfig } from '../config.ts'
import { createRandom } from '../domain/random.ts'
import { findProgram } from '../monitoring/stack.ts'

/** The pages, and what must be there before the picture is taken. */
const SHOTS = [
  { path: '/dashboard', ready: '#panels canvas', file: 'dashboard.png' },
  { path: '/', ready: 'tbody svg', file: 'landing.png' }
] as const
const SIZE = { width: 1440, height: 1100 }
const MAX_BYTES = 300_000
const PATIENCE = { timeout: 20_000 }
/** A refusal or two belong to the picture. */
const RATE_LIMIT_RPM = 200

const TICKERS = ['AAPL', 'MSFT', 'NVDA', 'NESN.SW', 'NOVN.SW', 'SAP.DE', 'NOSUCH']

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** Asks what visitors ask, in waves, with a burst of one of them in the middle, until `end` (of `performance.now()`). */
async function use(base: string, end: number): Promise<void> {
  const random = createRandom('shots')
  const one = <T>(list: readonly T[]): T => list[Math.floor(random.uniform() * list.length)]!
  async function ask<T>(path: string, body?: unknown): Promise<T> {
    const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
    const reply = await fetch(base + path, { ...(body !== undefined && post), signal: AbortSignal.timeout(10_000) })
    return (await reply.json()) as T
  }
  const { countries } = await ask<{ countries: { name: string }[] }>('/countries')
  const { features } = await ask<{ features: Record<string, number> }>('/predict_ticker/AAPL')
  const start = performance.now()
  const burst = start + (end - start) * 0.55
  let said = 0
  for (let now = start; now < end; now = performance.now()) {
    const wave = 1 + Math.sin((8 * Math.PI * (now - start)) / (end - start))
    // One country after the other becomes interesting.
    const known = countries.slice(0, 1 + Math.floor((countries.length * (now - start)) / (end - start)))
    const asked: Promise<unknown>[] = [ask(`/ranking?country=${encodeURIComponent(one(known).name)}`)]
    for (let i = 0; i < 2 * wave; i++) {
      asked.push(ask('/predict_raw', { features }), ask(`/predict_ticker/${one(TICKERS)}`))
      asked.push(ask(`/ticker_info/${one(TICKERS)}`))
      if (i === 0) asked.push(ask('/crypto/ranking'))
    }
    if (random.uniform() < 0.2) asked.push(ask('/no/such/page'))
    if (now > burst && now < burst + 8000) asked.push(...Array.from({ length: 40 }, async () => ask('/models')))
    await Promise.all(asked)
    if (now - said > 15_000) {
      said = now
      say(`${Math.round((end - now) / 1000)} s to go`)
    }
    await sleep(400 + 600 * random.uniform())
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '90' } } })
  const executablePath = findProgram('chromium', 'chromium-browser', 'google-chrome')
  if (executablePath === undefined) throw new Error('There is no chromium, see CONTRIBUTING.md')
  const config = loadConfig({
    LOG_LEVEL: 'silent',
    RATE_LIMIT_RPM: String(RATE_LIMIT_RPM),
    MAX_EVENT_LOOP_DELAY_MS: '0'
  })
  const app = await buildApp(config)
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--font-render-hinting=none'] })
  try {
    await app.listen({ host: '127.0.0.1', port: 0 })
    const base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
    await use(base, performance.now() + Number(values.seconds) * 1000)
    const page = await browser.newPage({ viewport: SIZE, colorScheme: 'light' })
    for (const { path, ready, file } of SHOTS) {
      const target = join(import.meta.dirname, file)
      await page.goto(base + path)
      await page.locator(ready).first().waitFor(PATIENCE)
      await page.screenshot({ path: target })
      const { size } = await stat(target)
      say(`docs/${file}: ${size} bytes`)
      if (size > MAX_BYTES) throw new Error(`docs/${file} is larger than ${MAX_BYTES} bytes`)
    }
  } finally {
    await browser.close()
    await app.close()
  }
}

await main()

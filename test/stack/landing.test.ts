import { readFile } from 'node:fs/promises'
/** The landing page in a real browser: what it shows, for whom, and what it says when nothing comes. */
import { createRequire } from 'node:module'
import { type Browser, type BrowserContextOptions, type Page, chromium } from 'playwright-core'
import t, { type Test } from 'tap'
import type { Overrides } from '../../app.ts'
import { findProgram } from '../../monitoring/stack.ts'
import { build, fakeSource, waveCandles } from '../helper.ts'

const executablePath = findProgram('chromium')
if (executablePath === undefined) {
  process.stderr.write('SKIPPED, no browser sees the landing page: chromium is missing, see CONTRIBUTING.md\n')
}
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core'), 'utf8')

let browser: Browser
t.setTimeout(600_000)

/** A page of a service of its own, and what must stay empty: complaints of the browser, and requests that leave the service. */
interface Visit {
  page: Page
  /** Addresses that the page has asked for, without the origin. */
  asked: string[]
  complaints: string[]
  foreign: string[]
}

interface Visitor extends BrowserContextOptions {
  env?: Record<string, string>
  overrides?: Overrides
  path?: string
  /** Before the page is opened. */
  prepare?: (page: Page) => Promise<unknown>
}

async function visit(
  t: Test,
  { env = {}, overrides = {}, path = '/', prepare, ...look }: Visitor = {}
): Promise<Visit> {
  const app = await build(t, env, overrides)
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...look })
  t.teardown(async () => context.close())
  const page = await context.newPage()
  const visited: Visit = { page, asked: [], complaints: [], foreign: [] }
  page.on('console', (message) => visited.complaints.push(message.text()))
  page.on('pageerror', (error) => visited.complaints.push(String(error)))
  page.on('request', (request) => {
    const url = request.url()
    if (url.startsWith(`${origin}/`)) visited.asked.push(url.slice(origin.length))
    else if (!url.startsWith('data:')) visited.foreign.push(url)
  })
  await prepare?.(page)
  await page.goto(origin + path)
  return visited
}

async function shown(page: Page, country: string): Promise<void> {
  await page.getByRole('table', { name: `${country}, by probability` }).waitFor()
  await page.locator('#table:not([aria-busy])').waitFor()
}

/** What axe finds wrong, a line each. */
async function barriers(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  const { violations } = await page.evaluate<{ violations: { id: string; nodes: { html: string }[] }[] }>('axe.run()')
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`))
}

t.test('the landing page', { skip: executablePath === undefined && 'no chromium' }, async (t) => {
  browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] })
  t.teardown(async () => browser.close())

  t.test('a ranking is drawn, of one country and then of another', async (t) => {
    const { page, asked, complaints, foreign } = await visit(t, { path: '/?country=Switzerland' })
    await shown(page, 'Switzerland')
    t.equal(await page.getByRole('row').count(), 31)
    const first = page.getByRole('row').nth(1)
    t.match(await first.innerText(), /1\s+STMN\.SW Straumann Holding\s+\+\d+\.\d %\s+95\.00 CHF\s+59\.4 %\s+100\s+BUY/)
    t.match(await first.getByRole('img').getAttribute('aria-label'), /^\+\d+\.\d % in 60 days$/)
    const points = (await page.locator('.sparkline polyline').first().getAttribute('points'))!.split(' ')
    t.equal(points.length, 60)
    t.ok(points.every((point) => /^\d+(\.\d)?,\d+(\.\d)?$/.test(point)))
    t.match(await page.locator('#notices').innerText(), 'Simulated prices Prices are invented by a seeded simulator.')
    t.match(await page.locator('#when').innerText(), /^Prices of 20 Nov 2026, source simulated\. Ranked at \d\d:/)

    const figures = page.locator('#figures')
    await figures.locator('dl').waitFor()
    t.match(await figures.innerText(), /AUC\s+0\.558, 90 % interval 0\.550 to 0\.567/)
    t.match(await figures.innerText(), /Rank IC\s+0\.137/)
    t.match(await figures.innerText(), /Trained\s+28 Oct 2026, on simulated prices/)

    await page.getByLabel('Country').selectOption('Japan')
    await shown(page, 'Japan')
    t.equal(await page.getByRole('row').count(), 43)
    t.equal(await page.locator('#status').innerText(), 'Japan: 42 stocks ranked')
    t.match(page.url(), /\?country=Japan$/)

    await page.getByLabel('Country').selectOption('Switzerland')
    await shown(page, 'Switzerland')
    const rankings = asked.filter((url) => url.startsWith('/ranking'))
    t.same(rankings, ['/ranking?country=Switzerland&sparkline=true', '/ranking?country=Japan&sparkline=true'], 'kept')
    t.equal(asked.filter((url) => url === '/models').length, 1)
    t.same(complaints, [])
    t.same(foreign, [])
  })

  for (const [name, look] of Object.entries<BrowserContextOptions>({
    light: { colorScheme: 'light' },
    dark: { colorScheme: 'dark' },
    'light, 360 px': { colorScheme: 'light', viewport: { width: 360, height: 740 } },
    'dark, 360 px': { colorScheme: 'dark', viewport: { width: 360, height: 740 } }
  })) {
    t.test(`nothing is in the way of anybody: ${name}`, async (t) => {
      const { page } = await visit(t, look)
      await shown(page, 'Global')
      await page.locator('#figures dl').waitFor()
      t.same(await barriers(page), [])
      const parts = page.locator('#table :is(table, thead, tbody, tr, th, td)')
      t.equal(await parts.and(page.locator('[role]')).count(), await parts.count(), 'a table, however it is laid out')
      t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out')
    })
  }

  t.test('with the keyboard alone', async (t) => {
    const { page } = await visit(t)
    await shown(page, 'Global')
    const focused = async (): Promise<string> =>
      page.evaluate('document.activeElement.id || document.activeElement.textContent')
    await page.keyboard.press('Tab')
    t.equal(await focused(), 'To the ranking')
    t.ok(await page.getByText('To the ranking').isVisible())
    await page.keyboard.press('Enter')
    await page.keyboard.press('Tab')
    t.equal(await focused(), 'country')
    await page.keyboard.type('Can')
    await shown(page, 'Canada')
    t.equal(await focused(), 'country', 'who chooses stays where she is')
    await page.keyboard.press('Tab')
    t.equal(await focused(), 'refresh')
  })

  t.test('once a minute, but only while somebody looks', async (t) => {
    const { page, asked } = await visit(t, { prepare: async (opened) => opened.clock.install() })
    await shown(page, 'Global')
    const rankings = (): number => asked.filter((url) => url.startsWith('/ranking')).length
    t.equal(rankings(), 1)
    const next = page.waitForRequest(/\/ranking/)
    await page.clock.fastForward(60_500)
    await next
    await shown(page, 'Global')
    t.equal(rankings(), 2)

    const hide = async (hidden: boolean): Promise<unknown> =>
      page.evaluate(
        `Object.defineProperty(document, 'hidden', { configurable: true, value: ${hidden} });
        document.dispatchEvent(new Event('visibilitychange'))`
      )
    await hide(true)
    await page.clock.fastForward(600_000)
    await page.evaluate('0')
    t.equal(rankings(), 2)
    const back = page.waitForRequest(/\/ranking/)
    await hide(false)
    await back
    await shown(page, 'Global')
    await hide(false)
    t.equal(rankings(), 3, 'not again: it is of now')
  })

  t.test('a ranking that can not be refreshed stays, and is said to be old; then it is new again', async (t) => {
    let fails = false
    const fake = fakeSource({ A: waveCandles(), B: waveCandles(320, '2026-11-20', 2) })
    const source = fakeSource(
      {},
      {
        universes: [...fake.universes, { ...fake.universes[0]!, name: 'Elsewhere' }],
        history: async (symbols, days) =>
          fails ? new Map(symbols.map((s) => [s, { ok: false, error: 'timeout' }])) : fake.history(symbols, days)
      }
    )
    const { page } = await visit(t, { env: { RANKING_TTL_SECONDS: '0' }, overrides: { source } })
    await shown(page, 'Testland')
    t.notOk(await page.locator('#trouble').isVisible())
    fails = true
    await page.getByRole('button', { name: 'Refresh' }).click()
    await page.getByRole('alert').waitFor()
    t.match(
      await page.getByRole('alert').innerText(),
      /^What is shown is of \d\d:\d\d:\d\d, it could not be refreshed\. The price source has no answer for 2 of the 2 symbols of Testland \(timeout\)\.$/
    )
    await shown(page, 'Testland')
    t.equal(await page.locator('#table.is-old').count(), 1)
    t.same(await barriers(page), [])

    await page.getByLabel('Country').selectOption('Elsewhere')
    await page.getByText(/symbols of Elsewhere/).waitFor()
    t.equal(await page.getByRole('table').count(), 0, "nobody takes Testland's ranking for that of Elsewhere")
    t.equal(await page.locator('#status').innerText(), 'Elsewhere: no ranking')

    fails = false
    await page.getByRole('button', { name: 'Try again' }).click()
    await shown(page, 'Elsewhere')
    t.notOk(await page.locator('#trouble').isVisible())
    t.equal(await page.locator('#table.is-old').count(), 0)
  })

  t.test('a limit that is exceeded is said in words, and when it ends', async (t) => {
    const { page, asked } = await visit(t, {
      env: { RATE_LIMIT_RPM: '1' },
      path: '/?country=Japan',
      prepare: async (opened) => opened.clock.install()
    })
    await shown(page, 'Japan')
    for (let i = 0; i < 7; i++) {
      const reply = page.waitForResponse(/\/ranking/)
      await page.getByRole('button', { name: 'Refresh' }).click()
      await reply
    }
    await page.getByRole('button', { name: 'Refresh' }).click()
    await page.getByRole('alert').waitFor()
    const [, seconds] = /Rate limit exceeded, retry in (\d+) s\.$/.exec(await page.getByRole('alert').innerText())!
    await shown(page, 'Japan')

    const before = asked.length
    // The clock goes on by itself, too.
    await page.clock.fastForward((Number(seconds) - 15) * 1000)
    await page.evaluate('0')
    t.equal(asked.length, before, 'not before that')
    const next = page.waitForRequest(/\/ranking/)
    await page.clock.fastForward(16_000)
    await next
  })

  t.test('a service that is not there, answers for a proxy, or comes back', async (t) => {
    const { page } = await visit(t, {
      prepare: async (opened) => opened.route('**/countries', (route) => route.abort())
    })
    await page.getByRole('alert').waitFor()
    t.equal(await page.getByRole('alert').innerText(), 'The service does not answer.')
    t.equal(await page.locator('#status').innerText(), 'No countries')
    await page.unroute('**/countries')
    await page.route('**/countries', (route) => route.fulfill({ status: 502, body: '<h1>Bad Gateway</h1>' }))
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByText('The service answers 502.').waitFor()
    await page.unroute('**/countries')
    await page.route('**/models', (route) => route.fulfill({ status: 503, json: { detail: 'Too busy' } }))
    await page.getByRole('button', { name: 'Try again' }).click()
    await shown(page, 'Global')
    t.notOk(await page.locator('#trouble').isVisible(), 'the ranking is as good without the figures')
    t.equal(await page.locator('#figures').innerText(), 'There are no figures now. Too busy.')
    await page.unroute('**/models')
    await page.getByRole('button', { name: 'Refresh' }).click()
    await page.locator('#figures dl').waitFor()
  })

  t.test('without scripts there is a way to the data', async (t) => {
    const { page } = await visit(t, { javaScriptEnabled: false })
    t.ok(await page.getByRole('link', { name: 'all countries' }).isVisible())
    t.notOk(await page.locator('form').isVisible(), 'nothing that would not work')
    t.ok(await page.getByText('None of this is advice').isVisible())
  })
})

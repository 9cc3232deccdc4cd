/** /dashboard as a person sees it: in a real browser, over the real service under traffic. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { type Browser, type Page, chromium } from 'playwright-core'
import t, { type Test } from 'tap'
import { buildApp } from '../../app.ts'
import { overview } from '../../monitoring/panels.ts'
import { findProgram } from '../../monitoring/stack.ts'
import { testConfig } from '../helper.ts'
import { RATE_LIMIT_RPM, drive } from './traffic.ts'

const program = findProgram('chromium', 'chromium-browser', 'google-chrome')
if (program === undefined) {
  process.stderr.write('SKIPPED, /dashboard is not looked at in a browser: no chromium, see CONTRIBUTING.md\n')
}
const LIMIT = { timeout: 400_000, skip: program === undefined }
t.setTimeout(LIMIT.timeout)

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
/** Longer than a tick and an update. */
const PATIENCE = { timeout: 60_000 }

async function serve(port = 0, env: Record<string, string> = {}): Promise<FastifyInstance> {
  const app = await buildApp(testConfig({ RATE_LIMIT_RPM: String(RATE_LIMIT_RPM), ...env }))
  await app.listen({ host: '127.0.0.1', port })
  return app
}

const portOf = (app: FastifyInstance): number => (app.server.address() as AddressInfo).port

async function launch(t: Test): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: program!, args: ['--no-sandbox'] })
  t.teardown(() => browser.close())
  return browser
}

/** What axe says against the page, as lines. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  return page.evaluate(async () => {
    const { axe: tool } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> }
    }
    const { violations: found } = await tool.run()
    return found.map(({ id, nodes }) => `${id}: ${nodes[0]?.html} ${nodes[0]?.failureSummary}`)
  })
}

/** What a panel shows: its values by series name as they are printed, and how many opaque colours its drawing has: text and grid are two. */
interface Shown {
  text: string
  values: Record<string, string>
  colours: number
}

/** Runs in the browser, whose types this program does not have: so it is a text. */
const LOOK = `(title) => {
  const panels = [...document.querySelectorAll('section')]
  const root = panels.find((panel) => panel.querySelector('h3').textContent === title)
  const canvas = root.querySelector('canvas')
  const colours = new Set()
  if (canvas) {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) colours.add(data.slice(i, i + 3).join())
  }
  const rows = [...root.querySelectorAll('tbody tr')].map(({ cells }) => [cells[0].textContent, cells[1].textContent])
  return { text: root.querySelector('.body').textContent, values: Object.fromEntries(rows), colours: colours.size }
}`

async function look(page: Page, title: string): Promise<Shown> {
  return page.evaluate(`(${LOOK})(${JSON.stringify(title)})`)
}

/** The number in a printed value: \`12.3 k/s\` is 12,300. */
function number(text = ''): number {
  const [, digits, prefix = ''] = /^([\d.]+) ?([kMG]?)/.exec(text)!
  return Number(digits) * ({ k: 1e3, M: 1e6, G: 1e9 }[prefix] ?? 1)
}

async function total(app: FastifyInstance, name: string): Promise<number> {
  const metrics = await app.metrics.json([name])
  return metrics.flatMap(({ series }) => series).reduce((sum, { value = 0 }) => sum + value, 0)
}

/** Repeats a comparison until it holds: page and service are a tick apart at times. */
async function eventually(
  t: Test,
  what: string,
  compare: () => Promise<[shown: number, true_: number]>
): Promise<void> {
  const end = performance.now() + PATIENCE.timeout
  let [shown, expected] = await compare()
  while (Math.abs(shown - expected) > 0.02 * expected && performance.now() < end) {
    await new Promise((resolve) => void setTimeout(resolve, 200))
    ;[shown, expected] = await compare()
  }
  t.ok(Math.abs(shown - expected) <= 0.02 * expected && expected > 0, `${what}: ${shown}, by the metrics ${expected}`)
}

t.test('the dashboard shows what the metrics say, to everyone, and goes on by itself', LIMIT, async (t) => {
  let app = await serve()
  t.teardown(() => app.close())
  const port = portOf(app)
  const base = `http://127.0.0.1:${port}`
  const page = await (await launch(t)).newPage({ viewport: { width: 1280, height: 1000 } })
  const complaints: string[] = []
  const foreign: string[] = []
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('request', (request) => {
    if (!request.url().startsWith(`${base}/`) && !request.url().startsWith('data:')) foreign.push(request.url())
  })
  await drive(base)
  await page.goto(`${base}/dashboard`)
  const live = page.locator('#status', { hasText: 'live, every 5 s' })
  await live.waitFor(PATIENCE)
  // A rate needs two readings with the traffic in between.
  await page.getByRole('rowheader', { name: '/predict_raw' }).first().waitFor(PATIENCE)

  await t.test('all panels of the overview have data', async (t) => {
    for (const { title, show } of overview.panels) {
      const { text, values, colours } = await look(page, title)
      if (show === 'number' || show === 'gauge') t.match(text, /loaded|configured|%/, `${title}: ${text}`)
      else if (show === 'heatmap') t.match(text, /most at or below 0\.\d/, `${title}: ${text}`)
      else
        t.ok(
          Object.values(values).some((value) => /\d/.test(value)),
          `${title}: ${JSON.stringify(values)}`
        )
      if (show !== 'number' && show !== 'gauge') t.ok(colours >= 3, `${title} is drawn in ${colours} colours`)
    }
  })

  await t.test('what it shows is what the metrics say', async (t) => {
    /** Seconds between the first reading and the last one: all traffic was in between, within a minute of it. */
    const seconds = async (): Promise<number> => {
      const { times } = (await app.inject('/dashboard/data')).json() as { times: number[] }
      return (times.at(-1)! - times.at(-Math.min(13, times.length))!) / 1000
    }
    const sumOf = async (title: string): Promise<number> =>
      Object.values((await look(page, title)).values).reduce((sum, value) => sum + number(value), 0)
    await eventually(t, 'requests a second', async () => {
      return [await sumOf('API Request Rate'), (await total(app, 'http_requests_total')) / (await seconds())]
    })
    await eventually(t, 'refusals a minute', async () => {
      return [
        await sumOf('Rate Limit Violations'),
        ((await total(app, 'rate_limit_exceeded_total')) / (await seconds())) * 60
      ]
    })
    await eventually(t, 'predictions a minute', async () => {
      return [
        await sumOf('Model Predictions Per Minute'),
        ((await total(app, 'model_predictions_total')) / (await seconds())) * 60
      ]
    })
    await eventually(t, 'cache hits in percent', async () => {
      const [hits, misses] = [await total(app, 'cache_hits_total'), await total(app, 'cache_misses_total')]
      return [number((await look(page, 'Cache Hit Rate')).text), (100 * hits) / (hits + misses)]
    })
    t.match((await look(page, 'Model Loaded Status')).text, /^loaded/)
  })

  await t.test('it is for the keyboard too: series are switched, rows unfolded', async (t) => {
    const panel = page.getByRole('region', { name: 'API Request Rate', exact: true })
    const button = panel.getByRole('button', { name: '/models', exact: true })
    await button.focus()
    await page.keyboard.press('Enter')
    t.equal(await button.getAttribute('aria-pressed'), 'false')
    t.equal(await page.evaluate('document.activeElement.textContent'), '/models', 'and stays in focus')
    await page.keyboard.press('Space')
    t.equal(await button.getAttribute('aria-pressed'), 'true')
    for (const name of ['Upstreams', 'Cache', 'Model', 'Runtime']) {
      const row = page.locator('details', { has: page.getByRole('heading', { name, exact: true }) })
      t.equal(await row.locator('canvas').count(), 0, `${name} is folded`)
      await row.locator('summary').focus()
      await page.keyboard.press('Enter')
      await row.locator('canvas').first().waitFor(PATIENCE)
    }
  })

  await t.test('nobody is kept out, in light and dark, wide and narrow', async (t) => {
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 900 })
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme })
        t.same(await violations(page), [], `${colorScheme}, ${width} px`)
      }
      const [inner, outer] = (await page.evaluate(
        '[document.documentElement.scrollWidth, document.documentElement.clientWidth]'
      )) as [number, number]
      t.ok(inner <= outer, `${inner} of ${outer} px`)
    }
  })

  await t.test('numbers change without a reload', async (t) => {
    const before = (await look(page, 'Uptime')).text
    const first = (await page.locator('#status').textContent())!
    await page.locator('#status').filter({ hasNotText: first }).waitFor(PATIENCE)
    t.match(await page.locator('#status').textContent(), /^live, every 5 s · \d\d:\d\d:\d\d$/)
    t.not((await look(page, 'Uptime')).text, before)
  })
  t.same(complaints, [], 'nothing on the console')

  await t.test('it says when nothing new comes, and goes on with the next process', async (t) => {
    await app.close()
    const stale = page.getByRole('alert')
    await stale.waitFor({ timeout: 40_000 })
    t.match(await stale.textContent(), /^Nothing new since \d\d:\d\d:\d\d; .* The service does not answer\.$/)
    t.equal(await page.locator('#status').textContent(), 'not live')
    app = await serve(port)
    await live.waitFor(PATIENCE)
    t.equal(await stale.isHidden(), true)
    t.equal(await page.locator('details[open]').count(), 6, 'what was unfolded still is')
    t.match((await look(page, 'Model Loaded Status')).text, /^loaded/)
  })
  t.same(foreign, [], 'nothing from elsewhere')
})

t.test('with a token it asks for it, and shows nothing before', LIMIT, async (t) => {
  const token = 'open sesame, please'
  const app = await serve(0, { METRICS_TOKEN: token })
  t.teardown(() => app.close())
  const page = await (await launch(t)).newPage()
  await page.goto(`http://127.0.0.1:${portOf(app)}/dashboard`)
  const field = page.getByLabel('The numbers of this service ask for its bearer token')
  await field.waitFor(PATIENCE)
  t.equal(await page.getByRole('region').count(), 0)
  t.same(await violations(page), [])
  await field.fill('guessed')
  await page.keyboard.press('Enter')
  await page.getByText('The token is wrong.').waitFor(PATIENCE)
  await field.fill(token)
  await page.keyboard.press('Enter')
  await page.getByRole('region', { name: 'API Request Rate', exact: true }).waitFor(PATIENCE)
  t.equal(await field.isHidden(), true)
})

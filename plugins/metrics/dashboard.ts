/** A page that shows the last hour of an instance in a browser, from this process alone. */
import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema, onRequestHookHandler } from 'fastify'
import type { Registry } from 'prom-client'
import { checkDashboard } from './dashboard-options.ts'
import { TF_ERR_METRICS_OPTIONS } from './errors.ts'
import { acceptsGzip } from './format.ts'
import { type Row, defaultRows, metricsOfQuery } from './panels.ts'
import { type Ring, TICK, createRing } from './ring.ts'
import { compress, shareNext } from './scrape.ts'

/** The page; everything has a default. */
export interface DashboardOptions {
  /** Where it is. @default '/dashboard' */
  url?: string
  /** @default 'Dashboard' */
  title?: string
  /** What it shows. @default requests, errors, latency and saturation, by the plugin's own metrics */
  rows?: readonly Row[]
  /** What to know before the numbers are used, asked at every update; undefined: nothing. */
  notice?: () => string | undefined
  /** Links in the head of the page, by their text. */
  links?: Readonly<Record<string, string>>
}

const DEFAULTS = { url: '/dashboard', title: 'Dashboard', notice: () => undefined, links: {} }

/** A page for people is no part of an API. The mark is that of @fastify/swagger, whose types may not be there. */
const HIDDEN = { hide: true } as object as FastifySchema

/** Everything comes from where the page comes from. Styles are set by script one by one, which this allows. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff'
}

/** A file with what a browser is told of it, compressed once. */
interface Asset {
  type: string
  body: Buffer
  zipped: Buffer
  /** Changes with the file, so that a browser can ask whether what it has is still right. */
  etag: string
}

function asset(path: string, type: string): Asset {
  const body = readFileSync(path)
  return {
    type,
    body,
    zipped: gzipSync(body),
    etag: `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`
  }
}

/** The question of a page that knows nothing yet. */
const ANEW = -1

const MODULES = ['dashboard.js', 'panel.js', 'chart.js', 'element.js', 'format.js']

function page(name: string): string {
  return join(import.meta.dirname, 'page', name)
}

function loadAssets(): Record<string, Asset> {
  const uplot = createRequire(import.meta.url).resolve('uplot/dist/uPlot.iife.min.js')
  return {
    'uplot.js': asset(uplot, 'text/javascript; charset=utf-8'),
    'dashboard.css': asset(page('dashboard.css'), 'text/css; charset=utf-8'),
    ...Object.fromEntries(MODULES.map((name) => [name, asset(page(name), 'text/javascript; charset=utf-8')]))
  }
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

function escape(text: string): string {
  return text.replaceAll(/[&<>"]/g, (c) => ESCAPES[c]!)
}

/** Addresses are relative to the page's own, so that it works behind a proxy that adds a prefix. */
function html({ title, url, links }: Required<DashboardOptions>): string {
  const base = url.slice(url.lastIndexOf('/') + 1)
  const list = Object.entries(links).map(([text, href]) => `<a href="${escape(href)}">${escape(text)}</a>`)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${base}/dashboard.css">
<script src="${base}/uplot.js" defer></script>
<script type="module" src="${base}/dashboard.js"></script>
</head>
<body data-base="${base}">
<a class="skip" href="#panels">To the panels</a>
<header>
<h1>${escape(title)}</h1>
<nav aria-label="Elsewhere">${list.join(' ')}</nav>
<p id="status" role="status">Loading …</p>
</header>
<main>
<p id="notice" class="notice" hidden></p>
<p id="stale" class="notice stale" role="alert" hidden></p>
<form id="login" hidden>
<label for="token">The numbers of this service ask for its bearer token</label>
<input id="token" type="password" autocomplete="off" required>
<button>Show</button>
</form>
<div id="panels" tabindex="-1"><noscript><p>This page draws with JavaScript, which is off.</p></noscript></div>
</main>
</body>
</html>
`
}

/** What the page needs to know of the rows. */
function definitions(rows: readonly Row[]): object[] {
  return rows.map(({ title, folded = false, panels }) => ({
    title,
    folded,
    panels: panels.map(({ queries, ...panel }) => ({ ...panel, queries: queries.length }))
  }))
}

/** The default rows without what needs metrics that are off. */
function availableRows(registry: Registry): Row[] {
  const present = (name: string): boolean => registry.getSingleMetric(name) !== undefined
  return defaultRows
    .map((row) => ({ ...row, panels: row.panels.filter((p) => p.queries.flatMap(metricsOfQuery).every(present)) }))
    .filter(({ panels }) => panels.length > 0)
}

/** Answers in pieces, with other work in between: an hour of all panels is some hundred thousand numbers. */
async function print(head: object, { queries, ...ticks }: ReturnType<Ring['since']>): Promise<string> {
  let text = `${JSON.stringify({ ...head, ...ticks }).slice(0, -1)},"series":[`
  let separator = ''
  for (const series of queries) {
    text += separator + JSON.stringify(series)
    separator = ','
    await nextTurn()
  }
  return `${text}]}`
}

/**
 * Registers the page, its files and its data, and asks the panels' questions every five seconds from ready on. None of its
 * requests is counted: watching must not change what is seen.
 */
export function registerDashboard(
  fastify: FastifyInstance,
  registry: Registry,
  guard: onRequestHookHandler,
  given: DashboardOptions
): void {
  checkDashboard(given)
  const options = { ...DEFAULTS, rows: availableRows(registry), ...given }
  const { url, notice, rows } = options
  if (!/^\/.*[^/]$/.test(url)) throw new TF_ERR_METRICS_OPTIONS('dashboard.url: Expected a path')
  const assets = loadAssets()
  const text = html(options)
  // Who was told of another process, or of this one before its restart, knows other ticks, and maybe other panels.
  const instance = randomUUID()
  let ring: Ring | undefined

  const shared = shareNext(async (tick: number) => {
    const common = { instance, now: Date.now(), interval: TICK, notice: notice() ?? null }
    const head = tick === ANEW ? { ...common, rows: definitions(rows) } : common
    return Buffer.from(await print(head, ring!.since(tick)))
  })

  const route = { config: { metrics: false }, logLevel: 'warn', schema: HIDDEN } as const
  fastify.get(url, route, async (_request, reply) => {
    reply.headers(HEADERS).header('cache-control', 'no-cache').type('text/html; charset=utf-8')
    return text
  })
  for (const [name, { type, body, zipped, etag }] of Object.entries(assets)) {
    fastify.get(`${url}/${name}`, route, async (request, reply) => {
      reply.headers(HEADERS).header('cache-control', 'no-cache').header('etag', etag).type(type)
      if (request.headers['if-none-match'] === etag) return reply.code(304).send()
      return negotiated(request, reply, body, async () => zipped)
    })
  }
  fastify.get<{ Querystring: { instance?: string; from?: string } }>(
    `${url}/data`,
    { ...route, onRequest: guard },
    async (request, reply) => {
      const from = request.query.instance === instance ? Number(request.query.from) : ANEW
      const body = await shared(Number.isSafeInteger(from) ? from : ANEW)
      reply.header('cache-control', 'no-store').type('application/json; charset=utf-8')
      return negotiated(request, reply, body, async () => compress(body))
    }
  )

  let timer: NodeJS.Timeout | undefined
  fastify.addHook('onReady', async () => {
    ring = await createRing(registry, rows, Date.now)
    await ring.tick()
    timer = setInterval(update, TICK).unref()
  })
  fastify.addHook('onClose', async () => clearInterval(timer))

  let reading = false
  /** What fails now may work at the next tick; until then the page says that nothing is new. Readings do not pile up. */
  async function update(): Promise<void> {
    if (reading) return
    reading = true
    try {
      await ring!.tick()
    } catch (err) {
      fastify.log.error({ err }, 'the dashboard could not read the metrics')
    } finally {
      reading = false
    }
  }
}

async function negotiated(
  request: FastifyRequest,
  reply: FastifyReply,
  body: Buffer,
  zip: () => Promise<Buffer>
): Promise<Buffer> {
  reply.header('vary', 'accept-encoding')
  if (!acceptsGzip(request.headers['accept-encoding'])) return body
  reply.header('content-encoding', 'gzip')
  return zip()
}

/** The landing page for browsers, and the files in `landing/` that it is made of. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** What the service says of itself. */
export interface About {
  name: string
  version: string
  description: string
}

/** A text with what a browser is told of it. */
export interface Asset {
  type: string
  body: string
  /** Changes with the text, so that a browser can ask whether what it has is still right. */
  etag: string
}

function asset(body: string, type: string): Asset {
  const hash = createHash('sha256').update(body).digest('hex').slice(0, 16)
  return { body, type: `${type}; charset=utf-8`, etag: `"${hash}"` }
}

function file(name: string): [string, Asset] {
  const type = name.endsWith('.css') ? 'text/css' : 'text/javascript'
  return [name, asset(readFileSync(join(import.meta.dirname, 'landing', name), 'utf8'), type)]
}

/** The files of the page by their names. */
export function landingFiles(): ReadonlyMap<string, Asset> {
  return new Map(['landing.css', 'landing.js', 'table.js', 'element.js', 'words.js'].map(file))
}

/** The page. Addresses are relative, so that it works behind a proxy that adds a prefix. */
export function landingPage({ name, version, description }: About): Asset {
  return asset(
    `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="${description}">
<title>${name}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="landing/landing.css">
<script type="module" src="landing/landing.js"></script>
</head>
<body>
<a class="skip" href="#ranking">To the ranking</a>
<header>
<h1>${name} <small>${version}</small></h1>
<nav aria-label="Elsewhere">
<a href="docs">Documentation</a>
<a href="dashboard">Dashboard</a>
<a href="metrics">Metrics</a>
<a href="prometheus">Prometheus</a>
</nav>
</header>
<main>
<p class="lead">This service ranks the stocks of a country by the probability that each does better than the median of its country
over the next weeks. Every ranking says which model made it, what that model is worth, and where its prices are from.</p>
<p class="advice"><strong>None of this is advice</strong> to buy or sell anything.</p>
<section id="ranking" tabindex="-1" aria-labelledby="ranking-title">
<h2 id="ranking-title">Ranking</h2>
<noscript><p>This page draws with JavaScript, which is off. The same as data: <a href="ranking?country=Global">Global</a>,
<a href="countries">all countries</a>, <a href="models">models</a>.</p></noscript>
<form>
<label for="country">Country</label>
<select id="country" autocomplete="off" disabled></select>
<button id="refresh" type="button">Refresh</button>
<p id="status" role="status">Loading …</p>
</form>
<ul id="notices" aria-label="What to know first"></ul>
<div id="trouble" class="trouble" hidden>
<p id="reason" role="alert"></p>
<button id="again" type="button">Try again</button>
</div>
<p class="when"><span id="when"></span> <a href="#model">What the model is worth</a></p>
<div id="table"></div>
</section>
<section id="model" tabindex="-1" aria-labelledby="model-title">
<h2 id="model-title">What the model is worth</h2>
<div id="figures"></div>
</section>
</main>
</body>
</html>
`,
    'text/html'
  )
}

/** Answers an asset, or that the one which the browser has is still right. */
export function sendAsset(request: FastifyRequest, reply: FastifyReply, { body, type, etag }: Asset): FastifyReply {
  reply.headers({ 'cache-control': 'no-cache', etag })
  // A list of tags, or a weak one that a proxy has made of ours, has ours in it.
  if (request.headers['if-none-match']?.includes(etag)) return reply.code(304).send()
  return reply.type(type).send(body)
}

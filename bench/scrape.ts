/** `node bench/scrape.ts`: what printing the metrics costs a service, ours against the clients' own, on the same data. */
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import Fastify from 'fastify'
import promClient from 'prom-client'
import metrics from '../plugins/metrics/index.ts'
import {
  type Watched,
  answer,
  begin,
  isVariant,
  ratios,
  rounds,
  settings,
  spread,
  start,
  table,
  watch
} from './harness.ts'

const OURS = '@trading-fun/metrics'
const PROM = 'prom-client'
const NEW_CLIENT = '@prometheus-io/client'
/** Printed samples. */
const SIZES = [1000, 10_000, 50_000]
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
/** A histogram's samples: buckets, the one without a bound, sum and count. */
const WIDTH = BUCKETS.length + 3
/** Label sets of a metric; larger registries have more metrics, as they do. */
const ROUTES = 50

/** What the variants have in common. */
interface Sink {
  inc(name: string, labels: Record<'method' | 'endpoint' | 'status', string>, value: number): void
  observe(name: string, labels: Record<'method' | 'endpoint', string>, value: number): void
  print(): Promise<Buffer | string>
}

/** Half of the samples are counters', half are histograms'. */
function fill(sink: Sink, size: number): void {
  for (let i = 0; i < size / 2; i++) {
    const route = i % ROUTES
    const labels = { method: 'GET', endpoint: `/resources/${route}/:id`, status: '200' }
    sink.inc(`counted_${Math.floor(i / ROUTES)}_total`, labels, i * 7919 + 1)
  }
  for (let i = 0; i < size / 2 / WIDTH; i++) {
    const route = i % ROUTES
    const labels = { method: 'POST', endpoint: `/resources/${route}/:id` }
    for (let k = 0; k < 20; k++) sink.observe(`measured_${Math.floor(i / ROUTES)}_seconds`, labels, 0.003 * 1.5 ** k)
  }
}

/** The metric of a name, made when it is first asked for. */
function memo<V>(make: (name: string) => V): (name: string) => V {
  const known = new Map<string, V>()
  return (name) => known.get(name) ?? known.set(name, make(name)).get(name)!
}

async function ours(): Promise<Sink> {
  const app = Fastify()
  await app.register(metrics, { processMetrics: false, endpoint: null })
  const counter = memo((name) =>
    app.metrics.counter(name, { help: 'Counted.', labels: { method: [], endpoint: [], status: [] } })
  )
  const histogram = memo((name) =>
    app.metrics.histogram(name, { help: 'Measured.', labels: { method: [], endpoint: [] }, buckets: BUCKETS })
  )
  return {
    inc: (name, labels, value) => counter(name).labels(labels).inc(value),
    observe: (name, labels, value) => histogram(name).labels(labels).observe(value),
    print: async () => app.metrics.exposition()
  }
}

function theirs(client: typeof promClient): Sink {
  const registry = new client.Registry()
  const registers = [registry]
  const counter = memo((name) => {
    const labelNames = ['method', 'endpoint', 'status'] as const
    return new client.Counter({ name, help: 'Counted.', labelNames, registers })
  })
  const histogram = memo((name) => {
    const labelNames = ['method', 'endpoint'] as const
    return new client.Histogram({ name, help: 'Measured.', labelNames, buckets: BUCKETS, registers })
  })
  return {
    inc: (name, labels, value) => counter(name).inc(labels, value),
    observe: (name, labels, value) => histogram(name).observe(labels, value),
    print: async () => registry.metrics()
  }
}

/** The samples of the metrics above, whatever the order of labels and the spelling of bounds. */
function samples(text: string): string[] {
  const wanted = text.split('\n').filter((line) => /^(counted|measured)_/.test(line))
  return wanted
    .map((line) => {
      const [, name = '', labels = '', value = ''] = /^(\w+){(.*)} (\S+)$/.exec(line)!
      const sorted = labels
        .replaceAll(/le="(\d+)"/g, 'le="$1.0"')
        .split(',')
        .toSorted()
      return `${name}{${sorted.join()}} ${value}`
    })
    .toSorted()
}

async function runVariant(name: string, path?: string): Promise<void> {
  const require = createRequire(import.meta.url)
  const client = path === undefined ? promClient : (require(resolve(path)) as typeof promClient)
  const sinks: Sink[] = []
  for (const size of SIZES) {
    const sink = name === OURS ? await ours() : theirs(client)
    fill(sink, size)
    sinks.push(sink)
  }
  answer(null, async (question) => {
    const { size, text } = question as { size: number; text: boolean }
    const sink = sinks[SIZES.indexOf(size)]!
    return text ? String(await sink.print()) : watch(async () => sink.print())
  })
}

async function main(): Promise<void> {
  const about = `node bench/scrape.ts: printing ${SIZES.join(', ')} samples

--client PATH  a copy of ${NEW_CLIENT} to compare with: npm install --prefix DIR ${NEW_CLIENT},
               then --client DIR/node_modules/${NEW_CLIENT}`
  const { seconds, client } = settings(about, 60, ['client'])
  begin(['fastify', PROM])
  if (client === undefined) console.log(`SKIPPED: ${NEW_CLIENT}, for want of --client (see --help)`)
  const variants = await Promise.all([
    start(import.meta.filename, OURS),
    start(import.meta.filename, PROM),
    ...(client === undefined ? [] : [start(import.meta.filename, NEW_CLIENT, client)])
  ])
  for (const size of SIZES) {
    const [own, ...others] = await Promise.all(
      variants.map(async (variant) => samples(await variant.ask<string>({ size, text: true })))
    )
    const same = others.every((other) => other.join('\n') === own!.join('\n'))
    console.log(`${own!.length} samples, ${same ? 'the same from all' : 'NOT THE SAME from all'}`)
  }

  const cases = SIZES.flatMap((size) => variants.map((variant) => ({ size, variant })))
  const results = await rounds(
    cases.map(
      ({ size, variant }) =>
        async () =>
          variant.ask<Watched>({ size, text: false })
    ),
    seconds
  )
  table(
    ['samples', '', 'ms', 'stall, ms', 'ms, prom-client / this', 'stall, prom-client / this'],
    cases.map(({ size, variant: { name } }, i) => {
      const base = results[cases.findIndex((other) => other.size === size && other.variant.name === PROM)]!
      const of = (key: keyof Watched, scrapes = results[i]!): number[] => scrapes.map((one) => one[key])
      return [
        String(size),
        name,
        spread(of('took'), 2),
        spread(of('stall'), 3),
        spread(ratios(of('took', base), of('took')), 1),
        spread(ratios(of('stall', base), of('stall')), 1)
      ]
    })
  )
  process.exit()
}

await (isVariant ? runVariant(process.argv[2]!, process.argv[3]) : main())

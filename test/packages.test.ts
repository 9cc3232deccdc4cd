/** The four packages as their users get them: packed, installed far from this repository, compiled and run. */
import { rmSync } from 'node:fs'
import { cp, mkdtemp, readFile, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, relative, sep } from 'node:path'
import t, { type Test } from 'tap'
import { type Service, createFolder, install, pack, registryTrouble, root, start } from './packages/consumer.ts'
import {
  cacheService,
  metricsService,
  modelService,
  ownClientService,
  rateLimitService,
  togetherService
} from './packages/services.ts'

interface Manifest {
  name: string
  exports: Record<string, { types: string; default: string }>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
  peerDependencies: Record<string, string>
}

async function readManifest(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
}

/** The successor of prom-client. */
const SUCCESSOR = '@prometheus-io/client'

const names = ['cache', 'metrics', 'model', 'rate-limit'] as const

// Installs take their time on a machine with two cores, above all when npm's cache is empty.
t.setTimeout(600_000)
const folder = await mkdtemp(join(tmpdir(), 'packages-'))
// Not a teardown of the test: that would not run if the installs below fail.
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

const { dependencies, devDependencies } = await readManifest(root)
/** What every service has beside the packages. */
const bare = [`fastify@${dependencies['fastify']}`, `@types/node@${devDependencies['@types/node']}`]

/**
 * Packs all, and installs each in a service of its own, metrics in another one beside two metrics clients. Two installs at a
 * time: the model's runtime is larger than all else. Resolves to the tarballs by name.
 */
async function installAll(): Promise<Record<string, string>> {
  const tarballs = await pack(folder, names)
  async function create(name: string, packages: readonly string[]): Promise<void> {
    await createFolder(join(folder, name))
    await install(join(folder, name), [...bare, ...packages])
  }
  async function small(): Promise<void> {
    for (const name of ['cache', 'metrics', 'rate-limit']) await create(name, [tarballs[name]!])
    const { dependencies: own } = await readManifest(join(root, 'plugins/metrics'))
    await create('clients', [`prom-client@${own['prom-client']}`, `${SUCCESSOR}@^0.16.1`, tarballs['metrics']!])
  }
  await Promise.all([create('model', [tarballs['model']!]), small()])
  return tarballs
}

/** Whether a text has all these lines. */
function hasLines(t: Test, text: string, lines: readonly string[]): void {
  const found = new Set(text.split('\n'))
  for (const line of lines) t.ok(found.has(line), line)
}

/** What holds for every service: a wrong option, which does not compile, does not boot; and it ends when it is told to. */
async function end(t: Test, service: Service, code: string): Promise<void> {
  t.equal((await service.ask('/wrong')).text, code)
  t.equal(await service.stop(), 0)
}

function tests(tarballs: Record<string, string>): void {
  t.test('the services are where nothing of this repository can be found', async (t) => {
    t.ok(relative(root, folder).startsWith(`..${sep}`), folder)
  })

  t.test('cache: a value is loaded once, and nobody can change it', async (t) => {
    const service = await start(t, join(folder, 'cache'), cacheService)
    t.match(JSON.parse((await service.ask('/quote')).text), { value: { loads: 1, tags: ['tech'] }, stale: false })
    t.equal((await service.ask('/change')).text, 'refused')
    t.same(JSON.parse((await service.ask('/quote')).text).value, { loads: 1, tags: ['tech'] })
    await end(t, service, 'TF_ERR_CACHE_OPTIONS')
  })

  t.test('rate-limit: without options 60 requests a minute, and the third of weight 30 is refused', async (t) => {
    const service = await start(t, join(folder, 'rate-limit'), rateLimitService)
    t.equal((await service.ask('/quote')).headers.get('ratelimit-limit'), '60')
    t.equal((await service.ask('/report')).text, 'report')
    t.equal((await service.ask('/report')).text, 'report')
    const refused = await service.ask('/report')
    t.equal(refused.status, 429)
    t.match(JSON.parse(refused.text), { code: 'TF_ERR_RATE_LIMIT_EXCEEDED' })
    t.match(JSON.parse((await service.ask('/stats')).text), { windows: 2, clients: 1, endpoints: 2 })
    await end(t, service, 'TF_ERR_RATE_LIMIT_OPTIONS')
  })

  t.test('metrics: without options a request is counted, and so is the label that is none', async (t) => {
    const service = await start(t, join(folder, 'metrics'), metricsService)
    t.equal((await service.ask('/quotes/AAPL')).text, 'quote')
    t.equal((await service.ask('/typo')).text, 'counted elsewhere')
    const { text, headers } = await service.ask('/metrics')
    t.equal(headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    hasLines(t, text, [
      'http_requests_total{method="GET",endpoint="/quotes/:ticker",status="200"} 1',
      'http_request_duration_seconds_count{method="GET",endpoint="/quotes/:ticker"} 1',
      'quotes_total{market="stock"} 1',
      'quotes_total{market="coin"} 0',
      'quotes_total{market="__overflow__"} 1',
      'metrics_series_dropped_total{metric="quotes_total"} 1'
    ])
    t.match(text, /^process_cpu_seconds_total [0-9.]+$/m)
    t.equal((await service.ask('/dashboard')).status, 404)
    await end(t, service, 'TF_ERR_METRICS_OPTIONS')
  })

  for (const client of ['prom-client', SUCCESSOR]) {
    t.test(`metrics: one scrape shows the service's own metrics of ${client} and ours`, async (t) => {
      const service = await start(t, join(folder, 'clients'), ownClientService(client))
      t.equal((await service.ask('/job')).text, 'done')
      const lines = [
        'jobs_total{kind="small"} 1',
        'job_seconds{quantile="0.5"} 0.25',
        'job_seconds_sum 0.25',
        'job_seconds_count 1',
        'http_requests_total{method="GET",endpoint="/job",status="200"} 1'
      ]
      const { text } = await service.ask('/metrics')
      hasLines(t, text, lines)
      t.match(text, /^process_cpu_seconds_total [0-9.]+$/m)
      t.equal(/^nodejs_eventloop_utilization_summary_sum /m.test(text), client === SUCCESSOR, 'it is this client')
      hasLines(t, (await service.ask('/own')).text, lines)
      const page = await service.ask('/dashboard')
      t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
      const named = [...page.text.matchAll(/(?:src|href)="(dashboard\/[^"]+)"/g)].map(([, path]) => `/${path}`)
      t.equal(named.length, 3)
      for (let path = named.shift(); path !== undefined; path = named.shift()) {
        const file = await service.ask(path)
        t.equal(file.status, 200, path)
        for (const [, name] of file.text.matchAll(/ from '\.\/([^']+)'/g)) named.push(`/dashboard/${name}`)
      }
      const data = JSON.parse((await service.ask('/dashboard/data')).text)
      t.match(data.rows, [{ title: 'Jobs' }], 'panels of any metric')
      t.match(data.series, [[{ name: 'small' }], [], [{ name: 'resident', points: [Number] }]])
      t.match(JSON.parse((await service.ask('/json')).text), [
        { name: 'jobs_total', series: [{ labels: { kind: 'small' }, value: 1 }] },
        { name: 'job_seconds', type: 'summary' }
      ])
      await end(t, service, 'TF_ERR_METRICS_OPTIONS')
    })
  }

  t.test('model: a named vector is scored, and so is a tensor of the inference protocol', async (t) => {
    await cp(join(root, 'plugins/model/test/fixtures/repository'), join(folder, 'model/repository'), {
      recursive: true
    })
    const service = await start(t, join(folder, 'model'), modelService)
    const { probability, version } = JSON.parse((await service.ask('/predict', { a: 1, b: 2 })).text)
    t.ok(Math.abs(probability - 1 / (1 + Math.exp(2.5))) < 1e-6, `${probability}`)
    t.equal(version, '1')
    t.match(JSON.parse((await service.ask('/predict', { a: 1 })).text), { code: 'TF_ERR_MODEL_INPUT' })
    const inputs = [{ name: 'features', shape: [1, 2], datatype: 'FP32', data: [1, 2] }]
    const inferred = JSON.parse((await service.ask('/v2/models/tiny/infer', { inputs })).text)
    t.match(inferred, { model_version: '1', outputs: [{ name: 'probability', data: [probability] }, { data: [-2.5] }] })
    t.strictSame(JSON.parse((await service.ask('/v2')).text), { name: 'mine', version: '1.0.0', extensions: [] })
    await end(t, service, 'TF_ERR_MODEL_OPTIONS')
  })

  t.test('all four in one service: what three report, the fourth counts', async (t) => {
    // In the model's folder, which has the 290 MB already.
    await install(join(folder, 'model'), [tarballs['cache']!, tarballs['metrics']!, tarballs['rate-limit']!])
    const service = await start(t, join(folder, 'model'), togetherService)
    const [first, second, third] = [
      await service.ask('/score'),
      await service.ask('/score'),
      await service.ask('/score')
    ]
    t.ok(Math.abs(JSON.parse(first.text)[0] - 1 / (1 + Math.exp(2.5))) < 1e-6, first.text)
    t.equal(second.text, first.text)
    t.equal(third.status, 429)
    hasLines(t, (await service.ask('/metrics')).text, [
      'cache_misses_total{cache_type="scores"} 1',
      'cache_hits_total{cache_type="scores"} 1',
      'model_rows_total{model_type="tiny"} 1',
      'rate_limit_exceeded_total{endpoint="/score"} 1',
      'http_requests_total{method="GET",endpoint="/score",status="200"} 2',
      'http_requests_total{method="GET",endpoint="/score",status="429"} 1'
    ])
    t.equal(await service.stop(), 0)
  })

  for (const name of names) {
    t.test(
      `${name}: the package holds its build with types, README and license, and names all it imports`,
      async (t) => {
        const installed = join(folder, name, 'node_modules/@trading-fun', name)
        t.same((await readdir(installed)).toSorted(), ['LICENSE', 'README.md', 'dist', 'package.json'])
        const all = (await readdir(join(installed, 'dist'))).toSorted()
        // What browsers get is not compiled.
        const files = all.filter((file) => file !== 'page')
        t.equal(all.includes('page'), name === 'metrics')
        const modules = files.filter((file) => file.endsWith('.js')).map((file) => file.slice(0, -'.js'.length))
        t.same(
          files,
          modules.flatMap((module) => [`${module}.d.ts`, `${module}.js`]).toSorted(),
          'each module has types'
        )

        const manifest = await readManifest(installed)
        t.same(manifest.exports, { '.': { types: './dist/index.d.ts', default: './dist/index.js' } })
        t.ok(modules.includes('index'))

        const imported = new Set<string>()
        for (const file of files) {
          const text = await readFile(join(installed, 'dist', file), 'utf8')
          t.notOk(text.includes(root) || /['"`]\.\.\//.test(text), `${file} stays in the package`)
          for (const [, specifier = ''] of text.matchAll(
            /(?:\bfrom |\bimport |\bimport\(|\brequire\(|\.resolve\()['"]([^'"]+)['"]/g
          )) {
            const [, own] = /^\.\/(.*)\.[jt]s$/.exec(specifier) ?? []
            if (own !== undefined) t.ok(modules.includes(own), `${file}: ${specifier}`)
            else if (!specifier.startsWith('node:')) imported.add(/^(@[^/]+\/)?[^/]+/.exec(specifier)![0])
          }
        }
        const declared = { ...manifest.dependencies, ...manifest.peerDependencies }
        t.same([...imported].toSorted(), Object.keys(declared).toSorted(), 'what it imports is what it declares')
        const readme = await readFile(join(installed, 'README.md'), 'utf8')
        t.notMatch(readme, /\]\((?!https?:|#)/, 'README links lead somewhere on npm too')
        t.match(readme, `npm pack -w plugins/${name}\n`, 'how it was packed here')
        t.match(readme, `/${basename(tarballs[name]!).replace(/-[\d.]+\.tgz$/, '-*.tgz')}\n`, 'what is to be installed')
      }
    )
  }
}

const trouble = await registryTrouble()
if (trouble === undefined) {
  tests(await installAll())
} else {
  t.plan(0, `the npm registry can't be reached (${trouble}): the packages were not tried`)
}

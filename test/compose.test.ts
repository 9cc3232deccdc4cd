import { execFileSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { ConfigSchema, loadConfig } from '../config.ts'

interface Service {
  image?: string
  build?: string
  environment?: Record<string, string | number>
  command?: string[]
  entrypoint?: string[]
  ports?: string[]
  volumes?: string[]
  depends_on?: string[]
  profiles?: string[]
  healthcheck?: { test: string[] }
  user?: string
  restart: string
  read_only: boolean
  cap_drop: string[]
  security_opt: string[]
  mem_limit: string
  stop_grace_period?: string
  logging: { options: Record<string, string> }
}

interface Compose {
  services: Record<string, Service>
  volumes: Record<string, null>
}

interface Scrapes {
  rule_files: string[]
  alerting: { alertmanagers: { static_configs: { targets: string[] }[] }[] }
  scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[]
}

const repository = join(import.meta.dirname, '..')

function read(path: string): string {
  return readFileSync(join(repository, path), 'utf8')
}

function load(path: string): unknown {
  return parse(read(path), { merge: true })
}

/** Text as Compose reads it: variables by `env` or their default, `$$` a dollar sign. */
function interpolate(text: string, env: Record<string, string> = {}): string {
  return text.replaceAll(/\$\$|\$\{(\w+):-([^}]*)\}/g, (match, name: string, fallback: string) =>
    match === '$$' ? '$' : env[name] || fallback
  )
}

/** Parts of `source:target[:ro]`. */
function mounts({ volumes = [] }: Service, env?: Record<string, string>): { source: string; target: string }[] {
  return volumes.map((volume) => {
    const [source = '', target = ''] = interpolate(volume, env).split(':')
    return { source, target }
  })
}

const { services, volumes } = load('compose.yaml') as Compose
const all = Object.entries(services)
const dockerfile = read('Dockerfile')
const api = services['api']!
const grafana = services['grafana']!

t.test('every image has a concrete version, and Node is of the version that runs here', async (t) => {
  for (const [name, { image, build }] of all) {
    if (image === undefined) t.equal(build, '.', `${name} is built here`)
    else t.match(image, /^[a-z/]+:v?\d+\.\d+\.\d+(-[a-z]+)?$/, name)
  }
  const stages = [...dockerfile.matchAll(/^FROM (\S+)(?: AS (\S+))?$/gm)]
  const named = new Set(stages.map(([, , name]) => name))
  const bases = stages.flatMap(([, base]) => (named.has(base) ? [] : [base]))
  t.match(bases, [/^node:\d+\.\d+\.\d+-bookworm-slim$/])
  t.equal(bases[0]?.split(/[:.]/)[1], process.versions.node.split('.')[0])
})

t.test('every service comes back, says whether it is well, and may do no more than it must', async (t) => {
  for (const [name, service] of all) {
    t.equal(service.restart, 'unless-stopped', name)
    t.ok(service.healthcheck?.test ?? (service.build && /^HEALTHCHECK /m.test(dockerfile)), name)
    t.match(service.user ?? /^USER (.+)$/m.exec(dockerfile)?.[1], /^(node|[1-9]\d*:\d+)$/, name)
    t.equal(service.read_only, true, name)
    t.same(service.cap_drop, ['ALL'], name)
    t.same(service.security_opt, ['no-new-privileges:true'], name)
    t.match(service.mem_limit, /^\d+m$/, name)
    t.match(service.logging.options, { 'max-size': /^\d+m$/, 'max-file': /^\d$/ }, name)
  }
})

t.test('the promised ports, open to this machine only', async (t) => {
  const ports = Object.fromEntries(
    all.map(([name, service]) => [name, service.ports?.map((port) => interpolate(port))])
  )
  t.same(ports, {
    api: ['127.0.0.1:8000:8000'],
    prometheus: ['127.0.0.1:9090:9090'],
    alertmanager: ['127.0.0.1:9093:9093'],
    grafana: ['127.0.0.1:3001:3000'],
    redis: undefined
  })
})

t.test('no secret stands in the files, and nothing must be set', async (t) => {
  for (const [name, { environment = {} }] of all) {
    for (const [variable, value] of Object.entries(environment)) {
      if (/PASSWORD|TOKEN|SECRET|_KEY/.test(variable)) t.match(String(value), /^\$\{\w+:-\}$/, `${name} ${variable}`)
    }
  }
  const references = read('compose.yaml').match(/(?<!\$)\$[\w{][^\s'"]*/g)
  t.ok(references!.length > 10)
  for (const reference of references!) t.match(reference, /^\$\{\w+:-[^?]*\}/)
  t.notMatch(dockerfile, /PASSWORD|TOKEN|SECRET/)
})

t.test('the API gets every setting that it knows, and no other', async (t) => {
  const environment = api.environment!
  // The models are in the image.
  t.same([...Object.keys(environment), 'MODEL_DIR'].toSorted(), Object.keys(ConfigSchema.properties).toSorted())
  const inside = { HOST: '0.0.0.0', PORT: 8000, MARKET_DATA_DIR: '/prices' }
  for (const [name, value] of Object.entries(environment)) {
    if (!(name in inside)) t.equal(value, `\${${name}:-}`)
  }
  const env = Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, interpolate(String(value))]))
  t.same(loadConfig(env), { ...loadConfig({}), ...inside })
})

t.test('the folder of prices is mounted where the API looks for it', async (t) => {
  const target = String(api.environment!['MARKET_DATA_DIR'])
  t.same(mounts(api), [{ source: 'prices', target }])
  t.same(mounts(api, { MARKET_DATA_DIR: '../prices' }), [{ source: '../prices', target }])
})

t.test('the API may take as long to stop as it takes', async (t) => {
  const { SHUTDOWN_DELAY_SECONDS, SHUTDOWN_TIMEOUT_SECONDS } = loadConfig({})
  t.ok(Number.parseInt(api.stop_grace_period!, 10) > SHUTDOWN_DELAY_SECONDS + SHUTDOWN_TIMEOUT_SECONDS)
})

t.test('`up prometheus grafana` starts everything but redis', async (t) => {
  const started = new Set(['prometheus', 'grafana'])
  for (const name of started) services[name]!.depends_on?.forEach((dependency) => started.add(dependency))
  t.same([...started].toSorted(), ['alertmanager', 'api', 'grafana', 'prometheus'])
  t.same(
    all.filter(([, { profiles }]) => profiles !== undefined).map(([name]) => name),
    ['redis']
  )
})

t.test('every mounted folder and every configuration file in it exists; every named volume is used', async (t) => {
  const named = new Set<string>()
  for (const [name, service] of all) {
    for (const { source } of mounts(service)) {
      if (source.startsWith('.')) t.ok(existsSync(join(repository, source)), `${name} mounts ${source}`)
      else named.add(source)
    }
    const file = service.command?.find((flag) => flag.startsWith('--config.file='))?.split('=')[1]
    if (file === undefined) continue
    const mount = mounts(service).find(({ target }) => file.startsWith(`${target}/`))
    t.ok(existsSync(join(repository, mount!.source, file.slice(mount!.target.length))), `${name} reads ${file}`)
  }
  t.same([...named].toSorted(), Object.keys(volumes).toSorted())
})

t.test('Prometheus keeps what it is told to, and scrapes and alerts services of this file', async (t) => {
  const { command = [] } = services['prometheus']!
  t.ok(command.map((flag) => interpolate(flag)).includes('--storage.tsdb.retention.time=15d'))
  t.ok(command.map((flag) => interpolate(flag, { PROMETHEUS_RETENTION: '7d' })).some((flag) => flag.endsWith('=7d')))

  const { scrape_configs, alerting, rule_files } = load('monitoring/prometheus.yml') as Scrapes
  const configs = [...scrape_configs, ...alerting.alertmanagers].flatMap((config) => config.static_configs)
  const targets = new Set(configs.flatMap((config) => config.targets))
  t.same(targets, new Set(['api:8000', 'alertmanager:9093', 'localhost:9090']))
  for (const file of rule_files) t.ok(existsSync(join(repository, 'monitoring', file)), file)
})

t.test('Grafana finds Prometheus and the dashboard', async (t) => {
  interface Datasource {
    uid: string
    url: string
    type: string
  }
  interface Provider {
    allowUiUpdates: boolean
    disableDeletion: boolean
    options: { path: string }
  }
  const folder = 'monitoring/grafana/provisioning'
  const { datasources } = load(`${folder}/datasources/prometheus.yml`) as { datasources: Datasource[] }
  t.match(datasources, [{ uid: 'prometheus', type: 'prometheus', url: 'http://prometheus:9090' }])
  const { providers } = load(`${folder}/dashboards/trading-fun.yml`) as { providers: Provider[] }
  t.match(providers, [{ allowUiUpdates: false, disableDeletion: true }])

  const dashboards = mounts(grafana).find(({ target }) => target === providers[0]!.options.path)
  t.equal(dashboards?.source, './monitoring/grafana/dashboards')
  const files = globSync('monitoring/grafana/dashboards/*.json', { cwd: repository })
  t.ok(files.includes('monitoring/grafana/dashboards/trading-fun-api.json'))
  // A panel names the data source, or the dashboard's variable of that type, whose first value is the default.
  for (const file of files) {
    const uids = [...read(file).matchAll(/"type": ?"prometheus",\s*"uid": ?"([^"]+)"/g)].map(([, uid]) => uid!)
    t.ok(uids.length > 0, file)
    t.same(
      uids.filter((uid) => !['prometheus', '${datasource}'].includes(uid)),
      [],
      file
    )
  }
})

t.test('Grafana without a password: no administrator, and all may look; with one: login', async (t) => {
  const [shell = '', flag = '', script = ''] = grafana.entrypoint!
  const start = (password: string): string => {
    const text = interpolate(script).replace('exec /run.sh', 'env')
    return execFileSync(shell, [flag, text], { env: { GF_SECURITY_ADMIN_PASSWORD: password }, encoding: 'utf8' })
  }
  const open = ['GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION=true', 'GF_AUTH_ANONYMOUS_ENABLED=true']
  const [without, withOne] = [start(''), start('correct horse $HOME')].map((printed) => printed.split('\n'))
  t.same(
    open.filter((line) => !without!.includes(line)),
    []
  )
  t.same(
    withOne!.filter((line) => /DISABLE|ANONYMOUS/.test(line)),
    []
  )
  t.ok(withOne!.includes('GF_SECURITY_ADMIN_PASSWORD=correct horse $HOME'))
  t.match(script, /exec \/run\.sh\n$/)
})

/** What docker-compose itself says of the file; it needs no engine for that. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'

const file = join(import.meta.dirname, '../../compose.yaml')

const missing = spawnSync('docker-compose', ['version']).error !== undefined
if (missing) process.stderr.write('SKIPPED, compose.yaml is not read by docker-compose: the command is missing\n')
const options = missing ? { skip: 'docker-compose is missing' } : {}

/** Runs `docker-compose config` in `folder`, where there is no .env. */
function config(folder: string, env: Record<string, string>): SpawnSyncReturns<string> {
  copyFileSync(file, join(folder, 'compose.yaml'))
  return spawnSync('docker-compose', ['--profile', 'redis', 'config'], {
    cwd: folder,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], ...env }
  })
}

t.test('docker-compose accepts the file without any setting, and does not complain', options, async (t) => {
  const { status, stdout, stderr } = config(t.testdir(), {})
  t.same([status, stderr], [0, ''])
  const { services } = parse(stdout)
  t.same(Object.keys(services).toSorted(), ['alertmanager', 'api', 'grafana', 'prometheus', 'redis'])
  t.equal(services.grafana.environment.GF_SECURITY_ADMIN_PASSWORD, '')
  t.ok(services.prometheus.command.includes('--storage.tsdb.retention.time=15d'))
})

t.test('docker-compose puts settings where they belong', options, async (t) => {
  const folder = t.testdir()
  const env = { PORT: '8080', MARKET_SOURCE: 'csv', MARKET_DATA_DIR: './data', PROMETHEUS_RETENTION: '7d' }
  const { services } = parse(config(folder, { ...env, GRAFANA_ADMIN_PASSWORD: 'correct horse' }).stdout)
  t.match(services.api.ports[0], /127\.0\.0\.1:8080:8000/)
  t.match(services.api.environment, { MARKET_SOURCE: 'csv', MARKET_DATA_DIR: '/prices', PORT: 8000 })
  t.same(services.api.volumes, [`${join(folder, 'data')}:/prices:ro`])
  t.ok(services.prometheus.command.includes('--storage.tsdb.retention.time=7d'))
  t.equal(services.grafana.environment.GF_SECURITY_ADMIN_PASSWORD, 'correct horse')
})

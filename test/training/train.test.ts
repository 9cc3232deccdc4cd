import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { FEATURES } from '../../domain/features.ts'
import type { Manifest } from '../../training/manifest.ts'
import { main } from '../../training/train.ts'
import { writePrices, smallMarket } from './small-market.ts'

interface Run {
  code: number
  out: string
  err: string
}

async function run(args: string[], env: Record<string, string> = {}): Promise<Run> {
  const out: string[] = []
  const err: string[] = []
  const code = await main(args, { log: (line) => out.push(line), error: (line) => err.push(line), env })
  return { code, out: out.join('\n'), err: err.join('\n') }
}

async function files(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder)).toSorted()
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), 'latin1')]))
  )
}

t.test('prices to a served version: files, figures, words, and the same bytes again', async (t) => {
  const directory = t.testdir({ prices: {}, one: {}, two: {} })
  const prices = join(directory, 'prices')
  await writePrices(prices, smallMarket({ momentum: 0.02, seed: 6 }))
  await appendFile(join(prices, 'Switzerland', 'NESN.SW.csv'), 'someday,1,1,1,1,1,1\n')
  await writeFile(join(prices, 'Switzerland', 'EMPTY.csv'), '')
  const notes = 'Invented prices.'
  const first = await run(['--data', prices, '--out', join(directory, 'one'), '--notes', notes])
  t.equal(first.err, '')
  t.equal(first.code, 0)
  t.match(first.out, /^Switzerland\/NESN\.SW\.csv: 1695 rows, left out: 1 date$/m)
  t.match(first.out, /Switzerland\/EMPTY\.csv: left out \(\w+\)$/m)
  t.match(first.out, /^\| 2022 \| \d+ \| 0\.\d{4} \|/m)
  t.match(first.out, /10000 rows: probability differs by at most \d\.\de-8, .* batches of 1, 7, 8, 50, 512, 4096$/m)
  t.match(first.out, /^written: .*outperform\/1 \(sha256 [0-9a-f]{64}\)$/m)
  t.match(first.out, /with real prices$/)

  const written = await files(join(directory, 'one', 'outperform', '1'))
  t.same(Object.keys(written), ['CARD.md', 'manifest.json', 'model.onnx'])
  for (const [name, content] of Object.entries(written)) t.notOk(content.includes(directory), `no path in ${name}`)

  const manifest = JSON.parse(written['manifest.json']!) as Manifest
  t.match(manifest, {
    name: 'outperform',
    version: '1',
    format: 'onnx',
    model_type: 'logistic_regression',
    label:
      "The adjusted return over the next 20 trading days is above the median of the universe of the stock's country",
    horizon_days: 20,
    trained_at: '2023-06-28T00:00:00.000Z',
    window: { from: '2017-12-20', to: '2023-06-28' },
    source: 'historical',
    universe: [{ name: 'Switzerland', symbols: 30, rows: 8550, from: '2017-12-20', to: '2023-06-28' }],
    calibration: { method: 'platt', a: Number, b: Number },
    metrics: { folds: 2, gate_passed: true }
  })
  t.equal(manifest.sha256, createHash('sha256').update(written['model.onnx']!, 'latin1').digest('hex'))
  t.same(
    manifest.features.map(({ name, description, unit }) => ({ name, description, unit })),
    FEATURES
  )
  for (const { name, quantiles } of manifest.features) {
    t.same(Object.keys(quantiles), ['p0_5', 'p5', 'p25', 'p50', 'p75', 'p95', 'p99_5'])
    const values = Object.values(quantiles)
    t.same(
      values.toSorted((a, b) => a - b),
      values,
      `quantiles of ${name} ascend`
    )
  }
  t.equal(manifest.self_test.length, 5)

  const card = written['CARD.md']!
  t.match(card, /^# outperform 1 \(real prices\)\n/)
  t.match(card, /nearly a coin flip/)
  t.match(card, /survivorship/)
  t.match(card, /Notes on this data: Invented prices\./)
  t.match(card, /Promotion gate .*: passed\./)
  t.match(card, /\| Switzerland \| 30 \| 8550 \|/)
  t.match(card, /npm run train -- --data DIR --notes TEXT\n/)
  t.notMatch(card, /NaN|undefined/)

  const second = await run(['--data', prices, '--out', join(directory, 'two'), '--notes', notes])
  t.equal(second.code, 0)
  t.same(await files(join(directory, 'two', 'outperform', '1')), written)
})

t.test('prices without signal are refused, and written by force only', async (t) => {
  const directory = t.testdir({ prices: {}, out: {} })
  const prices = join(directory, 'prices')
  await writePrices(prices, smallMarket({ momentum: 0, seed: 7 }))
  const args = ['--data', prices, '--out', join(directory, 'out')]
  const refused = await run(args)
  t.equal(refused.code, 1)
  t.match(
    refused.err,
    /^promotion gate: no skill shown: AUC .*\npromotion gate: probabilities .*\nnothing written; --force/
  )
  t.same(await readdir(join(directory, 'out')), [])

  const forced = await run([...args, '--force'], { SOURCE_DATE_EPOCH: '1700000000' })
  t.equal(forced.code, 0)
  t.match(forced.err, /^promotion gate: no skill shown/)
  const written = await files(join(directory, 'out', 'outperform', '1'))
  const manifest = JSON.parse(written['manifest.json']!) as Manifest
  t.equal(manifest.metrics.gate_passed, false)
  t.equal(manifest.trained_at, '2023-11-14T22:13:20.000Z')
  t.notMatch(written['CARD.md'], /Notes on this data/)
  t.match(
    written['CARD.md'],
    /\*\*The promotion gate refused this model; it was written by force\.\*\* Reason: no skill shown/
  )
  t.match(
    written['CARD.md'],
    /holds \.5: this may be no skill at all\..*is not statistically distinct from 0.*: failed\./
  )
  t.match(written['CARD.md'], /npm run train -- --data DIR --force\n/)
})

t.test('without --data the simulated market is learned', async (t) => {
  const directory = t.testdir({})
  const { code, out, err } = await run(['--out', directory, '--until', '2022-04-30'])
  t.equal(err, '')
  t.equal(code, 0)
  t.match(out, /with the simulated market$/)
  const written = await files(join(directory, 'outperform', '1'))
  const manifest = JSON.parse(written['manifest.json']!) as Manifest
  t.equal(manifest.source, 'simulated')
  t.equal(manifest.universe.length, 7)
  t.ok(manifest.window.to <= '2022-04-30')
  t.match(written['CARD.md'], /must never score real prices/)
  t.match(written['CARD.md'], /leaves \.5 out.*is statistically distinct from 0/)
  t.match(written['CARD.md'], /npm run train -- --until 2022-04-30\n/)
  t.notMatch(written['CARD.md'], /survivorship|coin flip/)
})

t.test('a command line that is not understood is named, and nothing is done', async (t) => {
  const cases: [string[], RegExp][] = [
    [['--dta', 'x'], /^train: Unknown option '--dta'/],
    [['prices'], /^train: Unexpected argument 'prices'/],
    [['--data'], /^train: Option '--data <value>' argument missing/],
    [['--until', 'yesterday'], /^train: --until must be a date like 2026-10-30 \(see --help\)$/],
    [['--until', '2026-13-01'], /^train: --until must be a date/],
    [['--data', 'x', '--until', '2022-01-01'], /^train: --until belongs to the simulated market \(see --help\)$/]
  ]
  for (const [args, message] of cases) t.match(await run(args), { code: 2, out: '', err: message })
  t.match(await run([], { SOURCE_DATE_EPOCH: 'now' }), {
    code: 2,
    err: /^train: SOURCE_DATE_EPOCH must be whole seconds/
  })
})

t.test('a folder that cannot be read is a failure without a stack', async (t) => {
  const { code, err } = await run(['--data', join(t.testdir({}), 'none')])
  t.equal(code, 1)
  t.match(err, /^train: Cannot read the price folder [^\n]*none$/)
})

t.test('the command itself', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, ['training/train.ts', '--help'])
  t.match(stdout, /^Trains the model `outperform`/)
})

import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { FEATURES } from '../domain/features.ts'
import type { MarketSource } from '../domain/market.ts'
import { openCsvSource, type CsvFileReport } from '../sources/csv.ts'
import { simulatedSource } from '../sources/simulated.ts'
import { figureTable, toCard, yearTable } from './card.ts'
import { LABEL, toManifest } from './manifest.ts'
import { toOnnx } from './onnx.ts'
import { MODEL_NAME, trainOn } from './pipeline.ts'
import { nextVersion, writeVersion } from './repository.ts'
import { BATCH_SIZES, verify, withRuntime } from './verify.ts'

const HELP = `Trains the model \`${MODEL_NAME}\` and writes its next version: model.onnx, manifest.json and CARD.md.

  npm run train                      from the simulated market
  npm run train -- --data DIR        from real prices, DIR/<MARKET>/<TICKER>.csv

  --data DIR     folder of prices; without it the simulated market
  --out DIR      model repository to write into (default: models)
  --until DATE   last day of the simulated market (default: 2026-10-30)
  --notes TEXT   what is known of the data; goes into CARD.md
  --force        write the model though the promotion gate refuses it; the card and the manifest say so
  --help         this text

The command refuses (exit code 1, nothing written) a model whose purged walk-forward figures show no skill, and stops
on real prices when they are too good to be true. The same data give the same bytes; SOURCE_DATE_EPOCH sets trained_at.
`

const MODELS = fileURLToPath(new URL('../models', import.meta.url))
const UNTIL = '2026-10-30'
/** Not the seed of the market that is served by default: no simulated price that is scored was learned from. */
const TRAINING_SEED = 2
const DAY = 86_400_000

/** Where the command writes, and the environment it looks at. */
export interface Terminal {
  log: (line: string) => void
  error: (line: string) => void
  env: Readonly<Record<string, string | undefined>>
}

/** The command line was not understood. */
class UsageError extends Error {
  override name = 'UsageError'
}

interface Options {
  data: string | undefined
  out: string
  until: string
  notes: string | undefined
  force: boolean
  help: boolean
}

/**
 * The command. Never throws.
 *
 * @returns its exit code: 0 written, 1 refused or failed, 2 not understood.
 */
export async function main(args: string[], terminal: Terminal): Promise<number> {
  try {
    const options = readOptions(args)
    if (options.help) {
      terminal.log(HELP)
      return 0
    }
    return await train(options, readEpoch(terminal.env), terminal)
  } catch (error) {
    const usage = error instanceof UsageError
    terminal.error(`train: ${String(error).replace(/^\w*Error: /, '')}${usage ? ' (see --help)' : ''}`)
    return usage ? 2 : 1
  }
}

function readOptions(args: string[]): Options {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  try {
    const { values } = parseArgs({
      args,
      options: { data: text, out: text, until: text, notes: text, force: flag, help: flag }
    })
    const { data, out = MODELS, until = UNTIL, notes, force, help } = values
    if (data !== undefined && values.until !== undefined)
      throw new UsageError('--until belongs to the simulated market')
    if (Number.isNaN(Date.parse(until)) || !/^\d{4}-\d\d-\d\d$/.test(until)) {
      throw new UsageError(`--until must be a date like ${UNTIL}`)
    }
    return { data, out, until, notes, force, help }
  } catch (error) {
    throw new UsageError(String(error).replace(/^\w*Error.*?: /, ''))
  }
}

function readEpoch({ SOURCE_DATE_EPOCH: epoch }: Terminal['env']): string | undefined {
  if (epoch !== undefined && !/^\d{1,11}$/.test(epoch)) throw new UsageError('SOURCE_DATE_EPOCH must be whole seconds')
  return epoch
}

async function openSource({ data, until }: Options, log: Terminal['log']): Promise<MarketSource> {
  if (data !== undefined) return openCsvSource({ directory: data, log: (report) => log(describeFile(report)) })
  // The source's last day is the one before its clock.
  return simulatedSource({ seed: TRAINING_SEED, now: () => new Date(Date.parse(until) + DAY) })
}

function describeFile({ file, rows, dropped, skipped }: CsvFileReport): string {
  if (skipped !== null) return `${file}: left out (${skipped})`
  const faults = Object.entries(dropped).map(([fault, count]) => `${count} ${fault}`)
  return `${file}: ${rows} rows, left out: ${faults.join(', ')}`
}

async function train(options: Options, epoch: string | undefined, { log, error }: Terminal): Promise<number> {
  const training = await trainOn(await openSource(options, log), log)
  const { evaluation, failures, model } = training
  for (const line of ['', ...yearTable(evaluation.years), '', ...figureTable(evaluation.metrics), '']) log(line)
  for (const failure of failures) error(`promotion gate: ${failure}`)
  if (failures.length > 0 && !options.force) {
    error('nothing written; --force writes it nevertheless')
    return 1
  }

  const onnx = toOnnx(model, MODEL_NAME, LABEL)
  const { rows, probability, margin } = await withRuntime(onnx, FEATURES.length, (run) => verify(run, model))
  log(
    `onnxruntime against the trainer, ${rows} rows: probability differs by at most ${probability.toExponential(1)}, ` +
      `margin by ${margin.toExponential(1)}; the same bits in batches of ${BATCH_SIZES.join(', ')}`
  )
  const version = await nextVersion(options.out, MODEL_NAME)
  const manifest = toManifest(training, onnx, version, epoch)
  const { notes } = options
  const card = toCard(manifest, { years: evaluation.years, failures, notes, command: commandOf(options) })
  const folder = await writeVersion(options.out, MODEL_NAME, version, {
    'model.onnx': onnx,
    'manifest.json': `${JSON.stringify(manifest, null, 2)}\n`,
    'CARD.md': card
  })
  log(`written: ${relative('', folder)} (sha256 ${manifest.sha256})`)
  log(
    `\`npm start\` serves the newest version whose source fits the market: this one with ${marketOf(training.source)}`
  )
  return 0
}

function marketOf(source: MarketSource['kind']): string {
  return source === 'simulated' ? 'the simulated market' : 'real prices'
}

/** Without the paths of this machine. */
function commandOf({ data, until, notes, force }: Options): string {
  return [
    'npm run train --',
    data === undefined ? `--until ${until}` : '--data DIR',
    ...(notes === undefined ? [] : ['--notes TEXT']),
    ...(force ? ['--force'] : [])
  ].join(' ')
}

if (import.meta.main) {
  process.exitCode = await main(process.argv.slice(2), { log: console.log, error: console.error, env: process.env })
}

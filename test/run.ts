/**
 * `npm test`: runs tap over the tree with coverage and ends with a line `N passed, N failed`.
 * Arguments go on to tap, without coverage: `npm test -- test/domain/ranking.test.ts`.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const root = join(import.meta.dirname, '..')
const tap = join(root, 'node_modules/.bin/tap')

// tap generates its own `t` from the plugins in .taprc, and every npm install undoes it; doing so in vain costs 2.5 s.
const installed = join(root, 'node_modules/.package-lock.json')
const built = join(root, '.tap/plugins')
if (!existsSync(built) || statSync(built).mtimeMs < statSync(installed).mtimeMs) {
  rmSync(built, { recursive: true, force: true })
  spawnSync(tap, ['build'], { cwd: root, stdio: 'inherit' })
}

const files = process.argv.slice(2)
const coverage = files.length > 0 ? ['--disable-coverage'] : ['--coverage-report=text']
const child = spawn(tap, ['run', '--reporter=tap', ...coverage, ...files], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit']
})
const exit = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? 1)))

// A top-level line ends what one file printed: of a file that passed only that line is shown, of another one everything.
let block: string[] = []
let passed = 0
let failed = 0
for await (const line of createInterface({ input: child.stdout })) {
  block.push(line)
  const totals = /^# \{.* pass: (\d+)(?:.*fail: (\d+))?/.exec(line)
  if (totals) [passed, failed] = [Number(totals[1]), Number(totals[2] ?? 0)]
  if (line.startsWith('ok ')) block = [line.replace(' {', '')]
  if (/^(not )?ok /.test(line) || / \| |^# (?!Subtest)/.test(line)) {
    process.stdout.write(`${block.join('\n')}\n`)
    block = []
  }
}
const code = await exit
if (code !== 0 && failed === 0) {
  const why = files.length === 0 ? ': see the coverage above, it must be 100 %' : ''
  process.stdout.write(`no test failed, but tap exited with ${code}${why}\n`)
  failed = 1
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = code

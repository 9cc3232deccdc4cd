import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { nextVersion, writeVersion } from '../../training/repository.ts'

t.test('versions count up from the highest number', async (t) => {
  t.equal(await nextVersion(t.testdir({}), 'outperform'), '1')
  const directory = t.testdir({ outperform: { 2: {}, 10: {}, '011': {}, notes: {}, '.new-99': {} } })
  t.equal(await nextVersion(directory, 'outperform'), '11')
})

t.test('a version appears whole', async (t) => {
  const directory = t.testdir({ outperform: {} })
  const folder = await writeVersion(directory, 'outperform', '1', { 'a.txt': 'text', 'b.bin': Uint8Array.of(1, 2) })
  t.equal(folder, join(directory, 'outperform', '1'))
  t.same((await readdir(folder)).toSorted(), ['a.txt', 'b.bin'])
  t.same([...(await readFile(join(folder, 'b.bin')))], [1, 2])
  t.same(await readdir(join(directory, 'outperform')), ['1'])
})

t.test('a version that exists is never overwritten, and nothing is left behind', async (t) => {
  const directory = t.testdir({ outperform: { 1: { 'a.txt': 'old' } } })
  await t.rejects(writeVersion(directory, 'outperform', '1', { 'a.txt': 'new' }), { code: 'ENOTEMPTY' })
  t.equal(await readFile(join(directory, 'outperform', '1', 'a.txt'), 'utf8'), 'old')
  t.same(await readdir(join(directory, 'outperform')), ['1'])
})

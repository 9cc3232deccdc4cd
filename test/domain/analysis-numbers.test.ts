import t from 'tap'
import { unsupportedNumbers } from '../../domain/analysis-numbers.ts'

const given = [0.594, 0.5, 0.055]

t.test('numbers that were given, rounded as they are written', async (t) => {
  for (const text of [
    '59.4%',
    '59.4 %',
    '59,4 percent',
    'about 59 per cent',
    '59.40％',
    '0.594',
    '.594',
    '0,59',
    '0.6',
    '+59.4%',
    '50% to 59%',
    '50–59.4 %',
    '50%-59%',
    'between 50 and 59 pct',
    '5.5% or 6%',
    'a chance of 0.594, a coin flip (50%).'
  ])
    t.same(unsupportedNumbers(text, given), [], text)
})

t.test('numbers that were not', async (t) => {
  for (const [text, expected] of [
    ['60%', ['60%']],
    ['59.3%, and again 59.3%', ['59.3%']],
    ['59.44%', ['59.44%']],
    ['60% to 59%', ['60%']],
    ['50 to 61 percent', ['61%']],
    ['-59.4%', ['-59.4%']],
    ['−59.4 %', ['−59.4%']],
    ['0.595', ['0.595']],
    ['-0.594', ['-0.594']],
    ['.77 and 1.0', ['.77', '1.0']],
    ['159.4%', ['159.4%']],
    ['9.4%', ['9.4%']],
    ['12.5% in 2027, 0.61', ['12.5%', '0.61']]
  ] as const)
    t.same(unsupportedNumbers(text, given), expected, text)
})

t.test('other numbers are not looked at', async (t) => {
  for (const text of [
    '20 days',
    'CHF 95',
    '1.25 times',
    'v0.7',
    '7203.T',
    '2026-11-20',
    '0.7.1',
    'the top 10',
    'p0.77'
  ])
    t.same(unsupportedNumbers(text, given), [], text)
})

t.test('numbers of the remark are given too', async (t) => {
  t.same(unsupportedNumbers('Your 20% loss, or 30%', given, 'I have lost 20 %'), ['30%'])
  t.same(unsupportedNumbers('20%', given, 'I am 20'), ['20%'], 'as probabilities only')
})

t.test('a long text takes no long time', async (t) => {
  const started = performance.now()
  t.same(unsupportedNumbers(`${'1'.repeat(20_000)} ${'1 '.repeat(10_000)} ${'1,'.repeat(10_000)}`, given), [])
  t.ok(performance.now() - started < 2000)
})

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { MarketSource } from '../../domain/market.ts'
import { CSV_HEADER } from '../../sources/csv-file.ts'
import { simulatedSource } from '../../sources/simulated.ts'

export interface SmallMarketOptions {
  momentum: number
  kind?: MarketSource['kind']
  /** Another seed is another market. */
  seed: number
}

/** 30 stocks of the simulated market until June 2023: two judged years, half a second to train. */
export function smallMarket({ momentum, kind = 'simulated', seed }: SmallMarketOptions): MarketSource {
  const source = simulatedSource({ seed, momentum, now: () => new Date('2023-07-01') })
  const universes = source.universes.filter(({ name }) => ['Global', 'Switzerland'].includes(name))
  return { ...source, kind, universes }
}

/** Writes the country universes of a market as a folder for `--data`. */
export async function writePrices(directory: string, source: MarketSource): Promise<void> {
  for (const { name, symbols } of source.universes.filter((universe) => universe.name !== 'Global')) {
    await mkdir(join(directory, name), { recursive: true })
    for (const [symbol, history] of await source.history(symbols, 10_000)) {
      if (!history.ok) throw new Error(symbol)
      const { dates, adjClose } = history.value
      const lines = dates.map((date, i) => `${date},,,,${adjClose[i]},${adjClose[i]},`)
      await writeFile(join(directory, name, `${symbol}.csv`), `${[CSV_HEADER, ...lines].join('\n')}\n`)
    }
  }
}

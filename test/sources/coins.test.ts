import t from 'tap'
import { parseCoinId } from '../../domain/coins.ts'
import data from '../../sources/coins.json' with { type: 'json' }
import { COIN_LISTINGS, NFT_IDS } from '../../sources/coins.ts'

t.test('250 coins, each once, with an id that can be asked for', async (t) => {
  t.equal(data.coins.length, 250)
  t.equal(COIN_LISTINGS.size, 250)
  for (const { id, symbol, name, price, cap, stable } of COIN_LISTINGS.values()) {
    t.equal(parseCoinId(id), id)
    t.equal(symbol, symbol.toUpperCase(), id)
    t.ok(name.trim() === name && name !== '', id)
    t.ok(price > 0 && cap > 0, id)
    t.type(stable, 'boolean', id)
  }
  t.match(COIN_LISTINGS.get('binancecoin'), { symbol: 'BNB', name: 'BNB', stable: false })
  t.match(COIN_LISTINGS.get('usd-coin'), { symbol: 'USDC', stable: true })
})

t.test('tokens of NFTs, each once, those of the earlier service among them', async (t) => {
  t.equal(NFT_IDS.size, data.nft.ids.length)
  for (const id of ['decentraland', 'the-sandbox', 'axie-infinity', 'enjincoin', 'apecoin']) t.ok(NFT_IDS.has(id), id)
  t.notOk(NFT_IDS.has('bitcoin'))
  for (const id of NFT_IDS) t.equal(parseCoinId(id), id)
})

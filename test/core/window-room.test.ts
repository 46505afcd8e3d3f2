/** What a window asks for before it takes it, and who waits meanwhile. */

import { expect, it } from 'vitest'
import { answer, MIB, PAGE, SpentTurn, Teller } from './paused.js'

const NEST_PARENT = 1

async function scene(failPoint?: (what: string) => void) {
  const turn = new SpentTurn()
  const teller = new Teller(turn, { failPoint })
  const { world } = teller
  const paging = { deviceId: world.bind('arm'), ioasId: world.ioas(), flags: NEST_PARENT }
  const { domainId: parentDomainId } = (await teller.ask('CreatePagingDomain', paging)) as { domainId: number }
  return { turn, teller, world, parentDomainId }
}

it('a range beyond the quota is refused before memory stands behind a page of it', async () => {
  let backed = 0
  const { world, parentDomainId } = await scene((what) => {
    if (what === 'window memory') backed++
  })
  const bytes = BigInt(world.core.limits.context.table_bytes)
  const request = { parentDomainId, first: 0n, last: bytes + PAGE - 1n }
  expect([answer(world, 'CreateWindow', request), backed]).toEqual(['EDQUOT', 0])
})

it('a parent takes no second window while one grows', async () => {
  const { turn, teller, world, parentDomainId } = await scene()
  const small = { parentDomainId, first: 0n, last: PAGE - 1n }
  const { windowId } = (await teller.ask('CreateWindow', small)) as { windowId: number }
  const grown = Promise.resolve(world.begin('GrowWindow', { windowId, first: 8n * MIB, last: 13n * MIB - 1n }))
  await turn.step(1)
  const second = { parentDomainId, first: 32n * MIB, last: 32n * MIB + PAGE - 1n }
  expect(answer(world, 'CreateWindow', second)).toBe('EBUSY')
  await turn.finish(grown)
  await teller.ask('CreateWindow', second)
})

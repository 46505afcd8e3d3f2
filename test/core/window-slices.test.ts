/** In the middle of a window: what others meet, the end of the context, and refusals that undo pieces. */

import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import { answer, MIB, mapping, outcome, PAGE, SpentTurn, Teller } from './paused.js'
import { RW } from './world.js'

const NEST_PARENT = 1
const FIRST = 8n * MIB
/** Three pieces. */
const LAST = FIRST + 5n * MIB - 1n
const ROOT = { ttb0: 0n, t0sz: 16, tg0: 0, ir0: 1, or0: 1, sh0: 3, ips: 5, mair: 0xffn, ha: false, hd: false }

async function scene(failPoint?: (what: string) => void) {
  const turn = new SpentTurn()
  const teller = new Teller(turn, { failPoint })
  const { world } = teller
  const ioasId = world.ioas()
  const deviceId = world.bind('arm')
  const regionId = world.region(16n * MIB)
  const paging = { deviceId, ioasId, flags: NEST_PARENT }
  const { domainId: parentDomainId } = (await teller.ask('CreatePagingDomain', paging)) as { domainId: number }
  const range = { first: FIRST, last: LAST }
  const begin = (): Promise<{ windowId: number }> => {
    const reply = Promise.resolve(world.begin('CreateWindow', { parentDomainId, ...range }))
    reply.catch(() => undefined)
    return reply
  }
  return { turn, teller, world, ioasId, deviceId, regionId, parentDomainId, range, begin }
}

const holesOf = async (teller: Teller, ioasId: number): Promise<unknown> =>
  (await teller.ask('IoasIovaRanges', { ioasId }))['ranges']

describe('in the middle of a new window', () => {
  it('its range is taken, its parent is busy, and mappings elsewhere go on', async () => {
    const { turn, teller, world, ioasId, deviceId, regionId, parentDomainId, begin } = await scene()
    const made = begin()
    await turn.step(1)
    expect(answer(world, 'IoasMap', mapping(ioasId, regionId, FIRST + 4n * MIB, PAGE))).toBe('EINVAL')
    expect(answer(world, 'Destroy', { objectId: parentDomainId })).toBe('EBUSY')
    expect(answer(world, 'AttachRid', { deviceId, ptId: parentDomainId })).toBe('EBUSY')
    const elsewhere = { parentDomainId, first: 0n, last: PAGE - 1n }
    expect(answer(world, 'CreateWindow', elsewhere)).toBe('EBUSY')
    expect(world.objects()).not.toContain(`${parentDomainId + 1}:11`)
    const chosen = world.begin('IoasMap', { ...mapping(ioasId, regionId, 0n, 8n * MIB), flags: RW })
    expect(await turn.finish(chosen)).toEqual({ iova: LAST + 1n })
    expect(await turn.finish(made)).toEqual({ windowId: parentDomainId + 1 })
    expect(await teller.ask('GrowWindow', { windowId: parentDomainId + 1, ...elsewhere })).toEqual({
      freeBytes: 5n * MIB + PAGE,
    })
  })

  it('the end of the context waits for it, and leaves nothing', async () => {
    const { turn, world, begin } = await scene()
    const made = begin()
    await turn.step(1)
    const ended = world.core.contextOf(world.token, world.peer).end('closed')
    expect(ended).toBeInstanceOf(Promise)
    await turn.finish(made)
    await turn.finish(ended)
    expect(world.leftovers()).toEqual([])
  })
})

describe('a window that is refused in its last piece', () => {
  it('leaves its parent and its addresses as they were', async () => {
    let left = Number.POSITIVE_INFINITY
    const { turn, teller, world, ioasId, begin } = await scene((what) => {
      if (what === 'window memory' && --left === 0) throw new Refusal('ENOMEM', 'the test refuses this')
    })
    const before = [await holesOf(teller, ioasId), await teller.ask('GetContext'), world.machine.live]
    left = 3
    expect(await outcome(turn, begin())).toBe('ENOMEM')
    expect([await holesOf(teller, ioasId), await teller.ask('GetContext'), world.machine.live]).toEqual(before)
    left = Number.POSITIVE_INFINITY
    await turn.finish(begin())
  })

  it('keeps its addresses until the unit has forgotten them', async () => {
    let left = 3
    const { turn, teller, world, ioasId, regionId, begin } = await scene((what) => {
      if (what === 'window memory' && --left === 0) throw new Refusal('ENOMEM', 'the test refuses this')
    })
    const { machine } = world
    machine.deferred = []
    const made = begin()
    await turn.step(4)
    expect(machine.log.at(-1)).toBe('flush')
    expect(answer(world, 'IoasMap', mapping(ioasId, regionId, FIRST, PAGE))).toBe('EINVAL')
    await machine.finish()
    expect(await outcome(turn, made)).toBe('ENOMEM')
    machine.deferred = undefined
    expect(await teller.ask('IoasMap', mapping(ioasId, regionId, FIRST, PAGE))).toEqual({ iova: FIRST })
  })
})

describe('in the middle of a growing window', () => {
  it('PASIDs come and go, and what is new is not used before it is all there', async () => {
    const { turn, teller, world, deviceId, parentDomainId } = await scene()
    const small = { parentDomainId, first: 0n, last: PAGE - 1n }
    const { windowId } = (await teller.ask('CreateWindow', small)) as { windowId: number }
    await teller.ask('AttachRid', { deviceId, ptId: windowId })
    const root = { deviceId, windowId, smmuv3Pgd: ROOT }
    const { domainId } = (await teller.ask('CreateUserDomain', root)) as { domainId: number }
    const grown = Promise.resolve(world.begin('GrowWindow', { windowId, first: FIRST, last: LAST }))
    await turn.step(1)
    world.do('AttachPasid', { deviceId, pasid: 3, ptId: domainId })
    world.do('AttachPasid', { deviceId, pasid: 0, ptId: domainId })
    world.do('DetachPasid', { deviceId, pasid: 0 })
    const [told] = world.do('ListObjects', { type: 11 }).objects
    expect(told.facts).toMatchObject({ free_bytes: '4096' })
    expect(answer(world, 'Destroy', { objectId: windowId })).toBe('EBUSY')
    expect(answer(world, 'GrowWindow', { windowId, first: MIB, last: MIB + PAGE - 1n })).toBe('EBUSY')
    expect(await turn.finish(grown)).toEqual({ freeBytes: 5n * MIB + PAGE })
  })
})

describe('destroying a window', () => {
  it('gives its addresses back when the unit has forgotten them', async () => {
    const { turn, teller, world, ioasId, regionId, begin } = await scene()
    const { windowId } = await turn.finish(begin())
    const { machine } = world
    machine.deferred = []
    const destroyed = Promise.resolve(world.begin('Destroy', { objectId: windowId }))
    expect(answer(world, 'IoasMap', mapping(ioasId, regionId, FIRST, PAGE))).toBe('EINVAL')
    await machine.finish()
    machine.deferred = undefined
    await turn.finish(destroyed)
    expect(await teller.ask('IoasMap', mapping(ioasId, regionId, FIRST, PAGE))).toEqual({ iova: FIRST })
  })
})

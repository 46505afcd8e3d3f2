/** In the middle of work in slices: EBUSY for others, the end of the context, and refusals that undo it. */

import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import { answer, attachedWorld, MIB, mapping, type Name, outcome, PAGE } from './paused.js'
import { ALL, READABLE, RW, type World } from './world.js'

describe('in the middle of a map', () => {
  it('its range is busy, the IOAS stays, no domain joins, and a free choice goes elsewhere', async () => {
    const { turn, teller, world, begin, ioasId, other, regionId, deviceId } = await attachedWorld()
    const mapped = begin('IoasMap', mapping(ioasId, regionId, 0x1000n))
    await turn.step(2)
    expect(answer(world, 'IoasMap', mapping(ioasId, regionId, 0x40_0000n, PAGE))).toBe('EBUSY')
    expect(answer(world, 'IoasUnmap', { ioasId, iova: 0n, length: ALL })).toBe('EBUSY')
    const copy = { srcIoasId: ioasId, dstIoasId: other, srcIova: 0x1000n, length: PAGE, flags: READABLE }
    expect(answer(world, 'IoasCopy', copy)).toBe('EBUSY')
    expect(answer(world, 'Destroy', { objectId: ioasId })).toBe('EBUSY')
    expect(answer(world, 'CreatePagingDomain', { deviceId, ioasId })).toBe('EBUSY')
    expect(answer(world, 'SetOption', { option: 2, objectId: ioasId, value: 0n })).toBe('EINVAL')
    const elsewhere = world.begin('IoasMap', { ...mapping(ioasId, regionId, 0n, PAGE), flags: RW })
    expect(await turn.finish(elsewhere)).toEqual({ iova: 0x280_1000n })
    expect(await turn.finish(mapped)).toEqual({ iova: 0x1000n })
    expect(await teller.ask('IoasUnmap', { ioasId, iova: 0x1000n, length: 40n * MIB })).toEqual({ length: 40n * MIB })
  })

  it('the domain may go, and the map ends without it', async () => {
    const { turn, teller, world, begin, ioasId, regionId, deviceId } = await attachedWorld()
    const mapped = begin('IoasMap', mapping(ioasId, regionId, 0x1000n))
    await turn.step(2)
    await teller.ask('DetachRid', { deviceId })
    expect(await turn.finish(mapped)).toEqual({ iova: 0x1000n })
    expect((await teller.ask('GetContext'))['quotas']).toContainEqual({
      name: 'table_bytes',
      used: 0n,
      limit: BigInt(world.core.limits.context.table_bytes),
    })
    await teller.ask('AttachRid', { deviceId, ptId: ioasId })
    const reply = await teller.ask('Translate', {
      deviceId,
      iovas: BigUint64Array.of(0x1000n, 0x280_0fffn, 0x280_1000n),
    })
    expect([...(reply['outcomes'] as Uint32Array)]).toEqual([1, 1, 2])
  })
})

describe('in the middle of an unmap', () => {
  it('what leaves is busy, and what comes above it meanwhile stops it there', async () => {
    const { turn, teller, world, begin, ioasId, regionId } = await attachedWorld()
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x1000n))
    const unmapped = begin('IoasUnmap', { ioasId, iova: 0n, length: ALL })
    await turn.step(2)
    expect(answer(world, 'IoasMap', mapping(ioasId, regionId, 0x1000n))).toBe('EBUSY')
    expect(answer(world, 'IoasUnmap', { ioasId, iova: 0x1000n, length: 40n * MIB })).toBe('EBUSY')
    expect(
      answer(world, 'IoasCopy', { srcIoasId: ioasId, dstIoasId: ioasId, srcIova: 0x1000n, length: PAGE, flags: 4 }),
    ).toBe('EBUSY')
    expect(answer(world, 'Destroy', { objectId: ioasId })).toBe('EBUSY')
    expect(answer(world, 'CreatePagingDomain', { deviceId: world.bind('intel'), ioasId })).toBe('EBUSY')
    expect(answer(world, 'IoasMap', mapping(ioasId, regionId, 0x4000_1000n))).toBe('goes on')
    expect(await outcome(turn, unmapped)).toBe('EBUSY')
    await turn.step(20)
    expect(await teller.ask('IoasUnmap', { ioasId, iova: 0n, length: ALL })).toEqual({ length: 40n * MIB })
  })
})

describe('in the middle of a copy', () => {
  it('an unmap in the source refuses what has not been looked at, and takes nothing from it', async () => {
    const { turn, teller, world, begin, ioasId, other, regionId } = await attachedWorld()
    for (let at = 0n; at < 8n; at++) await teller.ask('IoasMap', mapping(ioasId, regionId, at * PAGE, PAGE))
    const copy = { srcIoasId: ioasId, dstIoasId: other, srcIova: 0n, length: 8n * PAGE, flags: READABLE }
    const copied = begin('IoasCopy', copy)
    await turn.step(2)
    const unmapped = begin('IoasUnmap', { ioasId, iova: 0x7000n, length: PAGE })
    expect(await outcome(turn, copied)).toBe('EBUSY')
    expect(await turn.finish(unmapped)).toEqual({ length: PAGE })
    await teller.ask('IoasUnmap', { ioasId, iova: 0n, length: ALL })
    await teller.ask('DestroyMemoryRegion', { regionId })
    expect(world.machine.memories).toEqual([])
  })
})

describe('while a domain joins', () => {
  it('the IOAS and the device are busy, and the attachment is not told yet', async () => {
    const { turn, teller, world, begin, other, ioasId, regionId } = await attachedWorld()
    const deviceId = world.bind('arm')
    await teller.ask('IoasMap', mapping(other, regionId, 0x1000n))
    const attached = begin('AttachRid', { deviceId, ptId: other })
    await turn.step(2)
    expect(answer(world, 'IoasMap', mapping(other, regionId, 0x4000_0000n))).toBe('EBUSY')
    expect(answer(world, 'IoasUnmap', { ioasId: other, iova: 0n, length: ALL })).toBe('EBUSY')
    expect(answer(world, 'CreatePagingDomain', { deviceId: world.bind('intel'), ioasId: other })).toBe('EBUSY')
    expect(answer(world, 'ReplaceRid', { deviceId, ptId: ioasId })).toBe('EBUSY')
    expect(answer(world, 'UnbindDevice', { deviceId })).toBe('EBUSY')
    expect(world.do('GetDevice', { deviceId }).attachments).toEqual([])
    const { domainId } = (await turn.finish(attached)) as { domainId: number }
    expect(world.do('GetDevice', { deviceId }).attachments).toEqual([{ pasid: 0, domainId }])
  })
})

describe('in the middle of a batch', () => {
  it('an unbound device ends a Translate, with what was translated before', async () => {
    const { turn, teller, world, begin, deviceId } = await attachedWorld()
    const translated = begin('Translate', { deviceId, iovas: new BigUint64Array(64) })
    await turn.step(1)
    await teller.ask('UnbindDevice', { deviceId })
    expect(world.bind('arm')).toBe(deviceId)
    const reply = (await turn.finish(translated)) as { doneCount: number; offsets: BigUint64Array }
    expect(reply).toMatchObject({ refusal: { name: 'ENOENT' } })
    expect(reply.doneCount).toBeGreaterThan(0)
    expect(reply.doneCount).toBeLessThan(64)
    expect(reply.offsets.length).toBe(reply.doneCount)
  })

  it('aborts the DMA that an unbound device had not moved', async () => {
    const { turn, teller, begin, ioasId, regionId, deviceId } = await attachedWorld()
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0n))
    const read = begin('DmaRead', {
      deviceId,
      operations: [
        { address: 0n, length: 0x8000 },
        { address: 0n, length: 1 },
      ],
    })
    await turn.step(2)
    await teller.ask('UnbindDevice', { deviceId })
    const reply = (await turn.finish(read)) as { results: { outcome: number; data: Uint8Array }[]; refusal?: object }
    expect([reply.results[0].outcome, reply.results.length]).toEqual([3, 2])
    expect(reply.results[0].data.length).toBeLessThan(0x8000)
    expect(reply.results[1].outcome).toBe(3)
  })

  it('keeps its unit and its user domain', async () => {
    const { turn, world, begin } = await attachedWorld()
    const { unitId } = world.do('CreateUnit', { type: 1 })
    const written = begin('WriteUnitRegisters', { unitId, writes: [{ offset: 0, width: 4, value: 1n }] })
    await turn.step(1)
    expect(answer(world, 'Destroy', { objectId: unitId })).toBe('EBUSY')
    expect(await turn.finish(written)).toEqual({ doneCount: 1 })
    expect(answer(world, 'Destroy', { objectId: unitId })).toBe('done')
  })
})

type Attached = Awaited<ReturnType<typeof attachedWorld>>

/** What each begins with, and the call that is then met by the end of its context. */
const CUT_SHORT: Readonly<Record<string, (attached: Attached) => Promise<[Name, Parameters<World['begin']>[1]]>>> = {
  'a map': async ({ ioasId, regionId }) => ['IoasMap', mapping(ioasId, regionId, 0x1000n)],
  'an unmap': async ({ teller, ioasId, regionId }) => {
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x1000n))
    return ['IoasUnmap', { ioasId, iova: 0n, length: ALL }]
  },
  'a copy': async ({ teller, ioasId, other, regionId }) => {
    for (let at = 0n; at < 4n; at++) await teller.ask('IoasMap', mapping(other, regionId, at * PAGE, PAGE))
    return ['IoasCopy', { srcIoasId: other, dstIoasId: ioasId, srcIova: 0n, length: 4n * PAGE, flags: READABLE }]
  },
  'an attach': async ({ world, teller, other, regionId }) => {
    await teller.ask('IoasMap', mapping(other, regionId, 0x1000n))
    return ['AttachRid', { deviceId: world.bind('arm'), ptId: other }]
  },
  'a detach': async ({ teller, ioasId, regionId, deviceId }) => {
    for (let at = 0n; at < 4n; at++) await teller.ask('IoasMap', mapping(ioasId, regionId, at * PAGE, PAGE))
    return ['DetachRid', { deviceId }]
  },
  'an unbind': async ({ teller, world, ioasId, regionId, deviceId }) => {
    for (const name of ['arm', 'intel']) await teller.ask('AttachRid', { deviceId: world.bind(name), ptId: ioasId })
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x1000n))
    return ['UnbindDevice', { deviceId }]
  },
}

describe('the end of a context', () => {
  for (const [what, start] of Object.entries(CUT_SHORT)) {
    it(`waits for ${what} at any of its pauses, and leaves nothing`, async () => {
      for (let pauses = 0; pauses < 12; pauses++) {
        const attached = await attachedWorld()
        const { turn, world, begin } = attached
        void begin(...(await start(attached)))
        await turn.step(pauses)
        expect(await turn.finish(world.begin('CloseContext', {}))).toEqual({})
        expect(world.leftovers()).toEqual([])
        expect(world.machine.memories).toEqual([])
      }
    })
  }
})

describe('a map, a copy, an attach whose n-th allocation is refused', () => {
  for (const what of ['a map', 'a copy', 'an attach'] as const) {
    it(`is undone between its pauses: ${what}`, async () => {
      let refusals = 0
      for (let n = 1; ; n++) {
        const attached = await attachedWorld()
        const { turn, teller, world } = attached
        const [name, request] = await (CUT_SHORT[what] as NonNullable<(typeof CUT_SHORT)[string]>)(attached)
        const before = await teller.state()
        let made = 0
        world.machine.failPoint = (thing) => {
          if (++made === n) throw new Refusal('ENOMEM', `no room for ${thing}`)
        }
        const begun = async (): Promise<unknown> => world.begin(name, request as never)
        const ended = await outcome(turn, begun())
        world.machine.failPoint = () => {}
        if (ended === 'done') break
        expect(ended).toBe('ENOMEM')
        expect(await teller.state()).toEqual(before)
        await teller.ask('CloseContext')
        expect(world.leftovers()).toEqual([])
        refusals++
      }
      expect(refusals).toBeGreaterThan(2)
    })
  }
})

/** Work in slices gives the same answers when every pause happens. */

import { describe, expect, it } from 'vitest'
import { FAKE_REGISTER, HELD } from './fake-parts.js'
import { MIB, mapping, PAGE, SpentTurn, scene, Teller } from './paused.js'
import { ALL, FIXED, READABLE, RW } from './world.js'

type Story = (teller: Teller) => Promise<void>

const STORIES: Readonly<Record<string, Story>> = {
  'maps and unmaps pieces of a misaligned area': async (teller) => {
    const { ioasId, regionId, deviceId } = await scene(teller)
    await teller.ask('AttachRid', { deviceId, ptId: ioasId })
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x1000n))
    await teller.ask('IoasMap', { ...mapping(ioasId, regionId, 0n, 3n * PAGE), flags: RW })
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x2000n))
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x4000_0000n, 15n * MIB, MIB))
    await teller.state()
    await teller.ask('IoasUnmap', { ioasId, iova: 0x1000n, length: MIB })
    await teller.ask('IoasUnmap', { ioasId, iova: 0x1000n, length: 40n * MIB })
    await teller.ask('IoasUnmap', { ioasId, iova: 0x1000n, length: 40n * MIB })
    await teller.ask('IoasUnmap', { ioasId, iova: 0n, length: ALL })
  },
  'maps small leaves, and large ones after them': async (teller) => {
    const { ioasId, other, regionId, deviceId } = await scene(teller)
    await teller.ask('SetOption', { option: 2, objectId: ioasId, value: 0n })
    await teller.ask('AttachRid', { deviceId, ptId: ioasId })
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x20_0000n, 4n * MIB))
    await teller.ask('SetOption', { option: 2, objectId: ioasId, value: 1n })
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x4000_0000n, 4n * MIB))
    await teller.ask('SetOption', { option: 2, objectId: ioasId, value: 0n })
    await teller.state()
    await teller.ask('ReplaceRid', { deviceId, ptId: other })
    await teller.ask('ReplaceRid', { deviceId, ptId: ioasId })
    await teller.ask('IoasUnmap', { ioasId, iova: 0x20_0000n, length: 4n * MIB })
    await teller.ask('IoasUnmap', { ioasId, iova: 0n, length: ALL })
  },
  'copies many areas, and part of the first and last': async (teller) => {
    const { ioasId, other, regionId, deviceId } = await scene(teller)
    for (let at = 0n; at < 40n; at++) await teller.ask('IoasMap', mapping(ioasId, regionId, at * PAGE, PAGE, at * PAGE))
    await teller.ask('AttachRid', { deviceId, ptId: other })
    const copy = { srcIoasId: ioasId, dstIoasId: other, srcIova: 0x800n, length: 39n * PAGE, dstIova: 0n, flags: RW }
    await teller.ask('IoasCopy', copy)
    await teller.ask('IoasCopy', { ...copy, srcIova: 0x1000n })
    await teller.ask('IoasCopy', { ...copy, srcIova: 0x1000n, length: 40n * PAGE })
    await teller.ask('DestroyMemoryRegion', { regionId })
    await teller.ask('IoasUnmap', { ioasId, iova: 0n, length: ALL })
    await teller.state()
    await teller.ask('IoasUnmap', { ioasId: other, iova: 0n, length: ALL })
  },
  'lets a domain join, refuses one that cannot, and lets memory go with the last': async (teller) => {
    const { ioasId, regionId, deviceId } = await scene(teller)
    await teller.ask('IoasMap', { ioasId, userVa: 0x7000_0000n, length: 3n * MIB, iova: 0x1000n, flags: RW | FIXED })
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x4000_0000n))
    await teller.ask('CreatePagingDomain', { deviceId, ioasId })
    await teller.ask('AttachRid', { deviceId: teller.world.bind('mock'), ptId: ioasId })
    await teller.ask('AttachRid', { deviceId, ptId: ioasId })
    await teller.state()
    await teller.ask('DetachRid', { deviceId })
    await teller.ask('UnbindDevice', { deviceId })
    await teller.ask('IoasMap', { ...mapping(ioasId, regionId, 0x900n, 0x100n), flags: RW })
    await teller.ask('SetOption', { option: 2, objectId: ioasId, value: 0n })
  },
  'does batches up to what is refused': async (teller) => {
    const { ioasId, other, regionId, deviceId } = await scene(teller)
    await teller.ask('AttachRid', { deviceId, ptId: ioasId })
    const maps = Array.from({ length: 40 }, (_, i) => ({ map: mapping(ioasId, regionId, BigInt(i) * 2n * PAGE, PAGE) }))
    const copy = { srcIoasId: ioasId, dstIoasId: other, srcIova: 0n, length: PAGE, dstIova: 0n, flags: READABLE }
    await teller.ask('IoasBatch', { operations: [...maps, { copy }, { unmap: { ioasId, iova: 0n, length: PAGE } }] })
    await teller.ask('IoasBatch', { operations: [{ unmap: { ioasId, iova: 0x2000n, length: PAGE } }, ...maps] })
  },
  invalidates: async (teller) => {
    const { ioasId } = await scene(teller)
    const deviceId = teller.world.bind('intel')
    const parentDomainId = teller.world.paging(deviceId, ioasId, 1)
    const vtdS1 = { flags: 0n, pgtblAddr: 0n, addrWidth: 48 }
    await teller.ask('CreateUserDomain', { deviceId, parentDomainId, vtdS1 })
    const { domainId } = teller.answers.at(-1) as { domainId: number }
    const entries = Array.from({ length: 100 }, (_, i) => ({ addr: BigInt(i) * PAGE, npages: 1n, flags: 0 }))
    await teller.ask('InvalidateIotlb', { userDomainId: domainId, vtdS1: { entries } })
    const bad = entries.with(70, { addr: 1n, npages: 1n, flags: 0 })
    await teller.ask('InvalidateIotlb', { userDomainId: domainId, vtdS1: { entries: bad } })
    await teller.ask('InvalidateIotlb', { userDomainId: domainId, vtdS1: { entries: [] } })
  },
  'moves DMA and memory': async (teller) => {
    const { ioasId, regionId, deviceId } = await scene(teller)
    await teller.ask('AttachRid', { deviceId, ptId: ioasId })
    await teller.ask('IoasMap', mapping(ioasId, regionId, 0x1000n, 64n * PAGE))
    const iovas = BigUint64Array.from({ length: 70 }, (_, i) => BigInt(i) * PAGE)
    await teller.ask('Translate', { deviceId, iovas })
    const operations = Array.from({ length: 40 }, (_, i) => ({ address: BigInt(i) * PAGE + 0x800n, length: 0x2000 }))
    await teller.ask('DmaRead', { deviceId, operations })
    const data = Uint8Array.from({ length: 0x2000 }, (_, i) => i)
    await teller.ask('DmaWrite', { deviceId, operations: operations.map(({ address }) => ({ address, data })) })
    const slices = operations.map(({ address }) => ({ regionId, offset: address, length: 16 }))
    await teller.ask('ReadMemory', { slices: [...slices, { regionId, offset: 64n * MIB, length: 1 }] })
    await teller.ask('WriteMemory', { patches: slices.map((slice) => ({ ...slice, data })) })
  },
  'drives a unit': async (teller) => {
    const { unitId } = teller.world.do('CreateUnit', { type: 1 })
    const writes = Array.from({ length: 40 }, (_, i) => ({ offset: 4 * i, width: 4, value: BigInt(i) }))
    await teller.ask('WriteUnitRegisters', { unitId, writes: [...writes, { offset: 2, width: 4, value: 0n }] })
    await teller.ask('ReadUnitRegisters', { unitId, reads: writes })
    const iovas = BigUint64Array.from({ length: 40 }, (_, i) => BigInt(i) * PAGE)
    await teller.ask('TranslateUnit', { unitId, sourceIds: Uint32Array.of(3), iovas, accesses: new Uint32Array(0) })
  },
  'waits for a unit': async (teller) => {
    const { unitId } = teller.world.do('CreateUnit', { type: 1 })
    const stream = { unitId, sourceId: 3 }
    const iovas = BigUint64Array.from({ length: 40 }, (_, i) => HELD + BigInt(i) * PAGE)
    await teller.ask('TranslateUnit', { unitId, sourceIds: Uint32Array.of(3), iovas })
    await teller.ask('RequestTranslations', { stream, iovas })
    const pages = Array.from({ length: 40 }, (_, i) => ({ iova: 0n, access: 1, groupIndex: i, last: true }))
    await teller.ask('RequestPages', { stream, requests: [...pages, { ...pages[0], groupIndex: 512 }] })
    const ended = Array.from({ length: 39 }, (_, i) => ({ offset: FAKE_REGISTER.FAULT, width: 8, value: BigInt(i) }))
    const asked = Array.from({ length: 30 }, () => ({ offset: FAKE_REGISTER.INVALIDATE, width: 8, value: 3n }))
    await teller.ask('WriteUnitRegisters', { unitId, writes: [...ended, ...asked] })
    await teller.ask('PollInvalidations', { stream })
    const tags = BigUint64Array.from({ length: 32 }, (_, i) => 41n + BigInt(i))
    await teller.ask('CompleteInvalidations', { stream, tags })
    const transactionIds = BigUint64Array.from({ length: 90 }, (_, i) => 1n + BigInt(i))
    await teller.ask('AwaitDma', { transactionIds, waitMs: 0 })
    await teller.ask('ResetUnit', { unitId })
    await teller.ask('AwaitDma', { transactionIds: transactionIds.slice(39, 80) })
  },
}

describe('a story told with every pause', () => {
  for (const [name, story] of Object.entries(STORIES)) {
    it(`${name}, with the same answers and the same end`, async () => {
      const turn = new SpentTurn()
      const [straight, sliced] = [new Teller(undefined), new Teller(turn)]
      for (const teller of [straight, sliced]) {
        await story(teller)
        await teller.state()
        await teller.ask('CloseContext')
      }
      expect(turn.pauses).toBeGreaterThan(10)
      expect(sliced.answers).toEqual(straight.answers)
      expect(sliced.world.leftovers()).toEqual([])
      expect(sliced.world.machine.memories).toEqual([])
    })
  }
})

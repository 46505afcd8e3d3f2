/**
 * M6: what a guest's STE says about its device's requests, with and without PASID, and which of the unit's events the
 * guest is told. The tables are the guest's, written by another process, every word of them by hand.
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, ViommuType } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree } from './guest-tables.js'
import { type Dma, refusal, type Vmm, World } from './world.js'

const DEVICE = '0000:00:01.0'
const PLATFORM = {
  units: [{ name: 'smmu0', type: 'smmuv3' }],
  devices: [{ name: DEVICE, iommu: 'smmu0', pasidBits: 20 }],
}
const VSID = 0xbeefn

/** Four CDs: the first two have tables, the third has V = 0. */
const CDS = 0x4000_1000n
const ROOTS = [0x4001_0000n, 0x4002_0000n]
const PAGES = [0x4010_0000n, 0x4011_0000n]
/** In both trees; and it is an IPA, too: without stage 1 it leads to itself. */
const IOVA = 0x4020_0000n

/** V and Config; S1ContextPtr; S1CDMax 63:59. [SMMU 5.2 Stream Table Entry] */
const [ABORT, BYPASS, TRANSLATE] = [0x1n, 0x9n, 0xbn]
const cdTable = (max: bigint): bigint => TRANSLATE | CDS | (max << 59n)

let world: World
let vmm: Vmm

beforeAll(async () => {
  world = await World.start(PLATFORM)
  for (const [i, root] of ROOTS.entries()) {
    await new GuestTree(world.guest, ARM64, root).map(IOVA, PAGES[i])
    await world.guest.storeAll(CDS + BigInt(i * 64), contextDescriptor(root, BigInt(i + 1)))
  }
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A device, a vIOMMU and its queue of events; and a function that puts a guest's STE on the device's RID. */
async function machine({ isNamed = true } = {}) {
  vmm = await world.vmm()
  const deviceId = await vmm.bind(DEVICE)
  const viommuId = await vmm.viommu(deviceId, await vmm.parent(deviceId))
  if (isNamed) await vmm.vdevice(viommuId, deviceId, VSID)
  const { veventqId } = await vmm.client.createVeventq({ viommuId, type: ViommuType.ARM_SMMUV3, depth: 64 })
  let isAttached = false
  const put = async (ste0: bigint, ste1 = 0n): Promise<void> => {
    const ptId = await vmm.smmuDomain(deviceId, viommuId, { ste0, ste1 })
    if (isAttached) await vmm.client.replaceRid({ deviceId, ptId })
    else await vmm.client.attachRid({ deviceId, ptId })
    isAttached = true
  }
  /** The records that the guest was sent since the last time. */
  const events = async (): Promise<bigint[][]> =>
    (await vmm.client.pollEvents({ veventqId })).events.map(({ words }) => [...words])
  const dma = (pasid?: number, iova = IOVA, access = 1): Promise<Dma> => vmm.dma(deviceId, iova, access, pasid)
  return { deviceId, viommuId, put, events, dma }
}

const NOBODY = undefined
/** Where an access went, or the event that ended it. */
const end = ({ outcome, address, fault }: Dma): unknown =>
  outcome === DmaOutcome.ABORTED ? 'aborted' : (fault ?? address)
/** The record's word 0: ID 7:0, SSV 11, SubstreamID 31:12, StreamID 63:32. [SMMU 7.3 Event records] */
const record = (id: bigint, pasid?: number): bigint[] => {
  const substream = pasid === undefined ? 0n : (1n << 11n) | (BigInt(pasid) << 12n)
  return [id | substream | (VSID << 32n), 0n, 0n, 0n]
}
/** C_BAD_SUBSTREAMID has the SubstreamID and no SSV; F_STREAM_DISABLED has neither. [SMMU 7.3.9, 7.3.7] */
const badSubstream = (pasid: number): bigint[] => [0x08n | (BigInt(pasid) << 12n) | (VSID << 32n), 0n, 0n, 0n]
const DISABLED = record(0x06n)

describe('M6: S1DSS of a guest’s STE', () => {
  /** By code: what comes of a request without PASID, with PASID 0, with PASID 1. [SMMU 5.2 S1DSS] */
  const MODES = [
    { code: '00', s1dss: 0n, ends: ['F_STREAM_DISABLED', PAGES[0], PAGES[1]], events: [DISABLED] },
    { code: '01', s1dss: 1n, ends: [IOVA, PAGES[0], PAGES[1]], events: [] },
    { code: '10', s1dss: 2n, ends: [PAGES[0], 'F_STREAM_DISABLED', PAGES[1]], events: [DISABLED] },
    { code: '11', s1dss: 3n, ends: ['F_STREAM_DISABLED', PAGES[0], PAGES[1]], events: [DISABLED] },
  ]
  it.each(MODES)('$code with four CDs', async ({ s1dss, ends, events: expected }) => {
    const { put, events, dma } = await machine()
    await put(cdTable(2n), s1dss)
    const met: unknown[] = []
    for (const pasid of [NOBODY, 0, 1]) met.push(end(await dma(pasid)))
    expect(met).toEqual(ends)
    expect(await events()).toEqual(expected)
    // A CD whose V is 0, and what is beyond the table.
    expect([end(await dma(2)), end(await dma(4)), end(await dma(0xf_ffff))]).toEqual([
      'C_BAD_CD',
      'C_BAD_SUBSTREAMID',
      'C_BAD_SUBSTREAMID',
    ])
    expect(await events()).toEqual([record(0x0an, 2), badSubstream(4), badSubstream(0xf_ffff)])
  })

  it.each(MODES)('$code with one CD says nothing: that CD has what comes without PASID', async ({ s1dss }) => {
    const { put, events, dma } = await machine()
    await put(cdTable(0n), s1dss)
    expect([end(await dma()), end(await dma(0)), end(await dma(1))]).toEqual([
      PAGES[0],
      'C_BAD_SUBSTREAMID',
      'C_BAD_SUBSTREAMID',
    ])
    expect(await events()).toEqual([badSubstream(0), badSubstream(1)])
  })

  it('is changed while the device works, through every pair of modes', async () => {
    const { put, dma } = await machine()
    for (const from of MODES) {
      for (const to of MODES) {
        await put(cdTable(2n), from.s1dss)
        expect(end(await dma())).toBe(from.ends[0])
        await put(cdTable(2n), to.s1dss)
        const met = [end(await dma()), end(await dma(0)), end(await dma(1))]
        expect([from.s1dss, to.s1dss, ...met]).toEqual([from.s1dss, to.s1dss, ...to.ends])
      }
    }
  })

  it('01 leaves what stage 2 refuses to the host, and what no IPA has to the guest', async () => {
    const { put, events, dma } = await machine()
    await put(cdTable(2n), 1n)
    // Nothing is mapped there: stage 2's fault, of which a guest hears nothing.
    expect(end(await dma(NOBODY, 0x9000_0000n))).toBe('F_TRANSLATION')
    expect(await events()).toEqual([])
    // Beyond 48 bits there are no IPAs: F_ADDR_SIZE of stage 1; RnW is bit 35 of word 1, CLASS 41:40 is IN.
    expect(end(await dma(NOBODY, 1n << 48n))).toBe('F_ADDR_SIZE')
    expect(await events()).toEqual([[0x11n | (VSID << 32n), (1n << 35n) | (2n << 40n), 1n << 48n, 0n]])
  })
})

describe('M6: a guest’s STE that', () => {
  it('bypasses is stage 2 alone: it has no PASIDs, and the guest hears of stage 1’s events', async () => {
    const { put, events, dma } = await machine()
    await put(BYPASS)
    expect(end(await dma())).toBe(IOVA)
    expect([end(await dma(0)), end(await dma(1))]).toEqual(['C_BAD_SUBSTREAMID', 'C_BAD_SUBSTREAMID'])
    expect(await events()).toEqual([badSubstream(0), badSubstream(1)])
    expect(end(await dma(NOBODY, 0x9000_0000n))).toBe('F_TRANSLATION')
    expect(await events()).toEqual([])
    expect(end(await dma(NOBODY, 1n << 60n, 2))).toBe('F_ADDR_SIZE')
    expect(await events()).toEqual([[0x11n | (VSID << 32n), 2n << 40n, 1n << 60n, 0n]])
  })

  it.each([
    ['aborts', ABORT],
    ['aborts, whatever else it says', ABORT | 0xf80f_ffff_ffff_fff0n],
    ['has V = 0', 0n],
    ['has V = 0, whatever else it says', 0xffff_ffff_ffff_fffen],
  ])('%s ends every request, and nobody is told', async (_name, ste0) => {
    const { put, events, dma } = await machine()
    await put(ste0)
    for (const pasid of [NOBODY, 0, 1]) expect(end(await dma(pasid))).toBe('aborted')
    expect(await events()).toEqual([])
  })

  it('translates tells of what its own tables refuse, and of nothing that the host’s do', async () => {
    const { put, events, dma } = await machine()
    await put(cdTable(2n), 2n)
    // F_TRANSLATION, ID 0x10, without and with PASID; the address as it came; RnW is 0 for a write.
    expect(end(await dma(NOBODY, 0x5678n))).toBe('F_TRANSLATION')
    expect(end(await dma(1, 0x1234n, 2))).toBe('F_TRANSLATION')
    expect(await events()).toEqual([
      [0x10n | (VSID << 32n), (1n << 35n) | (2n << 40n), 0x5678n, 0n],
      [0x1810n | (VSID << 32n), 2n << 40n, 0x1234n, 0n],
    ])
    // The table of CDs, and a table that a CD leads to, at IPAs where there is nothing.
    await put(TRANSLATE | 0x9000_0000n | (2n << 59n), 2n)
    expect(end(await dma(1))).toBe('F_TRANSLATION')
    await world.guest.storeAll(CDS + 3n * 64n, contextDescriptor(0x9000_0000n, 9n))
    await put(cdTable(2n), 2n)
    expect(end(await dma(3))).toBe('F_TRANSLATION')
    expect(await events()).toEqual([])
    await world.guest.store(CDS + 3n * 64n, 0n)
  })

  it('no unit takes is the guest’s C_BAD_STE', async () => {
    const { put, events, dma } = await machine()
    // S1CDMax 21 is beyond IDR1.SSIDSIZE; S1STALLD is not for a unit with IDR0.STALL_MODEL 01.
    await put(cdTable(21n), 2n)
    expect(end(await dma())).toBe('C_BAD_STE')
    expect(end(await dma(5))).toBe('C_BAD_STE')
    await put(cdTable(2n), 2n | (1n << 27n))
    expect(end(await dma())).toBe('C_BAD_STE')
    expect(await events()).toEqual([record(0x04n), record(0x04n, 5), record(0x04n)])
    // S1Fmt 11 is reserved, and as good as 00.
    await put(cdTable(2n) | 0x30n, 2n)
    expect(end(await dma(1))).toBe(PAGES[1])
  })

  it('bypasses or aborts needs no vDEVICE, and then nobody hears of anything', async () => {
    const { deviceId, viommuId, put, events, dma } = await machine({ isNamed: false })
    await put(BYPASS)
    expect(end(await dma(1))).toBe('C_BAD_SUBSTREAMID')
    await put(ABORT)
    expect(end(await dma(1))).toBe('aborted')
    // One that translates does; and a name that comes later counts from the next attachment on.
    expect((await refusal(put(cdTable(2n)))).errnoName).toBe('ENOENT')
    expect(end(await dma(1))).toBe('aborted')
    await put(BYPASS)
    await vmm.vdevice(viommuId, deviceId, VSID)
    expect(end(await dma(1))).toBe('C_BAD_SUBSTREAMID')
    expect(await events()).toEqual([])
    await put(BYPASS)
    expect(end(await dma(1))).toBe('C_BAD_SUBSTREAMID')
    expect(await events()).toEqual([badSubstream(1)])
  })

  it('is made on another vIOMMU than the device’s vDEVICE is as good as without one', async () => {
    const { deviceId, viommuId, events } = await machine()
    const other = await vmm.viommu(deviceId, await vmm.parent(deviceId))
    const there = (ste0: bigint): Promise<number> => vmm.smmuDomain(deviceId, other, { ste0, ste1: 2n })
    const ptId = await there(cdTable(2n))
    expect((await refusal(vmm.client.attachRid({ deviceId, ptId }))).errnoName).toBe('ENOENT')
    await vmm.client.attachRid({ deviceId, ptId: await there(BYPASS) })
    expect(end(await vmm.dma(deviceId, IOVA, 1, 1))).toBe('C_BAD_SUBSTREAMID')
    expect(await events()).toEqual([])
    // CFGI_CD_ALL of the name that the other vIOMMU has for it.
    const entries = [{ dw0: 0x06n | (VSID << 32n), dw1: 0n }]
    expect((await refusal(vmm.client.invalidateIotlb({ viommuId: other, smmuv3: { entries } }))).errnoName).toBe('EIO')
    expect((await vmm.client.invalidateIotlb({ viommuId, smmuv3: { entries } })).doneCount).toBe(1)
  })
})

describe('M6: a field of a guest’s STE', () => {
  /** Beside V, S1Fmt, S1ContextPtr, S1CDMax; S1DSS, S1CIR, S1COR, S1CSH, S1STALLD, EATS. [SMMU 5.2] */
  const HOSTS: readonly (readonly [field: string, ...bits: number[]])[] = [
    ['S1ContextPtr', 52, 53, 54, 55],
    ['reserved', 56, 57, 58, 105, 106, 107],
    ['S2HWU59', 72],
    ['S2HWU60', 73],
    ['S2HWU61', 74],
    ['S2HWU62', 75],
    ['DRE', 76],
    ['CONT', 77, 78, 79, 80],
    ['DCP', 81],
    ['PPAR', 82],
    ['MEV', 83],
    ['SW_RESERVED', 84, 85, 86, 87],
    ['S1PIE', 88],
    ['S2FWB', 89],
    ['S1MPAM', 90],
    ['EATS', 93],
    ['STRW', 94, 95],
    ['MemAttr', 96, 97, 98, 99],
    ['MTCFG', 100],
    ['ALLOCCFG', 101, 102, 103, 104],
    ['SHCFG', 108, 109],
    ['NSCFG', 110, 111],
    ['PRIVCFG', 112, 113],
    ['INSTCFG', 114, 115],
    ['IMPLEMENTATION DEFINED', 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127],
  ]
  const hosts = new Map(HOSTS.flatMap(([field, ...bits]) => bits.map((bit) => [bit, field] as const)))

  it('that is the host’s is EIO by its name, bit by bit; any other is taken', async () => {
    const { deviceId, viommuId } = await machine()
    for (let bit = 4; bit < 128; bit++) {
      const both = cdTable(2n) | (1n << BigInt(bit))
      const words = { ste0: BigInt.asUintN(64, both), ste1: both >> 64n }
      const field = hosts.get(bit)
      if (field === undefined) {
        const id = await vmm.smmuDomain(deviceId, viommuId, words)
        await vmm.client.destroy({ objectId: id })
        continue
      }
      const no = await refusal(vmm.smmuDomain(deviceId, viommuId, words))
      expect([bit, no.errnoName, no.context['field']]).toEqual([bit, 'EIO', field])
    }
  })

  it('Config is 0, 4 or 5, and EATS 0 or 1, else EIO by its name', async () => {
    const { deviceId, viommuId } = await machine()
    const made = async (ste0: bigint, ste1: bigint): Promise<string> => {
      try {
        await vmm.client.destroy({ objectId: await vmm.smmuDomain(deviceId, viommuId, { ste0, ste1 }) })
        return ''
      } catch (error) {
        const { errnoName, context } = error as Awaited<ReturnType<typeof refusal>>
        return `${errnoName} ${context['field']}`
      }
    }
    const configs: string[] = []
    for (let config = 0n; config < 8n; config++) configs.push(await made(1n | (config << 1n), 0n))
    expect(configs).toEqual(['', 'EIO Config', 'EIO Config', 'EIO Config', '', '', 'EIO Config', 'EIO Config'])
    const eats: string[] = []
    for (let code = 0n; code < 4n; code++) eats.push(await made(TRANSLATE, code << 28n))
    expect(eats).toEqual(['', '', 'EIO EATS', 'EIO EATS'])
  })
})

/**
 * M6 with a thousand PASIDs: the guest's CD table is linear, or has two levels with leaves of 4 KiB or of 64 KiB, and
 * each PASID has tables of its own in it. Everything the guest writes is spelled from the manual by hand.
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ViommuType } from '../../clients/node/index.js'
import { type Vmm, World } from './world.js'

const COUNT = 1000
const DEVICE = '0000:00:01.0'
/** With a TLB in which a thousand pages never drive each other out. */
const PLATFORM = {
  units: [{ name: 'smmu0', type: 'smmuv3', cache: { entries: 65536, ways: 64 } }],
  devices: [{ name: DEVICE, iommu: 'smmu0', pasidBits: 20 }],
}
const RAM_BYTES = 0x200_0000n
const VSID = 0x2an

/** Where the guest keeps its CDs. */
const TABLE = 0x4010_0000n
const LEAVES = 0x4020_0000n
/** Two tables for each PASID, and two pages to choose from. */
const rootOf = (i: number): bigint => 0x4080_0000n + BigInt(i) * 0x2000n
const pageOf = (i: number): bigint => 0x4100_0000n + BigInt(i) * 0x1000n
const laterPageOf = (i: number): bigint => 0x4140_0000n + BigInt(i) * 0x1000n
const markOf = (i: number): bigint => 0xfeed_0000_0000_0000n | BigInt(i)

/** Entry 9 of the root, entry 0x34 of the table below it. */
const IOVA = 0x123_4000n
const leafEntryOf = (i: number): bigint => rootOf(i) + 0x1000n + 0x34n * 8n
/** Valid, AttrIndx 1, AP 01, SH 11, AF, nG. [ARM D8.3 Translation table descriptor formats] */
const leaf = (page: bigint): bigint => page | 0xf47n
const asidOf = (i: number): bigint => BigInt(i + 1)

/**
 * T0SZ 34: 30 bits in two levels of 4 KiB tables; EPD1, V, IPS 48 bits, AA64, R, A, ASET; TTB0; MAIR with index 1
 * write-back. [SMMU 5.4 Context Descriptor]
 */
const cdOf = (i: number): bigint[] => [0xe205_c000_3522n | (asidOf(i) << 48n), rootOf(i), 0n, 0xf404_ff44n]

type Store = readonly [address: bigint, value: bigint]
const at = (address: bigint, words: readonly bigint[]): Store[] =>
  words.map((word, i) => [address + BigInt(i * 8), word])

/** One way to lay out a table of CDs. */
interface Format {
  readonly name: string
  /** Word 0 of the guest's STE: V, Config 101, S1Fmt 5:4, S1CDMax 63:59. */
  readonly ste0: bigint
  readonly pasidOf: (i: number) => number
  /** Where the CD of a PASID is. */
  readonly placeOf: (pasid: number) => bigint
  /** Entries of the first level: where each is and where it leads. */
  readonly levelOne: readonly Store[]
  /** PASIDs without CD: beyond S1CDMax or in a leaf that is not there, and with one whose V is 0. */
  readonly missing: readonly number[]
  readonly invalid: readonly number[]
}

const all = Array.from({ length: COUNT }, (_, i) => i)

/** 2^10 CDs in a row. */
const LINEAR: Format = {
  name: 'linear',
  ste0: TABLE | 0xbn | (10n << 59n),
  pasidOf: (i) => i + 1,
  placeOf: (pasid) => TABLE + BigInt(pasid) * 64n,
  levelOne: [],
  missing: [1024, 1025, 0x8000, 0xf_ffff],
  invalid: [0, 1001, 1023],
}

/** 2^20 CDs: each leaf has 64 of them, and here each PASID a leaf of its own. */
const SMALL: Format = {
  name: 'two-level with leaves of 4 KiB',
  ste0: TABLE | 0x1bn | (20n << 59n),
  pasidOf: smallPasidOf,
  placeOf: (pasid) => smallLeafOf(pasid) + BigInt(pasid % 64) * 64n,
  levelOne: all.map(smallPasidOf).map((pasid) => [TABLE + BigInt(pasid >> 6) * 8n, smallLeafOf(pasid) | 1n]),
  missing: [64, 127, 0x4_0000, 0xf_ff80],
  invalid: [0, 2, 63, 1048, 0xf_fffe],
}
function smallPasidOf(i: number): number {
  return i === COUNT - 1 ? 0xf_ffff : 1 + i * 1048
}
function smallLeafOf(pasid: number): bigint {
  return LEAVES + BigInt(pasid === 0xf_ffff ? COUNT - 1 : Math.floor(pasid / 1048)) * 0x1000n
}

/** 2^20 CDs in leaves of 1024: sixteen leaves, far from each other. */
const LARGE: Format = {
  name: 'two-level with leaves of 64 KiB',
  ste0: TABLE | 0x2bn | (20n << 59n),
  pasidOf: (i) => (((i % 16) * 68 + 3) << 10) | (Math.floor(i / 16) * 16 + 7),
  placeOf: (pasid) => largeLeafOf(pasid >> 10) + BigInt(pasid % 1024) * 64n,
  levelOne: Array.from({ length: 16 }, (_, n) => n * 68 + 3).map((slot) => [
    TABLE + BigInt(slot) * 8n,
    largeLeafOf(slot) | 1n,
  ]),
  missing: [0, 1, 1023, 2 << 10, 0xf_fbff],
  invalid: [3 << 10, (3 << 10) | 8, 0xf_ffff],
}
function largeLeafOf(slot: number): bigint {
  return LEAVES + BigInt((slot - 3) / 68) * 0x1_0000n
}

let world: World

beforeAll(async () => {
  world = await World.start(PLATFORM, [], RAM_BYTES)
  await world.guest.storeMany(
    all.flatMap((i): Store[] => [
      [rootOf(i) + 9n * 8n, (rootOf(i) + 0x1000n) | 3n],
      [pageOf(i) + 0x18n, markOf(i)],
    ]),
  )
}, 60_000)

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A device with a thousand PASIDs on a guest's table. S1DSS 00: nothing goes without a PASID. */
async function attached(vmm: Vmm, { ste0, levelOne, pasidOf, placeOf }: Format) {
  await world.guest.storeMany(all.map((i): Store => [leafEntryOf(i), leaf(pageOf(i))]))
  await world.guest.storeMany(levelOne)
  await world.guest.storeMany(all.flatMap((i) => at(placeOf(pasidOf(i)), cdOf(i))))
  const deviceId = await vmm.bind(DEVICE)
  const viommuId = await vmm.viommu(deviceId, await vmm.parent(deviceId))
  await vmm.vdevice(viommuId, deviceId, VSID)
  const { veventqId } = await vmm.client.createVeventq({ viommuId, type: ViommuType.ARM_SMMUV3, depth: 64 })
  await vmm.client.attachRid({ deviceId, ptId: await vmm.smmuDomain(deviceId, viommuId, { ste0, ste1: 0xd4n }) })
  const send = async (...entries: { dw0: bigint; dw1: bigint }[]): Promise<void> => {
    const { doneCount } = await vmm.client.invalidateIotlb({ viommuId, smmuv3: { entries } })
    expect(doneCount).toBe(entries.length)
  }
  const events = async (): Promise<bigint[][]> =>
    (await vmm.client.pollEvents({ veventqId })).events.map(({ words }) => [...words])
  /** Indexes of PASIDs whose access does not end where `expected` says. */
  const strays = async (expected: (i: number) => bigint, some = all): Promise<number[]> => {
    const out: number[] = []
    for (const i of some) {
      const { address } = await vmm.dma(deviceId, IOVA + 0x18n, 1, pasidOf(i))
      if (address !== expected(i) + 0x18n) out.push(i)
    }
    return out
  }
  return { deviceId, send, events, strays }
}

describe.each([LINEAR, SMALL, LARGE])('M6: a guest’s CD table, $name', (format) => {
  const { pasidOf, placeOf } = format
  const clear = async (): Promise<void> => {
    await world.guest.storeMany(format.levelOne.map(([address]): Store => [address, 0n]))
    await world.guest.storeMany(all.map((i): Store => [placeOf(pasidOf(i)), 0n]))
  }

  it('has a thousand PASIDs, and the DMA of each goes through its own tables', async () => {
    const vmm = await world.vmm()
    const { deviceId, strays, events } = await attached(vmm, format)
    expect(new Set(all.map(pasidOf)).size).toBe(COUNT)
    expect(await strays(pageOf)).toEqual([])
    // What is read is what the guest has in that page.
    for (let i = 0; i < COUNT; i += 111) {
      const operations = [{ address: IOVA + 0x18n, length: 8 }]
      const { results } = await vmm.client.dmaRead({ deviceId, pasid: pasidOf(i), operations })
      expect(Buffer.from(results[0].data).readBigUInt64LE()).toBe(markOf(i))
    }
    expect(await events()).toEqual([])
    await clear()
  }, 60_000)

  it('tells the guest of a PASID that has no CD, or one whose V is 0, under its own StreamID', async () => {
    const vmm = await world.vmm()
    const { deviceId, send, events } = await attached(vmm, format)
    for (const pasid of format.missing) {
      expect([pasid, (await vmm.dma(deviceId, IOVA, 1, pasid)).fault]).toEqual([pasid, 'C_BAD_SUBSTREAMID'])
    }
    // ID 0x08, SubstreamID 31:12, StreamID 63:32; there is no SSV. [SMMU 7.3.9 C_BAD_SUBSTREAMID]
    const record = (id: bigint, pasid: number): bigint[] => [id | (BigInt(pasid) << 12n) | (VSID << 32n), 0n, 0n, 0n]
    expect(await events()).toEqual(format.missing.map((pasid) => record(0x08n, pasid)))
    for (const pasid of format.invalid) {
      expect([pasid, (await vmm.dma(deviceId, IOVA, 1, pasid)).fault]).toEqual([pasid, 'C_BAD_CD'])
    }
    // ID 0x0a, and SSV, bit 11. [SMMU 7.3.11 C_BAD_CD]
    expect(await events()).toEqual(format.invalid.map((pasid) => record(0x80an, pasid)))

    // The guest makes one of them valid, and says so.
    const [pasid] = format.invalid
    await world.guest.storeAll(placeOf(pasid), cdOf(7))
    await send({ dw0: 0x5n | (BigInt(pasid) << 12n) | (VSID << 32n), dw1: 1n })
    expect(await vmm.dma(deviceId, IOVA, 1, pasid)).toMatchObject({ address: pageOf(7) })
    await world.guest.store(placeOf(pasid), 0n)
    await clear()
  }, 60_000)

  it('is invalidated one PASID at a time: one ASID’s pages, one CD', async () => {
    const vmm = await world.vmm()
    const { deviceId, send, strays } = await attached(vmm, format)
    const some = all.filter((i) => i < 70 || i % 9 === 0 || i === 500)
    expect(await strays(pageOf, some)).toEqual([])
    await world.guest.storeMany(all.map((i): Store => [leafEntryOf(i), leaf(laterPageOf(i))]))
    // TLBI_NH_ASID, TLBI_NH_VA and TLBI_NH_VAA, which is of every ASID.
    const chosen = new Set([0, 1, 63, 64, 500, COUNT - 1])
    const now = (i: number): bigint => (chosen.has(i) ? laterPageOf(i) : pageOf(i))
    await send(...[...chosen].map((i) => ({ dw0: 0x11n | (asidOf(i) << 48n), dw1: 0n })))
    expect(await strays(now, some)).toEqual([])
    await send({ dw0: 0x12n | (asidOf(333) << 48n), dw1: IOVA | 1n })
    chosen.add(333)
    expect(await strays(now, some)).toEqual([])
    await send({ dw0: 0x13n, dw1: IOVA | 1n })
    expect(await strays(laterPageOf, some)).toEqual([])

    // PASID 8 gets the CD of PASID 9; until CFGI_CD names it, the old one is in use.
    const look = async (i: number) => (await vmm.dma(deviceId, IOVA, 1, pasidOf(i))).address
    expect(await look(8)).toBe(laterPageOf(8))
    await world.guest.storeAll(placeOf(pasidOf(8)), cdOf(9))
    await send({ dw0: 0x5n | (BigInt(pasidOf(7)) << 12n) | (VSID << 32n), dw1: 1n })
    expect(await look(8)).toBe(laterPageOf(8))
    await send({ dw0: 0x5n | (BigInt(pasidOf(8)) << 12n) | (VSID << 32n), dw1: 1n })
    expect(await look(8)).toBe(laterPageOf(9))
    await clear()
  }, 60_000)
})

describe('M6: a guest’s CD table of two levels', () => {
  it.each([SMALL, LARGE])(
    '$name gets a leaf while the device works',
    async (format) => {
      const vmm = await world.vmm()
      const { deviceId, send } = await attached(vmm, format)
      const pasid = (0x123 << 10) | 5
      const slot = TABLE + BigInt(format === SMALL ? pasid >> 6 : pasid >> 10) * 8n
      const added = 0x4070_0000n
      expect((await vmm.dma(deviceId, IOVA, 1, pasid)).fault).toBe('C_BAD_SUBSTREAMID')
      await world.guest.storeAll(added + 5n * 64n, cdOf(3))
      await world.guest.store(slot, added | 1n)
      // Leaf 0: the first level has changed, too. [SMMU 4.3.3 CMD_CFGI_CD]
      await send({ dw0: 0x5n | (BigInt(pasid) << 12n) | (VSID << 32n), dw1: 0n })
      expect(await vmm.dma(deviceId, IOVA, 1, pasid)).toMatchObject({ address: pageOf(3) })
      // And another one, which what is cached leads past until Leaf 0 is said again.
      const moved = 0x4071_0000n
      await world.guest.storeAll(moved + 5n * 64n, cdOf(4))
      await world.guest.storeAll(moved + 6n * 64n, cdOf(6))
      await world.guest.store(slot, moved | 1n)
      await send({ dw0: 0x5n | (BigInt(pasid) << 12n) | (VSID << 32n), dw1: 1n })
      expect(await vmm.dma(deviceId, IOVA, 1, pasid)).toMatchObject({ address: pageOf(3) })
      await send({ dw0: 0x6n | (VSID << 32n), dw1: 0n })
      expect(await vmm.dma(deviceId, IOVA, 1, pasid)).toMatchObject({ address: pageOf(4) })
      expect(await vmm.dma(deviceId, IOVA, 1, pasid + 1)).toMatchObject({ address: pageOf(6) })
      await world.guest.storeMany([
        [slot, 0n],
        [added + 5n * 64n, 0n],
        ...format.levelOne.map(([address]): Store => [address, 0n]),
        ...all.map((i): Store => [format.placeOf(format.pasidOf(i)), 0n]),
      ])
    },
    60_000,
  )
})

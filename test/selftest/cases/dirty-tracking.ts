/** The fixture `iommufd_dirty_tracking`: the log of writes, by the mock's own call or by a device's writes. */

import { expect } from 'vitest'
import { struct, u64 } from '../harness/bytes.js'
import { behind, HWPT } from '../harness/calls.js'
import type { Fixture } from '../harness/fixture.js'
import { type Lab, type Stdev, testCommand } from '../harness/lab.js'
import { MOCK, OP } from '../harness/mock-world.js'
import { E } from '../harness/process.js'

interface Variant {
  readonly bytes: bigint
  readonly huge: boolean
}

interface Self {
  readonly ioas: number
  readonly device: Stdev
  /** Where the buffer is for the caller. */
  readonly buffer: bigint
}

const BUFFER = 0x7f10_0000_0000n
const KIB = 1024n
const MIB = 1024n * 1024n

/** What a leaf of a huge table maps. */
const hugeLeaf = (lab: Lab): bigint => (lab.world.name === 'mock' ? MIB : 2n * MIB)

/** Marks leaves dirty: every other one of the range. Answers how many. */
async function dirty(lab: Lab, self: Self, hwpt: number, { bytes, huge }: Variant): Promise<number> {
  const { page, name } = lab.world
  const leaf = huge ? hugeLeaf(lab) : page
  const iovas: bigint[] = []
  for (let at = 0n; at < bytes; at += 2n * leaf) iovas.push(lab.world.base + at)
  if (name !== 'mock') {
    const operations = iovas.map((address) => ({ address, data: Uint8Array.of(1) }))
    const { results } = await lab.process.client.dmaWrite({ deviceId: self.device.dev, operations })
    expect(results.every(({ outcome }) => outcome === 1)).toBe(true)
    return iovas.length
  }
  const bits = new Uint8Array(Number((bytes / page + 7n) / 8n))
  for (const iova of iovas) {
    const bit = Number((iova - lab.world.base) / page)
    bits[bit >> 3] |= 1 << (bit & 7)
  }
  const memory = behind(bits)
  const body = struct([4, 0], [4, 0], [8, lab.world.base], [8, bytes], [8, page], [8, memory.address], [8, 0])
  const answer = await testCommand(lab.iommufd, OP.DIRTY, hwpt, body, memory)
  expect([answer.errno, answer.reason]).toEqual([0, ''])
  return Number(u64(answer.arg, 56))
}

/** Dirties every other leaf, and reads the bitmap twice. */
async function roundTrip(lab: Lab, self: Self, hwpt: number, variant: Variant, how: { flags: number; skew: number }) {
  const { page } = lab.world
  const leaf = variant.huge ? hugeLeaf(lab) : page
  const perLeaf = Number(leaf / page)
  const count = Number(variant.bytes / page)
  expect(await dirty(lab, self, hwpt, variant)).toBe(Math.max(1, Math.floor(count / (2 * perLeaf))))
  const range = { iova: lab.world.base, length: variant.bytes, pageSize: page, ...how }
  const isSet = (bitmap: Uint8Array, bit: number): boolean => (bitmap[bit >> 3] & (1 << (bit & 7))) !== 0
  const wrong = (bitmap: Uint8Array, expected: (bit: number) => boolean): number[] =>
    Array.from({ length: count }, (_, bit) => bit).filter((bit) => isSet(bitmap, bit) !== expected(bit))
  const isDirty = (bit: number): boolean => bit % (2 * perLeaf) < perLeaf
  const first = await lab.iommufd.dirtyBitmap(hwpt, range)
  expect(first.errno).toBe(0)
  expect(wrong(first.bitmap, isDirty)).toEqual([])
  const second = await lab.iommufd.dirtyBitmap(hwpt, range)
  expect(second.errno).toBe(0)
  expect(wrong(second.bitmap, (bit) => how.flags !== 0 && isDirty(bit))).toEqual([])
}

/** A domain that logs writes, over the whole buffer, with tracking on. */
async function tracked(lab: Lab, { ioas, device, buffer }: Self, { bytes, huge }: Variant): Promise<number> {
  const { iommufd, world } = lab
  expect((await iommufd.map(ioas, buffer, bytes, lab.world.base)).errno).toBe(0)
  // The mock has two table formats, and the data of the call chooses; real units use the leaves that fit.
  const data = world.name === 'mock' ? { type: 0xdead, data: struct([4, 0], [4, huge ? 1 : 0]) } : {}
  const { id, errno, reason } = await iommufd.hwptAlloc(device.dev, ioas, HWPT.DIRTY, data)
  expect([errno, reason]).toEqual([0, ''])
  if (world.name !== 'mock') expect((await world.replace(iommufd, device, id)).errno).toBe(0)
  expect(await iommufd.setDirtyTracking(id, true)).toBe(0)
  return id
}

async function readBitmap(self: Self, lab: Lab, variant: Variant, flags: number): Promise<void> {
  const id = await tracked(lab, self, variant)
  for (const skew of [0, 2048, 0xff1]) await roundTrip(lab, self, id, variant, { flags, skew })
  if (lab.world.name !== 'mock') expect((await lab.world.replace(lab.iommufd, self.device, self.ioas)).errno).toBe(0)
  expect(await lab.iommufd.destroy(id)).toBe(0)
}

const ONLY_MOCK = 'real units do not make devices that cannot log writes behind a unit that can'

/** The fixture. */
export const DIRTY_TRACKING: Fixture<Self, Variant> = {
  name: 'iommufd_dirty_tracking',
  variants: {
    domain_dirty8k: { bytes: 8n * KIB, huge: false },
    domain_dirty16k: { bytes: 16n * KIB, huge: false },
    domain_dirty64k: { bytes: 64n * KIB, huge: false },
    domain_dirty128k: { bytes: 128n * KIB, huge: false },
    domain_dirty320k: { bytes: 320n * KIB, huge: false },
    domain_dirty64M: { bytes: 64n * MIB, huge: false },
    domain_dirty64M_huge: { bytes: 64n * MIB, huge: true },
    domain_dirty128M: { bytes: 128n * MIB, huge: false },
    domain_dirty128M_huge: { bytes: 128n * MIB, huge: true },
  },
  async setUp(lab, { bytes, huge }) {
    const { iommufd, process, world } = lab
    await process.client.createMemoryRegion({ anonymous: { bytes }, clientAddress: BUFFER })
    const { id: ioas } = await iommufd.ioasAlloc()
    // Leaves of one page, so that a write makes no more than its page dirty.
    if (!huge) expect((await iommufd.option(1, ioas, 0n)).errno).toBe(0)
    const device = await world.mockDomain(iommufd, ioas, world.name === 'mock' ? undefined : MOCK.PASID)
    expect([device.errno, device.reason]).toEqual([0, ''])
    return { ioas, device, buffer: BUFFER }
  },
  tests: {
    enforce_dirty: {
      not: { smmuv3: ONLY_MOCK, vtd: ONLY_MOCK },
      async run({ ioas, device }, { iommufd, world }) {
        const { id } = await iommufd.hwptAlloc(device.dev, ioas, HWPT.DIRTY)
        const second = await world.mockDomain(iommufd, id)
        expect(second.errno).toBe(0)
        expect((await world.mockDomain(iommufd, id, MOCK.NO_DIRTY)).errno).toBe(E.INVAL)
        expect(await world.release(iommufd, second)).toBe(0)
        expect(await iommufd.destroy(id)).toBe(0)
        const other = await iommufd.ioasAlloc()
        const without = await world.mockDomain(iommufd, other.id, MOCK.NO_DIRTY)
        expect(without.errno).toBe(0)
        expect((await iommufd.hwptAlloc(without.dev, other.id, HWPT.DIRTY)).errno).toBe(E.OPNOTSUPP)
        expect(await world.release(iommufd, without)).toBe(0)
      },
    },

    set_dirty_tracking: {
      async run({ ioas, device }, { iommufd, world }) {
        const { id } = await iommufd.hwptAlloc(device.dev, ioas, HWPT.DIRTY)
        const second = await world.mockDomain(iommufd, id)
        expect([second.errno, second.reason]).toEqual([0, ''])
        expect(await iommufd.setDirtyTracking(id, true)).toBe(0)
        expect(await iommufd.setDirtyTracking(id, false)).toBe(0)
        expect(await world.release(iommufd, second)).toBe(0)
        expect(await iommufd.destroy(id)).toBe(0)
      },
    },

    pasid_set_dirty_tracking: {
      async run({ ioas, device }, { iommufd, world }) {
        const pasid = 100
        const { id, errno, reason } = await iommufd.hwptAlloc(device.dev, ioas, HWPT.DIRTY | HWPT.PASID)
        expect([errno, reason]).toEqual([0, ''])
        const second = await world.mockDomain(iommufd, id, MOCK.PASID)
        expect([second.errno, second.reason]).toEqual([0, ''])
        expect(await world.pasidAttach(iommufd, second, pasid, id)).toBe(0)
        expect(await iommufd.setDirtyTracking(id, true)).toBe(0)
        expect(await iommufd.setDirtyTracking(id, false)).toBe(0)
        expect(await world.pasidDetach(iommufd, second, pasid)).toBe(0)
        expect(await world.release(iommufd, second)).toBe(0)
        const other = await iommufd.ioasAlloc()
        // Its RID is on an automatic domain, beside which no PASID can be (and the mock's device cannot log writes).
        const without = await world.mockDomain(iommufd, other.id, MOCK.PASID | MOCK.NO_DIRTY)
        expect(await world.pasidAttach(iommufd, without, pasid, id)).toBe(E.INVAL)
        expect(await world.release(iommufd, without)).toBe(0)
        expect(await iommufd.destroy(id)).toBe(0)
      },
    },

    device_dirty_capability: {
      async run({ ioas, device }, { iommufd, world }) {
        const { id } = await iommufd.hwptAlloc(device.dev, ioas)
        const second = await world.mockDomain(iommufd, id)
        const { errno, caps } = await iommufd.hwInfo(device.dev)
        expect([errno, caps & 1n]).toEqual([0, 1n])
        expect(await world.release(iommufd, second)).toBe(0)
        expect(await iommufd.destroy(id)).toBe(0)
      },
    },

    get_dirty_bitmap: { run: (self, lab, variant) => readBitmap(self, lab, variant, 0) },

    get_dirty_bitmap_no_clear: { run: (self, lab, variant) => readBitmap(self, lab, variant, 1) },
  },
}

/** The test of `iommufd_ioas` about user domains: their making, their invalidation and their faults, in each world's terms. */

import { expect } from 'vitest'
import { type Part, struct } from '../harness/bytes.js'
import { HWPT, type HwptData } from '../harness/calls.js'
import type { Case } from '../harness/fixture.js'
import { type Lab, type Stdev, testCommand } from '../harness/lab.js'
import { faultRoundTrip } from '../harness/mock-facts.js'
import { OP } from '../harness/mock-world.js'
import { E } from '../harness/process.js'
import type { IoasSelf, IoasVariant } from './ioas.js'

/** How a world describes user domains, and invalidates them. */
interface Terms {
  readonly data: HwptData & { readonly type: number; readonly data: Uint8Array }
  /** What a wrong type is refused with. */
  readonly wrongType: number
  readonly invalidate: { readonly type: number; readonly bytes: number }
  /** A good entry by a number, and a bad one with what it is refused with. */
  readonly good: (at: number) => Uint8Array
  readonly bad: readonly (readonly [entry: Uint8Array, errno: number])[]
  /** What an empty array of the right type is answered with. */
  readonly empty: number
  /** What a fault queue on a device without page requests is refused with, at attach. */
  readonly attachFault: number
}

const IOTLB = 0xbadbeef
const words = (...values: bigint[]): Uint8Array => struct(...values.map((value): Part => [8, value]))

const TERMS: Readonly<Record<Lab['world']['name'], Terms>> = {
  mock: {
    data: { type: 0xdead, data: struct([4, IOTLB], [4, 0]) },
    wrongType: E.OPNOTSUPP,
    invalidate: { type: 0xdeadbeef, bytes: 8 },
    good: (at) => struct([4, 0], [4, at]),
    bad: [
      [struct([4, 0xffff_ffff], [4, 1]), E.OPNOTSUPP],
      [struct([4, 0], [4, 4]), E.INVAL],
    ],
    empty: 0,
    attachFault: 0,
  },
  vtd: {
    data: { type: 1, data: struct([8, 0], [8, 0x1000], [4, 48], [4, 0]) },
    wrongType: E.OPNOTSUPP,
    invalidate: { type: 0, bytes: 24 },
    good: (at) => struct([8, BigInt(at) * 4096n], [8, 1], [4, 1], [4, 0]),
    bad: [
      [struct([8, 0], [8, 1], [4, 2], [4, 0]), E.OPNOTSUPP],
      [struct([8, 1], [8, 1], [4, 0], [4, 0]), E.INVAL],
    ],
    empty: 0,
    attachFault: E.NODEV,
  },
  smmuv3: {
    // A valid entry that leads to a table of contexts of the guest's.
    data: { type: 2, data: words(0x10_000bn, 0n) },
    wrongType: E.INVAL,
    invalidate: { type: 1, bytes: 16 },
    good: (at) => words(0x12n, BigInt(at) * 4096n),
    bad: [
      [words(0x46n, 0n), E.IO],
      [words(0x05n | (99n << 32n), 0n), E.IO],
    ],
    empty: E.INVAL,
    attachFault: 0,
  },
}

const VIRT_ID = 7n

/** What user domains are made on, and what is invalidated: the parent and the domain, or an SMMUv3's vIOMMU. */
interface Ground {
  readonly on: number
  readonly target: (domain: number) => number
  readonly end: () => Promise<void>
}

async function groundOf({ iommufd, world }: Lab, device: Stdev, parent: number): Promise<Ground> {
  if (world.name !== 'smmuv3') return { on: parent, target: (domain) => domain, end: async () => undefined }
  const { id: viommu, errno } = await iommufd.viommuAlloc(device.dev, parent, 1)
  expect(errno).toBe(0)
  return {
    on: viommu,
    target: () => viommu,
    end: async () => expect(await iommufd.destroy(viommu)).toBe(0),
  }
}

async function refusesWrongData(lab: Lab, { dev }: Stdev, on: number, { data, wrongType }: Terms): Promise<void> {
  const { iommufd } = lab
  const alloc = async (how: HwptData, flags = 0): Promise<number> =>
    (await iommufd.hwptAlloc(dev, on, flags, how)).errno
  expect(await alloc({ ...data, type: 0 })).toBe(E.INVAL)
  expect(await alloc({ ...data, type: data.type + 77 })).toBe(wrongType)
  expect(await alloc({ ...data, length: 3 })).toBe(E.INVAL)
  expect(await alloc({ type: data.type, length: data.data.length })).toBe(E.FAULT)
  expect(await alloc(data, HWPT.NEST_PARENT)).toBe(E.OPNOTSUPP)
  expect(await alloc({ ...data, fault: 0xffff_ffff }, HWPT.FAULT)).toBe(E.NOENT)
}

async function refusesWrongInvalidations(lab: Lab, id: number, parent: number, terms: Terms): Promise<void> {
  const { invalidate, good, empty } = terms
  const { type, bytes } = invalidate
  const call = (target: number, dataType: number, length: number, entries: Uint8Array[], count?: number) =>
    lab.iommufd.invalidate(target, dataType, length, entries, count)
  expect(await call(parent, type, bytes, [good(0)])).toEqual({ errno: E.INVAL, done: 0 })
  expect(await call(id, type, bytes, [])).toEqual({ errno: empty, done: 0 })
  expect(await call(id, 0xdadbeef, bytes, [good(0)])).toEqual({ errno: E.INVAL, done: 0 })
  // A length of its own is a struct of its own to the mock and to VT-d; an SMMUv3 takes what it knows of it.
  if (lab.world.name !== 'smmuv3') {
    expect(await call(id, type, bytes + 1, [good(0), Uint8Array.of(0)], 1)).toEqual({ errno: E.INVAL, done: 0 })
    expect(await call(id, type, 1, [good(0)])).toEqual({ errno: E.INVAL, done: 0 })
  }
  expect(await call(id, type, bytes, [], 1)).toEqual({ errno: E.INVAL, done: 0 })
  expect(await call(id, type, 0, [good(0)])).toEqual({ errno: E.INVAL, done: 0 })
  for (const [entry, errno] of terms.bad) {
    expect(await call(id, type, bytes, [entry])).toEqual({ errno, done: 0 })
    expect(await call(id, type, bytes, [good(0), entry])).toEqual({ errno, done: 1 })
  }
  expect(await call(id, type, bytes, [good(1)])).toEqual({ errno: 0, done: 1 })
  expect(await call(id, type, bytes, [good(2), good(3)])).toEqual({ errno: 0, done: 2 })
}

/** What the mock's domain keeps in its four entries. */
async function expectIotlb({ iommufd, world }: Lab, domain: number, ...entries: readonly number[]): Promise<void> {
  for (const [at, value] of world.name === 'mock' ? entries.entries() : []) {
    const { errno } = await testCommand(iommufd, OP.MD_CHECK_IOTLB, domain, struct([4, at], [4, value]))
    expect([at, errno]).toEqual([at, 0])
  }
}

async function withoutDevice({ iommufd, world }: Lab, ioas: number): Promise<void> {
  const { data } = TERMS[world.name]
  expect((await iommufd.hwptAlloc(0, ioas)).errno).toBe(E.NOENT)
  expect((await iommufd.hwptAlloc(0, 0, 0, data)).errno).toBe(E.NOENT)
}

/** By name. */
export const NESTED_CASES: Readonly<Record<string, Case<IoasSelf, IoasVariant>>> = {
  alloc_hwpt_nested: {
    async run({ ioas, device }, lab) {
      const { iommufd, world, process } = lab
      if (device === undefined) return withoutDevice(lab, ioas)
      const terms = TERMS[world.name]
      const { dev } = device
      const { data } = terms
      expect((await iommufd.hwptAlloc(ioas, dev)).errno).toBe(E.NOENT)
      expect((await iommufd.hwptAlloc(dev, dev)).errno).toBe(E.INVAL)
      expect((await iommufd.hwptAlloc(dev, ioas, HWPT.NEST_PARENT | HWPT.FAULT)).errno).toBe(E.OPNOTSUPP)
      const { id: parent } = await iommufd.hwptAlloc(dev, ioas, HWPT.NEST_PARENT)
      const { id: plain } = await iommufd.hwptAlloc(dev, ioas)
      const ground = await groundOf(lab, device, parent)
      await refusesWrongData(lab, device, ground.on, terms)
      // An SMMUv3 makes no user domain on a domain, whatever it is.
      const onPlain = world.name === 'smmuv3' ? E.OPNOTSUPP : E.INVAL
      expect((await iommufd.hwptAlloc(dev, plain, 0, data)).errno).toBe(onPlain)
      const fault = await iommufd.faultQueue()
      const [one, two] = [
        await iommufd.hwptAlloc(dev, ground.on, 0, data),
        await iommufd.hwptAlloc(dev, ground.on, 0, data),
      ]
      expect([one.errno, two.errno]).toEqual([0, 0])
      const iopf = await iommufd.hwptAlloc(dev, ground.on, HWPT.FAULT, { ...data, fault: fault.id })
      expect([iopf.errno, iopf.reason]).toEqual([0, ''])
      await expectIotlb(lab, one.id, IOTLB, IOTLB, IOTLB, IOTLB)
      expect((await iommufd.hwptAlloc(dev, one.id, 0, data)).errno).toBe(E.INVAL)
      expect(await iommufd.destroy(parent)).toBe(E.BUSY)
      await refusesWrongInvalidations(lab, ground.target(one.id), parent, terms)
      await expectIotlb(lab, one.id, 0, 0, 0, 0)
      await expectIotlb(lab, two.id, IOTLB, IOTLB, IOTLB, IOTLB)
      if (world.name === 'smmuv3') {
        // The guest's tables are attached only where the guest has a name for the device.
        expect((await world.replace(iommufd, device, one.id)).errno).toBe(E.NOENT)
        expect((await iommufd.vdeviceAlloc(ground.on, dev, VIRT_ID)).errno).toBe(0)
      }
      expect((await world.replace(iommufd, device, one.id)).errno).toBe(0)
      expect(await iommufd.destroy(one.id)).toBe(E.BUSY)
      expect((await world.replace(iommufd, device, two.id)).errno).toBe(0)
      expect(await iommufd.destroy(two.id)).toBe(E.BUSY)
      expect(await iommufd.destroy(one.id)).toBe(0)
      expect((await world.replace(iommufd, device, iopf.id)).errno).toBe(terms.attachFault)
      if (terms.attachFault === 0) expect(await iommufd.destroy(iopf.id)).toBe(E.BUSY)
      if (world.name === 'mock') await faultRoundTrip(lab, dev, 1, fault.fd)
      expect((await world.replace(iommufd, device, parent)).errno).toBe(0)
      expect([await iommufd.destroy(two.id), await iommufd.destroy(iopf.id)]).toEqual([0, 0])
      expect((await world.replace(iommufd, device, ioas)).errno).toBe(0)
      expect(await iommufd.destroy(plain)).toBe(0)
      if (world.name === 'smmuv3') return
      await ground.end()
      expect(await iommufd.destroy(parent)).toBe(0)
      expect(await process.close(fault.fd)).toBe(0)
      expect(await iommufd.destroy(fault.id)).toBe(0)
    },
  },
}

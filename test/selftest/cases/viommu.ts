/** The fixture `iommufd_viommu`: vIOMMUs, vDEVICEs, their events, invalidations and queues. */

import { expect } from 'vitest'
import { type Part, struct, u32, u64 } from '../harness/bytes.js'
import { HWPT, type HwptData } from '../harness/calls.js'
import type { Fixture } from '../harness/fixture.js'
import { type Lab, type Stdev, testCommand } from '../harness/lab.js'
import { CACHED, expectCaches, faultRoundTrip } from '../harness/mock-facts.js'
import { OP } from '../harness/mock-world.js'
import { BUFFER, BUFFER_BYTES, E, errnoOf, PAGE } from '../harness/process.js'

interface Self {
  readonly ioas: number
  /** Absent where the variant has no vIOMMU. */
  readonly ground?: Ground
}

interface Ground {
  readonly device: Stdev
  readonly parent: number
  readonly viommu: number
  readonly nested: number
}

/** IPA of the table of contexts that the SMMUv3's guest points to: zeroes, so that every context is bad. */
const CONTEXTS = 0x10_0000n
const VIRT = 0x99n

const words = (...values: bigint[]): Uint8Array => struct(...values.map((value): Part => [8, value]))

/** User domains of a world. */
const dataOf = ({ world }: Lab): HwptData =>
  world.name === 'mock'
    ? { type: 0xdead, data: struct([4, 0xbadbeef], [4, 0]) }
    : { type: 2, data: words(CONTEXTS | 0xbn, 0n) }

const NO_VIOMMU = 'a VT-d has no vIOMMUs: VIOMMU_ALLOC is EOPNOTSUPP, as viommu_negative_tests shows'
const NO_PAGE = 'no real type of vIOMMU has a page to map'
const NO_LOOK = 'what real units cache cannot be looked at; alloc_hwpt_nested plays the same matrix'

const skips = (hasViommu: boolean): string | undefined => (hasViommu ? undefined : 'the kernel skips it as well')

/** Events of the device: the mock's on request, the SMMUv3's from a DMA that meets a bad context. */
async function trigger({ iommufd, process, world }: Lab, { dev }: Stdev, count: number): Promise<void> {
  for (let at = 0; at < count; at++) {
    if (world.name === 'mock') {
      expect((await testCommand(iommufd, OP.TRIGGER_VEVENT, 0, struct([4, dev]))).errno).toBe(0)
      continue
    }
    const iovas = BigUint64Array.of(0x1000n * BigInt(at))
    const { outcomes } = await process.client.translate({ deviceId: dev, access: 1, iovas })
    expect([...outcomes]).not.toEqual([1])
  }
}

/** Reads everything: sequence numbers, the guest's names, and where events were lost. */
async function readEvents({ process, world }: Lab, fd: number): Promise<(readonly [number, bigint] | 'lost')[]> {
  const { data } = await process.client.readHandle({ handle: fd, count: 4096 })
  const bytes = world.name === 'mock' ? 4 : 32
  const events: (readonly [number, bigint] | 'lost')[] = []
  for (let at = 0; at < data.length; ) {
    const [flags, sequence] = [u32(data, at), u32(data, at + 4)]
    at += 8
    if (flags === 1) {
      events.push('lost')
      continue
    }
    const name = world.name === 'mock' ? BigInt(u32(data, at)) : u64(data, at) >> 32n
    events.push([sequence, name])
    at += bytes
  }
  return events
}

const INVALIDATE = 0xdeadbeef
const QUEUE = 0xdeadbeef

/** An entry of the mock's invalidations. */
const entry = (flags: number, vdev: number, cache: number): Uint8Array => struct([4, flags], [4, vdev], [4, cache])

/** The fixture; a variant says whether there is a vIOMMU. */
export const VIOMMU: Fixture<Self, boolean> = {
  name: 'iommufd_viommu',
  variants: { no_viommu: false, mock_viommu: true },
  async setUp(lab, hasViommu) {
    const { iommufd, world } = lab
    const { id: ioas } = await iommufd.ioasAlloc()
    if (!hasViommu) return { ioas }
    const device = await world.mockDomain(iommufd, ioas)
    expect([device.errno, device.reason]).toEqual([0, ''])
    const { id: parent } = await iommufd.hwptAlloc(device.dev, ioas, HWPT.NEST_PARENT)
    if (world.name === 'vtd') return { ioas, ground: { device, parent, viommu: 0, nested: 0 } }
    const { id: viommu, errno } = await iommufd.viommuAlloc(device.dev, parent, world.types.viommu)
    expect(errno).toBe(0)
    const nested = await iommufd.hwptAlloc(device.dev, viommu, 0, dataOf(lab))
    expect([nested.errno, nested.reason]).toEqual([0, ''])
    return { ioas, ground: { device, parent, viommu, nested: nested.id } }
  },
  tests: {
    viommu_auto_destroy: { run: async () => undefined },

    viommu_negative_tests: {
      async run({ ioas, ground }, { iommufd, world }) {
        const type = world.types.viommu || 1
        if (ground === undefined) {
          expect((await iommufd.viommuAlloc(0, 0, type)).errno).toBe(E.NOENT)
          return
        }
        const { device, parent, viommu } = ground
        const has = world.name !== 'vtd'
        expect((await iommufd.viommuAlloc(device.dev, 0, type)).errno).toBe(has ? E.NOENT : E.OPNOTSUPP)
        const { id: plain } = await iommufd.hwptAlloc(device.dev, ioas)
        expect((await iommufd.viommuAlloc(device.dev, plain, type)).errno).toBe(has ? E.INVAL : E.OPNOTSUPP)
        expect(await iommufd.destroy(plain)).toBe(0)
        expect((await iommufd.viommuAlloc(device.dev, parent, 0xdead)).errno).toBe(E.OPNOTSUPP)
        if (!has) return
        expect(await iommufd.destroy(parent)).toBe(E.BUSY)
        expect(await iommufd.destroy(viommu)).toBe(E.BUSY)
      },
    },

    viommu_alloc_nested_iopf: {
      not: { vtd: NO_VIOMMU },
      skips,
      async run({ ioas, ground }, lab) {
        const { iommufd, process, world } = lab
        const { device, viommu } = ground as Ground
        const { dev } = device
        const data = dataOf(lab)
        const { id: fault, fd } = await iommufd.faultQueue()
        const alloc = (flags: number, queue: number) => iommufd.hwptAlloc(dev, viommu, flags, { ...data, fault: queue })
        expect((await alloc(HWPT.FAULT, 0xffff_ffff)).errno).toBe(E.NOENT)
        expect((await alloc((HWPT.FAULT | 0x8000_0000) >>> 0, fault)).errno).toBe(E.OPNOTSUPP)
        const { id: iopf, errno } = await alloc(HWPT.FAULT, fault)
        expect(errno).toBe(0)
        expect((await world.replace(iommufd, device, iopf)).errno).toBe(E.NOENT)
        expect((await iommufd.vdeviceAlloc(viommu, dev, VIRT)).errno).toBe(0)
        expect((await world.replace(iommufd, device, iopf)).errno).toBe(0)
        expect(await iommufd.destroy(iopf)).toBe(E.BUSY)
        if (world.name === 'mock') await faultRoundTrip(lab, dev, 1, fd)
        expect((await world.replace(iommufd, device, ioas)).errno).toBe(0)
        expect(await iommufd.destroy(iopf)).toBe(0)
        expect(await process.close(fd)).toBe(0)
        expect(await iommufd.destroy(fault)).toBe(0)
      },
    },

    viommu_alloc_with_data: {
      not: { smmuv3: NO_PAGE, vtd: NO_VIOMMU },
      skips,
      async run({ ground }, { iommufd, process }) {
        const { device, parent } = ground as Ground
        const data = struct([4, 0xbeef], [4, 0], [8, 0], [8, 0])
        const made = await iommufd.viommuAlloc(device.dev, parent, 0xdeadbeef, { data })
        expect([made.errno, u32(made.data, 4)]).toEqual([0, 0xbeef])
        const [offset, length] = [u64(made.data, 8), u64(made.data, 16)]
        const map = (at: bigint, bytes: bigint) =>
          process.client.mapHandle({ handle: 0, offset: at, length: bytes, protection: 3 })
        for (const [at, bytes] of [
          [offset + PAGE, length],
          [offset + 2n * PAGE, length],
          [offset, length / 2n],
          [offset, length * 2n],
        ]) {
          expect(await errnoOf(map(at, bytes))).toBe(E.NXIO)
        }
        const { regionId } = await map(offset, length)
        const read = await process.client.readMemory({ slices: [{ regionId, offset: 0n, length: 4 }] })
        expect(u32(read.data[0], 0)).toBe(0xbeef)
        expect(await iommufd.destroy(made.id)).toBe(E.BUSY)
        await process.client.destroyMemoryRegion({ regionId })
        expect(await iommufd.destroy(made.id)).toBe(0)
      },
    },

    vdevice_alloc: {
      not: { vtd: NO_VIOMMU },
      async run({ ioas, ground }, lab) {
        const { iommufd, process, world } = lab
        if (ground === undefined) {
          expect((await iommufd.vdeviceAlloc(0, 0, VIRT)).errno).toBe(E.NOENT)
          return
        }
        const { device, viommu, nested } = ground
        const { dev } = device
        expect(
          (await iommufd.map(ioas, BUFFER, BUFFER_BYTES, world.name === 'mock' ? undefined : CONTEXTS)).errno,
        ).toBe(0)
        expect((await world.replace(iommufd, device, nested)).errno).toBe(E.NOENT)
        const queue = await iommufd.veventqAlloc(viommu, world.types.veventq)
        expect(queue.errno).toBe(0)
        expect((await iommufd.veventqAlloc(viommu, world.types.veventq)).errno).toBe(E.EXIST)
        const first = await iommufd.vdeviceAlloc(viommu, dev, VIRT)
        expect((await world.replace(iommufd, device, nested)).errno).toBe(0)
        await trigger(lab, device, 1)
        expect(await readEvents(lab, queue.fd)).toEqual([[0, VIRT]])
        expect((await iommufd.vdeviceAlloc(viommu, dev, VIRT)).errno).toBe(E.EXIST)
        expect((await world.replace(iommufd, device, ioas)).errno).toBe(0)
        expect(await iommufd.destroy(first.id)).toBe(0)
        const second = await iommufd.vdeviceAlloc(viommu, dev, 0x88n)
        expect((await world.replace(iommufd, device, nested)).errno).toBe(0)
        // Two fit; of the third only its place in the sequence is left.
        await trigger(lab, device, 3)
        expect(await readEvents(lab, queue.fd)).toEqual([[1, 0x88n], [2, 0x88n], 'lost'])
        await trigger(lab, device, 1)
        expect(await readEvents(lab, queue.fd)).toEqual([[4, 0x88n]])
        expect(await process.close(queue.fd)).toBe(0)
        expect((await world.replace(iommufd, device, ioas)).errno).toBe(0)
        expect(await iommufd.destroy(second.id)).toBe(0)
        expect(await iommufd.destroy(queue.id)).toBe(0)
      },
    },

    vdevice_cache: {
      not: { smmuv3: NO_LOOK, vtd: NO_VIOMMU },
      skips,
      async run({ ground }, lab) {
        const { iommufd } = lab
        const { device, viommu } = ground as Ground
        const { dev } = device
        const { id: vdevice } = await iommufd.vdeviceAlloc(viommu, dev, VIRT)
        await expectCaches(lab, dev, CACHED)
        const vdev = Number(VIRT)
        const call = (entries: Uint8Array[], type = INVALIDATE, bytes = 12, count?: number) =>
          iommufd.invalidate(viommu, type, bytes, entries, count)
        const good = entry(0, vdev, 0)
        expect(await call([])).toEqual({ errno: 0, done: 0 })
        expect(await call([good], 0xdadbeef)).toEqual({ errno: E.INVAL, done: 0 })
        // A tail that is not zero, and a struct of one byte: then there is no vDEVICE 0.
        expect(await call([good, Uint8Array.of(0xff)], INVALIDATE, 13, 1)).toEqual({ errno: E.TOOBIG, done: 0 })
        expect(await call([good], INVALIDATE, 1, 1)).toEqual({ errno: E.INVAL, done: 0 })
        expect(await call([], INVALIDATE, 12, 1)).toEqual({ errno: E.INVAL, done: 0 })
        expect(await call([good], INVALIDATE, 0)).toEqual({ errno: E.INVAL, done: 0 })
        for (const [bad, errno] of [
          [entry(0xffff_ffff, vdev, 1), E.OPNOTSUPP],
          [entry(0, vdev, 4), E.INVAL],
          [entry(0, 9, 0), E.INVAL],
        ] as const) {
          expect(await call([bad])).toEqual({ errno, done: 0 })
          expect(await call([good, bad])).toEqual({ errno, done: 1 })
          await expectCaches(lab, dev, 0, CACHED, CACHED, CACHED)
        }
        expect(await call([entry(0, vdev, 1)])).toEqual({ errno: 0, done: 1 })
        await expectCaches(lab, dev, 0, 0, CACHED, CACHED)
        expect(await call([entry(0, vdev, 2), entry(0, vdev, 3)])).toEqual({ errno: 0, done: 2 })
        await expectCaches(lab, dev, 0)
        expect(await call([entry(1, vdev, 0)])).toEqual({ errno: 0, done: 1 })
        await expectCaches(lab, dev, 0)
        expect(await iommufd.destroy(vdevice)).toBe(0)
      },
    },

    hw_queue: {
      not: { vtd: NO_VIOMMU },
      skips,
      async run({ ioas, ground }, { iommufd, world }) {
        const { viommu } = ground as Ground
        const alloc = (index: number, iova: bigint, length: bigint, type = world.name === 'mock' ? QUEUE : 1) =>
          iommufd.hwQueueAlloc(viommu, type, index, iova, length)
        const { base } = world
        expect((await alloc(0, base, PAGE, 0)).errno).toBe(E.OPNOTSUPP)
        expect((await alloc(0, base, 0n)).errno).toBe(E.INVAL)
        expect((await alloc(0, 2n ** 64n - 1n, PAGE)).errno).toBe(E.OVERFLOW)
        // No real unit reads a queue of a guest by itself.
        expect((await alloc(0, base, PAGE)).errno).toBe(world.name === 'mock' ? E.NOENT : E.OPNOTSUPP)
        if (world.name !== 'mock') return
        const { iova } = await iommufd.map(ioas, BUFFER, PAGE)
        const { iova: other } = await iommufd.map(ioas, BUFFER + PAGE, PAGE)
        expect((await alloc(1, iova, PAGE)).errno).toBe(E.IO)
        expect((await alloc(2, iova, PAGE)).errno).toBe(E.INVAL)
        const first = await alloc(0, iova, PAGE)
        expect([first.errno, first.reason]).toEqual([0, ''])
        expect((await alloc(0, iova, PAGE)).errno).toBe(E.EXIST)
        expect((await iommufd.unmap(ioas, iova, PAGE)).errno).toBe(E.BUSY)
        expect((await iommufd.unmap(ioas, other, PAGE)).errno).toBe(0)
        const second = await alloc(1, iova + PAGE / 2n, PAGE / 2n)
        expect([second.errno, second.reason]).toEqual([0, ''])
        expect(await iommufd.destroy(first.id)).toBe(E.BUSY)
        expect(await iommufd.destroy(second.id)).toBe(0)
        expect(await iommufd.destroy(first.id)).toBe(0)
        expect((await iommufd.unmap(ioas, iova, PAGE)).errno).toBe(0)
      },
    },

    vdevice_tombstone: {
      not: { vtd: NO_VIOMMU },
      skips,
      async run({ ground }, { iommufd, world }) {
        const { device, viommu } = ground as Ground
        const { id: vdevice } = await iommufd.vdeviceAlloc(viommu, device.dev, VIRT)
        expect(await world.release(iommufd, device)).toBe(0)
        expect(await iommufd.destroy(vdevice)).toBe(E.NOENT)
      },
    },
  },
}

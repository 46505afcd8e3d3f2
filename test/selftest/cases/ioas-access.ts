/** Tests of `iommufd_ioas` about users in the kernel, processes that are gone, and dma-bufs. */

import { expect } from 'vitest'
import { struct, u32 } from '../harness/bytes.js'
import { behind, writtenTo } from '../harness/calls.js'
import type { Case } from '../harness/fixture.js'
import { type Lab, type Stdev, testCommand } from '../harness/lab.js'
import { OP } from '../harness/mock-world.js'
import { BUFFER, BUFFER_BYTES, E, errnoOf, PAGE } from '../harness/process.js'
import type { IoasSelf, IoasVariant } from './ioas.js'

type IoasCase = Case<IoasSelf, IoasVariant>

const ONLY_TEST_COMMAND = 'an access of the kernel’s own is made by IOMMU_TEST_CMD alone'
const NO_EXPORTER = 'a dma-buf is exported by the self-test, or by VFIO for a device’s own memory, which none here has'
const NEEDS_PIN = 1
const WRITE = 1
const SLOW_PATH = 4

/** Makes an access; answers its descriptor. */
async function createAccess({ iommufd }: Lab, ioas: number, flags: number): Promise<number> {
  const { errno, arg, reason } = await testCommand(iommufd, OP.CREATE_ACCESS, ioas, struct([4, 0], [4, flags]))
  expect([errno, reason]).toEqual([0, ''])
  return u32(arg, 16)
}

/** Pins a range and compares it with what is at an address; answers the item. */
async function pin({ iommufd }: Lab, access: number, iova: bigint, length: bigint, va: bigint): Promise<number> {
  const body = struct([4, 0], [4, 0], [8, iova], [8, length], [8, va])
  const { errno, arg, reason } = await testCommand(iommufd, OP.ACCESS_PAGES, access, body)
  expect([errno, reason]).toEqual([0, ''])
  return u32(arg, 20)
}

const unpin = async ({ iommufd }: Lab, access: number, item: number): Promise<number> =>
  (await testCommand(iommufd, OP.DESTROY_ACCESS_PAGES, access, struct([4, item]))).errno

/** Reads and writes in an address space: by an access of the mock's, or by a device's DMA. */
interface Mover {
  read(iova: bigint, length: number): Promise<Uint8Array>
  write(iova: bigint, data: Uint8Array): Promise<void>
}

const byAccess = ({ iommufd }: Lab, access: number, flags: number): Mover => ({
  async read(iova, length) {
    const into = behind(new Uint8Array(length), true)
    const body = struct([8, iova], [8, length], [8, into.address], [4, flags])
    const answer = await testCommand(iommufd, OP.ACCESS_RW, access, body, into)
    expect([answer.errno, answer.reason]).toEqual([0, ''])
    return writtenTo(answer, into.data)
  },
  async write(iova, data) {
    const from = behind(data)
    const body = struct([8, iova], [8, data.length], [8, from.address], [4, flags | WRITE])
    expect((await testCommand(iommufd, OP.ACCESS_RW, access, body, from)).errno).toBe(0)
  },
})

const byDevice = ({ process }: Lab, { dev }: Stdev): Mover => ({
  async read(iova, length) {
    const { results } = await process.client.dmaRead({ deviceId: dev, operations: [{ address: iova, length }] })
    expect(results[0].outcome).toBe(1)
    return results[0].data
  },
  async write(iova, data) {
    const { results } = await process.client.dmaWrite({ deviceId: dev, operations: [{ address: iova, data }] })
    expect(results[0].outcome).toBe(1)
  },
})

/** Lengths and places around a page's end; all of them where time is no matter. */
const isWhole = process.env['IOMMUD_TEST_LONG'] === '1'
const PLACES = Array.from({ length: 100 }, (_, at) => at - 50).filter((at) => isWhole || at % 7 === 0 || at > -3)
const SIZES = Array.from({ length: 63 }, (_, at) => at + 1).filter((size) => isWhole || size < 4 || size % 15 === 1)

/** Sweeps over the end of a page, byte by byte, and compares each with the buffer. */
async function sweep({ process: { client, bufferRegion } }: Lab, mover: Mover, iova: bigint): Promise<void> {
  const memory = async (offset: bigint, length: number): Promise<Uint8Array> => {
    const { data } = await client.readMemory({ slices: [{ regionId: bufferRegion, offset, length }] })
    return data[0]
  }
  const noise = Uint8Array.from({ length: Number(BUFFER_BYTES) }, (_, at) => (at * 37 + (at >> 8)) & 0xff)
  await client.writeMemory({ patches: [{ regionId: bufferRegion, offset: 0n, data: noise }] })
  let round = 0
  for (const place of PLACES) {
    for (const size of SIZES) {
      const offset = PAGE + BigInt(place)
      expect(await mover.read(iova + offset, size)).toEqual(await memory(offset, size))
      round++
      const data = Uint8Array.from({ length: size }, (_, at) => (at * 75 + round * 31) & 0xff)
      await mover.write(iova + offset, data)
      expect(await memory(offset, size)).toEqual(data)
    }
  }
  expect(await mover.read(iova, Number(BUFFER_BYTES))).toEqual(await memory(0n, Number(BUFFER_BYTES)))
}

/** By an access; in a real world by the device, where there is one. */
async function sweepAll(lab: Lab, { ioas, device }: IoasSelf, iova: bigint, flags: readonly number[]): Promise<void> {
  if (lab.world.name !== 'mock') {
    if (device !== undefined) await sweep(lab, byDevice(lab, device), iova)
    return
  }
  const access = await createAccess(lab, ioas, 0)
  for (const flag of flags) await sweep(lab, byAccess(lab, access, flag), iova)
  expect(await lab.process.close(access)).toBe(0)
}

/** By name. */
export const ACCESS_CASES: Readonly<Record<string, IoasCase>> = {
  access_domain_destory: {
    not: { smmuv3: ONLY_TEST_COMMAND, vtd: ONLY_TEST_COMMAND },
    async run({ ioas, base, device }, lab) {
      const { iommufd, process, world } = lab
      const [va, bytes] = [0x7f40_0000_0000n, 0x40_0000n]
      await process.client.createMemoryRegion({ anonymous: { bytes }, clientAddress: va })
      expect((await iommufd.map(ioas, va, bytes, base)).errno).toBe(0)
      const access = await createAccess(lab, ioas, NEEDS_PIN)
      const item = await pin(lab, access, base + PAGE, PAGE, va + PAGE)
      // What one page of a large one is pinned for outlives the domain.
      if (device !== undefined) expect(await world.release(iommufd, device)).toBe(0)
      expect(await unpin(lab, access, item)).toBe(0)
      expect(await process.close(access)).toBe(0)
    },
  },

  access_pin: {
    not: { smmuv3: ONLY_TEST_COMMAND, vtd: ONLY_TEST_COMMAND },
    async run({ ioas }, lab) {
      const { iommufd, process, world } = lab
      const { base } = world
      const access = await createAccess(lab, ioas, NEEDS_PIN)
      for (let pages = 1n; pages < 16n; pages++) {
        const length = pages * PAGE
        expect((await iommufd.map(ioas, BUFFER, BUFFER_BYTES, base)).errno).toBe(0)
        expect(await unpin(lab, access, await pin(lab, access, base, length, BUFFER))).toBe(0)
        const one = await pin(lab, access, base, length, BUFFER)
        const two = await pin(lab, access, base, length, BUFFER)
        expect([await unpin(lab, access, two), await unpin(lab, access, one)]).toEqual([0, 0])
        const item = await pin(lab, access, base, length, BUFFER)
        const device = await world.mockDomain(iommufd, ioas)
        expect(device.errno).toBe(0)
        expect(await world.checkMap(iommufd, device, base, BUFFER_BYTES, BUFFER)).toBe(0)
        expect(await world.release(iommufd, device)).toBe(0)
        expect(await unpin(lab, access, item)).toBe(0)
        expect((await iommufd.unmap(ioas, base, BUFFER_BYTES)).errno).toBe(0)
      }
      expect(await process.close(access)).toBe(0)
    },
  },

  access_pin_unmap: {
    not: { smmuv3: ONLY_TEST_COMMAND, vtd: ONLY_TEST_COMMAND },
    async run({ ioas }, lab) {
      const { iommufd, world } = lab
      const access = await createAccess(lab, ioas, NEEDS_PIN)
      expect((await iommufd.map(ioas, BUFFER, BUFFER_BYTES, world.base)).errno).toBe(0)
      const item = await pin(lab, access, world.base, BUFFER_BYTES, BUFFER)
      expect((await iommufd.unmap(ioas, world.base, BUFFER_BYTES)).errno).toBe(0)
      // The access let it go when it was told.
      expect(await unpin(lab, access, item)).toBe(E.NOENT)
    },
  },

  access_rw: {
    async run(self, lab) {
      const { errno, iova } = await lab.iommufd.map(self.ioas, BUFFER, BUFFER_BYTES)
      expect(errno).toBe(0)
      await sweepAll(lab, self, iova, [0, SLOW_PATH])
      expect((await lab.iommufd.unmap(self.ioas, iova, BUFFER_BYTES)).errno).toBe(0)
    },
  },

  access_rw_unaligned: {
    not: {
      smmuv3: 'pages of 4096 bytes and more cannot be mapped at half a page',
      vtd: 'pages of 4096 bytes and more cannot be mapped at half a page',
    },
    async run(self, lab) {
      const iova = self.base + 2048n
      expect((await lab.iommufd.map(self.ioas, BUFFER, BUFFER_BYTES, iova)).errno).toBe(0)
      await sweepAll(lab, self, iova, [0])
      expect((await lab.iommufd.unmap(self.ioas, iova, BUFFER_BYTES)).errno).toBe(0)
    },
  },

  // A client has no forks. What a fork's memory is to the kernel, a region that is gone is here.
  fork_gone: {
    async run(self, lab) {
      const { iommufd, process, world } = lab
      const { ioas, device } = self
      expect((await iommufd.map(ioas, BUFFER, BUFFER_BYTES, world.base)).errno).toBe(0)
      const { client, bufferRegion } = process
      const data = Uint8Array.from({ length: 4096 }, (_, at) => at & 0xff)
      await client.writeMemory({ patches: [{ regionId: bufferRegion, offset: 0n, data }] })
      expect(await errnoOf(client.destroyMemoryRegion({ regionId: bufferRegion }))).toBe(0)
      const second = await world.mockDomain(iommufd, ioas)
      if (device === undefined) {
        expect(second.errno).toBe(E.FAULT)
        return
      }
      // It was pinned when it was mapped.
      expect([second.errno, second.reason]).toEqual([0, ''])
      const mover = world.name === 'mock' ? byAccess(lab, await createAccess(lab, ioas, 0), 0) : byDevice(lab, second)
      expect(await mover.read(world.base, 4096)).toEqual(data)
    },
  },

  fork_present: {
    async run(self, lab) {
      const {
        iommufd,
        process,
        world,
        iommufd: { fd },
      } = lab
      // The other process: a client of its own, with the same open file.
      const other = process.daemon.connect().inContext(process.client.token)
      const map = struct([4, 40], [4, 7], [4, self.ioas], [4, 0], [8, BUFFER], [8, BUFFER_BYTES], [8, world.base])
      expect((await other.ioctl({ handle: fd, cmd: 0x3b85, arg: map, memory: [] })).errno).toBe(0)
      const device = await world.mockDomain(iommufd, self.ioas)
      expect([device.errno, device.reason]).toEqual([0, ''])
      await sweepAll(lab, { ...self, device }, world.base, [0])
    },
  },

  dmabuf_simple: {
    not: { smmuv3: NO_EXPORTER, vtd: NO_EXPORTER },
    async run({ ioas }, { iommufd, process }) {
      const bytes = 4n * PAGE
      const { errno, result } = await testCommand(iommufd, OP.DMABUF_GET, 0, struct([4, bytes], [4, 0]))
      expect(errno).toBe(0)
      const fd = Number(result)
      expect((await iommufd.mapFile(ioas, fd, 0n, 0n)).errno).toBe(E.INVAL)
      expect((await iommufd.mapFile(ioas, fd, bytes, bytes)).errno).toBe(E.INVAL)
      expect((await iommufd.mapFile(ioas, fd, 0n, bytes + 1n)).errno).toBe(E.INVAL)
      expect((await iommufd.mapFile(ioas, fd, 0n, bytes)).errno).toBe(0)
      expect(await process.close(fd)).toBe(0)
    },
  },

  dmabuf_revoke: {
    not: { smmuv3: NO_EXPORTER, vtd: NO_EXPORTER },
    async run({ ioas, device }, { iommufd, process }) {
      const bytes = 4n * PAGE
      const { result } = await testCommand(iommufd, OP.DMABUF_GET, 0, struct([4, bytes], [4, 0]))
      const fd = Number(result)
      const revoke = async (isRevoked: number): Promise<number> =>
        (await testCommand(iommufd, OP.DMABUF_REVOKE, 0, struct([4, fd], [4, isRevoked]))).errno
      const { errno, iova } = await iommufd.mapFile(ioas, fd, 0n, bytes)
      expect(errno).toBe(0)
      expect(await revoke(1)).toBe(0)
      if (device !== undefined) expect((await iommufd.hwptAlloc(device.dev, ioas)).errno).toBe(0)
      expect((await iommufd.mapFile(ioas, fd, 0n, bytes)).errno).toBe(E.NODEV)
      expect(await revoke(0)).toBe(0)
      expect((await iommufd.mapFile(ioas, fd, 0n, bytes)).errno).toBe(0)
      expect((await iommufd.unmap(ioas, iova, bytes)).errno).toBe(0)
      expect((await iommufd.mapFile(ioas, fd, 0n, bytes, iova)).errno).toBe(0)
      expect(await process.close(fd)).toBe(0)
    },
  },
}

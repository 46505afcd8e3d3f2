/** The eight stories of the kernel's iommufd_fail_nth, on its mock, by the same names. */

import { expect } from 'vitest'
import { struct, u32 } from '../selftest/harness/bytes.js'
import { behind, HWPT, type Ioctls, Iommufd, MAP } from '../selftest/harness/calls.js'
import { testCommand } from '../selftest/harness/lab.js'
import { OP } from '../selftest/harness/mock-world.js'
import { BUFFER, MOCK_APERTURE_START, PAGE } from '../selftest/harness/process.js'
import type { Ioctl } from './telling.js'

/** A story of ioctls. */
export type SelftestStory = (process: Ioctl) => Promise<void>

type Fd = Iommufd<Ioctls>

/** 64 pages. */
const BYTES = 0x4_0000n
const BATCH = 32
const NEEDS_PIN = 1

/** A call of the mock's that succeeds; answers its struct. */
async function test(fd: Fd, op: number, id: number, body: Uint8Array, ...memory: Parameters<Ioctls['ioctl']>[3][]) {
  const { errno, arg, reason } = await testCommand(fd, op, id, body, ...memory)
  expect([op, errno, reason]).toEqual([op, 0, ''])
  return arg
}

/** A call that succeeds. */
function ok<T extends { readonly errno: number; readonly reason?: string }>(answer: T): T {
  expect([answer.errno, answer.reason ?? '']).toEqual([0, ''])
  return answer
}

const limit = (fd: Fd): Promise<Uint8Array> => test(fd, OP.SET_TEMP_MEMORY_LIMIT, 0, struct([4, BATCH]))

/** A test device on an address space. */
async function mockDomain(fd: Fd, pt: number, flags?: number): Promise<{ stdev: number; dev: number }> {
  const op = flags === undefined ? OP.MOCK_DOMAIN : OP.MOCK_DOMAIN_FLAGS
  const arg = await test(fd, op, pt, struct([4, 0], [4, 0], [4, 0], [4, flags ?? 0]))
  return { stdev: u32(arg, 16), dev: u32(arg, 24) }
}

const destroy = async (fd: Fd, id: number): Promise<void> => expect(await fd.destroy(id)).toBe(0)

async function mapOverDomain(process: Ioctl, map: (fd: Fd, ioas: number) => Promise<unknown>): Promise<void> {
  const fd = new Iommufd<Ioctls>(process)
  const { id: ioas } = ok(await fd.ioasAlloc())
  await limit(fd)
  process.enable()
  const { stdev } = await mockDomain(fd, ioas)
  await map(fd, ioas)
  await destroy(fd, stdev)
  await mockDomain(fd, ioas)
}

async function pinAndUnpin(process: Ioctl, fd: Fd, ioas: number): Promise<void> {
  const { iova } = ok(await fd.map(ioas, BUFFER, 16n * PAGE))
  const access = u32(await test(fd, OP.CREATE_ACCESS, ioas, struct([4, 0], [4, NEEDS_PIN])), 16)
  process.enable()
  const pages = struct([4, 0], [4, 0], [8, iova], [8, 16n * PAGE], [8, BUFFER])
  const item = u32(await test(fd, OP.ACCESS_PAGES, access, pages), 20)
  await test(fd, OP.DESTROY_ACCESS_PAGES, access, struct([4, item]))
  await process.close(access)
}

/** By name. */
export const SELFTEST_STORIES: Readonly<Record<string, SelftestStory>> = {
  async basic(process) {
    process.enable()
    const fd = new Iommufd<Ioctls>(process)
    const { id: ioas } = ok(await fd.ioasAlloc())
    expect((await fd.iovaRanges(ioas, 10)).errno).toBe(0)
    expect(await fd.allowIovas(ioas, [[0x4000n, 16n * PAGE + 0x4000n * 600n - 1n]])).toBe(0)
    const { iova } = ok(await fd.map(ioas, BUFFER, 16n * PAGE))
    ok(await fd.copy(ioas, ioas, iova, 160n))
    expect((await fd.unmap(ioas, iova, 16n * PAGE)).errno).toBe(0)
    expect((await fd.unmap(ioas, iova, 16n * PAGE)).errno).not.toBe(0)
  },

  map_domain: (process) => mapOverDomain(process, async (fd, ioas) => ok(await fd.map(ioas, BUFFER, BYTES))),

  map_file_domain: (process) =>
    mapOverDomain(process, async (fd, ioas) => ok(await fd.mapFile(ioas, process.mfd, 0n, BYTES))),

  async map_two_domains(process) {
    const fd = new Iommufd<Ioctls>(process)
    const { id: ioas } = ok(await fd.ioasAlloc())
    await limit(fd)
    const one = await mockDomain(fd, ioas)
    process.enable()
    // A domain of its own, as the second device would join the first's.
    const { id } = ok(await fd.hwptAlloc(one.dev, ioas))
    const two = await mockDomain(fd, id)
    ok(await fd.map(ioas, BUFFER, BYTES))
    await destroy(fd, one.stdev)
    await destroy(fd, two.stdev)
    await mockDomain(fd, ioas)
    await mockDomain(fd, id)
  },

  async access_rw(process) {
    const fd = new Iommufd<Ioctls>(process)
    const { id: ioas } = ok(await fd.ioasAlloc())
    await limit(fd)
    const { iova } = ok(await fd.map(ioas, BUFFER, BYTES))
    process.enable()
    const access = u32(await test(fd, OP.CREATE_ACCESS, ioas, struct([4, 0], [4, 0])), 16)
    const [WRITE, SLOW_PATH] = [1, 4]
    for (const [bytes, flags] of [
      [64, 0],
      [64, WRITE],
      [64, SLOW_PATH],
      [64, SLOW_PATH | WRITE],
      [32_768, SLOW_PATH],
    ]) {
      const memory = behind(new Uint8Array(bytes), true)
      await test(fd, OP.ACCESS_RW, access, struct([8, iova], [8, bytes], [8, memory.address], [4, flags]), memory)
    }
    await process.close(access)
  },

  async access_pin(process) {
    const fd = new Iommufd<Ioctls>(process)
    const { id: ioas } = ok(await fd.ioasAlloc())
    await limit(fd)
    await pinAndUnpin(process, fd, ioas)
  },

  async access_pin_domain(process) {
    const fd = new Iommufd<Ioctls>(process)
    const { id: ioas } = ok(await fd.ioasAlloc())
    await limit(fd)
    const { stdev } = await mockDomain(fd, ioas)
    await pinAndUnpin(process, fd, ioas)
    await destroy(fd, stdev)
  },

  async device(process) {
    const fd = new Iommufd<Ioctls>(process)
    const [one, two] = [ok(await fd.ioasAlloc()).id, ok(await fd.ioasAlloc()).id]
    for (const ioas of [one, two])
      ok(await fd.map(ioas, BUFFER, PAGE, MOCK_APERTURE_START, MAP.READABLE | MAP.WRITEABLE))
    process.enable()
    const { stdev, dev } = await mockDomain(fd, one, 4)
    expect((await fd.hwInfo(dev, { length: 8 })).errno).toBe(0)
    const { id: compatible } = ok(await fd.hwptAlloc(dev, one, HWPT.PASID))
    for (const pt of [two, compatible]) await test(fd, OP.MOCK_DOMAIN_REPLACE, stdev, struct([4, pt]))
    const { id: parent } = ok(await fd.hwptAlloc(dev, one, HWPT.NEST_PARENT | HWPT.PASID))
    const { id: viommu } = ok(await fd.viommuAlloc(dev, parent, 0xdeadbeef))
    ok(await fd.vdeviceAlloc(viommu, dev, 0n))
    ok(await fd.hwQueueAlloc(viommu, 0xdeadbeef, 0, MOCK_APERTURE_START, PAGE))
    const fault = ok(await fd.faultQueue())
    await process.close(fault.fd)
    const data = { type: 0xdead, data: struct([4, 0xbadbeef], [4, 0]), fault: fault.id }
    ok(await fd.hwptAlloc(dev, parent, HWPT.FAULT, data))
    const events = ok(await fd.veventqAlloc(viommu, 0xbeefbeef))
    await process.close(events.fd)
    const { id: last } = ok(await fd.hwptAlloc(dev, one, HWPT.PASID))
    await test(fd, OP.PASID_ATTACH, stdev, struct([4, 200], [4, parent]))
    await test(fd, OP.PASID_REPLACE, stdev, struct([4, 200], [4, last]))
    await test(fd, OP.PASID_DETACH, stdev, struct([4, 200]))
  },
}

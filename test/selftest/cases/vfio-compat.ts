/** The fixture `vfio_compat_mock_domain`: VFIO's type-1 container on an address space. */

import { expect } from 'vitest'
import { struct, u32, u64 } from '../harness/bytes.js'
import type { Fixture } from '../harness/fixture.js'
import type { Lab } from '../harness/lab.js'
import { BUFFER, BUFFER_BYTES, E, MOCK_APERTURE_START, PAGE } from '../harness/process.js'

const GET_INFO = 0x3b00 | 112
const MAP_DMA = 0x3b00 | 113
const UNMAP_DMA = 0x3b00 | 114
const SET_IOMMU = 0x3b00 | 102
const TYPE1 = 1
const TYPE1V2 = 3
const UNMAP_ALL = 2
const HUGE_PAGE = 0x20_0000n
const HUGE_BUFFER = 0x7f20_0000_0000n

interface Self {
  readonly ioas: number
}

const map = async ({ process }: Lab, va: bigint, iova: bigint, size: bigint): Promise<number> =>
  (await process.ioctl(0, MAP_DMA, struct([4, 32], [4, 3], [8, va], [8, iova], [8, size]))).errno

async function unmap({ process }: Lab, iova: bigint, size: bigint, flags = 0): Promise<[errno: number, size: bigint]> {
  const { errno, arg } = await process.ioctl(0, UNMAP_DMA, struct([4, 24], [4, flags], [8, iova], [8, size]))
  return [errno, u64(arg, 16)]
}

/** The info in a buffer that is longer than it says; what is behind its end must stay. */
async function info({ process }: Lab, argsz: number): Promise<Uint8Array> {
  const arg = new Uint8Array(256).fill(0xaa)
  arg.fill(0, 0, argsz)
  arg.set(struct([4, argsz]))
  const { errno, arg: after } = await process.ioctl(0, GET_INFO, arg)
  expect(errno).toBe(0)
  expect(after.subarray(argsz).every((byte) => byte === 0xaa)).toBe(true)
  return after
}

/** Numbers 0 to count - 1 in an order of no order. */
const shuffled = (count: number): number[] => Array.from({ length: count }, (_, at) => (at * 7 + 3) % count)

/** The fixture. */
export const VFIO_COMPAT: Fixture<Self, number> = {
  name: 'vfio_compat_mock_domain',
  variants: { Ver1v2: TYPE1V2, Ver1v0: TYPE1 },
  async setUp(lab, version) {
    const { iommufd, world, process } = lab
    const { id: ioas } = await iommufd.ioasAlloc()
    expect((await world.mockDomain(iommufd, ioas)).errno).toBe(0)
    expect((await iommufd.vfioIoas(1, ioas)).errno).toBe(0)
    expect((await process.ioctl(0, SET_IOMMU, struct([8, version]))).errno).toBe(0)
    return { ioas }
  },
  tests: {
    simple_close: { run: async () => undefined },

    option_huge_pages: {
      async run({ ioas }, { iommufd }, version) {
        expect(await iommufd.option(1, ioas)).toEqual({ errno: 0, value: version === TYPE1 ? 0n : 1n })
      },
    },

    get_info: {
      async run(_self, lab) {
        const old = await info(lab, 16)
        expect(u32(old, 4)).toBe(3)
        expect(u64(old, 8)).not.toBe(0n)
        const short = await info(lab, 24)
        expect([u32(short, 4), u32(short, 16)]).toEqual([3, 0])
        const needed = u32(short, 0)
        expect(needed).toBeGreaterThan(24)
        for (let argsz = 24; argsz < needed; argsz++) expect(u32(await info(lab, argsz), 4)).toBe(3)
        // With room for all of it the chain is whole; the kernel's own loop ends one byte before.
        const whole = await info(lab, needed)
        const found: number[] = []
        for (let at = u32(whole, 16); at !== 0; at = u32(whole, at + 4)) found.push(u32(whole, at) & 0xffff)
        expect(found.sort()).toEqual([1, 3])
      },
    },

    map: {
      async run(_self, lab) {
        const at = MOCK_APERTURE_START
        expect(await map(lab, BUFFER, at, BUFFER_BYTES)).toBe(0)
        expect(await unmap(lab, at, BUFFER_BYTES)).toEqual([0, BUFFER_BYTES])
        expect(await unmap(lab, at, BUFFER_BYTES)).toEqual([0, 0n])
        expect(await map(lab, BUFFER, at, BUFFER_BYTES)).toBe(0)
        expect((await unmap(lab, at, BUFFER_BYTES, UNMAP_ALL))[0]).toBe(E.INVAL)
        expect(await unmap(lab, 0n, 0n, UNMAP_ALL)).toEqual([0, BUFFER_BYTES])
        for (let page = 0n; page < 16n; page++) {
          expect(await map(lab, BUFFER + page * PAGE, at + page * PAGE, PAGE)).toBe(0)
        }
        for (const page of shuffled(16)) expect(await unmap(lab, at + BigInt(page) * PAGE, PAGE)).toEqual([0, PAGE])
      },
    },

    huge_map: {
      async run(_self, lab, version) {
        const bytes = 2n * HUGE_PAGE
        await lab.process.client.createMemoryRegion({ anonymous: { bytes }, clientAddress: HUGE_BUFFER })
        expect(await map(lab, HUGE_BUFFER, MOCK_APERTURE_START, bytes)).toBe(0)
        const piece = bytes / 16n
        for (const at of shuffled(16)) {
          const [errno] = await unmap(lab, MOCK_APERTURE_START + BigInt(at) * piece, piece)
          expect(errno).toBe(version === TYPE1 ? 0 : E.NOENT)
        }
      },
    },
  },
}

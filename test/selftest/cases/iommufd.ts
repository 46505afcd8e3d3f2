/** The fixture `iommufd`: the dispatcher, global options and VFIO's container without an address space. */

import { expect } from 'vitest'
import { setU32, struct } from '../harness/bytes.js'
import type { Fixture } from '../harness/fixture.js'
import type { Lab } from '../harness/lab.js'
import { BUFFER, E, MOCK_APERTURE_START, PAGE } from '../harness/process.js'

/** Commands whose length is checked: number, bytes of the first layout, bytes. */
const LENGTHS: readonly (readonly [name: string, nr: number, least: number, bytes: number])[] = [
  ['destroy', 0x80, 8, 8],
  ['hw_info', 0x8a, 32, 40],
  ['hwpt_alloc', 0x89, 24, 48],
  ['hwpt_invalidate', 0x8d, 32, 32],
  ['ioas_alloc', 0x81, 12, 12],
  ['iova_ranges', 0x84, 32, 32],
  ['allow_iovas', 0x82, 24, 24],
  ['map', 0x85, 40, 40],
  ['copy', 0x83, 40, 40],
  ['unmap', 0x86, 24, 24],
  ['option', 0x87, 24, 24],
  ['vfio_ioas', 0x88, 12, 12],
  ['map_file', 0x8f, 40, 40],
  ['viommu_alloc', 0x90, 24, 40],
  ['vdevice_alloc', 0x91, 24, 24],
  ['change_process', 0x92, 8, 8],
]

/** An ioctl on /dev/iommu with bytes as they are. */
const raw = async ({ process }: Lab, nr: number, bytes: Uint8Array): Promise<number> =>
  (await process.ioctl(0, 0x3b00 | nr, bytes)).errno

const MAP_DMA = 113
const UNMAP_DMA = 114
const GET_INFO = 112

/** The fixture. */
export const IOMMUFD: Fixture<undefined, undefined> = {
  name: 'iommufd',
  variants: { '': undefined },
  setUp: async () => undefined,
  tests: {
    simple_close: { run: async () => undefined },

    cmd_fail: {
      async run(_self, lab) {
        expect(await lab.iommufd.destroy(0)).toBe(E.NOENT)
        // A pointer to nothing.
        expect(await raw(lab, 0x80, new Uint8Array(0))).toBe(E.FAULT)
        expect(await raw(lab, 0x7f, struct([4, 8], [4, 0]))).toBe(E.NOTTY)
      },
    },

    cmd_length: {
      async run(_self, lab) {
        for (const [name, nr, least, bytes] of LENGTHS) {
          const arg = new Uint8Array(bytes + 1)
          arg[bytes] = 0xff
          setU32(arg, 0, least - 1)
          expect([name, await raw(lab, nr, arg)]).toEqual([name, E.INVAL])
          setU32(arg, 0, bytes + 1)
          expect([name, await raw(lab, nr, arg)]).toEqual([name, E.TOOBIG])
          setU32(arg, 0, bytes)
          const errno = await raw(lab, nr, arg)
          setU32(arg, 0, bytes + 1)
          arg[bytes] = 0
          expect([name, await raw(lab, nr, arg)]).toEqual([name, errno])
        }
      },
    },

    cmd_ex_fail: {
      async run(_self, lab) {
        expect(await raw(lab, 0x80, struct([4, 16], [4, 0], [8, 0]))).toBe(E.NOENT)
        expect(await raw(lab, 0x80, struct([4, 16], [4, 0], [8, 1]))).toBe(E.TOOBIG)
        expect(await raw(lab, 0x80, struct([4, 8], [4, 0], [8, 1]))).toBe(E.NOENT)
        expect(await raw(lab, 0x80, struct([4, 7], [4, 0], [8, 1]))).toBe(E.INVAL)
      },
    },

    global_options: {
      async run(_self, { iommufd }) {
        const [RLIMIT_MODE, HUGE_PAGES] = [0, 1]
        expect(await iommufd.option(RLIMIT_MODE, 0)).toEqual({ errno: 0, value: 0n })
        expect((await iommufd.option(RLIMIT_MODE, 0, 1n)).errno).toBe(0)
        expect((await iommufd.option(RLIMIT_MODE, 0, 2n)).errno).toBe(E.INVAL)
        expect(await iommufd.option(RLIMIT_MODE, 0)).toEqual({ errno: 0, value: 1n })
        expect((await iommufd.option(RLIMIT_MODE, 0, 0n)).errno).toBe(0)
        expect((await iommufd.option(HUGE_PAGES, 0)).errno).toBe(E.NOENT)
        expect((await iommufd.option(HUGE_PAGES, 0, 0n)).errno).toBe(E.NOENT)
      },
    },

    simple_ioctls: {
      async run(_self, { process }) {
        const number = (value: number): Uint8Array => struct([8, value])
        expect(await process.ioctl(0, 0x3b00 | 100, number(0))).toMatchObject({ errno: 0, result: 0n })
        expect(await process.ioctl(0, 0x3b00 | 101, number(3))).toMatchObject({ errno: 0, result: 1n })
      },
    },

    unmap_cmd: {
      async run(_self, lab) {
        const unmap = (argsz: number, flags: number): Uint8Array =>
          struct([4, argsz], [4, flags], [8, MOCK_APERTURE_START], [8, PAGE])
        expect(await raw(lab, UNMAP_DMA, unmap(1, 0))).toBe(E.INVAL)
        expect(await raw(lab, UNMAP_DMA, unmap(24, 2 ** 31))).toBe(E.INVAL)
        expect(await raw(lab, UNMAP_DMA, unmap(24, 0))).toBe(E.NODEV)
      },
    },

    map_cmd: {
      async run(_self, lab) {
        const map = (argsz: number, flags: number): Uint8Array =>
          struct([4, argsz], [4, flags], [8, BUFFER], [8, MOCK_APERTURE_START], [8, PAGE])
        expect(await raw(lab, MAP_DMA, map(1, 0))).toBe(E.INVAL)
        expect(await raw(lab, MAP_DMA, map(32, 2 ** 31))).toBe(E.INVAL)
        expect(await raw(lab, MAP_DMA, map(32, 3))).toBe(E.NODEV)
      },
    },

    info_cmd: {
      async run(_self, lab) {
        expect(await raw(lab, GET_INFO, struct([4, 1], [4, 0], [8, 0], [4, 0], [4, 0]))).toBe(E.INVAL)
        expect(await raw(lab, GET_INFO, struct([4, 24], [4, 0], [8, 0], [4, 0], [4, 0]))).toBe(E.NODEV)
      },
    },

    set_iommu_cmd: {
      async run(_self, lab) {
        expect(await raw(lab, 102, struct([8, 3]))).toBe(E.NODEV)
        expect(await raw(lab, 102, struct([8, 1]))).toBe(E.NODEV)
      },
    },

    vfio_ioas: {
      async run(_self, { iommufd }) {
        const [GET, SET, CLEAR] = [0, 1, 2]
        expect((await iommufd.vfioIoas(GET)).errno).toBe(E.NODEV)
        expect((await iommufd.vfioIoas(SET, 0)).errno).toBe(E.NOENT)
        const { id } = await iommufd.ioasAlloc()
        expect((await iommufd.vfioIoas(SET, id)).errno).toBe(0)
        expect(await iommufd.vfioIoas(GET)).toMatchObject({ errno: 0, id })
        expect((await iommufd.vfioIoas(CLEAR)).errno).toBe(0)
        expect((await iommufd.vfioIoas(GET)).errno).toBe(E.NODEV)
      },
    },
  },
}

/** Tests of `iommufd_ioas` about the address space itself: areas, placement, ranges, options, copies. */

import { expect } from 'vitest'
import { struct } from '../harness/bytes.js'
import { MAP } from '../harness/calls.js'
import type { Case } from '../harness/fixture.js'
import { type Lab, testCommand } from '../harness/lab.js'
import { OP } from '../harness/mock-world.js'
import { BUFFER, BUFFER_BYTES, E, PAGE } from '../harness/process.js'
import type { IoasSelf, IoasVariant } from './ioas.js'

type IoasCase = Case<IoasSelf, IoasVariant>

const TOP = 2n ** 64n - 1n
const RESERVING = 'only IOMMU_TEST_CMD reserves a range by itself; devices reserve theirs, which area_allowed shows'

/** Reserves a range as the mock's user can. */
const reserve = async (lab: Lab, ioas: number, start: bigint, length: bigint): Promise<number> =>
  (await testCommand(lab.iommufd, OP.ADD_RESERVED, ioas, struct([8, start], [8, length]))).errno

/** The largest power of two that divides a length. */
const lowestBit = (length: bigint): bigint => length & -length

/** Ten maps of 1 to 10 pages, wherever there is room; what they are aligned to is checked, and they are unmapped. */
async function placeTen(
  { ioas }: IoasSelf,
  { iommufd }: Lab,
  va: bigint,
  isRight: (iova: bigint, length: bigint) => boolean = () => true,
): Promise<void> {
  const iovas: bigint[] = []
  for (let pages = 1n; pages <= 10n; pages++) {
    const { errno, iova } = await iommufd.map(ioas, va, pages * PAGE)
    expect(errno).toBe(0)
    expect([iova % lowestBit(pages * PAGE), isRight(iova, pages * PAGE)]).toEqual([0n, true])
    iovas.push(iova)
  }
  for (const [at, iova] of iovas.entries()) {
    expect((await iommufd.unmap(ioas, iova, BigInt(at + 1) * PAGE)).errno).toBe(0)
  }
}

/** Lengths below two pages; all of them where time is no matter. */
const LENGTHS: readonly bigint[] = Array.from({ length: 8191 }, (_, at) => BigInt(at + 1)).filter(
  (length) =>
    process.env['IOMMUD_TEST_LONG'] === '1' || length % 37n === 0n || [0n, 1n, 2047n].includes(length % 2048n),
)

/** By name. */
export const SPACE_CASES: Readonly<Record<string, IoasCase>> = {
  ioas_auto_destroy: { run: async () => undefined },

  ioas_destroy: {
    async run({ ioas, device }, { iommufd }) {
      expect(await iommufd.destroy(ioas)).toBe(device === undefined ? 0 : E.BUSY)
    },
  },

  hwpt_attach: {
    async run({ device }, { iommufd, world }) {
      const second = world.mockDomain(iommufd, device?.hwpt ?? 0)
      expect((await second).errno).toBe(device === undefined ? E.NOENT : 0)
    },
  },

  ioas_area_destroy: {
    async run({ ioas, device, base }, { iommufd }) {
      expect((await iommufd.map(ioas, BUFFER, PAGE, base)).errno).toBe(0)
      expect(await iommufd.destroy(ioas)).toBe(device === undefined ? 0 : E.BUSY)
    },
  },

  ioas_area_auto_destroy: {
    async run({ ioas, base }, { iommufd }) {
      for (let at = 0n; at < 10n; at++) {
        expect((await iommufd.map(ioas, BUFFER, PAGE, base + at * PAGE)).errno).toBe(0)
      }
    },
  },

  area: {
    async run({ ioas, base }, { iommufd }) {
      for (let at = 0n; at < 10n; at++) expect((await iommufd.unmap(ioas, at * PAGE, PAGE)).errno).toBe(E.NOENT)
      for (let at = 0n; at < 10n; at++) {
        expect((await iommufd.map(ioas, BUFFER, PAGE, base + at * PAGE)).errno).toBe(0)
      }
      for (let at = 0n; at < 10n; at++) {
        expect(await iommufd.unmap(ioas, base + at * PAGE, PAGE)).toEqual({ errno: 0, length: PAGE })
      }
      const at = (page: bigint): bigint => base + page * PAGE
      expect((await iommufd.map(ioas, BUFFER, 2n * PAGE, at(16n))).errno).toBe(0)
      for (const page of [16n, 17n]) expect((await iommufd.unmap(ioas, at(page), PAGE)).errno).toBe(E.NOENT)
      for (const [page, pages] of [
        [16n, 2n],
        [16n, 1n],
        [17n, 1n],
        [15n, 2n],
        [15n, 3n],
      ]) {
        expect((await iommufd.map(ioas, BUFFER, pages * PAGE, at(page))).errno).toBe(E.EXIST)
      }
      expect(await iommufd.unmap(ioas, 0n, TOP)).toEqual({ errno: 0, length: 2n * PAGE })
      expect(await iommufd.unmap(ioas, 0n, TOP)).toEqual({ errno: 0, length: 0n })
    },
  },

  unmap_fully_contained_areas: {
    async run(self, { iommufd }) {
      const { ioas } = self
      const base = self.base + 4n * PAGE
      for (let at = 0n; at < 4n; at++) {
        expect((await iommufd.map(ioas, BUFFER, 8n * PAGE, base + at * 16n * PAGE)).errno).toBe(0)
      }
      expect((await iommufd.unmap(ioas, base - 4n * PAGE, 8n * PAGE)).errno).toBe(E.NOENT)
      expect((await iommufd.unmap(ioas, base + 52n * PAGE, 8n * PAGE)).errno).toBe(E.NOENT)
      expect(await iommufd.unmap(ioas, base - 4n * PAGE, 60n * PAGE)).toEqual({ errno: 0, length: 32n * PAGE })
    },
  },

  area_auto_iova: {
    async run(self, lab) {
      const { ioas, device } = self
      const { iommufd, world } = lab
      const iovas: bigint[] = []
      for (let at = 0; at < 10; at++) {
        const { errno, iova } = await iommufd.map(ioas, BUFFER, PAGE)
        expect(errno).toBe(0)
        iovas.push(iova)
      }
      for (const iova of iovas) expect((await iommufd.unmap(ioas, iova, PAGE)).errno).toBe(0)
      // Without a domain nobody looks whether anything is there.
      await placeTen(self, lab, device === undefined ? 2n ** 31n : BUFFER)
      const [start, length] = [4n * PAGE, 100n * PAGE]
      if (world.name === 'mock') {
        expect(await reserve(lab, ioas, start, length)).toBe(0)
        await placeTen(self, lab, BUFFER, (iova) => iova <= start || iova >= start + length)
        expect(await iommufd.allowIovas(ioas, [[PAGE, 600n * PAGE]])).toBe(E.ADDRINUSE)
      }
      const from = device === undefined ? 200n * PAGE : world.base + PAGE
      const last = (device === undefined ? 0n : world.base) + 600n * PAGE - 1n
      expect(await iommufd.allowIovas(ioas, [[from, last]])).toBe(0)
      await placeTen(self, lab, BUFFER, (iova, bytes) => iova >= from && iova + bytes - 1n <= last)
    },
  },

  reserved_overflow: {
    not: { smmuv3: RESERVING, vtd: RESERVING },
    async run({ ioas }, lab) {
      expect(await reserve(lab, ioas, 6n, 0xffff_ffff_ffff_8001n)).toBe(0)
      expect((await lab.iommufd.map(ioas, BUFFER, 0x5000n)).errno).toBe(E.NOSPC)
    },
  },

  area_allowed: {
    async run({ ioas, base, device }, lab) {
      const { iommufd, world } = lab
      const last = base + 600n * PAGE
      if (world.name === 'mock') {
        expect(await iommufd.allowIovas(ioas, [[base, last]])).toBe(0)
        expect(await reserve(lab, ioas, base + PAGE, PAGE)).toBe(E.ADDRINUSE)
        expect(await iommufd.allowIovas(ioas, [])).toBe(0)
        expect(await reserve(lab, ioas, base + PAGE, PAGE)).toBe(0)
        expect(await iommufd.allowIovas(ioas, [[base, last]])).toBe(E.ADDRINUSE)
        return
      }
      // What a device reserves, an allowed range may not touch, whichever was first.
      const [[start]] = world.reserved
      const allowed = [[start - PAGE, start]] as const
      if (device === undefined) {
        expect(await iommufd.allowIovas(ioas, allowed)).toBe(0)
        expect((await world.mockDomain(iommufd, ioas)).errno).toBe(E.ADDRINUSE)
        expect(await iommufd.allowIovas(ioas, [])).toBe(0)
        expect((await world.mockDomain(iommufd, ioas)).errno).toBe(0)
      }
      expect(await iommufd.allowIovas(ioas, allowed)).toBe(E.ADDRINUSE)
    },
  },

  copy_area: {
    async run({ ioas, base }, { iommufd }) {
      expect((await iommufd.map(ioas, BUFFER, PAGE, base)).errno).toBe(0)
      expect((await iommufd.copy(ioas, ioas, base, PAGE, base + PAGE, MAP.WRITEABLE)).errno).toBe(0)
      const { id } = await iommufd.ioasAlloc()
      expect(await iommufd.copy(id, ioas, base, PAGE, 0n, MAP.WRITEABLE)).toMatchObject({ errno: 0, iova: 0n })
    },
  },

  iova_ranges: {
    async run({ ioas, device }, lab) {
      const { iommufd, world } = lab
      const room = Number(BUFFER_BYTES) / 16
      const [low, high] = device === undefined ? [0n, TOP] : world.aperture
      const holes: [bigint, bigint][] = []
      let from = low
      for (const [start, last] of device === undefined ? [] : world.reserved) {
        holes.push([from, start - 1n])
        from = last + 1n
      }
      holes.push([from, high])
      const alignment = device === undefined ? 1n : world.page
      const whole = { errno: 0, total: holes.length, alignment, ranges: holes }
      expect(await iommufd.iovaRanges(ioas, room)).toEqual(whole)
      expect(await iommufd.iovaRanges(ioas, 0)).toEqual({ ...whole, errno: E.MSGSIZE, ranges: [] })
      if (world.name !== 'mock') return
      expect(await reserve(lab, ioas, PAGE, PAGE)).toBe(0)
      if (device !== undefined) {
        expect(await iommufd.iovaRanges(ioas, room)).toEqual(whole)
        expect(await iommufd.iovaRanges(ioas, 1)).toEqual(whole)
        return
      }
      const two: [bigint, bigint][] = [
        [0n, PAGE - 1n],
        [2n * PAGE, TOP],
      ]
      expect(await iommufd.iovaRanges(ioas, room)).toEqual({ ...whole, total: 2, ranges: two })
      expect(await iommufd.iovaRanges(ioas, 1)).toEqual({ ...whole, errno: E.MSGSIZE, total: 2, ranges: [two[0]] })
    },
  },

  ioas_option_huge_pages: {
    async run({ ioas }, { iommufd }) {
      const HUGE_PAGES = 1
      expect(await iommufd.option(HUGE_PAGES, ioas)).toEqual({ errno: 0, value: 1n })
      expect((await iommufd.option(HUGE_PAGES, ioas, 0n)).errno).toBe(0)
      expect(await iommufd.option(HUGE_PAGES, ioas)).toEqual({ errno: 0, value: 0n })
      expect((await iommufd.option(HUGE_PAGES, ioas, 2n)).errno).toBe(E.INVAL)
      expect((await iommufd.option(HUGE_PAGES, ioas, 1n)).errno).toBe(0)
    },
  },

  ioas_iova_alloc: {
    async run({ ioas, device }, { iommufd, world }) {
      for (const length of LENGTHS) {
        const { errno, iova } = await iommufd.map(ioas, BUFFER, length)
        const isRefused = device !== undefined && length % world.page !== 0n
        expect([length, errno]).toEqual([length, isRefused ? E.INVAL : 0])
        if (!isRefused) expect((await iommufd.unmap(ioas, iova, length)).errno).toBe(0)
      }
    },
  },

  ioas_align_change: {
    skips: ({ domains }) => (domains > 0 ? 'alignment cannot be raised beside a domain and a map' : undefined),
    async run({ ioas }, { iommufd, world }) {
      const HUGE_PAGES = 1
      const { base } = world
      expect((await iommufd.map(ioas, BUFFER, PAGE, base)).errno).toBe(0)
      expect((await iommufd.option(HUGE_PAGES, ioas, 0n)).errno).toBe(0)
      expect((await iommufd.map(ioas, BUFFER + 2048n, PAGE, base + PAGE)).errno).toBe(E.INVAL)
      expect((await iommufd.option(HUGE_PAGES, ioas, 0n)).errno).toBe(0)
      expect((await iommufd.option(HUGE_PAGES, ioas, 1n)).errno).toBe(0)
      expect((await iommufd.map(ioas, BUFFER + 2048n, PAGE, base + PAGE)).errno).toBe(0)
      expect((await iommufd.option(HUGE_PAGES, ioas, 0n)).errno).toBe(E.ADDRINUSE)
      expect((await iommufd.unmap(ioas, base + PAGE, PAGE)).errno).toBe(0)
      expect((await iommufd.unmap(ioas, base, PAGE)).errno).toBe(0)
    },
  },

  copy_sweep: {
    async run({ ioas, device }, { iommufd, world }) {
      const { base, page } = world
      const { id } = await iommufd.ioasAlloc()
      const last = base + BUFFER_BYTES - (device === undefined ? 2n : 1n)
      expect((await iommufd.map(ioas, BUFFER, last - base + 1n, base)).errno).toBe(0)
      for (let iova = base - PAGE; iova <= last; iova += 511n) {
        const isOutside = iova < base || iova + page - 1n > last
        const { errno, iova: to } = await iommufd.copy(id, ioas, iova, page, base, MAP.WRITEABLE)
        expect([iova, errno]).toEqual([iova, isOutside ? E.NOENT : 0])
        if (!isOutside) expect((await iommufd.unmap(id, to, page)).errno).toBe(0)
      }
      expect(await iommufd.destroy(id)).toBe(0)
    },
  },
}

/** Pages of 4 KiB, 2 MiB and 1 GiB in both stages, alone and one behind the other. [VTD 3.5, 3.6, 3.7, 3.8] */

import { describe, expect, it } from 'vitest'
import { FS, Guest, MODE, PASIDS, SID, SS } from './guest.js'
import { SAGAW, Tables, widths } from './tables.js'

const GIB = 1n << 30n
const MIB2 = 1n << 21n
const INPUT = 5n * GIB
const SIZES = { 1: 12, 2: 21, 3: 30 } as const
const LEVELS = [1, 2, 3] as const
const FIRST = 0x10_0000
const SECOND = 0x20_0000
const PWSNP = 1n << 23n
const hex = (n: bigint): string => `0x${n.toString(16)}`

/** CAP with SSLPS and FS1GP as given; 48 bits. [VTD 11.4.2] */
const large = (sslps: number, fs1gp: number) => {
  const { CAP, hawBits } = widths(SAGAW.all, 48, 48)
  // FS1GP is bit 56, SSLPS 37:34.
  return { CAP: [CAP[0], (CAP[1] & ~(1 << 24) & ~0x3c) | (fs1gp << 24) | (sslps << 2)] as [number, number], hawBits }
}

function first(level: number, entry: bigint, fs1gp = 1): Guest {
  const guest = new Guest({ ids: large(3, fs1gp) })
  guest.startScalable()
  new Tables(guest, FIRST, 4, FS.TABLE).map(INPUT, entry, level)
  guest.firstStage(0, 2, FIRST)
  return guest
}

function second(level: number, entry: bigint, sslps = 3, levels: 3 | 4 | 5 = 4, legacy = false): Guest {
  const guest = new Guest({ ids: large(sslps, 1) })
  new Tables(guest, SECOND, levels, SS.RW).map(INPUT, entry, level)
  if (legacy) {
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, BigInt(SECOND) | 1n, BigInt(levels - 2) | 0x300n)
    guest.start(MODE.LEGACY)
    return guest
  }
  guest.startScalable()
  guest.store(PASIDS, BigInt(SECOND) | BigInt((levels - 2) << 2) | 0x81n, 3n | PWSNP)
  return guest
}

describe('a first-stage page', () => {
  const page = (level: number): bigint => (3n * GIB) | FS.PAGE | (level === 1 ? 0n : FS.PS)

  it.each(LEVELS)('of level %i keeps the rest of the address, and is cached whole', (level) => {
    const guest = first(level, page(level))
    const last = (1n << BigInt(SIZES[level])) - 1n
    expect(guest.dma(INPUT + last)).toBe(hex(3n * GIB + last))
    expect([guest.out.leafLg2, guest.out.hit]).toEqual([SIZES[level], 0])
    expect(guest.dma(INPUT)).toBe(hex(3n * GIB))
    expect(guest.out.hit).toBe(1)
  })

  it.each([2, 3] as const)('of level %i ignores PAT in bit 12 and reserves the bits from 13 to its size', (level) => {
    expect(first(level, page(level) | 0x1000n).dma(INPUT + 0x1234n)).toBe(hex(3n * GIB + 0x1234n))
    for (let bit = 13; bit < SIZES[level]; bit++) {
      expect(first(level, page(level) | (1n << BigInt(bit))).dma(INPUT), `${bit}`).toBe('fault 0x72')
    }
  })

  it('ignores bit 7 in level 1, where it is PAT, and reserves it in level 4', () => {
    expect(first(1, page(1) | FS.PS).dma(INPUT)).toBe(hex(3n * GIB))
    expect(first(4, BigInt(FIRST + 0x1000) | FS.TABLE | FS.PS).dma(INPUT)).toBe('fault 0x72')
  })

  it('of 1 GiB needs FS1GP, and one of 2 MiB does not', () => {
    expect(first(3, page(3), 0).dma(INPUT)).toBe('fault 0x72')
    expect(first(2, page(2), 0).dma(INPUT)).toBe(hex(3n * GIB))
  })

  it('ignores G, PWT, PCD, bits 9, 11 and 62:52, and XD', () => {
    for (const bit of [3, 4, 8, 9, 10, 11, ...Array.from({ length: 12 }, (_, i) => 52 + i)]) {
      const ignored = 1n << BigInt(bit)
      expect(first(1, page(1) | ignored).dma(INPUT, 'w'), `${bit}`).toBe(hex(3n * GIB))
      const table = first(1, page(1))
      table.store(FIRST, table.load(FIRST) | ignored)
      expect(table.dma(INPUT, 'w'), `${bit} of a table`).toBe(hex(3n * GIB))
    }
  })
})

describe('a second-stage page', () => {
  const page = (level: number): bigint => (3n * GIB) | SS.RW | (level === 1 ? 0n : SS.PS)

  it.each(LEVELS.flatMap((level) => [3, 4, 5].map((levels) => [level, levels as 3 | 4 | 5] as const)))(
    'of level %i in %i levels keeps the rest of the address, and is cached whole',
    (level, levels) => {
      for (const legacy of [false, true]) {
        const guest = second(level, page(level), 3, levels, legacy)
        const last = (1n << BigInt(SIZES[level])) - 1n
        expect(guest.dma(INPUT + last)).toBe(hex(3n * GIB + last))
        expect([guest.out.leafLg2, guest.out.hit]).toEqual([SIZES[level], 0])
        expect(guest.dma(INPUT)).toBe(hex(3n * GIB))
        expect(guest.out.hit).toBe(1)
      }
    },
  )

  it.each([
    [0, ['0x7a', '0x7a']],
    [1, [hex(3n * GIB), '0x7a']],
    [3, [hex(3n * GIB), hex(3n * GIB)]],
  ] as const)('is as large as SSLPS %i says', (sslps, ends) => {
    const scalable = ([2, 3] as const).map((level) => second(level, page(level), sslps).dma(INPUT))
    expect(scalable.map((end) => end.replace('fault ', ''))).toEqual(ends)
    const legacy = ([2, 3] as const).map((level) => second(level, page(level), sslps, 4, true).dma(INPUT))
    expect(legacy.map((end) => end.replace('fault ', ''))).toEqual(ends.map((end) => end.replace('0x7a', '0xc')))
  })

  it.each([2, 3] as const)('of level %i reserves the bits from 12 to its size', (level) => {
    for (let bit = 12; bit < SIZES[level]; bit++) {
      expect(second(level, page(level) | (1n << BigInt(bit))).dma(INPUT), `${bit}`).toBe('fault 0x7a')
    }
  })

  it('ignores bit 7 in level 1, and reserves it in levels 4 and 5', () => {
    expect(second(1, page(1) | SS.PS).dma(INPUT)).toBe(hex(3n * GIB))
    for (const level of [4, 5]) {
      expect(second(level, BigInt(SECOND + 0x5000) | SS.RW | SS.PS, 3, 5).dma(INPUT)).toBe('fault 0x7a')
    }
  })

  it('ignores EMT, IPAT and bits 2, 8 to 10, 60:52, 61 and 63, and a table entry does too', () => {
    for (const bit of [2, 3, 4, 5, 6, 8, 9, 10, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 63]) {
      const ignored = 1n << BigInt(bit)
      for (const level of LEVELS) expect(second(level, page(level) | ignored).dma(INPUT, 'w')).toBe(hex(3n * GIB))
      const table = second(1, page(1))
      table.store(SECOND, table.load(SECOND) | ignored)
      expect(table.dma(INPUT, 'w'), `${bit} of a table`).toBe(hex(3n * GIB))
    }
  })

  it('has SNP where the unit controls snooping; a table entry never has it', () => {
    const without = { ids: { ECAP: [0x8400_0f43, 0x0013_e99c] as [number, number] } }
    for (const level of LEVELS) {
      expect(second(level, page(level) | 0x800n).dma(INPUT)).toBe(hex(3n * GIB))
      const guest = new Guest(without)
      guest.startScalable()
      new Tables(guest, SECOND, 4, SS.RW).map(INPUT, page(level) | 0x800n, level)
      guest.secondStage(0, 3, SECOND)
      expect(guest.dma(INPUT)).toBe('fault 0x7a')
    }
    for (const level of [2, 3, 4]) {
      expect(second(level, BigInt(SECOND + 0x5000) | SS.RW | 0x800n).dma(INPUT)).toBe('fault 0x7a')
    }
  })
})

describe('nested translation', () => {
  /** A page of `fs` over one of `ss`; the first stage has 4 or 5 levels, the second 3 to 5. */
  function nested(fs: 1 | 2 | 3, ss: 1 | 2 | 3, firstLevels: 4 | 5, secondLevels: 3 | 4 | 5): Guest {
    const guest = new Guest({ preset: 'vtd-full', ids: widths(SAGAW.all, 57, 52) })
    guest.startScalable()
    const inner = new Tables(guest, FIRST, firstLevels, FS.TABLE)
    // The guest's page stands at its 7 GiB, which the host has at 9 GiB and beyond.
    inner.map(INPUT, (7n * GIB) | FS.PAGE | (fs === 1 ? 0n : FS.PS), fs)
    const outer = new Tables(guest, SECOND, secondLevels, SS.RW)
    for (const page of inner.pages) outer.map(BigInt(page), BigInt(page) | SS.RW)
    for (const part of [0n, 0x1000n, MIB2, GIB - 0x1000n]) {
      const size = 1n << BigInt(SIZES[ss])
      const at = 7n * GIB + part - (part % size)
      outer.map(at, (at + 2n * GIB) | SS.RW | (ss === 1 ? 0n : SS.PS), ss)
    }
    const qw0 = BigInt(SECOND) | BigInt((secondLevels - 2) << 2) | 0xc1n
    guest.store(PASIDS, qw0, 3n | PWSNP, BigInt(FIRST) | (firstLevels === 5 ? 4n : 0n))
    return guest
  }

  const cases = LEVELS.flatMap((fs) =>
    LEVELS.flatMap((ss) =>
      ([4, 5] as const).flatMap((firstLevels) =>
        ([3, 4, 5] as const).map((secondLevels) => [fs, ss, firstLevels, secondLevels] as const),
      ),
    ),
  )
  it.each(cases)('of a level %i page over a level %i page, %i levels over %i', (fs, ss, firstLevels, secondLevels) => {
    const guest = nested(fs, ss, firstLevels, secondLevels)
    const lg2 = Math.min(SIZES[fs], SIZES[ss])
    for (const part of [0n, 0x1000n, MIB2, GIB - 0x1000n]) {
      if (part >> BigInt(SIZES[fs]) !== 0n) continue
      expect(guest.dma(INPUT + part + 0xabcn, 'rw')).toBe(hex(9n * GIB + part + 0xabcn))
      expect(guest.out.leafLg2).toBe(lg2)
      // What was cached is no larger than either page.
      expect(guest.dma(INPUT + part, 'rw')).toBe(hex(9n * GIB + part))
      expect(guest.out.hit).toBe(1)
    }
  })

  it.each([
    [3, 39n],
    [4, 48n],
  ] as const)(
    'takes guest-physical addresses as wide as its second stage of %i levels, and no wider',
    (levels, bits) => {
      const end = 1n << bits
      const put = (change: (guest: Guest) => void): string => {
        const guest = nested(1, 1, 4, levels)
        change(guest)
        return guest.dma(INPUT)
      }
      const entry = (level: number, guest: Guest): number => new Tables(guest, FIRST, 4, FS.TABLE).at(INPUT, level)
      for (const level of [1, 2, 3, 4]) {
        expect(put((g) => g.store(entry(level, g), end | FS.PAGE))).toBe('fault 0x74')
        // One bit lower fits, and nothing is mapped there.
        expect(put((g) => g.store(entry(level, g), (end >> 1n) | FS.PAGE))).toBe('fault 0x79')
      }
      for (const level of [2, 3]) expect(put((g) => g.store(entry(level, g), end | FS.PAGE | FS.PS))).toBe('fault 0x74')
      expect(put((g) => g.store(PASIDS + 16, end))).toBe('fault 0x5b')
      expect(put((g) => g.store(PASIDS + 16, end >> 1n))).toBe('fault 0x79')
    },
  )
})

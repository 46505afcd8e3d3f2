/** Every width of addresses: second-stage levels, guest, host and canonical addresses. [VTD 3.6, 3.7, 8.1, 11.4.2] */

import { describe, expect, it } from 'vitest'
import { FS, Guest, IQ, MODE, PASIDS, REG, SID, SS } from './guest.js'
import { SAGAW, Tables, widths } from './tables.js'

const BASE = 0x10_0000
const OUTPUT = 0x20_0000n
const PWSNP = 1n << 23n
const LEVELS = [3, 4, 5] as const
const width = (levels: number): number => 12 + 9 * levels

/** A second stage of some levels that maps one page, for PASID 0 or, in legacy mode, for the function. */
function second(levels: 3 | 4 | 5, mgawBits: number, legacy: boolean, input: bigint): Guest {
  const guest = new Guest({ preset: 'vtd-full', ids: widths(SAGAW[levels], mgawBits, 39) })
  const tables = new Tables(guest, BASE, levels, SS.RW)
  tables.map(input, OUTPUT | SS.RW)
  if (legacy) {
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, BigInt(BASE) | 1n, BigInt(levels - 2) | 0x300n)
    guest.start(MODE.LEGACY)
  } else {
    guest.startScalable()
    guest.store(PASIDS, BigInt(BASE) | BigInt((levels - 2) << 2) | 0x81n, 3n | PWSNP)
  }
  return guest
}

describe('the second stage takes addresses up to the smaller of MGAW and its own width', () => {
  const cases = LEVELS.flatMap((levels) =>
    [39, 40, 47, 48, 49, 52, 56, 57].flatMap((mgaw) =>
      [false, true].map((legacy) => [levels, mgaw, legacy ? 'legacy' : 'scalable', legacy] as const),
    ),
  )
  it.each(cases)('%i levels, MGAW of %i bits, %s mode', (levels, mgaw, _, legacy) => {
    const end = 1n << BigInt(Math.min(mgaw, width(levels)))
    const guest = second(levels, mgaw, legacy, end - 0x1000n)
    expect(guest.dma(end - 1n)).toBe('0x200fff')
    const tooWide = legacy ? 'fault 0x4' : 'fault 0x84'
    for (let bit = 63n; 2n ** bit >= end; bit--) expect(guest.dma(2n ** bit + end - 1n), `${bit}`).toBe(tooWide)
  })
})

describe('a width that SAGAW does not name', () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7])('as AW %i is refused in both modes, and taken where SAGAW names it', (aw) => {
    for (const [levels, sagaw] of [...LEVELS.map((n) => [n, SAGAW[n]] as const), [0, SAGAW.all] as const]) {
      const isOffered = aw >= 1 && aw <= 3 && (levels === 0 || levels === aw + 2)
      const scalable = new Guest({ preset: 'vtd-full', ids: widths(sagaw, 57, 39) })
      scalable.startScalable()
      const entry = (pasid: number, pgtt: bigint): void =>
        scalable.store(PASIDS + pasid * 64, BigInt(aw << 2) | (pgtt << 6n) | 1n, 3n | PWSNP, 0n)
      // Second stage and nested use AW: where it is offered, the walk finds empty tables. The others ignore it.
      for (const pgtt of [1, 2, 3, 4]) entry(pgtt, BigInt(pgtt))
      const table = isOffered ? 'fault 0x79' : 'fault 0x5b'
      const ends = [1, 2, 3, 4].map((pasid) => scalable.dma(0x8000n, 'r', pasid))
      expect(ends).toEqual(['fault 0x71', table, table, '0x8000'])
      const legacy = new Guest({ preset: 'vtd-full', ids: widths(sagaw, 57, 39) })
      legacy.store(0x1000, 0x2001n, 0n)
      legacy.store(0x2000 + SID * 16, BigInt(BASE) | 1n, BigInt(aw) | 0x300n)
      legacy.start(MODE.LEGACY)
      expect(legacy.dma(0n)).toBe(isOffered ? 'fault 0x6' : 'fault 0x3')
    }
  })
})

describe('a host address width', () => {
  const hosts = Array.from({ length: 14 }, (_, i) => 39 + i)
  /** Stores something with one address bit in it, and says what that gives. */
  type Place = readonly [string, string, (guest: Guest, bit: bigint) => void]
  const scalable: readonly Place[] = [
    ['a root entry', '0x3a', (g, bit) => g.store(0x1000, 0x2001n | bit)],
    ['the other half of a root entry', '0x3a', (g, bit) => g.store(0x1008, 0x2001n | bit)],
    ['a context entry', '0x42', (g, bit) => g.store(g.context, 0x4009n | bit)],
    ['a directory entry', '0x52', (g, bit) => g.store(g.directory, BigInt(PASIDS) | 1n | bit)],
    ['SSPTPTR', '0x5a', (g, bit) => g.store(PASIDS, 0x41n | bit)],
    ['FSPTPTR', '0x5a', (g, bit) => g.store(PASIDS + 16, BigInt(BASE) | bit)],
    ['a first-stage table entry', '0x72', (g, bit) => g.store(BASE, BigInt(BASE + 0x1000) | FS.TABLE | bit)],
    ['a first-stage page', '0x72', (g, bit) => g.store(BASE + 0x3000, OUTPUT | FS.PAGE | bit)],
    ['a second-stage table entry', '0x7a', (g, bit) => useSecond(g, BASE + 0x8000, bit | SS.RW)],
    ['a second-stage page', '0x7a', (g, bit) => useSecond(g, BASE + 0xb000, OUTPUT | bit | SS.RW)],
  ]
  const legacy: readonly Place[] = [
    ['a root entry', '0xa', (g, bit) => g.store(0x1000, 0x2001n | bit)],
    ['a context entry', '0xb', (g, bit) => g.store(0x2000 + SID * 16, BigInt(BASE) | 1n | bit)],
    ['a second-stage page', '0xc', (g, bit) => g.store(BASE + 0xb000, OUTPUT | bit | SS.RW)],
  ]

  it.each(hosts)('of %i bits reserves what stands above it, and nothing below, in scalable tables', (haw) => {
    for (const [what, reason, put] of scalable) {
      for (let bit = haw; bit < 64; bit++) {
        // Paging entries ignore 63:52; those of the second stage keep 62 reserved.
        const isPaging = reason === '0x72' || reason === '0x7a'
        if (isPaging && bit > 51) break
        const guest = ready(haw)
        put(guest, 1n << BigInt(bit))
        expect(guest.dma(0n), `${what}, bit ${bit}`).toBe(`fault ${reason}`)
      }
      const guest = ready(haw)
      put(guest, 1n << BigInt(haw - 1))
      expect(guest.dma(0n), `${what}, highest bit`).not.toBe(`fault ${reason}`)
    }
  })

  it.each(hosts)('of %i bits does the same in legacy tables', (haw) => {
    for (const [what, reason, put] of legacy) {
      for (let bit = haw; bit < (reason === '0xc' ? 52 : 64); bit++) {
        const guest = readyLegacy(haw)
        put(guest, 1n << BigInt(bit))
        expect(guest.dma(0n), `${what}, bit ${bit}`).toBe(`fault ${reason}`)
      }
      const guest = readyLegacy(haw)
      put(guest, 1n << BigInt(haw - 1))
      expect(guest.dma(0n), `${what}, highest bit`).not.toBe(`fault ${reason}`)
    }
  })

  it.each(hosts)('of %i bits is where pass-through ends', (haw) => {
    const guest = ready(haw)
    guest.passThrough(1, 2)
    const last = (1n << BigInt(haw)) - 1n
    expect(guest.dma(last, 'r', 1)).toBe(`0x${last.toString(16)}`)
    for (let bit = haw; bit < 64; bit++) expect(guest.dma(1n << BigInt(bit), 'r', 1)).toBe('fault 0x83')
    const legacy = readyLegacy(haw)
    legacy.store(0x2000 + SID * 16, 9n, 0x303n)
    expect(legacy.dma(last)).toBe(`0x${last.toString(16)}`)
    expect(legacy.dma(last + 1n)).toBe('fault 0x4')
  })

  it.each(hosts)('of %i bits cuts the root table address', (haw) => {
    const guest = ready(haw)
    guest.write(REG.RTADDR, (1n << BigInt(haw)) | 0x1400n, 8)
    guest.write(REG.GCMD, 3n << 30n)
    expect(guest.dma(0n)).toBe('0x200000')
  })

  function ready(haw: number): Guest {
    const guest = new Guest({ preset: 'vtd-full', ids: widths(SAGAW.all, 57, haw) })
    guest.startScalable()
    guest.path(BASE, 0n, OUTPUT | FS.PAGE, FS.TABLE)
    guest.path(BASE + 0x8000, 0n, OUTPUT | SS.RW, SS.RW)
    guest.firstStage(0, 2, BASE)
    return guest
  }

  function readyLegacy(haw: number): Guest {
    const guest = new Guest({ preset: 'vtd-full', ids: widths(SAGAW.all, 57, haw) })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, BigInt(BASE + 0x8000) | 1n, 0x302n)
    guest.path(BASE + 0x8000, 0n, OUTPUT | SS.RW, SS.RW)
    guest.start(MODE.LEGACY)
    return guest
  }

  function useSecond(guest: Guest, at: number, entry: bigint): void {
    guest.secondStage(0, 2, BASE + 0x8000)
    guest.store(at, entry)
  }
})

describe('the first stage takes canonical addresses', () => {
  it.each([
    ['four levels', 4, 0n, 48],
    ['five levels', 5, 4n, 57],
  ] as const)('of %s: every bit above the highest equals it', (_, levels, fspm, bits) => {
    const guest = new Guest({ preset: 'vtd-full', ids: widths(SAGAW.all, 39, 39) })
    guest.startScalable()
    const tables = new Tables(guest, BASE, levels, FS.TABLE)
    const low = (1n << BigInt(bits - 1)) - 0x1000n
    const high = (1n << 64n) - (1n << BigInt(bits - 1))
    tables.map(low, OUTPUT | FS.PAGE)
    tables.map(high, (OUTPUT + 0x1000n) | FS.PAGE)
    guest.firstStage(0, 2, BASE, fspm)
    // MGAW is 39 bits: it does not count for a first stage alone.
    expect([guest.dma(low), guest.dma(high)]).toEqual(['0x200000', '0x201000'])
    for (let bit = bits - 1; bit < 64; bit++) {
      expect(guest.dma(low ^ (1n << BigInt(bit))), `${bit}`).toBe('fault 0x80')
      expect(guest.dma(high ^ (1n << BigInt(bit))), `${bit}`).toBe('fault 0x80')
    }
  })

  it('of four levels where FSPM 1, 2 and 3 are refused on a unit without five', () => {
    const fspm = (value: bigint, ids = {}): string => {
      const guest = new Guest({ ids })
      guest.startScalable()
      guest.firstStage(0, 2, BASE, value << 2n)
      return guest.dma(0n)
    }
    const five = widths(SAGAW.all, 57, 48)
    expect([0n, 1n, 2n, 3n].map((n) => fspm(n))).toEqual(['fault 0x71', ...Array<string>(3).fill('fault 0x5b')])
    const wide = ['fault 0x71', 'fault 0x71', 'fault 0x5b', 'fault 0x5b']
    expect([0n, 1n, 2n, 3n].map((n) => fspm(n, five))).toEqual(wide)
  })
})

describe('[VTD 6.1 Caching Mode] above MGAW, where no descriptor names an address,', () => {
  it('no fault is kept', () => {
    // 48 bits of MGAW, 57 of a first stage; CM.
    const guest = new Guest({ ids: { CAP: [0x226f0686, 0x91d2078c] }, caches: { faults: true } })
    guest.startScalable()
    guest.startQueue()
    const beyond = 1n << 48n
    guest.passThrough(1, 2)
    expect([guest.dma(beyond, 'r', 1), guest.unit.iotlbEntries]).toEqual(['fault 0x83', 0])
    guest.secondStage(1, 2, 0x140000)
    guest.queue(IQ.pasidsAll)
    expect([guest.dma(beyond, 'r', 1), guest.unit.iotlbEntries]).toEqual(['fault 0x84', 0])
    // FSPM, bit 130: five levels.
    const tables = new Tables(guest, BASE, 5, FS.TABLE)
    tables.map(beyond, OUTPUT | FS.PAGE)
    guest.firstStage(1, 2, tables.root, 1n << 2n)
    guest.queue(IQ.pasidsAll)
    expect(guest.dma(beyond, 'r', 1)).toBe('0x200000')
  })
})

/** Who sets accessed, extended accessed and dirty flags, when, and what happens where that cannot be done. */

import { describe, expect, it } from 'vitest'
import { FlatBacking, MEMORY } from '../../hw-model/memory/index.js'
import { halves } from './ats-guest.js'
import { FS, Guest, type GuestOptions, PASIDS, SS } from './guest.js'
import { Tables } from './tables.js'

const PAGE = 0x40_0000n
const FIRST = 0x10_0000
const SECOND = 0x20_0000
/** Memory that only reads reach. */
const ROM = 0x100_0000
const PWSNP = 1n << 23n
const SSADE = 0x200n
const EAFE = 0x80n
/** Present, writable, for users: without flags. */
const CLEAN = FS.P | FS.RW | FS.US

/** A guest with tables in memory that cannot be written; `words` are entries by their index in it. */
function withRom(words: Readonly<Record<number, bigint>>, options: GuestOptions = {}): Guest {
  const guest = new Guest(options)
  const rom = new BigUint64Array(0x2000)
  for (const [index, word] of Object.entries(words)) rom[Number(index)] = word
  guest.memory.place(ROM, new FlatBacking(rom.buffer, false))
  guest.startScalable()
  return guest
}

describe('[VTD 7.1.3 SFS.10, SSS.6] flags in memory that cannot be written', () => {
  // Tables of PAGE at 0, 0x1000, 0x2000 and 0x3000 of it: entries 0, 0, 2 and 0.
  const first = (table: bigint, leaf: bigint) => ({
    0: BigInt(ROM + 0x1000) | table,
    512: BigInt(ROM + 0x2000) | table,
    1026: BigInt(ROM + 0x3000) | table,
    1536: 0x20_0000n | leaf,
  })

  it('of the first stage are 0x91 where one is missing, and nothing where all are there', () => {
    const ends = (table: bigint, leaf: bigint, flags = 0n): string[] => {
      const guest = withRom(first(table, leaf))
      guest.firstStage(0, 2, ROM, flags)
      return [guest.dma(PAGE), guest.dma(PAGE, 'w')]
    }
    expect(ends(CLEAN, FS.PAGE)).toEqual(['fault 0x91', 'fault 0x91'])
    expect(ends(FS.TABLE, CLEAN)).toEqual(['fault 0x91', 'fault 0x91'])
    expect(ends(FS.TABLE, FS.TABLE)).toEqual(['0x200000', 'fault 0x91'])
    expect(ends(FS.TABLE, FS.PAGE)).toEqual(['0x200000', '0x200000'])
    expect(ends(FS.TABLE, FS.PAGE, EAFE)).toEqual(['fault 0x91', 'fault 0x91'])
    expect(ends(FS.TABLE | FS.EA, FS.PAGE | FS.EA, EAFE)).toEqual(['0x200000', '0x200000'])
  })

  it('are no fault of the tables: caching mode keeps none of them', () => {
    const guest = withRom(first(SS.RW | SS.A, SS.RW | SS.A), {
      ids: { CAP: [0x226f0686, 0x81d2078c] },
      caches: { faults: true },
    })
    guest.secondStage(0, 2, ROM, SSADE)
    expect([guest.dma(PAGE, 'w'), guest.dma(PAGE, 'w'), guest.out.hit]).toEqual(['fault 0x7d', 'fault 0x7d', 0])
    expect(guest.unit.iotlbEntries).toBe(0)
  })

  it('of the second stage are 0x7d with SSADE, and none without it', () => {
    const ends = (table: bigint, leaf: bigint, flags = SSADE): string[] => {
      const guest = withRom(first(table, leaf))
      guest.secondStage(0, 2, ROM, flags)
      return [guest.dma(PAGE), guest.dma(PAGE, 'w')]
    }
    expect(ends(SS.RW, SS.RW | SS.A | SS.D)).toEqual(['fault 0x7d', 'fault 0x7d'])
    expect(ends(SS.RW | SS.A, SS.RW)).toEqual(['fault 0x7d', 'fault 0x7d'])
    expect(ends(SS.RW | SS.A, SS.RW | SS.A)).toEqual(['0x200000', 'fault 0x7d'])
    expect(ends(SS.RW | SS.A, SS.RW | SS.A | SS.D)).toEqual(['0x200000', '0x200000'])
    expect(ends(SS.RW, SS.RW, 0n)).toEqual(['0x200000', '0x200000'])
  })
})

describe('[VTD 3.10] flags in tables that are not snooped', () => {
  /** The default unit without SMPWCS, and so without EAFS and SSADS: bits 48, 34 and 45. */
  const UNSNOOPED = { ECAP: halves(0x0012_c998_8400_0fc3n) }

  function entry(guest: Guest, snoops: bigint): Guest {
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x20_0000n | FS.TABLE, FS.TABLE)
    guest.store(PASIDS, 0x41n, 2n | snoops, BigInt(FIRST))
    return guest
  }

  it('are kept by no caching mode: whoever may set them does so for all', () => {
    const guest = new Guest({ ids: { CAP: [0x226f0686, 0x81d2078c] }, caches: { faults: true } })
    guest.startScalable()
    for (const pasid of [1, 2]) guest.secondStage(pasid, 2, SECOND, SSADE)
    guest.path(SECOND, PAGE, 0x30_0000n | SS.RW, SS.RW)
    // PWSNP of PASID 1 alone.
    guest.store(PASIDS + 64 + 8, 2n | PWSNP)
    guest.store(PASIDS + 128 + 8, 2n)
    expect([guest.dma(PAGE, 'r', 2), guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'r', 2)]).toEqual([
      'fault 0x7c',
      '0x300000',
      '0x300000',
    ])
  })

  it('are 0x90 where PWSNP is 0, and on a unit without SMPWCS, which reserves it', () => {
    const ends = (guest: Guest): string[] => [guest.dma(PAGE), guest.dma(PAGE, 'w')]
    expect(ends(entry(new Guest(), PWSNP))).toEqual(['0x200000', '0x200000'])
    expect(ends(entry(new Guest(), 0n))).toEqual(['0x200000', 'fault 0x90'])
    expect(ends(entry(new Guest({ ids: UNSNOOPED }), 0n))).toEqual(['0x200000', 'fault 0x90'])
    expect(ends(entry(new Guest({ ids: UNSNOOPED }), PWSNP))).toEqual(['fault 0x5a', 'fault 0x5a'])
    const eafe = entry(new Guest({ ids: UNSNOOPED }), 0n)
    eafe.store(PASIDS + 16, BigInt(FIRST) | EAFE)
    expect(eafe.dma(PAGE)).toBe('fault 0x5a')
    const ssade = new Guest({ ids: UNSNOOPED })
    ssade.startScalable()
    ssade.secondStage(0, 3, SECOND, SSADE)
    expect(ssade.dma(PAGE)).toBe('fault 0x5a')
  })

  it('are not needed where software has set them all', () => {
    const guest = entry(new Guest({ ids: UNSNOOPED }), 0n)
    guest.store(FIRST + 0x3000, 0x20_0000n | FS.PAGE)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
  })

  it('behind a second stage are 0x7c for that one’s and 0x90 for the first one’s', () => {
    const nested = (fs: bigint, ss: bigint): string => {
      const { guest } = stages(FS.TABLE, fs, ss, ss, SSADE)
      guest.store(PASIDS + 8, 3n)
      return guest.dma(PAGE, 'w')
    }
    const all = SS.RW | SS.A | SS.D
    expect(nested(FS.PAGE, all)).toBe('0x600000')
    expect(nested(FS.TABLE, all)).toBe('fault 0x90')
    expect(nested(FS.PAGE, SS.RW | SS.A)).toBe('fault 0x7c')
    expect(nested(FS.PAGE, SS.RW)).toBe('fault 0x7c')
  })
})

/** Both stages for PAGE: guest tables that stand where the guest says, its data page 0x500000 at 0x600000. */
function stages(table: bigint, leaf: bigint, tableLeaf: bigint, dataLeaf: bigint, flags: bigint) {
  const guest = new Guest()
  guest.startScalable()
  const inner = new Tables(guest, FIRST, 4, table)
  inner.map(PAGE, 0x50_0000n | leaf)
  const outer = new Tables(guest, SECOND, 4, SS.RW | SS.A)
  for (const page of inner.pages) outer.map(BigInt(page), BigInt(page) | tableLeaf)
  outer.map(0x50_0000n, 0x60_0000n | dataLeaf)
  guest.nested(0, 3, FIRST, SECOND, flags)
  const bits = (at: number, mask: bigint): bigint => guest.load(at) & mask
  return {
    guest,
    /** Flags of the guest's four entries, from the root. */
    firsts: () => [4, 3, 2, 1].map((level) => bits(inner.at(PAGE, level), FS.A | FS.D | FS.EA)),
    /** Second-stage flags of the pages that hold them, and of the data page. */
    tables: () => inner.pages.map((page) => bits(outer.at(BigInt(page)), SS.A | SS.D)),
    data: () => bits(outer.at(0x50_0000n), SS.A | SS.D),
  }
}

describe('[VTD 3.8.1] flags of both stages', () => {
  const { A, D, EA } = FS
  const AD = SS.A | SS.D

  it('of the first stage need a page below that can be written, with or without SSADE', () => {
    expect(stages(CLEAN, FS.PAGE, SS.R, SS.RW, 0n).guest.dma(PAGE)).toBe('fault 0x77')
    expect(stages(FS.TABLE, CLEAN, SS.R, SS.RW, 0n).guest.dma(PAGE)).toBe('fault 0x77')
    expect(stages(FS.TABLE, FS.TABLE, SS.R, SS.RW, 0n).guest.dma(PAGE)).toBe('0x600000')
    expect(stages(FS.TABLE, FS.TABLE, SS.R, SS.RW, 0n).guest.dma(PAGE, 'w')).toBe('fault 0x77')
    expect(stages(FS.TABLE, FS.PAGE, SS.R, SS.RW, 0n).guest.dma(PAGE, 'w')).toBe('0x600000')
  })

  it('are set once: without SSADE those of the first stage alone', () => {
    const { guest, firsts, tables, data } = stages(CLEAN, CLEAN, SS.RW, SS.RW, 0n)
    expect(guest.dma(PAGE)).toBe('0x600000')
    expect([firsts(), tables(), data()]).toEqual([[A, A, A, A], [0n, 0n, 0n, 0n], 0n])
    expect(guest.dma(PAGE, 'w')).toBe('0x600000')
    expect([firsts(), tables(), data()]).toEqual([[A, A, A, A | D], [0n, 0n, 0n, 0n], 0n])
  })

  it('are set with SSADE on both sides, and the guest’s tables count as written', () => {
    const { guest, firsts, tables, data } = stages(CLEAN, CLEAN, SS.RW, SS.RW, SSADE)
    expect(guest.dma(PAGE)).toBe('0x600000')
    expect([firsts(), tables(), data()]).toEqual([[A, A, A, A], [AD, AD, AD, AD], SS.A])
    expect(guest.dma(PAGE, 'w')).toBe('0x600000')
    expect([firsts().at(-1), data()]).toEqual([A | D, AD])
  })

  it('are set with SSADE on the guest’s tables even where nothing of the guest’s is', () => {
    const { guest, tables } = stages(FS.TABLE, FS.PAGE, SS.RW, SS.RW, SSADE)
    expect(guest.dma(PAGE)).toBe('0x600000')
    expect(tables()).toEqual([AD, AD, AD, AD])
  })

  it('leave both dirty flags clear where either stage refuses the write', () => {
    const below = stages(FS.TABLE, CLEAN, SS.RW, SS.R, SSADE)
    expect(below.guest.dma(PAGE, 'w')).toBe('fault 0x85')
    expect([below.firsts().at(-1), below.data()]).toEqual([A, SS.A])
    const above = stages(FS.TABLE, FS.P | FS.US, SS.RW, SS.RW, SSADE)
    expect(above.guest.dma(PAGE, 'w')).toBe('fault 0x85')
    expect([above.firsts().at(-1), above.data()]).toEqual([A, 0n])
  })

  it('are set in the first stage before the second, and stay there where that one fails', () => {
    const { guest, firsts, data } = stages(FS.TABLE, CLEAN, SS.RW, SS.RW, SSADE)
    const update = guest.memory.updateFlags.bind(guest.memory)
    guest.memory.updateFlags = (pa, expected, next, hi) =>
      (next & ~expected) === Number(SS.D) ? MEMORY.ABORT : update(pa, expected, next, hi)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x7d')
    expect([firsts().at(-1), data()]).toEqual([A | D, SS.A])
  })

  it('include EA where EAFE asks, in the same store as A', () => {
    const { guest, firsts } = stages(CLEAN, CLEAN, SS.RW, SS.RW, 0n)
    guest.store(PASIDS + 16, BigInt(FIRST) | EAFE)
    const stored: bigint[] = []
    const update = guest.memory.updateFlags.bind(guest.memory)
    guest.memory.updateFlags = (pa, expected, next, hi) => {
      stored.push(BigInt((next & ~expected) >>> 0))
      return update(pa, expected, next, hi)
    }
    expect(guest.dma(PAGE, 'w')).toBe('0x600000')
    expect(firsts()).toEqual([A | EA, A | EA, A | EA, A | D | EA])
    expect(stored).toEqual([A | EA, A | EA, A | EA, A | EA, D])
  })
})

describe('flags that software clears', () => {
  it('are not set again by what the IOTLB holds, until it is told', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.startQueue()
    guest.path(FIRST, PAGE, 0x20_0000n | CLEAN, FS.TABLE)
    guest.firstStage(0, 2, FIRST)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    guest.store(FIRST + 0x3000, 0x20_0000n | CLEAN)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    expect(guest.load(FIRST + 0x3000)).toBe(0x20_0000n | CLEAN)
    guest.queue([0x36n | (2n << 16n), PAGE])
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    expect(guest.load(FIRST + 0x3000)).toBe(0x20_0000n | FS.PAGE)
  })
})

/**
 * The walker alone, over a format made up for the purpose: 4 KiB tables whose entries say in their low bits what they
 * are. What Arm's and Intel's entries mean is tested with their units.
 */

import { beforeEach, describe, expect, it } from 'vitest'
import { FlatBacking, SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { ENTRY, type Format, Plain, type TableStage, WALK } from '../../hw-model/walk/format.js'
import { indexAt, topIndexAt, Walker } from '../../hw-model/walk/walker.js'

/** Rights of the made-up format: bit 0 and bit 1, which an entry takes away in its bits 4 and 5. */
const ALL = 0b11

/** Entry bits: kind [2:0], flag 3, rights taken away [5:4], address from bit 12. */
const FLAG = 1 << 3
const FORMAT: Format = {
  plain: new Plain(),
  classify: (lo) => lo & 7,
  addressLow: (lo) => lo & ~0xfff,
  addressHigh: (_lo, hi) => hi,
  narrow: (rights, lo) => rights & ~(lo >>> 4),
  flagged: (lo, _hi, _level, access) => (access === 0 ? lo : lo | FLAG),
}

/** Levels 2, 1 and 0 of one address, at 4 KiB each. */
const ROOT = 0x1000
const MIDDLE = 0x2000
const LAST = 0x3000
const PAGE = 0x7000
/** [38:30] = 3, [29:21] = 2, [20:12] = 1. */
const INPUT = 3 * 2 ** 30 + 2 * 2 ** 21 + 0x1000

describe('a walk', () => {
  let memory: Memory
  let walker: Walker

  const put = (at: number, entry: number): unknown => memory.storeWord(at, entry, 0)
  const walk = (stage: TableStage | null = null, access = 0, rights = ALL): number =>
    walker.walk(FORMAT, stage, ROOT, 0, 2, 12, 3, INPUT | 0, 0, access, rights)

  beforeEach(() => {
    memory = new Memory()
    memory.place(0, new SparseBacking(0x10000))
    walker = new Walker(memory)
    put(ROOT + 3 * 8, MIDDLE | ENTRY.TABLE)
    put(MIDDLE + 2 * 8, LAST | ENTRY.TABLE)
    put(LAST + 8, PAGE | ENTRY.LEAF)
  })

  it('goes down by the index of each level, to the leaf', () => {
    expect(walk()).toBe(WALK.OK)
    expect([walker.address, walker.level, walker.leafLg2, walker.entryAddress]).toEqual([PAGE, 0, 12, LAST + 8])
    expect([walker.lo, walker.hi, walker.rights]).toEqual([PAGE | ENTRY.LEAF, 0, ALL])
  })

  it('ends at a block', () => {
    put(MIDDLE + 2 * 8, 0x200000 | ENTRY.LEAF)
    expect(walk()).toBe(WALK.OK)
    expect([walker.address, walker.level, walker.leafLg2]).toEqual([0x200000, 1, 21])
  })

  it('loses rights at every level and regains none', () => {
    put(ROOT + 3 * 8, MIDDLE | ENTRY.TABLE | (0b01 << 4))
    expect(walk()).toBe(WALK.OK)
    expect(walker.rights).toBe(0b10)
    expect([walk(null, 0, 0b01), walker.rights]).toEqual([WALK.OK, 0])
  })

  it.each([
    ['nothing', ENTRY.INVALID, WALK.INVALID],
    ['a reserved entry', ENTRY.RESERVED, WALK.RESERVED],
    ['an address that is too wide', ENTRY.TOO_WIDE, WALK.TOO_WIDE],
    ['an entry that was never accessed', ENTRY.UNACCESSED, WALK.UNACCESSED],
  ])('ends where it finds %s, at its level', (_, kind, end) => {
    put(MIDDLE + 2 * 8, LAST | kind)
    expect([walk(), walker.level, walker.entryAddress]).toEqual([end, 1, MIDDLE + 2 * 8])
  })

  it('ends FETCH where no memory holds the table', () => {
    put(MIDDLE + 2 * 8, 0x20000 | ENTRY.TABLE)
    expect([walk(), walker.level, walker.entryAddress]).toEqual([WALK.FETCH, 0, 0x20008])
  })

  it('shows each entry, with the rights that were left before it', () => {
    const seen: unknown[] = []
    put(ROOT + 3 * 8, MIDDLE | ENTRY.TABLE | (0b10 << 4))
    walker.trace = { entry: ({ level }, _f, _s, at, kind, above) => seen.push([level, at, kind, above]) }
    walk(null, 1)
    expect(seen).toEqual([
      [2, ROOT + 3 * 8, ENTRY.TABLE, 0b11],
      [1, MIDDLE + 2 * 8, ENTRY.TABLE, 0b01],
      [0, LAST + 8, ENTRY.LEAF, 0b01],
    ])
  })

  describe('behind another stage', () => {
    /** Tables stand 64 KiB higher in the walker's eyes. */
    const HIGHER = 0x10000
    /** Refuses one kind of access to one entry, and does something of its own before it lets one be written. */
    class Below implements TableStage {
      tableLo = 0
      readonly tableHi = 0
      readonly plainTables = null
      readonly asked: [address: number, write: boolean][] = []
      refused = ''
      beforeWrite: () => void = () => undefined

      translateTable(address: number, _hi: number, write: boolean): boolean {
        this.asked.push([address, write])
        if (write) this.beforeWrite()
        if (this.refused === `${write ? 'writing' : 'reading'} ${address.toString(16)}`) return false
        this.tableLo = address - HIGHER
        return true
      }
    }

    let below: Below
    const walkBehind = (access = 0): number =>
      walker.walk(FORMAT, below, ROOT + HIGHER, 0, 2, 12, 3, INPUT | 0, 0, access, ALL)

    beforeEach(() => {
      below = new Below()
      put(ROOT + 3 * 8, (MIDDLE + HIGHER) | ENTRY.TABLE)
      put(MIDDLE + 2 * 8, (LAST + HIGHER) | ENTRY.TABLE)
    })

    it('has the address of every entry translated, to be read', () => {
      expect([walkBehind(), walker.address]).toEqual([WALK.OK, PAGE])
      const entries = [ROOT + 3 * 8, MIDDLE + 2 * 8, LAST + 8]
      expect(below.asked).toEqual(entries.map((at) => [at + HIGHER, false]))
    })

    it.each(['reading', 'writing'])('ends TABLE_STAGE where that stage refuses %s an entry', (what) => {
      below.refused = `${what} ${(MIDDLE + 2 * 8 + HIGHER).toString(16)}`
      expect([walkBehind(1), walker.entryAddress]).toEqual([WALK.TABLE_STAGE, MIDDLE + 2 * 8 + HIGHER])
    })

    it('reads a level again whose entry has changed when its flag is to be set', () => {
      let changes = 0
      below.beforeWrite = () => {
        if (++changes === 3) put(LAST + 8, 0x8000 | ENTRY.LEAF)
      }
      expect([walkBehind(1), walker.address]).toEqual([WALK.OK, 0x8000])
      memory.loadWord(LAST + 8)
      expect(memory.lo).toBe(0x8000 | ENTRY.LEAF | FLAG)
      expect(changes).toBe(4)
    })

    it('ends FLAG where an entry changes every time', () => {
      let page = PAGE
      below.beforeWrite = () => {
        page ^= 0x1000
        put(ROOT + 3 * 8, page | ENTRY.LEAF)
      }
      expect(walkBehind(1)).toBe(WALK.FLAG)
    })
  })

  describe('that sets a flag', () => {
    const flagAt = (at: number): boolean => {
      memory.loadWord(at)
      return (memory.lo & FLAG) !== 0
    }
    const flags = (): boolean[] => [ROOT + 3 * 8, MIDDLE + 2 * 8, LAST + 8].map(flagAt)

    it('stores it in every entry and shows each', () => {
      const stored: number[] = []
      walker.trace = { entry: () => undefined, flags: (_, at) => stored.push(at) }
      expect([walk(null, 1), ...flags()]).toEqual([WALK.OK, true, true, true])
      expect(stored).toEqual([ROOT + 3 * 8, MIDDLE + 2 * 8, LAST + 8])
      expect(walker.lo).toBe(PAGE | ENTRY.LEAF | FLAG)
    })

    it('stores nothing on a dry walk, and answers as if it had', () => {
      walker.dry = true
      expect([walk(null, 1), ...flags()]).toEqual([WALK.OK, false, false, false])
      expect(walker.lo).toBe(PAGE | ENTRY.LEAF | FLAG)
    })

    it('ends FLAG where flags may not be set, dry or not, unless every flag is there', () => {
      walker.flagsForbidden = true
      expect([walk(null, 1), walker.level, ...flags()]).toEqual([WALK.FLAG, 2, false, false, false])
      walker.dry = true
      expect([walk(null, 1), walker.level]).toEqual([WALK.FLAG, 2])
      expect(walk()).toBe(WALK.OK)
      for (const at of [ROOT + 3 * 8, MIDDLE + 2 * 8, LAST + 8]) {
        memory.loadWord(at)
        put(at, memory.lo | FLAG)
      }
      expect(walk(null, 1)).toBe(WALK.OK)
    })

    it('ends FLAG where the memory may not be written', () => {
      const readOnly = new Int32Array(0x10000 / 4)
      readOnly[8 / 4] = PAGE | ENTRY.LEAF
      memory.place(0x10000, new FlatBacking(readOnly.buffer, false))
      put(MIDDLE + 2 * 8, 0x10000 | ENTRY.TABLE)
      expect([walk(null, 1), walker.level, walker.entryAddress]).toEqual([WALK.FLAG, 0, 0x10008])
      expect(walk()).toBe(WALK.OK)
    })
  })
})

describe('the index of a level', () => {
  it('is taken from the low half, from the high half, or from both', () => {
    const [lo, hi] = [0xabcde123 | 0, 0x0009_8765]
    const bits = (shift: number, width: number): number =>
      Number((0x98765_abcde123n >> BigInt(shift)) & ((1n << BigInt(width)) - 1n))
    for (const [shift, width] of [
      [12, 9],
      [21, 9],
      [23, 9],
      [30, 9],
      [32, 9],
      [39, 9],
      [14, 11],
      [25, 11],
      [29, 13],
      [42, 10],
    ]) {
      expect([shift, width, indexAt(lo, hi, shift, width)]).toEqual([shift, width, bits(shift, width)])
    }
  })

  it('has at least one bit at the root, and as many as are left for concatenated tables', () => {
    expect(topIndexAt(0, 0xffff, 39, 48)).toBe(0x1ff)
    expect(topIndexAt(0, 0xffff, 39, 43)).toBe(0xf)
    expect(topIndexAt(0x8000_0000 | 0, 0, 30, 40)).toBe(2)
    expect(topIndexAt(0xffff_ffff | 0, 0, 30, 30)).toBe(1)
    expect(topIndexAt(0, 0xffff_ffff | 0, 32, 48)).toBe(0xffff)
  })
})

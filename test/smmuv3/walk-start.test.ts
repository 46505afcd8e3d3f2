/** Walks that start below a table entry, what is never one, and what is said of those that are stale. */

import { describe, expect, it } from 'vitest'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { ACCESS, Outcome, Transaction } from '../../hw-model/port.js'
import { SID } from './checklist/guest.js'
import { GUEST, PAGE, S2_PAGE, stage1, stage2, World } from './checklist/tables.js'
import { A, ASID, BESIDE, FRAME, kept, LEAF, NEXT_2M, plant, VMID } from './kept-tables.js'

describe('a walk that starts below a table entry', () => {
  it('keeps what the levels above have left of the rights', () => {
    const w = new World(0b101)
    const readOnly = 1n << 62n
    for (const va of [A, BESIDE]) w.one.set(va, 3, FRAME | PAGE, readOnly)
    w.apply()
    expect([w.read(A), w.write(BESIDE)]).toEqual(['0x40000000', 'abort'])
    for (const level of [0, 1, 2]) {
      const slot = w.one.set(A, level, 0n)
      w.store(slot, 0n)
    }
    expect(w.write(BESIDE)).toBe('abort')
    // F_PERMISSION: the tables are read no more.
    expect(w.kinds()).toEqual(['0x13', '0x13'])
  })

  it.each([
    [14, 0x80_4060_4000n, 0x4000n],
    [16, 0x80_4061_0000n, 0x1_0000n],
  ])('does so with granules of 2^%i', (granule, va, size) => {
    for (const half of [0, 1] as const) {
      const w = new World(0b101)
      const tables = stage1(w, granule, 48, half)
      const at = va | (half === 1 ? 0xffff_0000_0000_0000n : 0n)
      tables.set(at, 3, FRAME | PAGE)
      tables.set(at + size, 3, (FRAME + 0x10_0000n) | PAGE)
      w.apply()
      expect(w.read(at)).toBe('0x40000000')
      for (const level of [2, 1]) tables.set(at, level, 0n)
      expect(w.read(at + size)).toBe('0x40100000')
      w.command(0x12n | ASID, at)
      expect(w.read(at + size)).toBe('0x40100000')
      w.command(0x12n | ASID, at + size)
      expect(w.read(at + size)).toBe('abort')
    }
  })

  it('does so where stage 2 starts with tables side by side', () => {
    const w = new World(0b110)
    // 40 bits from level 1: two tables.
    const tables = stage2(w, 12, 40, 1)
    const ipa = 0xc0_4060_1000n
    tables.set(ipa, 3, FRAME | S2_PAGE)
    tables.set(ipa + 0x1000n, 3, (FRAME + 0x1000n) | S2_PAGE)
    w.apply()
    expect(w.read(ipa)).toBe('0x40000000')
    tables.set(ipa, 2, 0n)
    tables.set(ipa, 1, 0n)
    expect(w.read(ipa + 0x1000n)).toBe('0x40001000')
  })

  it('has the address of the next table translated anew, where stage 2 stands behind it', () => {
    const w = new World(0b111)
    w.one.set(A, 3, (GUEST + FRAME) | PAGE)
    const slot = w.one.set(BESIDE, 3, (GUEST + FRAME + 0x1000n) | PAGE)
    w.apply()
    expect(w.read(A)).toBe('0x40000000')
    // The last table is now somewhere else, at the same IPA.
    const table = slot & ~0xfffn
    const moved = w.alloc()
    w.store(moved + (slot & 0xfffn), (GUEST + FRAME + 0x5000n) | PAGE)
    const block = (GUEST + table) & ~0x1f_ffffn
    for (let at = block; at < block + 0x20_0000n; at += 0x1000n) w.two.set(at, 3, (at - GUEST) | S2_PAGE)
    w.two.set(GUEST + table, 3, moved | S2_PAGE)
    for (const level of [2, 1, 0]) w.one.set(A, level, 0n)
    expect(w.read(BESIDE)).toBe('0x40001000')
    w.command(0x12n | ASID, BESIDE | LEAF, 0x2an | VMID, GUEST + table)
    expect(w.read(BESIDE)).toBe('0x40005000')
  })

  it('still marks the leaf in memory at the first write', () => {
    const w = new World(0b101, { preset: 'full' })
    // HA and HD in bits 43 and 42 of the CD; DBM and AP[2] in the leaf, without AF.
    w.cd[0] |= 3n << 42n
    w.one.set(A, 3, FRAME | PAGE)
    const slot = w.one.set(BESIDE, 3, (FRAME + 0x1000n) | (PAGE & ~0x400n) | (1n << 51n) | 0x80n)
    w.apply()
    w.read(A)
    expect(w.write(BESIDE)).toBe('0x40001000')
    expect(w.load(slot) & 0x480n).toBe(0x400n)
  })
})

describe('what is no table entry', () => {
  it('is not kept: an entry that becomes valid is seen at once', () => {
    const w = new World(0b101)
    w.one.set(A, 3, FRAME | PAGE)
    w.apply()
    w.read(A)
    expect(w.read(NEXT_2M)).toBe('abort')
    w.one.set(NEXT_2M, 3, (FRAME + 0x2000n) | PAGE)
    expect(w.read(NEXT_2M)).toBe('0x40002000')
  })

  it('nor is anything where the cache is off', () => {
    for (const [config, tables] of [
      [0b101, 'one'],
      [0b110, 'two'],
    ] as const) {
      const w = new World(config, { caches: { walk1: NO_CACHE, walk2: NO_CACHE } })
      plant(w, w[tables], tables === 'one' ? PAGE : S2_PAGE)
      expect(kept(w, w[tables])).toEqual([])
    }
  })
})

describe('those who look at a unit', () => {
  const transaction = (va: bigint): Transaction =>
    Object.assign(new Transaction(), {
      rid: SID,
      lo: Number(va & 0xffff_ffffn),
      hi: Number(va >> 32n),
      access: ACCESS.READ,
    })

  it('are told that tables are stale, and which command drops them', () => {
    const w = new World(0b101)
    plant(w, w.one, PAGE)
    const page = [Number(BESIDE & 0xffff_ffffn), Number(BESIDE >> 32n)]
    const table = w.alloc()
    w.store(table + 0x10n, (FRAME + 0x7000n) | PAGE)
    w.one.set(BESIDE, 2, table | 3n)
    expect(w.unit.missing(transaction(BESIDE))).toEqual([
      { name: 'TLBI_NH_VA', operands: { VMID: 5, ASID: 7, Leaf: 0 }, page },
    ])
    w.one.set(BESIDE, 3, (FRAME + 0x6000n) | PAGE)
    expect(w.read(BESIDE)).toBe('0x40001000')
    w.command(0x12n | ASID, BESIDE)
    expect(w.read(BESIDE)).toBe('0x40006000')
    w.one.set(BESIDE, 3, (FRAME + 0x5000n) | PAGE)
    expect(w.unit.missing(transaction(BESIDE))).toEqual([
      { name: 'TLBI_NH_VA', operands: { VMID: 5, ASID: 7, Leaf: 1 }, page },
    ])
  })

  it('are told so of stage 2 alone', () => {
    const w = new World(0b110)
    plant(w, w.two, S2_PAGE)
    w.two.set(BESIDE, 2, 0n)
    expect(w.unit.missing(transaction(BESIDE))).toMatchObject([{ name: 'TLBI_S2_IPA', operands: { VMID: 5, Leaf: 0 } }])
  })

  it('are told of nothing where memory will not hold still', () => {
    const w = new World(0b101)
    plant(w, w.one, PAGE)
    // Somebody else writes another page between any two looks.
    const slot = w.one.set(BESIDE, 3, FRAME | PAGE)
    const load = w.memory.loadWord.bind(w.memory)
    let looks = 0n
    Object.assign(w.memory, {
      loadWord: (at: number): number => {
        w.store(slot, (FRAME + looks++ * 0x1000n) | PAGE)
        return load(at)
      },
    })
    expect(w.unit.missing(transaction(BESIDE))).toEqual([])
    expect(looks > 3n).toBe(true)
  })

  it('walk from memory alone, and change nothing that is kept', () => {
    const w = new World(0b101)
    plant(w, w.one, PAGE)
    for (const level of [2, 1, 0]) w.one.set(A, level, 0n)
    const before = w.unit.cacheStatistics
    const outcome = new Outcome()
    let steps = 0
    w.unit.explain(transaction(BESIDE), outcome, { step: () => steps++ })
    expect([w.unit.faultName(outcome.fault), steps]).toEqual(['F_TRANSLATION', 4])
    // No leaf is cached for it: memory would have to be read.
    expect(w.unit.peek(transaction(BESIDE), outcome)).toBe(false)
    expect(w.unit.peek(transaction(A), outcome)).toBe(true)
    expect(w.unit.cacheStatistics).toEqual(before)
  })

  it('count what table entries have done', () => {
    const w = new World(0b101)
    plant(w, w.one, PAGE)
    w.read(BESIDE)
    w.read(NEXT_2M)
    w.read(A)
    const { hits, misses, live, entries, evictions } = w.unit.cacheStatistics.find(({ name }) => name === 'walk1') ?? {}
    // A walked four levels, BESIDE one, NEXT_2M two; A was then a hit of the TLB.
    expect({ hits, misses, live, entries, evictions }).toEqual({
      hits: 2,
      misses: 1,
      live: 4,
      entries: 1024,
      evictions: 0,
    })
  })
})

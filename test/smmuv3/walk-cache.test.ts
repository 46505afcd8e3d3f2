/**
 * Table entries that a unit keeps, one by one. An address is translated, then the entries that led to it are taken out
 * of memory; another address below such an entry translates only where the entry was kept. Words are spelled by hand.
 */

import { describe, expect, it } from 'vitest'
import { NO_CACHE } from '../../hw-model/cache/translation-cache.js'
import { ACCESS, Outcome, Transaction } from '../../hw-model/port.js'
import { type GuestOptions, SID } from './checklist/guest.js'
import { GUEST, PAGE, S2_PAGE, stage1, stage2, type Tables, World } from './checklist/tables.js'

/** 4 KiB granule: the entries above it cover 512 GiB, 1 GiB and 2 MiB. */
const A = 0x80_4060_1000n
const BESIDE = A + 0x1000n
const NEXT_2M = A + 0x20_0000n
const NEXT_1G = A + 0x4000_0000n
const NEXT_512G = A + 0x80_0000_0000n

const FRAME = 0x4000_0000n

/** ASID 7 of VMID 5, as the world has them. */
const ASID = (7n << 48n) | (5n << 32n)
const VMID = 5n << 32n
const LEAF = 1n
const tg = (n: bigint): bigint => n << 10n
const ttl = (n: bigint): bigint => n << 8n
const pages = (n: bigint): bigint => (n - 1n) << 12n
const scale = (n: bigint): bigint => n << 20n

function plant(w: World, tables: Tables, leaf: bigint): World {
  for (const [i, va] of [A, BESIDE, NEXT_2M, NEXT_1G].entries()) {
    tables.set(va, 3, (FRAME + BigInt(i) * 0x1000n) | leaf)
  }
  w.apply()
  expect(w.read(A)).toBe('0x40000000')
  return w
}

/** Levels, as the manual counts them, of the entries on the way to A that are kept. */
function kept(w: World, tables: Tables): number[] {
  for (const level of [2, 1, 0]) tables.set(A, level, 0n)
  const found = [NEXT_1G, NEXT_2M, BESIDE].map((va) => w.read(va) !== 'abort')
  w.events()
  return [0, 1, 2].filter((level) => found[level])
}

/** Commands in pairs of words, and the levels that are kept after them. */
type Row = readonly [name: string, commands: readonly bigint[], levels: readonly number[]]

const ranges = (opcode: bigint): Row[] => [
  ['of one page at level 3', [opcode, A | tg(1n) | ttl(3n)], []],
  ['of one page at level 2', [opcode, (A & ~0x1f_ffffn) | tg(1n) | ttl(2n)], [2]],
  ['of one page at level 1', [opcode, (A & ~0x3fff_ffffn) | tg(1n) | ttl(1n)], [1, 2]],
  ['of two pages at any level', [opcode | pages(2n), A | tg(1n)], []],
  ['of the 2 MiB beside', [opcode | scale(9n), NEXT_2M | tg(1n) | ttl(3n)], [2]],
  ['of 2 GiB above', [opcode | scale(19n), NEXT_1G | tg(1n) | ttl(3n)], [1, 2]],
  ['that ends where the last entry starts', [opcode | scale(9n), (A - 0x20_1000n) | tg(1n)], [2]],
  ['that reaches into the last entry', [opcode | scale(9n), (A - 0x20_0000n) | tg(1n)], []],
  ['of 16 KiB granules', [opcode | scale(20n), tg(2n)], [0, 1, 2]],
  ['of 64 KiB granules', [opcode | scale(20n), tg(3n)], [0, 1, 2]],
  ['with Leaf', [opcode | scale(20n), (A & ~0x3fff_ffffn) | tg(1n) | LEAF], [0, 1, 2]],
]

describe('table entries of stage 1', () => {
  const rows: Row[] = [
    ['nothing', [0x46n, 0n], [0, 1, 2]],
    ['NH_VA with Leaf', [0x12n | ASID, A | LEAF], [0, 1, 2]],
    ['NH_VA', [0x12n | ASID, A], []],
    ['NH_VA of the page beside', [0x12n | ASID, BESIDE], []],
    ['NH_VA 2 MiB away', [0x12n | ASID, NEXT_2M], [2]],
    ['NH_VA 1 GiB away', [0x12n | ASID, NEXT_1G], [1, 2]],
    ['NH_VA 512 GiB away', [0x12n | ASID, NEXT_512G], [0, 1, 2]],
    ['NH_VA of another ASID', [0x12n | VMID | (8n << 48n), A], [0, 1, 2]],
    ['NH_VA of another VMID', [0x12n | (7n << 48n) | (6n << 32n), A], [0, 1, 2]],
    ['NH_VAA with Leaf', [0x13n | VMID, A | LEAF], [0, 1, 2]],
    ['NH_VAA', [0x13n | VMID, A], []],
    ['NH_VAA of another VMID', [0x13n | (6n << 32n), A], [0, 1, 2]],
    ['NH_ASID', [0x11n | ASID, 0n], []],
    ['NH_ASID of another', [0x11n | VMID | (8n << 48n), 0n], [0, 1, 2]],
    ['NH_ALL', [0x10n | VMID, 0n], []],
    ['NH_ALL of another VMID', [0x10n | (6n << 32n), 0n], [0, 1, 2]],
    ['S2_IPA', [0x2an | VMID, A], [0, 1, 2]],
    ['S12_VMALL', [0x28n | VMID, 0n], []],
    ['NSNH_ALL', [0x30n, 0n], []],
    ['EL2_ALL', [0x20n, 0n], [0, 1, 2]],
    ['EL2_VA', [0x22n | ASID, A], [0, 1, 2]],
    ['EL2_VAA', [0x23n, A], [0, 1, 2]],
    ['CFGI_ALL', [0x04n, 0x1fn], [0, 1, 2]],
    ...ranges(0x12n | ASID).map(([name, ...row]): Row => [`NH_VA ${name}`, ...row]),
    ...ranges(0x13n | VMID).map(([name, ...row]): Row => [`NH_VAA ${name}`, ...row]),
  ]
  it.each(rows)('%s', (_name, commands, levels) => {
    const w = new World(0b101, { preset: 'full' })
    plant(w, w.one, PAGE).command(...commands)
    expect(kept(w, w.one)).toEqual(levels)
  })

  it('are dropped for one ASID of those that share a global leaf', () => {
    const w = new World(0b101)
    plant(w, w.one, PAGE & ~0x800n)
    w.command(0x12n | VMID | (8n << 48n), A)
    // The leaf is gone, whatever the ASID; tables have no nG.
    expect(kept(w, w.one)).toEqual([0, 1, 2])
  })
})

describe('table entries of stage 2', () => {
  const rows: Row[] = [
    ['nothing', [0x46n, 0n], [0, 1, 2]],
    ['S2_IPA with Leaf', [0x2an | VMID, A | LEAF], [0, 1, 2]],
    ['S2_IPA', [0x2an | VMID, A], []],
    ['S2_IPA 2 MiB away', [0x2an | VMID, NEXT_2M], [2]],
    ['S2_IPA of another VMID', [0x2an | (6n << 32n), A], [0, 1, 2]],
    ['S12_VMALL', [0x28n | VMID, 0n], []],
    ['S12_VMALL of another', [0x28n | (6n << 32n), 0n], [0, 1, 2]],
    ['NSNH_ALL', [0x30n, 0n], []],
    ['NH_ALL', [0x10n | VMID, 0n], [0, 1, 2]],
    ['NH_VA', [0x12n | ASID, A], [0, 1, 2]],
    ['NH_VAA', [0x13n | VMID, A], [0, 1, 2]],
    ['EL2_ALL', [0x20n, 0n], [0, 1, 2]],
    ...ranges(0x2an | VMID).map(([name, ...row]): Row => [`S2_IPA ${name}`, ...row]),
  ]
  it.each(rows)('%s', (_name, commands, levels) => {
    const w = new World(0b110, { preset: 'full' })
    plant(w, w.two, S2_PAGE).command(...commands)
    expect(kept(w, w.two)).toEqual(levels)
  })
})

describe('table entries of EL2', () => {
  const full: GuestOptions = { preset: 'full' }
  const rows: (readonly [name: string, e2h: number, commands: readonly bigint[], levels: readonly number[]])[] = [
    ['EL2_VA', 0, [0x22n | (9n << 48n), A], []],
    ['EL2_VA with Leaf', 0, [0x22n, A | LEAF], [0, 1, 2]],
    ['EL2_VA by range', 0, [0x22n | pages(2n), A | tg(1n)], []],
    ['EL2_VAA', 0, [0x23n, NEXT_2M], [2]],
    ['EL2_ASID', 0, [0x21n | (7n << 48n), 0n], [0, 1, 2]],
    ['EL2_ALL', 0, [0x20n, 0n], []],
    ['NSNH_ALL', 0, [0x30n, 0n], [0, 1, 2]],
    ['NH_VAA', 0, [0x13n, A], [0, 1, 2]],
    ['EL2_VA under E2H', 1, [0x22n | (7n << 48n), A], []],
    ['EL2_VA under E2H of another ASID', 1, [0x22n | (8n << 48n), A], [0, 1, 2]],
    ['EL2_VA under E2H with Leaf', 1, [0x22n | (7n << 48n), A | LEAF], [0, 1, 2]],
    ['EL2_VAA under E2H', 1, [0x23n, A], []],
    ['EL2_ASID under E2H', 1, [0x21n | (7n << 48n), 0n], []],
    ['EL2_ASID under E2H of another', 1, [0x21n | (8n << 48n), 0n], [0, 1, 2]],
    ['EL2_ALL under E2H', 1, [0x20n, 0n], []],
    ['NSNH_ALL under E2H', 1, [0x30n, 0n], [0, 1, 2]],
  ]
  it.each(rows)('%s (E2H %i)', (_name, e2h, commands, levels) => {
    const w = new World(0b101, { ...full, cr0: 0b1100 })
    w.set32(0x2c, 0b10 | e2h)
    w.set32(0x20, 0b1101)
    w.ste[1] |= 2n << 30n
    plant(w, w.one, PAGE).command(...commands)
    expect(kept(w, w.one)).toEqual(levels)
  })
})

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

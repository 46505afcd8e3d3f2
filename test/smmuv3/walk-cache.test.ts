/**
 * Table entries that a unit keeps, one by one. An address is translated, then the entries that led to it are taken out
 * of memory; another address below such an entry translates only where the entry was kept. Words are spelled by hand.
 */

import { describe, expect, it } from 'vitest'
import type { GuestOptions } from './checklist/guest.js'
import { PAGE, S2_PAGE, stage1, World } from './checklist/tables.js'
import { A, ASID, BESIDE, FRAME, kept, LEAF, NEXT_1G, NEXT_2M, NEXT_512G, plant, VMID } from './kept-tables.js'

const tg = (n: bigint): bigint => n << 10n
const ttl = (n: bigint): bigint => n << 8n
const pages = (n: bigint): bigint => (n - 1n) << 12n
const scale = (n: bigint): bigint => n << 20n

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

describe('table entries where addresses have 52 bits', () => {
  /** OAS and VAX of 52 bits, DS. */
  const WIDE: GuestOptions = { deny: { IDR5: 7 }, offer: { IDR5: 6 | (1 << 7) | (1 << 10) } }
  /** CD.DS. */
  const DS = 1n << 58n

  function planted(granule: number, ds: bigint, step: readonly bigint[]): { w: World; kept: () => number[] } {
    const w = new World(0b101, WIDE)
    const base = A & -(1n << BigInt(granule))
    const tables = stage1(w, granule, ds === 0n ? 48 : 52, 0)
    w.cd[2] |= ds
    for (const [i, distance] of [0n, ...step].entries()) {
      tables.set(base + distance, 3, ((FRAME + BigInt(i) * 0x1_0000n) | PAGE) & ~0x300n)
    }
    w.apply()
    expect(w.read(base)).toBe('0x40000000')
    const first = 3 - step.length
    return {
      w,
      kept: () => {
        for (let level = 2; level >= first; level--) tables.set(base, level, 0n)
        const found = step.map((distance) => w.read(base + distance) !== 'abort')
        return found.flatMap((isKept, i) => (isKept ? [2 - i] : [])).reverse()
      },
    }
  }

  it.each([
    ['nothing', [0x46n, 0n], [-1, 0, 1, 2]],
    ['NH_VA', [0x12n | ASID, A], []],
    ['NH_VA 512 GiB away', [0x12n | ASID, NEXT_512G], [0, 1, 2]],
    ['NH_VA 256 TiB away', [0x12n | ASID, A + (1n << 48n)], [-1, 0, 1, 2]],
    ['NH_VA of a page at level 3', [0x12n | ASID, (A & ~0xfffn) | tg(1n) | ttl(3n)], []],
    ['NH_VA of a block at level 1', [0x12n | ASID, (A & ~0x3fff_ffffn) | tg(1n) | ttl(1n)], [1, 2]],
    ['NH_VA of 2^51 bytes beside', [0x12n | ASID | scale(39n), (1n << 51n) | tg(1n)], [-1, 0, 1, 2]],
    ['NH_VA of the first 2^51 bytes', [0x12n | ASID | scale(39n), tg(1n)], []],
  ] as Row[])('with 4 KiB: %s', (_name, commands, levels) => {
    const { w, kept } = planted(12, DS, [0x1_0000n, 0x20_0000n, 0x4000_0000n, 0x80_0000_0000n])
    w.command(...commands)
    expect(kept()).toEqual(levels)
  })

  it.each([
    [DS, [1, 2]],
    // Without level 1 leaves TTL 1 says nothing; here the unit has DS, so it does for tables without DS too.
    [0n, [1, 2]],
  ] as const)('with 16 KiB and TTL 1: DS %i', (ds, levels) => {
    const { w, kept } = planted(14, ds, [0x1_0000n, 0x200_0000n, 0x10_0000_0000n])
    w.command(0x12n | ASID, (A & ~0xf_ffff_ffffn) | tg(2n) | ttl(1n))
    expect(kept()).toEqual(levels)
  })
})

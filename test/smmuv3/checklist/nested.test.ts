/** Walks of stage 1 through stage 2, and runs that are marked contiguous. [Arm D8.2 Translation process] */

import { describe, expect, it } from 'vitest'
import { hex, RAM, VA } from './guest.js'
import { BLOCK, GUEST, PAGE, S2_BLOCK, S2_PAGE, stage1Shape, stage2, Tables, TG0, World } from './tables.js'

const S1 = 0b101
const NESTED = 0b111

const floor = (address: bigint, lg2: number): bigint => (address >> BigInt(lg2)) << BigInt(lg2)

describe('both stages', () => {
  for (const one of [12, 14, 16]) {
    for (const two of [12, 14, 16]) {
      it(`of ${2 ** one / 1024} KiB on ${2 ** two / 1024} KiB translate each entry's own address`, () => {
        const w = new World(NESTED)
        // Within 64 KiB, the pages of stage 2 stand in reverse order: a table is not where its first page says.
        const flip = (address: bigint): bigint => address ^ (0xffffn & ~((1n << BigInt(two)) - 1n))
        const outer = stage2(w, two, 40, two === 16 ? 2 : 1)
        const from = floor(w.alloc(0x10_0000n), 20)
        for (let at = from; at < from + 0x100_0000n; at += 1n << BigInt(two)) {
          outer.set(at + GUEST, 3, flip(at) | S2_PAGE)
        }
        // What stage 1 has starts 64 KiB of its own, so that nothing of stage 2 stands where it is flipped to.
        w.alloc(0x1_0000n)
        const inner = new Tables(w, stage1Shape(one, 48), GUEST, flip)
        const page = w.alloc(0x1_0000n)
        inner.set(VA, 3, (page + GUEST) | PAGE)
        w.cd[0] = 0x0007_e205_c000_3510n | (TG0[one] << 6n)
        w.cd[1] = inner.root + GUEST
        const context = w.alloc(0x1_0000n)
        w.ste[0] = (context + GUEST) | 0xfn
        w.apply()
        w.store(flip(context), ...w.cd)
        expect(w.read(VA)).toBe(hex(flip(page + BigInt.asUintN(one, VA))))
        expect([w.outcome.leafLg2, w.events()]).toEqual([Math.min(one, two), []])
      })
    }
  }

  it('fault at stage 2 for the address of the very entry: class TT', () => {
    const w = new World(NESTED)
    // A table of 64 KiB at an IPA whose second half stage 2 does not have.
    const outer = stage2(w, 12, 40, 1)
    const base = w.alloc(0x1_0000n)
    for (let at = 0n; at < 0x8000n; at += 0x1000n) outer.set(GUEST + base + at, 3, (base + at) | S2_PAGE)
    outer.set(GUEST + w.context, 3, floor(w.context, 12) | S2_PAGE)
    w.cd[0] = 0x0007_e205_c000_3510n | (1n << 6n)
    // 42 bits from level 2: bits 41:29 choose one of 8192 entries.
    w.cd[0] = (w.cd[0] & ~0x3fn) | 22n
    w.cd[1] = base + GUEST
    w.store(base + 0x800n * 8n, 0x7_0000_0000n | BLOCK)
    w.apply()
    const low = 0x800n << 29n
    const high = 0x1189n << 29n
    expect([w.read(low), w.events()]).toEqual(['abort', ['1000000010 28800000000 10000000000 700000000']])
    const entry = floor(base + GUEST + 0x1189n * 8n, 12)
    expect([w.write(high), w.events()]).toEqual([
      'abort',
      [`1000000010 18000000000 ${high.toString(16)} ${entry.toString(16)}`],
    ])
  })

  it('fault at stage 2 for what stage 1 puts out: class IN, with the IPA', () => {
    const w = new World(NESTED)
    w.one.set(VA, 3, 0x7_1234_5000n | PAGE)
    expect([w.read(VA), w.events()]).toEqual(['abort', ['1000000010 28800000000 123456789abc 712345000']])
  })

  it('read tables of stage 1 as data: without read permission F_PERMISSION of class TT with TTRnW', () => {
    const w = new World(NESTED)
    const ipa = 0x7_0000_0000n
    w.two.set(ipa, 1, S2_BLOCK & ~0x40n)
    w.cd[1] = ipa + w.one.root
    w.apply()
    const entry = (ipa + w.one.root + 0x24n * 8n) & ~0xfffn
    expect([w.write(VA), w.events()]).toEqual(['abort', [`1000000013 118000000000 123456789abc ${entry.toString(16)}`]])
  })

  it('walk tables of stage 1 only in memory when S2PTW says so', () => {
    const w = new World(NESTED)
    const ipa = 0x7_0000_0000n
    w.two.set(ipa, 1, (S2_BLOCK & ~0x3cn) | 4n)
    w.cd[1] = ipa + w.one.root
    w.apply()
    expect([w.read(VA), w.kinds()]).toEqual(['abort', ['0x13']])
    w.ste[2] &= ~(1n << 54n)
    w.apply()
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
  })

  it('meet no memory in a table of stage 1: F_WALK_EABT of stage 1 with the physical address', () => {
    const w = new World(NESTED)
    w.two.set(0x7_0000_0000n, 1, 0x10_0000_0000n | S2_BLOCK)
    w.cd[1] = 0x7_0000_0000n
    w.apply()
    expect([w.read(VA), w.events()]).toEqual(['abort', ['100000000b 10800000000 123456789abc 1000000120']])
  })

  it('meet no memory in a table of stage 2 on the way to one of stage 1: F_WALK_EABT of class TT', () => {
    const w = new World(NESTED)
    w.two.set(0x7_0000_0000n, 1, RAM | 3n)
    w.cd[1] = 0x7_0000_0000n
    w.apply()
    expect([w.read(VA), w.events()]).toEqual(['abort', [`100000000b 18800000000 123456789abc ${RAM.toString(16)}`]])
  })

  it('measure what stage 1 puts out by IPS, before stage 2 sees it', () => {
    const w = new World(NESTED)
    w.cd[0] = (w.cd[0] & ~(7n << 32n)) | (1n << 32n)
    w.one.set(VA, 3, (1n << 36n) | PAGE)
    w.apply()
    expect([w.read(VA), w.events()]).toEqual(['abort', ['1000000011 20800000000 123456789abc 0']])
  })
})

describe('a contiguous run', () => {
  it('is a hint: each entry is what it is', () => {
    const w = new World(S1)
    const run = 1n << 52n
    for (let i = 0n; i < 16n; i++) w.one.set(0x1_0000n + i * 0x1000n, 3, (0x5000_0000n + i * 0x1000n) | PAGE | run)
    for (let i = 0n; i < 16n; i++) {
      expect(w.read(0x1_0000n + i * 0x1000n + 0x123n)).toBe(hex(0x5000_0123n + i * 0x1000n))
    }
    expect(w.outcome.leafLg2).toBeGreaterThanOrEqual(12)
  })

  it('loses every page of it when one is invalidated, whichever was read', () => {
    const w = new World(S1)
    const run = 1n << 52n
    const entries = Array.from({ length: 16 }, (_, i) =>
      w.one.set(0x1_0000n + BigInt(i) * 0x1000n, 3, (0x5000_0000n + BigInt(i) * 0x1000n) | PAGE | run),
    )
    w.read(0x1_3000n)
    for (const entry of entries) w.store(entry, 0n)
    w.command((7n << 48n) | (5n << 32n) | 0x12n, 0x1_3000n | 1n, 0x46n, 0n)
    expect([w.read(0x1_3000n), w.read(0x1_4000n)]).toEqual(['abort', 'abort'])
  })
})

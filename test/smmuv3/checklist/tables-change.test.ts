/** Tables that change: the least that a guest must invalidate is enough. [SMMU 4.4 TLB invalidation commands] */

import { describe, expect, it } from 'vitest'
import { hex, VA } from './guest.js'
import { PAGE, S2_PAGE, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111

const VMID = 5n << 32n
const ASID = 7n << 48n
const SYNC = [0x46n, 0n] as const

/** Takes the table out that an entry of this level points to, and puts a new path to another page in. */
function replace(w: World, level: number, page: bigint): void {
  w.one.set(VA, level, 0n)
  w.one.set(VA, 3, page | PAGE)
}

describe('a table of stage 1 that is replaced', () => {
  for (const level of [0, 1, 2]) {
    for (const [what, low] of [
      ['CMD_TLBI_NH_VA', 0x12n | VMID | ASID],
      ['CMD_TLBI_NH_VAA', 0x13n | VMID],
    ] as const) {
      it(`at level ${level} is found after ${what} without Leaf`, () => {
        const w = new World(S1)
        expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
        replace(w, level, 0x5000_0000n)
        w.command(low, VA & ~0xfffn, ...SYNC)
        expect(w.read(VA)).toBe('0x50000abc')
      })
    }
    for (const [what, low] of [
      ['CMD_TLBI_NH_ASID', 0x11n | VMID | ASID],
      ['CMD_TLBI_NH_ALL', 0x10n | VMID],
      ['CMD_TLBI_S12_VMALL', 0x28n | VMID],
      ['CMD_TLBI_NSNH_ALL', 0x30n],
    ] as const) {
      it(`at level ${level} is found after ${what}`, () => {
        const w = new World(S1)
        w.read(VA)
        replace(w, level, 0x5000_0000n)
        w.command(low, 0n, ...SYNC)
        expect(w.read(VA)).toBe('0x50000abc')
      })
    }
  }

  it('is found after a range without Leaf that holds the address', () => {
    const w = new World(S1)
    w.read(VA)
    replace(w, 2, 0x5000_0000n)
    // Two pages of 4 KiB.
    w.command(0x12n | VMID | ASID | (1n << 12n), (VA & ~0xfffn) | (1n << 10n), ...SYNC)
    expect(w.read(VA)).toBe('0x50000abc')
  })

  it('was not there before, and needs nothing: what is invalid is not cached', () => {
    const w = new World(S1)
    w.one.set(VA, 1, 0n)
    expect(w.read(VA)).toBe('abort')
    w.one.set(VA, 3, 0x5000_0000n | PAGE)
    expect(w.read(VA)).toBe('0x50000abc')
  })

  it('has a page changed with Leaf alone', () => {
    const w = new World(S1)
    w.read(VA)
    w.one.set(VA, 3, 0x5000_0000n | PAGE)
    w.command(0x12n | VMID | ASID, (VA & ~0xfffn) | 1n, ...SYNC)
    expect(w.read(VA)).toBe('0x50000abc')
  })

  it('is taken by its neighbours too', () => {
    const w = new World(S1)
    const next = (VA & ~0xfffn) + 0x1000n
    w.one.set(next, 3, 0x6000_0000n | PAGE)
    w.read(VA)
    expect(w.read(next)).toBe('0x60000000')
    const entry = w.one.set(VA, 2, 0n)
    w.one.set(next, 3, 0x7000_0000n | PAGE)
    expect(w.load(entry)).not.toBe(0n)
    w.command(0x12n | VMID | ASID, VA & ~0xfffn, 0x12n | VMID | ASID, next, ...SYNC)
    expect([w.read(next), w.read(VA)]).toEqual(['0x70000000', 'abort'])
  })
})

describe('a table of stage 2 that is replaced', () => {
  const IPA = 0x7_0000_0000n
  for (const level of [0, 1, 2]) {
    it(`at level ${level} is found after CMD_TLBI_S2_IPA without Leaf`, () => {
      const w = new World(S2)
      w.two.set(IPA, 3, 0x5000_0000n | S2_PAGE)
      w.forget()
      expect(w.read(IPA)).toBe('0x50000000')
      w.two.set(IPA, level, 0n)
      w.two.set(IPA, 3, 0x6000_0000n | S2_PAGE)
      w.command(0x2an | VMID, IPA, ...SYNC)
      expect(w.read(IPA)).toBe('0x60000000')
    })
  }

  it('under stage 1 is found when stage 1 is invalidated too', () => {
    const w = new World(NESTED)
    w.two.set(IPA, 3, 0x5000_0000n | S2_PAGE)
    w.one.set(VA, 3, IPA | PAGE)
    w.forget()
    expect(w.read(VA)).toBe('0x50000abc')
    w.two.set(IPA, 2, 0n)
    w.two.set(IPA, 3, 0x6000_0000n | S2_PAGE)
    w.command(0x2an | VMID, IPA, ...SYNC, 0x10n | VMID, 0n, ...SYNC)
    expect(w.read(VA)).toBe('0x60000abc')
  })

  it('under a table of stage 1 is found when both are invalidated', () => {
    const w = new World(NESTED)
    const [here, there] = [w.alloc(), w.alloc()]
    for (let i = 0n; i < 512n; i++) w.store(here + i * 8n, w.load(w.one.root + i * 8n))
    const place = w.two.set(IPA, 3, here | S2_PAGE)
    w.cd[1] = IPA
    w.apply()
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
    w.store(place, there | S2_PAGE)
    w.command(0x2an | VMID, IPA | 1n, ...SYNC, 0x10n | VMID, 0n, ...SYNC)
    expect([w.read(VA), w.kinds()]).toEqual(['abort', ['0x10']])
  })

  it('under a CD is found after CMD_CFGI_CD and CMD_TLBI_S2_IPA', () => {
    const w = new World(NESTED)
    const there = w.alloc()
    const place = w.two.set(IPA, 3, w.context | S2_PAGE)
    w.ste[0] = IPA | 0xfn
    w.apply()
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
    w.store(place, there | S2_PAGE)
    w.command(0x2an | VMID, IPA | 1n, 0x05n | (0x10n << 32n), 1n, ...SYNC)
    expect([w.read(VA), w.kinds()]).toEqual(['abort', ['0xa']])
  })
})

/** Invalidation of ranges. [SMMU 4.4.1.1 Range-based invalidation and level hint] */

import { describe, expect, it } from 'vitest'
import type { GuestOptions } from './guest.js'
import { type Garden, Planted } from './planted.js'

const BASE = 0x1_0000_0000n

const ASID = (7n << 48n) | (5n << 32n)
const num = (n: bigint): bigint => n << 12n
const scale = (n: bigint): bigint => n << 20n
/** TG 1, 2, 3 is 4, 16, 64 KiB. */
const tg = (n: bigint): bigint => n << 10n
const ttl = (n: bigint): bigint => n << 8n
const LEAF = 1n

/** Pages side by side from BASE; `p0`, `p1` … */
const pages = (count: number, granule = 12, config: 'stage 1' | 'stage 2' = 'stage 1'): Garden =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`p${i}`, { va: BASE + (BigInt(i) << BigInt(granule)), granule, config }]),
  )
const named = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => `p${from + i}`)

const NH_VA = (low: bigint, high: bigint): [bigint, bigint] => [0x12n | ASID | low, high | LEAF]

describe('a range', () => {
  it('is (NUM + 1) * 2^SCALE granules from the address', () => {
    const gone = (low: bigint, high: bigint): string[] => new Planted(pages(20)).gone(...NH_VA(low, high | tg(1n)))
    expect(gone(num(6n), BASE)).toEqual(named(0, 7))
    expect(gone(num(6n), BASE + 0x2000n)).toEqual(named(2, 9))
    expect(gone(num(0n) | scale(3n), BASE)).toEqual(named(0, 8))
    expect(gone(num(2n) | scale(2n), BASE + 0x1000n)).toEqual(named(1, 13))
    expect(gone(num(31n), BASE - 0x1_e000n)).toEqual(named(0, 2))
    expect(gone(num(31n) | scale(31n), BASE - 0x1000n)).toEqual(named(0, 20))
    expect(gone(num(0n), BASE | ttl(3n))).toEqual(named(0, 1))
  })

  it('counts in its own granule, and leaves entries of others', () => {
    const gone = (low: bigint, high: bigint): string[] => new Planted(pages(4, 16)).gone(...NH_VA(low, high))
    expect(gone(num(1n), BASE | tg(3n))).toEqual(named(0, 2))
    expect(gone(num(31n) | scale(31n), tg(3n))).toEqual(named(0, 4))
    expect(gone(num(31n) | scale(31n), tg(1n))).toEqual([])
    expect(gone(num(31n) | scale(31n), tg(2n))).toEqual([])
    const small = (low: bigint, high: bigint): string[] => new Planted(pages(4, 14)).gone(...NH_VA(low, high))
    expect(small(num(1n), (BASE + 0x4000n) | tg(2n))).toEqual(named(1, 3))
    expect(small(num(31n) | scale(31n), tg(3n))).toEqual([])
  })

  it('takes leaves of the level that TTL names alone', () => {
    const garden: Garden = {
      page: { va: BASE },
      '2 MiB': { va: BASE + 0x4000_0000n, level: 2 },
      '1 GiB': { va: BASE + 0x8000_0000n, level: 1 },
    }
    const gone = (level: bigint): string[] =>
      new Planted(garden).gone(...NH_VA(num(31n) | scale(18n), BASE | tg(1n) | ttl(level)))
    expect(gone(3n)).toEqual(['page'])
    expect(gone(2n)).toEqual(['2 MiB'])
    expect(gone(1n)).toEqual(['1 GiB'])
    expect(gone(0n)).toEqual(['page', '2 MiB', '1 GiB'])
  })

  it('takes a block that it reaches into', () => {
    const garden: Garden = { '2 MiB': { va: BASE, level: 2 }, next: { va: BASE + 0x20_0000n, level: 2 } }
    expect(new Planted(garden).gone(...NH_VA(num(1n), (BASE + 0x1f_f000n) | tg(1n)))).toEqual(['2 MiB', 'next'])
    expect(new Planted(garden).gone(...NH_VA(num(1n), (BASE + 0x1f_e000n) | tg(1n)))).toEqual(['2 MiB'])
  })

  it('of 16 KiB has no level 1: TTL 1 says nothing', () => {
    const gone = new Planted(pages(4, 14)).gone(...NH_VA(num(1n), BASE | tg(2n) | ttl(1n)))
    expect(gone).toEqual(named(0, 2))
  })

  it('does not go round the end of the address space', () => {
    const garden: Garden = { first: { va: 0n } }
    const high = 0xffff_ffff_ffff_f000n
    expect(new Planted(garden).gone(...NH_VA(num(31n) | scale(31n), high | tg(1n)))).toEqual([])
  })

  it('is for one ASID, every ASID, and stage 2, as its command is', () => {
    const both: Garden = { 'ASID 7': { va: BASE }, 'ASID 8': { va: BASE + 0x1000n, asid: 8n } }
    expect(new Planted(both).gone(...NH_VA(num(3n), BASE | tg(1n)))).toEqual(['ASID 7'])
    expect(new Planted(both).gone(0x13n | (5n << 32n) | num(3n), BASE | tg(1n) | LEAF)).toEqual(['ASID 7', 'ASID 8'])
    const two = pages(6, 12, 'stage 2')
    expect(new Planted(two).gone(0x2an | (5n << 32n) | num(2n), (BASE + 0x1000n) | tg(1n) | LEAF)).toEqual(named(1, 4))
    expect(new Planted(two).gone(...NH_VA(num(31n), BASE | tg(1n)))).toEqual([])
  })
})

describe('TG of 0', () => {
  it('is one address, whatever NUM, SCALE and TTL say, of any granule', () => {
    expect(new Planted(pages(4)).gone(...NH_VA(num(3n) | scale(2n), BASE | ttl(1n)))).toEqual(named(0, 1))
    expect(new Planted(pages(4, 16)).gone(...NH_VA(num(3n), BASE + 0x1_f000n))).toEqual(named(1, 2))
  })
})

/** The five commands with ranges, and what offers the first four and the last. */
const RANGED: readonly (readonly [name: string, opcode: bigint, options?: GuestOptions])[] = [
  ['NH_VA', 0x12n],
  ['NH_VAA', 0x13n],
  ['EL2_VA', 0x22n, { offer: { IDR0: 1 << 9 } }],
  ['EL2_VAA', 0x23n, { offer: { IDR0: 1 << 9 } }],
  ['S2_IPA', 0x2an],
]

describe('a range of one granule without a level', () => {
  /** CMDQ_CONS and GERROR after a command. */
  const after = (options: GuestOptions | undefined, low: bigint, high: bigint): string => {
    const g = new Planted({}, options)
    g.command(low, high)
    return `${g.get32(0x9c).toString(16)} ${g.get32(0x60)}`
  }

  for (const [name, opcode, options] of RANGED) {
    it(`is CERROR_ILL in CMD_TLBI_${name}`, () => {
      for (const granule of [1n, 2n, 3n]) {
        expect(after(options, opcode, BASE | tg(granule) | LEAF)).toBe('1000000 1')
        expect(after(options, opcode, BASE | tg(granule))).toBe('1000000 1')
      }
      expect(after(options, opcode, BASE | tg(1n) | ttl(3n))).toBe('1 0')
      expect(after(options, opcode | num(1n), BASE | tg(1n))).toBe('1 0')
      expect(after(options, opcode | scale(1n), BASE | tg(1n))).toBe('1 0')
      expect(after(options, opcode, BASE)).toBe('1 0')
    })

    it(`is CERROR_ILL in CMD_TLBI_${name} with the level 1 that 16 KiB has not`, () => {
      expect(after({ deny: { IDR5: 0x80 }, ...options }, opcode, BASE | tg(2n) | ttl(1n))).toBe('1000000 1')
      expect(after(options, opcode, BASE | tg(2n) | ttl(2n))).toBe('1 0')
      expect(after(options, opcode, BASE | tg(1n) | ttl(1n))).toBe('1 0')
    })
  }

  it('is one address where the unit has no ranges', () => {
    const none: GuestOptions = { deny: { IDR3: 1 << 10 } }
    expect(after(none, 0x12n, BASE | tg(1n))).toBe('1 0')
    expect(new Planted(pages(4), none).gone(...NH_VA(num(3n), BASE | tg(1n)))).toEqual(named(0, 1))
    expect(new Planted(pages(4), none).gone(...NH_VA(num(3n), BASE | tg(3n) | ttl(2n)))).toEqual(named(0, 1))
  })
})

describe('a range in a unit with DS [SMMU 6.3.6 SMMU_IDR5]', () => {
  const DS: GuestOptions = { deny: { IDR5: 7 }, offer: { IDR5: 6 | (1 << 7) | (1 << 10) } }

  it('has a SCALE of six bits, and 39 is the highest that counts', () => {
    const page: Garden = { near: { va: BASE }, far: { va: 0x8000_0000_0000n - 0x1000n } }
    const gone = (options: GuestOptions, n: bigint): string[] =>
      new Planted(page, options).gone(...NH_VA(scale(n), BASE | tg(1n)))
    expect(gone(DS, 32n)).toEqual(['near'])
    expect(gone(DS, 35n)).toEqual(['near', 'far'])
    expect(gone(DS, 63n)).toEqual(['near', 'far'])
    // Without DS bit 25 is reserved: a scale of 32 is one of 0.
    expect(gone({}, 33n)).toEqual(['near'])
    expect(new Planted({ next: { va: BASE + 0x2000n } }).gone(...NH_VA(scale(33n), BASE | tg(1n)))).toEqual([])
  })

  it('of 16 KiB has a level 1', () => {
    const g = new Planted({}, DS)
    g.command(0x12n, BASE | tg(2n) | ttl(1n))
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([1, 0])
    expect(new Planted(pages(4, 14), DS).gone(...NH_VA(num(31n) | scale(31n), tg(2n) | ttl(1n)))).toEqual([])
  })
})

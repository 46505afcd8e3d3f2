/** Small tables, E0PD and EPAN. [SMMU 6.3.4 SMMU_IDR3] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, hex, VA } from './guest.js'
import { PAGE, S2_PAGE, stage1, stage1Shape, Tables, TG0, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const STT: GuestOptions = { offer: { IDR3: 1 << 9 } }
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe('IDR3.STT, at stage 1', () => {
  /** Start level of each number of input bits that only small tables have. */
  const STARTS: readonly (readonly [granule: number, start: number, least: number, most: number])[] = [
    [12, 2, 22, 30],
    [12, 3, 16, 21],
    [14, 3, 16, 25],
    [16, 3, 17, 29],
  ]
  for (const [granule, start, least, most] of STARTS) {
    it(`has ${least} to ${most} bits from level ${start} with ${2 ** granule / 1024} KiB, in both halves`, () => {
      const w = new World(S1, STT)
      for (const half of [0, 1] as const) {
        for (let bits = least; bits <= most; bits++) {
          expect(stage1Shape(granule, bits).start).toBe(start)
          const sign = half === 0 ? 0n : (1n << 64n) - (1n << BigInt(bits))
          const last = (1n << BigInt(bits)) - 1n
          stage1(w, granule, bits, half).set(last, 3, 0x5000_0000n | PAGE)
          w.apply()
          const offset = last & ((1n << BigInt(granule)) - 1n)
          expect(w.read(last | sign), `${bits} bits`).toBe(hex(0x5000_0000n | offset))
          expect(w.read((last | sign) ^ (1n << BigInt(bits))), `${bits} bits`).toBe('abort')
        }
      }
    })
  }

  for (const [granule, most] of [
    [12, 48],
    [14, 48],
    [16, 47],
  ] as const) {
    it(`takes T0SZ up to ${most} with ${2 ** granule / 1024} KiB`, () => {
      const w = new World(S1, STT)
      const legal = range(0, 63).filter((size) => {
        w.cd[0] = 0x0007_e205_c000_0000n | BigInt(size) | (TG0[granule] << 6n)
        w.cd[1] = 0x800_0000n
        w.apply()
        w.read(0n)
        return w.kinds().join() === '0x10'
      })
      expect(legal).toEqual(range(16, most))
    })
  }
})

describe('IDR3.STT, at stage 2', () => {
  /** S2SL0 of each level and the sizes that 1 to 16 tables of it cover. */
  const LEVELS: readonly (readonly [granule: number, start: number, code: bigint, least: number, most: number])[] = [
    [12, 3, 3n, 16, 25],
    [12, 2, 0n, 22, 34],
    [14, 3, 0n, 16, 29],
    [16, 3, 0n, 17, 33],
  ]
  for (const [granule, start, code, least, most] of LEVELS) {
    it(`of ${2 ** granule / 1024} KiB from level ${start} takes ${least} to ${most} bits`, () => {
      const w = new World(S2, STT)
      for (let bits = 12; bits <= 40; bits++) {
        const fits = bits >= least && bits <= most
        const tables = new Tables(w, { granule, bits: fits ? bits : least, start })
        w.ste[2] = 0x040d_0000_0000_0005n | (TG0[granule] << 46n) | (code << 38n) | (BigInt(64 - bits) << 32n)
        w.ste[3] = tables.root
        const last = (1n << BigInt(fits ? bits : least)) - 1n
        tables.set(last, 3, 0x5000_0000n | S2_PAGE)
        w.apply()
        const ended = w.read(last)
        const offset = last & ((1n << BigInt(granule)) - 1n)
        expect([ended, ...w.kinds()], `${bits} bits`).toEqual(fits ? [hex(0x5000_0000n | offset)] : ['abort', '0x4'])
      }
    })
  }

  it('has no level 3 for 4 KiB without it', () => {
    const w = new World(S2, { deny: { IDR3: 1 << 9 } })
    w.ste[2] = 0x040d_0000_0000_0005n | (3n << 38n) | (39n << 32n)
    w.ste[3] = w.alloc()
    w.apply()
    expect([w.read(0n), w.kinds()]).toEqual(['abort', ['0x4']])
  })
})

/** What an unprivileged and a privileged master may do, `r w x` each. */
const may = (w: World, va = VA): string =>
  [false, true]
    .map((priv) =>
      [w.read(va, { priv }), w.write(va, { priv }), w.fetch(va, { priv })]
        .map((ended, i) => (ended === 'abort' ? '-' : 'rwx'[i]))
        .join(''),
    )
    .join(' ')

describe('E0PD', () => {
  const HIGH = 0xffff_ffff_ffff_e000n
  const E0PD: GuestOptions = { offer: { IDR3: 1 << 13 } }
  /** Both halves are on; E0PD0 and E0PD1 as they are said. */
  function world(e0pd0: bigint, e0pd1: bigint, options = E0PD): World {
    const w = new World(S1, options)
    w.cd[0] = (w.cd[0] & ~(1n << 30n)) | (16n << 16n) | (2n << 22n)
    w.cd[1] |= e0pd0 << 2n
    w.cd[2] = w.one.root | (e0pd1 << 2n)
    w.one.set(HIGH, 3, w.page | PAGE)
    return w.apply()
  }

  it('keeps unprivileged masters from a half, each by its own bit', () => {
    expect([may(world(0n, 0n)), may(world(0n, 0n), HIGH)]).toEqual(['rwx rw-', 'rwx rw-'])
    expect([may(world(1n, 0n)), may(world(1n, 0n), HIGH)]).toEqual(['--- rw-', 'rwx rw-'])
    expect([may(world(0n, 1n)), may(world(0n, 1n), HIGH)]).toEqual(['rwx rw-', '--- rw-'])
  })

  it('is F_TRANSLATION, also of what is cached', () => {
    const w = world(1n, 0n)
    expect(w.read(VA, { priv: true })).toBe(hex(w.page + 0xabcn))
    expect([w.read(VA), w.events()]).toEqual(['abort', ['1000000010 20800000000 123456789abc 0']])
  })

  it('looks at the privilege that the STE makes of an access', () => {
    const w = world(1n, 0n)
    w.ste[1] |= 3n << 48n
    expect(w.apply().read(VA)).toBe(hex(w.page + 0xabcn))
  })

  it('says nothing without IDR3.E0PD, nor in EL2', () => {
    expect(may(world(1n, 1n, { deny: { IDR3: 1 << 13 } }))).toBe('rwx rw-')
    const w = new World(S1, { offer: { IDR0: 1 << 9, IDR3: 1 << 13 } })
    w.ste[1] |= 2n << 30n
    w.cd[1] |= 4n
    expect(w.apply().read(VA)).toBe(hex(w.page + 0xabcn))
  })
})

describe('EPAN', () => {
  const EPAN: GuestOptions = { offer: { IDR3: 1 << 17 } }
  const PAN = 1n << 40n
  const UXN = 1n << 54n
  const AP = (ap: bigint): bigint => (PAGE & ~0xc0n) | (ap << 6n)
  function stage(entry: bigint, pan: bigint, epan: bigint, options = EPAN): string {
    const w = new World(S1, options)
    w.one.set(VA, 3, w.page | entry)
    w.cd[0] |= pan
    w.cd[1] |= epan << 59n
    return may(w.apply())
  }

  it('has PAN keep privileged data accesses from what an unprivileged master may execute, too', () => {
    expect(stage(AP(0n), PAN, 1n)).toBe('--x --x')
    expect(stage(AP(2n), PAN, 1n)).toBe('--x --x')
    expect(stage(AP(0n) | UXN, PAN, 1n)).toBe('--- rwx')
    expect(stage(AP(2n) | UXN, PAN, 1n)).toBe('--- r-x')
    expect(stage(AP(1n) | UXN, PAN, 1n)).toBe('rw- ---')
  })

  it('says nothing without PAN, nor without IDR3.EPAN', () => {
    expect(stage(AP(0n), 0n, 1n)).toBe('--x rwx')
    expect(stage(AP(0n), PAN, 0n)).toBe('--x rwx')
    expect(stage(AP(0n), PAN, 1n, { deny: { IDR3: 1 << 17 } })).toBe('--x rwx')
  })
})

/** Stream table entries: what is ILLEGAL, and what only looks so. [SMMU 5.2.2 Validity of STE] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, RAM, SID, VA } from './guest.js'
import { GUEST, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111
const BYPASS = 0b100
type Config = 0b100 | 0b101 | 0b110 | 0b111

const BAD_STE = '1000000004 0 0 0'

/** An address that each configuration can translate. */
const inputOf = (config: Config): bigint => (config === S2 ? GUEST + 0x1234n : VA)

/** How a read ends, and the events it leaves, when words of the STE are changed. */
function tried(config: Config, change: (ste: bigint[]) => void, options: GuestOptions = {}): [string, string[]] {
  const w = new World(config, options)
  change(w.ste)
  w.apply()
  return [w.read(inputOf(config)), w.events()]
}

/** A bit or field at [high:low] of a word set to a value, whatever it was. */
const put = (ste: bigint[], word: number, value: bigint, high: number, low = high): void => {
  const mask = ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low)
  ste[word] = (ste[word] & ~mask) | (value << BigInt(low))
}

type Rule = readonly [name: string, configs: readonly Config[], change: (ste: bigint[]) => void, options?: GuestOptions]

/** STALL_MODEL 0 is stall and terminate, 1 terminate alone. */
const TERMINATE: GuestOptions = { deny: { IDR0: 3 << 24 }, offer: { IDR0: 1 << 24 } }
const NO_HTTU: GuestOptions = { deny: { IDR0: 3 << 6 } }

const ILLEGAL: readonly Rule[] = [
  ['V is 0', [BYPASS, S1, S2, NESTED], (s) => put(s, 0, 0n, 0)],
  ['Config wants a stage 1 that is not there', [S1, NESTED], () => undefined, { deny: { IDR0: 0b10 } }],
  ['Config wants a stage 2 that is not there', [S2, NESTED], () => undefined, { deny: { IDR0: 0b01 } }],
  ['S1STALLD is 1 where stage 1 cannot stall', [S1, NESTED], (s) => put(s, 1, 1n, 27), TERMINATE],
  ['S1CDMax is more than SSIDSIZE', [S1, NESTED], (s) => put(s, 0, 21n, 63, 59)],
  ['S1CDMax is more than a smaller SSIDSIZE', [S1], (s) => put(s, 0, 9n, 63, 59), ssidSize(8)],
  ['S1Fmt is 1 without two-level CD tables', [S1], (s) => two(s, 1n), { deny: { IDR0: 1 << 19 } }],
  ['S1Fmt is 2 without two-level CD tables', [S1], (s) => two(s, 2n), { deny: { IDR0: 1 << 19 } }],
  ['S1ContextPtr is beyond the output size', [S1], (s) => put(s, 0, 1n, 50)],
  ['S2S is 1 where nothing can stall', [S2, NESTED], (s) => put(s, 2, 1n, 57), TERMINATE],
  ['S2AA64 is 0 without AArch32 tables', [S2, NESTED], (s) => put(s, 2, 0n, 51)],
  ['S2HA is 1 without hardware flags', [S2, NESTED], (s) => put(s, 2, 1n, 56), NO_HTTU],
  ['S2HD is 1 without hardware flags', [S2, NESTED], (s) => put(s, 2, 1n, 55), NO_HTTU],
  ['S2TG is 3', [S2, NESTED], (s) => put(s, 2, 3n, 47, 46)],
  ['S2TG is 4 KiB and the unit has none', [S2], () => undefined, { deny: { IDR5: 1 << 4 } }],
  ['S2TG is 64 KiB and the unit has none', [S2], (s) => granule(s, 1n), { deny: { IDR5: 1 << 6 } }],
  ['S2TG is 16 KiB and the unit has none', [S2], (s) => granule(s, 2n), { deny: { IDR5: 1 << 5 } }],
  ['S2TTB is beyond S2PS', [S2, NESTED], (s) => small(s, 1n << 32n)],
  ['S2TTB is beyond 48 bits', [S2], (s) => put(s, 3, 1n, 48)],
  ['S2T0SZ is 15', [S2, NESTED], (s) => put(s, 2, 15n, 37, 32)],
  ['S2T0SZ is less than the input size allows', [S2], (s) => put(s, 2, 19n, 37, 32), oas(0b100)],
  ['S2ENDI is 1 without big-endian tables', [S2, NESTED], (s) => put(s, 2, 1n, 52)],
  [
    'S2VMID has 9 bits where VMIDs have 8',
    [S1, S2, NESTED],
    (s) => put(s, 2, 0x105n, 15, 0),
    { deny: { IDR0: 1 << 18 } },
  ],
]

const LEGAL: readonly Rule[] = [
  ['bits that are RES0', [BYPASS, S1, S2, NESTED], (s) => reserved(s)],
  ['S1DSS 3 with one CD', [S1, NESTED], (s) => put(s, 1, 3n, 1, 0)],
  ['S1Fmt 3, which is linear', [S1, NESTED], (s) => put(s, 0, 3n, 5, 4)],
  ['S1Fmt 2 with one CD', [S1, NESTED], (s) => put(s, 0, 2n, 5, 4), { deny: { IDR0: 1 << 19 } }],
  ['reserved PRIVCFG, INSTCFG and SHCFG', [BYPASS, S1, S2, NESTED], (s) => put(s, 1, 0b0101_1100n, 51, 44)],
  ['SHCFG 0 and 2, MTCFG, MemAttr, ALLOCCFG', [BYPASS, S1, S2], (s) => put(s, 1, 0x2ffen, 45, 32)],
  ['memory attributes of CD and stage 2 walks', [S1, S2, NESTED], (s) => attributes(s)],
  ['CONT, DRE, DCP, PPAR, MEV', [BYPASS, S1, S2, NESTED], (s) => put(s, 1, 0xfbn, 19, 12)],
  ['SW_RESERVED', [BYPASS, S1, S2, NESTED], (s) => put(s, 1, 0xfn, 23, 20)],
  ['EATS 1, 2 and 3 without ATS', [S1, S2, NESTED], (s) => put(s, 1, 2n, 29, 28), { deny: { IDR0: 1 << 10 } }],
  ['STRW 1 without EL2', [S1], (s) => put(s, 1, 1n, 31, 30), { deny: { IDR0: 1 << 9 } }],
  ['STRW 3 without EL2', [S1], (s) => put(s, 1, 3n, 31, 30), { deny: { IDR0: 1 << 9 } }],
  ['STRW 3 with stage 2', [S2, NESTED], (s) => put(s, 1, 3n, 31, 30)],
  ['stage 2 fields without stage 2', [BYPASS, S1], (s) => noStage2(s)],
  ['stage 1 fields without stage 1', [BYPASS, S2], (s) => noStage1(s)],
  ['S2PS 6 and 7, which are cut to the output size', [S2, NESTED], (s) => put(s, 2, 7n, 50, 48)],
  ['S2VMID of 16 bits', [S1, S2, NESTED], (s) => put(s, 2, 0xffffn, 15, 0)],
  ['S2VMID of 9 bits in bypass', [BYPASS], (s) => put(s, 2, 0x105n, 15, 0), { deny: { IDR0: 1 << 18 } }],
  ['S2R 0', [S2, NESTED], (s) => put(s, 2, 0n, 58)],
  ['S2HAFT, S2PIE, S2POE, DPT_VMATCH where the unit has none', [S2, NESTED], (s) => put(s, 2, 0x1fn, 63, 59)],
  ['S2HWU59..62', [S2, NESTED], (s) => put(s, 1, 0xfn, 11, 8)],
  ['words 4 to 7', [BYPASS, S1, S2, NESTED], (s) => s.fill(0xffff_ffff_ffff_ffffn, 4)],
]

function ssidSize(bits: number): GuestOptions {
  return { deny: { IDR1: 0x1f << 6 }, offer: { IDR1: bits << 6 } }
}

function oas(code: number): GuestOptions {
  return { deny: { IDR5: 7 }, offer: { IDR5: code } }
}

function two(ste: bigint[], format: bigint): void {
  put(ste, 0, format, 5, 4)
  put(ste, 0, 4n, 63, 59)
}

/** 64 or 16 KiB from the level that 48 bits start at. */
function granule(ste: bigint[], tg: bigint): void {
  put(ste, 2, tg, 47, 46)
  put(ste, 2, 2n, 39, 38)
}

/** 32 output bits, a table at `root`. */
function small(ste: bigint[], root: bigint): void {
  put(ste, 2, 0n, 50, 48)
  ste[3] = root
}

function reserved(ste: bigint[]): void {
  put(ste, 0, 7n, 58, 56)
  put(ste, 1, 0xfffn, 63, 52)
  put(ste, 1, 7n, 43, 41)
  put(ste, 2, 0xffffn, 31, 16)
}

function attributes(ste: bigint[]): void {
  put(ste, 1, 0x2bn, 7, 2)
  put(ste, 2, 0x2bn, 45, 40)
}

function noStage2(ste: bigint[]): void {
  ste[2] = 0xfff7_ffff_0000_0005n
  ste[3] = 0xffff_ffff_ffff_fff9n
}

function noStage1(ste: bigint[]): void {
  ste[0] |= 0xffff_ffff_ffff_fff0n
  put(ste, 1, 0xffn, 7, 0)
  put(ste, 1, 1n, 27)
}

const names: Record<number, string> = { 4: 'bypass', 5: 'stage 1', 6: 'stage 2', 7: 'both stages' }

describe('an STE is ILLEGAL', () => {
  for (const [name, configs, change, options] of ILLEGAL) {
    for (const config of configs) {
      it(`when ${name} (${names[config]})`, () => {
        expect(tried(config, change, options)).toEqual(['abort', [BAD_STE]])
      })
    }
  }

  it('with the SubstreamID of the request in its record', () => {
    const w = new World(S1)
    w.ste[0] &= ~1n
    w.apply()
    expect([w.write(VA, { ssid: 5, priv: true }), w.events()]).toEqual(['abort', ['1000005804 0 0 0']])
  })
})

describe('an STE is not ILLEGAL', () => {
  for (const [name, configs, change, options] of LEGAL) {
    for (const config of configs) {
      it(`for ${name} (${names[config]})`, () => {
        const plain = new World(config, options).read(inputOf(config))
        expect(plain).toMatch(/^0x/)
        expect(tried(config, change, options)).toEqual([plain, []])
      })
    }
  }

  it('for an S2T0SZ that is just what the input size allows', () => {
    expect(tried(S2, (s) => put(s, 2, 20n, 37, 32), oas(0b100))).toEqual(['0x1234', []])
    expect(tried(S2, (s) => put(s, 2, 22n, 37, 32), oas(0b011))).toEqual(['0x1234', []])
  })

  it('when Config says abort, whatever else it says: it aborts in silence', () => {
    for (const config of [0n, 1n, 2n, 3n]) {
      const wrong = (s: bigint[]): void => {
        s[0] = 0xf800_0000_0000_0001n | (config << 1n)
        s[1] = 0x3800_0000n
        s[2] = 0xfff0_ffff_0000_ffffn
      }
      expect(tried(S1, wrong), `Config ${config}`).toEqual(['abort', []])
    }
  })
})

/** Levels that S2SL0 names, and S2T0SZ for each, by granule. [Arm D8.2 Translation process] */
const STARTS: readonly (readonly [what: string, tg: bigint, ranges: Readonly<Record<number, [number, number]>>])[] = [
  ['4 KiB', 0n, { 2: [16, 24], 1: [21, 33], 0: [30, 39] }],
  ['16 KiB', 2n, { 2: [16, 27], 1: [24, 38], 0: [35, 39] }],
  ['64 KiB', 1n, { 2: [16, 21], 1: [18, 34], 0: [31, 39] }],
]

describe('{S2TG, S2SL0, S2T0SZ} [SMMU 5.2 STE.S2SL0]', () => {
  for (const [what, tg, ranges] of STARTS) {
    it(`is legal for ${what} exactly where 1 to 16 tables of the start level cover the input`, () => {
      const w = new World(S2, { deny: { IDR3: 1 << 9 } })
      const legal: string[] = []
      const expected: string[] = []
      for (let level = 0; level < 4; level++) {
        for (let size = 0; size < 64; size++) {
          w.ste[2] = 0x040d_3500_0000_0005n | (tg << 46n) | (BigInt(level) << 38n) | (BigInt(size) << 32n)
          w.ste[3] = RAM - 0x1_0000_0000n + 0x800_0000n
          w.apply()
          w.read(0x1000n)
          if (w.kinds().join() === '0x10') legal.push(`${level} ${size}`)
          const range = ranges[level]
          if (range !== undefined && size >= range[0] && size <= range[1]) expected.push(`${level} ${size}`)
        }
      }
      expect(legal).toEqual(expected)
    })
  }
})

describe('what an STE was read from counts until CMD_CFGI_STE [SMMU 4.3.1 CMD_CFGI_STE]', () => {
  it('also when it was not valid yet', () => {
    const w = new World(S1)
    w.ste[0] &= ~1n
    w.apply()
    w.read(VA)
    w.ste[0] |= 1n
    w.storeSte(SID, ...w.ste)
    expect(w.read(VA)).toBe('abort')
    w.command(0x0000_0010_0000_0003n, 1n, 0x46n, 0n)
    expect(w.read(VA)).toBe(`0x${(w.page + 0xabcn).toString(16)}`)
    expect(w.events()).toEqual([BAD_STE, BAD_STE])
  })

  it('for each of two streams on its own', () => {
    const w = new World(S1)
    w.storeSte(0x11, ...w.ste)
    w.read(VA)
    w.read(VA, { sid: 0x11 })
    w.storeSte(SID, 1n)
    w.storeSte(0x11, 1n)
    w.command(0x0000_0010_0000_0003n, 1n)
    expect([w.read(VA), w.read(VA, { sid: 0x11 })]).toEqual(['abort', `0x${(w.page + 0xabcn).toString(16)}`])
  })
})

describe('two streams with the same VMID and ASID', () => {
  it('share what was cached for them, and lose it together', () => {
    const w = new World(S1)
    w.storeSte(0x11, ...w.ste)
    w.read(VA)
    w.store(w.one.root, ...Array.from({ length: 512 }, () => 0n))
    expect(w.read(VA, { sid: 0x11 })).toBe(`0x${(w.page + 0xabcn).toString(16)}`)
    w.command(0x0000_0005_0000_0010n, 0n)
    expect([w.read(VA), w.read(VA, { sid: 0x11 })]).toEqual(['abort', 'abort'])
  })

  it('keep apart with another VMID, also when stage 1 alone is on', () => {
    const w = new World(S1)
    const other = [...w.ste]
    other[2] = 6n
    w.storeSte(0x11, ...other)
    w.read(VA)
    w.store(w.one.root, ...Array.from({ length: 512 }, () => 0n))
    expect(w.read(VA, { sid: 0x11 })).toBe('abort')
  })
})

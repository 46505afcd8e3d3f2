/** From a SubstreamID to a CD. [SMMU 3.3.2 StreamIDs to Context Descriptors] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, hex, RAM, VA } from './guest.js'
import { GUEST, World } from './tables.js'

const badSubstream = (ssid: number): string => `${((0x10n << 32n) | (BigInt(ssid) << 12n) | 8n).toString(16)} 0 0 0`
const DISABLED = '1000000006 0 0 0'
const BAD_CD = (ssid: number): string => `${((0x10n << 32n) | (BigInt(ssid) << 12n) | 0x80an).toString(16)} 0 0 0`

/** S1DSS of a stream that uses CD 0 for what comes without a SubstreamID. */
const SSID0 = 2n

/** A stream with 2^lg2 CDs, whose format and S1DSS are these and whose table, of zeroes, is at `table`. */
function withTable(format: bigint, lg2: number, dss: bigint, table: bigint, options: GuestOptions = {}): World {
  const w = new World(0b101, options)
  w.ste[0] = (BigInt(lg2) << 59n) | table | (format << 4n) | 0xbn
  w.ste[1] |= dss
  w.apply()
  return w
}

const TABLE = 0x6000_0000n
const LEAVES = 0x6100_0000n

interface Format {
  readonly name: string
  readonly format: bigint
  readonly lg2: number
  /** Puts a CD at an index. */
  readonly put: (w: World, index: number, words: readonly bigint[]) => void
}

function putTwoLevel(split: number): Format['put'] {
  return (w, index, words) => {
    const upper = BigInt(index >> split)
    const leaf = LEAVES + upper * 0x1_0000n
    w.store(TABLE + upper * 8n, leaf | 1n)
    w.store(leaf + BigInt(index & ((1 << split) - 1)) * 64n, ...words)
  }
}

const linear: Format['put'] = (w, index, words) => w.store(TABLE + BigInt(index) * 64n, ...words)

const FORMATS: readonly Format[] = [
  { name: 'linear, 2', format: 0n, lg2: 1, put: linear },
  { name: 'linear, 256', format: 0n, lg2: 8, put: linear },
  { name: 'linear by S1Fmt 3, 8', format: 3n, lg2: 3, put: linear },
  { name: '4 KiB leaves, 8: part of one leaf', format: 1n, lg2: 3, put: putTwoLevel(6) },
  { name: '4 KiB leaves, 64: one leaf', format: 1n, lg2: 6, put: putTwoLevel(6) },
  { name: '4 KiB leaves, 4096', format: 1n, lg2: 12, put: putTwoLevel(6) },
  { name: '64 KiB leaves, 512: part of one leaf', format: 2n, lg2: 9, put: putTwoLevel(10) },
  { name: '64 KiB leaves, 4096', format: 2n, lg2: 12, put: putTwoLevel(10) },
  { name: '64 KiB leaves, 2^20', format: 2n, lg2: 20, put: putTwoLevel(10) },
]

describe('a table of CDs', () => {
  for (const { name, format, lg2, put } of FORMATS) {
    const last = 2 ** lg2 - 1
    it(`of ${name} has its first, its last, and no more`, () => {
      for (const index of [0, last]) {
        const w = withTable(format, lg2, 0n, TABLE)
        put(w, index, w.cd)
        expect(w.read(VA, { ssid: index }), `CD ${index}`).toBe(hex(w.page + 0xabcn))
        expect(w.events()).toEqual([])
      }
      const w = withTable(format, lg2, 0n, TABLE)
      put(w, 0, w.cd)
      if (last < 0xfffff) {
        expect([w.read(VA, { ssid: last + 1 }), w.events()]).toEqual(['abort', [badSubstream(last + 1)]])
      }
      put(w, last, w.cd.with(0, 0n))
      expect([w.read(VA, { ssid: last }), w.events()]).toEqual(['abort', [BAD_CD(last)]])
    })
  }

  it('of one CD takes no SubstreamID', () => {
    const w = new World(0b101)
    expect([w.read(VA, { ssid: 0 }), w.read(VA, { ssid: 5 })]).toEqual(['abort', 'abort'])
    expect(w.events()).toEqual([badSubstream(0), badSubstream(5)])
  })

  it('that is linear is aligned to its size', () => {
    const w = withTable(0n, 8, 0n, TABLE + 0x3fc0n)
    linear(w, 0xff, w.cd)
    expect(w.read(VA, { ssid: 0xff })).toBe(hex(w.page + 0xabcn))
  })

  for (const [format, lg2, inside] of [
    [1n, 12, 0x1c0n],
    [2n, 20, 0x1fc0n],
  ] as const) {
    it(`with S1Fmt ${format} and 2^${lg2} CDs has a first level that is aligned to its size`, () => {
      const w = withTable(format, lg2, 0n, TABLE + inside)
      w.store(TABLE, LEAVES | 1n)
      w.store(LEAVES + 64n, ...w.cd)
      expect(w.read(VA, { ssid: 1 })).toBe(hex(w.page + 0xabcn))
      const next = withTable(format, lg2, 0n, TABLE + inside + 0x40n)
      next.store(TABLE + inside + 0x40n, LEAVES | 1n)
      next.store(LEAVES + 64n, ...next.cd)
      expect(next.read(VA, { ssid: 1 })).toBe(hex(next.page + 0xabcn))
    })
  }

  it('with 64 KiB leaves has them aligned: bits 15..12 of L2Ptr do not count', () => {
    const w = withTable(2n, 12, 0n, TABLE)
    w.store(TABLE, (LEAVES + 0xf000n) | 1n)
    w.store(LEAVES + 64n, ...w.cd)
    expect(w.read(VA, { ssid: 1 })).toBe(hex(w.page + 0xabcn))
  })
})

describe('a first level CD descriptor', () => {
  it('that is not valid is C_BAD_SUBSTREAMID of the SubstreamID', () => {
    const w = withTable(1n, 12, SSID0, TABLE)
    w.store(TABLE + 8n, LEAVES)
    expect([w.read(VA, { ssid: 65 }), w.events()]).toEqual(['abort', [badSubstream(65)]])
  })

  it('that is not valid is C_BAD_SUBSTREAMID of 0 for a request without one', () => {
    const w = withTable(1n, 12, SSID0, TABLE)
    expect([w.read(VA), w.events()]).toEqual(['abort', [badSubstream(0)]])
  })

  it('that points beyond the output size is C_BAD_SUBSTREAMID', () => {
    const w = withTable(1n, 12, 0n, TABLE)
    w.store(TABLE + 8n, (1n << 50n) | 1n)
    expect([w.read(VA, { ssid: 65 }), w.events()]).toEqual(['abort', [badSubstream(65)]])
  })

  it('that cannot be fetched is F_CD_FETCH with its own address', () => {
    const w = withTable(1n, 12, 0n, RAM)
    expect([w.read(VA, { ssid: 65 }), w.events()]).toEqual(['abort', [`1000041809 0 0 ${(RAM + 8n).toString(16)}`]])
  })

  it('whose CD cannot be fetched is F_CD_FETCH with the address of the CD', () => {
    const w = withTable(1n, 12, 0n, TABLE)
    w.store(TABLE + 8n, RAM | 1n)
    expect([w.read(VA, { ssid: 65 }), w.events()]).toEqual(['abort', [`1000041809 0 0 ${(RAM + 0x40n).toString(16)}`]])
  })

  it('under stage 2 is at an IPA, and so is what it points to', () => {
    const w = new World(0b111)
    w.ste[0] = (12n << 59n) | (GUEST + TABLE) | 0x1fn
    w.ste[1] |= SSID0
    w.apply()
    w.store(TABLE + 8n, (GUEST + LEAVES) | 1n)
    w.store(LEAVES + 64n, ...w.cd)
    expect(w.read(VA, { ssid: 65 })).toBe(hex(w.page + 0xabcn))
    w.store(TABLE + 16n, LEAVES | 1n)
    expect([w.read(VA, { ssid: 129 }), w.events()]).toEqual([
      'abort',
      [`1000081810 8800000000 123456789abc ${LEAVES.toString(16)}`],
    ])
    w.ste[0] = (12n << 59n) | 0x7_0000_0000n | 0x1fn
    w.apply()
    expect([w.read(VA, { ssid: 65 }), w.events()]).toEqual(['abort', ['1000041810 8800000000 123456789abc 700000000']])
  })
})

/** S1DSS and the SubstreamID of a request, and how it ends: the PA of CD 0, of CD 5, the input, or an event. */
const MATRIX: readonly (readonly [dss: bigint, ssid: number | undefined, ends: string])[] = [
  [0n, undefined, DISABLED],
  [0n, 0, 'CD 0'],
  [0n, 5, 'CD 5'],
  [0n, 8, badSubstream(8)],
  [1n, undefined, 'bypass'],
  [1n, 0, 'CD 0'],
  [1n, 5, 'CD 5'],
  [1n, 8, badSubstream(8)],
  [2n, undefined, 'CD 0'],
  [2n, 0, DISABLED],
  [2n, 5, 'CD 5'],
  [2n, 8, badSubstream(8)],
  [3n, undefined, DISABLED],
  [3n, 0, 'CD 0'],
  [3n, 5, 'CD 5'],
  [3n, 8, badSubstream(8)],
]

/** Tables of another address space: the 1 GiB around VA is at 0x4000_0000. */
function gibibyteOf(w: World): bigint {
  const [root, next] = [w.alloc(), w.alloc()]
  w.store(root + ((VA >> 39n) & 511n) * 8n, next | 3n)
  w.store(next + ((VA >> 30n) & 511n) * 8n, 0x4000_0000n | 0xf45n)
  return root
}

describe('S1DSS [SMMU 5.2 STE.S1DSS]', () => {
  for (const [dss, ssid, ends] of MATRIX) {
    it(`${dss} has a request ${ssid === undefined ? 'without SubstreamID' : `of SubstreamID ${ssid}`} end so: ${ends}`, () => {
      const w = withTable(0n, 3, dss, TABLE)
      linear(w, 0, w.cd)
      linear(w, 5, [w.cd[0] + (1n << 48n), gibibyteOf(w)])
      const answers: Record<string, string> = { 'CD 0': hex(w.page + 0xabcn), 'CD 5': '0x56789abc', bypass: hex(VA) }
      expect(w.read(VA, { ssid })).toBe(answers[ends] ?? 'abort')
      expect(w.events()).toEqual(ends in answers ? [] : [ends])
    })
  }

  it('says nothing with one CD', () => {
    for (const dss of [0n, 1n, 2n, 3n]) {
      const w = new World(0b101)
      w.ste[1] |= dss
      w.apply()
      expect([w.read(VA), w.read(VA, { ssid: 0 }), w.events()]).toEqual([
        hex(w.page + 0xabcn),
        'abort',
        [badSubstream(0)],
      ])
    }
  })

  it('2 records what comes without SubstreamID without one', () => {
    const w = withTable(0n, 3, SSID0, TABLE)
    w.store(TABLE, ...w.cd)
    expect([w.read(0x1000n), w.events()]).toEqual(['abort', ['1000000010 20800000000 1000 0']])
    w.store(TABLE, ...w.cd.with(0, 0n))
    w.forget()
    expect([w.read(VA), w.events()]).toEqual(['abort', ['100000000a 0 0 0']])
  })

  it('1 bypasses to the output size, and no further: a stage 1 F_ADDR_SIZE that never is RAZ/WI', () => {
    const w = withTable(0n, 3, 1n, TABLE)
    expect([w.read(0xffff_ffff_f000n), w.write(1n << 48n)]).toEqual(['0xfffffffff000', 'abort'])
    expect(w.events()).toEqual(['1000000011 20000000000 1000000000000 0'])
  })

  it('1 bypasses to stage 2 where there is one', () => {
    const w = new World(0b111)
    w.ste[0] |= 3n << 59n
    w.ste[1] |= 1n
    w.apply()
    expect([w.read(GUEST + 0x1234n), w.events()]).toEqual(['0x1234', []])
    expect([w.read(0x1234n), w.events()]).toEqual(['abort', ['1000000010 28800000000 1234 1000']])
    expect([w.read(1n << 48n), w.events()]).toEqual(['abort', ['1000000011 20800000000 1000000000000 0']])
  })
})

describe('a SubstreamID where no stage 1 is', () => {
  it('is C_BAD_SUBSTREAMID in bypass and with stage 2 alone', () => {
    for (const config of [0b100, 0b110] as const) {
      const w = new World(config)
      expect([w.read(GUEST, { ssid: 3 }), w.events()]).toEqual(['abort', [badSubstream(3)]])
    }
  })

  it('is C_BAD_SUBSTREAMID for a unit without SubstreamIDs', () => {
    const w = withTable(0n, 0, 0n, TABLE, { deny: { IDR1: 0x1f << 6 } })
    linear(w, 0, w.cd)
    w.apply()
    expect([w.read(VA, { ssid: 0 }), w.events(), w.read(VA)]).toEqual([
      'abort',
      [badSubstream(0)],
      hex(w.page + 0xabcn),
    ])
  })
})

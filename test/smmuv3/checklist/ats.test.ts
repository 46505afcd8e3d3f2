/** ATS translation requests. [SMMU 3.9.1 ATS Interface], [SMMU 13.7 PCIe permission attribute interpretation] */

import { describe, expect, it } from 'vitest'
import { ACCESS, REQUEST } from '../../../hw-model/port.js'
import { type Dma, type GuestOptions, hex, RAM, VA } from './guest.js'
import { BLOCK, GUEST, PAGE, S2_BLOCK, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111
type Config = 0b100 | 0b101 | 0b110 | 0b111

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS
const UXN = 1n << 54n
const PXN = 1n << 53n

/** ATS, and what a test adds; `nested` has split-stage ATS too (NS1ATS 0). */
const ats = (more: GuestOptions = {}): GuestOptions => ({
  ...more,
  deny: { ...more.deny, IDR0: (1 << 11) | (more.deny?.IDR0 ?? 0) },
  offer: { ...more.offer, IDR0: (1 << 10) | (1 << 23) | (more.offer?.IDR0 ?? 0) },
})

/** A stream that may use ATS as `eats` says. */
function world(config: Config, eats = 1n, more: GuestOptions = {}): World {
  const w = new World(config, ats(more))
  w.ste[1] |= eats << 28n
  return w.apply()
}

/** What a completion says: rights, the address of the page that was asked for, log2 of its size; or UR, CA. */
function ask(w: World, va: bigint, access: number = READ, how: Dma = {}): string {
  const ended = w.dma(va, access, { ...how, type: REQUEST.TRANSLATION })
  if (!ended.startsWith('0x')) return ended
  const { rights, address, leafLg2 } = w.outcome
  const shown = [READ, WRITE, EXECUTE].map((right, i) => ((rights & right) !== 0 ? 'rwx'[i] : '-')).join('')
  return shown === '---' ? `--- ${leafLg2}` : `${shown} ${hex(BigInt(address))} ${leafLg2}`
}

const F_BAD_ATS_TREQ = '0x5'

describe('a translation request', () => {
  it('is answered with rights, address and size', () => {
    const w = world(S1)
    expect(ask(w, VA, READ | WRITE)).toBe(`rw- ${hex(w.page + 0xabcn)} 12`)
    expect(ask(w, VA, READ)).toMatch(/^r/)
    expect(w.events()).toEqual([])
  })

  it('is UR and F_BAD_ATS_TREQ while the unit is off', () => {
    const w = new World(S1, ats({ cr0: 0b1100 }))
    expect([ask(w, VA), w.kinds()]).toEqual(['UR', [F_BAD_ATS_TREQ]])
  })

  it('that is refused is recorded as it was, before any override: its PASID, its page, what it wanted', () => {
    const w = world(S1, 0n)
    w.ste[1] |= (2n << 48n) | (2n << 50n)
    w.apply()
    ask(w, VA, READ | WRITE | EXECUTE | PRIVILEGED, { ssid: 5 })
    ask(w, VA, READ)
    expect(w.events()).toEqual(['1000005805 f0000001 123456789000 0', '1000000005 80000001 123456789000 0'])
  })

  it('is UR and F_BAD_ATS_TREQ of a stream without ATS, and of one that bypasses', () => {
    for (const config of [S1, S2, NESTED] as const) {
      const w = world(config, 0n)
      expect([ask(w, VA, READ | WRITE), w.kinds()]).toEqual(['UR', [F_BAD_ATS_TREQ]])
    }
    const bypass = world(0b100, 1n)
    expect([ask(bypass, VA), bypass.kinds()]).toEqual(['UR', [F_BAD_ATS_TREQ]])
  })

  it('is UR and F_BAD_ATS_TREQ with EATS 2 and 3 while ATSCHK is 0', () => {
    const split = world(NESTED, 2n)
    expect([ask(split, VA), split.kinds()]).toEqual(['UR', [F_BAD_ATS_TREQ]])
    const checked = world(S1, 3n)
    expect([ask(checked, VA), checked.kinds()]).toEqual(['UR', [F_BAD_ATS_TREQ]])
  })

  it('is UR in silence of a stream that aborts', () => {
    const w = world(S1)
    w.ste[0] = 1n
    w.apply()
    expect([ask(w, VA), w.events()]).toEqual(['UR', []])
  })

  /** What a stream is broken by, and the event that an ordinary DMA would make. */
  const BROKEN: readonly (readonly [what: string, event: string, change: (w: World) => void, how?: Dma])[] = [
    ['a StreamID out of range', '0x2', () => undefined, { sid: 64 }],
    [
      'an STE that is not valid',
      '0x4',
      (w) => {
        w.ste[0] &= ~1n
      },
    ],
    ['a SubstreamID that it has not', '0x8', () => undefined, { ssid: 9 }],
    [
      'a stream that wants SubstreamIDs',
      '0x6',
      (w) => {
        w.ste[0] |= 3n << 59n
      },
    ],
    [
      'a CD that is not valid',
      '0xa',
      (w) => {
        w.cd[0] &= ~(1n << 31n)
      },
    ],
    [
      'a CD in no memory',
      '0x9',
      (w) => {
        w.ste[0] = RAM | 0xbn
      },
    ],
    [
      'a table in no memory',
      '0xb',
      (w) => {
        w.cd[1] = RAM
      },
    ],
  ]
  for (const [what, event, change, how] of BROKEN) {
    it(`is CA for ${what}, and an event only with CR2.REC_CFG_ATS`, () => {
      for (const records of [false, true]) {
        const w = world(S1)
        w.set32(0x20, 0b1100)
        w.set32(0x2c, records ? 0b1010 : 0b0010)
        w.set32(0x20, 0b1101)
        change(w)
        w.apply()
        expect([ask(w, VA, READ, how), w.kinds()]).toEqual(['CA', records ? [event] : []])
      }
    })
  }

  it('of a StreamID out of range needs RECINVSID too', () => {
    const w = world(S1)
    w.set32(0x20, 0b1100)
    w.set32(0x2c, 0b1000)
    w.set32(0x20, 0b1101)
    expect([ask(w, VA, READ, { sid: 64 }), w.events()]).toEqual(['CA', []])
  })

  it('of what has no translation succeeds with nothing, in silence', () => {
    const w = world(S1)
    w.one.set(0x2000n, 3, w.page | (PAGE & ~0x400n))
    w.one.set(0x3000n, 3, (1n << 40n) | PAGE)
    w.cd[0] = (w.cd[0] & ~(7n << 32n)) | (1n << 32n)
    w.apply()
    expect([0x1000n, 0x2000n, 0x3000n, 1n << 48n].map((va) => ask(w, va))).toEqual(
      Array.from({ length: 4 }, () => '--- 12'),
    )
    expect(w.events()).toEqual([])
  })

  it('of what stage 2 has not succeeds with nothing: the page, a table, the CD', () => {
    const w = world(NESTED)
    w.one.set(0x1000n, 3, 0x7_0000_0000n | PAGE)
    expect(ask(w, 0x1000n)).toBe('--- 12')
    w.cd[1] = 0x7_0000_0000n
    w.apply()
    expect(ask(w, VA)).toBe('--- 12')
    w.ste[0] = 0x7_0000_0000n | 0xfn
    w.apply()
    expect([ask(w, VA), w.events()]).toEqual(['--- 12', []])
  })

  it('of a CD or table that stage 2 will not have read succeeds with nothing', () => {
    const w = world(NESTED)
    w.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0x40n)
    w.cd[1] = 0x7_0000_0000n + w.one.root
    w.apply()
    expect(ask(w, VA)).toBe('--- 12')
    w.ste[0] = (0x7_0000_0000n + w.context) | 0xfn
    w.apply()
    expect([ask(w, VA), w.events()]).toEqual(['--- 12', []])
  })

  it('does not stall, and A and R say nothing', () => {
    const w = world(S1, 1n, { deny: { IDR0: 3 << 24, IDR5: -65536 }, offer: { IDR5: 1 << 16 } })
    w.cd[0] &= ~(3n << 45n)
    w.apply()
    expect([ask(w, 0x1000n), w.events()]).toEqual(['--- 12', []])
  })

  it('tells of a size that both stages have', () => {
    const w = world(NESTED)
    w.one.set(0x4000_0000n, 2, GUEST | 0x8000_0000n | BLOCK)
    expect(ask(w, 0x4012_3456n)).toMatch(/^r.- 0x80123456 21$/)
    w.one.set(0x8000_0000n, 1, 0x7_0000_0000n | BLOCK)
    w.two.set(0x7_0000_0000n, 3, 0x5000_0000n | 0x7ffn)
    expect(ask(w, 0x8000_0000n)).toMatch(/ 0x50000000 12$/)
  })
})

/** The manual's examples: the request, AP and XN of the page, and what is granted. Without HTTU. */
const GRANTS: readonly (readonly [what: string, access: number, page: bigint, granted: string])[] = [
  ['write, of a page for all', READ | WRITE, 0x40n, 'rw-'],
  ['write, of a page that is read-only for all', READ | WRITE, 0xc0n, 'r--'],
  ['write by a privileged one, of a page that is for those', READ | WRITE | PRIVILEGED, 0x00n, 'rw-'],
  ['write, of a page for privileged ones', READ | WRITE, 0x00n, '---'],
  ['execute, of a page nobody executes', READ | EXECUTE, 0x40n | UXN | PXN, 'r--'],
  ['write and execute, of a page for all', READ | WRITE | EXECUTE, 0x40n, 'rwx'],
  ['write without execute, of a page for all', READ | WRITE, 0x40n, 'rw-'],
  ['execute, of a page one can only execute', READ | WRITE | EXECUTE, 0x00n, '---'],
  ['execute by a privileged one, where that is for others', READ | EXECUTE | PRIVILEGED, 0xc0n | PXN, 'r--'],
]

/** A stream with eight CDs, of which 1 is good: requests with a PASID. */
function withPasids(eats = 1n, config: Config = S1, more: GuestOptions = {}): World {
  const w = world(config, eats, more)
  const table = w.alloc()
  const offset = w.isNested ? GUEST : 0n
  w.ste[0] = (3n << 59n) | (table + offset) | (w.ste[0] & 0xfn)
  w.apply()
  w.store(table + 64n, ...w.cd)
  return w
}

describe('what is granted', () => {
  for (const [what, access, page, granted] of GRANTS) {
    it(`to ${what}: ${granted}`, () => {
      const w = withPasids()
      w.one.set(VA, 3, w.page | (PAGE & ~0xc0n) | page)
      const answer = granted === '---' ? '--- 12' : `${granted} ${hex(w.page + 0xabcn)} 12`
      expect(ask(w, VA, access, { ssid: 1 })).toBe(answer)
      expect(ask(w, VA, access, { ssid: 1 })).toBe(answer)
      expect(w.events()).toEqual([])
    })
  }

  it('without a PASID is what unprivileged data accesses have', () => {
    const w = world(S1)
    expect(ask(w, VA, READ | WRITE | EXECUTE | PRIVILEGED)).toBe(`rw- ${hex(w.page + 0xabcn)} 12`)
    w.one.set(VA, 3, w.page | (PAGE & ~0xc0n))
    w.forget()
    expect(ask(w, VA, READ | WRITE | EXECUTE | PRIVILEGED)).toBe('--- 12')
  })

  it('is what both stages grant', () => {
    const w = world(NESTED)
    w.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0x80n)
    w.one.set(VA, 3, 0x7_0000_0000n | PAGE)
    w.forget()
    expect(ask(w, VA, READ | WRITE)).toBe('r-- 0xabc 12')
    w.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0xc0n)
    w.forget()
    expect(ask(w, VA, READ | WRITE)).toBe('--- 12')
  })

  it('is by the privilege and the kind that the STE makes of a request', () => {
    const w = world(S1)
    w.ste[1] |= 3n << 48n
    w.one.set(VA, 3, w.page | (PAGE & ~0xc0n) | UXN)
    w.apply()
    expect(ask(w, VA, READ | WRITE)).toMatch(/^rw- /)
    // Instructions: what may be executed may be read.
    w.ste[1] = (w.ste[1] & ~(0xfn << 48n)) | (3n << 50n)
    w.one.set(VA, 3, w.page | (PAGE & ~0xc0n))
    w.apply()
    expect(ask(w, VA)).toMatch(/^r-. /)
    w.one.set(VA, 3, w.page | PAGE | UXN)
    w.forget()
    expect(ask(w, VA)).toBe('--- 12')
  })
})

describe('S1DSS 1 without a PASID', () => {
  it('is the address itself, to be read and written, where there is no stage 2', () => {
    const w = world(S1)
    w.ste[0] |= 3n << 59n
    w.ste[1] |= 1n
    w.apply()
    expect(ask(w, 0x5555_5000n, READ | WRITE)).toMatch(/^rw- 0x55555000 /)
    expect(w.outcome.leafLg2).toBeGreaterThanOrEqual(12)
    expect(w.outcome.leafLg2).toBeLessThanOrEqual(48)
  })

  it('is what stage 2 has where there is one', () => {
    const w = world(NESTED)
    w.ste[0] |= 3n << 59n
    w.ste[1] |= 1n
    w.apply()
    expect(ask(w, GUEST + 0x5000n, READ | WRITE)).toBe('rw- 0x5000 30')
    expect(ask(w, 0x5000n)).toBe('--- 12')
  })
})

describe('hardware flags and requests [SMMU 3.13.7]', () => {
  const DIRTY: GuestOptions = { deny: { IDR0: 3 << 6 }, offer: { IDR0: 2 << 6 } }
  const flags = (entry: bigint, access: number): [string, bigint] => {
    const w = world(S1, 1n, DIRTY)
    const at = w.one.set(VA, 3, w.page | entry)
    w.cd[0] |= 3n << 42n
    w.apply()
    return [ask(w, VA, access).slice(0, 3), w.load(at) & ~w.page]
  }
  const CLEAN = PAGE | 0x80n | (1n << 51n)

  it('set the access flag when something is granted', () => {
    expect(flags(PAGE & ~0x400n, READ)[1]).toBe(PAGE)
  })
  it('make a clean page dirty when it is asked for to be written', () => {
    expect(flags(CLEAN, READ | WRITE)).toEqual(['rw-', PAGE | (1n << 51n)])
  })
  it('leave it clean when it is not, and do not grant it', () => {
    expect(flags(CLEAN, READ)).toEqual(['r--', CLEAN])
  })
})

describe('split-stage ATS [SMMU 13.6.3]', () => {
  const CHECKED: GuestOptions = { cr0: 0b1_1101 }
  it('answers with the IPA, and with the rights and the size of both stages', () => {
    const w = world(NESTED, 2n, CHECKED)
    expect(ask(w, VA, READ | WRITE)).toBe(`rw- ${hex(w.page + GUEST + 0xabcn)} 12`)
    w.one.set(0x4000_0000n, 1, 0x7_0000_0000n | BLOCK)
    w.two.set(0x7_0000_0000n, 2, 0x8000_0000n | (S2_BLOCK & ~0x80n))
    expect(ask(w, 0x4000_0000n, READ | WRITE)).toBe('r-- 0x700000000 21')
    w.one.set(0x8000_0000n, 3, 0x9_0000_0000n | PAGE)
    expect(ask(w, 0x8000_0000n)).toBe('--- 12')
  })
})

describe('an STE with ATS is ILLEGAL', () => {
  const bad = (w: World, va = VA): string[] => {
    w.apply()
    w.read(va)
    return w.kinds()
  }
  it('when it wants split-stage ATS without both stages', () => {
    expect(bad(world(S1, 2n))).toEqual(['0x4'])
    expect(bad(world(S2, 2n), GUEST)).toEqual(['0x4'])
    expect(bad(world(NESTED, 2n))).toEqual([])
    expect(bad(world(0b100, 2n))).toEqual([])
  })
  it('when it wants split-stage ATS that the unit has not', () => {
    const w = new World(NESTED, { offer: { IDR0: (1 << 10) | (1 << 11) } })
    w.ste[1] |= 2n << 28n
    expect(bad(w)).toEqual(['0x4'])
  })
  it('when stage 2 stalls', () => {
    for (const eats of [1n, 2n]) {
      const w = world(NESTED, eats, { deny: { IDR0: 3 << 24, IDR5: -65536 }, offer: { IDR5: 1 << 16 } })
      w.ste[2] |= 1n << 57n
      expect(bad(w)).toEqual(['0x4'])
    }
  })
})

describe('without IDR0.ATS', () => {
  it('EATS says nothing', () => {
    for (const eats of [1n, 2n, 3n]) {
      const w = new World(S1, { deny: { IDR0: 1 << 10 } })
      w.ste[1] |= eats << 28n
      expect(w.apply().read(VA)).toBe(hex(w.page + 0xabcn))
    }
  })
})

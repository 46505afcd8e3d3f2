/** Requests to 0xfee00000..0xfeefffff, row by row. [VTD 3.15, 5.1.4.1, 7.1.3 T30] */

import { describe, expect, it } from 'vitest'
import { hex } from './guest.js'
import { type Kind, PASID, World } from './world.js'

const FIRST = 0xfee0_0000n
const LAST = 0xfeef_f000n
const INSIDE = [FIRST, 0xfee1_2000n, LAST]
const OUTSIDE = [0xfedf_f000n, 0xfef0_0000n]

/** A world that maps the range, and a page on each side, to RAM. */
function mapped(kind: Kind): World {
  const w = new World(kind)
  for (const va of [...INSIDE, ...OUTSIDE]) {
    const frame = va - 0x8000_0000n
    if (kind === 'first') w.first.map(va, frame | 0x67n)
    if (kind === 'second' || kind === 'legacy') w.second.map(va, frame | 3n)
  }
  return w.go()
}

for (const kind of ['legacy', 'legacy pass-through', 'first', 'second', 'pass-through'] as const) {
  describe(`without PASID, ${kind}, to the interrupt range`, () => {
    it('a write of 4 bytes is an interrupt: it is not translated, and nothing is recorded', () => {
      const w = mapped(kind)
      for (const at of INSIDE) expect(w.dma(at + 0xcn, 'w', { bytes: 4 })).toBe(hex(at + 0xcn))
      expect(w.faults()).toEqual([])
    })

    it('a zero-length read passes', () => {
      const w = mapped(kind)
      for (const at of INSIDE) expect(w.dma(at, '', { bytes: 4 })).toBe(hex(at))
      expect(w.faults()).toEqual([])
    })

    it('anything else is blocked with 0x29, and told whatever FPD says', () => {
      const w = mapped(kind)
      w.or(w.context, 2n)
      const asked = [
        ['r', 4, 'c0000029'],
        ['r', 64, 'c0000029'],
        ['w', 1, '80000029'],
        ['w', 8, '80000029'],
        ['rw', 4, 'c0000029'],
      ] as const
      for (const at of INSIDE) {
        for (const [access, bytes, high] of asked) {
          expect(w.dma(at, access, { bytes })).toBe('fault 29')
          const low = access === 'rw' ? '1000021a' : '0000021a'
          // FI is undefined for this reason.
          expect(w.faults().map((words) => words.split(' ')[1])).toEqual([high + low])
        }
      }
    })

    it('is translated beside it', () => {
      const w = mapped(kind)
      const toRam = kind.endsWith('pass-through') ? 0n : 0x8000_0000n
      for (const at of OUTSIDE) expect(w.dma(at, 'w', { bytes: 4 })).toBe(hex(at - toRam))
      for (const at of OUTSIDE) expect(w.dma(at, 'r', { bytes: 4 })).toBe(hex(at - toRam))
    })
  })
}

describe('the same low half above 4 GiB', () => {
  const ABOVE = 0x1_fee0_1000n

  it('is an address like others, as an input and as an output', () => {
    const w = new World('first')
    w.first.map(ABOVE, 0x5_fee0_0067n)
    w.go()
    expect([w.dma(ABOVE, 'w', { bytes: 4 }), w.dma(ABOVE, 'r', { bytes: 64 })]).toEqual(['0x5fee00000', '0x5fee00000'])
    const through = new World('pass-through').go()
    expect([through.dma(ABOVE, 'w', { pasid: PASID }), through.dma(ABOVE, 'r', { bytes: 8 })]).toEqual([
      hex(ABOVE),
      hex(ABOVE),
    ])
    expect([w.faults(), through.faults()]).toEqual([[], []])
  })
})

describe('with PASID, to the interrupt range', () => {
  it('every request is translated as others are', () => {
    for (const kind of ['first', 'second'] as const) {
      const w = mapped(kind)
      for (const [access, bytes] of [
        ['w', 4],
        ['r', 8],
        ['rw', 4],
      ] as const) {
        expect(w.dma(0xfee1_2004n, access, { bytes, pasid: PASID })).toBe('0x7ee12004')
      }
    }
  })

  it('one that passes through is blocked with 0x87', () => {
    const w = mapped('pass-through')
    for (const at of INSIDE) {
      expect(w.dma(at, 'w', { bytes: 4, pasid: PASID })).toBe('fault 87')
      expect(w.faults()).toEqual([`00000000${at.toString(16)} 800045878000021a`])
    }
    for (const at of OUTSIDE) expect(w.dma(at, 'w', { bytes: 4, pasid: PASID })).toBe(hex(at))
  })
})

describe('while translation is off, to the interrupt range', () => {
  it('nothing is blocked', () => {
    const w = new World('first')
    for (const access of ['r', 'w', 'rw']) expect(w.dma(FIRST, access, { bytes: 8 })).toBe(hex(FIRST))
    expect(w.faults()).toEqual([])
  })
})

describe('[VTD 7.1.3 LGN.4, SGN.8] an output in the interrupt range', () => {
  /** A large page whose first MiB is the range, or whose third is. */
  const large = (kind: Kind, level: number, frame: bigint): World => {
    const w = new World(kind, { mapped: false })
    const flags = kind === 'first' ? 0xe7n : 0x83n
    const tables = kind === 'first' ? w.first : w.second
    tables.map(0x4000_0000n, frame | flags, level)
    return w.go()
  }

  for (const [kind, fault] of [
    ['legacy', 'fault e'],
    ['first', 'fault 87'],
    ['second', 'fault 87'],
  ] as const) {
    it(`is told of the address, not of the page, ${kind}`, () => {
      const w = large(kind, 1, 0xfee0_0000n)
      expect(w.dma(0x400f_ffffn)).toBe(fault)
      expect(w.dma(0x4010_0000n)).toBe('0xfef00000')
      expect(w.dma(0x4000_0000n, 'w')).toBe(fault)
      const huge = large(kind, 2, 0xc000_0000n)
      expect(huge.dma(0x4000_0000n)).toBe('0xc0000000')
      expect(huge.dma(0x7ee0_0000n)).toBe(fault)
      expect(huge.dma(0x7edf_ffffn)).toBe('0xfedfffff')
      expect(huge.dma(0x7ef0_0000n)).toBe('0xfef00000')
    })
  }

  it('is 0xe in legacy mode and 0x87 in scalable mode of one and the same unit', () => {
    const w = new World('legacy')
    w.store(w.second.at(0x5000n), 0xfee0_0003n)
    w.go()
    expect(w.dma(0x5000n)).toBe('fault e')
    const scalable = new World('second')
    scalable.store(scalable.second.at(0x5000n), 0xfee0_0003n)
    scalable.go()
    expect(scalable.dma(0x5000n)).toBe('fault 87')
    expect([w.get64(0x10), w.get64(0x08)]).toEqual([scalable.get64(0x10), scalable.get64(0x08)])
  })

  it('is none of a guest-physical address in between', () => {
    const w = new World('nested', { mapped: false })
    w.first.map(0x5000n, 0xfee0_0067n)
    w.second.map(0xfee0_0000n, 0x4000_0003n)
    w.go()
    expect([w.dma(0x5abcn), w.faults()]).toEqual(['0x40000abc', []])
  })
})

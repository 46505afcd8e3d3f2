/** Which descriptors are valid, bit by bit. [VTD 6.5.2.1 to 6.5.2.9, 6.5.2.11 T26] */

import { describe, expect, it } from 'vitest'
import { CAP_48, ECAP_48, Guest, type GuestOptions, HOLE, QIE, QUEUE, REG } from './guest.js'
import { ROOT } from './world.js'

const LEGACY = ROOT
const SCALABLE = ROOT | 0x400n
const RESERVED_MODE = ROOT | 0x800n
const ABORT = ROOT | 0xc00n
const LEGACY_ONLY = { cap: 0x80d2_078c_226f_0606n, ecap: 0xfc3n }

/** A unit with a queue in some mode. */
function unit(rtaddr = SCALABLE, wide = true, options: GuestOptions = {}): Guest {
  const g = new Guest(options)
  g.start(rtaddr)
  g.startQueue(wide)
  return g
}

/** IQERCD.IQEI after a descriptor, 0 when it is valid; the queue goes on afterwards. */
function said(g: Guest, ...words: readonly bigint[]): number {
  const at = QUEUE + g.tail
  const width = g.step / 8n
  for (let i = 0n; i < width; i++) g.store(at + i * 8n, words[Number(i)] ?? 0n)
  g.tail = (g.tail + g.step) % (256n * g.step)
  g.set64(REG.IQT, g.tail)
  const isError = (g.get32(REG.FSTS) & 0x10n) !== 0n
  const info = Number(g.get64(REG.IQERCD) & 15n)
  expect(g.get64(REG.IQH)).toBe(isError ? at - QUEUE : g.tail)
  if (!isError) return 0
  expect(info).toBeGreaterThan(0)
  for (let i = 0n; i < width; i++) g.store(at + i * 8n, i === 0n ? 0x45n : 0n)
  g.set32(REG.FSTS, 0x10n)
  expect([g.get32(REG.FSTS), g.get64(REG.IQH)]).toEqual([0n, g.tail])
  return info
}

/** Which of the 64 bits of one word of a descriptor are reserved, when each is set alone. */
function reserved(g: Guest, base: readonly bigint[], word: number, skip = 0n): bigint {
  let found = 0n
  for (let bit = 0n; bit < 64n; bit++) {
    if ((skip >> bit) & 1n) continue
    const words = [...base, 0n, 0n, 0n, 0n].slice(0, 4)
    words[word] |= 1n << bit
    const info = said(g, ...words)
    if (info !== 0) found |= 1n << bit
    if (info !== 0) expect(info, `word ${word} bit ${bit}`).toBe(4)
  }
  return found
}

const ALL = 0xffff_ffff_ffff_ffffn
/** Type bits 3:0 and 11:9; and G. */
const TYPE = 0xe0fn
const G = 0x30n

/** Descriptor, a valid one, reserved bits of both words. */
const DESCRIPTORS: readonly (readonly [name: string, base: readonly bigint[], low: bigint, high: bigint])[] = [
  ['context-cache', [0x11n], 0xfffc_0000_0000_f1c0n, ALL],
  ['IOTLB', [0x12n], 0xffff_ffff_0000_f100n, 0xf80n],
  // AM beyond MAMV is no reserved bit: bit 5 alone is 32.
  ['IOTLB of pages', [0x32n], 0xffff_ffff_0000_f100n, 0xf80n | 0x20n],
  ['wait', [0x05n], 0xffff_f180n, 0x3n],
  ['PASID-based IOTLB', [0x26n], 0xfff0_0000_0000_f1c0n, 0xf80n],
  ['PASID-based IOTLB of pages', [0x36n], 0xfff0_0000_0000_f1c0n, 0xf80n],
  ['PASID-cache', [0x37n], 0xfff0_0000_0000_f1c0n, ALL],
]

describe('a 256-bit descriptor has reserved bits, and no others:', () => {
  for (const [name, base, low, high] of DESCRIPTORS) {
    it(name, () => {
      const g = unit()
      // SW alone would write to address 0, and IF would interrupt; both are asked for below.
      expect(reserved(g, base, 0, TYPE | G)).toBe(low & ~G)
      expect(reserved(g, base, 1)).toBe(high)
      expect(reserved(g, base, 2)).toBe(ALL)
      expect(reserved(g, base, 3)).toBe(ALL)
    })
  }

  it('a wait may have IF, SW and FN in every combination', () => {
    const g = unit()
    for (let flags = 0n; flags < 8n; flags++) expect(said(g, 5n | (flags << 4n), 0x9000n)).toBe(0)
  })

  it('a wait may have PD where drains are offered', () => {
    // DT, PRS and PDS; a page request is never made here.
    const g = unit(SCALABLE, true, { ecap: ECAP_48 | (1n << 2n) | (1n << 29n) | (1n << 42n) })
    expect(said(g, 0xa5n, 0x9000n)).toBe(0)
    expect(said(unit(), 0xa5n, 0x9000n)).toBe(4)
  })
})

describe('a 128-bit descriptor has reserved bits, and no others:', () => {
  for (const [name, base, low, high] of DESCRIPTORS.slice(0, 4)) {
    it(name, () => {
      const g = unit(LEGACY, false)
      expect(reserved(g, base, 0, TYPE | G)).toBe(low & ~G)
      expect(reserved(g, base, 1)).toBe(high)
    })
  }
})

describe('granularity', () => {
  const granularities = (type: bigint): number[] => [0n, 1n, 2n, 3n].map((g) => said(unit(), type | (g << 4n)))

  it('0 of the context cache and of the IOTLB is reserved', () => {
    expect([granularities(1n), granularities(2n)]).toEqual([
      [4, 0, 0, 0],
      [4, 0, 0, 0],
    ])
  })

  it('0 and 1 of the PASID-based IOTLB, 2 of the PASID cache are reserved', () => {
    expect([granularities(6n), granularities(7n)]).toEqual([
      [4, 4, 0, 0],
      [0, 0, 4, 0],
    ])
  })

  it('of pages is invalid for the IOTLB without PSI, not for the PASID-based one', () => {
    const g = unit(SCALABLE, true, { cap: CAP_48 & ~(1n << 39n) })
    expect(said(g, 0x32n)).not.toBe(0)
    expect([said(g, 0x22n), said(g, 0x12n), said(g, 0x36n)]).toEqual([0, 0, 0])
  })

  it('of more pages than MAMV is invalid for the IOTLB, not for the PASID-based one', () => {
    const g = unit()
    expect([said(g, 0x32n, 18n), said(g, 0x32n, 19n), said(g, 0x32n, 63n)]).toEqual([0, 4, 4])
    expect([said(g, 0x36n, 19n), said(g, 0x36n, 63n)]).toEqual([0, 0])
  })

  it('of a domain or of everything does not look at AM', () => {
    const g = unit()
    expect([said(g, 0x12n, 63n), said(g, 0x22n, 63n), said(g, 0x26n, 63n)]).toEqual([0, 0, 0])
  })
})

describe('[VTD 6.5.2] domain-ids beyond ND', () => {
  it('are ignored, not reserved', () => {
    const g = unit(SCALABLE, true, { cap: (CAP_48 & ~7n) | 2n })
    for (const word of [0x21n, 0x22n, 0x32n, 0x26n, 0x36n, 0x07n, 0x17n]) {
      expect(said(g, word | (0xff00n << 16n)), word.toString(16)).toBe(0)
    }
  })
})

/** Types 0 to 127: bits 3:0, and 6:4 in bits 11:9. */
const TYPES = Array.from({ length: 128 }, (_, type) => type)
/** A word of a type that is otherwise valid. */
const ofType = (type: number): bigint => {
  const granularity: Readonly<Record<number, bigint>> = { 1: 0x10n, 2: 0x10n, 6: 0x20n, 7: 0x30n }
  return BigInt(type & 15) | (BigInt(type >> 4) << 9n) | (granularity[type] ?? 0n)
}

describe('[VTD 6.5.2.11 T26] a unit without device-TLBs and interrupt remapping takes types', () => {
  const taken = (g: Guest): number[] =>
    TYPES.filter((type) => {
      const info = said(g, ofType(type))
      if (info !== 0) expect(info).toBe(3)
      return info === 0
    })

  it('1, 2, 5, 6, 7 in scalable mode, and in abort mode', () => {
    expect(taken(unit(SCALABLE))).toEqual([1, 2, 5, 6, 7])
    expect(taken(unit(ABORT))).toEqual([1, 2, 5, 6, 7])
  })

  it('1, 2, 5 in legacy mode, in either width', () => {
    expect(taken(unit(LEGACY, true))).toEqual([1, 2, 5])
    expect(taken(unit(LEGACY, false))).toEqual([1, 2, 5])
    expect(taken(unit(LEGACY, false, LEGACY_ONLY))).toEqual([1, 2, 5])
  })
})

describe('[VTD 6.5.2.11 T26] a unit with device-TLBs, page requests and host permission tables takes types', () => {
  it('1 to 3 and 5 to 10, and none whose upper bits are set', () => {
    const ecap = ECAP_48 | (1n << 2n) | (1n << 29n) | (1n << 55n)
    const g = unit(SCALABLE, true, { ecap })
    const granularity = (type: number): bigint => (type === 10 ? 0x10n : 0n)
    const taken = TYPES.filter((type) => said(g, ofType(type) | granularity(type)) === 0)
    expect(taken).toEqual([1, 2, 3, 5, 6, 7, 8, 9, 10])
    // In legacy mode the same unit takes the old ones.
    const legacy = unit(LEGACY, true, { ecap })
    expect(TYPES.filter((type) => said(legacy, ofType(type) | granularity(type)) === 0)).toEqual([1, 2, 3, 5])
  })
})

/** FSTS, IQEI and IQH once a fence has been queued. */
function state(g: Guest): string {
  return [g.get32(REG.FSTS), g.get64(REG.IQERCD) & 15n, g.get64(REG.IQH)].map((n) => n.toString(16)).join(' ')
}

describe('[VTD 11.4.9.9] IQEI', () => {
  it('7: no type is valid with TTM 2', () => {
    const g = unit(RESERVED_MODE)
    g.queue(0x45n, 0n)
    expect(state(g)).toBe('10 7 0')
  })

  it('5: 128-bit descriptors in scalable and abort mode; 256-bit ones in a unit that has neither', () => {
    for (const mode of [SCALABLE, ABORT]) {
      const g = unit(mode, false)
      g.queue(0x45n, 0n)
      expect(state(g)).toBe('10 5 0')
    }
    const g = unit(LEGACY, true, LEGACY_ONLY)
    g.queue(0x45n, 0n)
    expect(state(g)).toBe('10 5 0')
  })

  it('6: a tail in the middle of a 256-bit descriptor', () => {
    const g = unit()
    g.set64(REG.IQT, 0x10n)
    expect(g.get32(REG.FSTS)).toBe(0x10n)
    expect(g.get64(REG.IQERCD) & 15n).toBe(6n)
  })

  it('1: a tail beyond the queue', () => {
    for (const [wide, mode] of [
      [true, SCALABLE],
      [false, LEGACY],
    ] as const) {
      const g = unit(mode, wide)
      const size = wide ? 0x2000n : 0x1000n
      g.set64(REG.IQT, size)
      expect([g.get32(REG.FSTS), g.get64(REG.IQERCD) & 15n], `${wide}`).toEqual([0x10n, 1n])
    }
  })

  it('2: a queue where no memory is', () => {
    const g = new Guest()
    g.start(SCALABLE)
    g.set64(REG.IQA, HOLE | 0x801n)
    g.enable(QIE)
    g.set64(REG.IQT, 0x20n)
    expect(state(g)).toBe('10 2 0')
  })

  it('2 goes away when memory is there, by clearing IQE alone', () => {
    const g = new Guest()
    g.start(SCALABLE)
    g.set64(REG.IQA, 0xffff_f000n | 0x801n)
    g.enable(QIE)
    g.store(0xffff_ffe0n, 0x45n, 0n, 0n, 0n)
    // Descriptors 0 to 127 are in the last page of memory, 128 is behind it.
    for (let i = 0n; i < 128n; i++) g.store(0xffff_f000n + i * 32n, 0x45n, 0n, 0n, 0n)
    g.set64(REG.IQT, 0x1020n)
    expect(state(g)).toBe('10 2 1000')
  })
})

describe('[VTD 6.5.2.11] an invalid descriptor', () => {
  it('stops the queue at itself: what is before it is done, what is behind is not', () => {
    const g = unit()
    g.queue(0x1_0000_0025n, 0x9000n, 0xfn, 0n, 0x2_0000_0025n, 0x9008n)
    expect([g.load(0x9000n), g.load(0x9008n), state(g)]).toEqual([1n, 0n, '10 3 20'])
  })

  it('holds tail writes off until IQE is cleared; the queue then goes on without one', () => {
    const g = unit()
    g.queue(0xfn, 0n)
    g.queue(0x1_0000_0025n, 0x9000n)
    expect([g.load(0x9000n), state(g)]).toEqual([0n, '10 3 0'])
    g.store(QUEUE, 0x45n)
    expect(g.load(0x9000n)).toBe(0n)
    g.set32(REG.FSTS, 0x10n)
    expect([g.load(0x9000n), g.get32(REG.FSTS), g.get64(REG.IQH)]).toEqual([1n, 0n, 0x40n])
  })

  it('stops it again, when nobody has mended it', () => {
    const g = unit()
    g.queue(0xfn, 0n)
    g.set32(REG.FSTS, 0x10n)
    expect(state(g)).toBe('10 3 0')
  })

  it('is recovered from as Linux does: its wait is written over it, IQE is cleared', () => {
    const g = unit()
    const wait = [0x2_0000_0025n, 0x9000n]
    g.queue(0x32n | (9n << 16n), 63n, ...wait)
    expect(state(g)).toBe('10 4 0')
    const head = g.get64(REG.IQH)
    g.store(QUEUE + head, ...wait)
    g.set32(REG.FSTS, 0x10n)
    expect([g.load(0x9000n), g.get64(REG.IQH), g.get64(REG.IQT)]).toEqual([2n, 0x40n, 0x40n])
  })

  it('leaves IQERCD without a source-id, and other errors alone', () => {
    const g = unit()
    g.queue(0xfn, 0n)
    expect(g.get64(REG.IQERCD)).toBe(3n)
    g.set32(REG.FSTS, 0x60n)
    expect(g.get32(REG.FSTS)).toBe(0x10n)
  })

  it('goes with the queue when that is switched off and on', () => {
    const g = unit()
    g.queue(0xfn, 0n)
    g.store(QUEUE, 0x45n)
    g.set32(REG.FSTS, 0x10n)
    g.disable(QIE)
    g.startQueue()
    g.queue(0x1_0000_0025n, 0x9000n)
    expect([g.load(0x9000n), g.get64(REG.IQH)]).toEqual([1n, 0x20n])
  })
})

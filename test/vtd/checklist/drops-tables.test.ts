/** What each invalidation drops of paging-structure caches and what survives it. [VTD 6.2.5, T23, T24] */

import { describe, expect, it } from 'vitest'
import { type Cache, did, Garden, lost, type Plant, pasid } from './garden.js'
import { SRTP, TE } from './guest.js'

const A = 0x0208
const B = 0x0310

const SCALABLE: Readonly<Record<string, Plant>> = {
  fs: { kind: 'first', sid: A, pasid: 5, did: 2n, va: 0x1_0000_0000n },
  'fs of another PASID': { kind: 'first', sid: A, pasid: 6, did: 2n, va: 0x1_0000_0000n },
  'fs of another domain': { kind: 'first', sid: B, pasid: 5, did: 3n, va: 0x1_0000_0000n },
  'fs elsewhere': { kind: 'first', sid: A, pasid: 5, did: 2n, va: 0x2_0000_0000n },
  ss: { kind: 'second', sid: A, pasid: 7, did: 4n, va: 0x1_0000_0000n },
  'ss elsewhere': { kind: 'second', sid: A, pasid: 7, did: 4n, va: 0x2_0000_0000n },
  'ss of another domain': { kind: 'second', sid: B, pasid: 7, did: 5n, va: 0x1_0000_0000n },
  ne: { kind: 'nested', sid: A, pasid: 8, did: 4n, va: 0x3_0000_0000n },
  'ne of another function': { kind: 'nested', sid: B, pasid: 6, did: 4n, va: 0x4_0000_0000n },
}

const TABLES: readonly Cache[] = ['first tables', 'second tables']
const FIRST = 'fs, fs of another PASID, fs of another domain, fs elsewhere, ne, ne of another function'
const SECOND = 'ss, ss elsewhere, ss of another domain, ne, ne of another function'
const NOTHING = { 'first tables': '', 'second tables': '' }
const EVERYTHING = { 'first tables': FIRST, 'second tables': SECOND }
const SECOND_OF_4 = 'ss, ss elsewhere, ne, ne of another function'

const send =
  (low: bigint, high = 0n) =>
  (g: Garden): void =>
    g.queue(low, high)
const dropped = (act: (g: Garden) => void): Record<string, string> => lost(SCALABLE, TABLES, act)

/** Where the garden puts a nested page in the second stage. */
const GPA_OF_NE = 0x200_0000_0000n + 0x3_0000_0000n

describe('paging-structure entries', () => {
  it('are kept: a page beside one that was read is found though its table is gone from memory', () => {
    expect(dropped(() => {})).toEqual(NOTHING)
  })

  it('survive invalidations of context and PASID entries', () => {
    expect(dropped(send(0x11n))).toEqual(NOTHING)
    expect(dropped(send(0x37n))).toEqual(NOTHING)
  })

  it('are gone with everything: globally, by SRTP, by switching translation off', () => {
    expect(dropped(send(0x12n))).toEqual(EVERYTHING)
    expect(dropped((g) => g.once(SRTP))).toEqual(EVERYTHING)
    const off = (g: Garden): void => {
      g.disable(TE)
      g.enable(TE)
    }
    expect(dropped(off)).toEqual(EVERYTHING)
  })
})

describe('[VTD 6.5.2.3 T23] an IOTLB invalidation', () => {
  it('of a domain drops the entries of both stages of that domain', () => {
    expect(dropped(send(0x22n | did(2)))).toEqual({
      ...NOTHING,
      'first tables': 'fs, fs of another PASID, fs elsewhere',
    })
    expect(dropped(send(0x22n | did(4)))).toEqual({
      'first tables': 'ne, ne of another function',
      'second tables': SECOND_OF_4,
    })
  })

  it('of a page drops second-stage entries in range, and first-stage ones of the domain anywhere', () => {
    expect(dropped(send(0x32n | did(4), 0x1_0000_0000n))).toEqual({
      'first tables': 'ne, ne of another function',
      'second tables': 'ss',
    })
    expect(dropped(send(0x32n | did(4), GPA_OF_NE))['second tables']).toBe('ne')
    expect(dropped(send(0x32n | did(2), 0x9_0000_0000n))['first tables']).toBe('fs, fs of another PASID, fs elsewhere')
  })

  it('of a page beside, under the same table, drops that table', () => {
    expect(dropped(send(0x32n | did(4), 0x1_001f_f000n))['second tables']).toBe('ss')
    expect(dropped(send(0x32n | did(4), 0x1_0020_0000n))['second tables']).toBe('')
  })

  it('with IH leaves the second-stage entries, and drops the first-stage ones of the domain all the same', () => {
    expect(dropped(send(0x32n | did(4), 0x1_0000_0040n))).toEqual({
      'first tables': 'ne, ne of another function',
      'second tables': '',
    })
    expect(dropped(send(0x32n | did(2), 0x9_0000_0040n))['first tables']).toBe('fs, fs of another PASID, fs elsewhere')
  })

  it('of a domain, or of everything, does not look at IH', () => {
    expect(dropped(send(0x22n | did(4), 0x40n))['second tables']).toBe(SECOND_OF_4)
    expect(dropped(send(0x12n, 0x40n))).toEqual(EVERYTHING)
  })
})

describe('[VTD 6.5.2.4 T24] a PASID-based IOTLB invalidation', () => {
  it('of a PASID drops its first-stage entries, and no second-stage one', () => {
    expect(dropped(send(0x26n | did(2) | pasid(5)))).toEqual({ ...NOTHING, 'first tables': 'fs, fs elsewhere' })
    expect(dropped(send(0x26n | did(4) | pasid(8)))).toEqual({ ...NOTHING, 'first tables': 'ne' })
    expect(dropped(send(0x26n | did(4) | pasid(7)))).toEqual(NOTHING)
  })

  it('of a page drops first-stage entries in range', () => {
    expect(dropped(send(0x36n | did(2) | pasid(5), 0x1_0000_0000n))).toEqual({ ...NOTHING, 'first tables': 'fs' })
    expect(dropped(send(0x36n | did(4) | pasid(8), 0x3_0000_0000n))).toEqual({ ...NOTHING, 'first tables': 'ne' })
    expect(dropped(send(0x36n | did(2) | pasid(5), 0x1_0020_0000n))).toEqual(NOTHING)
    expect(dropped(send(0x36n | did(4) | pasid(7), 0x1_0000_0000n))).toEqual(NOTHING)
  })

  it('of a page with IH drops none of them', () => {
    expect(dropped(send(0x36n | did(2) | pasid(5), 0x1_0000_0040n))).toEqual(NOTHING)
  })

  it('of a PASID does not look at IH', () => {
    expect(dropped(send(0x26n | did(2) | pasid(5), 0x40n))['first tables']).toBe('fs, fs elsewhere')
  })
})

describe('in legacy mode', () => {
  const LEGACY: Readonly<Record<string, Plant>> = {
    ss: { kind: 'legacy', sid: A, did: 4n, va: 0x1_0000_0000n },
    'ss elsewhere': { kind: 'legacy', sid: A, did: 4n, va: 0x2_0000_0000n },
    'ss of another domain': { kind: 'legacy', sid: B, did: 5n, va: 0x1_0000_0000n },
  }
  const legacy = (low: bigint, high = 0n): string => lost(LEGACY, ['second tables'], send(low, high))['second tables']

  it('entries are dropped by domain and by page, not with IH', () => {
    expect(legacy(0x11n)).toBe('')
    expect(legacy(0x12n)).toBe('ss, ss elsewhere, ss of another domain')
    expect(legacy(0x22n | did(4))).toBe('ss, ss elsewhere')
    expect(legacy(0x32n | did(4), 0x1_0000_0000n)).toBe('ss')
    expect(legacy(0x32n | did(4), 0x1_0000_0040n)).toBe('')
  })
})

describe('[VTD 10.1 T17] paging-structure entries are shared', () => {
  it('by functions of a domain, as translations are not', () => {
    const plants = {
      one: { kind: 'second', sid: A, pasid: 7, did: 4n, va: 0x1_0000_0000n },
      other: { kind: 'second', sid: B, pasid: 9, did: 4n, va: 0x5_0000_0000n },
    } as const
    const g = new Garden(plants)
    const page = { sid: B, pasid: 9 }
    g.store(g.leaf({ ...plants.one, level: 1 }), 0n)
    expect(g.dma(0x1_0000_1000n, 'r', page)).toMatch(/^0x/)
    g.queue(0x22n | did(4), 0n)
    expect(g.dma(0x1_0000_1000n, 'r', page)).toBe('fault 79')
  })
})

describe('[VTD 6.2.5] a first-stage entry that is kept', () => {
  it('has its A set in memory first, and is not kept if it is not present', () => {
    const plant = { kind: 'first', sid: A, pasid: 5, did: 2n, va: 0x1_0000_0000n } as const
    const g = new Garden({ plant })
    const beside = 0x1_0040_0000n
    expect(g.dma(beside, 'r', plant)).toBe('fault 71')
    g.store(g.leaf({ ...plant, va: beside, level: 1 }), g.load(g.leaf({ ...plant, level: 1 })))
    expect(g.dma(beside, 'r', plant)).toMatch(/^0x/)
  })
})

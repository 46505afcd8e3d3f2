/** What a unit may keep of faults, by caching mode, and what it may make of rights and large pages. [VTD 6.1, 6.2] */

import { describe, expect, it } from 'vitest'
import { did, pasid } from './garden.js'
import { CAP_48 } from './guest.js'
import { GPA, type Kind, PA, PASID, RID_PASID, VA, World, type WorldOptions } from './world.js'

const OK = `0x${PA.toString(16)}`
const CM = { cap: CAP_48 | 0x80n, faults: true } as const
const HARDWARE = { cap: CAP_48, faults: true } as const

/** Meets a fault, mends memory, and asks again; then once more after each descriptor. */
function mended(
  kind: Kind,
  options: WorldOptions,
  at: (w: World) => bigint,
  spoilt: (word: bigint) => bigint,
  ...descriptors: readonly (readonly [low: bigint, high?: bigint])[]
): string[] {
  const w = new World(kind, options)
  const good = w.load(at(w))
  w.store(at(w), spoilt(good))
  w.go()
  const answers = [w.dma(VA)]
  w.store(at(w), good)
  answers.push(w.dma(VA))
  for (const [low, high = 0n] of descriptors) {
    w.queue(low, high)
    answers.push(w.dma(VA))
  }
  return answers
}

const absent = (word: bigint): bigint => word & ~3n
const reserved = (word: bigint): bigint => word | (1n << 51n)
const context = (w: World): bigint => w.context
const entry = (w: World): bigint => w.entry()
const page = (w: World): bigint => w.second.at(VA)
const table = (w: World): bigint => w.second.at(VA, 1)
const SID_WORD = 0x021a_0000_0000n

describe('[VTD 6.1] without caching mode, nothing that faulted is kept:', () => {
  const rows: readonly (readonly [what: string, kind: Kind, at: (w: World) => bigint, fault: string])[] = [
    ['a root entry', 'first', (w) => w.rootEntry, 'fault 39'],
    ['a context entry', 'first', context, 'fault 41'],
    ['a legacy context entry', 'legacy', context, 'fault 2'],
    ['a directory entry', 'first', (w) => w.directoryEntry, 'fault 51'],
    ['a PASID entry', 'first', entry, 'fault 59'],
    ['a first-stage table', 'first', (w) => w.first.at(VA, 2), 'fault 71'],
    ['a first-stage page', 'first', (w) => w.first.at(VA), 'fault 71'],
    ['a second-stage table', 'second', table, 'fault 79'],
    ['a second-stage page', 'second', page, 'fault 79'],
    ['a legacy page', 'legacy', page, 'fault 6'],
    ['a second-stage page, nested', 'nested', (w) => w.second.at(GPA), 'fault 79'],
  ]
  for (const [what, kind, at, fault] of rows) {
    it(what, () => expect(mended(kind, HARDWARE, at, absent)).toEqual([fault, OK]))
  }
})

describe('[VTD 6.2.2, 6.2.3] with caching mode, an absent entry is kept', () => {
  it('of a legacy context, and dropped by its function with domain 0', () => {
    const device = 0x31n | SID_WORD
    expect(mended('legacy', CM, context, absent, [device | did(7)], [device], [0x22n | did(7)])).toEqual([
      'fault 2',
      'fault 2',
      'fault 2',
      OK,
      OK,
    ])
  })

  it('of a scalable context, and dropped by its function', () => {
    const answers = mended('first', CM, context, absent, [0x31n | (SID_WORD ^ (1n << 32n))], [0x31n | SID_WORD])
    expect(answers).toEqual(['fault 41', 'fault 41', 'fault 41', OK])
  })

  it('of a PASID, and dropped by domain 0 or by its PASID with any domain, as Linux does', () => {
    const one = 0x17n | pasid(RID_PASID)
    const all = ['fault 59', 'fault 59']
    expect(mended('first', CM, entry, absent, [0x17n | pasid(PASID)], [one])).toEqual([...all, 'fault 59', OK])
    expect(mended('first', CM, entry, absent, [0x07n | did(7)], [0x07n])).toEqual([...all, 'fault 59', OK])
    expect(mended('first', CM, entry, absent, [one | did(7)])).toEqual([...all, OK])
    expect(mended('first', CM, entry, absent, [0x37n])).toEqual([...all, OK])
  })

  it('and so is one that is spoilt', () => {
    expect(mended('first', CM, context, reserved, [0x11n])).toEqual(['fault 42', 'fault 42', OK])
    expect(mended('first', CM, entry, reserved, [0x37n])).toEqual(['fault 5a', 'fault 5a', OK])
  })
})

describe('[VTD 6.2.4.1] with caching mode, a second-stage fault is kept', () => {
  const frame = VA & ~0xfffn

  it('of a page, and dropped by page and by domain', () => {
    const other = 0x32n | did(7)
    expect(mended('second', CM, page, absent, [other, frame + 0x10_0000_0000n], [other, frame])).toEqual([
      'fault 79',
      'fault 79',
      'fault 79',
      OK,
    ])
    expect(mended('second', CM, page, absent, [0x22n | did(8)], [0x22n | did(7)])).toEqual([
      'fault 79',
      'fault 79',
      'fault 79',
      OK,
    ])
  })

  it('of a table, not dropped with IH', () => {
    const answers = mended('second', CM, table, absent, [0x22n | did(7)])
    expect(answers).toEqual(['fault 79', 'fault 79', OK])
  })

  it('in legacy mode, and nested', () => {
    expect(mended('legacy', CM, page, absent, [0x22n | did(7)])).toEqual(['fault 6', 'fault 6', OK])
    expect(mended('nested', CM, (w) => w.second.at(GPA), absent, [0x22n | did(7)])).toEqual([
      'fault 79',
      'fault 79',
      OK,
    ])
  })
})

describe('[VTD 6.1] caching mode does not apply to the first stage', () => {
  it('whose absent entries are never kept', () => {
    for (const level of [0, 1, 2, 3]) {
      for (const kind of ['first', 'nested'] as const) {
        expect(mended(kind, CM, (w) => w.first.at(VA, level), absent)).toEqual(['fault 71', OK])
      }
    }
  })
})

describe('[VTD 3.6.1, 6.5.3.6] a translation that lacks a right', () => {
  const upgraded = (rights: 'lenient' | 'strict'): string[] => {
    const w = new World('second', { rights })
    w.clear(w.second.at(VA), 2n)
    w.go()
    const answers = [w.dma(VA)]
    w.or(w.second.at(VA), 2n)
    answers.push(w.dma(VA, 'w'))
    w.queue(0x32n | did(7), VA & ~0xfffn)
    return [...answers, w.dma(VA, 'w')]
  }

  it('is looked up again by a lenient unit, and believed by a strict one', () => {
    expect(upgraded('lenient')).toEqual([OK, OK, OK])
    expect(upgraded('strict')).toEqual([OK, 'fault 85', OK])
  })
})

describe('[VTD 6.2.4.1, 6.5.3.2] a large page', () => {
  it('may be kept in fractions: an invalidation of 4 KiB then does not drop the rest', () => {
    const dropped = (fractions: boolean, am: bigint): string[] => {
      const w = new World('second', { fractions, mapped: false })
      w.second.map(0x4000_0000n, 0x8000_0083n, 1)
      w.go()
      const pages = [0x4000_0000n, 0x4000_1000n]
      for (const va of pages) w.dma(va)
      w.clear(w.context, 1n)
      w.queue(0x32n | did(7), 0x4000_0000n | am, 0x37n, 0n, 0x11n, 0n)
      return pages.map((va) => w.dma(va))
    }
    expect(dropped(false, 0n)).toEqual(['fault 41', 'fault 41'])
    expect(dropped(true, 0n)).toEqual(['fault 41', '0x80001000'])
    expect(dropped(true, 9n)).toEqual(['fault 41', 'fault 41'])
  })
})

describe('caches', () => {
  it('may be absent: what is in memory then counts at once', () => {
    for (const kind of ['legacy', 'first', 'second', 'nested'] as const) {
      const w = new World(kind, { policy: 'off' }).go()
      const leaf = kind === 'first' || kind === 'nested' ? w.first.at(VA) : w.second.at(VA)
      expect(w.dma(VA)).toBe(OK)
      w.store(leaf, 0n)
      expect(w.dma(VA)).toMatch(/^fault/)
    }
  })

  it('may drop more than they are asked to', () => {
    const w = new World('second', { invalidation: 'wide' }).go()
    w.dma(VA)
    w.store(w.second.at(VA), 0n)
    w.queue(0x32n | did(7), VA & ~0xfffn)
    expect(w.dma(VA)).toBe('fault 79')
  })
})

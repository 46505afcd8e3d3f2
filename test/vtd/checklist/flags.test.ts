/** Accessed, extended accessed and dirty flags of both stages. [VTD 3.6.2, 3.7.2, 3.8.1] */

import { describe, expect, it } from 'vitest'
import { ROM } from './guest.js'
import { GPA, GPA_OF_TABLES, type Kind, PA, PASID, VA, World } from './world.js'

const OK = `0x${PA.toString(16)}`
const LEVELS = [0, 1, 2, 3] as const
const A = 0x20n
const D = 0x40n
const EA = 0x400n
const SS_A = 0x100n
const SS_D = 0x200n
const SSADE = [0x200n] as const

/** A first stage without any flag. */
function bare(kind: Kind, entry: readonly bigint[] = []): World {
  const w = new World(kind, { entry })
  for (const level of LEVELS) w.clear(w.first.at(VA, level), A | D | EA)
  return w.go()
}

const flags = (w: World): bigint[] => LEVELS.map((level) => w.load(w.first.at(VA, level)) & (A | D | EA))
const under = (w: World, level: number): bigint =>
  w.load(w.second.at((w.first.at(VA, level) & ~0xfffn) + GPA_OF_TABLES))

describe('[VTD 3.6.2] the first stage', () => {
  it('sets A in every entry of a read, and no D', () => {
    const w = bare('first')
    expect([w.dma(VA), flags(w)]).toEqual([OK, [A, A, A, A]])
  })

  it('sets D in the page of a write, and nowhere else', () => {
    const w = bare('first')
    expect([w.dma(VA, 'w'), flags(w)]).toEqual([OK, [A | D, A, A, A]])
  })

  it('sets D for an AtomicOp too', () => {
    const w = bare('first')
    expect([w.dma(VA, 'rw', { pasid: PASID }), flags(w)]).toEqual([OK, [A | D, A, A, A]])
  })

  it('sets EA with A where EAFE is set', () => {
    const w = bare('first', [0n, 0n, 0x80n])
    expect([w.dma(VA, 'w'), flags(w)]).toEqual([OK, [A | D | EA, A | EA, A | EA, A | EA]])
  })

  it('leaves all other bits as they are', () => {
    const w = new World('first')
    const at = w.first.at(VA)
    w.store(at, 0xfff0_0000_8765_4b9fn)
    w.go().dma(VA, 'w')
    expect(w.load(at)).toBe(0xfff0_0000_8765_4bffn)
  })

  it('sets D later, when a page that was read is written: the cached read does not do', () => {
    const w = bare('first')
    w.dma(VA)
    expect(flags(w)[0]).toBe(A)
    w.dma(VA, 'w')
    expect(flags(w)[0]).toBe(A | D)
  })

  it('sets no D for a write that is refused', () => {
    const w = new World('first')
    w.clear(w.first.at(VA), D | 2n)
    expect([w.go().dma(VA, 'w'), w.load(w.first.at(VA)) & D]).toEqual(['fault 85', 0n])
    const upper = new World('first')
    upper.clear(upper.first.at(VA), D)
    upper.clear(upper.first.at(VA, 3), 2n)
    expect([upper.go().dma(VA, 'w'), upper.load(upper.first.at(VA)) & D]).toEqual(['fault 85', 0n])
  })

  it('writes nothing where nothing is to be set: tables may be in memory that cannot be written', () => {
    const w = new World('first')
    w.rom[Number((VA >> 12n) & 511n)] = 0x8765_4067n
    w.store(w.first.at(VA, 1), ROM | 0x27n)
    w.go()
    expect([w.dma(VA), w.dma(VA, 'w')]).toEqual([OK, OK])
  })

  it('writes nothing without PWSNP where nothing is to be set', () => {
    const w = new World('first')
    w.clear(w.entry() + 8n, 1n << 23n)
    w.go()
    expect([w.dma(VA), w.dma(VA, 'w')]).toEqual([OK, OK])
  })

  it('does not set a flag again that software cleared, until that is invalidated', () => {
    const w = bare('first')
    w.dma(VA, 'w')
    w.clear(w.first.at(VA), A | D)
    w.dma(VA, 'w')
    expect(flags(w)[0]).toBe(0n)
    w.queue(0x7_0036n | (0x43n << 32n), VA & ~0xfffn)
    w.dma(VA, 'w')
    expect(flags(w)[0]).toBe(A | D)
  })
})

describe('[VTD 3.7.2] the second stage', () => {
  const seen = (w: World): bigint[] => LEVELS.map((level) => w.load(w.second.at(VA, level)) & (SS_A | SS_D))

  it('sets A in every entry and D in the page of a write, with SSADE', () => {
    const w = new World('second', { entry: SSADE }).go()
    expect([w.dma(VA), seen(w)]).toEqual([OK, [SS_A, SS_A, SS_A, SS_A]])
    expect([w.dma(VA, 'w'), seen(w)]).toEqual([OK, [SS_A | SS_D, SS_A, SS_A, SS_A]])
  })

  it('sets nothing without, and nothing in legacy mode', () => {
    for (const kind of ['second', 'legacy'] as const) {
      const w = new World(kind).go()
      expect([w.dma(VA, 'w'), seen(w)]).toEqual([OK, [0n, 0n, 0n, 0n]])
    }
  })

  it('does not look at flags that are not kept', () => {
    const w = new World('second')
    for (const level of LEVELS) w.or(w.second.at(VA, level), SS_A | SS_D)
    w.go()
    expect([w.dma(VA), seen(w)[0]]).toEqual([OK, SS_A | SS_D])
  })

  it('sets no D for a write that is refused', () => {
    const w = new World('second', { entry: SSADE })
    w.clear(w.second.at(VA), 2n)
    expect([w.go().dma(VA, 'w'), w.load(w.second.at(VA)) & SS_D]).toEqual(['fault 85', 0n])
  })
})

describe('[VTD 3.8.1] nested', () => {
  it('sets flags of the first stage through the second', () => {
    const w = bare('nested')
    expect([w.dma(VA, 'w'), flags(w)]).toEqual([OK, [A | D, A, A, A]])
  })

  it('sets A and D of the second stage under first-stage tables, and of the page', () => {
    const w = bare('nested', SSADE)
    expect(w.dma(VA, 'w')).toBe(OK)
    for (const level of LEVELS) expect(under(w, level) & (SS_A | SS_D)).toBe(SS_A | SS_D)
    expect(w.load(w.second.at(GPA)) & (SS_A | SS_D)).toBe(SS_A | SS_D)
  })

  it('sets no D of the page for a read', () => {
    const w = new World('nested', { entry: SSADE }).go()
    expect([w.dma(VA), w.load(w.second.at(GPA)) & (SS_A | SS_D)]).toEqual([OK, SS_A])
  })

  it('leaves the second stage alone without SSADE', () => {
    const w = bare('nested')
    w.dma(VA, 'w')
    for (const level of LEVELS) expect(under(w, level) & (SS_A | SS_D)).toBe(0n)
  })

  it('reads first-stage tables in pages that may only be read, if no flag is to be set', () => {
    const w = new World('nested')
    for (const level of LEVELS) w.clear(w.second.at((w.first.at(VA, level) & ~0xfffn) + GPA_OF_TABLES), 2n)
    w.go()
    expect([w.dma(VA), w.dma(VA, 'w')]).toEqual([OK, OK])
  })

  it('sets no D in a first stage whose page the second stage refuses', () => {
    const w = bare('nested')
    w.clear(w.second.at(GPA), 2n)
    expect([w.dma(VA, 'w'), flags(w)[0] & D]).toEqual(['fault 85', 0n])
  })
})

describe('[VTD 3.14] a zero-length read', () => {
  it('of a page that may only be written passes with ZLR, nested too', () => {
    for (const kind of ['legacy', 'second', 'nested'] as const) {
      const w = new World(kind)
      w.clear(w.second.at(kind === 'nested' ? GPA : VA), 1n)
      w.go()
      expect([w.dma(VA, ''), w.dma(VA, 'w'), w.dma(VA)], kind).toEqual([
        OK,
        OK,
        kind === 'legacy' ? 'fault 6' : 'fault 86',
      ])
    }
  })

  it('of a page that is not there is a fault', () => {
    const w = new World('second')
    w.store(w.second.at(VA), 0n)
    expect(w.go().dma(VA, '')).toBe('fault 79')
  })
})

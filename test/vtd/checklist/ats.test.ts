/** Translation and translated requests. [VTD 4.1, 4.2] */

import { describe, expect, it } from 'vitest'
import { REQUEST } from '../../../hw-model/port.js'
import { type Dma, ECAP_48, hex, TE } from './guest.js'
import { GPA, type Kind, PA, PASID, VA, World, type WorldOptions } from './world.js'

const DT = 1n << 2n
const NWFS = 1n << 33n
const PTRS = 1n << 56n
const ATS = { ecap: ECAP_48 | DT | NWFS, context: 4n }

/** A unit with ATS whose function may use it; a translation request, and a translated one. */
const world = (kind: Kind, more: WorldOptions = {}): World => new World(kind, { ...ATS, ...more })
const ask = (w: World, va = VA, access = 'rw', how: Dma = {}): string =>
  w.dma(va, access, { ...how, type: REQUEST.TRANSLATION })
const use = (w: World, address: bigint, access = 'r', how: Dma = {}): string =>
  w.dma(address, access, { ...how, type: REQUEST.TRANSLATED })

const OK = `${hex(PA)} rw 12`
const D = 0x40n

describe('[VTD 4.2.3] a translation request', () => {
  it('is told the address and its rights, with PASID and without', () => {
    for (const kind of ['first', 'second', 'nested'] as const) {
      const w = world(kind).go()
      expect([ask(w), ask(w, VA, 'rw', { pasid: PASID }), w.faults()]).toEqual([OK, OK, []])
    }
    expect(ask(world('legacy').go())).toBe(OK)
  })

  it('that says No Write is told R alone, and sets no D', () => {
    for (const kind of ['first', 'nested'] as const) {
      const w = world(kind)
      w.clear(w.first.at(VA), D)
      expect(ask(w.go(), VA, 'r')).toBe(`${hex(PA)} r 12`)
      expect(w.load(w.first.at(VA)) & D).toBe(0n)
      expect(ask(w)).toBe(OK)
      expect(w.load(w.first.at(VA)) & D).toBe(D)
    }
  })

  it('that says No Write to a unit without NWFS is told W as well, and sets D', () => {
    const w = world('first', { ecap: ECAP_48 | DT })
    w.clear(w.first.at(VA), D)
    expect(ask(w.go(), VA, 'r')).toBe(OK)
    expect(w.load(w.first.at(VA)) & D).toBe(D)
  })

  it('to a page that is read-only is told R, and sets no D', () => {
    const w = world('first')
    w.clear(w.first.at(VA), D | 2n)
    expect(ask(w.go())).toBe(`${hex(PA)} r 12`)
    expect(w.load(w.first.at(VA)) & D).toBe(0n)
  })

  it('sets A in every entry, and EA where that is enabled', () => {
    const w = world('first', { entry: [0n, 0n, 0x80n] })
    for (const level of [0, 1, 2, 3]) w.clear(w.first.at(VA, level), 0x20n)
    ask(w.go(), VA, 'r')
    for (const level of [0, 1, 2, 3]) expect(w.load(w.first.at(VA, level)) & 0x420n).toBe(0x420n)
  })

  it('sets A and D of a second stage that keeps them', () => {
    const w = world('second', { entry: [0x200n] })
    ask(w.go())
    expect([w.load(w.second.at(VA)) & 0x300n, w.load(w.second.at(VA, 3)) & 0x300n]).toEqual([0x300n, 0x100n])
  })

  it('of the supervisor is told nothing without SRE, and its rights with it', () => {
    const how = { pasid: PASID }
    expect(ask(world('first').go(), VA, 'rwp', how)).toBe('nothing')
    const w = world('first', { entry: [0n, 0n, 1n] })
    w.clear(w.first.at(VA), 4n)
    w.go()
    expect([ask(w, VA, 'rwp', how), ask(w, VA, 'rw', how), w.faults()]).toEqual([OK, 'nothing', []])
  })

  it('is told the page that both stages have in common', () => {
    const w = world('nested')
    w.store(w.first.at(VA, 1), (GPA & ~0x1f_ffffn) | 0xe7n)
    w.second.map((GPA & ~0x1f_ffffn) | (VA & 0x1f_f000n), 0x8765_4003n)
    expect(ask(w.go())).toBe(OK)
    const large = world('first')
    large.store(large.first.at(VA, 1), 0x8000_00e7n)
    expect(ask(large.go())).toBe(`${hex(0x8000_0000n | (VA & 0x1f_ffffn))} rw 21`)
  })

  it('of a function that passes through is told the same address, in the largest page', () => {
    expect(ask(world('pass-through').go())).toBe(`${hex(VA)} rw 30`)
    const cap = 0x81d2_078c_226f_0606n & ~((3n << 34n) | (1n << 56n))
    expect(ask(world('pass-through', { cap }).go())).toMatch(/ rw (12|21)$/)
  })

  it('is not supported where the context entry does not allow it', () => {
    const blocked = (kind: Kind, context: bigint): string[] => {
      const w = world(kind, { context }).go()
      return [ask(w), ...w.faults()]
    }
    const record = (code: string): string[] => ['UR', `0000123456789000 d00000${code}0000021a`]
    expect(blocked('legacy', 0n)).toEqual(record('0d'))
    expect(blocked('legacy pass-through', 0n)).toEqual(record('0d'))
    for (const kind of ['first', 'second', 'nested', 'pass-through'] as const) {
      expect(blocked(kind, 0n)).toEqual(record('44'))
      expect(blocked(kind, 2n)).toEqual(['UR'])
    }
  })

  it('is not supported while translation is off, and nothing is recorded', () => {
    const w = world('first').go()
    w.disable(TE)
    expect([ask(w), w.faults()]).toEqual(['UR', []])
  })

  it('with the reserved kind of address is never let through', () => {
    const w = world('first').go()
    expect([w.dma(VA, 'r', { type: 3 }), w.faults()]).toEqual(['aborted', []])
  })
})

describe('[VTD 3.15, 4.2.3] a translation request for the interrupt range', () => {
  for (const kind of ['first', 'second', 'nested', 'pass-through', 'legacy'] as const) {
    it(`without PASID is told to write untranslated, ${kind}`, () => {
      const w = world(kind).go()
      for (const at of [0xfee0_0000n, 0xfeef_f000n]) expect(ask(w, at)).toBe('untranslated only w')
      expect([ask(w, 0xfee0_0000n, 'r'), w.faults()]).toEqual(['nothing', []])
    })
  }

  it('with PASID is translated as others are', () => {
    const w = world('first')
    w.first.map(0xfee0_0000n, 0x4000_0067n)
    w.go()
    expect([ask(w, 0xfee0_0000n, 'rw', { pasid: PASID }), ask(w, 0xfee0_1000n, 'rw', { pasid: PASID })]).toEqual([
      '0x40000000 rw 12',
      'nothing',
    ])
    expect(ask(world('pass-through').go(), 0xfee0_0000n, 'rw', { pasid: PASID })).toMatch(/^0xfee00000 rw /)
  })

  it('whose page only overlaps the range is aborted: the page counts, not the address', () => {
    const w = world('second')
    w.store(w.second.at(0x4000_0000n, 1), 0xfee0_0083n)
    w.go()
    expect([ask(w, 0x4010_0000n), w.dma(0x4010_0000n)]).toEqual(['CA', '0xfef00000'])
    expect(w.faults()).toEqual(['0000000040100000 d00000870000021a'])
  })
})

describe('[VTD 4.2.5] a translated request', () => {
  it('is not translated again: its tables are not read', () => {
    for (const kind of ['first', 'second', 'nested', 'pass-through'] as const) {
      const w = world(kind)
      w.store(w.directoryEntry, 0n)
      w.go()
      expect([use(w, VA), use(w, VA, 'w'), use(w, VA, 'rw'), w.faults()]).toEqual([hex(VA), hex(VA), hex(VA), []])
    }
    const w = world('legacy')
    w.store(w.second.at(VA, 3), 0n)
    expect(use(w.go(), VA)).toBe(hex(VA))
  })

  it('is blocked beyond the host address width', () => {
    const beyond = (kind: Kind): string[] => {
      const w = world(kind, { haw: 40, mapped: false }).go()
      return [use(w, 0xff_ffff_f000n), use(w, 0x100_0000_0000n, 'w'), ...w.faults()]
    }
    expect(beyond('legacy')).toEqual(['0xfffffff000', 'fault 4', '0000010000000000 a00000040000021a'])
    expect(beyond('second')).toEqual(['0xfffffff000', 'fault 83', '0000010000000000 a00000830000021a'])
  })

  it('is blocked in the interrupt range, of whatever size', () => {
    for (const [kind, code] of [
      ['legacy', '0e'],
      ['first', '87'],
      ['pass-through', '87'],
    ] as const) {
      const w = world(kind).go()
      expect(use(w, 0xfee0_1000n, 'w', { bytes: 4 })).toBe(`fault ${Number.parseInt(code, 16).toString(16)}`)
      expect(w.faults()).toEqual([`00000000fee01000 a00000${code}0000021a`])
    }
  })

  it('is blocked where the context entry does not allow it', () => {
    const blocked = (kind: Kind): string[] => {
      const w = world(kind, { context: 0n }).go()
      return [use(w, VA), ...w.faults()]
    }
    expect(blocked('legacy')).toEqual(['fault d', '0000123456789000 e000000d0000021a'])
    expect(blocked('legacy pass-through')).toEqual(['fault d', '0000123456789000 e000000d0000021a'])
    expect(blocked('first')).toEqual(['fault 44', '0000123456789000 e00000440000021a'])
  })

  it('with a PASID is unsupported without PTRS: nothing is recorded', () => {
    const w = world('first').go()
    expect([use(w, VA, 'r', { pasid: PASID }), w.faults()]).toEqual(['aborted', []])
  })

  it('with a PASID needs EPTR, and EPTR needs PASIDE', () => {
    const ecap = ECAP_48 | DT | PTRS
    const closed = world('first', { ecap }).go()
    expect([use(closed, VA, 'r', { pasid: PASID }), closed.faults()]).toEqual([
      'fault 49',
      ['0000123456789000 e00045498000021a'],
    ])
    const open = world('first', { ecap, context: 0x44n }).go()
    expect([use(open, VA, 'r', { pasid: PASID }), open.faults()]).toEqual([hex(VA), []])
    const wrong = world('first', { ecap, context: 0x44n })
    wrong.clear(wrong.context, 8n)
    expect(use(wrong.go(), VA, 'r', { pasid: PASID })).toBe('fault 43')
    // Without either it is EPTR that is missing: PASIDE says nothing of translated requests.
    const neither = world('first', { ecap })
    neither.clear(neither.context, 8n)
    expect(use(neither.go(), VA, 'r', { pasid: PASID })).toBe('fault 49')
    const silent = world('first', { ecap, context: 6n }).go()
    expect([use(silent, VA, 'r', { pasid: PASID }), silent.faults()]).toEqual(['fault 49', []])
  })

  it('with a PASID beyond PSS, or equal to RID_PASID, is blocked', () => {
    const ecap = ((ECAP_48 | DT | PTRS) & ~(31n << 35n)) | (7n << 35n)
    const w = world('first', { ecap, context: 0x44n }).go()
    expect(use(w, VA, 'r', { pasid: 0x100 })).toBe('fault 89')
    expect(use(w, VA, 'r', { pasid: 0x43 })).toBe('fault 48')
    expect(w.faults().map((words) => words.slice(17))).toEqual(['e00100898000021a', 'e00043488000021a'])
  })

  it('is unsupported while translation is off', () => {
    const w = world('first').go()
    w.disable(TE)
    expect([use(w, VA), w.faults()]).toEqual(['aborted', []])
  })
})

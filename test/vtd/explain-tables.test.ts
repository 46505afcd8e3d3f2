/** What an explained walk tells of each entry: where it stands, its fields, and what follows. */

import { describe, expect, it } from 'vitest'
import type { WalkStep } from '../../hw-model/port.js'
import { FS, Guest, MODE, PASIDS, REG, SID, SS } from './guest.js'
import { Tables, widths } from './tables.js'

const PAGE = 0x40_0000n
const FIRST = 0x10_0000
const SECOND = 0x20_0000

function scalable(): Guest {
  const guest = new Guest({ preset: 'vtd-full' })
  guest.startScalable()
  return guest
}

const step = (steps: WalkStep[], what: string): WalkStep => steps.find((s) => s.what === what) as WalkStep
const entries = (steps: WalkStep[]): WalkStep[] => steps.filter(({ what }) => what.endsWith('-stage entry'))

describe('an explained entry', () => {
  it('of legacy mode names its fields and what they mean', () => {
    const guest = new Guest()
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, BigInt(SECOND) | 1n, 0x302n)
    new Tables(guest, SECOND, 4, SS.RW).map(PAGE, 0x30_0000n | SS.R)
    guest.start(MODE.LEGACY)
    const steps = guest.explain(PAGE)
    expect(step(steps, 'root entry')).toMatchObject({
      address: 0x1000,
      fields: { P: 1, CTP: 0x2000 },
      target: { space: 'pa', address: 0x2000 },
      citation: '[VTD 9.1 Root Entry]',
    })
    expect(step(steps, 'context entry')).toMatchObject({
      address: 0x2000 + SID * 16,
      fields: { P: 1, FPD: 0, TT: 0, SSPTPTR: SECOND, AW: 2, DID: 3 },
      texts: { TT: 'untranslated requests', AW: '4 levels, 48-bit addresses' },
      verdict: 'second-stage tables',
    })
    expect(entries(steps).map(({ level, verdict }) => [level, verdict])).toEqual([
      [4, 'next table'],
      [3, 'next table'],
      [2, 'next table'],
      [1, 'leaf, 4 KiB, read-only'],
    ])
    expect(steps.at(-1)?.verdict).toBe('translated, 4 KiB around it, read-only')
  })

  it('of scalable mode does the same, its context with every flag in words', () => {
    const guest = scalable()
    guest.store(guest.context, 0x406dn & ~0x20n, 1n << 20n)
    guest.firstStage(0, 2, FIRST, 0x91n)
    guest.path(FIRST, PAGE, 0x20_0000n | FS.PAGE, FS.TABLE)
    const steps = guest.explain(PAGE)
    expect(step(steps, 'scalable-mode context entry').texts).toEqual({
      PDTS: 'PASIDs below 8192',
      DTE: 'translation and translated requests',
      PASIDE: 'PASIDs allowed',
      PRE: 'no page requests',
      EPTR: 'PASIDs in translated requests',
      RID_PRIV: 'privileged requests',
    })
    expect(step(steps, 'PASID table entry')).toMatchObject({
      address: PASIDS,
      fields: { P: 1, FPD: 0, PGTT: 1, DID: 2, PWSNP: 1, PGSNP: 0, SRE: 1, FSPM: 0, WPE: 1, EAFE: 1, FSPTPTR: FIRST },
      texts: { PGTT: 'first stage', FSPM: '4 levels' },
      target: { space: 'pa', address: FIRST },
    })
    expect(entries(steps)[3]).toMatchObject({
      stage: 1,
      level: 1,
      fields: { P: 1, RW: 1, US: 1, A: 1, D: 1, XD: 0, ADDR: 0x20_0000 },
      texts: { RW: 'read-write', US: 'user', A: 'accessed', D: 'dirty' },
    })
  })

  it('of five levels counts from 5', () => {
    const guest = new Guest({ preset: 'vtd-full', ids: widths(14, 57, 52) })
    guest.startScalable()
    new Tables(guest, FIRST, 5, FS.TABLE).map(PAGE, 0x4000_0000n | FS.PAGE | FS.PS, 3)
    guest.firstStage(0, 2, FIRST, 4n)
    const first = entries(guest.explain(PAGE))
    expect(first.map(({ level }) => level)).toEqual([5, 4, 3])
    expect([first[2].texts?.['PS'], first[2].verdict]).toEqual(['leaf', 'leaf, 1 GiB, read-write, user and supervisor'])
    new Tables(guest, SECOND, 5, SS.RW).map(PAGE, 0x4000_0000n | SS.RW | SS.PS, 2)
    guest.store(PASIDS, BigInt(SECOND) | 0x8dn)
    const second = entries(guest.explain(PAGE))
    expect(second.map(({ level, stage }) => [level, stage])).toEqual([5, 4, 3, 2].map((level) => [level, 2]))
    expect([second[3].texts?.['PS'], second[3].verdict]).toEqual(['leaf', 'leaf, 2 MiB, read-write'])
  })

  it('with reserved bits shows every field, as one of a reserved type does', () => {
    const guest = scalable()
    guest.path(FIRST, PAGE, 0x20_0000n | FS.PAGE | (1n << 63n), FS.TABLE)
    guest.store(FIRST + 0x2000 + 2 * 8, BigInt(FIRST + 0x3000) | FS.TABLE | FS.PS | 0x2000n)
    guest.firstStage(0, 2, FIRST)
    const first = entries(guest.explain(PAGE)).at(-1)
    expect(first?.verdict).toBe('reserved bits are set, or the level has no such leaf')
    expect(Object.keys(first?.fields ?? {})).toEqual([
      'P',
      'RW',
      'US',
      'PWT',
      'PCD',
      'A',
      'D',
      'PS',
      'G',
      'Ignored9',
      'EA',
      'Ignored11',
      'ADDR',
      'Ignored62_52',
      'XD',
    ])
    guest.secondStage(0, 2, SECOND)
    guest.path(SECOND, PAGE, 0x20_0000n | SS.RW | (1n << 62n), SS.RW)
    expect(entries(guest.explain(PAGE)).at(-1)?.fields).toMatchObject({ R: 1, W: 1, IR: 0, IW: 1, SNP: 0 })
    guest.store(PASIDS, 0x1cdn)
    const entry = step(guest.explain(PAGE), 'PASID table entry')
    expect(entry.fields).toMatchObject({ PGTT: 7, AW: 3, SSPTPTR: 0, FSPTPTR: 0, HPTPTR: 0 })
    expect(entry.texts?.['PGTT']).toBe('reserved')
    expect(entry.verdict).toMatch(/^0x5b SPT\.4: /)
  })

  it('that cannot be read is told without fields', () => {
    const guest = scalable()
    guest.store(guest.directory, 0x80_0000_0001n)
    const entry = guest.explain(PAGE).at(-2)
    expect(entry).toMatchObject({ what: 'PASID table entry', address: 0x80_0000_0000 })
    expect([entry?.fields, entry?.verdict]).toEqual([undefined, '0x58 SPT.1: the PASID table entry cannot be read'])
  })

  it('of a pass-through ends the way', () => {
    const guest = scalable()
    guest.passThrough(0, 2)
    const steps = guest.explain(PAGE)
    expect(step(steps, 'PASID table entry').verdict).toBe('addresses pass untranslated')
    expect(step(steps, 'PASID table entry').texts?.['PGTT']).toBe('pass-through')
    expect(steps.at(-1)?.verdict).toBe('the address as it came')
  })
})

describe('explaining', () => {
  it('sets no flag, fills nothing, records nothing and counts nothing', () => {
    const guest = scalable()
    const clean = FS.P | FS.RW | FS.US
    guest.path(FIRST, PAGE, 0x20_0000n | clean, clean)
    guest.firstStage(0, 2, FIRST)
    const before = { ...guest.unit.counters }
    guest.explain(PAGE, 'w')
    expect(guest.out.address).toBe(0x20_0000)
    guest.explain(PAGE + 0x1000n, 'w')
    expect(guest.out.fault).toBe(0x71)
    expect([guest.load(FIRST), guest.load(FIRST + 0x3000)]).toEqual([
      BigInt(FIRST + 0x1000) | clean,
      0x20_0000n | clean,
    ])
    expect([guest.unit.counters, guest.unit.iotlbEntries]).toEqual([before, 0])
    expect([guest.read(REG.FSTS), guest.read(REG.FRCD + 8, 8)]).toEqual([0n, 0n])
    // The first real one finds nothing cached.
    guest.dma(PAGE, 'w')
    expect(guest.out.hit).toBe(0)
  })

  it('reads memory alone, whatever is cached', () => {
    const guest = scalable()
    guest.path(FIRST, PAGE, 0x20_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, FIRST)
    expect(guest.dma(PAGE)).toBe('0x200000')
    guest.store(PASIDS, 0n)
    expect(guest.explain(PAGE).at(-1)?.verdict).toBe('blocked: 0x59 SPT.2')
    expect(guest.dma(PAGE)).toBe('0x200000')
  })
})

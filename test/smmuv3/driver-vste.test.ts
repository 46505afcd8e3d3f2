/**
 * A guest's STE, bit by bit: which it may set, what stands in the unit's stream table then, and who hears of it where
 * the result is ILLEGAL. All words are spelled by hand. [SMMU 5.2 Stream Table Entry]
 */

import { beforeEach, describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { DomainOps, Refusal } from '../../server/core/driver.js'
import { Ear, IPA, NestedGuest, VSID } from './ear.js'
import { World } from './world.js'

const { IDR0, IDR1, IDR5 } = PRESETS.default

/** The manual's names of the first 128 bits, from its headings; what is none of these is Reserved, RES0. */
const FIELDS: readonly (readonly [field: string, low: number, high: number])[] = [
  ['V', 0, 0],
  ['Config', 1, 3],
  ['S1Fmt', 4, 5],
  ['S1ContextPtr', 6, 55],
  ['S1CDMax', 59, 63],
  ['S1DSS', 64, 65],
  ['S1CIR', 66, 67],
  ['S1COR', 68, 69],
  ['S1CSH', 70, 71],
  ['S2HWU59', 72, 72],
  ['S2HWU60', 73, 73],
  ['S2HWU61', 74, 74],
  ['S2HWU62', 75, 75],
  ['DRE', 76, 76],
  ['CONT', 77, 80],
  ['DCP', 81, 81],
  ['PPAR', 82, 82],
  ['MEV', 83, 83],
  ['SW_RESERVED', 84, 87],
  ['S1PIE', 88, 88],
  ['S2FWB', 89, 89],
  ['S1MPAM', 90, 90],
  ['S1STALLD', 91, 91],
  ['EATS', 92, 93],
  ['STRW', 94, 95],
  ['MemAttr', 96, 99],
  ['MTCFG', 100, 100],
  ['ALLOCCFG', 101, 104],
  ['SHCFG', 108, 109],
  ['NSCFG', 110, 111],
  ['PRIVCFG', 112, 113],
  ['INSTCFG', 114, 115],
  ['IMPLEMENTATION DEFINED', 116, 127],
]
const fieldAt = (bit: number): string => FIELDS.find(([, low, high]) => bit >= low && bit <= high)?.[0] ?? 'reserved'

/** What Linux lets a guest set, of what is looked at when V is 1. [uAPI struct iommu_hwpt_arm_smmuv3] */
const ACCEPTED = (bit: number): boolean =>
  (bit >= 4 && bit <= 51) || (bit >= 59 && bit <= 71) || bit === 91 || bit === 92 || bit === 0

/** V, and Config 101. */
const TRANSLATES = 0xbn
const MEV = 1n << 19n
const FWB = 1n << 25n
const EATS_FULL = 1n << 28n

let world: World
let ear: Ear
let guest: NestedGuest
let onRid: DomainOps | null

function start(...options: ConstructorParameters<typeof World>): void {
  world = new World(...options)
  ear = new Ear()
  world.driver.listener = ear
  guest = new NestedGuest(world)
  guest.viommu.addVdevice(world.a, VSID)
  onRid = null
}
beforeEach(() => start())

/** The stream's entry when the device has a guest's STE. */
function entry(ste0: bigint, ste1: bigint): bigint[] {
  const domain = guest.domain(ste0, ste1)
  world.a.set(0, domain, onRid)
  onRid = domain
  return world.ste(world.a)
}

const word = (bit: number): [bigint, bigint] => (bit < 64 ? [1n << BigInt(bit), 0n] : [0n, 1n << BigInt(bit - 64)])

/** `EIO field`, or nothing. */
function refused(ste0: bigint, ste1: bigint): string {
  try {
    guest.domain(ste0, ste1).destroy()
    return ''
  } catch (error) {
    const { name, context } = error as Refusal
    return `${name} ${context['field']}`
  }
}

describe('each bit of a guest’s STE', () => {
  it('is accepted, or EIO with the manual’s name of its field', () => {
    for (let bit = 0; bit < 128; bit++) {
      if (fieldAt(bit) === 'Config') continue
      const [ste0, ste1] = word(bit)
      const expected = ACCEPTED(bit) ? '' : `EIO ${fieldAt(bit)}`
      for (const config of [1n, 9n, TRANSLATES]) {
        expect([bit, config, refused(ste0 | config, ste1)]).toEqual([bit, config, expected])
      }
      if (bit !== 0) expect([bit, refused(ste0, ste1)]).toEqual([bit, ''])
    }
  })

  it('beside all that are accepted is refused as it is alone', () => {
    const [all0, all1] = [0xf80f_ffff_ffff_fff0n | TRANSLATES, 0x1800_00ffn]
    expect(refused(all0, all1)).toBe('')
    for (let bit = 0; bit < 128; bit++) {
      if (ACCEPTED(bit) || fieldAt(bit) === 'Config') continue
      const [ste0, ste1] = word(bit)
      expect([bit, refused(all0 | ste0, all1 | ste1)]).toEqual([bit, `EIO ${fieldAt(bit)}`])
    }
  })

  it('of Config: 0, 4 and 5 are the guest’s to choose; EATS: 0 and 1', () => {
    const configs = Array.from({ length: 8 }, (_, config) => refused(1n | (BigInt(config) << 1n), 0n))
    expect(configs).toEqual(['', ...Array(3).fill('EIO Config'), '', '', 'EIO Config', 'EIO Config'])
    for (const config of [1n, 9n, TRANSLATES]) {
      const eats = Array.from({ length: 4 }, (_, code) => refused(config, BigInt(code) << 28n))
      expect(eats).toEqual(['', '', 'EIO EATS', 'EIO EATS'])
    }
  })

  it('is looked at by nobody where V is 0', () => {
    expect(entry(0xffff_ffff_ffff_fffen, 0xffff_ffff_ffff_ffffn)).toEqual([1n, 0n, 0n, 0n, 0n, 0n, 0n, 0n])
  })
})

describe('the stream’s entry', () => {
  it('has each accepted bit in its place, Config 111, MEV, and the parent’s stage 2', () => {
    world.a.set(0, guest.parent, null)
    onRid = guest.parent
    const [parent0, parent1, ...stageTwo] = world.ste(world.a)
    expect([parent0, parent1]).toEqual([0xdn, FWB])
    expect(stageTwo[0] & 0xffffn).not.toBe(0n)
    for (let bit = 0; bit < 128; bit++) {
      if (!ACCEPTED(bit)) continue
      const [ste0, ste1] = word(bit)
      // EATS, bit 92, is what the host makes of it: nothing here, as the unit has no ATS.
      const own1 = bit === 92 ? 0n : ste1
      const expected = [ste0 | 0xfn, own1 | MEV | FWB, ...stageTwo]
      expect([bit, entry(ste0 | TRANSLATES, ste1)]).toEqual([bit, expected])
    }
  })

  it('is the parent’s alone for Config 100, and aborts for Config 000; nothing else of the guest’s is in it', () => {
    world.a.set(0, guest.parent, null)
    onRid = guest.parent
    const parent = world.ste(world.a)
    const [rest0, rest1] = [0xf80f_ffff_ffff_fff0n, 0x1800_00ffn]
    expect(entry(9n | rest0, rest1)).toEqual(parent)
    expect(entry(1n | rest0, rest1)).toEqual([1n, 0n, 0n, 0n, 0n, 0n, 0n, 0n])
  })

  it('has ATS on where the guest says so, and for stage 2 alone, whatever it says', () => {
    start(PRESETS.ats, { ats: true })
    const eats = (ste: bigint[]): bigint => (ste[1] >> 28n) & 3n
    expect(eats(entry(TRANSLATES | IPA, 0n))).toBe(0n)
    expect(eats(entry(TRANSLATES | IPA, EATS_FULL))).toBe(1n)
    expect(eats(entry(9n, 0n))).toBe(1n)
    expect(eats(entry(9n, EATS_FULL))).toBe(1n)
    expect(eats(entry(1n, EATS_FULL))).toBe(0n)
    expect(eats(entry(0n, EATS_FULL))).toBe(0n)
  })
})

describe('a guest’s STE that no unit takes', () => {
  /** What its DMA ends with, and what the guest hears: record words 0 and 1. */
  const ends = (ste0: bigint, ste1: bigint, pasid = -1): unknown => {
    entry(ste0, ste1)
    ear.vevents.length = 0
    const outcome = world.dma(world.a, 0x1000n, pasid)
    return [outcome, ...ear.vevents.map(({ words: [first, sid, ...rest] }) => [first, sid, rest.some((w) => w !== 0)])]
  }
  /** C_BAD_STE is event 4; the StreamID is the guest's; nothing else is in the record. [SMMU 7.3.5 C_BAD_STE] */
  const BAD_STE = ['C_BAD_STE', [4, Number(VSID), false]]
  const CDS = IPA + 0x10_0000n

  it('by S1CDMax beyond IDR1.SSIDSIZE is told to the guest as its C_BAD_STE', () => {
    for (let max = 0n; max < 32n; max++) {
      // A linear table is aligned to its size: from 2 MiB on, bit 20 of the pointer is 0. There is no CD there.
      const legal = max < 15n ? ['ok 10000700000'] : ['C_BAD_CD', [0xa, Number(VSID), false]]
      const expected = max > 20n ? BAD_STE : legal
      expect([max, ends(TRANSLATES | CDS | (max << 59n), 2n)]).toEqual([max, expected])
    }
    // SSV is bit 11, the SubstreamID bits 31:12.
    expect(ends(TRANSLATES | CDS | (31n << 59n), 2n, 3)).toEqual(['C_BAD_STE', [0x3804, Number(VSID), false]])
    // IDR1.SSIDSIZE, bits 10:6, of 5: the device's PASIDs end there, and so does a guest's table.
    start({ IDR1: (IDR1 & ~(31 << 6)) | (5 << 6) })
    expect(ends(TRANSLATES | CDS | (5n << 59n), 2n)).toEqual(['ok 10000700000'])
    expect(ends(TRANSLATES | CDS | (6n << 59n), 2n)).toEqual(BAD_STE)
    // SSIDSIZE 0: S1CDMax, S1Fmt and S1DSS are IGNORED.
    start({ IDR1: IDR1 & ~(31 << 6) })
    expect(ends(TRANSLATES | CDS | (31n << 59n) | (2n << 4n), 0n)).toEqual(['ok 10000700000'])
  })

  it('by S1STALLD where IDR0.STALL_MODEL leaves no choice, likewise', () => {
    const S1STALLD = 1n << 27n
    const one = [TRANSLATES | CDS, 2n | S1STALLD] as const
    expect(ends(...one)).toEqual(BAD_STE)
    // STALL_MODEL, bits 25:24: 0 lets software choose. IDR5.STALL_MAX is 31:16.
    start({ IDR0: IDR0 & ~(3 << 24), IDR5: IDR5 | (8 << 16) })
    expect(ends(...one)).toEqual(['ok 10000700000'])
  })

  it('by two levels of CDs without IDR0.CD2L, likewise; S1Fmt 11 is linear', () => {
    const fmt = (code: bigint, max = 3n) => [TRANSLATES | CDS | (code << 4n) | (max << 59n), 2n] as const
    expect(ends(...fmt(3n))).toEqual(['ok 10000700000'])
    start({ IDR0: IDR0 & ~(1 << 19) })
    expect(ends(...fmt(0n))).toEqual(['ok 10000700000'])
    expect(ends(...fmt(1n))).toEqual(BAD_STE)
    expect(ends(...fmt(2n))).toEqual(BAD_STE)
    expect(ends(...fmt(3n))).toEqual(['ok 10000700000'])
    // With one CD there is no table to have levels.
    expect(ends(...fmt(1n, 0n))).toEqual(['ok 10000700000'])
  })

  it('by its pointer is none: an IPA without a page is stage 2’s fault, and the host’s to know', () => {
    for (const pointer of [0n, 1n << 47n, 1n << 48n, 1n << 51n]) {
      expect([pointer, ends(TRANSLATES | pointer, 2n)]).toEqual([pointer, ['F_TRANSLATION']])
    }
    expect(world.events.every(({ isStageTwo }) => isStageTwo)).toBe(true)
  })
})

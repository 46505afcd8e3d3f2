/**
 * ID registers of known units, and the rule for overriding them: a register may deny anything, and may offer only what
 * this model does. What is offered decides behaviour; nothing else is configured.
 */

import type { FieldSpec, Layout, LayoutInfo } from '../bits/layout.js'
import { type IdRegisters, STALL_MODEL } from './features.js'
import { ARM_FVP, GEM5, MMU_600, QEMU, word } from './parts.js'
import { AIDR, IDR0, IDR1, IDR2, IDR3, IDR5 } from './registers.js'

/** ID registers that replace a preset's; raw 32-bit values. */
export type IdOverrides = Partial<IdRegisters>

/**
 * What the default platform's host driver uses. AIDR says SMMUv3.1, since from SMMUv3.2 a unit with both stages has the
 * EL2 StreamWorlds too; FWB, RIL and BBML are found by software in IDR3, not by version.
 */
const DEFAULT: IdRegisters = {
  IDR0: word(IDR0, {
    S2P: 1,
    S1P: 1,
    TTF: 2,
    COHACC: 1,
    HTTU: 2,
    ASID16: 1,
    MSI: 1,
    SEV: 1,
    VMID16: 1,
    CD2L: 1,
    TTENDIAN: 2,
    STALL_MODEL: 1,
    ST_LEVEL: 1,
  }),
  IDR1: word(IDR1, { SIDSIZE: 16, SSIDSIZE: 20, EVENTQS: 19, CMDQS: 19, ATTR_PERMS_OVR: 1 }),
  IDR2: 0,
  IDR3: word(IDR3, { HAD: 1, XNX: 1, FWB: 1, RIL: 1, BBML: 2 }),
  IDR4: 0,
  IDR5: word(IDR5, { OAS: 5, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1 }),
  IIDR: 0,
  AIDR: word(AIDR, { ArchMinorRev: 1 }),
}

/** A register with some fields replaced. */
function altered<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  value: number,
  fields: { readonly [K in keyof F]?: number },
): number {
  const words = Int32Array.of(value)
  for (const [name, field] of record.$.fields) if (fields[name] !== undefined) field.set(words, 0, fields[name])
  return words[0] >>> 0
}

/** The default with devices that keep translations and ask for pages. */
const WITH_ATS: IdRegisters = {
  ...DEFAULT,
  IDR0: altered(IDR0, DEFAULT.IDR0, { ATS: 1, PRI: 1 }),
  IDR1: altered(IDR1, DEFAULT.IDR1, { PRIQS: 19 }),
}

/** Everything this model does, for those who drive a unit themselves. */
const FULL: IdRegisters = {
  ...DEFAULT,
  IDR0: altered(IDR0, DEFAULT.IDR0, {
    Hyp: 1,
    ATS: 1,
    PRI: 1,
    VMW: 1,
    ATSRECERR: 1,
    STALL_MODEL: STALL_MODEL.BOTH,
  }),
  IDR1: altered(IDR1, DEFAULT.IDR1, { PRIQS: 19 }),
  IDR3: altered(IDR3, DEFAULT.IDR3, {
    STT: 1,
    E0PD: 1,
    PTWNNC: 1,
    EPAN: 1,
  }),
  IDR5: altered(IDR5, DEFAULT.IDR5, {
    OAS: 6,
    DS: 1,
    VAX: 1,
    STALL_MAX: 64,
  }),
  AIDR: word(AIDR, { ArchMinorRev: 2 }),
}

/** Presets by name: what the platform uses, everything, and units that exist. */
export const PRESETS = {
  default: DEFAULT,
  ats: WITH_ATS,
  full: FULL,
  qemu: QEMU,
  gem5: GEM5,
  'mmu-600': MMU_600,
  'arm-fvp': ARM_FVP,
} as const satisfies Readonly<Record<string, IdRegisters>>

/** Name of a preset. */
export type PresetName = keyof typeof PRESETS

/** Values that each field may have; a number is the highest one. Fields not named here must be zero. */
const OFFERED: readonly (readonly [keyof IdRegisters, Declared, Record<string, Offer>])[] = [
  [
    'IDR0',
    IDR0,
    {
      S2P: 1,
      S1P: 1,
      TTF: [2],
      COHACC: 1,
      HTTU: 2,
      Hyp: 1,
      ATS: 1,
      NS1ATS: 1,
      PRI: 1,
      ASID16: 1,
      MSI: 1,
      SEV: 1,
      VMW: 1,
      VMID16: 1,
      CD2L: 1,
      TTENDIAN: [2],
      ATSRECERR: 1,
      STALL_MODEL: 2,
      TERM_MODEL: 1,
      ST_LEVEL: 1,
    },
  ],
  ['IDR1', IDR1, { SIDSIZE: 32, SSIDSIZE: 20, PRIQS: 19, EVENTQS: 19, CMDQS: 19, ATTR_PERMS_OVR: 1 }],
  ['IDR2', IDR2, {}],
  ['IDR3', IDR3, { HAD: 1, XNX: 1, PPS: 1, FWB: 1, STT: 1, RIL: 1, BBML: 2, E0PD: 1, PTWNNC: 1, EPAN: 1 }],
  ['IDR5', IDR5, { OAS: 6, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1, DS: 1, VAX: 1, STALL_MAX: 0xffff }],
  ['AIDR', AIDR, { ArchMinorRev: 4 }],
]

/** A declared register. */
interface Declared {
  readonly $: LayoutInfo
}

type Offer = number | readonly number[]

/**
 * A preset with some registers replaced.
 *
 * @throws RangeError naming the register and the field that offers what this model does not do
 */
export function idRegisters(preset: PresetName = 'default', overrides: IdOverrides = {}): IdRegisters {
  const id: IdRegisters = { ...PRESETS[preset], ...overrides }
  for (const [register, record, offers] of OFFERED) checkRegister(register, record, offers, id[register])
  if (id.IDR4 !== 0) throw new RangeError('IDR4 is implementation defined and must be 0')
  checkTogether(id)
  return id
}

function checkRegister(name: string, record: Declared, offers: Record<string, Offer>, value: number): void {
  const words = Int32Array.of(value)
  let known = 0
  for (const [field, where] of record.$.fields) {
    const got = where.get(words, 0)
    const offer = offers[field] ?? 0
    const fits = typeof offer === 'number' ? got <= offer : offer.includes(got)
    if (!fits) throw new RangeError(`${name}.${field} = ${got} offers what this model does not do`)
    known |= (2 ** where.width - 1) << where.low
  }
  const strange = value & ~known
  if (strange !== 0) throw new RangeError(`${name} bit ${31 - Math.clz32(strange)} is reserved`)
}

/**
 * Rules between fields.
 *
 * *Why what a version makes mandatory is not asked for:* units in the field do not keep it (QEMU's with one stage say
 * SMMUv3.1 and have no IDR3.XNX), and whoever has captured such a unit wants exactly that one.
 */
function checkTogether(id: IdRegisters): void {
  const words = Int32Array.of(id.IDR0, id.IDR1, id.IDR3, id.IDR5)
  const stages = IDR0.S1P.get(words, 0) + IDR0.S2P.get(words, 0)
  if (stages === 0) throw new RangeError('IDR0.S1P and IDR0.S2P are both 0: the unit would translate nothing')
  checkAddresses(words)
  checkStalls(IDR0.STALL_MODEL.get(words, 0), IDR5.STALL_MAX.get(words, 3), IDR0.ATS.get(words, 0) === 1)
  if (IDR1.SIDSIZE.get(words, 1) >= 7 && IDR0.ST_LEVEL.get(words, 0) === 0) {
    throw new RangeError('IDR1.SIDSIZE of 7 or more goes with IDR0.ST_LEVEL = 1')
  }
  if (stages < 2 && IDR0.Hyp.get(words, 0) === 1) throw new RangeError('IDR0.Hyp goes with S1P = 1 and S2P = 1')
  if (IDR0.S2P.get(words, 0) === 0 && IDR0.VMW.get(words, 0) === 1) throw new RangeError('IDR0.VMW goes with S2P = 1')
  if (IDR0.S2P.get(words, 0) === 0 && IDR3.PTWNNC.get(words, 2) === 1) {
    throw new RangeError('IDR3.PTWNNC goes with S2P = 1')
  }
  checkAts(words)
}

/** [SMMU 6.3.1 SMMU_IDR0] [SMMU 6.3.4 SMMU_IDR3] */
function checkAts(words: Int32Array): void {
  const needsAts = (['PRI', 'ATSRECERR'] as const).find((field) => IDR0[field].get(words, 0) === 1)
  if (needsAts !== undefined && IDR0.ATS.get(words, 0) === 0) {
    throw new RangeError(`IDR0.${needsAts} = 1 goes with IDR0.ATS = 1`)
  }
  const hasAnswers = IDR0.PRI.get(words, 0) === 1 && IDR1.SSIDSIZE.get(words, 1) !== 0
  if (IDR3.PPS.get(words, 2) === 1 && !hasAnswers) {
    throw new RangeError('IDR3.PPS = 1 goes with IDR0.PRI = 1 and an IDR1.SSIDSIZE')
  }
}

/** Wider addresses need tables that can hold them. [SMMU 6.3.6 SMMU_IDR5] */
function checkAddresses(words: Int32Array): void {
  const has = (field: 'GRAN4K' | 'GRAN16K' | 'GRAN64K' | 'DS' | 'VAX'): boolean => IDR5[field].get(words, 3) !== 0
  if (!has('GRAN4K') && !has('GRAN16K') && !has('GRAN64K')) throw new RangeError('IDR5 offers no granule')
  if (has('DS') && !has('GRAN4K') && !has('GRAN16K'))
    throw new RangeError('IDR5.DS goes with GRAN4K = 1 or GRAN16K = 1')
  if (has('DS') && !has('VAX')) throw new RangeError('IDR5.DS goes with VAX = 1')
  const isWide = has('GRAN64K') || has('DS')
  if (has('VAX') && !isWide) throw new RangeError('IDR5.VAX = 1 goes with GRAN64K = 1 or DS = 1')
  if (IDR5.OAS.get(words, 3) === 6 && !isWide) throw new RangeError('IDR5.OAS = 6 goes with GRAN64K = 1 or DS = 1')
}

/** [SMMU 6.3.1 SMMU_IDR0] [SMMU 6.3.6 SMMU_IDR5] */
function checkStalls(model: number, most: number, isPci: boolean): void {
  if (model === STALL_MODEL.TERMINATE) {
    if (most !== 0) throw new RangeError('IDR5.STALL_MAX is 0 where IDR0.STALL_MODEL has no stalls')
    return
  }
  if (most === 0) throw new RangeError('IDR5.STALL_MAX of 0 would let no stall be recorded: see IDR0.STALL_MODEL')
  if (model === STALL_MODEL.FORCED && isPci) throw new RangeError('IDR0.STALL_MODEL of 2 does not go with IDR0.ATS')
}

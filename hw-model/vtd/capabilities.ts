/**
 * What one unit offers, decoded once from VER, CAP and ECAP, and the rules that those registers obey among themselves.
 * A register value that offers what the model lacks is refused; nothing is quietly half done. [VTD 11.4.2, 11.4.3]
 */

import { type FieldSpec, type Layout, maskOutside } from '../bits/layout.js'
import { CAP, ECAP, FRCD_BYTES, REGISTER, VER, WINDOW_BYTES } from './registers.js'

/** The registers that say what a unit is. Halves are 32 bits, low first. */
export interface IdRegisters {
  readonly VER: number
  readonly CAP: readonly [lo: number, hi: number]
  readonly ECAP: readonly [lo: number, hi: number]
  /** Host address width, bits, 39..52; ACPI tells it, no register does. [VTD 8.1] */
  readonly hawBits: number
}

/** VER, CAP and ECAP as fields, with the widths that follow from them. */
export interface Capabilities {
  readonly verMajor: number
  /** The words as software reads them. */
  readonly capWords: Int32Array
  readonly ecapWords: Int32Array
  readonly cap: Readonly<Record<keyof typeof CAP & string, number>>
  readonly ecap: Readonly<Record<keyof typeof ECAP & string, number>>
  /** Bits of a physical address: as given, or fewer where MGAW has fewer, since MGAW is never below it. */
  readonly hawBits: number
  /** MGAW + 1: bits of the widest guest address. */
  readonly mgawBits: number
  /** Bits of a domain-id, 4..16. */
  readonly didBits: number
  /** Bits of a PASID, 1..20; 0 without scalable mode. */
  readonly pasidBits: number
  /** Bits of the widest AGAW, which FRCD.FI is cut to. */
  readonly agawBits: number
  readonly frcdCount: number
  readonly frcdOffset: number
  readonly ivaOffset: number
  readonly registerBytes: number
}

/**
 * Capabilities that would let a captured guest load but that belong to interrupt remapping, which this unit does not
 * do: they are accepted and read as 0, so software that looks before it leaps never uses them.
 */
const MASKED_CAP = ['PI', 'ESIRTPS'] as const
const MASKED_ECAP = ['IR', 'EIM', 'MHMV', 'EIMER', 'IRREQ'] as const

/** What the model does not do; a value that offers one of these is refused by name. */
const LACKING_CAP = ['ECMDS'] as const
const LACKING_ECAP = ['MTS', 'ERS', 'VCS', 'TDXCS', 'PMS', 'RDTS'] as const

/** "The left must be 0 when one on the right is 0." [VTD 11.4.3] */
const NEEDS: readonly (readonly [keyof typeof ECAP & string, readonly (keyof typeof ECAP & string)[]])[] = [
  ['DT', ['QI']],
  ['SMTS', ['QI']],
  ['FSTS', ['SMTS']],
  ['NEST', ['SMTS', 'FSTS', 'SSTS']],
  ['SRS', ['SMTS']],
  ['PSS', ['SMTS']],
  ['PASID', ['SMTS']],
  ['SMPWCS', ['SMTS']],
  ['RPS', ['SMTS']],
  ['EAFS', ['FSTS', 'SMPWCS']],
  ['SSADS', ['SMPWCS']],
  ['PRS', ['DT', 'SMTS']],
  ['NWFS', ['DT']],
  ['DIT', ['DT']],
  ['PDS', ['DT']],
  ['RPRIVS', ['SRS']],
  ['PTRS', ['DT', 'PASID']],
  ['SSIRWS', ['SSTS']],
  ['SMS', ['PRS']],
  ['MTS', ['SMTS']],
  ['HPTS', ['SMTS', 'DT']],
  ['HPT1GPS', ['HPTS']],
]

/**
 * Decodes and checks the registers.
 *
 * @throws RangeError naming the field that the model lacks or that contradicts another
 */
export function decodeCapabilities(ids: IdRegisters): Capabilities {
  const capWords = Int32Array.of(ids.CAP[0], ids.CAP[1])
  const ecapWords = Int32Array.of(ids.ECAP[0], ids.ECAP[1])
  clearReserved(CAP, capWords)
  clearReserved(ECAP, ecapWords)
  for (const name of MASKED_CAP) CAP[name].set(capWords, 0, 0)
  for (const name of MASKED_ECAP) ECAP[name].set(ecapWords, 0, 0)
  const cap = fields(CAP, capWords)
  const ecap = fields(ECAP, ecapWords)
  refuseLacking(cap, ecap)
  refuseContradictions(cap, ecap, ids)
  const frcdOffset = cap.FRO * 16
  const frcdCount = cap.NFR + 1
  const ivaOffset = ecap.IRO * 16
  const end = Math.max(frcdOffset + frcdCount * FRCD_BYTES, ivaOffset + 16)
  return {
    verMajor: VER.MAX.get(Int32Array.of(ids.VER), 0),
    capWords,
    ecapWords,
    cap,
    ecap,
    hawBits: Math.min(ids.hawBits, cap.MGAW + 1),
    mgawBits: cap.MGAW + 1,
    didBits: 4 + 2 * cap.ND,
    pasidBits: ecap.SMTS ? ecap.PSS + 1 : 0,
    agawBits: agawBits(cap),
    frcdCount,
    frcdOffset,
    ivaOffset,
    registerBytes: Math.ceil(end / WINDOW_BYTES) * WINDOW_BYTES,
  }
}

/** Bits in no field read as 0, whatever an older unit had there. */
function clearReserved<F extends Record<string, FieldSpec>>(record: Layout<F>, words: Int32Array): void {
  for (const [index, mask] of maskOutside(record).entries()) words[index] &= ~mask
}

/** A unit without second stage may report no AGAW; then its first stage's width counts. */
function agawBits({ SAGAW, FS5LP }: Capabilities['cap']): number {
  if (SAGAW === 0) return FS5LP ? 57 : 48
  return SAGAW & 8 ? 57 : SAGAW & 4 ? 48 : 39
}

function fields<L extends { readonly $: { readonly fields: ReadonlyMap<string, { get: Get }> } }>(
  record: L,
  words: Int32Array,
): Record<keyof L & string, number> {
  const out: Record<string, number> = {}
  for (const [name, field] of record.$.fields) out[name] = field.get(words, 0)
  return out as Record<keyof L & string, number>
}

type Get = (words: Int32Array, at: number) => number

function refuseLacking(cap: Capabilities['cap'], ecap: Capabilities['ecap']): void {
  for (const name of LACKING_CAP) if (cap[name]) throw new RangeError(`CAP.${name} is not offered by this model`)
  for (const name of LACKING_ECAP) if (ecap[name]) throw new RangeError(`ECAP.${name} is not offered by this model`)
}

function refuseContradictions(cap: Capabilities['cap'], ecap: Capabilities['ecap'], ids: IdRegisters): void {
  for (const [name, needed] of NEEDS) {
    const absent = needed.find((other) => !ecap[other])
    if (ecap[name] && absent !== undefined) throw new RangeError(`ECAP.${name} needs ECAP.${absent}`)
  }
  if (ids.VER < 0 || ids.VER > 0xff) throw new RangeError('VER has 8 bits')
  // [VTD 11.4.2 DRD, DWD, SAGAW]
  const verMajor = ids.VER >>> 4
  if (verMajor >= 2 && !(cap.DWD && cap.DRD)) throw new RangeError('CAP.DWD and DRD are 1 from version 2')
  if (verMajor >= 6 && cap.SAGAW && !ecap.SSTS) throw new RangeError('CAP.SAGAW needs ECAP.SSTS from version 6')
  if (cap.RWBF && ecap.SMTS) throw new RangeError('CAP.RWBF is 0 with ECAP.SMTS')
  if (cap.ND > 6) throw new RangeError('CAP.ND is at most 6')
  if (cap.SAGAW & ~0xe) throw new RangeError('CAP.SAGAW has only the bits of 39, 48 and 57 bits')
  if (cap.SAGAW === 0 && !ecap.FSTS) throw new RangeError('CAP.SAGAW names no width and there is no first stage')
  if (![0, 1, 3].includes(cap.SSLPS)) throw new RangeError('CAP.SSLPS is 0, 1 or 3')
  if (cap.FS1GP && !ecap.FSTS) throw new RangeError('CAP.FS1GP needs ECAP.FSTS')
  if (cap.FS5LP && !ecap.FSTS) throw new RangeError('CAP.FS5LP needs ECAP.FSTS')
  if (ecap.PSS > 19) throw new RangeError('ECAP.PSS is at most 19')
  if (ids.hawBits < 39 || ids.hawBits > 52) throw new RangeError('the host address width is 39 to 52 bits')
  if (cap.MGAW < 38 || cap.MGAW > 56) throw new RangeError('CAP.MGAW is 38 to 56')
  refuseOverlap(cap, ecap)
}

/** IVA, IOTLB and FRCD may stand anywhere that no other register is. */
function refuseOverlap(cap: Capabilities['cap'], ecap: Capabilities['ecap']): void {
  const iva = ecap.IRO * 16
  const frcd = cap.FRO * 16
  const frcdEnd = frcd + (cap.NFR + 1) * FRCD_BYTES
  if (isTaken(iva, iva + 16)) throw new RangeError('ECAP.IRO puts the IOTLB registers over others')
  if (isTaken(frcd, frcdEnd)) throw new RangeError('CAP.FRO puts the fault records over other registers')
  if (iva + 16 > frcd && iva < frcdEnd) throw new RangeError('CAP.FRO and ECAP.IRO overlap')
}

/** Offsets of the registers that stand where they stand, whether this unit has them or not. [VTD 11.4] */
const FIXED: readonly (readonly [start: number, end: number])[] = [
  [0, REGISTER.FEUADDR + 4],
  [REGISTER.PMEN, REGISTER.PEUADDR + 4],
]

const isTaken = (start: number, end: number): boolean => FIXED.some(([from, to]) => start < to && end > from)

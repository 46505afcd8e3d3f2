/** Entries from the root to what governs a DMA, as the manual reads them and where the reference does not. [VTD 9] */

import { addressIn, BIT, PGTT } from './entries.js'
import type { Survey, Unit } from './survey.js'

/** What governs a DMA. */
export interface Config {
  readonly kind: 'pass' | 'first' | 'second'
  readonly isLegacy: boolean
  /** Of the first or second stage. */
  readonly table: number
  readonly aw: number
}

const mask = (high: number, low: number): bigint => ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low)
const ALL = mask(63, 0)

/** Address bits that a host has not. */
const above = ({ caps }: Unit): bigint => mask(63, caps.hawBits)

const hasWidth = ({ caps }: Unit, aw: number): boolean => aw >= 1 && aw <= 3 && ((caps.cap.SAGAW >> aw) & 1) === 1

/** [VTD 9.1 Root Entry, 9.3 Context Entry] */
export function readLegacy(survey: Survey, unit: Unit, sid: number): Config | null {
  const root = unit.root + 16 * (sid >> 8)
  if (!survey.has(root)) return survey.fault(0x08)
  const re = survey.get(root)
  if ((re & 1n) === 0n) return survey.fault(0x01)
  if ((re & (mask(11, 1) | above(unit))) !== 0n || survey.get(root + 8) !== 0n) return survey.fault(0x0a)
  const at = addressIn(re) + 16 * (sid & 0xff)
  if (!survey.has(at)) return survey.fault(0x09)
  const [lo, hi] = [survey.get(at), survey.get(at + 8)]
  survey.fpd = (lo & BIT.FPD) !== 0n
  if ((lo & 1n) === 0n) return survey.fault(0x02)
  if ((lo & (mask(11, 4) | above(unit))) !== 0n || (hi & (mask(63, 24) | mask(7, 7))) !== 0n) return survey.fault(0x0b)
  const aw = Number(hi & 7n)
  const tt = Number((lo >> 2n) & 3n)
  const { ecap } = unit.caps
  const hasType = tt === 0 || (tt === 1 && ecap.DT !== 0) || (tt === 2 && ecap.PT !== 0)
  if (!hasWidth(unit, aw) || !hasType) return survey.fault(0x03)
  return { kind: tt === 2 ? 'pass' : 'second', isLegacy: true, table: addressIn(lo), aw }
}

/** [VTD 9.2 Scalable-Mode Root Entry, 9.4 Scalable-Mode Context Entry] */
export function readScalable(survey: Survey, unit: Unit, sid: number): Config | null {
  const at = scalableContext(survey, unit, sid)
  if (at === null) {
    // The reference numbers these as legacy mode does.
    survey.quirk('TABLE_CODES')
    return null
  }
  const words = [0, 1, 2, 3].map((i) => survey.get(at + 8 * i))
  survey.fpd = (words[0] & BIT.FPD) !== 0n
  if ((words[0] & 1n) === 0n) {
    survey.quirk('TABLE_CODES')
    return survey.fault(0x41)
  }
  const isKnown = (words[0] & (mask(8, 5) | above(unit))) !== 0n || (words[1] & mask(63, 21)) !== 0n
  const isBad = isKnown || (words[2] | words[3]) !== 0n
  const lacks = lackingContext(unit, words)
  if (lacks && !isBad) survey.quirk('CONTEXT_RESERVED')
  if (isBad || lacks) {
    survey.quirk('TABLE_CODES')
    return survey.fault(0x42)
  }
  // PRE without DTE. [VTD 7.1.3 SCT.4.1]
  if ((words[0] & 20n) === 16n) {
    survey.quirk('CONTEXT_VALID')
    return survey.fault(0x43)
  }
  return pasidEntry(survey, unit, addressIn(words[0]))
}

/** Fields of absent capabilities, which are reserved. [VTD 9.4] */
function lackingContext({ caps }: Unit, [lo, hi]: readonly bigint[]): boolean {
  const { DT, PASID, PRS, RPS, RPRIVS } = caps.ecap
  const low = (DT ? 0n : 4n) | (PASID ? 0n : 8n) | (PRS ? 0n : 16n)
  const high = (RPS ? 0n : mask(19, 0)) | (RPRIVS ? 0n : mask(20, 20))
  return (lo & low) !== 0n || (hi & high) !== 0n
}

function scalableContext(survey: Survey, unit: Unit, sid: number): number | null {
  const root = unit.root + 16 * (sid >> 8)
  if (!survey.has(root)) return survey.fault(0x38)
  const halves = [survey.get(root), survey.get(root + 8)]
  const bad = halves.map((half) => (half & (mask(11, 1) | above(unit))) !== 0n)
  const devfn = sid & 0xff
  const own = devfn >> 7
  if ((halves[own] & 1n) === 0n) return survey.fault(0x39)
  const other = 1 - own
  if (bad[other] && (halves[other] & 1n) === 0n) survey.quirk('ROOT_HALF')
  if (bad[own] || (bad[other] && (halves[other] & 1n) === 1n)) return survey.fault(0x3a)
  const at = addressIn(halves[own]) + 32 * (devfn & 0x7f)
  return survey.has(at) ? at : survey.fault(0x40)
}

/** PASID 0, as every request without PASID has where ECAP.RPS is 0. [VTD 9.5, 9.6] */
function pasidEntry(survey: Survey, unit: Unit, directory: number): Config | null {
  const isSilent = survey.fpd
  if (!survey.has(directory)) return survey.fault(0x50)
  const entry = survey.get(directory)
  survey.fpd ||= (entry & BIT.FPD) !== 0n
  if (!isSilent && survey.fpd) survey.quirk('FPD_BELOW')
  if ((entry & 1n) === 0n) return survey.fault(0x51)
  if ((entry & (mask(11, 2) | above(unit))) !== 0n) {
    survey.quirk('PASID_RESERVED')
    return survey.fault(0x52)
  }
  const at = addressIn(entry)
  if (!survey.has(at)) return survey.fault(0x58)
  const words = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => survey.get(at + 8 * i))
  survey.fpd ||= (words[0] & BIT.FPD) !== 0n
  if (!isSilent && survey.fpd) survey.quirk('FPD_BELOW')
  const config = typed(unit, words)
  if ((words[0] & 1n) === 0n) {
    if (config === null) survey.quirk('PASID_ORDER')
    return survey.fault(0x59)
  }
  if (reserved(unit).some((bits, i) => (words[i] & bits) !== 0n)) {
    survey.quirk('PASID_RESERVED')
    return survey.fault(0x5a)
  }
  if (config === null) return survey.fault(0x5b)
  if (!isSilent && survey.fpd) survey.quirks.delete('FPD_BELOW')
  return config
}

/** Whether the type and widths are offered. [VTD 7.1.3 SPT.4] */
function typed(unit: Unit, words: readonly bigint[]): Config | null {
  const { ecap, cap } = unit.caps
  const pgtt = Number((words[0] >> 6n) & 7n)
  const aw = Number((words[0] >> 2n) & 7n)
  const fspm = Number((words[2] >> 2n) & 3n)
  if (pgtt === PGTT.PASS && ecap.PT !== 0) return { kind: 'pass', isLegacy: false, table: 0, aw }
  if (pgtt === PGTT.SECOND && ecap.SSTS !== 0 && hasWidth(unit, aw)) {
    return { kind: 'second', isLegacy: false, table: addressIn(words[0]), aw }
  }
  const hasLevels = fspm === 0 || (fspm === 1 && cap.FS5LP !== 0)
  if (pgtt !== PGTT.FIRST || ecap.FSTS === 0 || !hasLevels) return null
  return { kind: 'first', isLegacy: false, table: addressIn(words[2]), aw }
}

/** Reserved bits by word; AW is let pass where there is no second stage, as software writes it there. [VTD 9.6] */
function reserved(unit: Unit): readonly bigint[] {
  const { ecap } = unit.caps
  const { SSTS, FSTS, SMPWCS, SC, SRS, EAFS, SSADS } = ecap
  const high = above(unit)
  return [
    mask(5, 5) | mask(11, 10) | (SSADS && SSTS ? 0n : mask(9, 9)) | (SSTS ? high : mask(63, 12)),
    mask(22, 16) | (SMPWCS ? 0n : mask(23, 23)) | (SC ? 0n : mask(24, 24)) | mask(63, 25),
    (SRS ? 0n : mask(0, 0)) |
      mask(1, 1) |
      mask(11, 8) |
      (EAFS ? 0n : mask(7, 7)) |
      (FSTS ? high : mask(4, 2) | mask(63, 12)),
    ...Array.from({ length: 5 }, () => ALL),
  ]
}

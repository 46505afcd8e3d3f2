/** The walks of a survey, entry by entry. [VTD 3.6 First-Stage Translation, 3.7 Second-Stage Translation] */

import { ACCESS } from '../../../hw-model/port.js'
import type { Capabilities } from '../../../hw-model/vtd/index.js'
import { addressIn, BIT, entryAt, levelLg2 } from './entries.js'
import type { Survey } from './survey.js'
import type { Config } from './survey-config.js'

const ALL_ONES = 2n ** 64n - 1n

/** Bits below the frame of a leaf that are reserved, by level. */
const LOW_1 = [0n, 0x1fe000n, 0x3fffe000n]
const LOW_2 = [0n, 0x1ff000n, 0x3ffff000n]

const addressAbove = ({ hawBits }: Capabilities): bigint => (1n << 52n) - (1n << BigInt(hawBits))

/** Where a first-stage leaf leads, or null with a fault. */
export function surveyFirst(
  survey: Survey,
  config: Config,
  caps: Capabilities,
  va: bigint,
  isWrite: boolean,
): number | null {
  if (config.aw < 2) survey.quirk('FIRST_WIDTH')
  const sign = BigInt.asIntN(64, va) >> 47n
  if (sign !== 0n && sign !== -1n) return survey.fault(0x80)
  let rights = ACCESS.READ | ACCESS.WRITE
  let isUser = true
  /** What the reference, which asks for rights at every level, says first. */
  let early = 0
  let table = config.table
  for (let level = 3; ; level--) {
    const at = entryAt(table, level, va)
    if (!survey.has(at)) return ordered(survey, early, level === 3 ? 0x73 : 0x70)
    const entry = survey.get(at)
    if ((entry & BIT.P) === 0n) return ordered(survey, early, 0x71)
    isUser &&= (entry & BIT.US) !== 0n
    if ((entry & BIT.RW) === 0n) rights &= ~ACCESS.WRITE
    if (!isUser) early ||= 0x81
    else if (isWrite && (rights & ACCESS.WRITE) === 0) early ||= 0x85
    const isLeaf = level === 0 || (entry & BIT.PS) !== 0n
    const isReserved =
      (entry & addressAbove(caps)) !== 0n ||
      (level > 0 && isLeaf && (level > 2 || (level === 2 && caps.cap.FS1GP === 0) || (entry & LOW_1[level]) !== 0n))
    if (isReserved) return ordered(survey, early, 0x72)
    if ((entry & BIT.A) === 0n || (isLeaf && isWrite && (entry & BIT.D) === 0n)) {
      survey.quirk('FLAGS')
      survey.flagged.push(at)
    }
    if (!isLeaf) {
      table = addressIn(entry)
      continue
    }
    if (!isUser) return ordered(survey, early, 0x81)
    if (isWrite && (rights & ACCESS.WRITE) === 0) return ordered(survey, early, 0x85)
    survey.rights = rights
    if (survey.quirks.has('FLAGS')) survey.fault(0x90)
    return outputOf(survey, entry, level, va)
  }
}

/** Where a second-stage leaf leads, or null with a fault. */
export function surveySecond(
  survey: Survey,
  config: Config,
  caps: Capabilities,
  va: bigint,
  isWrite: boolean,
): number | null {
  const { isLegacy, aw } = config
  if (!isLegacy) survey.quirk('SECOND_CODES')
  if (va >> BigInt(Math.min(caps.mgawBits, 30 + 9 * aw)) !== 0n) return survey.fault(isLegacy ? 0x04 : 0x84)
  const need = isWrite ? ACCESS.WRITE : ACCESS.READ
  const absent = isLegacy ? (isWrite ? 0x05 : 0x06) : 0x79
  const denied = isLegacy ? absent : isWrite ? 0x85 : 0x86
  let rights = ACCESS.READ | ACCESS.WRITE
  let early = 0
  let table = config.table
  for (let level = aw + 1; ; level--) {
    const at = entryAt(table, level, va)
    if (!survey.has(at)) {
      const isRoot = level === aw + 1
      return ordered(survey, early, isLegacy ? (isRoot ? 0x03 : 0x07) : isRoot ? 0x7b : 0x78)
    }
    const entry = survey.get(at)
    if (entry === ALL_ONES) survey.quirk('ALL_ONES')
    if ((entry & 3n) === 0n) return ordered(survey, early && absent, absent)
    rights &= Number(entry & 3n)
    if ((rights & need) === 0) early ||= denied
    if (isReservedSecond(survey, caps, entry, level)) return ordered(survey, early, isLegacy ? 0x0c : 0x7a)
    if (level > 0 && (entry & BIT.PS) === 0n) {
      table = addressIn(entry)
      continue
    }
    if (rights === 0) return survey.fault(absent)
    if ((rights & need) === 0) return survey.fault(denied)
    survey.rights = rights
    const output = outputOf(survey, entry, level, va)
    if (!isLegacy) survey.quirks.delete('SECOND_CODES')
    return output
  }
}

function isReservedSecond(survey: Survey, caps: Capabilities, entry: bigint, level: number): boolean {
  const isLeaf = level === 0 || (entry & BIT.PS) !== 0n
  if ((entry & (addressAbove(caps) | (1n << 62n))) !== 0n) return true
  const hasSnoop = (entry & BIT.SNP) !== 0n
  if (level === 0) return hasSnoop && lacksSnoop(survey, caps)
  if (!isLeaf) return hasSnoop
  if (level > 2 || ((caps.cap.SSLPS >> (level - 1)) & 1) === 0 || (entry & LOW_2[level]) !== 0n) return true
  return hasSnoop && lacksSnoop(survey, caps)
}

function lacksSnoop(survey: Survey, { ecap }: Capabilities): boolean {
  if (ecap.SC !== 0) return false
  if (ecap.SMTS !== 0) survey.quirk('SNOOP')
  return true
}

/** A fault, where the reference may have another one because it asks for rights at every level. */
function ordered(survey: Survey, early: number, reason: number): null {
  if (early !== 0 && early !== reason) survey.quirk('RIGHTS_FIRST')
  return survey.fault(reason)
}

function outputOf(survey: Survey, entry: bigint, level: number, va: bigint): number {
  const lg2 = levelLg2(level)
  survey.leafLg2 = lg2
  return addressIn(entry, lg2) + Number(va & ((1n << BigInt(lg2)) - 1n))
}

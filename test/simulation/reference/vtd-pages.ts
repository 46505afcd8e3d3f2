/** What the reference VT-d unit makes of a page request. [VTD 7.4.1 Handling of Page Requests] */

import type { ReferenceMemory } from './memory.js'
import { pasidEntry, scalableContext } from './vtd-config.js'
import type { VtdFeatures } from './vtd-features.js'
import { reasonOf } from './vtd-reasons.js'
import { recordOf } from './vtd-records.js'
import { Job, type VtdAccess, type VtdRecord, type VtdRegisters, VtdStop } from './vtd-types.js'

/** A page request of a device. */
export interface PageAsk extends VtdAccess {
  readonly kind: 'page'
  readonly group: number
  /** LPIG. */
  readonly isLast: boolean
}

/** What may come of it: a fault that is recorded or not, or a place in the queue if there is one. */
export type Admission =
  | { readonly end: 'discarded' }
  | { readonly end: 'refused'; readonly reason: number; readonly record: VtdRecord | undefined }
  | { readonly end: 'admitted'; readonly descriptor: readonly bigint[] }

/** Checks a page request down to its PASID entry; no page table has a say in it. */
export function admit(
  memory: ReferenceMemory,
  features: VtdFeatures,
  registers: VtdRegisters,
  ask: PageAsk,
): readonly Admission[] {
  if (!registers.isOn) return [{ end: 'discarded' }]
  const job = new Job(memory, features, registers, ask)
  try {
    check(job)
    return [{ end: 'admitted', descriptor: descriptorOf(ask) }]
  } catch (stop) {
    if (!(stop instanceof VtdStop)) throw stop
    return stop.reasons.map((reason) => {
      const isSilent = reasonOf(reason).isQualified && job.isSilent
      return { end: 'refused', reason, record: isSilent ? undefined : recordOf(features, ask, reason) }
    })
  }
}

function check(job: Job): void {
  const { mode, ssirwe } = job.registers
  const { smts, adms } = job.features
  const isUnknown = mode === 2 || (mode === 1 && !smts) || (mode === 3 && !adms) || (mode === 0 && ssirwe)
  if (isUnknown) job.stop(0x30, ...(mode === 0 ? [0x32] : []))
  if (mode === 3) job.stop(0x33)
  if (mode === 0) job.stop(0x32)
  pasidEntry(job, scalableContext(job))
}

/** [VTD 7.4.1.1 Page Request Descriptor] */
function descriptorOf({ sid, pasid, address, read, write, execute, privileged, group, isLast }: PageAsk): bigint[] {
  const withPasid =
    pasid === undefined
      ? 0n
      : (1n << 8n) | (BigInt(pasid) << 32n) | (BigInt(execute) << 52n) | (BigInt(privileged) << 53n)
  const flags = BigInt(read) | (BigInt(write) << 1n) | (BigInt(isLast) << 2n)
  return [1n | (BigInt(sid) << 16n) | withPasid, flags | (BigInt(group) << 3n) | ((address >> 12n) << 12n), 0n, 0n]
}

/**
 * A slow, obvious VT-d unit: one request of a device, from the manual, with BigInt and no cache. Where the manual leaves
 * the order of several conditions open, the result names every end that it allows.
 */

import type { ReferenceMemory } from './memory.js'
import { legacyContext, pasidEntry, pasidGates, scalableContext } from './vtd-config.js'
import type { VtdFeatures } from './vtd-features.js'
import { firstStage, type Place } from './vtd-first.js'
import { reasonOf } from './vtd-reasons.js'
import { recordOf } from './vtd-records.js'
import { dirty, type SecondStage, secondStage } from './vtd-second.js'
import {
  Job,
  type Rights,
  type VtdAccess,
  VtdAnswer,
  type VtdEnd,
  type VtdRegisters,
  type VtdResult,
  VtdStop,
} from './vtd-types.js'

/** Translates one request. */
export function translate(
  memory: ReferenceMemory,
  features: VtdFeatures,
  registers: VtdRegisters,
  access: VtdAccess,
): VtdResult {
  const job = new Job(memory, features, registers, access)
  const ends = endsOf(job)
  // A request that ends otherwise, or may do so, sets what it passes or does not.
  if (ends.some(({ end }) => end !== ends[0].end) || !isDone(ends[0])) job.excuse()
  return { ends, updates: job.updates, isClosed: job.isClosed, met: job.met }
}

const isDone = (end: VtdEnd): boolean =>
  end.end === 'translated' || (end.end === 'granted' && (end.rights.read || end.rights.write))

/** Whether an address lies in the interrupt range. [VTD 3.15 Handling Requests to Interrupt Address Range] */
export const inInterruptRange = (address: bigint): boolean => address >> 20n === 0xfeen

function endsOf(job: Job): VtdEnd[] {
  const end = (reason: number): VtdEnd => endOf(job, reason)
  const all = (reasons: Iterable<number>): VtdEnd[] => {
    const faults = [...new Set([...reasons, ...job.perhaps])].map(end)
    return job.otherwise === undefined ? faults : [...faults, job.otherwise]
  }
  try {
    const place = steps(job)
    return job.troubles.size > 0 ? all(job.troubles) : [...succeed(job, place), ...all([])]
  } catch (stop) {
    if (stop instanceof VtdAnswer) return [stop.answer]
    if (stop instanceof VtdStop) return all(stop.reasons)
    throw stop
  }
}

/** The end that a reason means to this kind of request. [VTD 7.1.3] */
function endOf(job: Job, reason: number): VtdEnd {
  const { isQualified, request } = reasonOf(reason)
  const record = isQualified && job.isSilent ? undefined : recordOf(job.features, job.access, reason)
  if (!job.isRequest) return { end: 'fault', reason, record }
  if (request === 'UR') return { end: 'unsupported', reason, record }
  if (request === 'CA') return { end: 'completerAbort', reason, record }
  const nothing = grant(job, { read: false, write: false }, 0n, 64)
  // Memory that takes no flags is nobody's page fault. [VTD 7.1.3 SFS.10]
  return reason === 0x91 ? { ...nothing, record } : nothing
}

function grant(job: Job, rights: Rights, address: bigint, spanLg2: number): VtdEnd & { end: 'granted' } {
  job.met.add(rights.read || rights.write ? 'granted some right' : 'granted nothing')
  return { end: 'granted', rights, address, spanLg2 }
}

/** What a request gets that nothing stops. */
function succeed(job: Job, { address, lg2, rights }: Place): VtdEnd[] {
  if (!job.isRequest) return [{ end: 'translated', address, spanLg2: lg2, rights }]
  return [grant(job, { read: rights.read, write: rights.write && job.wantsWrite }, address, lg2)]
}

function steps(job: Job): Place {
  const { access, registers, features } = job
  const { pasid, kind, address } = access
  if (!registers.isOn) {
    // Nothing is translated, and whoever asks for a translation is told so. [VTD 4.2.1]
    if (kind !== 'untranslated') throw new VtdAnswer(refused(job))
    // Nothing is beyond the host address width.
    if (address >> BigInt(features.haw) !== 0n) throw new VtdAnswer({ end: 'blocked' })
    return { address, lg2: 64, rights: { read: true, write: true } }
  }
  // Without PTRS there is no such request. [VTD 4.2.5]
  if (kind === 'translated' && pasid !== undefined && !features.ptrs) throw new VtdAnswer(refused(job))
  if (pasid === undefined && kind === 'untranslated' && inInterruptRange(address)) interrupt(job)
  const { mode } = registers
  const isUnknown =
    mode === 2 || (mode === 1 && !features.smts) || (mode === 3 && !features.adms) || (mode === 0 && registers.ssirwe)
  // What concerns the request alone is found before or after what concerns the mode.
  const refusals: number[] = isUnknown ? [0x30] : []
  if (mode === 3 && !isUnknown) refusals.push(0x33)
  if (mode === 0 && pasid !== undefined) refusals.push(0x31)
  if (access.execute && pasid !== undefined && features.version >= 8) refusals.push(0x34)
  if (refusals.length > 0) return job.stop(...refusals)
  return mode === 0 ? legacy(job) : scalable(job)
}

const refused = (job: Job): VtdEnd =>
  job.isRequest ? { end: 'unsupported', reason: undefined, record: undefined } : { end: 'blocked' }

/** A request without PASID to the interrupt range. [VTD 3.15] */
function interrupt(job: Job): void {
  const { read, write, bytes, address } = job.access
  const rights = { read: true, write: true }
  if (!read && !write) throw new VtdAnswer({ end: 'translated', address, spanLg2: 64, rights })
  // A question is answered by the tables, for it is no request at all.
  if (bytes === 0) return
  // Bytes of two words are no write of one. [VTD 3.15]
  if (write && !read && bytes === 4 && address % 4n === 0n) throw new VtdAnswer({ end: 'message' })
  job.stop(0x29)
}

/** [VTD 3.4.2 Legacy Mode Address Translation] */
function legacy(job: Job): Place {
  const { features, access } = job
  const { type, stage } = legacyContext(job)
  if (access.kind !== 'untranslated' && type !== 1) return job.stop(0xd)
  if (access.kind === 'translated') return untouched(job, 0x4, 0xe)
  const answer = forInterrupts(job)
  if (answer !== undefined) throw new VtdAnswer(answer)
  job.met.add(type === 2 ? 'legacy, pass-through' : 'legacy')
  if (type === 2) return untouched(job, 0x4, 0xe)
  if (access.address >> BigInt(Math.min(features.mgaw, stage.width)) !== 0n) return job.stop(0x4)
  return outside(job, throughSecond(job, stage), 0xe)
}

/** [VTD 3.4.3 Scalable Mode Address Translation] */
function scalable(job: Job): Place {
  const { access, features } = job
  const context = scalableContext(job)
  if (access.kind === 'translated') return untouched(job, 0x83, 0x87)
  job.otherwise = forInterrupts(job)
  const entry = pasidEntry(job, context)
  job.isPrivileged = access.pasid === undefined ? context.ridPrivileged : access.privileged
  pasidGates(job, entry.sre)
  if (job.otherwise !== undefined) throw new VtdAnswer(job.otherwise)
  job.met.add(access.pasid === undefined ? 'RID_PASID' : 'request with PASID')
  if (access.pasid === undefined && job.isPrivileged) job.met.add('RID_PRIV')
  if (entry.type === 4) {
    job.met.add('pass-through')
    return untouched(job, 0x83, 0x87)
  }
  if (entry.type !== 2)
    return outside(job, firstStage(job, entry.first, entry.type === 3 ? entry.second : undefined), 0x87)
  if (access.address >> BigInt(Math.min(features.mgaw, entry.second.width)) !== 0n) return job.stop(0x84)
  job.met.add('second stage')
  return outside(job, throughSecond(job, entry.second), 0x87)
}

function throughSecond(job: Job, stage: SecondStage): Place {
  const leaf = secondStage(job, stage, job.access.address, 'data')
  const write = (leaf.rights & 2) !== 0
  if (job.wantsWrite && write) dirty(job, stage, leaf)
  return { address: leaf.address, lg2: leaf.lg2, rights: { read: (leaf.rights & 1) !== 0, write } }
}

/**
 * The answer to who asks for a translation of the interrupt range without PASID: no page table is looked at. Whether
 * PASID tables are is left open. [VTD 4.2.3]
 */
function forInterrupts(job: Job): VtdEnd | undefined {
  const { access } = job
  if (!job.isRequest || access.pasid !== undefined || !inInterruptRange(access.address)) return undefined
  job.met.add('translation of the interrupt range')
  return grant(job, { read: false, write: job.wantsWrite }, access.address, 12)
}

/** [VTD 3.9 Pass-through Translation] and requests with addresses that were translated before. */
function untouched(job: Job, tooWide: number, interruptRange: number): Place {
  const { address } = job.access
  if (address >> BigInt(job.features.haw) !== 0n) return job.stop(tooWide)
  const place = { address, lg2: 64, rights: { read: true, write: true } }
  // Without a PASID only a question comes here with such an address, and it is answered by the tables alone.
  const isFree = job.isRequest || (job.access.kind === 'untranslated' && job.access.pasid === undefined)
  return isFree ? place : outside(job, place, interruptRange)
}

/** DMA may not come out in the interrupt range; of a translation, no byte of it may lie there. [VTD 7.1.3 SGN.8] */
function outside(job: Job, place: Place, reason: number): Place {
  if (inInterruptRange(place.address)) return job.stop(reason)
  const first = (place.address >> BigInt(place.lg2)) << BigInt(place.lg2)
  const overlaps = first <= 0xfeef_ffffn && first + (1n << BigInt(place.lg2)) > 0xfee0_0000n
  // A unit may answer for less than a leaf, which then does not reach so far.
  if (job.isRequest && overlaps) job.perhaps.add(reason)
  return place
}

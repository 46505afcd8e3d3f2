/** What an answer has to be: the old state's, the new one's, or the moment's between; and what the reference says. */

import { judge } from '../judge-smmuv3.js'
import { fits, GONE, SAYS, textOf } from './answers.js'
import type { Machine } from './machine.js'
import { answerOf, ofSpace, ofStageOne, ofUser } from './meaning.js'
import {
  type Device,
  NOW,
  NOW_STALE,
  type Occupant,
  OLD,
  OLD_STALE,
  type Paging,
  pagingOf,
  type View,
} from './model.js'
import type { Moment } from './onlooker.js'
import type { Probe } from './oracle.js'

/** What the plain model allows. */
export interface Expected {
  readonly old: number
  readonly now: number
  /** Answers of an entry that is invalid for a moment. */
  readonly invalid: readonly number[]
  /** What else may be. */
  readonly also: readonly number[]
  /** What an entry that the unit keeps makes of a new one before it, which the reference never saw together. */
  readonly kept: readonly number[]
  /** The domain that keeps a log of writes and is behind it. */
  readonly writes: Paging | undefined
}

const NONE: readonly number[] = []
const STE: readonly number[] = [SAYS.C_BAD_STE]
const CD: readonly number[] = [SAYS.C_BAD_CD]
const BOTH: readonly number[] = [SAYS.C_BAD_STE, SAYS.C_BAD_CD]

/** Settles it for one access. */
export function answersOf(machine: Machine, probe: Probe, moment: Moment): Expected {
  const device = machine.devices[probe.device]
  const at = (view: View): number =>
    answerOf(machine.facts, device, view, probe.pasid, probe.page, probe.offset, probe.write)
  const also = machine.lingers && hasLingering(device) ? [at(OLD_STALE), at(NOW_STALE)] : []
  const isHere = moment.device === device
  // Who sends PASID 0 on a RID of the host's is at CD 0, between the STE and it.
  if (isHere && moment.slot === 0 && probe.pasid === 0) {
    for (const domain of [device.slots.old.get(0), device.slots.now.get(0)]) also.push(...atCd0(machine, domain, probe))
  }
  const hasCd = isHere && Math.max(0, probe.pasid) === moment.slot
  return {
    old: at(OLD),
    now: at(NOW),
    invalid: !isHere ? NONE : moment.hasSte ? (hasCd ? BOTH : STE) : hasCd ? CD : NONE,
    also,
    kept: isHere && moment.slot === 0 && machine.choice.isCached ? ofKeptCds(machine, device, probe) : NONE,
    writes: probe.write ? loggedBehind(device, probe.pasid) : undefined,
  }
}

function atCd0(machine: Machine, domain: Occupant | undefined, { page, offset, write }: Probe): number[] {
  const views = [NOW, NOW_STALE]
  if (domain?.kind === 'root') {
    const { space, window } = domain
    return views.map((view) => ofSpace(machine.facts, space, window.parent, view, page, offset, write))
  }
  if (domain?.kind !== 'paging' || domain.stage !== 1) return []
  return [...views.map((view) => ofStageOne(domain, view, page, offset, write)), SAYS.C_BAD_CD]
}

/**
 * One STE of a guest's takes the place of another in a single store, which the unit may see before it is told of it: then
 * a CD that it keeps of the old table answers for the new one. With S1DSS=1 that can be CD 0, which PASID 0 has brought
 * in. [SMMU 3.21.2 Configuration structures]
 */
function ofKeptCds({ facts }: Machine, device: Device, { pasid, page, offset, write }: Probe): number[] {
  const [old, now] = [device.slots.old.get(0), device.slots.now.get(0)]
  if (old?.kind !== 'user' || now?.kind !== 'user' || old.table === undefined || now.table === undefined) return []
  if (old.viommu.parent !== now.viommu.parent || old.does !== 'translate' || now.does !== 'translate') return []
  const mixed = { ...now, table: old.table }
  return [NOW, NOW_STALE].map((view) => ofUser(facts, mixed, view, pasid, page, offset, write))
}

function hasLingering(device: Device): boolean {
  for (const slots of [device.slots.old, device.slots.now]) {
    for (const domain of slots.values()) {
      if (pagingOf(domain).lingering.length > 0) return true
    }
  }
  return false
}

/** The domain that a write is written through; undefined where it keeps no log, or where it may be one or another. */
function loggedBehind({ slots }: Device, pasid: number): Paging | undefined {
  const domain = slots.now.get(Math.max(0, pasid))
  const isSure = domain?.kind === 'paging' && slots.old.get(Math.max(0, pasid)) === domain
  return isSure && domain.tracksDirty ? domain : undefined
}

/** What is wrong with an answer, in words that follow the probe's; or undefined. */
export function judgeEnd(
  machine: Machine,
  { walked, seen }: Probe,
  got: number,
  { old, now, invalid, also, kept }: Expected,
  isSettled: boolean,
): string | undefined {
  const isOfKept = kept.some((answer) => fits(got, answer))
  const isPlain = [now, old, ...also].some((answer) => fits(got, answer)) || invalid.includes(got) || isOfKept
  if (!isPlain) {
    const allowed = [...new Set([old, now, ...invalid, ...also, ...kept])].map(textOf)
    return `ends as ${textOf(got)}, and the plain model allows ${allowed.join(', ')}`
  }
  if (machine.choice.isCached && (now === GONE || old === GONE)) return undefined
  const isExact = !machine.choice.isCached || (isSettled && also.length === 0)
  if (!isExact) {
    if (seen.includes(got) || also.includes(got) || isOfKept) return undefined
    return `ends as ${textOf(got)}, and the reference said ${seen.map(textOf).join(', ')}`
  }
  if (got === walked.code && machine.hasRecorded(walked.record)) return undefined
  const wrong = judge(walked.result, machine.outcome, machine.records())
  return wrong === undefined ? undefined : `is not as the reference has it: ${wrong}`
}

/** A probe in words. */
export const tell = ({ sid, pasid, page, offset, write }: Probe): string =>
  `${write ? 'write' : 'read'} of 0x${(page * 4096 + offset).toString(16)} by device 0x${sid.toString(16)}${
    pasid < 0 ? '' : ` PASID ${pasid}`
  }`

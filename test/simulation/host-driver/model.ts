/**
 * The plain model: who is in which slot and what is mapped, as it was before an operation and as it is after it. It knows
 * no table, no cache and no command; where a DMA ends follows from sets of ranges.
 */

import type { DeviceDriver, DeviceFacts, PagingOps, UserOps, ViommuOps } from '../../../server/core/driver.js'
import { ABORT, GONE, NO_CD, NO_STREAM, SAYS } from './answers.js'

/** Something that an operation changes: as it was before, and as it is after. */
export class Changing<T> {
  old: T

  constructor(public now: T) {
    this.old = now
  }

  settle(): void {
    this.old = this.now
  }

  revert(): void {
    this.now = this.old
  }
}

/** Before or after the operation; with what was unmapped and not flushed, or without. */
export interface View {
  readonly era: 'old' | 'now'
  readonly isStale: boolean
}

export const OLD: View = { era: 'old', isStale: false }
export const NOW: View = { era: 'now', isStale: false }
export const OLD_STALE: View = { era: 'old', isStale: true }
export const NOW_STALE: View = { era: 'now', isStale: true }

/** Pages that follow each other, mapped to frames that do. */
export interface Run {
  readonly page: number
  readonly pages: number
  readonly frame: number
  readonly read: boolean
  readonly write: boolean
}

/** A kernel-owned domain. */
export interface Paging {
  readonly kind: 'paging'
  readonly name: string
  readonly ops: PagingOps
  readonly stage: 1 | 2
  readonly isParent: boolean
  readonly tracksDirty: boolean
  readonly isCoherent: boolean
  /** It was made for another unit. */
  readonly isForeign: boolean
  readonly runs: Changing<readonly Run[]>
  /** Unmapped and not flushed: the unit may know them still. */
  lingering: readonly Run[]
  /** Slots, user domains and vIOMMUs that use it. */
  users: number
  /** Written since somebody collected; what may have been written as well. By page. */
  readonly written: Set<number>
  readonly perhapsWritten: Set<number>
}

/** Tables of a guest under one ASID: what the guest maps to its own addresses. */
export interface GuestSpace {
  readonly asid: number
  readonly root: bigint
  readonly runs: Changing<readonly Run[]>
}

/** A CD table of a guest. */
export interface GuestTable {
  readonly pointer: bigint
  /** S1Fmt. */
  readonly format: number
  readonly lg2: number
  readonly spaces: Changing<ReadonlyMap<number, GuestSpace>>
  /** Leaves that are there; of a linear table, none is asked for. */
  readonly leaves: Changing<ReadonlySet<number>>
}

/** A guest's view of a unit. */
export interface Viommu {
  readonly name: string
  readonly ops: ViommuOps
  readonly parent: Paging
  readonly names: Map<Device, bigint>
  users: number
}

/** A user domain: a guest's STE. */
export interface User {
  readonly kind: 'user'
  readonly name: string
  readonly ops: UserOps
  readonly viommu: Viommu
  readonly does: 'abort' | 'bypass' | 'translate' | 'bad'
  readonly dss: number
  readonly cdMax: number
  readonly table: GuestTable | undefined
  users: number
}

/** What can be in a slot. */
export type Occupant = Paging | User

/** A device, found or not yet. */
export interface Device {
  readonly index: number
  readonly facts: DeviceFacts
  ops: DeviceDriver | undefined
  readonly isThere: Changing<boolean>
  readonly slots: Changing<ReadonlyMap<number, Occupant>>
}

/** What of the unit the model has to know. */
export interface UnitFacts {
  readonly stage1: boolean
  readonly stage2: boolean
  readonly cd2l: boolean
  readonly ssidSize: number
  readonly oasBits: number
  readonly fwb: boolean
  readonly tracksDirty: boolean
}

/** The run that holds a page. */
export function runAt(runs: readonly Run[], page: number): Run | undefined {
  for (const run of runs) if (page >= run.page && page < run.page + run.pages) return run
  return undefined
}

const runsOf = (domain: Paging, { era, isStale }: View): readonly Run[] =>
  isStale && domain.lingering.length > 0 ? [...domain.lingering, ...domain.runs[era]] : domain.runs[era]

/** log2 of the PASIDs that a device can use here: without two-level tables a linear one of 64 KiB is the limit. */
export function pasidBits(unit: UnitFacts, { pasidLg2 }: DeviceFacts): number {
  if (!unit.stage1) return 0
  return Math.min(pasidLg2, unit.ssidSize, unit.cd2l ? 20 : 10)
}

/** Where a DMA ends. */
export function answerOf(
  unit: UnitFacts,
  device: Device,
  view: View,
  pasid: number,
  page: number,
  offset: number,
  write: boolean,
): number {
  if (!device.isThere[view.era]) return NO_STREAM
  const slots = device.slots[view.era]
  if (slots.size === 0) return ABORT
  const onRid = slots.get(0)
  if (onRid?.kind === 'user') return ofUser(unit, onRid, view, pasid, page, offset, write)
  if (onRid?.stage === 2) {
    if (pasid >= 0) return SAYS.C_BAD_SUBSTREAMID
    return ofStageTwo(unit, onRid, view, page, offset, write)
  }
  if (pasid < 0) return onRid === undefined ? SAYS.F_STREAM_DISABLED : ofStageOne(onRid, view, page, offset, write)
  const bits = pasidBits(unit, device.facts)
  if (bits === 0 || pasid >= 2 ** bits) return SAYS.C_BAD_SUBSTREAMID
  // PASID 0 is that of requests without one.
  if (pasid === 0) return onRid === undefined ? NO_CD : SAYS.F_STREAM_DISABLED
  const domain = slots.get(pasid)
  if (domain?.kind !== 'paging') return NO_CD
  return ofStageOne(domain, view, page, offset, write)
}

/** What a stage 1 domain says; what may be written may be read. */
export function ofStageOne(domain: Paging, view: View, page: number, offset: number, write: boolean): number {
  const run = runAt(runsOf(domain, view), page)
  if (run === undefined) return SAYS.F_TRANSLATION
  if (write && !run.write) return SAYS.F_PERMISSION
  return (run.frame + page - run.page) * 4096 + offset
}

function ofStageTwo(unit: UnitFacts, domain: Paging, view: View, page: number, offset: number, write: boolean): number {
  if (page >= 2 ** (unit.oasBits - 12)) return SAYS.F_ADDR_SIZE
  return behind(domain, view, page, offset, write)
}

/** Stage 2 behind a guest's stage 1, or alone. */
function behind(domain: Paging, view: View, page: number, offset: number, write: boolean): number {
  const run = runAt(runsOf(domain, view), page)
  if (run === undefined) return SAYS.F_TRANSLATION
  if (!(write ? run.write : run.read)) return SAYS.F_PERMISSION
  return (run.frame + page - run.page) * 4096 + offset
}

function ofUser(
  unit: UnitFacts,
  user: User,
  view: View,
  pasid: number,
  page: number,
  offset: number,
  write: boolean,
): number {
  const { parent } = user.viommu
  if (user.does === 'abort') return ABORT
  if (user.does === 'bad') return SAYS.C_BAD_STE
  const past = (): number => ofStageTwo(unit, parent, view, page, offset, write)
  if (user.does === 'bypass') return pasid >= 0 ? SAYS.C_BAD_SUBSTREAMID : past()
  const { table, dss } = user
  const cdMax = unit.ssidSize === 0 ? 0 : user.cdMax
  let index = 0
  if (pasid >= 0) {
    if (cdMax === 0 || pasid >= 2 ** cdMax) return SAYS.C_BAD_SUBSTREAMID
    if (pasid === 0 && dss === 2) return SAYS.F_STREAM_DISABLED
    index = pasid
  } else if (cdMax !== 0 && dss === 1) return past()
  else if (cdMax !== 0 && dss === 0) return SAYS.F_STREAM_DISABLED
  if (table === undefined) return ABORT
  // The guest's own tables are behind stage 2, too; all of them are in one run.
  if (runAt(runsOf(parent, view), Number(table.pointer >> 12n)) === undefined) return GONE
  const hasLeaves = cdMax !== 0 && table.format !== 0
  if (hasLeaves && !table.leaves[view.era].has(index >>> leafLg2(table.format))) return NO_CD
  // Without SubstreamIDs a table is one CD, and a level 1 descriptor is no valid one.
  if (!hasLeaves && table.format !== 0 && table.lg2 > 0) return SAYS.C_BAD_CD
  const space = table.spaces[view.era].get(index)
  if (space === undefined) return NO_CD
  const run = runAt(space.runs[view.era], page)
  if (run === undefined) return SAYS.F_TRANSLATION
  if (run.frame + page - run.page >= 2 ** (unit.oasBits - 12)) return SAYS.F_ADDR_SIZE
  if (write && !run.write) return SAYS.F_PERMISSION
  return behind(parent, view, run.frame + page - run.page, offset, write)
}

/** log2 of the CDs in a leaf of a two-level table. [SMMU 5.2 S1Fmt] */
export const leafLg2 = (format: number): number => (format === 1 ? 6 : 10)

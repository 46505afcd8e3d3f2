/**
 * The plain model: who is in which slot and what is mapped, as it was before an operation and as it is after it. It knows
 * no table, no cache and no command; where a DMA ends follows from sets of ranges.
 */

import type {
  DeviceDriver,
  DeviceFacts,
  PagingOps,
  UserOps,
  ViommuOps,
  WindowOps,
} from '../../../server/core/driver.js'

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
  /** Pages that were written since somebody collected; those of a domain that keeps a log of it. */
  readonly written: Set<number>
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

/** A window: a CD table of the host's behind the parent's stage 2. */
export interface Window {
  readonly kind: 'window'
  readonly name: string
  readonly ops: WindowOps
  readonly parent: Paging
  readonly firstPage: number
  /** Pages that it has. */
  pages: number
  /** Leaves of its table, by PASID >> 6, and pages of its level 1; 0 while it is linear. */
  readonly leaves: Set<number>
  rootPages: number
  /** Roots, and the RID's slot. */
  users: number
}

/** A root in a window: a guest's tables behind one PASID. */
export interface Root {
  readonly kind: 'root'
  readonly name: string
  readonly ops: UserOps
  readonly window: Window
  readonly space: GuestSpace
  users: number
}

/** What can be in a slot. */
export type Occupant = Paging | User | Window | Root

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

/** log2 of the PASIDs that a device can use here: without two-level tables a linear one of 64 KiB is the limit. */
export function pasidBits(unit: UnitFacts, { pasidLg2 }: DeviceFacts): number {
  if (!unit.stage1) return 0
  return Math.min(pasidLg2, unit.ssidSize, unit.cd2l ? 20 : 10)
}

/** The window that has a device's CD table, if one does. */
export function windowOn({ slots }: Device, era: 'old' | 'now' = 'now'): Window | undefined {
  for (const domain of slots[era].values()) {
    if (domain.kind === 'window') return domain
    if (domain.kind === 'root') return domain.window
  }
  return undefined
}

/** The kernel-owned domain that a domain is, or stands before. */
export function pagingOf(domain: Occupant): Paging {
  if (domain.kind === 'paging') return domain
  if (domain.kind === 'user') return domain.viommu.parent
  return domain.kind === 'root' ? domain.window.parent : domain.parent
}

/** log2 of the CDs in a leaf of a two-level table. [SMMU 5.2 S1Fmt] */
export const leafLg2 = (format: number): number => (format === 1 ? 6 : 10)

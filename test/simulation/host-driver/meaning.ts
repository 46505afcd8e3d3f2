/** Where a DMA ends, out of the plain model alone. */

import { ABORT, GONE, NO_CD, NO_STREAM, SAYS } from './answers.js'
import {
  type Device,
  type GuestSpace,
  leafLg2,
  type Paging,
  pasidBits,
  type Run,
  runAt,
  type UnitFacts,
  type User,
  type View,
  windowOn,
} from './model.js'

const runsOf = (domain: Paging, { era, isStale }: View): readonly Run[] =>
  isStale && domain.lingering.length > 0 ? [...domain.lingering, ...domain.runs[era]] : domain.runs[era]

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
  if (windowOn(device, view.era) !== undefined) return ofWindow(unit, device, view, pasid, page, offset, write)
  if (onRid?.kind === 'paging' && onRid.stage === 2) {
    if (pasid >= 0) return SAYS.C_BAD_SUBSTREAMID
    return ofStageTwo(unit, onRid, view, page, offset, write)
  }
  if (pasid < 0) {
    return onRid?.kind === 'paging' ? ofStageOne(onRid, view, page, offset, write) : SAYS.F_STREAM_DISABLED
  }
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

/** A guest's STE: all PASIDs of the device are the guest's. */
export function ofUser(
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
  return ofSpace(unit, space, parent, view, page, offset, write)
}

/** A guest's stage 1, and its parent behind it. */
export function ofSpace(
  unit: UnitFacts,
  space: GuestSpace,
  parent: Paging,
  view: View,
  page: number,
  offset: number,
  write: boolean,
): number {
  if (runAt(runsOf(parent, view), Number(space.root >> 12n)) === undefined) return GONE
  const run = runAt(space.runs[view.era], page)
  if (run === undefined) return SAYS.F_TRANSLATION
  if (run.frame + page - run.page >= 2 ** (unit.oasBits - 12)) return SAYS.F_ADDR_SIZE
  if (write && !run.write) return SAYS.F_PERMISSION
  return behind(parent, view, run.frame + page - run.page, offset, write)
}

/** A device whose CDs are in a window: each PASID has a root, or no CD. */
function ofWindow(
  unit: UnitFacts,
  { slots }: Device,
  view: View,
  pasid: number,
  page: number,
  offset: number,
  write: boolean,
): number {
  const onRid = slots[view.era].get(0)
  const domain = pasid < 0 ? onRid : slots[view.era].get(pasid)
  if (pasid === 0) return onRid?.kind === 'root' ? SAYS.F_STREAM_DISABLED : NO_CD
  if (domain?.kind === 'root') return ofSpace(unit, domain.space, domain.window.parent, view, page, offset, write)
  if (pasid > 0) return NO_CD
  // Without a root for PASID 0 the RID bypasses stage 1; without the window on it, it is blocked.
  return domain?.kind === 'window' ? ofStageTwo(unit, domain.parent, view, page, offset, write) : SAYS.F_STREAM_DISABLED
}

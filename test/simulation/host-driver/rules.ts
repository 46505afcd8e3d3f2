/** What the host driver refuses, as a list of rules. */

import type { PagingFlags } from '../../../server/core/driver.js'
import {
  type Device,
  type Occupant,
  type Paging,
  pagingOf,
  pasidBits,
  type UnitFacts,
  type User,
  type Window,
  windowOn,
} from './model.js'
import type { World } from './story.js'

/** The errno of putting a domain into a slot, or undefined. */
export function attachErrno(world: World, device: Device, slot: number, domain: Occupant): string | undefined {
  if (domain.kind === 'paging' && domain.isForeign) return 'EINVAL'
  return slot === 0 ? ridErrno(world, device, domain) : pasidErrno(world, device, slot, domain)
}

/** A CD table of the host's cannot stand behind stage 2, a window's serves one RID, and a guest's excludes a window. */
function ridErrno(world: World, device: Device, domain: Occupant): string | undefined {
  const isStageOne = domain.kind === 'paging' && domain.stage === 1
  const hasPasids = [...device.slots.now.keys()].some((slot) => slot !== 0)
  const current = windowOn(device)
  if (domain.kind === 'window' || domain.kind === 'root') {
    const window = domain.kind === 'root' ? domain.window : domain
    const owner = world.found.find((one) => windowOn(one) === window)
    const isTaken = owner !== undefined && owner !== device
    if (device.slots.now.get(0)?.kind === 'user' || (hasPasids && current !== window) || isTaken) return 'EBUSY'
  } else if (current !== undefined && (hasPasids || domain.kind === 'user')) return 'EBUSY'
  else if (!isStageOne && hasPasids) return 'EBUSY'
  if (domain.kind === 'user' && leadsToTables(domain) && !domain.viommu.names.has(device)) return 'ENOENT'
  return isIncoherent(device, pagingOf(domain)) ? 'EINVAL' : undefined
}

function pasidErrno({ machine }: World, device: Device, pasid: number, domain: Occupant): string | undefined {
  const { facts } = machine
  if (pasid >= 2 ** pasidBits(facts, device.facts)) return 'EINVAL'
  const current = windowOn(device)
  if (domain.kind === 'root') return current === domain.window ? roomErrno(facts, domain.window, pasid) : 'EINVAL'
  if (domain.kind !== 'paging' || domain.stage === 2 || current !== undefined) return 'EINVAL'
  const onRid = device.slots.now.get(0)
  if (onRid !== undefined && (onRid.kind !== 'paging' || onRid.stage === 2)) return 'EINVAL'
  return isIncoherent(device, domain) ? 'EINVAL' : undefined
}

/** A leaf takes a page; the first beyond leaf 0, and one that level 1 does not reach, takes another level 1. */
function roomErrno({ cd2l }: UnitFacts, window: Window, pasid: number): string | undefined {
  const slot = pasid >>> 6
  if (window.leaves.has(slot)) return undefined
  if (!cd2l) return 'EINVAL'
  const needed = rootPagesFor(window, pasid) + 1
  return window.ops.freeBytes < needed * 4096 ? 'ENOSPC' : undefined
}

/** Pages of a new level 1 that a PASID takes; 0 where the one that is there reaches it. */
export function rootPagesFor({ rootPages }: Window, pasid: number): number {
  const pages = 2 ** Math.max(0, Math.ceil(Math.log2(((pasid >>> 6) + 1) / 512)))
  return pages > rootPages ? pages : 0
}

const leadsToTables = ({ does }: User): boolean => does === 'translate' || does === 'bad'

/** What was made for a coherent device takes no other. */
const isIncoherent = ({ facts }: Device, { isCoherent }: Paging): boolean => isCoherent && facts.canwbs !== true

/** The errno of making a kernel-owned domain, or undefined. */
export function pagingErrno(
  unit: UnitFacts,
  { nestParent, dirtyTracking, pasid }: PagingFlags,
): 'EOPNOTSUPP' | undefined {
  const no = 'EOPNOTSUPP'
  if (nestParent) return pasid || dirtyTracking || !unit.stage1 || !unit.stage2 ? no : undefined
  if (dirtyTracking && !unit.tracksDirty) return no
  return unit.stage1 || !(pasid || dirtyTracking) ? undefined : no
}

/** Of making a vIOMMU for a device: without forced write-back a guest could bypass the host's caches. */
export function viommuErrno({ stage1, stage2, fwb }: UnitFacts, { facts }: Device): 'EOPNOTSUPP' | undefined {
  return stage1 && stage2 && (fwb || facts.canwbs === true) ? undefined : 'EOPNOTSUPP'
}

/** Of making a window: it holds the CDs of PASIDs, and a guest's tables are behind them. */
export function windowErrno({ ssidSize, fwb }: UnitFacts, parent: Paging): 'EOPNOTSUPP' | undefined {
  return ssidSize > 0 && (fwb || parent.isCoherent) ? undefined : 'EOPNOTSUPP'
}

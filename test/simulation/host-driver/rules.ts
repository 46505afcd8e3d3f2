/** What the host driver refuses, as a list of rules. */

import type { PagingFlags } from '../../../server/core/driver.js'
import { type Device, type Occupant, type Paging, pasidBits, type UnitFacts, type User } from './model.js'

/** The errno of putting a domain into a slot, or undefined. */
export function attachErrno(unit: UnitFacts, device: Device, slot: number, domain: Occupant): string | undefined {
  if (domain.kind === 'paging' && domain.isForeign) return 'EINVAL'
  return slot === 0 ? ridErrno(device, domain) : pasidErrno(unit, device, slot, domain)
}

/** A CD table of the host's cannot stand behind stage 2. */
function ridErrno(device: Device, domain: Occupant): string | undefined {
  const isStageOne = domain.kind === 'paging' && domain.stage === 1
  const hasPasids = [...device.slots.now.keys()].some((slot) => slot !== 0)
  if (!isStageOne && hasPasids) return 'EBUSY'
  if (domain.kind === 'user' && leadsToTables(domain) && !domain.viommu.names.has(device)) return 'ENOENT'
  return isIncoherent(device, domain.kind === 'user' ? domain.viommu.parent : domain) ? 'EINVAL' : undefined
}

function pasidErrno(unit: UnitFacts, device: Device, pasid: number, domain: Occupant): string | undefined {
  if (pasid >= 2 ** pasidBits(unit, device.facts)) return 'EINVAL'
  if (domain.kind === 'user' || domain.stage === 2) return 'EINVAL'
  const onRid = device.slots.now.get(0)
  if (onRid !== undefined && (onRid.kind === 'user' || onRid.stage === 2)) return 'EINVAL'
  return isIncoherent(device, domain) ? 'EINVAL' : undefined
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

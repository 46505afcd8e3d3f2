/**
 * The caller's memory in pages: where they are. A page is a page of a memory region; memory that came with the call is
 * readable, and is nobody's page.
 */

import type { Call } from '../core/call.js'
import type { UserMemory } from './user-memory.js'

/** The physical address behind one of the caller's; undefined in memory that is no region's. @throws Refusal EFAULT */
export function physicalBehind(call: Call, user: UserMemory, address: bigint): number | undefined {
  user.mustHold(address, 1)
  const region = call.context.regions.atClientAddress(address)
  if (region?.spec.clientAddress === undefined) return undefined
  return region.memory.address + Number(address - region.spec.clientAddress)
}

/**
 * What a finished walk lets a request do, and what it lets others do who find it in the IOTLB.
 * [VTD 3.6.1 Access Rights, 3.7.1 Access Rights, 3.8.1 Access Rights]
 */

import { ACCESS } from '../port.js'
import type { DmaConfig } from './dma-config.js'
import { REASON } from './faults.js'
import { mayWriteFirst, RIGHT } from './formats.js'
import { GRANT, PRIVILEGED_SHIFT } from './iotlb.js'

const RW = ACCESS.READ | ACCESS.WRITE

/** What a pass-through entry grants, */
export const USER_GRANTS = GRANT.USER_READ | GRANT.USER_WRITE | GRANT.USER_PROBE | GRANT.DIRTY
/** and where SRE is set. */
export const EVERY_GRANT = USER_GRANTS | GRANT.PRIVILEGED_READ | GRANT.PRIVILEGED_WRITE | GRANT.PRIVILEGED_PROBE

/** What is kept of a first stage whatever the second grants. */
const FIRST_FACTS = GRANT.SUPERVISOR_ONLY | GRANT.FIRST_WRITE

/** What a first-stage walk starts with. */
export function firstRights(config: DmaConfig, isPrivileged: boolean): number {
  let rights = RIGHT.READ | RIGHT.WRITE | RIGHT.USER
  if (isPrivileged) rights |= config.wpe ? RIGHT.SUPERVISOR : RIGHT.SUPERVISOR | RIGHT.NO_WRITE_PROTECT
  return config.eafe ? rights | RIGHT.EXTENDED_ACCESSED : rights
}

/** What a second-stage walk starts with. */
export const secondRights = (config: DmaConfig): number =>
  RIGHT.READ | RIGHT.WRITE | (config.ssade ? RIGHT.ACCESSED_DIRTY : 0)

/** A present first-stage entry can be read; the privilege comes before the write. [VTD 7.1.3 SGN.2, SGN.6] */
export function firstPermission(rights: number, access: number): number {
  if ((rights & (RIGHT.USER | RIGHT.SUPERVISOR)) === 0) return REASON.SGN_2
  return (access & ACCESS.WRITE) !== 0 && !mayWriteFirst(rights) ? REASON.SGN_6 : REASON.NONE
}

/**
 * Nothing left at all, then the write, then the read; an AtomicOp needs both.
 *
 * @param hasProbes a read of no bytes may go where a write may [VTD 3.14 Handling of Zero-Length Reads]
 */
export function secondPermission(rights: number, access: number, hasProbes: boolean): number {
  // [VTD 7.1.3 SSS.2, SGN.6, SGN.7]
  const left = rights & (RIGHT.READ | RIGHT.WRITE)
  if (left === 0) return REASON.SSS_2
  if ((access & ACCESS.WRITE) !== 0 && (left & RIGHT.WRITE) === 0) return REASON.SGN_6
  const mustRead = (access & ACCESS.READ) !== 0 || ((access & ACCESS.WRITE) === 0 && !hasProbes)
  return mustRead && (left & RIGHT.READ) === 0 ? REASON.SGN_7 : REASON.NONE
}

/** What a first-stage leaf grants to user and to privileged requests, whoever asked. */
export function firstGrants(config: DmaConfig, rights: number): number {
  const write = (rights & RIGHT.WRITE) !== 0
  const read = GRANT.USER_READ | GRANT.USER_PROBE
  const all = read | (write || !config.wpe ? GRANT.USER_WRITE : 0)
  const user = rights & RIGHT.USER ? read | (write ? GRANT.USER_WRITE : 0) : GRANT.SUPERVISOR_ONLY
  const grants = write ? user | GRANT.FIRST_WRITE : user
  return config.sre ? grants | asPrivileged(all) : grants
}

/** What both stages of a nested walk grant together. */
export const bothGrants = (first: number, second: number): number => first & (second | FIRST_FACTS)

/** What a second-stage leaf grants; it knows nothing of privilege. */
export function secondGrants(config: DmaConfig, rights: number, hasProbes: boolean): number {
  const readWrite = rights & (RIGHT.READ | RIGHT.WRITE)
  const user = readWrite | (hasProbes || rights & RIGHT.READ ? GRANT.USER_PROBE : 0)
  return config.sre ? user | asPrivileged(user) : user
}

/** Which right an entry has not; NONE where it lacks but a dirty flag. */
export function lackingRight(flags: number, needed: number, privileged: boolean, isLegacy: boolean): number {
  const lacking = needed & ~flags
  // Only where SRE is clear has a privileged request no right at all.
  if (privileged && (flags & PRIVILEGED) === 0) return REASON.SPT_6
  if (!privileged && (flags & GRANT.SUPERVISOR_ONLY) !== 0) return REASON.SGN_2
  if ((lacking & (GRANT.USER_WRITE | GRANT.PRIVILEGED_WRITE)) !== 0) return isLegacy ? REASON.LGN_2 : REASON.SGN_6
  const mustRead = (lacking & ~GRANT.DIRTY) !== 0
  return mustRead ? (isLegacy ? REASON.LGN_3 : REASON.SGN_7) : REASON.NONE
}

const PRIVILEGED = GRANT.PRIVILEGED_READ | GRANT.PRIVILEGED_WRITE | GRANT.PRIVILEGED_PROBE

/** User grants as the same grants to privileged requests. */
const asPrivileged = (grants: number): number =>
  ((grants & RW) << PRIVILEGED_SHIFT.READ_WRITE) | ((grants & GRANT.USER_PROBE) << PRIVILEGED_SHIFT.PROBE)

/** Grants to privileged requests as the same grants to a user's. */
export const asUser = (grants: number): number =>
  ((grants >>> PRIVILEGED_SHIFT.READ_WRITE) & RW) |
  ((grants & GRANT.PRIVILEGED_PROBE) >>> PRIVILEGED_SHIFT.PROBE) |
  (grants & (GRANT.DIRTY | GRANT.FIRST_WRITE))

/** Scalable-mode reasons of a second-stage walk as legacy mode names them. [VTD 7.1.3 T30] */
export function legacyReason(reason: number, access: number): number {
  switch (reason) {
    case REASON.SSS_4:
      return REASON.LCT_4
    case REASON.SSS_1:
      return REASON.LSS_1
    case REASON.SSS_3:
      return REASON.LSS_2
    case REASON.SGN_6:
      return REASON.LGN_2
    case REASON.SGN_7:
      return REASON.LGN_3
    default:
      // Absent entries have no reason of their own: the missing permission is named. [VTD 7.1.3 LGN.2, LGN.3]
      return (access & ACCESS.WRITE) !== 0 ? REASON.LGN_2 : REASON.LGN_3
  }
}

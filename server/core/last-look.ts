/**
 * What somebody leaves stale when he ends. Until then a change may still be invalidated; afterwards his devices are
 * detached and his unit is gone, which makes everything right, and hides what was forgotten.
 */

import type { Device } from './device.js'
import { ownerOf } from './fault-routing.js'
import { WATCHES_A_STEP } from './limits.js'
import { hasOwnTables } from './stale-owner.js'
import type { Concerns, UnitOracle } from './unit-oracle.js'
import type { Work } from './work.js'

/** Whatever it is. */
const EVERYTHING: Concerns = () => true

/** Reports what is cached of somebody and stale. */
export function* lookLast(oracle: UnitOracle, concerns = EVERYTHING): Work<void> {
  for (let at = 0; at < oracle.watched; ) {
    at = oracle.checkLast(at, WATCHES_A_STEP, concerns)
    if (at < oracle.watched) yield
  }
}

/** Of a device that is about to be detached: what its unit caches of tables that are its owner's to invalidate. */
export function* lookLastAt(device: Device): Work<void> {
  const oracle = oracleOf(device)
  if (oracle !== undefined) yield* lookLast(oracle, concernsOf(device, false))
}

/** Of a device that is about to forget: what it keeps itself. That is little, and done at once. */
export function lookLastAtKept(device: Device): void {
  const oracle = device.platform.ats === true ? oracleOf(device) : undefined
  if (oracle === undefined) return
  const concerns = concernsOf(device, true)
  for (let at = 0; at < oracle.watched; ) at = oracle.checkLast(at, WATCHES_A_STEP, concerns)
}

const oracleOf = ({ context, platform }: Device): UnitOracle | undefined =>
  context.core.staleBooks.get(platform.driver)?.oracle

const concernsOf = (device: Device, wantsKept: boolean): Concerns => {
  const { device: hardware } = device.platform
  const { core } = device.context
  return (rid, pasid, isKept) =>
    isKept === wantsKept &&
    rid === hardware.rid &&
    ownerOf(core, hardware, pasid) === device &&
    hasOwnTables(device, pasid)
}

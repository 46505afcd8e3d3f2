/** What a bound device keeps, as its unit's oracle looks at it: the grants in its book that it was not asked to forget. */

import { type Grant, pageOf } from './atc.js'
import type { Core } from './core.js'
import type { DeviceDriver, DmaOutcome, KeptTranslations } from './driver.js'
import { ownerOf } from './fault-routing.js'

/** Of a device and its mediated children, which are one to their unit. */
export class KeptGrants implements KeptTranslations {
  /** The one that is about to be used, whatever else the device keeps of the same address. */
  using: Grant | undefined
  readonly #core: Core
  readonly #hardware: DeviceDriver

  constructor(core: Core, hardware: DeviceDriver) {
    this.#core = core
    this.#hardware = hardware
  }

  lookUp(pasid: number, isPrivileged: boolean, lo: number, hi: number, out: DmaOutcome): boolean {
    const page = pageOf(lo, hi)
    const owner = ownerOf(this.#core, this.#hardware, pasid)
    const { using } = this
    const isUsing = using !== undefined && using.pasid === pasid && covers(using, page)
    const grant = isUsing ? using : owner?.endpoint.atc.kept(pasid, page, isPrivileged)
    if (grant === undefined) return false
    const physical = physicalOf(grant, page)
    // What lies in memory that was let go is used no more.
    if (owner?.context.regions.atPhysical(physical) !== grant.region) return false
    out.address = physical + (lo & 0xfff)
    out.leafLg2 = grant.sizeLg2
    out.rights = grant.rights
    return true
  }
}

const covers = ({ page: first, sizeLg2 }: Grant, page: number): boolean =>
  page >= first && page < first + 2 ** (sizeLg2 - 12)

/** Where a page of a grant is. */
export const physicalOf = ({ region, offset, page: first }: Grant, page: number): number =>
  region.memory.address + offset + (page - first) * 4096

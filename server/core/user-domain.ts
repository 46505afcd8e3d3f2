/**
 * User domains: tables that the client keeps in guest memory and the hardware walks through a parent. There is nothing
 * to map or unmap here, and so no call that could. [uAPI IOMMU_HWPT_ALLOC, VTD_S1 and ARM_SMMUV3]
 */

import type { Completion, UserOps } from './driver.js'
import { Hwpt } from './hwpt.js'
import type { Ioas } from './ioas.js'
import { type IommuObject, OBJECT_TYPE } from './object.js'
import type { PagingDomain } from './paging-domain.js'
import type { Viommu } from './viommu.js'

/** HWPT_NESTED. */
export class UserDomain extends Hwpt {
  static override readonly label = 'a user domain'

  readonly type = OBJECT_TYPE.USER_DOMAIN
  readonly kind = 'user domain'
  readonly isAuto = false
  readonly ops: UserOps
  /** What it was made on: a nesting parent (VT-d) or a vIOMMU (SMMUv3). */
  readonly on: PagingDomain | Viommu
  readonly pasidCompatible: boolean

  constructor(id: number, on: PagingDomain | Viommu, ops: UserOps, pasidCompatible: boolean) {
    super(id)
    this.on = on
    this.ops = ops
    this.pasidCompatible = pasidCompatible
    on.hold(this)
  }

  /** Where the addresses in its tables lead. */
  get parent(): PagingDomain {
    return this.on.type === OBJECT_TYPE.VIOMMU ? this.on.parent : this.on
  }

  /** The address space of its parent: what a device attached to it reserves, it reserves there. */
  get ioas(): Ioas {
    return this.parent.ioas
  }

  protected get ground(): IommuObject {
    return this.on
  }

  override get facts(): Readonly<Record<string, string>> {
    return { unit: this.ops.driver.name, parent: String(this.parent.id), binds: this.ops.driver.userDomainBinds }
  }

  destroy(): Completion {
    this.ops.destroy()
    this.dropFaultQueue()
    this.on.drop(this)
    return undefined
  }
}

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
import type { Window } from './window.js'

/** HWPT_NESTED. */
export class UserDomain extends Hwpt {
  static override readonly label = 'a user domain'

  readonly type = OBJECT_TYPE.USER_DOMAIN
  readonly kind = 'user domain'
  readonly isAuto = false
  readonly ops: UserOps
  /** What it was made on: a nesting parent (VT-d), a vIOMMU or a window (SMMUv3). */
  readonly on: PagingDomain | Viommu | Window
  readonly pasidCompatible: boolean

  constructor(id: number, on: PagingDomain | Viommu | Window, ops: UserOps, pasidCompatible: boolean) {
    super(id)
    this.on = on
    this.ops = ops
    this.pasidCompatible = pasidCompatible
    on.hold(this)
  }

  /** Where the addresses in its tables lead. */
  get parent(): PagingDomain {
    return this.on.type === OBJECT_TYPE.PAGING_DOMAIN ? this.on : this.on.parent
  }

  override get window(): Window | undefined {
    return this.on.type === OBJECT_TYPE.WINDOW ? this.on : undefined
  }

  /** The address space of its parent: what a device attached to it reserves, it reserves there. */
  get ioas(): Ioas {
    return this.parent.ioas
  }

  protected get ground(): IommuObject {
    return this.on
  }

  override get facts(): Readonly<Record<string, string>> {
    const { name: unit, userDomainBinds } = this.ops.driver
    const parent = String(this.parent.id)
    if (this.window === undefined) return { unit, parent, binds: userDomainBinds }
    return { unit, parent, binds: 'rid-or-pasid', window: String(this.window.id) }
  }

  destroy(): Completion {
    this.ops.destroy()
    this.dropFaultQueue()
    this.on.drop(this)
    return undefined
  }
}

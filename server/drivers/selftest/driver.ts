/**
 * The driver of the kernel's self-test unit: pages of 2 KiB, an aperture that begins at 16 MiB, domains whose caches can
 * be looked at. There is no hardware model behind it, so it shows that the door to drivers asks for none.
 */

import {
  type DeviceDriver,
  type DeviceFacts,
  type IommuDriver,
  type PagingFlags,
  type PagingOps,
  Refusal,
  type UnitListener,
  type UserData,
  type UserOps,
  type ViommuOps,
} from '../../core/driver.js'
import { SelftestDevice } from './device.js'
import { SelftestPaging } from './domains.js'
import { DEVICE_FLAG, TABLE_FORMATS, VIOMMU_TYPE } from './formats.js'
import { type MakePage, SelftestViommu, userDomain } from './viommu.js'

/** The unit and its driver, which are one. */
export class SelftestDriver implements IommuDriver {
  readonly kind = 'selftest'
  readonly userDomainBinds = 'rid-or-pasid'
  readonly nestsOnParent = true
  readonly hasUserPasidTables = true
  readonly name: string
  listener?: UnitListener
  readonly #makePage: MakePage

  constructor(name: string, makePage: MakePage) {
    this.name = name
    this.#makePage = makePage
  }

  probe({ rid, pasidLg2 }: DeviceFacts): SelftestDevice {
    return new SelftestDevice(this, rid, pasidLg2 > 0 ? DEVICE_FLAG.PASID : 0)
  }

  createPaging(device: DeviceDriver, flags: PagingFlags, data?: UserData): PagingOps {
    if (flags.dirtyTracking && !(device as SelftestDevice).logsWrites) {
      throw new Refusal('EOPNOTSUPP', 'the device was made with NO_DIRTY')
    }
    if (data !== undefined && data.kind !== 'selftest') {
      throw new Refusal('EOPNOTSUPP', 'paging domains of the self-test unit take data of its own type', {
        given: data.kind ?? 'an unknown type',
      })
    }
    const number = data?.read('selftest').pagetableType ?? 0
    const format = TABLE_FORMATS[number]
    if (format !== undefined) return new SelftestPaging(this, flags, format)
    throw new Refusal('EOPNOTSUPP', `there is no table format ${number}; DEFAULT is 0 and HUGE 1`, { format: number })
  }

  checkViommu(_device: DeviceDriver, type: number): void {
    if (type === VIOMMU_TYPE) return
    throw new Refusal('EOPNOTSUPP', `vIOMMUs of the self-test unit have the type 0x${VIOMMU_TYPE.toString(16)}`, {
      type,
    })
  }

  createViommu(_device: DeviceDriver, parent: PagingOps, _type: number, data?: UserData): ViommuOps {
    return new SelftestViommu(this, parent as SelftestPaging, this.#makePage, data)
  }

  createUserDomain(_device: DeviceDriver, parent: PagingOps, data: UserData): UserOps {
    return userDomain(this, parent as SelftestPaging, data)
  }

  counters(): Readonly<Record<string, number>> {
    return {}
  }
}

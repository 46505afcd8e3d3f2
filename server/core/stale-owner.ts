/** Whom a report of the oracle concerns: who has bound the device, or who owns the raw unit. */

import type { Core } from './core.js'
import type { Device } from './device.js'
import { RID_SLOT } from './driver.js'
import { ownerOf } from './fault-routing.js'
import type { PlatformUnitInfo } from './machine.js'
import { OBJECT_TYPE } from './object.js'
import type { OwnTarget, StaleOwner } from './stale-book.js'
import type { Unit } from './unit.js'
import { usersOf } from './unit-access.js'
import type { StaleFacts } from './unit-oracle.js'

/** Behind a platform's unit. */
export function ownerBehind(core: Core, { driver }: PlatformUnitInfo, { device, pasid }: StaleFacts): StaleOwner {
  const bound = device === undefined ? undefined : ownerOf(core, device, pasid)
  if (bound === undefined) {
    const platform = core.machine.devices.find((one) => one.device === device && one.mediated === undefined)
    return { deviceName: platform?.name ?? '', isShared: true, locate: () => undefined }
  }
  const { context, platform } = bound
  return {
    context,
    deviceName: platform.name,
    isShared: usersOf(core, driver).size > 1,
    locate: (physical) => {
      const region = context.regions.atPhysical(physical)
      return region && { regionId: region.id, offset: BigInt(physical - region.memory.address) }
    },
    ownTarget: targetOf(bound, pasid),
  }
}

/** Of a raw unit. */
export const ownerOfRaw = ({ context }: Unit): StaleOwner => ({
  context,
  deviceName: '',
  isShared: false,
  locate: (physical) => {
    const region = context.regions.atBusAddress(physical)
    return region && { regionId: region.id, offset: BigInt(physical - (region.spec.busAddress ?? 0)) }
  },
})

/** Whether what a device does, with a PASID or -1, goes through tables that its owner invalidates himself. */
export const hasOwnTables = (device: Device, pasid: number): boolean => targetOf(device, pasid) !== undefined

/** The vIOMMU that a guest's commands go to, or the user domain. */
function targetOf({ slots, platform }: Device, pasid: number): OwnTarget | undefined {
  const own = slots.get(pasid < 0 ? RID_SLOT : pasid)
  const domain = own ?? slots.get(RID_SLOT)
  if (domain?.type !== OBJECT_TYPE.USER_DOMAIN) return undefined
  if (domain.on.type === OBJECT_TYPE.VIOMMU) return { viommuId: domain.on.id, kind: 'smmuv3' }
  return { userDomainId: domain.id, kind: platform.driver.kind === 'vtd' ? 'vtdS1' : 'smmuv3Pgd' }
}

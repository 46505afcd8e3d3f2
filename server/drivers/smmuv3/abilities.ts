/** What a device can do behind this unit: the least of what either offers. [uAPI enum iommufd_hw_capabilities] */

import { type SmmuV3, STALL_MODEL } from '../../../hw-model/smmuv3/index.js'
import { type DeviceFacts, HW_CAPABILITY, type HwInfo } from '../../core/driver.js'
import { reportedInfo } from '../reported.js'
import type { Host } from './host.js'

/** Devices with PASIDs can ask to execute and for privilege under them, and Linux lets them. */
const PASID_CAPABILITIES = HW_CAPABILITY.PCI_PASID_EXEC | HW_CAPABILITY.PCI_PASID_PRIV

/** log2 of the CDs where two-level tables are not offered: a linear table of 64 KiB. */
const LINEAR_LIMIT_LG2 = 10

/** One device's. */
export interface Abilities {
  readonly pasidLg2: number
  /** PASIDs, 0 included, or 0 for none. */
  readonly maxPasids: number
  /** Bits of HW_CAPABILITY. */
  readonly bits: number
  readonly hwInfo: HwInfo
  /** It can wait, and the unit can let it: Linux's `dma-can-stall`, or a unit that knows nothing else. */
  readonly stalls: boolean
  readonly ats: boolean
  readonly pri: boolean
}

/** A device behind a unit. */
export function abilitiesOf(host: Host, unit: SmmuV3, facts: DeviceFacts): Abilities {
  const { features, tracksDirty, reported } = host
  const { stallModel } = features
  const limit = features.cd2l ? features.ssidSize : Math.min(features.ssidSize, LINEAR_LIMIT_LG2)
  const pasidLg2 = features.stage1 ? Math.min(facts.pasidLg2, limit) : 0
  const maxPasids = pasidLg2 === 0 ? 0 : 2 ** pasidLg2
  const ats = features.ats && facts.ats
  const { IDR0, IDR1, IDR2, IDR3, IDR4, IDR5, IIDR, AIDR } = unit.id
  const idr = [IDR0, IDR1, IDR2, IDR3, IDR4, IDR5]
  return {
    pasidLg2,
    maxPasids,
    bits:
      (ats ? 0 : HW_CAPABILITY.PCI_ATS_NOT_SUPPORTED) |
      (tracksDirty ? HW_CAPABILITY.DIRTY_TRACKING : 0) |
      (maxPasids === 0 ? 0 : PASID_CAPABILITIES),
    hwInfo: reportedInfo({ kind: 'smmuv3', idr, iidr: IIDR, aidr: AIDR }, reported),
    stalls: stallModel === STALL_MODEL.FORCED || (stallModel === STALL_MODEL.BOTH && facts.stalls === true),
    ats,
    pri: ats && features.pri && facts.pri,
  }
}

/** A test device: what is in its slots, its cache, and its DMA. */

import {
  type DeviceDriver,
  type DmaPort,
  type DomainOps,
  HW_CAPABILITY,
  type HwInfo,
  type IommuDriver,
  Refusal,
  RID_SLOT,
} from '../../core/driver.js'
import { SelftestPaging, SelftestUser } from './domains.js'
import { CACHE_DEFAULT, CACHE_ENTRIES, DEVICE_FLAG, FAILING_PASID, PASIDS, TEST_REGISTER } from './formats.js'
import { SelftestPort } from './port.js'
import type { SelftestViommu } from './viommu.js'

/** A device with all of its DMA blocked until a domain is set. */
export class SelftestDevice implements DeviceDriver {
  readonly driver: IommuDriver
  readonly rid: number
  readonly maxPasids: number
  readonly capabilities: number
  readonly reserved = []
  readonly hwInfo: HwInfo = { kind: 'selftest', flags: 0, testReg: TEST_REGISTER }
  readonly port: DmaPort
  /** What invalidations through a vIOMMU forget. */
  readonly cache = new Uint32Array(CACHE_ENTRIES).fill(CACHE_DEFAULT)
  /** The vIOMMU of the RID's user domain, and the guest's name of the device there when it was attached. */
  viommu: SelftestViommu | undefined
  virtId = 0n
  readonly #slots = new Map<number, DomainOps>()
  readonly #logsWrites: boolean
  #isArmed = false

  constructor(driver: IommuDriver, rid: number, flags: number) {
    this.driver = driver
    this.rid = rid
    // The device itself says 1 where others say 0: it takes PASIDs, but no number is small enough.
    this.maxPasids = (flags & DEVICE_FLAG.PASID) !== 0 ? PASIDS : 1
    this.#logsWrites = (flags & DEVICE_FLAG.NO_DIRTY) === 0
    this.capabilities = HW_CAPABILITY.PCI_ATS_NOT_SUPPORTED | (this.#logsWrites ? HW_CAPABILITY.DIRTY_TRACKING : 0)
    this.port = new SelftestPort(this.#slots)
  }

  /** It can be attached to domains that keep a log of writes. */
  get logsWrites(): boolean {
    return this.#logsWrites
  }

  set(slot: number, domain: DomainOps): undefined {
    if (domain instanceof SelftestPaging && domain.dirty !== undefined && !this.#logsWrites) {
      throw new Refusal('EINVAL', 'the domain keeps a log of writes, and the device was made with NO_DIRTY')
    }
    if (slot === RID_SLOT) this.#enter(domain)
    else if (slot === FAILING_PASID) this.#failEverySecond()
    this.#slots.set(slot, domain)
    return undefined
  }

  clear(slot: number): undefined {
    this.#slots.delete(slot)
    if (slot === FAILING_PASID) this.#isArmed = false
    if (slot === RID_SLOT) this.viommu = undefined
    return undefined
  }

  reset(): undefined {
    return undefined
  }

  /** Nothing in the device waits for the answer. */
  respond(): undefined {
    return undefined
  }

  /** Remembers the vIOMMU. A name that changed while the vIOMMU stays is not noticed, as in the kernel. */
  #enter(domain: DomainOps): void {
    const viommu = domain instanceof SelftestUser ? domain.viommu : undefined
    const virtId = viommu?.nameOf(this)
    if (viommu !== undefined && virtId === undefined) {
      throw new Refusal('ENOENT', 'the device has no vDEVICE in the vIOMMU of the user domain; make one first')
    }
    if (viommu === this.viommu) return
    this.viommu = viommu
    this.virtId = virtId ?? 0n
  }

  #failEverySecond(): void {
    this.#isArmed = !this.#isArmed
    if (!this.#isArmed) throw new Refusal('ENOMEM', `every second set of PASID ${FAILING_PASID} fails`)
  }
}

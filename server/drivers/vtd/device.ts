/** One device behind a VT-d unit: its slots (the RID's own requests, and PASIDs) and its way to memory. */

import { type Invalidation, NO_PASID, type RemappingUnit, Transaction } from '../../../hw-model/port.js'
import { CONTEXT_ENTRY, PASID_TABLE_ENTRY } from '../../../hw-model/vtd/index.js'
import {
  type Completion,
  type DeviceDriver,
  type DeviceFacts,
  type DmaOutcome,
  type DmaPort,
  type DomainOps,
  type ExplainStep,
  HW_CAPABILITY,
  type HwInfo,
  Refusal,
  type ReservedRange,
  RID_SLOT,
} from '../../core/driver.js'
import { addressText } from '../invalidation-text.js'
import { type Descriptor, deviceContext, domainTranslations, pasidEntry, pasidTranslations } from './descriptors.js'
import type { VtdDriver } from './driver.js'
import { PagingDomain } from './paging.js'
import type { VtdDomain } from './tables.js'
import { UserDomain } from './user.js'

/** [VTD 3.15 Handling Requests to Interrupt Address Range] */
const INTERRUPT_RANGE: ReservedRange = { kind: 'msi', start: 0xfee00000n, last: 0xfeefffffn }

/** Flag bit 0: erratum 772415, which Linux always reports. [uAPI struct iommu_hw_info_vtd] */
const HW_INFO_FLAGS = 1

const NOTHING: Invalidation = { name: '', operands: {} }

/** A device with all of its DMA blocked until a domain is set. */
export class VtdDevice implements DeviceDriver {
  readonly driver: VtdDriver
  readonly rid: number
  readonly maxPasids: number
  readonly capabilities: number
  readonly reserved = [INTERRUPT_RANGE]
  readonly hwInfo: HwInfo
  readonly port: DmaPort
  /** Physical address of its PASID directory; 0 in legacy mode. */
  readonly #directory: number
  /** Slots with a user domain. */
  readonly #userSlots = new Set<number>()

  constructor(driver: VtdDriver, facts: DeviceFacts, unit: RemappingUnit) {
    const { cap, ecap, capWord, ecapWord } = driver.hardware
    this.driver = driver
    this.rid = facts.rid
    const unitPasids = driver.isScalable && ecap['PASID'] ? 2 ** (ecap['PSS'] + 1) : 0
    this.maxPasids = facts.pasidLg2 > 0 ? Math.min(2 ** facts.pasidLg2, unitPasids) : 0
    // The unit can log writes (ECAP.SSADS), but no call reads the log, and a VMM that saw DIRTY_TRACKING would start a
    // migration that cannot end. So the capability is not told, and domains with the flag are refused.
    this.capabilities =
      (this.maxPasids > 0 && ecap['SRS'] ? HW_CAPABILITY.PCI_PASID_PRIV : 0) |
      (facts.ats && ecap['DT'] ? 0 : HW_CAPABILITY.PCI_ATS_NOT_SUPPORTED)
    this.hwInfo = { kind: 'vtd', flags: HW_INFO_FLAGS, cap: capWord, ecap: ecapWord }
    this.port = new UnitPort(unit, driver, facts.rid, (slot) => this.#userSlots.has(slot))
    this.#directory = driver.isScalable ? driver.tables.addScalableDevice(facts.rid, this.maxPasids) : 0
    if (!driver.isScalable) driver.tables.addLegacyDevice(facts.rid)
    // Caching mode: the absent entry may be cached, under domain-id 0. [VTD 6.5.3.3 T28]
    if (cap['CM']) driver.hardware.submit([deviceContext(facts.rid, 0), domainTranslations(0)])
  }

  set(slot: number, domain: DomainOps, old: DomainOps | null): Completion {
    const next = this.#checked(slot, domain)
    // What can be refused is refused before anything changes.
    const entry = this.#entryOf(slot)
    const did = next.bindings.add(slot)
    if (next.kind === 'user') this.#userSlots.add(slot)
    else this.#userSlots.delete(slot)
    if (old !== null) this.#tearDown(slot, entry, old as VtdDomain)
    if (this.driver.isScalable) this.driver.tables.setPasidEntry(entry, next, did)
    else this.driver.tables.setContextEntry(this.rid, next as PagingDomain, did)
    // Caching mode: Linux names the new domain-id here.
    if (this.driver.hardware.cap['CM']) this.driver.hardware.submit(this.#setUpFlush(slot, did))
    return undefined
  }

  clear(slot: number, old: DomainOps): Completion {
    this.#userSlots.delete(slot)
    this.#tearDown(slot, this.#entryOf(slot), old as VtdDomain)
    return undefined
  }

  /** Without device TLB and page requests nothing of the device's is left in the unit. */
  reset(): Completion {
    return undefined
  }

  /** Clear P, forget the entry, forget its translations, wait; then the entry is free. */
  #tearDown(slot: number, entry: number, old: VtdDomain): void {
    const { tables, hardware, isScalable } = this.driver
    const { did } = old.bindings
    tables.clearPresent(entry)
    if (isScalable) {
      const isFirst = old.kind === 'paging' && old.stage === 'first'
      const translations = isFirst ? pasidTranslations(did, slot) : domainTranslations(did)
      hardware.submit([pasidEntry(did, slot), translations])
      tables.zero(entry, PASID_TABLE_ENTRY.$.bytes)
    } else {
      hardware.submit([deviceContext(this.rid, did), domainTranslations(did)])
      tables.zero(entry, CONTEXT_ENTRY.$.bytes)
    }
    old.bindings.remove(slot)
  }

  #setUpFlush(slot: number, did: number): readonly Descriptor[] {
    if (this.driver.isScalable) return [pasidEntry(did, slot), pasidTranslations(did, slot)]
    return [deviceContext(this.rid, 0), domainTranslations(did)]
  }

  #entryOf(slot: number): number {
    const { tables, isScalable } = this.driver
    return isScalable ? tables.pasidSlot(this.#directory, slot) : tables.contextEntry(this.rid)
  }

  #checked(slot: number, domain: DomainOps): VtdDomain {
    if (domain.driver !== this.driver) {
      throw new Refusal('EINVAL', 'the domain was made for another unit, whose capabilities may differ', {
        unit: this.driver.name,
        domainUnit: domain.driver.name,
      })
    }
    if (slot !== RID_SLOT && slot >= this.maxPasids) {
      throw new Refusal(this.maxPasids === 0 ? 'EOPNOTSUPP' : 'EINVAL', 'the device has no such PASID', {
        pasid: slot,
        pasids: this.maxPasids,
      })
    }
    if (domain instanceof UserDomain) domain.checkAttachable()
    else if (!(domain instanceof PagingDomain)) throw new Error('bug: a domain of this unit is of its own classes')
    return domain
  }
}

/** The requester's side of the unit. Fault records are read out after each request that may have made one. */
class UnitPort implements DmaPort {
  readonly #unit: RemappingUnit
  readonly #driver: VtdDriver
  readonly #transaction = new Transaction()
  readonly #isUsers: (slot: number) => boolean

  /** @param isUsers whether a user domain is in a slot */
  constructor(unit: RemappingUnit, driver: VtdDriver, rid: number, isUsers: (slot: number) => boolean) {
    this.#unit = unit
    this.#isUsers = isUsers
    this.#driver = driver
    this.#transaction.rid = rid
  }

  translate(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#unit.translate(this.#fill(pasid, lo, hi, access), out)
    this.#driver.drainFaults()
  }

  explain(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[] {
    const steps: ExplainStep[] = []
    this.#unit.explain(this.#fill(pasid, lo, hi, access), out, { step: (step) => steps.push(step) })
    return steps
  }

  peek(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): boolean {
    return this.#unit.peek(this.#fill(pasid, lo, hi, access), out)
  }

  missing(pasid: number, lo: number, hi: number, access: number): string {
    // All but a user domain's pages is the host's own to invalidate.
    if (!this.#isUsers(pasid < 0 ? RID_SLOT : pasid)) return ''
    const descriptors = this.#unit.missing(this.#fill(pasid, lo, hi, access))
    const [{ name, page } = NOTHING] = descriptors
    if (descriptors.length !== 1 || name !== 'P_IOTLB' || page === undefined) return ''
    return `P_IOTLB addr=${addressText(page)} npages=1 on the user domain`
  }

  faultName(fault: number): string {
    return this.#unit.faultName(fault)
  }

  #fill(pasid: number, lo: number, hi: number, access: number): Transaction {
    const transaction = this.#transaction
    transaction.pasid = pasid < 0 ? NO_PASID : pasid
    transaction.lo = lo | 0
    transaction.hi = hi | 0
    transaction.access = access
    return transaction
  }
}

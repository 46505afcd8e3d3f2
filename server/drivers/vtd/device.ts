/** One device behind a VT-d unit: its slots (the RID's own requests, and PASIDs) and its way to memory. */

import { CONTEXT_ENTRY, PASID_TABLE_ENTRY } from '../../../hw-model/vtd/index.js'
import {
  type AtsDoor,
  type Completion,
  type DeviceDriver,
  type DeviceFacts,
  type DomainOps,
  HW_CAPABILITY,
  type HwInfo,
  type PageFault,
  Refusal,
  type ReservedRange,
  RID_SLOT,
} from '../../core/driver.js'
import { reportedInfo } from '../reported.js'
import { refusedAttach } from './attachable.js'
import type { Place } from './bindings.js'
import type { DeviceTlb } from './cache-tags.js'
import { deviceContext, domainTranslations, fence, pasidCache, pasidTranslations, wholeDevice } from './descriptors.js'
import { IDENTITY_DID } from './domain-ids.js'
import { FunctionDoor } from './door.js'
import type { VtdDriver } from './driver.js'
import { legacyContextEntry, pasidEntry, type VtdDomain } from './entries.js'
import { exchangeNested } from './exchange.js'
import { IdentityDomain } from './identity.js'
import { PageGroups } from './page-groups.js'
import type { VtdPageRequest } from './page-request-ring.js'
import { PagingDomain } from './paging.js'
import { UnitPort } from './port.js'
import { UserDomain } from './user.js'

/** [VTD 3.15 Handling Requests to Interrupt Address Range] */
const INTERRUPT_RANGE: ReservedRange = { kind: 'msi', start: 0xfee00000n, last: 0xfeefffffn }

/** Flag bit 0: erratum 772415, which Linux always reports. [uAPI struct iommu_hw_info_vtd] */
const HW_INFO_FLAGS = 1

/**
 * Devices with PASIDs can ask to execute and for privilege under them, and Linux switches on what they can: the bits are
 * the device's own. What its unit says to such requests is in ECAP, ERS and SRS.
 */
const PASID_CAPABILITIES = HW_CAPABILITY.PCI_PASID_EXEC | HW_CAPABILITY.PCI_PASID_PRIV

/** What a slot can be set to: a domain that core carries, or the host's own. */
type Settable = DomainOps | IdentityDomain

/** A device with all of its DMA blocked until a domain is set. */
export class VtdDevice implements DeviceDriver {
  readonly driver: VtdDriver
  readonly rid: number
  readonly maxPasids: number
  readonly capabilities: number
  readonly enforcesCoherency: boolean
  readonly reserved = [INTERRUPT_RANGE]
  readonly hwInfo: HwInfo
  readonly port: UnitPort
  readonly ats?: AtsDoor
  lastSetWasHitless = true
  /** It asks this unit for pages. */
  readonly hasPageRequests: boolean
  /** Where it keeps translations of its own; null where it keeps none. */
  readonly #tlb: DeviceTlb | null
  /** Physical address of its PASID directory; 0 in legacy mode. */
  readonly #directory: number
  /** What is in each slot. */
  readonly #domains = new Map<number, VtdDomain>()
  /** Slots whose domain takes faults. */
  readonly #faultSlots = new Set<number>()
  readonly #groups: PageGroups
  /** Slots that core believes in use, which an attach that was refused has emptied, and when that is done. */
  readonly #blocked = new Map<number, Completion>()

  constructor(driver: VtdDriver, facts: DeviceFacts) {
    const { cap, ecap, capWord, ecapWord, drains } = driver.hardware
    this.driver = driver
    this.rid = facts.rid
    this.enforcesCoherency = ecap['SC'] !== 0
    const unitPasids = driver.isScalable && ecap['PASID'] ? 2 ** (ecap['PSS'] + 1) : 0
    this.maxPasids = facts.pasidLg2 > 0 ? Math.min(2 ** facts.pasidLg2, unitPasids) : 0
    this.#tlb = facts.ats && ecap['DT'] ? { sid: facts.rid, pfsid: ecap['DIT'] ? facts.rid : 0 } : null
    this.hasPageRequests =
      this.#tlb !== null && facts.pri && driver.isScalable && ecap['PRS'] !== 0 && ecap['PDS'] !== 0
    this.capabilities =
      (driver.canTrackDirty ? HW_CAPABILITY.DIRTY_TRACKING : 0) |
      (this.maxPasids > 0 ? PASID_CAPABILITIES : 0) |
      (this.#tlb === null ? HW_CAPABILITY.PCI_ATS_NOT_SUPPORTED : 0)
    const info = { kind: 'vtd', flags: HW_INFO_FLAGS, cap: capWord, ecap: ecapWord } as const
    this.hwInfo = reportedInfo(info, driver.reported)
    const { rid, hasPageRequests } = this
    const port = new UnitPort(driver.unit, driver, rid, (slot) => this.#domains.get(slot)?.kind === 'user')
    this.port = port
    const hasTlb = this.#tlb !== null
    if (hasTlb) this.ats = new FunctionDoor(driver.unit, port, rid, hasPageRequests, () => driver.drain())
    this.#groups = new PageGroups((pasid, group, isSuccess) => driver.answerPages(rid, pasid, group, isSuccess))
    const { tables, hardware, isScalable } = driver
    const can = { pasids: this.maxPasids, hasTlb, hasPageRequests }
    this.#directory = isScalable ? tables.addScalableDevice(rid, can) : 0
    // In legacy mode there is room for its context entry now; the entry stays absent.
    if (!isScalable) tables.contextEntry(facts.rid)
    // Caching mode: the absent entry may be cached, under domain-id 0. [VTD 6.5.3.3 T28]
    if (cap['CM']) hardware.submitEach([deviceContext(facts.rid, 0), domainTranslations(drains, 0)])
    else hardware.flushWriteBuffer()
  }

  set(slot: number, domain: Settable, holds: Settable | null): Completion {
    const next = this.#own(slot, domain)
    const old = holds === null || this.#blocked.has(slot) ? null : (holds as VtdDomain)
    this.driver.ram.failPoint?.('domain-id')
    const { ids } = this.driver
    const refused = refusedAttach({ slot, next, old, hasPageRequests: this.hasPageRequests, ids })
    if (refused !== undefined) {
      if (refused.leavesBlocked && old !== null) this.#block(slot, old)
      throw refused.refusal
    }
    // A table that cannot be had is no reason to block anything.
    const place = this.#placeOf(slot)
    this.lastSetWasHitless = true
    let done = this.#blocked.get(slot)
    if (old === null) this.#fill(place, next, next.bindings.attach(place))
    else done = this.#replace(place, next, old)
    this.#blocked.delete(slot)
    this.#domains.set(slot, next)
    if (next.kind !== 'identity' && next.takesFaults === true) this.#faultSlots.add(slot)
    else this.#faultSlots.delete(slot)
    if (old !== null) tablesOf(old)?.outstanding.add(done)
    // What the old domain left unanswered is refused, as Linux does.
    if (old !== null) this.#groups.refuse(slot)
    this.driver.drain()
    return done
  }

  clear(slot: number, old: Settable): Completion {
    const blocked = this.#blocked.get(slot)
    if (this.#blocked.delete(slot)) return blocked
    return this.#empty(this.#placeOf(slot), old as VtdDomain)
  }

  /** Its own translations are its own to forget, nothing of its waits in the unit, and it waits for no page. */
  reset(slots?: readonly number[]): Completion {
    this.#groups.forget(slots)
    return undefined
  }

  respond(last: PageFault, isSuccess: boolean): Completion {
    this.#groups.respond(last, isSuccess)
    this.driver.drain()
    return undefined
  }

  /** A page request of its came: to whoever takes the faults of its slot. */
  reportPage({ pasid, group, isLast, access, address }: VtdPageRequest): void {
    const slot = pasid < 0 ? RID_SLOT : pasid
    const { listener } = this.driver
    const isTaken = listener !== undefined && this.#faultSlots.has(slot)
    const tell = isTaken ? (fault: PageFault) => listener.pageFault(this, fault) : undefined
    this.#groups.report(slot, { pasid, group, isLast, access, address }, tell)
  }

  /**
   * In place where every state between is a valid one, else through an absent entry. A RID gives its domain up before it
   * takes the next, a PASID takes the next first, as in Linux; the domain-ids show it.
   */
  #replace(place: Place, next: VtdDomain, old: VtdDomain): Completion {
    const exchanged = exchangeNested(this.driver, place, next, old)
    if (exchanged !== undefined) {
      if (this.#faultSlots.size > 0) this.#drainPageRequests(place.slot)
      return exchanged.done
    }
    let done: Completion
    if (place.slot === RID_SLOT) {
      done = this.#tearDown(place, old)
      old.bindings.detach(place)
      this.#fill(place, next, next.bindings.attach(place))
    } else {
      const did = next.bindings.attach(place)
      done = this.#tearDown(place, old)
      this.#fill(place, next, did)
      old.bindings.detach(place)
    }
    this.lastSetWasHitless = false
    return done
  }

  /** Empties a slot that core does not know to be empty. */
  #block(slot: number, old: VtdDomain): void {
    this.#blocked.set(slot, this.#empty(this.#placeOf(slot), old))
  }

  #empty(place: Place, old: VtdDomain): Completion {
    const { slot } = place
    const done = this.#tearDown(place, old)
    this.#domains.delete(slot)
    this.#faultSlots.delete(slot)
    old.bindings.detach(place)
    tablesOf(old)?.outstanding.add(done)
    this.#groups.refuse(slot)
    this.driver.drain()
    return done
  }

  /** Writes an absent entry. Caching mode may have kept its absence. [VTD 6.5.3.3 T28] */
  #fill({ entry, slot }: Place, domain: VtdDomain, did: number): void {
    const { hardware, tables, isScalable } = this.driver
    const { cap, drains } = hardware
    const words = isScalable
      ? pasidEntry(hardware, domain, did)
      : legacyContextEntry(hardware, domain, did, this.#tlb !== null)
    tables.fill(entry, words)
    if (!cap['CM']) hardware.flushWriteBuffer()
    else if (isScalable) hardware.submitEach([pasidCache(did, slot), pasidTranslations(did, slot)])
    // An absent legacy entry is kept under domain-id 0. [VTD 6.2.2]
    else hardware.submitEach([deviceContext(this.rid, 0), domainTranslations(drains, did)])
  }

  /**
   * Clears P, has the entry forgotten, then what was made through it, then zeroes it, and has the device forget. Linux
   * zeroes it last; but absent is absent, and an answer of the device's may take its time.
   */
  #tearDown({ entry, slot, tlb }: Place, domain: VtdDomain): Completion {
    const { tables, hardware, flusher, isScalable } = this.driver
    const { did } = domain.bindings
    tables.clearPresent(entry)
    const hasSecond = domain.kind === 'user' || (domain.kind === 'paging' && domain.stage === 'second')
    const byDomain = !isScalable || hasSecond
    const done = flusher.runEach([
      isScalable ? pasidCache(did, slot) : deviceContext(this.rid, did),
      byDomain ? domainTranslations(hardware.drains, did) : pasidTranslations(did, slot),
      ...wholeDevice(tlb, slot),
    ])
    tables.zero(entry, (isScalable ? PASID_TABLE_ENTRY : CONTEXT_ENTRY).$.bytes)
    if (this.#faultSlots.size > 0) this.#drainPageRequests(slot)
    return done
  }

  /**
   * Every page request that the slot sent is in the queue, and handled. The device forgot its translations before, and
   * what it had sent came first. [VTD 7.10 Software Steps to Drain Page Requests & Responses]
   */
  #drainPageRequests(slot: number): void {
    const { hardware } = this.driver
    const did = this.#domains.get(RID_SLOT)?.bindings.did ?? IDENTITY_DID
    const unit = slot === RID_SLOT ? domainTranslations(hardware.drains, did) : pasidTranslations(did, slot)
    hardware.submitDraining([fence(), unit])
    this.driver.drain()
  }

  /** Where a slot's entry stands; its table is made if it is the first there. @throws Refusal ENOMEM */
  #placeOf(slot: number): Place {
    const { tables, isScalable } = this.driver
    const entry = isScalable ? tables.pasidSlot(this.#directory, slot) : tables.contextEntry(this.rid)
    return { entry, slot, tlb: this.#tlb }
  }

  /** The domain as this unit knows it. @throws Refusal EINVAL, EOPNOTSUPP */
  #own(slot: number, domain: Settable): VtdDomain {
    const isForeign = !(domain instanceof IdentityDomain) && domain.driver !== this.driver
    if (isForeign) {
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
    if (domain instanceof UserDomain || domain instanceof IdentityDomain || domain instanceof PagingDomain)
      return domain
    throw new Error('bug: a domain of this unit is of its own classes')
  }
}

/** Whose pages a domain's translations lead to; the identity has none that anyone unmaps. */
function tablesOf(domain: VtdDomain): PagingDomain | undefined {
  if (domain.kind === 'identity') return undefined
  return domain.kind === 'user' ? domain.parent : domain
}

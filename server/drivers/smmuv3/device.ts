/**
 * One device behind the unit. Its STE says who owns its CD table: the host (stage 1 paging domains on the RID and on
 * PASIDs), the guest (a user domain, with every PASID), or nobody (stage 2 alone, or blocked). The first excludes the
 * other two while a PASID is in use. A window is the host's table behind the guest's stage 2, and excludes all of them.
 */

import { S1DSS, type SmmuV3, STALL_MODEL } from '../../../hw-model/smmuv3/index.js'
import {
  type AtsDoor,
  assert,
  type Completion,
  type DeviceDriver,
  type DeviceFacts,
  type DomainOps,
  type HwInfo,
  type IommuDriver,
  type PageFault,
  Refusal,
  type ReservedRange,
  RID_SLOT,
} from '../../core/driver.js'
import { abilitiesOf } from './abilities.js'
import { forgetAll, forgetWhole } from './atc.js'
import { CdTable } from './cd-table.js'
import { abortSte, type StreamShape, stageOneSte, stageTwoSte } from './entries.js'
import { refuseFailed } from './errors.js'
import type { Waiting, WaitingOfDevice } from './faults.js'
import type { Host } from './host.js'
import { StageOneDomain, StageTwoDomain } from './paging.js'
import { SmmuPort } from './port.js'
import { reachOf, tablesOf } from './reach.js'
import { RootDomain } from './root.js'
import { StreamEntry } from './stream-entry.js'
import { UserDomain } from './user.js'
import type { SmmuViommu } from './viommu.js'
import type { Window } from './window.js'
import { checkPasidOfRoot, checkWindow, mayLeaveWindow, type WindowDomain, windowOf } from './window-rules.js'

/** Where the host keeps the page of the MSI doorbell in every IOVA space; the kernel's choice. */
const MSI_WINDOW: ReservedRange = { start: 0x0800_0000n, last: 0x080f_ffffn, kind: 'msi' }

/** Which guest's name a device's events carry. */
export interface VirtualStream {
  readonly viommu: SmmuViommu
  readonly virtId: bigint
}

type Domain = StageOneDomain | StageTwoDomain | UserDomain | WindowDomain

/** A device. */
export class SmmuDevice implements DeviceDriver {
  readonly driver: IommuDriver
  readonly rid: number
  readonly maxPasids: number
  readonly capabilities: number
  readonly reserved: readonly ReservedRange[] = [MSI_WINDOW]
  readonly hwInfo: HwInfo
  /** CANWBS: coherent whatever a request or a guest's tables say. */
  readonly enforcesCoherency: boolean
  readonly port: SmmuPort
  readonly ats?: AtsDoor
  /** Set while a user domain is on the RID whose guest has a name for the device. */
  virtual: VirtualStream | null = null
  /** PASIDs that may be another's than the rest of the device. */
  readonly mediatedPasids: readonly number[]
  /** What waits for an answer of software's. */
  readonly waits: WaitingOfDevice = { stall: new Set(), page: new Set() }

  /** Whether the last `set` left no moment in which a DMA could have met an invalid entry. */
  lastSetWasHitless = true

  readonly #host: Host
  readonly #entry: StreamEntry
  /** It can wait, and the unit can let it: Linux's `dma-can-stall`, or a unit that knows nothing else. */
  readonly #stalls: boolean
  readonly #pasidLg2: number
  readonly #pasids = new Map<number, StageOneDomain | RootDomain>()
  #onRid: Domain | null = null
  #cds: CdTable | null = null
  /** The window that has its CD table: on the RID, or in use by PASIDs. */
  #window: Window | null = null
  #resets: readonly number[] | null = null

  constructor(host: Host, unit: SmmuV3, facts: DeviceFacts) {
    this.driver = host.driver
    this.#host = host
    this.rid = facts.rid
    this.mediatedPasids = facts.mediatedPasids ?? []
    const { pasidLg2, maxPasids, bits, hwInfo, stalls, ats, pri } = abilitiesOf(host, unit, facts)
    this.#pasidLg2 = pasidLg2
    this.maxPasids = maxPasids
    this.capabilities = bits
    this.hwInfo = hwInfo
    this.enforcesCoherency = facts.canwbs ?? false
    this.#stalls = stalls
    const port = new SmmuPort(host, unit, this, pri)
    this.port = port
    if (ats) this.ats = port
    this.#entry = new StreamEntry(host.streams, facts.rid)
  }

  /** ATS is on in its STE. */
  get hasAtsOn(): boolean {
    return this.#entry.hasAtsOn
  }

  /** A request may be stalled: it says so itself, or the CDs are a guest's. */
  get mayStall(): boolean {
    return this.#host.stalls && (this.#stalls || this.#onRid instanceof UserDomain)
  }

  /** Whether a user domain of the vIOMMU is on the RID, whatever its STE says. */
  isBehind(viommu: SmmuViommu): boolean {
    return this.#onRid instanceof UserDomain && this.#onRid.viommu === viommu
  }

  /** Nobody is asked of a fault now: the slot it concerns is being reset. */
  isResetting(pasid: number): boolean {
    return this.#resets?.includes(this.#slotOf(pasid)) === true
  }

  /** The domain that a request goes to. Who is on the RID in stage 2 serves every PASID. */
  domainOf(pasid: number): DomainOps | null {
    if (this.#onRid instanceof StageTwoDomain || this.#onRid instanceof UserDomain || pasid < 0) return this.#onRid
    return this.#pasids.get(pasid) ?? null
  }

  set(slot: number, domain: DomainOps, old: DomainOps | null): Completion {
    if (domain.driver !== this.driver) throw new Refusal('EINVAL', 'the domain was made for another unit')
    // A root that goes leaves its window behind: a detach, which nothing refuses.
    if (old === null || windowOf(old) !== domain) refuseFailed(this.#host)
    this.lastSetWasHitless = true
    const hadAts = this.hasAtsOn
    if (slot === RID_SLOT) this.#setRid(domain)
    else this.#setPasid(slot, domain)
    this.#attach(slot, domain)
    if (old !== null) this.#release(slot, old, domain)
    this.#host.drain()
    const isOfSlot = (one: DomainOps): boolean => one instanceof StageOneDomain || windowOf(one) !== null
    const isAlike = old === null || windowOf(domain) === windowOf(old)
    return this.#forget(slot, hadAts, !(isOfSlot(domain) && isOfSlot(old ?? domain) && isAlike), old)
  }

  clear(slot: number, old: DomainOps): Completion {
    const hadAts = this.hasAtsOn
    if (slot === RID_SLOT) {
      this.#onRid = null
      this.virtual = null
      this.#writeSte(this.#restingSte())
      // While PASIDs are in use, a request with PASID 0 finds the CD still, and would fill the TLB again behind a flush.
      if (this.#pasids.size > 0) this.#clearCd(RID_SLOT)
      this.#release(slot, old, null)
      this.#cds?.clear(RID_SLOT)
    } else {
      this.#clearCd(slot)
      this.#pasids.delete(slot)
      const isLast = this.#onRid === null && this.#pasids.size === 0
      const isOfWindow = this.#window !== null
      // What looks for CDs in a window fills the TLB of its VMID, so nothing does when that is emptied.
      if (isLast && isOfWindow) this.#writeSte(abortSte())
      this.#release(slot, old, null)
      if (isLast && !isOfWindow) this.#writeSte(abortSte())
    }
    if (this.#onRid === null && this.#pasids.size === 0) this.#endStalls()
    this.#host.drain()
    return this.#forget(slot, hadAts, !(old instanceof StageOneDomain || windowOf(old) !== null), old)
  }

  /** What waits is ended; page requests are the device's own to forget, and so is what it kept. */
  reset(slots?: readonly number[]): Completion {
    const isReset = ({ pasid }: Waiting): boolean => slots === undefined || slots.includes(this.#slotOf(pasid))
    this.#resets = slots ?? null
    for (const waits of this.waits.page) if (isReset(waits)) this.waits.page.delete(waits)
    if (slots === undefined) {
      this.#endStalls()
      this.#entry.unblock()
    } else for (const waits of this.waits.stall) if (isReset(waits)) this.#host.faults.answer(this, waits, false)
    this.#host.drain()
    this.#resets = null
    return undefined
  }

  /**
   * It kept what it was to forget. Where others have PASIDs of the same function, core alone cuts off the one that is
   * silent: the entry is everybody's.
   */
  block(): void {
    if (this.mediatedPasids.length > 0) return
    this.#entry.block()
    this.#endStalls()
    this.#host.drain()
  }

  respond(last: PageFault, isSuccess: boolean): Completion {
    this.#host.faults.answer(this, last.waits as Waiting, isSuccess)
    this.#host.drain()
    return undefined
  }

  #slotOf(pasid: number): number {
    const isWhole = this.#onRid instanceof StageTwoDomain || this.#onRid instanceof UserDomain
    return isWhole || pasid < 0 ? RID_SLOT : pasid
  }

  #endStalls(): void {
    if (this.#host.stalls) this.#host.faults.endStalls(this)
  }

  #setRid(domain: DomainOps): void {
    const window = windowOf(domain)
    if (window !== null) {
      this.#setRidOfWindow(window, domain as WindowDomain)
      return
    }
    if (this.#window !== null) mayLeaveWindow(this.#pasids.size, domain)
    if (domain instanceof StageOneDomain) {
      this.#checkCoherency(domain)
      this.#writeCd(RID_SLOT, domain)
      this.#take(domain)
      this.#writeSte(stageOneSte(this.#cdTable().shape, S1DSS.SSID0, this.#stream(domain)))
      return
    }
    assert(domain instanceof StageTwoDomain || domain instanceof UserDomain, 'no other domains are of this driver')
    if (this.#pasids.size > 0) {
      throw new Refusal('EBUSY', 'PASIDs of this device are attached, and their CD table cannot stand behind stage 2', {
        pasids: this.#pasids.size,
      })
    }
    const virtual = domain instanceof UserDomain ? this.#virtualOf(domain) : null
    this.#checkCoherency(domain instanceof UserDomain ? domain.parent : domain)
    this.#take(domain)
    this.virtual = virtual
    const stream = this.#stream(domain)
    this.#writeSte(domain instanceof UserDomain ? domain.ste(stream) : stageTwoSte(domain.shape(), stream))
    this.#cds?.clear(RID_SLOT)
  }

  /** The window, or a root of it for PASID 0, which is then what comes without a PASID. */
  #setRidOfWindow(window: Window, domain: WindowDomain): void {
    checkWindow(window, this, { onRid: this.#onRid, current: this.#window, pasids: this.#pasids.size })
    this.#checkCoherency(window.parent)
    if (domain instanceof RootDomain) this.#writeRoot(RID_SLOT, domain)
    this.#take(domain)
    this.#window = window
    window.serve(this)
    this.#writeSte(this.#restingSte())
    if (!(domain instanceof RootDomain)) window.clear(this, RID_SLOT)
    this.#cds?.clear(RID_SLOT)
  }

  /** The guest's name of the device, without which a guest's tables cannot be invalidated or its faults told. */
  #virtualOf(domain: UserDomain): VirtualStream | null {
    const virtId = domain.viommu.virtIdOf(this)
    if (virtId !== undefined) return { viommu: domain.viommu, virtId }
    if (!domain.translates) return null
    throw new Refusal('ENOENT', 'the device has no vDEVICE in the vIOMMU of this user domain; CreateVdevice makes one')
  }

  #setPasid(pasid: number, domain: DomainOps): void {
    if (pasid >= this.maxPasids) throw new Refusal('EINVAL', 'the device has no such PASID', { pasid })
    if (domain instanceof UserDomain) {
      const why =
        'an SMMUv3 user domain is a whole CD table: it binds a RID and all its PASIDs, so attach it to the RID'
      throw new Refusal('EINVAL', why, { pasid })
    }
    if (domain instanceof RootDomain) {
      checkPasidOfRoot(domain, this.#window, this.#onRid)
      this.#writeRoot(pasid, domain)
      this.#pasids.set(pasid, domain)
      return
    }
    if (!(domain instanceof StageOneDomain)) {
      const why = 'a PASID takes a stage 1 domain; this one is stage 2, which serves a RID and all its PASIDs at once'
      throw new Refusal('EINVAL', why, { pasid })
    }
    if (this.#window !== null || (this.#onRid !== null && !(this.#onRid instanceof StageOneDomain))) {
      const why = "the RID is on stage 2 or on a user domain, so the CD table is not the host's to put a PASID into"
      throw new Refusal('EINVAL', why, { pasid })
    }
    this.#checkCoherency(domain)
    this.#writeCd(pasid, domain)
    domain.users++
    this.#pasids.set(pasid, domain)
    const ste = this.#restingSte()
    if (!this.#entry.has(ste)) this.#writeSte(ste)
  }

  #checkCoherency(domain: StageOneDomain | StageTwoDomain): void {
    if (!domain.enforcesCoherency || this.enforcesCoherency) return
    throw new Refusal('EINVAL', 'the domain was made for a coherent device (CANWBS), and this one is not')
  }

  #take(domain: Domain): void {
    if (domain instanceof StageOneDomain || domain instanceof StageTwoDomain) domain.users++
    this.#onRid = domain
    this.virtual = null
  }

  /** The domain's changes reach what the device keeps. */
  #attach(slot: number, domain: DomainOps): void {
    const pasid = slot === RID_SLOT ? -1 : slot
    tablesOf(domain)?.attach(this, slot, { pasid, reach: reachOf(domain) })
    if (domain instanceof RootDomain) domain.slots.add(slot)
  }

  /** A slot has let go of a domain; the last one to do so empties the TLB of it. */
  #release(slot: number, domain: DomainOps, next: DomainOps | null): void {
    const tables = tablesOf(domain)
    if (tables !== tablesOf(next)) tables?.detach(this, slot)
    if (tables !== undefined && tables === domain) tables.users--
    const window = windowOf(domain)
    if (window !== null) this.#releaseOfWindow(slot, window, domain)
  }

  #releaseOfWindow(slot: number, window: Window, domain: DomainOps): void {
    if (domain instanceof RootDomain) domain.leave(slot)
    if (this.#pasids.size > 0 || (this.#onRid !== null && windowOf(this.#onRid) === window)) return
    window.clear(this, RID_SLOT)
    window.leave()
    if (this.#window === window) this.#window = null
  }

  /** What the device keeps of a slot is of no use now; who unmaps from `old` waits for that. [SMMU 3.9.1 ATS Interface] */
  #forget(slot: number, hadAts: boolean, isWide: boolean, old: DomainOps | null): Completion {
    if (!hadAts && !this.hasAtsOn) return undefined
    const isWhole = isWide || hadAts !== this.hasAtsOn
    const commands = isWhole ? forgetAll(this) : [forgetWhole(this.rid, slot === RID_SLOT ? -1 : slot)]
    const asked = this.#host.atcs.run(this.#host, commands)
    tablesOf(old)?.outstanding.add(asked)
    return asked
  }

  /** The STE of a RID that is on stage 1, on a window, or blocked: then without a PASID nothing passes. */
  #restingSte(): Int32Array {
    if (this.#window !== null) return this.#windowSte(this.#window)
    if (this.#onRid instanceof StageOneDomain) {
      return stageOneSte(this.#cdTable().shape, S1DSS.SSID0, this.#stream(this.#onRid))
    }
    if (this.#pasids.size === 0) return abortSte()
    return stageOneSte(this.#cdTable().shape, S1DSS.TERMINATE, this.#stream(null))
  }

  #windowSte(window: Window): Int32Array {
    if (this.#onRid === null && this.#pasids.size === 0) return abortSte()
    const blocked = this.#onRid === null ? S1DSS.TERMINATE : S1DSS.BYPASS
    return window.ste(this.#onRid instanceof RootDomain ? S1DSS.SSID0 : blocked, this.#stream(window))
  }

  /** ATS is off where a guest would not invalidate it, and beside stalls of stage 2, which do not go with it. */
  #stream(domain: Domain | null): StreamShape {
    const stalls = domain !== null && this.#lets(domain)
    const isStageOne = domain === null || domain instanceof StageOneDomain
    const isAllowed = !(domain instanceof UserDomain) || domain.allowsAts
    return {
      ats: this.ats !== undefined && isAllowed && (isStageOne || !stalls),
      stalls,
      neverStalls: !this.#stalls && this.#host.features.stallModel === STALL_MODEL.BOTH,
    }
  }

  /** Whether what a domain refuses waits: somebody may answer, or the unit knows nothing else. */
  #lets(domain: DomainOps): boolean {
    const isForced = this.#host.features.stallModel === STALL_MODEL.FORCED
    return isForced || (this.#stalls && domain.takesFaults === true)
  }

  #cdTable(): CdTable {
    const { memory, ram, commands } = this.#host
    this.#cds ??= new CdTable(memory, ram, commands, this.rid, this.#pasidLg2)
    return this.#cds
  }

  #writeCd(index: number, domain: StageOneDomain): void {
    if (!this.#cdTable().write(index, domain.cd(this.#lets(domain)))) this.lastSetWasHitless = false
  }

  /** @throws Refusal ENOSPC where the window has no room; nothing has changed then */
  #writeRoot(slot: number, domain: RootDomain): void {
    const owner = { rid: this.rid, writeShape: () => this.#writeSte(this.#restingSte()) }
    if (!domain.window.write(owner, slot, domain.cd(this.#lets(domain)))) this.lastSetWasHitless = false
  }

  #clearCd(slot: number): void {
    if (this.#window === null) this.#cds?.clear(slot)
    else this.#window.clear(this, slot)
  }

  #writeSte(ste: Int32Array): void {
    if (!this.#entry.write(ste)) this.lastSetWasHitless = false
  }
}

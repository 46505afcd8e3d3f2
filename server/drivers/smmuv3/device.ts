/**
 * One device behind the unit. Its STE says who owns its CD table: the host (stage 1 paging domains on the RID and on
 * PASIDs), the guest (a user domain, with every PASID), or nobody (stage 2 alone, or blocked). The first excludes the
 * other two while a PASID is in use.
 */

import { type Invalidation, NO_PASID, Outcome, Transaction } from '../../../hw-model/port.js'
import { S1DSS, type SmmuV3 } from '../../../hw-model/smmuv3/index.js'
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
  type IommuDriver,
  Refusal,
  type ReservedRange,
  RID_SLOT,
} from '../../core/driver.js'
import { spell } from '../invalidation-text.js'
import { reportedInfo } from '../reported.js'
import { CdTable } from './cd-table.js'
import { abortSte, stageOneSte, stageTwoSte } from './entries.js'
import type { Host } from './host.js'
import { StageOneDomain, StageTwoDomain } from './paging.js'
import { UserDomain } from './user.js'
import type { SmmuViommu } from './viommu.js'

/** Where the host keeps the page of the MSI doorbell in every IOVA space; the kernel's choice. */
const MSI_WINDOW: ReservedRange = { start: 0x0800_0000n, last: 0x080f_ffffn, kind: 'msi' }

/** log2 of the CDs where two-level tables are not offered: a linear table of 64 KiB. */
const LINEAR_LIMIT_LG2 = 10

/** Commands that `Unit.missing` may name and a guest may give. */
const GUESTS: readonly string[] = ['TLBI_NH_VA', 'CFGI_CD']

/** Which guest's name a device's events carry. */
export interface VirtualStream {
  readonly viommu: SmmuViommu
  readonly virtId: bigint
}

/** A device. */
export class SmmuDevice implements DeviceDriver, DmaPort {
  readonly driver: IommuDriver
  readonly rid: number
  readonly maxPasids: number
  readonly capabilities: number
  readonly reserved: readonly ReservedRange[] = [MSI_WINDOW]
  readonly hwInfo: HwInfo
  /** Coherent whatever a guest's tables say. */
  readonly canwbs: boolean
  readonly port: DmaPort = this
  /** Set while a user domain is on the RID whose guest has a name for the device. */
  virtual: VirtualStream | null = null

  /** Whether the last `set` left no moment in which a DMA could have met an invalid entry. */
  lastSetWasHitless = true

  readonly #host: Host
  readonly #unit: SmmuV3
  readonly #drain: () => void
  readonly #pasidLg2: number
  readonly #pasids = new Map<number, StageOneDomain>()
  #onRid: StageOneDomain | StageTwoDomain | UserDomain | null = null
  #cds: CdTable | null = null
  readonly #transaction = new Transaction()

  /** @param drain takes the unit's event records out; called after every DMA that may have made one */
  constructor(host: Host, unit: SmmuV3, facts: DeviceFacts, drain: () => void) {
    const { features } = host
    this.driver = host.driver
    this.#host = host
    this.#unit = unit
    this.#drain = drain
    this.rid = facts.rid
    const limit = features.cd2l ? features.ssidSize : Math.min(features.ssidSize, LINEAR_LIMIT_LG2)
    this.#pasidLg2 = features.stage1 ? Math.min(facts.pasidLg2, limit) : 0
    this.maxPasids = this.#pasidLg2 === 0 ? 0 : 2 ** this.#pasidLg2
    const { IDR0, IDR1, IDR2, IDR3, IDR4, IDR5, IIDR, AIDR } = unit.id
    const idr = [IDR0, IDR1, IDR2, IDR3, IDR4, IDR5]
    this.hwInfo = reportedInfo({ kind: 'smmuv3', idr, iidr: IIDR, aidr: AIDR }, host.reported)
    this.canwbs = facts.canwbs ?? false
    this.capabilities = HW_CAPABILITY.PCI_ATS_NOT_SUPPORTED | (host.tracksDirty ? HW_CAPABILITY.DIRTY_TRACKING : 0)
    this.#transaction.rid = facts.rid
    host.streams.ensure(facts.rid)
    this.#writeSte(abortSte())
  }

  set(slot: number, domain: DomainOps, old: DomainOps | null): Completion {
    if (domain.driver !== this.driver) throw new Refusal('EINVAL', 'the domain was made for another unit')
    this.lastSetWasHitless = true
    if (slot === RID_SLOT) this.#setRid(domain)
    else this.#setPasid(slot, domain)
    if (old !== null) release(old)
    return undefined
  }

  clear(slot: number, old: DomainOps): Completion {
    if (slot === RID_SLOT) {
      this.#onRid = null
      this.virtual = null
      this.#writeSte(this.#restingSte())
      this.#cds?.clear(RID_SLOT)
    } else {
      this.#cds?.clear(slot)
      this.#pasids.delete(slot)
      if (this.#onRid === null && this.#pasids.size === 0) this.#writeSte(abortSte())
    }
    release(old)
    this.#drain()
    return undefined
  }

  /** Nothing of a device's is held here: it has no ATC, and no transaction waits. */
  reset(): Completion {
    return undefined
  }

  translate(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#unit.translate(this.#fill(pasid, lo, hi, access), out)
    if (out.fault !== 0) this.#drain()
  }

  explain(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[] {
    const steps: ExplainStep[] = []
    const outcome = new Outcome()
    this.#unit.explain(this.#fill(pasid, lo, hi, access), outcome, { step: (step) => void steps.push(step) })
    Object.assign(out, outcome)
    return steps
  }

  peek(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): boolean {
    return this.#unit.peek(this.#fill(pasid, lo, hi, access), out)
  }

  missing(pasid: number, lo: number, hi: number, access: number): string {
    // Without the guest's name for the device nothing here is the guest's to invalidate.
    if (this.virtual === null) return ''
    const { virtId } = this.virtual
    const commands = this.#unit.missing(this.#fill(pasid, lo, hi, access))
    if (commands.length === 0 || !commands.every(({ name }) => GUESTS.includes(name))) return ''
    return `${spell(commands.map((command) => asGuest(command, virtId)))} on the vIOMMU`
  }

  faultName(fault: number): string {
    return this.#unit.faultName(fault)
  }

  #fill(pasid: number, lo: number, hi: number, access: number): Transaction {
    const transaction = this.#transaction
    transaction.pasid = pasid < 0 ? NO_PASID : pasid
    transaction.lo = lo
    transaction.hi = hi
    transaction.access = access
    return transaction
  }

  #setRid(domain: DomainOps): void {
    if (domain instanceof StageOneDomain) {
      this.#writeCd(RID_SLOT, domain)
      this.#take(domain)
      this.#writeSte(stageOneSte(this.#cdTable().shape, S1DSS.SSID0))
      return
    }
    if (!(domain instanceof StageTwoDomain) && !(domain instanceof UserDomain)) {
      throw new Refusal('EINVAL', 'the domain was made for another architecture')
    }
    if (this.#pasids.size > 0) {
      throw new Refusal('EBUSY', 'PASIDs of this device are attached, and their CD table cannot stand behind stage 2', {
        pasids: this.#pasids.size,
      })
    }
    const virtual = domain instanceof UserDomain ? this.#virtualOf(domain) : null
    this.#take(domain)
    this.virtual = virtual
    this.#writeSte(domain instanceof UserDomain ? domain.ste() : stageTwoSte(domain.shape()))
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
    if (!(domain instanceof StageOneDomain)) {
      const why = 'a PASID takes a stage 1 domain; this one is stage 2, which serves a RID and all its PASIDs at once'
      throw new Refusal('EINVAL', why, { pasid })
    }
    if (this.#onRid !== null && !(this.#onRid instanceof StageOneDomain)) {
      const why = "the RID is on stage 2 or on a user domain, so the CD table is not the host's to put a PASID into"
      throw new Refusal('EINVAL', why, { pasid })
    }
    this.#writeCd(pasid, domain)
    domain.users++
    this.#pasids.set(pasid, domain)
    this.#writeSte(this.#restingSte())
  }

  #take(domain: StageOneDomain | StageTwoDomain | UserDomain): void {
    if (!(domain instanceof UserDomain)) domain.users++
    this.#onRid = domain
    this.virtual = null
  }

  /** The STE of a RID that is on stage 1, or blocked: then without a PASID nothing passes. */
  #restingSte(): Int32Array {
    if (this.#onRid instanceof StageOneDomain) return stageOneSte(this.#cdTable().shape, S1DSS.SSID0)
    if (this.#pasids.size === 0) return abortSte()
    return stageOneSte(this.#cdTable().shape, S1DSS.TERMINATE)
  }

  #cdTable(): CdTable {
    const { memory, ram, commands } = this.#host
    this.#cds ??= new CdTable(memory, ram, commands, this.rid, this.#pasidLg2)
    return this.#cds
  }

  #writeCd(index: number, domain: StageOneDomain): void {
    if (!this.#cdTable().write(index, domain.cd())) this.lastSetWasHitless = false
  }

  #writeSte(ste: Int32Array): void {
    if (!this.#host.streams.update(this.rid, ste)) this.lastSetWasHitless = false
  }
}

/** The VMID is the host's to fill in, and a guest knows the device by a name of its own. */
function asGuest({ name, operands, page }: Invalidation, virtId: bigint): Invalidation {
  const { VMID: _, ...own } = operands
  return { name, operands: 'SID' in own ? { ...own, SID: Number(virtId) } : own, page }
}

/** A slot has let go of a domain; the last one to do so empties the TLB of it. */
function release(domain: DomainOps): void {
  if (!(domain instanceof StageOneDomain) && !(domain instanceof StageTwoDomain)) return
  domain.users--
  if (domain.users === 0) domain.forget()
}

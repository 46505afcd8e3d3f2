/**
 * The host driver of one SMMUv3. It programs the unit as Linux's does: through memory, registers and queues, and in
 * that driver's order. [SMMU 6.3.9 SMMU_CR0] [SMMU 3.11 Reset, Enable and initialization]
 */

import { pack } from '../../../hw-model/bits/layout.js'
import type { Memory } from '../../../hw-model/memory/index.js'
import type { DevicePort, Invalidation } from '../../../hw-model/port.js'
import {
  CMD_CFGI_STE_RANGE,
  CMD_TLBI_EL2_ALL,
  CMD_TLBI_NSNH_ALL,
  CR0,
  CR1,
  CR2,
  IDR0,
  IDR5,
  IRQ_CTRL,
  OFFSET,
  OPCODE,
  RANGE_ALL,
  type SmmuV3,
  STALL_MODEL,
} from '../../../hw-model/smmuv3/index.js'
import {
  type DeviceDriver,
  type DeviceFacts,
  type IommuDriver,
  type OwnInvalidation,
  type PagingFlags,
  type PagingOps,
  Refusal,
  type UnitListener,
  type UserData,
  type UserOps,
  type ViommuOps,
} from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import type { ReportedRegisters } from '../reported.js'
import { Atcs } from './atc.js'
import { SmmuDevice } from './device.js'
import { GlobalErrors } from './errors.js'
import { Faults } from './faults.js'
import type { Host } from './host.js'
import { IdAllocator } from './ids.js'
import { Invalidator } from './invalidation.js'
import { StageOneDomain, StageTwoDomain } from './paging.js'
import { CommandRing, EVENTQ, PRIQ, RecordRing } from './queues.js'
import { Records, type SmmuEvent, type SmmuReport } from './records.js'
import { Registers } from './registers.js'
import { StreamTable } from './stream-table.js'
import { SmmuViommu } from './viommu.js'

/** [uAPI IOMMU_VIOMMU_TYPE_ARM_SMMUV3] */
const VIOMMU_TYPE_ARM_SMMUV3 = 1

/** Bits of an output address in tables of 4 KiB granules, and the code of that size. [SMMU 6.3.6 SMMU_IDR5] */
const TABLE_BITS = 48
const TABLE_BITS_CODE = 5

const NO_ADDRESS = new Int32Array(2)

/** What the driver is given. */
export interface SmmuDriverOptions {
  readonly name: string
  readonly memory: Memory
  readonly ram: HostRam
  /** ID registers that are told otherwise. */
  readonly reported?: ReportedRegisters
  /** Every event record, in order. */
  readonly onEvent: (event: SmmuEvent) => void
  readonly onReport?: (report: SmmuReport) => void
}

/** Drives one unit, which nobody else may program. */
export class SmmuV3Driver implements IommuDriver {
  readonly kind = 'smmuv3'
  readonly userDomainBinds = 'rid-and-all-pasids'
  readonly nestsOnParent = false
  listener?: UnitListener
  readonly name: string
  readonly unit: SmmuV3
  /** The devices, as the unit meets them. */
  readonly devicePort: DevicePort
  readonly #host: Host
  readonly #registers: Registers
  readonly #records: Records
  readonly #devices = new Map<number, SmmuDevice>()
  #hasError = false

  /** Resets the unit and switches it on with a stream table that lets nobody through. */
  constructor(unit: SmmuV3, options: SmmuDriverOptions) {
    const { memory, ram } = options
    const { features } = unit
    if ((features.granules & (1 << 12)) === 0) throw new RangeError('the host driver needs IDR5.GRAN4K')
    this.name = options.name
    this.unit = unit
    this.#registers = new Registers(unit)
    const coherent = IDR0.COHACC.get(Int32Array.of(unit.id.IDR0), 0) === 1
    const commands = new CommandRing(memory, ram, this.#registers, features.commandQueueLg2, features.msi && coherent)
    const atcs = new Atcs(unit)
    const { onReport = () => undefined } = options
    const errors = new GlobalErrors(this.#registers, commands, onReport)
    commands.onStop(() => {
      const isLate = atcs.giveUp()
      return errors.handle() || isLate
    })
    this.#host = {
      driver: this,
      memory,
      ram,
      features,
      commands,
      streams: new StreamTable(memory, ram, commands, features),
      flush: new Invalidator(commands, features.ril),
      asids: new IdAllocator('ASID', features.asid16 ? 16 : 8, ram.failPoint),
      vmids: new IdAllocator('VMID', features.vmid16 ? 16 : 8, ram.failPoint),
      reported: options.reported,
      atcs,
      errors,
      faults: new Faults(
        unit,
        commands,
        () => this.listener,
        () => [...this.#devices.values()].reduce((sum, { mediatedPasids }) => sum + 1 + mediatedPasids.length, 0),
      ),
      devices: this.#devices,
      pending: new Map(),
      drain: () => this.drainEvents(),
      stalls: features.stallModel !== STALL_MODEL.TERMINATE,
      oasBits: Math.min(features.oasBits, TABLE_BITS),
      oasCode: Math.min(IDR5.OAS.get(Int32Array.of(unit.id.IDR5), 0), TABLE_BITS_CODE),
      tracksDirty: features.httu >= 2 && coherent,
    }
    this.#records = this.#makeRecords(options)
    this.devicePort = this.#devicePort()
    this.#reset()
  }

  #makeRecords({ memory, ram, onEvent, onReport = () => undefined }: SmmuDriverOptions): Records {
    const { unit } = this
    const { eventQueueLg2, pri, priQueueLg2 } = unit.features
    const events = new RecordRing(memory, ram, this.#registers, EVENTQ, eventQueueLg2)
    const pages = pri ? new RecordRing(memory, ram, this.#registers, PRIQ, priQueueLg2) : null
    const { faults, devices } = this.#host
    return new Records({ unit, events, pages, faults, devices, onEvent, report: onReport })
  }

  probe(facts: DeviceFacts): DeviceDriver {
    if (facts.rid >= 2 ** this.#host.streams.sizeLg2) {
      throw new Refusal('EINVAL', 'the StreamID is beyond the stream table', { rid: facts.rid })
    }
    if (this.#devices.has(facts.rid)) throw new Refusal('EEXIST', 'a device of that RID is there already', { ...facts })
    const device = new SmmuDevice(this.#host, this.unit, facts)
    this.#devices.set(facts.rid, device)
    return device
  }

  createPaging(device: DeviceDriver, flags: PagingFlags, data?: UserData): PagingOps {
    this.#own(device)
    if (data !== undefined) throw new Refusal('EOPNOTSUPP', 'a paging domain of an SMMUv3 takes no data')
    const domain = this.#makePaging(flags)
    domain.enforcesCoherency = (device as SmmuDevice).enforcesCoherency
    return domain
  }

  #makePaging(flags: PagingFlags): StageOneDomain | StageTwoDomain {
    const { stage1, stage2 } = this.#host.features
    const { nestParent, dirtyTracking, pasid } = flags
    if (nestParent && (pasid || dirtyTracking)) {
      const why = 'a nesting parent is stage 2: it serves a RID and all its PASIDs at once, and keeps no log of writes'
      throw new Refusal('EOPNOTSUPP', why, { ...flags })
    }
    if (nestParent) {
      if (!stage1 || !stage2) throw new Refusal('EOPNOTSUPP', 'nesting needs both IDR0.S1P and IDR0.S2P')
      return new StageTwoDomain(this.#host, true)
    }
    if (dirtyTracking && !this.#host.tracksDirty) {
      const why = 'this unit keeps no log of writes: that needs IDR0.HTTU of 2 and IDR0.COHACC'
      throw new Refusal('EOPNOTSUPP', why)
    }
    if (stage1) return new StageOneDomain(this.#host, dirtyTracking)
    if (!pasid && !dirtyTracking) return new StageTwoDomain(this.#host, false)
    throw new Refusal('EOPNOTSUPP', 'IDR0.S1P is 0, and PASIDs and dirty tracking need stage 1')
  }

  checkViommu(device: DeviceDriver, type: number): void {
    this.#own(device)
    if (type !== VIOMMU_TYPE_ARM_SMMUV3) {
      throw new Refusal('EOPNOTSUPP', 'a vIOMMU of an SMMUv3 has type 1 (ARM_SMMUV3)', { type })
    }
    const { stage1, stage2, fwb } = this.#host.features
    if (!stage1 || !stage2) throw new Refusal('EOPNOTSUPP', 'nesting needs both IDR0.S1P and IDR0.S2P')
    // Without it a guest could make its accesses miss the host's caches. [SMMU 5.2 S2FWB]
    if (!fwb && !(device as SmmuDevice).enforcesCoherency) {
      const reason = "nesting needs IDR3.FWB or a CANWBS device, so that a guest cannot bypass the host's caches"
      throw new Refusal('EOPNOTSUPP', reason)
    }
  }

  createViommu(_device: DeviceDriver, parent: PagingOps): ViommuOps {
    if (!(parent instanceof StageTwoDomain) || parent.driver !== this) {
      throw new Refusal('EINVAL', 'the parent was not made for this unit as a nesting parent')
    }
    if (!parent.isNestParent) throw new Refusal('EINVAL', 'the domain is no nesting parent')
    return new SmmuViommu(this.#host, parent)
  }

  createUserDomain(): UserOps {
    throw new Refusal(
      'EOPNOTSUPP',
      'an SMMUv3 user domain is made on a vIOMMU: make one on the nesting parent, then the domain on it',
    )
  }

  /** The device of a StreamID. */
  deviceOf(rid: number): SmmuDevice | undefined {
    return this.#devices.get(rid)
  }

  /** Commands as the owner of the tables behind a stream gives them; undefined where this driver has to. */
  ownTerms(rid: number, pasid: number, commands: readonly Invalidation[]): OwnInvalidation | undefined {
    return this.#devices.get(rid)?.port.ownTerms(pasid, commands)
  }

  counters(): Readonly<Record<string, number>> {
    const { translations, hits, misses, faults, evictions } = this.unit.counters
    const { issued, syncs } = this.#host.commands
    return {
      translations,
      hits,
      misses,
      faults,
      evictions,
      commands: issued,
      syncs,
      atcTimeouts: this.#host.atcs.timeouts,
      ...this.#records.counters,
      ...this.#host.errors.counters,
    }
  }

  /** Brings the unit's records to whom they concern, until there are none. */
  drainEvents(): void {
    this.#handleErrors()
    this.#records.drain()
    this.#handleErrors()
  }

  get failure(): string | undefined {
    return this.#host.errors.failure
  }

  /** The unit's interrupt. In the middle of the driver's own work it is looked at when that is done. */
  interrupted(source: string): void {
    if (source !== 'gerror') return
    this.#hasError = true
    void Promise.resolve().then(() => this.#handleErrors())
  }

  #handleErrors(): void {
    if (!this.#hasError) return
    this.#hasError = false
    this.#host.errors.handle()
  }

  /** What the unit sends to the devices in front of it. */
  #devicePort(): DevicePort {
    return {
      invalidateAtc: (invalidation) => this.#host.atcs.invalidated(invalidation),
      respondToPages: (rid, pasid, group, code) => {
        const device = this.#devices.get(rid >>> 0)
        if (device !== undefined) this.listener?.respondToPages(device, pasid, group, code)
      },
      ended: (tag, outcome) => {
        const device = this.#host.pending.get(tag)
        this.#host.pending.delete(tag)
        if (device !== undefined) this.listener?.ended(device, tag, outcome)
      },
    }
  }

  #own(device: DeviceDriver): void {
    if (device.driver !== this) throw new Refusal('EINVAL', 'the device is behind another unit')
  }

  /** Each queue is on before the next step needs it; translation comes last. */
  #reset(): void {
    const registers = this.#registers
    const { commands, streams, features } = this.#host
    const on = { CMDQEN: 0, EVENTQEN: 0, PRIQEN: 0, ATSCHK: 0, SMMUEN: 0 }
    const enable = (...names: readonly (keyof typeof on)[]): void => {
      for (const name of names) on[name] = 1
      registers.write32(OFFSET.CR0, pack(CR0, on)[0])
    }
    enable()
    const cacheable = { QUEUE_SH: 3, QUEUE_OC: 1, QUEUE_IC: 1, TABLE_SH: 3, TABLE_OC: 1, TABLE_IC: 1 }
    registers.write32(OFFSET.CR1, pack(CR1, cacheable)[0])
    registers.write32(OFFSET.CR2, pack(CR2, { PTM: 1, RECINVSID: 1 })[0])
    streams.program(registers)
    commands.program()
    enable('CMDQEN')
    commands.add(CMD_CFGI_STE_RANGE, OPCODE.CFGI_STE_RANGE, { Range: RANGE_ALL })
    commands.sync()
    if (features.hyp) {
      commands.add(CMD_TLBI_EL2_ALL, OPCODE.TLBI_EL2_ALL, {})
      commands.sync()
    }
    commands.add(CMD_TLBI_NSNH_ALL, OPCODE.TLBI_NSNH_ALL, {})
    commands.sync()
    this.#records.program(enable)
    // Else a translated access would pass whatever its STE says. [SMMU 6.3.9.2 ATSCHK]
    if (features.ats) enable('ATSCHK')
    registers.write32(OFFSET.IRQ_CTRL, 0)
    // Interrupts are wires: an address of 0 is no MSI. [SMMU 6.3.21 SMMU_GERROR_IRQ_CFG0]
    registers.write64(OFFSET.GERROR_IRQ_CFG0, NO_ADDRESS)
    registers.write64(OFFSET.EVENTQ_IRQ_CFG0, NO_ADDRESS)
    if (features.pri) registers.write64(OFFSET.PRIQ_IRQ_CFG0, NO_ADDRESS)
    const interrupts = { EVENTQ_IRQEN: 1, GERROR_IRQEN: 1, PRIQ_IRQEN: features.pri ? 1 : 0 }
    registers.write32(OFFSET.IRQ_CTRL, pack(IRQ_CTRL, interrupts)[0])
    enable('SMMUEN')
  }
}

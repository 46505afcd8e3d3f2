/**
 * The host driver of a VT-d unit, as Linux drives one: tables in memory, invalidations through the queue, commands
 * through registers. Legacy mode where the unit has no scalable mode.
 */

import type { Memory } from '../../../hw-model/memory/index.js'
import type { DevicePort, Invalidation, UnitOwner } from '../../../hw-model/port.js'
import { TTM, type UnitOptions, VtdUnit } from '../../../hw-model/vtd/index.js'
import {
  type DeviceDriver,
  type DeviceFacts,
  type IommuDriver,
  type OwnInvalidation,
  PAGE_RESPONSE,
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
import { allContexts, allPasids, allTranslations, pageGroupResponse } from './descriptors.js'
import { VtdDevice } from './device.js'
import { DeviceSide } from './device-side.js'
import { DomainIds } from './domain-ids.js'
import { Flusher } from './flusher.js'
import { type VtdFault, VtdHardware } from './hardware.js'
import { IdentityDomain } from './identity.js'
import { isBadRequest, isStopMarker, PageRequestRing, type VtdPageRequest } from './page-request-ring.js'
import { type DomainHost, PagingDomain } from './paging.js'
import { VtdTables } from './tables.js'
import { UserDomain } from './user.js'

/** What a driver is made of. */
export interface VtdDriverOptions {
  /** The platform's name of the unit. */
  readonly name: string
  /** Physical memory, shared with everything else on the platform. */
  readonly memory: Memory
  /** Where the driver's own tables and queue stand. */
  readonly ram: HostRam
  readonly unit: UnitOptions
  /** Registers that are told otherwise. */
  readonly reported?: ReportedRegisters
  /** What stands in front of the unit. Devices with translations of their own answer from inside the call. */
  readonly devices?: DevicePort
  /** Called once for each fault that the unit recorded, after the request or operation that caused it. */
  readonly onFault: (fault: VtdFault) => void
}

/** One unit and its driver. */
export class VtdDriver implements IommuDriver, DomainHost {
  readonly kind = 'vtd'
  readonly userDomainBinds = 'rid-or-pasid'
  readonly nestsOnParent = true
  listener?: UnitListener
  readonly name: string
  readonly memory: Memory
  readonly ram: HostRam
  readonly hardware: VtdHardware
  readonly flusher: Flusher
  readonly tables: VtdTables
  readonly ids: DomainIds
  readonly identity: IdentityDomain
  readonly isScalable: boolean
  readonly hawBits: number
  readonly unit: VtdUnit
  readonly reported: ReportedRegisters | undefined
  readonly #onFault: (fault: VtdFault) => void
  /** By source-id. */
  readonly #devices = new Map<number, VtdDevice>()
  /** Null where the unit takes no page requests. */
  readonly #pages: PageRequestRing | null
  #hasFaultEvent = false
  #hasPageEvent = false
  #isDraining = false

  constructor({ name, memory, ram, unit, reported, devices, onFault }: VtdDriverOptions) {
    const owner: UnitOwner = {
      message: () => {},
      interrupt: (source) => {
        if (source === 'fault') this.#hasFaultEvent = true
        else if (source === 'prq') this.#hasPageEvent = true
      },
    }
    this.name = name
    this.memory = memory
    this.ram = ram
    this.reported = reported
    this.#onFault = onFault
    const side = new DeviceSide(this, devices)
    this.unit = new VtdUnit(memory, owner, unit, side)
    side.ats = this.unit.ats
    if (this.unit.capabilities.ecap.QI === 0) {
      throw new Refusal('EINVAL', 'the driver works through an invalidation queue, which ECAP.QI denies')
    }
    this.hardware = new VtdHardware(this.unit, memory, ram)
    this.flusher = new Flusher(this.hardware, side, this)
    const { cap, ecap } = this.hardware
    this.isScalable = ecap['SMTS'] !== 0
    this.hawBits = Math.min(unit.ids.hawBits, cap['MGAW'] + 1)
    this.tables = new VtdTables(memory, ram, this.isScalable)
    this.identity = new IdentityDomain(this.hardware)
    this.ids = new DomainIds(4 + 2 * cap['ND'])
    const everything = allTranslations(this.hardware.drains)
    const flushAll = this.isScalable ? [allContexts(), allPasids(), everything] : [allContexts(), everything]
    this.#pages = ecap['PRS'] ? new PageRequestRing(this.unit, memory, ram) : null
    const mode = this.isScalable ? TTM.SCALABLE : TTM.LEGACY
    this.hardware.boot(this.tables.root, mode, flushAll, () => this.#pages?.start())
  }

  /** The driver itself, as domains know it. */
  get driver(): IommuDriver {
    return this
  }

  /** Whether a second stage can log writes. [VTD 3.7.2 Accessed and Dirty Flags] */
  get canTrackDirty(): boolean {
    const { ecap } = this.hardware
    return this.isScalable && ecap['SSADS'] !== 0 && ecap['SMPWCS'] !== 0
  }

  probe(facts: DeviceFacts): DeviceDriver {
    const { rid } = facts
    // A unit sees source-ids alone: of two segments' devices with the same one it could not tell which is which.
    if (this.#devices.has(rid)) throw new Refusal('EEXIST', 'a device of that source-id is there already', { ...facts })
    const device = new VtdDevice(this, facts)
    this.#devices.set(rid, device)
    return device
  }

  createPaging(_device: DeviceDriver, flags: PagingFlags, data?: UserData): PagingOps {
    if (data !== undefined) throw new Refusal('EOPNOTSUPP', 'a paging domain of VT-d takes no data')
    const { ecap, cap } = this.hardware
    if (flags.nestParent && !(this.isScalable && ecap['NEST'])) {
      throw new Refusal('EOPNOTSUPP', 'this unit has no nested translation (ECAP.NEST)')
    }
    if (flags.dirtyTracking && !this.canTrackDirty) {
      throw new Refusal('EOPNOTSUPP', 'this unit keeps no second-stage dirty flags (ECAP.SSADS)')
    }
    const hasFirst = this.isScalable && ecap['FSTS'] !== 0
    const stage = hasFirst && !flags.nestParent && !flags.dirtyTracking ? 'first' : 'second'
    const hasSecond = (!this.isScalable || ecap['SSTS'] !== 0) && cap['SAGAW'] !== 0
    if (stage === 'second' && !hasSecond) throw new Refusal('EOPNOTSUPP', 'this unit has no second stage (ECAP.SSTS)')
    return new PagingDomain(this, stage, flags)
  }

  checkViommu(): void {
    throw new Refusal(
      'EOPNOTSUPP',
      'VT-d has no vIOMMU objects: create the user domain directly on the nesting parent, and invalidate it by its id',
    )
  }

  createViommu(): ViommuOps {
    throw new Error('bug: checkViommu refuses each')
  }

  createUserDomain(_device: DeviceDriver, parent: PagingOps, given: UserData): UserOps {
    if (!(this.isScalable && this.hardware.ecap['NEST'])) {
      throw new Refusal('EOPNOTSUPP', 'this unit has no nested translation (ECAP.NEST)')
    }
    if (given.kind !== 'vtd_s1') {
      throw new Refusal('EOPNOTSUPP', 'this device is behind VT-d, whose user domains take vtd_s1 data', {
        given: given.kind ?? 'an unknown type',
      })
    }
    if (!(parent instanceof PagingDomain) || !parent.isNestParent) {
      throw new Refusal('EINVAL', 'the parent is a paging domain of VT-d made with NEST_PARENT')
    }
    // Whose parent it is, and what the data say, is looked at when it is attached, as the kernel does.
    return new UserDomain(this, parent, given.read('vtd_s1'))
  }

  counters(): Readonly<Record<string, number>> {
    const { translations, hits, misses, faults, evictions } = this.unit.counters
    return { translations, hits, misses, faults, evictions }
  }

  /** Descriptors as the owner of the tables behind a source-id gives them; undefined where this driver has to. */
  ownTerms(rid: number, pasid: number, descriptors: readonly Invalidation[]): OwnInvalidation | undefined {
    return this.#devices.get(rid)?.port.ownTerms(pasid, descriptors)
  }

  /** The device of a source-id. */
  deviceOf(rid: number): VtdDevice | undefined {
    return this.#devices.get(rid)
  }

  /**
   * Reads out what the unit recorded and queued, if it said that there is something, and whatever follows from that: an
   * answer may make a device ask again.
   */
  drain(): void {
    if (this.#isDraining || !(this.#hasFaultEvent || this.#hasPageEvent)) return
    this.#isDraining = true
    try {
      while (this.#hasFaultEvent || this.#hasPageEvent) {
        if (this.#hasFaultEvent) {
          this.#hasFaultEvent = false
          this.hardware.drainFaults(this.#onFault)
        }
        if (!this.#hasPageEvent) continue
        this.#hasPageEvent = false
        this.#pages?.drain((request) => this.#onPageRequest(request))
      }
    } finally {
      this.#isDraining = false
    }
  }

  /** Answers a group of page requests. [VTD 7.6.1 Page Group Response Descriptor] */
  answerPages(rid: number, pasid: number, group: number, isSuccess: boolean): void {
    const code = isSuccess ? PAGE_RESPONSE.SUCCESS : PAGE_RESPONSE.INVALID
    this.hardware.submit([pageGroupResponse(rid, pasid, group, code)])
  }

  #onPageRequest(request: VtdPageRequest): void {
    const { rid, pasid, group, isLast } = request
    const device = this.#devices.get(rid)
    if (isBadRequest(request, this.hardware.cap['FS5LP'] ? 57 : 48)) {
      if (isLast) this.answerPages(rid, pasid, group, false)
    } else if (isStopMarker(request)) return
    else if (device !== undefined) device.reportPage(request)
    else if (isLast) this.answerPages(rid, pasid, group, false)
  }
}

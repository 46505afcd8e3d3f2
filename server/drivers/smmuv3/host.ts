/** What the parts of the driver share: the unit's features, its queues and tables, and the numbers it hands out. */

import type { Memory } from '../../../hw-model/memory/index.js'
import type { Features } from '../../../hw-model/smmuv3/index.js'
import type { IommuDriver } from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import type { ReportedRegisters } from '../reported.js'
import type { Atcs } from './atc.js'
import type { SmmuDevice } from './device.js'
import type { GlobalErrors } from './errors.js'
import type { Faults } from './faults.js'
import type { IdAllocator } from './ids.js'
import type { Invalidator } from './invalidation.js'
import type { CommandRing } from './queues.js'
import type { StreamTable } from './stream-table.js'

/** One unit as its driver holds it. */
export interface Host {
  readonly driver: IommuDriver
  readonly memory: Memory
  readonly ram: HostRam
  readonly features: Features
  readonly commands: CommandRing
  readonly streams: StreamTable
  readonly flush: Invalidator
  readonly asids: IdAllocator
  readonly vmids: IdAllocator
  /** ID registers that are told otherwise. */
  readonly reported: ReportedRegisters | undefined
  readonly atcs: Atcs
  readonly faults: Faults
  readonly errors: GlobalErrors
  /** By StreamID. */
  readonly devices: ReadonlyMap<number, SmmuDevice>
  /** Whose request each tag names that is PENDING. */
  readonly pending: Map<number, SmmuDevice>
  /** Brings all that the unit has recorded to whom it concerns. */
  drain(): void
  /** Requests may wait for software: IDR0.STALL_MODEL is not 1. */
  readonly stalls: boolean
  /** Bits of an output address that tables of 4 KiB granules reach, and their code. */
  readonly oasBits: number
  readonly oasCode: number
  /** Hardware can mark what was written, in tables that it reads coherently. */
  readonly tracksDirty: boolean
}

/**
 * Kernel-owned domains: first stage for plain ones where the unit has it, second stage for nesting parents, dirty
 * tracking and units without a first stage. [VTD 3.6, 3.7]
 */

import type { Memory } from '../../../hw-model/memory/index.js'
import {
  assert,
  type Completion,
  type IommuDriver,
  type PagingFlags,
  type PagingOps,
  type Protection,
  type Range,
  Refusal,
} from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import { TableBuilder } from '../table-builder.js'
import { Bindings } from './bindings.js'
import { blockAround, domainTranslations, pasidCache, wholeDevice } from './descriptors.js'
import type { DomainIds } from './domain-ids.js'
import { FirstStageEncoder, SecondStageEncoder } from './encoders.js'
import { flushDescriptors, setUpDescriptors } from './flush.js'
import type { VtdHardware } from './hardware.js'
import type { VtdTables } from './tables.js'
import { firstStageShape, secondStageShape } from './widths.js'

const PAGE_LG2 = 12n

/** What a domain needs of the driver that made it. */
export interface DomainHost {
  readonly driver: IommuDriver
  readonly hardware: VtdHardware
  readonly memory: Memory
  readonly ram: HostRam
  readonly ids: DomainIds
  readonly tables: VtdTables
  /** Host address width, bits. */
  readonly hawBits: number
}

/** A domain whose tables the driver writes. */
export class PagingDomain implements PagingOps {
  readonly kind = 'paging'
  readonly driver: IommuDriver
  readonly isNestParent: boolean
  readonly pageSizes: bigint
  readonly aperture: Range
  readonly stage: 'first' | 'second'
  readonly levels: number
  readonly bindings: Bindings
  takesFaults?: boolean
  /** User domains nested on this one. */
  nestedUsers = 0
  /** Writes through it are logged in its entries: SSADE of every PASID entry that uses them. [VTD 3.7.2] */
  isDirtyTracked = false
  readonly #hardware: VtdHardware
  readonly #entries: VtdTables
  readonly #canTrackDirty: boolean
  readonly #tables: TableBuilder
  /** First physical byte that no entry can hold. */
  readonly #physicalEnd: number
  /** First and last page unmapped since the last flush. */
  #first = -1n
  #last = -1n

  constructor(host: DomainHost, stage: 'first' | 'second', { nestParent, dirtyTracking }: PagingFlags) {
    const { cap } = host.hardware
    this.driver = host.driver
    this.#hardware = host.hardware
    this.stage = stage
    this.#entries = host.tables
    this.#canTrackDirty = dirtyTracking
    this.isNestParent = nestParent
    this.#physicalEnd = 2 ** host.hawBits
    const { levels, bits } = stage === 'first' ? firstStageShape(cap) : secondStageShape(cap)
    this.levels = levels
    this.aperture = { start: 0n, last: 2n ** BigInt(bits) - 1n }
    const topLeaf = stage === 'first' ? (cap['FS1GP'] ? 2 : 1) : [0, 1, 1, 2][cap['SSLPS']]
    this.pageSizes = [0x1000n, 0x201000n, 0x40201000n][topLeaf]
    const encoder =
      stage === 'first'
        ? new FirstStageEncoder(topLeaf)
        : new SecondStageEncoder(topLeaf, host.hardware.ecap['SC'] !== 0)
    this.#tables = new TableBuilder(host.memory, host.ram, encoder, this.levels - 1)
    this.bindings = new Bindings(host.ids)
  }

  /** Physical address of the root table. */
  get root(): number {
    return this.#tables.root
  }

  get tableBytes(): number {
    return this.#tables.tableBytes
  }

  map(iova: bigint, address: number, length: bigint, protection: Protection): void {
    if (this.isNestParent && !protection.write) {
      throw new Refusal('EINVAL', 'a nesting parent takes writable mappings only (erratum 772415)', { iova, length })
    }
    if (address + Number(length) > this.#physicalEnd) {
      throw new Refusal('EINVAL', "the memory stands beyond the unit's host address width (MGAW)", { iova, length })
    }
    const first = iova >> PAGE_LG2
    const pages = length >> PAGE_LG2
    try {
      this.#tables.map(Number(first), Number(pages), address / 4096, protection)
    } catch (error) {
      // What was written before memory ran out is gone again, but a unit may have walked it.
      this.#takenOut(first, first + pages - 1n)
      throw error
    }
    if (this.stage === 'second' && this.#hardware.cap['CM']) {
      const block = blockAround(first, first + pages - 1n)
      this.#hardware.submit(setUpDescriptors(this.#hardware, this.bindings.tags, block))
    } else if (this.bindings.tags.size > 0) this.#hardware.flushWriteBuffer()
  }

  unmap(iova: bigint, length: bigint): void {
    const first = iova >> PAGE_LG2
    const pages = length >> PAGE_LG2
    this.#tables.unmap(Number(first), Number(pages))
    this.#takenOut(first, first + pages - 1n)
  }

  flush(): Completion {
    if (this.#first >= 0n) {
      const block = blockAround(this.#first, this.#last)
      const change = { block, leavesOnly: !this.#tables.hasEmptied }
      this.#hardware.submit(flushDescriptors(this.#hardware, this.bindings.tags, this.stage === 'first', change))
      this.#first = -1n
      this.#last = -1n
    }
    this.#tables.releaseFreed()
    return undefined
  }

  /**
   * Starts or ends the log of writes: one store into each PASID entry that uses these tables, those of nested domains
   * included, each with its flush. What is attached later follows. [VTD 6.5.3.3 T28]
   *
   * @throws Refusal EOPNOTSUPP for a domain made without dirty tracking
   */
  setDirtyTracking(isOn: boolean): Completion {
    if (!this.#canTrackDirty) throw new Refusal('EOPNOTSUPP', 'the domain was made without DIRTY_TRACKING')
    if (isOn === this.isDirtyTracked) return undefined
    this.isDirtyTracked = isOn
    for (const { did, place } of this.bindings.everywhere()) {
      this.#entries.setLogging(place.entry, isOn)
      this.#hardware.submitEach([
        pasidCache(did, place.slot),
        domainTranslations(this.#hardware.drains, did),
        ...wholeDevice(place.tlb, place.slot),
      ])
    }
    return undefined
  }

  destroy(): void {
    assert(this.bindings.users === 0 && this.nestedUsers === 0, 'a domain is destroyed when nothing uses it')
    this.#tables.destroy()
  }

  /** Is to be flushed before anything of it is freed. */
  #takenOut(first: bigint, last: bigint): void {
    if (this.#first < 0n || first < this.#first) this.#first = first
    if (last > this.#last) this.#last = last
  }
}

/**
 * Kernel-owned domains: first stage for plain ones where the unit has it, second stage for nesting parents, dirty
 * tracking and units without a first stage. [VTD 3.6, 3.7]
 */

import type { Memory } from '../../../hw-model/memory/index.js'
import {
  assert,
  type Completion,
  type DirtyOps,
  type IommuDriver,
  type PagingFlags,
  type PagingOps,
  type Protection,
  type Range,
  Refusal,
} from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import { Outstanding } from '../outstanding.js'
import { pagesIn } from '../pages-in.js'
import { TableBuilder } from '../table-builder.js'
import { Bindings } from './bindings.js'
import { blockAround, domainTranslations, pasidCache, wholeDevice } from './descriptors.js'
import type { DomainIds } from './domain-ids.js'
import { FirstStageEncoder, SecondStageEncoder } from './encoders.js'
import { flushDescriptors, setUpDescriptors } from './flush.js'
import type { Flusher } from './flusher.js'
import type { VtdHardware } from './hardware.js'
import type { VtdTables } from './tables.js'
import { firstStageShape, secondStageShape } from './widths.js'

const PAGE_LG2 = 12n
const PAGE_BYTES = 4096

/** What a domain needs of the driver that made it. */
export interface DomainHost {
  readonly driver: IommuDriver
  readonly hardware: VtdHardware
  readonly flusher: Flusher
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
  /** Absent on a domain that was made without dirty tracking. */
  readonly dirty?: DirtyOps
  /** Devices are being asked to forget, also such as have left. */
  readonly outstanding = new Outstanding()
  readonly #hardware: VtdHardware
  readonly #flusher: Flusher
  readonly #entries: VtdTables
  readonly #tables: TableBuilder
  /** First physical byte that no entry can hold. */
  readonly #physicalEnd: number
  /** First and last page unmapped since the last flush. */
  #first = -1
  #last = -1

  constructor(host: DomainHost, stage: 'first' | 'second', { nestParent, dirtyTracking }: PagingFlags) {
    const { cap } = host.hardware
    this.driver = host.driver
    this.#hardware = host.hardware
    this.stage = stage
    this.#entries = host.tables
    this.#flusher = host.flusher
    if (dirtyTracking) this.dirty = this.#dirtyOps()
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

  map(iova: bigint, address: number, length: bigint, protection: Protection, inPages = false): void {
    if (this.isNestParent && !protection.write) {
      throw new Refusal('EINVAL', 'a nesting parent takes writable mappings only (erratum 772415)', { iova, length })
    }
    if (address + Number(length) > this.#physicalEnd) {
      throw new Refusal('EINVAL', "the memory stands beyond the unit's host address width (MGAW)", { iova, length })
    }
    const page = pagesIn(iova)
    const pages = pagesIn(length)
    try {
      this.#tables.map({ page, pages, frame: address / PAGE_BYTES }, protection, inPages)
    } catch (error) {
      // What was written before memory ran out is gone again, but a unit may have walked it.
      this.#takenOut(page, pages)
      throw error
    }
    if (this.stage === 'second' && this.#hardware.cap['CM']) {
      const block = blockAround(BigInt(page), BigInt(page + pages - 1))
      this.#hardware.submit(setUpDescriptors(this.#hardware, this.bindings.tags, block))
    } else if (this.bindings.tags.size > 0) this.#hardware.flushWriteBuffer()
  }

  unmap(iova: bigint, length: bigint): void {
    const page = pagesIn(iova)
    const pages = pagesIn(length)
    this.#tables.unmap(page, pages)
    this.#takenOut(page, pages)
  }

  flush(): Completion {
    if (this.#first >= 0) {
      const block = blockAround(BigInt(this.#first), BigInt(this.#last))
      const change = { block, leavesOnly: !this.#tables.hasEmptied }
      const flush = flushDescriptors(this.#hardware, this.bindings.tags, this.stage === 'first', change)
      this.outstanding.add(this.#flusher.run(flush))
      this.#first = -1
      this.#last = -1
    }
    // The unit has forgotten them. A device keeps addresses of pages, and of no table.
    this.#tables.releaseFreed()
    return this.outstanding.done
  }

  #dirtyOps(): DirtyOps {
    return {
      setTracking: (isOn) => this.#setTracking(isOn),
      collect: (start, last, clears, found) => this.#collect(start, last, clears, found),
    }
  }

  /**
   * Starts or ends the log of writes: one store into each PASID entry that uses these tables, those of nested domains
   * included, each with its flush. What is attached later follows. [VTD 6.5.3.3 T28]
   */
  #setTracking(isOn: boolean): Completion {
    if (isOn === this.isDirtyTracked) return undefined
    this.isDirtyTracked = isOn
    const done: Completion[] = []
    for (const { did, place } of this.bindings.everywhere()) {
      this.#entries.setLogging(place.entry, isOn)
      const flushes = [pasidCache(did, place.slot), domainTranslations(this.#hardware.drains, did)]
      done.push(this.#flusher.runEach([...flushes, ...wholeDevice(place.tlb, place.slot)]))
    }
    return allOf(done)
  }

  /** What is made clean here is dirty for the caches still, which set no flag for what they have, until the flush. */
  #collect(start: bigint, last: bigint, clears: boolean, found?: (iova: number, length: number) => void) {
    const tell = (page: number, pages: number): void => {
      if (clears) this.#takenOut(page, pages)
      found?.(page * PAGE_BYTES, pages * PAGE_BYTES)
    }
    const next = this.#tables.collectDirty(Number(start >> PAGE_LG2), Number(last >> PAGE_LG2) + 1, clears, tell)
    return next < 0 ? undefined : BigInt(next) << PAGE_LG2
  }

  destroy(): void {
    assert(this.bindings.users === 0 && this.nestedUsers === 0, 'a domain is destroyed when nothing uses it')
    this.#tables.destroy()
  }

  /** Is to be flushed before anything of it is freed. */
  #takenOut(page: number, pages: number): void {
    if (this.#first < 0 || page < this.#first) this.#first = page
    if (page + pages > this.#last) this.#last = page + pages - 1
  }
}

/** Done when all are. */
function allOf(done: readonly Completion[]): Completion {
  const waiting = done.filter((one) => one !== undefined)
  return waiting.length === 0 ? undefined : Promise.all(waiting).then(() => undefined)
}

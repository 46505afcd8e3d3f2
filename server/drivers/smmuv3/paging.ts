/** Kernel-owned domains: a stage 1 table under an ASID, or a stage 2 table under a VMID. */

import {
  assert,
  type Completion,
  type DirtyOps,
  type IommuDriver,
  type PagingOps,
  type Protection,
  type Range,
} from '../../core/driver.js'
import { Outstanding } from '../outstanding.js'
import { pagesIn } from '../pages-in.js'
import { WITH_TABLES } from '../removed-pages.js'
import { TableBuilder } from '../table-builder.js'
import type { AtcOwner } from './atc.js'
import { type Attachment, Attachments } from './attachments.js'
import { stageOneEncoder, stageTwoEncoder } from './encoders.js'
import { STAGE_1_BITS, type StageTwoShape, stageOneCd } from './entries.js'
import type { Host } from './host.js'
import type { IdAllocator } from './ids.js'
import { type FlushRange, WHOLE_FROM_RANGES } from './invalidation.js'
import { Window } from './window.js'

/** 4 KiB pages, 2 MiB and 1 GiB blocks: one bit a size. */
const PAGE_SIZES = 0x4020_1000n
const PAGE_LG2 = 12n
const PAGE_BYTES = 4096
/** Level of the root of four levels of 4 KiB tables. */
const FOUR_LEVELS = 3

interface StaleRange {
  page: number
  pages: number
  /** The builder's level of the leaves. */
  readonly level: number
}

/** What both stages do alike. */
abstract class PagingDomain implements PagingOps {
  readonly kind = 'paging'
  readonly driver: IommuDriver
  readonly pageSizes = PAGE_SIZES
  abstract readonly isNestParent: boolean
  abstract readonly stage: 1 | 2
  readonly aperture: Range
  readonly dirty?: DirtyOps
  /** Devices and user domains that use it. */
  users = 0
  takesFaults?: boolean
  /** It was made for a coherent device, and takes no other. [uAPI IOMMU_HWPT_ALLOC] */
  enforcesCoherency = false
  protected readonly host: Host
  protected readonly tables: TableBuilder
  /** What the TLB may hold although the tables say otherwise now. */
  #stale: StaleRange[] = []
  /** Tables were taken out, and the unit has not been told. */
  #hasUntoldTables = false
  readonly #attachments = new Attachments()
  /** Devices are being asked to forget, also such as have left. */
  readonly outstanding = new Outstanding()

  constructor(host: Host, tables: TableBuilder, inputBits: number) {
    this.host = host
    this.driver = host.driver
    this.tables = tables
    this.aperture = { start: 0n, last: (1n << BigInt(inputBits)) - 1n }
  }

  /** Physical address of the root table. */
  get root(): number {
    return this.tables.root
  }

  get tableBytes(): number {
    return this.tables.tableBytes
  }

  map(iova: bigint, address: number, length: bigint, protection: Protection, inPages = false): void {
    const run = { page: pagesIn(iova), pages: pagesIn(length), frame: address / PAGE_BYTES }
    // Whoever emptied tables may not have flushed yet, and the unit would go on looking into them, not into new ones.
    if (this.#hasUntoldTables && !this.#attachments.areNone) this.flushRanges(this.#staleRanges())
    this.#hasUntoldTables = false
    try {
      this.tables.map(run, protection, inPages)
    } catch (error) {
      // What was there for a moment may be cached. No device has it: it would have had to ask in between.
      const gone = { page: run.page, pages: run.pages, level: WITH_TABLES, tables: true }
      if (!this.#attachments.areNone) this.flushRanges([gone])
      throw error
    }
  }

  unmap(iova: bigint, length: bigint): void {
    for (const removed of this.tables.unmap(pagesIn(iova), pagesIn(length))) {
      this.noteStale(removed.page, removed.pages, removed.level)
      if (removed.level === WITH_TABLES) this.#hasUntoldTables = true
    }
  }

  /** While it is attached nowhere, nothing can be cached of it: the last to go has seen to that. */
  flush(): Completion {
    const ranges = this.#attachments.areNone ? [] : this.#staleRanges()
    this.#stale = []
    this.#hasUntoldTables = false
    if (ranges.length > 0) this.flushRanges(ranges)
    this.tables.releaseFreed()
    if (ranges.length > 0) this.outstanding.add(this.host.atcs.run(this.host, this.#attachments.forget(ranges)))
    return this.outstanding.done
  }

  /** From now on a device may hold translations of it. */
  attach(device: AtcOwner, slot: number, attachment: Attachment): void {
    this.#attachments.add(device, slot, attachment)
  }

  /** The last to go empties the TLB of it: nobody will do so later, and its number may soon be another's. */
  detach(device: AtcOwner, slot: number): void {
    this.#attachments.remove(device, slot)
    if (this.#attachments.areNone) this.forget()
  }

  destroy(): void {
    assert(this.users === 0, 'a domain is destroyed when nothing uses it')
    this.tables.destroy()
    this.freeNumber()
  }

  #staleRanges(): readonly FlushRange[] {
    return this.#stale.map((range) => ({ ...range, tables: range.level === WITH_TABLES }))
  }

  /** The next `flush` reaches these pages, too. What comes in pieces is flushed as a whole. */
  protected noteStale(page: number, pages: number, level: number): void {
    const before = this.#stale.at(-1)
    if (before?.level === level && before.page + before.pages === page) {
      before.pages += pages
    } else if (before !== undefined && this.#stale.length === WHOLE_FROM_RANGES) {
      // So many are flushed as a whole domain anyway.
      const end = Math.max(before.page + before.pages, page + pages)
      before.page = Math.min(before.page, page)
      before.pages = end - before.page
    } else {
      this.#stale.push({ page, pages, level })
    }
  }

  /** A number for the domain; without one its tables are given back. */
  protected take(numbers: IdAllocator): number {
    try {
      return numbers.alloc()
    } catch (error) {
      this.tables.destroy()
      throw error
    }
  }

  /** Everything of it. */
  protected abstract forget(): void
  protected abstract flushRanges(ranges: readonly FlushRange[]): void
  protected abstract freeNumber(): void
}

/** A stage 1 domain: what a device's RID or one of its PASIDs is attached to. */
export class StageOneDomain extends PagingDomain {
  readonly isNestParent = false
  readonly stage = 1
  readonly asid: number
  override readonly dirty?: DirtyOps

  constructor(host: Host, tracksDirty: boolean) {
    super(host, new TableBuilder(host.memory, host.ram, stageOneEncoder(tracksDirty), FOUR_LEVELS), STAGE_1_BITS)
    this.asid = this.take(host.asids)
    if (tracksDirty) this.dirty = this.#dirtyOps()
  }

  /** The CD that leads to it. @param stalls what it refuses waits for software */
  cd(stalls: boolean): Int32Array {
    const { asid, host, dirty } = this
    return stageOneCd({ asid, table: this.tables.root, ips: host.oasCode, tracksDirty: dirty !== undefined }, stalls)
  }

  /** The log is always kept; who begins to track cleans it first. [SMMU 3.13.3 Dirty state hardware update] */
  #dirtyOps(): DirtyOps {
    return {
      setTracking: () => undefined,
      collect: (start, last, clears, found) => {
        const visit = (page: number, pages: number, level: number): void => {
          if (clears) this.noteStale(page, pages, level)
          // A caller that only cleans has nobody to tell.
          found?.(page * PAGE_BYTES, pages * PAGE_BYTES)
        }
        const next = this.tables.collectDirty(Number(start >> PAGE_LG2), Number(last >> PAGE_LG2) + 1, clears, visit)
        return next < 0 ? undefined : BigInt(next) << PAGE_LG2
      },
    }
  }

  protected override forget(): void {
    this.host.flush.wholeAsid(this.asid)
    this.host.commands.sync()
  }

  protected override flushRanges(ranges: readonly FlushRange[]): void {
    this.host.flush.stageOne(this.asid, ranges)
    this.host.commands.sync()
  }

  protected override freeNumber(): void {
    this.host.asids.free(this.asid)
  }
}

/** A stage 2 domain; as a nesting parent it stands behind guests' own tables. */
export class StageTwoDomain extends PagingDomain {
  readonly stage = 2
  readonly isNestParent: boolean
  readonly vmid: number
  /** Its own, and those of windows that a device has, which use the same tables. */
  readonly #vmids = new Set<number>()
  readonly #geometry: StageTwoGeometry
  /** S2FWB is for guests, who could choose other attributes. */
  readonly #forcesWriteBack: boolean

  constructor(host: Host, isNestParent: boolean) {
    const geometry = stageTwoGeometry(host.oasBits)
    const forcesWriteBack = host.features.fwb && isNestParent
    const encoder = stageTwoEncoder(forcesWriteBack)
    const tables = new TableBuilder(host.memory, host.ram, encoder, geometry.topLevel, geometry.rootTables)
    super(host, tables, host.oasBits)
    this.#geometry = geometry
    this.#forcesWriteBack = forcesWriteBack
    this.isNestParent = isNestParent
    this.vmid = this.take(host.vmids)
    this.#vmids.add(this.vmid)
  }

  createWindow(): Window {
    return new Window(this.host, this)
  }

  /** Its tables are used under one more VMID. */
  addVmid(vmid: number): void {
    this.#vmids.add(vmid)
  }

  removeVmid(vmid: number): void {
    this.#vmids.delete(vmid)
  }

  /** Its part of an STE. */
  shape(vmid = this.vmid): StageTwoShape {
    return {
      vmid,
      t0sz: 64 - this.host.oasBits,
      sl0: this.#geometry.sl0,
      ps: this.host.oasCode,
      table: this.tables.root,
      forcedWriteBack: this.#forcesWriteBack,
      keepsShareability: this.host.features.typesOverride,
    }
  }

  protected override forget(): void {
    for (const vmid of this.#vmids) this.host.flush.wholeVmid(vmid)
    this.host.commands.sync()
  }

  /** S2_IPA leaves combined entries alone, so a parent's guests take a second command after a SYNC. */
  protected override flushRanges(ranges: readonly FlushRange[]): void {
    for (const vmid of this.#vmids) this.host.flush.stageTwo(vmid, ranges)
    this.host.commands.sync()
    if (!this.isNestParent || this.host.flush.isWhole(ranges)) return
    for (const vmid of this.#vmids) this.host.flush.combined(vmid)
    this.host.commands.sync()
  }

  protected override freeNumber(): void {
    this.host.vmids.free(this.vmid)
  }
}

interface StageTwoGeometry {
  /** The builder's level of the root. */
  readonly topLevel: number
  /** Tables that the root concatenates. */
  readonly rootTables: number
  /** STE.S2SL0. */
  readonly sl0: number
}

/** Three levels where up to 16 concatenated roots reach, else four. [SMMU 5.2 S2SL0] */
function stageTwoGeometry(inputBits: number): StageTwoGeometry {
  const threeLevels = 39
  if (inputBits > threeLevels + 4) return { topLevel: FOUR_LEVELS, rootTables: 1, sl0: 2 }
  return { topLevel: FOUR_LEVELS - 1, rootTables: 2 ** Math.max(0, inputBits - threeLevels), sl0: 1 }
}

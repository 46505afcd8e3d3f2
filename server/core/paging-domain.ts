/** Kernel-owned domains: tables that the daemon keeps, with every mapping of an IOAS. [uAPI IOMMU_HWPT_ALLOC] */

import { type Area, piecesOf } from './area.js'
import { ChargedBytes } from './charged-bytes.js'
import { after } from './completion.js'
import type { Completion, PagingFlags, PagingOps } from './driver.js'
import { Hwpt } from './hwpt.js'
import type { Ioas } from './ioas.js'
import type { QuotaName } from './limits.js'
import { type IommuObject, OBJECT_TYPE } from './object.js'
import { bitsOf, min, PAGE } from './u64.js'
import { finish, type Work } from './work.js'

/** Bytes that a table of 512 pages of 4096 bytes maps. Both architectures' tables have this form. */
const TABLE_SPAN = 512n * PAGE

/** What leaves have without large ones. */
const ONE_SIZE = [PAGE]

/** HWPT_PAGING. */
export class PagingDomain extends Hwpt {
  static override readonly label = 'a paging domain'

  readonly type = OBJECT_TYPE.PAGING_DOMAIN
  readonly kind = 'paging domain'
  readonly ioas: Ioas
  readonly ops: PagingOps
  readonly flags: PagingFlags
  /** Its device's accesses are coherent whatever they ask for. [uAPI VFIO_DMA_CC_IOMMU] */
  readonly enforcesCoherency: boolean
  /** Made for an attach to an IOAS; goes with its last attachment. */
  readonly isAuto: boolean
  /** Its tables are gone: work on them that paused has nothing left to do. */
  #isGone = false
  /** Sizes of leaves, ascending. */
  readonly #sizes: readonly bigint[]
  /** Areas in leaves of one page, as they came while the IOAS had no large ones. */
  readonly #inPages = new Set<Area>()
  readonly #bytes: ChargedBytes

  constructor(id: number, ioas: Ioas, ops: PagingOps, flags: PagingFlags, isAuto: boolean, isCoherent = false) {
    super(id)
    this.ioas = ioas
    this.ops = ops
    this.flags = flags
    this.isAuto = isAuto
    this.enforcesCoherency = isCoherent
    this.#sizes = bitsOf(ops.pageSizes)
    this.#bytes = new ChargedBytes(ioas.context.quota, () => ops.tableBytes)
    ioas.hold(this)
  }

  /** It may be on a PASID, or on a RID whose PASIDs are in use. */
  get pasidCompatible(): boolean {
    return this.flags.pasid
  }

  protected get ground(): IommuObject {
    return this.ioas
  }

  override get charges(): readonly QuotaName[] {
    return ['objects', 'domains']
  }

  override get facts(): Readonly<Record<string, string>> {
    const flags = [
      this.flags.nestParent ? 'NEST_PARENT' : '',
      this.flags.dirtyTracking ? 'DIRTY_TRACKING' : '',
      this.faultQueue === undefined ? '' : 'FAULT_ID_VALID',
      this.flags.pasid ? 'PASID' : '',
    ].filter((name) => name !== '')
    return {
      unit: this.ops.driver.name,
      flags: flags.join(' '),
      auto: String(this.isAuto),
      table_bytes: String(this.#bytes.bytes),
    }
  }

  /**
   * Writes a pinned area into the tables; when the driver refuses, nothing of it stays.
   *
   * @param hugePages leaves may be larger than a page of 4096 bytes
   * @throws Refusal EDQUOT, ENOMEM, EINVAL
   */
  *install(area: Area, hugePages: boolean): Work<void> {
    this.#checkRoom(area, hugePages)
    if (!hugePages) this.#inPages.add(area)
    let done = 0n
    try {
      for (const { iova, address, length } of piecesOf(area, hugePages ? this.#sizes : ONE_SIZE)) {
        this.ops.map(iova, address, length, area.protection, !hugePages)
        done += length
        this.chargeTables()
        yield
        if (this.#isGone) return
      }
    } catch (error) {
      yield* this.remove(area, done)
      throw error
    }
  }

  /** Takes the first bytes of an installed area out of the tables; all of it, if nothing else is said. */
  *remove(area: Area, length = area.length): Work<void> {
    let left = length
    for (const piece of piecesOf(area, this.#inPages.has(area) ? ONE_SIZE : this.#sizes)) {
      if (left === 0n || this.#isGone) break
      const bytes = min(piece.length, left)
      this.ops.unmap(piece.iova, bytes)
      left -= bytes
      yield
    }
    this.#inPages.delete(area)
  }

  /** An installed area has become two. */
  cut(area: Area, low: Area, high: Area): void {
    if (!this.#inPages.delete(area)) return
    this.#inPages.add(low)
    this.#inPages.add(high)
  }

  /**
   * Refuses an area whose tables alone would break the quota, before the driver writes millions of entries to find out.
   *
   * @throws Refusal EDQUOT
   */
  #checkRoom(area: Area, hugePages: boolean): void {
    let tables = 0n
    let iova = area.start
    for (const { region, offset, length } of area.segments) {
      const shift = iova - BigInt(region.memory.address + offset)
      // The tables at both ends may be there already; blocks need none.
      if ((!hugePages || shift % TABLE_SPAN !== 0n) && length > 2n * TABLE_SPAN) tables += length / TABLE_SPAN - 2n
      iova += length
    }
    this.ioas.context.quota.check('table_bytes', Number(tables * PAGE))
  }

  /** Brings the quota to what the tables hold now. @throws Refusal EDQUOT, when they grew beyond it */
  chargeTables(): void {
    this.#bytes.follow()
  }

  /** Gives back what the tables no longer hold. Cannot fail. */
  releaseTables(): void {
    this.#bytes.release()
  }

  destroy(): Completion {
    const { ioas } = this
    this.#isGone = true
    this.#inPages.clear()
    this.ops.destroy()
    this.dropFaultQueue()
    this.#bytes.end()
    return after(finish(ioas.leave(this), ioas.context.core.turn), () => ioas.drop(this))
  }
}

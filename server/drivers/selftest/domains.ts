/** Domains of the self-test unit: paging ones, and user domains whose tables are four words that can be forgotten. */

import {
  assert,
  type DirtyOps,
  DMA_ACCESS,
  type InvalidateArray,
  type InvalidateResult,
  type IommuDriver,
  type PagingFlags,
  type PagingOps,
  type Protection,
  type Range,
  Refusal,
  type UserOps,
} from '../../core/driver.js'
import { INVALIDATE_ALL, IOTLB_ENTRIES, type TableFormat } from './formats.js'
import { SelftestTable } from './table.js'
import type { SelftestViommu } from './viommu.js'

/** A kernel-owned domain. */
export class SelftestPaging implements PagingOps {
  readonly kind = 'paging'
  readonly driver: IommuDriver
  readonly isNestParent: boolean
  readonly pageSizes: bigint
  readonly aperture: Range
  readonly table: SelftestTable
  readonly dirty?: DirtyOps
  /** Writes are noted. */
  isTracking = false

  constructor(driver: IommuDriver, flags: PagingFlags, format: TableFormat) {
    this.driver = driver
    this.isNestParent = flags.nestParent
    this.pageSizes = format.pageSizes
    this.aperture = format.aperture
    this.table = new SelftestTable(format.isDirtyByLeaf)
    if (flags.dirtyTracking) this.dirty = this.#dirtyOps()
  }

  get tableBytes(): number {
    return this.table.tableBytes
  }

  map(iova: bigint, address: number, length: bigint, { read, write }: Protection, inPages = false): void {
    const rights = (read ? DMA_ACCESS.READ : 0) | (write ? DMA_ACCESS.WRITE : 0)
    assert(rights !== 0, 'a mapping can be read or written')
    this.table.map(Number(iova), address, Number(length), rights, inPages)
  }

  unmap(iova: bigint, length: bigint): void {
    this.table.unmap(Number(iova), Number(length))
  }

  /** Nothing is cached. */
  flush(): undefined {
    return undefined
  }

  destroy(): void {}

  #dirtyOps(): DirtyOps {
    return {
      setTracking: (isOn) => {
        this.isTracking = isOn
        return undefined
      },
      collect: (...request) => this.table.collect(...request),
    }
  }
}

/** A client's domain. DMA goes through its parent alone; what the client's tables are is a word in its cache. */
export class SelftestUser implements UserOps {
  readonly kind = 'user'
  readonly driver: IommuDriver
  readonly parent: SelftestPaging
  /** Where it was made; undefined directly on the parent. */
  readonly viommu: SelftestViommu | undefined
  readonly iotlb: Uint32Array

  constructor(driver: IommuDriver, parent: SelftestPaging, word: number, viommu?: SelftestViommu) {
    this.driver = driver
    this.parent = parent
    this.viommu = viommu
    this.iotlb = new Uint32Array(IOTLB_ENTRIES).fill(word)
  }

  /** [uAPI struct iommu_hwpt_invalidate_selftest] */
  invalidate(entries: InvalidateArray, from: number, end: number): InvalidateResult {
    if (entries.kind !== 'selftest') {
      throw new Refusal('EINVAL', 'a user domain of the self-test unit takes entries of its own type')
    }
    for (let index = from; index < end; index++) {
      try {
        const { flags, iotlbId } = entries.at('selftest', index)
        forget(this.iotlb, flags, iotlbId)
      } catch (error) {
        if (!(error instanceof Refusal)) throw error
        return { done: index - from, refusal: error, completion: undefined }
      }
    }
    return { done: end - from, completion: undefined }
  }

  destroy(): void {}
}

/** Checks an invalidation, in the kernel's order. @throws Refusal EOPNOTSUPP, EINVAL */
export function checkEntry(cache: { readonly length: number }, flags: number, index: number): void {
  if ((flags & ~INVALIDATE_ALL) !== 0) throw new Refusal('EOPNOTSUPP', 'the only flag is ALL (1)', { flags })
  if (index < cache.length) return
  throw new Refusal('EINVAL', `the cache has ${cache.length} entries`, { index })
}

/** Forgets one entry of a cache or all of them. @throws Refusal EOPNOTSUPP, EINVAL */
export function forget(cache: Uint32Array, flags: number, index: number): void {
  checkEntry(cache, flags, index)
  if (flags === INVALIDATE_ALL) cache.fill(0)
  else cache[index] = 0
}

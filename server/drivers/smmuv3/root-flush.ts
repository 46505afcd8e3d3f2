/** Ranges of one root's addresses, as its owner counts them and as commands say them. [SMMU 4.4.1.1 Range-based] */

import { CMD_TLBI_NH_ASID, CMD_TLBI_NH_VA, OPCODE } from '../../../hw-model/smmuv3/index.js'
import type { VtdInvalidation } from '../../core/driver.js'
import { ALL_PAGES, LEAF } from '../range-entry.js'
import { scaleOf, unitsOf } from './invalidation.js'
import type { CommandRing } from './queues.js'

const PAGE_LG2 = 12
const PAGE_BYTES = 4096

/**
 * Commands for one range beyond which all of the root is dropped, and for several beyond which others have their turn:
 * where there are no ranges, one table's worth.
 */
export const COMMANDS_LIMIT = 512

/** Pages of 4 KiB, in whole granules. */
export interface PageBlock {
  readonly page: number
  readonly pages: number
  /** Table entries go, too. */
  readonly tables: boolean
  /** All addresses there are, which are dropped by the root's name. */
  readonly isEverything: boolean
}

/** Whose translations: the window's, and the root's in it. */
export interface RootName {
  readonly VMID: number
  readonly ASID: number
}

/**
 * The granules that an entry touches below the end of TTB0's half; null for none. No pages at address 0 are all of them, as
 * on VT-d; but no number of pages is so large that it becomes a small one.
 */
export function blockOf(
  { addr, npages, flags }: VtdInvalidation,
  granuleLg2: number,
  inputBits: number,
): PageBlock | null {
  const limit = 1n << BigInt(inputBits)
  const granule = BigInt(granuleLg2)
  const bytes = npages << BigInt(PAGE_LG2)
  if (bytes === 0n && addr !== 0n) return null
  const isEverything = bytes === 0n || npages === ALL_PAGES
  if (addr >= limit) return null
  const end = isEverything || addr + bytes > limit ? limit : addr + bytes
  const first = (addr >> granule) << granule
  const last = ((end - 1n) >> granule) << granule
  return {
    page: Number(first >> BigInt(PAGE_LG2)),
    pages: Number((last + (1n << granule) - first) >> BigInt(PAGE_LG2)),
    tables: (flags & LEAF) === 0,
    isEverything,
  }
}

/**
 * Queues what drops a block. Everything, and more than can be said page by page, means the root's own entries; a range
 * reaches in it those of leaves with nG = 0, too, which serve every root of the window. [SMMU 4.4.2.2 CMD_TLBI_NH_ASID]
 *
 * @returns the number of commands
 */
export function pushBlock(
  ring: CommandRing,
  name: RootName,
  block: PageBlock,
  granuleLg2: number,
  ril: boolean,
): number {
  const units = block.pages / 2 ** (granuleLg2 - PAGE_LG2)
  if (block.isEverything || (!ril && units > COMMANDS_LIMIT)) {
    ring.add(CMD_TLBI_NH_ASID, OPCODE.TLBI_NH_ASID, { ...name })
    return 1
  }
  const fixed = { ...name, Leaf: block.tables ? 0 : 1 }
  let at = block.page * PAGE_BYTES
  let count = 0
  for (let left = units; left > 0; ) {
    const scale = ril ? scaleOf(left) : 0
    const num = ril ? unitsOf(left, scale) : 1
    // A single granule goes without a range: NUM, SCALE and TTL all zero is the reserved code.
    const range = num === 1 && scale === 0 ? {} : { TG: (granuleLg2 - 10) / 2, SCALE: scale, NUM: num - 1 }
    ring.add(CMD_TLBI_NH_VA, OPCODE.TLBI_NH_VA, { ...fixed, ...range, Address: at })
    at += num * 2 ** (scale + granuleLg2)
    left -= num * 2 ** scale
    count++
  }
  return count
}

/** Which commands flush a range, a domain, or what a guest asks to have flushed. [SMMU 4.4 TLB invalidation] */

import {
  CMD_TLBI_NH_ALL,
  CMD_TLBI_NH_ASID,
  CMD_TLBI_NH_VA,
  CMD_TLBI_S2_IPA,
  CMD_TLBI_S12_VMALL,
  OPCODE,
} from '../../../hw-model/smmuv3/index.js'
import type { CommandRing } from './queues.js'

/** VMID of stage 1 alone; stage 2 domains have others. */
export const HOST_VMID = 0

/** TG code of a 4 KiB granule. */
const TG_4K = 1
const PAGE_BYTES = 4096

/** Pages beyond which a range is flushed as a whole domain: without ranges, one table's worth. */
const WHOLE_FROM_PAGES = 2 ** 30
const WHOLE_FROM_PAGES_SINGLY = 512

/** Ranges beyond which they are flushed as a whole domain: their commands would take longer than what they spare. */
export const WHOLE_FROM_RANGES = 8

/** Pages that were unmapped. */
export interface FlushRange {
  readonly page: number
  readonly pages: number
  /** Table entries went too, so walk caches must forget them. */
  readonly tables: boolean
}

/** Flushes of one unit. Nothing here ends its batch with a SYNC. */
export class Invalidator {
  readonly #commands: CommandRing
  readonly #hasRanges: boolean

  constructor(commands: CommandRing, hasRanges: boolean) {
    this.#commands = commands
    this.#hasRanges = hasRanges
  }

  /** Stage 1 of an ASID. */
  stageOne(asid: number, ranges: readonly FlushRange[]): void {
    if (this.#isWhole(ranges)) {
      this.wholeAsid(asid)
      return
    }
    const fixed = { VMID: HOST_VMID, ASID: asid }
    for (const range of ranges) {
      for (const chunk of this.#chunks(range)) {
        this.#commands.add(CMD_TLBI_NH_VA, OPCODE.TLBI_NH_VA, { ...fixed, ...chunk, Leaf: range.tables ? 0 : 1 })
      }
    }
  }

  wholeAsid(asid: number): void {
    this.#commands.add(CMD_TLBI_NH_ASID, OPCODE.TLBI_NH_ASID, { VMID: HOST_VMID, ASID: asid })
  }

  /** Stage 2 of a VMID. What was combined with a guest's stage 1 takes `combined`, after a SYNC. */
  stageTwo(vmid: number, ranges: readonly FlushRange[]): void {
    if (this.#isWhole(ranges)) {
      this.wholeVmid(vmid)
      return
    }
    for (const range of ranges) {
      for (const chunk of this.#chunks(range)) {
        this.#commands.add(CMD_TLBI_S2_IPA, OPCODE.TLBI_S2_IPA, { VMID: vmid, ...chunk, Leaf: range.tables ? 0 : 1 })
      }
    }
  }

  wholeVmid(vmid: number): void {
    this.#commands.add(CMD_TLBI_S12_VMALL, OPCODE.TLBI_S12_VMALL, { VMID: vmid })
  }

  /** Everything that a guest's stage 1 was combined with. */
  combined(vmid: number): void {
    this.#commands.add(CMD_TLBI_NH_ALL, OPCODE.TLBI_NH_ALL, { VMID: vmid })
  }

  #isWhole(ranges: readonly FlushRange[]): boolean {
    if (ranges.length >= WHOLE_FROM_RANGES) return true
    const pages = ranges.reduce((sum, range) => sum + range.pages, 0)
    return pages >= (this.#hasRanges ? WHOLE_FROM_PAGES : WHOLE_FROM_PAGES_SINGLY)
  }

  /** The address fields of one command after the other, together covering the range. */
  *#chunks({ page, pages }: FlushRange): Generator<Record<'Address', number> & Partial<Record<RangeField, number>>> {
    let at = page
    let left = pages
    while (left > 0) {
      // A single page goes without a range: NUM, SCALE and TTL all zero is the reserved code.
      if (!this.#hasRanges || left === 1) {
        yield { Address: at * PAGE_BYTES }
        at++
        left--
        continue
      }
      const scale = 31 - Math.clz32(left & -left)
      const units = (left >>> scale) & 31
      const isSingle = scale === 0 && units === 1
      const range = isSingle ? {} : { TG: TG_4K, SCALE: scale, NUM: units - 1 }
      yield { Address: at * PAGE_BYTES, ...range }
      at += units * 2 ** scale
      left -= units * 2 ** scale
    }
  }
}

type RangeField = 'TG' | 'SCALE' | 'NUM'

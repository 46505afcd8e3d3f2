/**
 * Which commands flush ranges of a domain, as Linux chooses them: by range where the unit has those commands, with the
 * level of the leaves as a hint, else one by one. [SMMU 4.4 TLB invalidation]
 */

import {
  CMD_TLBI_NH_ALL,
  CMD_TLBI_NH_ASID,
  CMD_TLBI_NH_VA,
  CMD_TLBI_S2_IPA,
  CMD_TLBI_S12_VMALL,
  COMMAND,
  OPCODE,
} from '../../../hw-model/smmuv3/index.js'
import type { CommandRing } from './queues.js'

/** VMID of stage 1 alone; stage 2 domains have others. */
export const HOST_VMID = 0

/** TG code of a 4 KiB granule. */
const TG_4K = 1
const PAGE_BYTES = 4096
/** Leaves of one level are this many of the level below. */
const ENTRIES = 512
/** TTL of level 3, which holds pages. The builder counts the other way round, from 0. */
const TTL_OF_PAGES = 3

/** NUM counts to 32, and the largest SCALE without IDR5.DS is 31: 2^36 pages, which is more than a domain has. */
const UNITS = 32
const LARGEST_SCALE = 31

/**
 * Commands that are as many as the entries of a table: beyond, the whole domain is flushed by one. So does Linux where it
 * has no ranges and leaves are pages; for larger leaves it goes on to 2^18, for which nobody waits here.
 */
const WHOLE_FROM_COMMANDS = 512

/** Ranges beyond which they are flushed as a whole domain: their commands would take longer than what they spare. */
export const WHOLE_FROM_RANGES = 8

/** Pages whose translations changed. */
export interface FlushRange {
  readonly page: number
  readonly pages: number
  /** The builder's level of the leaves; nothing where table entries went. */
  readonly level: number
  /** Table entries went too, so walk caches must forget them. */
  readonly tables: boolean
}

/** The commands by address; what says which addresses has the same names in both. */
type ByAddress = typeof CMD_TLBI_NH_VA | typeof CMD_TLBI_S2_IPA

/** Flushes of one unit. Nothing here ends its batch with a SYNC. */
export class Invalidator {
  readonly #commands: CommandRing
  readonly #hasRanges: boolean
  /** The command that is being spelled; the queue keeps a copy. */
  readonly #command = new Int32Array(COMMAND.$.words)

  constructor(commands: CommandRing, hasRanges: boolean) {
    this.#commands = commands
    this.#hasRanges = hasRanges
  }

  /** Stage 1 of an ASID. */
  stageOne(asid: number, ranges: readonly FlushRange[]): void {
    if (this.isWhole(ranges)) {
      this.wholeAsid(asid)
      return
    }
    const command = this.#begin(OPCODE.TLBI_NH_VA)
    CMD_TLBI_NH_VA.VMID.set(command, 0, HOST_VMID)
    CMD_TLBI_NH_VA.ASID.set(command, 0, asid)
    for (const range of ranges) this.#push(CMD_TLBI_NH_VA, range)
  }

  wholeAsid(asid: number, vmid = HOST_VMID): void {
    this.#commands.add(CMD_TLBI_NH_ASID, OPCODE.TLBI_NH_ASID, { VMID: vmid, ASID: asid })
  }

  /** Stage 2 of a VMID. Unless that is whole, what was combined with a guest's stage 1 takes `combined`, after a SYNC. */
  stageTwo(vmid: number, ranges: readonly FlushRange[]): void {
    if (this.isWhole(ranges)) {
      this.wholeVmid(vmid)
      return
    }
    const command = this.#begin(OPCODE.TLBI_S2_IPA)
    CMD_TLBI_S2_IPA.VMID.set(command, 0, vmid)
    for (const range of ranges) this.#push(CMD_TLBI_S2_IPA, range)
  }

  wholeVmid(vmid: number): void {
    this.#commands.add(CMD_TLBI_S12_VMALL, OPCODE.TLBI_S12_VMALL, { VMID: vmid })
  }

  /** Everything that a guest's stage 1 was combined with. */
  combined(vmid: number): void {
    this.#commands.add(CMD_TLBI_NH_ALL, OPCODE.TLBI_NH_ALL, { VMID: vmid })
  }

  /** Whether one command for the whole domain takes the place of those for the ranges. */
  isWhole(ranges: readonly FlushRange[]): boolean {
    if (ranges.length >= WHOLE_FROM_RANGES) return true
    if (this.#hasRanges) return false
    return ranges.reduce((sum, range) => sum + singles(range).count, 0) >= WHOLE_FROM_COMMANDS
  }

  #begin(opcode: number): Int32Array {
    this.#command.fill(0)
    COMMAND.Opcode.set(this.#command, 0, opcode)
    return this.#command
  }

  /** Queues what forgets a range; the command holds already whose addresses they are. */
  #push(record: ByAddress, range: FlushRange): void {
    record.Leaf.set(this.#command, 0, range.tables ? 0 : 1)
    if (this.#hasRanges) this.#byRange(record, range)
    else this.#oneByOne(record, range)
  }

  /** As few commands as there are groups of five bits in the number of pages, the lowest first. */
  #byRange(record: ByAddress, range: FlushRange): void {
    const { page, pages } = range
    const command = this.#command
    const ttl = ttlOf(range)
    record.TG.set(command, 0, TG_4K)
    record.TTL.set(command, 0, ttl)
    // NUM, SCALE and TTL all zero is the reserved code. One page more costs less than another form of command.
    let left = ttl === 0 && pages % UNITS === 1 ? pages + 1 : pages
    for (let at = page; left > 0; ) {
      const scale = scaleOf(left)
      const units = unitsOf(left, scale)
      record.Address.set(command, 0, at * PAGE_BYTES)
      record.SCALE.set(command, 0, scale)
      record.NUM.set(command, 0, units - 1)
      this.#commands.push(command)
      at += units * 2 ** scale
      left -= units * 2 ** scale
    }
  }

  /** A command for each leaf; where tables went, for each page, since nothing says what was below. */
  #oneByOne(record: ByAddress, range: FlushRange): void {
    const { first, step, count } = singles(range)
    for (let i = 0; i < count; i++) {
      record.Address.set(this.#command, 0, (first + i * step) * PAGE_BYTES)
      this.#commands.push(this.#command)
    }
  }
}

/** SCALE of the command that says the lowest part of a count. */
export const scaleOf = (count: number): number => Math.min(trailingZeros(count), LARGEST_SCALE)

/** How many times 2^`scale` that command says: NUM + 1. */
export const unitsOf = (count: number, scale: number): number => Math.floor(count / 2 ** scale) % UNITS || UNITS

function singles({ page, pages, level, tables }: FlushRange) {
  const step = tables ? 1 : ENTRIES ** level
  const first = page - (page % step)
  return { first, step, count: Math.ceil((page + pages - first) / step) }
}

/**
 * The level of the leaves. None where tables went, whose entries stood on every level above; and none for a part of a
 * leaf, since with a level the address must be one of a leaf. [SMMU 4.4.1.1 Range-based invalidation and level hint]
 */
function ttlOf({ page, pages, level, tables }: FlushRange): number {
  if (tables) return 0
  const size = ENTRIES ** level
  return page % size === 0 && pages % size === 0 ? TTL_OF_PAGES - level : 0
}

/** Zeros below the lowest one of a number of up to 2^53. */
const trailingZeros = (value: number): number => {
  const low = (value % 2 ** 32) | 0
  return low === 0 ? 32 + trailingZeros(value / 2 ** 32) : 31 - Math.clz32(low & -low)
}

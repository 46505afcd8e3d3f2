/** The stream table: two levels where the unit has them and streams are many, else linear. [SMMU 3.3.1] */

import { pack } from '../../../hw-model/bits/layout.js'
import type { Memory } from '../../../hw-model/memory/index.js'
import {
  CMD_CFGI_STE,
  CMD_PREFETCH_CONFIG,
  type Features,
  L1STD,
  OFFSET,
  OPCODE,
  STE,
  STRTAB_BASE,
  STRTAB_BASE_CFG,
} from '../../../hw-model/smmuv3/index.js'
import type { HostRam } from '../host-ram.js'
import { abortSte, safeSteBits, usedSteBits } from './entries.js'
import { ENTRY_WORDS, type EntryWriter, updateEntry } from './entry-update.js'
import type { CommandRing } from './queues.js'
import type { Registers } from './registers.js'

/** log2 of the streams of a level 2 table, and the Span that says so. */
const SPLIT = 8
const SPAN = SPLIT + 1

/** log2 of the largest level 1 table's entries. */
const LEVEL_1_LIMIT_LG2 = 17

/** All streams of a unit. Those never made known abort, where there is a table for them at all. */
export class StreamTable {
  /** log2 of the streams that the table can hold. */
  readonly sizeLg2: number
  readonly #memory: Memory
  readonly #ram: HostRam
  readonly #commands: CommandRing
  readonly #isTwoLevel: boolean
  readonly #base: number
  /** Level 2 tables by the index of their level 1 descriptor. */
  readonly #leaves = new Map<number, number>()

  constructor(memory: Memory, ram: HostRam, commands: CommandRing, features: Features) {
    this.#memory = memory
    this.#ram = ram
    this.#commands = commands
    this.#isTwoLevel = features.twoLevelStreams && features.sidSize > SPLIT
    // A linear one has 2^8 streams at most: with seven bits or more, two levels are mandatory. [SMMU 6.3.2 SMMU_IDR1]
    this.sizeLg2 = Math.min(features.sidSize, LEVEL_1_LIMIT_LG2 + SPLIT)
    if (this.#isTwoLevel) this.#base = ram.alloc(2 ** (this.sizeLg2 - SPLIT) * L1STD.$.bytes)
    else this.#base = this.#allocStes(2 ** this.sizeLg2)
  }

  /** Tells the unit where the table is. */
  program(registers: Registers): void {
    registers.write64(OFFSET.STRTAB_BASE, pack(STRTAB_BASE, { ADDR: this.#base, RA: 1 }))
    const config = pack(STRTAB_BASE_CFG, {
      LOG2SIZE: this.sizeLg2,
      SPLIT: this.#isTwoLevel ? SPLIT : 0,
      FMT: this.#isTwoLevel ? 1 : 0,
    })
    registers.write32(OFFSET.STRTAB_BASE_CFG, config[0])
  }

  /** Makes room for a stream; its entry aborts. */
  ensure(sid: number): void {
    const index = Math.floor(sid / 2 ** SPLIT)
    if (!this.#isTwoLevel || this.#leaves.has(index)) return
    const leaf = this.#allocStes(2 ** SPLIT)
    this.#leaves.set(index, leaf)
    const descriptor = pack(L1STD, { Span: SPAN, L2Ptr: leaf })
    this.#memory.storeRecord(this.#base + index * L1STD.$.bytes, descriptor, 0, L1STD.$.words)
    this.#commands.add(CMD_CFGI_STE, OPCODE.CFGI_STE, { SID: sid, Leaf: 0 })
    this.#commands.sync()
  }

  /** Whether a stream's entry is `target` already. */
  has(sid: number, target: Int32Array): boolean {
    return this.#load(this.#addressOf(sid)).every((word, i) => word === target[i])
  }

  /** Brings a stream's entry to `target`; answers whether that was hitless. */
  update(sid: number, target: Int32Array): boolean {
    const at = this.#addressOf(sid)
    const current = this.#load(at)
    const writer: EntryWriter = {
      used: usedSteBits,
      safe: safeSteBits(current, target),
      store: (qword, lo, hi) => {
        this.#memory.storeWord(at + qword * 8, lo, hi)
      },
      sync: () => {
        this.#commands.add(CMD_CFGI_STE, OPCODE.CFGI_STE, { SID: sid, Leaf: 1 })
        this.#commands.sync()
      },
    }
    const hitless = updateEntry(current, target, writer)
    this.#commands.issue(CMD_PREFETCH_CONFIG, OPCODE.PREFETCH_CONFIG, { SID: sid })
    return hitless
  }

  #load(at: number): Int32Array {
    const current = new Int32Array(ENTRY_WORDS)
    this.#memory.loadRecord(at, current, 0, ENTRY_WORDS)
    return current
  }

  #addressOf(sid: number): number {
    if (!this.#isTwoLevel) return this.#base + sid * STE.$.bytes
    const leaf = this.#leaves.get(Math.floor(sid / 2 ** SPLIT)) as number
    return leaf + (sid % 2 ** SPLIT) * STE.$.bytes
  }

  #allocStes(count: number): number {
    const table = this.#ram.alloc(count * STE.$.bytes)
    const abort = abortSte()
    for (let i = 0; i < count; i++) this.#memory.storeRecord(table + i * STE.$.bytes, abort, 0, ENTRY_WORDS)
    return table
  }
}

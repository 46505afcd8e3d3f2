/**
 * A guest whose tables, commands and registers are right until somebody changes a byte of them. Every page of tables is
 * full of entries that lead to other such pages, so a walk of any shape finds its way, and each byte matters.
 */

import { pack } from '../../hw-model/bits/layout.js'
import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { CD, COMMAND, idRegisters, L1CD, L1STD, OFFSET, OPCODE, SmmuV3, STE } from '../../hw-model/smmuv3/index.js'
import type { Random } from '../hostile/random.js'
import type { LateDevices, Victim, Write } from './victim.js'

/** Where the guest's RAM starts, and how long it is. */
const RAM_BASE = 0x10_0000
const RAM_BYTES = 0x10_0000

/** Where things stand in it. */
const AT = {
  STREAMS: 0,
  LEAF_STREAMS: 0x4000,
  CONTEXTS: 0x8000,
  TABLES: 0x2_0000,
  TABLES_END: 0x8_0000,
  COMMANDS: 0x9_0000,
  EVENTS: 0xa_0000,
  PAGES: 0xb_0000,
} as const

const STREAMS = 64
const COMMANDS_LG2 = 6
const CONTEXT_BYTES = 64

/** Registers that a guest writes, and their neighbours. */
const OFFSETS = [...Object.values(OFFSET), 0x100a8, 0x100ac, 0x100c8, 0x100cc].filter((offset) => offset > 0x1c)

const OPCODES = Object.values(OPCODE)

/** Puts a unit with everything into a machine. */
export class SmmuVictim implements Victim {
  readonly memory = new Memory()
  readonly unit: SmmuV3
  readonly structures = { start: RAM_BASE, bytes: AT.TABLES_END, hotBytes: 0x1000 }
  readonly offsets = OFFSETS
  readonly #random: Random
  /** Commands pushed since the queue was programmed. */
  #produced = 0

  constructor(random: Random, devices: LateDevices) {
    this.#random = random
    this.memory.place(RAM_BASE, new SparseBacking(RAM_BYTES))
    const owner = { message: () => undefined, interrupt: () => undefined }
    this.unit = new SmmuV3({ memory: this.memory, owner, id: idRegisters('full'), devices })
  }

  fill(): void {
    for (let sid = 0; sid < STREAMS; sid++) {
      const ste = this.#ste()
      this.#store(AT.STREAMS + sid * STE.$.bytes, ste)
      this.#store(AT.LEAF_STREAMS + sid * STE.$.bytes, ste)
    }
    for (let at = AT.CONTEXTS; at < AT.TABLES; at += CONTEXT_BYTES) {
      // A page of level 1 descriptors now and then, so that two-level tables lead somewhere too.
      if (((at >>> 12) & 3) !== 3) this.#store(at, this.#cd())
      else for (let word = 0; word < CONTEXT_BYTES; word += 8) this.#store(at + word, this.#l1cd())
    }
    for (let at = AT.TABLES; at < AT.TABLES_END; at += 8) {
      const [lo, hi] = this.#descriptor()
      this.memory.storeWord(RAM_BASE + at, lo, hi)
    }
    for (let i = 0; i < 8; i++) {
      const l1 = pack(L1STD, { Span: 7, L2Ptr: RAM_BASE + AT.LEAF_STREAMS })
      this.#store(AT.PAGES - 0x1000 + i * 8, l1)
    }
  }

  program(write: Write): void {
    const random = this.#random
    const isTwoLevel = random.oneIn(3)
    write(OFFSET.CR0, 4, 0)
    write(OFFSET.GERRORN, 4, random.u32())
    write(OFFSET.CR2, 4, random.below(16))
    write(OFFSET.STRTAB_BASE, 8, RAM_BASE + (isTwoLevel ? AT.PAGES - 0x1000 : AT.STREAMS))
    write(OFFSET.STRTAB_BASE_CFG, 4, isTwoLevel ? 0x10186 : 6)
    write(OFFSET.CMDQ_BASE, 8, RAM_BASE + AT.COMMANDS + COMMANDS_LG2)
    write(OFFSET.CMDQ_PROD, 4, 0)
    write(OFFSET.CMDQ_CONS, 4, 0)
    write(OFFSET.EVENTQ_BASE, 8, RAM_BASE + AT.EVENTS + 7)
    write(OFFSET.EVENTQ_PROD, 4, 0)
    write(OFFSET.EVENTQ_CONS, 4, 0)
    write(OFFSET.PRIQ_BASE, 8, RAM_BASE + AT.PAGES + 5)
    write(OFFSET.IRQ_CTRL, 4, random.below(8))
    write(OFFSET.CR0, 4, 0x1f & ~(random.oneIn(4) ? 0x12 : 0))
    this.#produced = 0
  }

  command(write: Write): void {
    write(OFFSET.CMDQ_PROD, 4, this.#push())
    // Software answers an error, or the queue would stand still from the first bad command on.
    const [gerror] = this.unit.readRegister(OFFSET.GERROR, 4)
    const [answered] = this.unit.readRegister(OFFSET.GERRORN, 4)
    if ((gerror & 1) !== (answered & 1) && this.#random.oneIn(2)) write(OFFSET.GERRORN, 4, gerror)
  }

  /** Puts a command into the queue's memory and answers the next PROD. */
  #push(): number {
    const random = this.#random
    const words = new Int32Array(COMMAND.$.words)
    words[0] = random.oneIn(30) ? random.u32() : random.pick(OPCODES) | ((random.below(64) & 0x3f) << 12)
    words[1] = random.oneIn(8) ? random.u32() : random.below(4) << random.pick([0, 0, 16])
    words[2] = random.oneIn(3) ? random.u32() : random.below(0x1000)
    words[3] = random.oneIn(8) ? random.u32() : 0
    const slot = this.#produced % 2 ** COMMANDS_LG2
    this.memory.storeRecord(RAM_BASE + AT.COMMANDS + slot * COMMAND.$.bytes, words, 0, words.length)
    this.#produced = (this.#produced + 1) % 2 ** (COMMANDS_LG2 + 1)
    return this.#produced
  }

  #ste(): Int32Array {
    const random = this.#random
    return pack(STE, {
      V: 1,
      Config: random.pick([0b101, 0b101, 0b110, 0b111, 0b111, 0b111, 0b100, 0]),
      S1Fmt: random.below(3),
      S1ContextPtr: RAM_BASE + AT.CONTEXTS + (random.below(24) << 12),
      S1CDMax: random.pick([0, 0, 2, 6, 8]),
      S1DSS: random.below(4),
      EATS: random.below(3),
      STRW: random.pick([0, 0, 0, 2]),
      SHCFG: 1,
      S2VMID: random.below(4),
      ...random.pick(STAGE_2_SHAPES),
      S2PS: 5,
      S2AA64: 1,
      S2AFFD: random.below(2),
      S2PTW: random.below(2),
      S2HA: random.oneIn(4) ? 1 : 0,
      S2HD: random.oneIn(8) ? 1 : 0,
      S2S: random.oneIn(6) ? 1 : 0,
      S2R: 1,
      S2TTB: this.#table(),
    })
  }

  #cd(): Int32Array {
    const random = this.#random
    const hasHigh = random.below(2)
    return pack(CD, {
      ...random.pick(STAGE_1_SHAPES),
      EPD1: 1 - hasHigh,
      T1SZ: 25,
      TG1: 2,
      V: 1,
      IPS: 5,
      AFFD: random.below(2),
      WXN: random.oneIn(8) ? 1 : 0,
      TBI0: random.below(2),
      PAN: random.oneIn(8) ? 1 : 0,
      AA64: 1,
      HA: random.oneIn(4) ? 1 : 0,
      HD: random.oneIn(8) ? 1 : 0,
      S: random.oneIn(6) ? 1 : 0,
      R: random.below(2),
      A: 1,
      ASET: random.below(2),
      ASID: random.below(4),
      TTB0: this.#table(),
      TTB1: this.#table(),
    })
  }

  #l1cd(): Int32Array {
    return pack(L1CD, { V: 1, L2Ptr: RAM_BASE + AT.CONTEXTS + (this.#random.below(24) << 12) })
  }

  /** `11` is a table above the last level and a page there, so the same word serves every level. */
  #descriptor(): [lo: number, hi: number] {
    const random = this.#random
    if (random.oneIn(20)) return [0, 0]
    const attributes = 0x403 | (random.below(4) << 6) | (random.below(16) << 2) | (random.oneIn(8) ? 0x800 : 0)
    const af = random.oneIn(8) ? 0x400 : 0
    const type = random.oneIn(8) ? 2 : 0
    const high = random.oneIn(4) ? random.u32() & 0x78f8_0000 : 0
    return [(this.#table() | (attributes ^ af ^ type)) >>> 0, high]
  }

  #table(): number {
    return RAM_BASE + AT.TABLES + (this.#random.below((AT.TABLES_END - AT.TABLES) >>> 16) << 16)
  }

  #store(at: number, words: Int32Array): void {
    this.memory.storeRecord(RAM_BASE + at, words, 0, words.length)
  }
}

/** Sizes and start levels that fit each other, for granules of 4, 16 and 64 KiB. */
const STAGE_2_SHAPES = [
  { S2TG: 0, S2T0SZ: 16, S2SL0: 2 },
  { S2TG: 0, S2T0SZ: 25, S2SL0: 1 },
  { S2TG: 0, S2T0SZ: 32, S2SL0: 1 },
  { S2TG: 2, S2T0SZ: 24, S2SL0: 1 },
  { S2TG: 1, S2T0SZ: 32, S2SL0: 1 },
] as const
const STAGE_1_SHAPES = [
  { TG0: 0, T0SZ: 16 },
  { TG0: 0, T0SZ: 25 },
  { TG0: 0, T0SZ: 34 },
  { TG0: 2, T0SZ: 17 },
  { TG0: 1, T0SZ: 22 },
] as const

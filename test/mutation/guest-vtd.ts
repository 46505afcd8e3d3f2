/**
 * A VT-d guest whose tables, descriptors and registers are right until somebody changes a byte of them. Every page of
 * tables is full of entries that lead to other such pages, in any stage and at any level.
 */

import { pack } from '../../hw-model/bits/layout.js'
import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import {
  CONTEXT_ENTRY,
  PASID_TABLE_ENTRY,
  PRESETS,
  presetOptions,
  REGISTER,
  SCALABLE_CONTEXT_ENTRY,
  VtdUnit,
} from '../../hw-model/vtd/index.js'
import type { Random } from '../hostile/random.js'
import type { LateDevices, Victim, Write } from './victim.js'

/** Where the guest's RAM starts, and how long it is. */
const RAM_BASE = 0x10_0000
const RAM_BYTES = 0x10_0000

/** Where things stand in it. */
const AT = {
  LEGACY_ROOT: 0,
  ROOT: 0x1000,
  LEGACY_CONTEXTS: 0x2000,
  CONTEXTS: 0x3000,
  DIRECTORY: 0x5000,
  PASIDS: 0x6000,
  PASIDS_END: 0xa000,
  TABLES: 0x2_0000,
  TABLES_END: 0x8_0000,
  QUEUE: 0x9_0000,
  STATUS: 0x9_8000,
  PAGES: 0xa_0000,
} as const

const QUEUE_BYTES = 4096
/** GCMD. [VTD 11.4.4.1] */
const TE = 0x8000_0000
const SRTP = 0x4000_0000
const QIE = 0x0400_0000
/** FSTS.IQE, ICE and ITE; PFO. */
const QUEUE_ERRORS = 0x70
const PFO = 1

/** RTADDR.TTM and how often; scalable mode has the most to get wrong. */
const MODES = [0, 0, 1, 1, 1, 1, 1, 3] as const

/** Puts a unit with everything into a machine. */
export class VtdVictim implements Victim {
  readonly memory = new Memory()
  readonly unit: VtdUnit
  readonly structures = { start: RAM_BASE, bytes: AT.TABLES_END, hotBytes: AT.PASIDS_END }
  readonly offsets: readonly number[]
  readonly #random: Random
  #mode = 0
  #ssirwe = 0
  #tail = 0

  constructor(random: Random, devices: LateDevices) {
    this.#random = random
    this.memory.place(RAM_BASE, new SparseBacking(RAM_BYTES))
    const owner = { message: () => undefined, interrupt: () => undefined }
    const caching = random.below(2) << 7
    const [lo, hi] = PRESETS['vtd-full'].CAP
    this.unit = new VtdUnit(this.memory, owner, presetOptions('vtd-full', { CAP: [lo | caching, hi] }), devices)
    const { frcdOffset, frcdCount, ivaOffset } = this.unit.capabilities
    const records = Array.from({ length: frcdCount }, (_, i) => frcdOffset + i * 16 + 8)
    const fixed = Object.values(REGISTER).filter((offset) => offset > REGISTER.ECAP)
    this.offsets = [...fixed, REGISTER.GCMD, REGISTER.RTADDR, ivaOffset, ivaOffset + 8, ...records]
  }

  fill(): void {
    const random = this.#random
    this.#mode = random.pick(MODES)
    this.#ssirwe = this.#mode === 1 ? random.below(2) : 0
    for (const bus of [0, 1]) {
      this.#store(AT.LEGACY_ROOT + bus * 16, [this.#at(AT.LEGACY_CONTEXTS) | 1, 0, 0, 0])
      this.#store(AT.ROOT + bus * 16, [this.#at(AT.CONTEXTS) | 1, 0, this.#at(AT.CONTEXTS + 0x1000) | 1, 0])
    }
    for (let i = 0; i < 256; i++) {
      this.#store(AT.LEGACY_CONTEXTS + i * 16, this.#legacyContext())
      this.#store(AT.CONTEXTS + i * 32, this.#context())
    }
    for (let i = 0; i < 128; i++) {
      this.#store(AT.DIRECTORY + i * 8, [this.#at(AT.PASIDS + (random.below(4) << 12)) | 1, 0])
    }
    for (let at = AT.PASIDS; at < AT.PASIDS_END; at += 64) this.#store(at, this.#pasid())
    for (let at = AT.TABLES; at < AT.TABLES_END; at += 8) {
      const [lo, hi] = this.#entry()
      this.memory.storeWord(RAM_BASE + at, lo, hi)
    }
  }

  program(write: Write): void {
    const random = this.#random
    const root = this.#at(this.#mode === 0 ? AT.LEGACY_ROOT : AT.ROOT)
    const isWide = this.#mode !== 0 || random.oneIn(2)
    write(REGISTER.GCMD, 4, 0)
    write(REGISTER.PMEN, 4, 0)
    this.#clearFaults(write)
    write(REGISTER.RTADDR, 8, root | (this.#mode << 10) | (this.#ssirwe << 7))
    write(REGISTER.GCMD, 4, SRTP)
    write(REGISTER.IQT, 8, 0)
    write(REGISTER.IQA, 8, this.#at(AT.QUEUE) | (isWide ? 0x800 : 0))
    write(REGISTER.PQH, 8, 0)
    write(REGISTER.PQT, 8, 0)
    write(REGISTER.PQA, 8, this.#at(AT.PAGES))
    for (const control of [REGISTER.FECTL, REGISTER.IECTL, REGISTER.PECTL]) write(control, 4, random.below(2) << 31)
    write(REGISTER.GCMD, 4, QIE)
    write(REGISTER.GCMD, 4, QIE | TE)
    this.#tail = 0
  }

  command(write: Write): void {
    const random = this.#random
    const [iqa] = this.unit.readRegister(REGISTER.IQA, 4)
    const bytes = (iqa & 0x800) === 0 ? 16 : 32
    this.#store(AT.QUEUE + this.#tail, [...this.#descriptor(), ...(random.oneIn(40) ? this.#junk() : [0, 0, 0, 0])])
    this.#tail = (this.#tail + bytes) & (QUEUE_BYTES - bytes)
    write(REGISTER.IQT, 8, this.#tail)
    const [status] = this.unit.readRegister(REGISTER.FSTS, 4)
    if ((status & QUEUE_ERRORS) !== 0 && random.oneIn(2)) {
      // As Linux does: a wait takes the place of what the queue stands at.
      const [head] = this.unit.readRegister(REGISTER.IQH, 4)
      this.#store(AT.QUEUE + (head & (QUEUE_BYTES - bytes)), [5 | 0x20, 1, this.#at(AT.STATUS), 0, 0, 0, 0, 0])
      write(REGISTER.FSTS, 4, QUEUE_ERRORS)
    }
    if (random.oneIn(8)) this.#clearFaults(write)
    if (random.oneIn(8)) {
      write(REGISTER.PQH, 8, this.unit.readRegister(REGISTER.PQT, 4)[0])
      write(REGISTER.PRS, 4, 3)
    }
  }

  #clearFaults(write: Write): void {
    const { frcdOffset, frcdCount } = this.unit.capabilities
    for (let i = 0; i < frcdCount; i++) write(frcdOffset + i * 16 + 12, 4, TE)
    write(REGISTER.FSTS, 4, QUEUE_ERRORS | PFO)
  }

  #descriptor(): number[] {
    const random = this.#random
    if (random.oneIn(30)) return this.#junk()
    const type = random.pick([1, 2, 2, 3, 5, 5, 6, 6, 7, 8, 9, 10, random.below(16)])
    const did = random.below(8)
    const g = type === 5 ? 2 : random.below(4)
    const low = type | (g << 4) | (did << 16)
    const high = type === 5 ? random.u32() : type === 8 ? random.below(8) : random.below(8) << random.pick([0, 0, 16])
    const page = type === 5 ? this.#at(AT.STATUS) : (random.u32() & ~0xfff) | (random.oneIn(3) ? random.below(0x80) : 0)
    return [low, high, page, random.pick([0, 0, 0x7f, random.u32()])]
  }

  #junk(): number[] {
    return Array.from({ length: 4 }, () => this.#random.u32())
  }

  #legacyContext(): Int32Array {
    const random = this.#random
    return pack(CONTEXT_ENTRY, {
      P: 1,
      FPD: random.oneIn(8) ? 1 : 0,
      TT: random.pick([0, 0, 1, 1, 2]),
      SSPTPTR: this.#table(),
      AW: random.pick([1, 2, 3]),
      DID: random.below(8),
    })
  }

  #context(): Int32Array {
    const random = this.#random
    return pack(SCALABLE_CONTEXT_ENTRY, {
      P: 1,
      FPD: random.oneIn(8) ? 1 : 0,
      DTE: 1,
      PASIDE: 1,
      PRE: random.below(2),
      HPTE: random.below(2),
      EPTR: random.below(2),
      PASIDDIRPTR: this.#at(AT.DIRECTORY),
      RID_PASID: random.pick([0, 9, 40]),
      RID_PRIV: random.oneIn(4) ? 1 : 0,
    })
  }

  #pasid(): Int32Array {
    const random = this.#random
    return pack(PASID_TABLE_ENTRY, {
      P: 1,
      FPD: random.oneIn(8) ? 1 : 0,
      AW: random.pick([1, 2, 3]),
      PGTT: random.pick([1, 1, 2, 2, 3, 3, 3, 4]),
      SSADE: random.below(2),
      SSPTPTR: this.#table(),
      DID: random.below(8),
      PWSNP: random.oneIn(8) ? 0 : 1,
      PGSNP: random.below(2),
      SRE: random.below(2),
      FSPM: random.below(2),
      WPE: random.below(2),
      EAFE: random.below(2),
      FSPTPTR: this.#table(),
      HPTSZ: random.below(4),
      HPTPFD: random.oneIn(4) ? 1 : 0,
      HPTPTR: this.#table(),
      HPTDID: random.below(8),
    })
  }

  /** Present, readable and writable in either stage; a large leaf now and then. */
  #entry(): [lo: number, hi: number] {
    const random = this.#random
    if (random.oneIn(20)) return [0, 0]
    const granted = random.oneIn(24) ? 7 ^ (1 << random.below(3)) : 7
    const flags = granted | (random.u32() & 0x760 & (random.oneIn(2) ? 0x760 : 0x400))
    const rights = this.#ssirwe === 1 ? 0x6000_0000 : 0
    if (random.oneIn(16)) return [flags | 0x80, rights | random.pick([0, 1, 0x40])]
    return [(this.#table() | flags) >>> 0, rights]
  }

  #table(): number {
    return this.#at(AT.TABLES + (this.#random.below((AT.TABLES_END - AT.TABLES) >>> 12) << 12))
  }

  #at(offset: number): number {
    return RAM_BASE + offset
  }

  #store(at: number, words: ArrayLike<number>): void {
    const record = Int32Array.from(words)
    this.memory.storeRecord(RAM_BASE + at, record, 0, record.length)
  }
}

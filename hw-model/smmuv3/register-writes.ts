/**
 * What a write to a register may change, and what it starts. Writes take effect, and are acknowledged, before they
 * return. [SMMU 6 Memory map and registers]
 */

import type { CommandQueue } from './commands.js'
import type { Features } from './features.js'
import { keptBits, mask } from './register-bits.js'
import { foldOffset, type RegisterFile } from './register-file.js'
import { CMDQ_CONS, CR0, CR1, CR2, EVENTQ_CONS, GBPA, GERROR, IRQ_CTRL, OFFSET } from './registers.js'
import type { Stalls } from './stalls.js'

/** CR0 bits that every unit has. */
const CR0_BITS = mask(CR0.SMMUEN, CR0.EVENTQEN, CR0.CMDQEN)
/** CR2 bits that every unit has. PTM is reserved where nothing is broadcast: IDR0.BTM is 0. */
const CR2_BITS = mask(CR2.RECINVSID)
/** IRQ_CTRL bits that every unit has. */
const IRQ_BITS = mask(IRQ_CTRL.GERROR_IRQEN, IRQ_CTRL.EVENTQ_IRQEN)
const QUEUE_ATTRIBUTES = mask(CR1.QUEUE_IC, CR1.QUEUE_OC, CR1.QUEUE_SH)
const TABLE_ATTRIBUTES = mask(CR1.TABLE_IC, CR1.TABLE_OC, CR1.TABLE_SH)
const GBPA_BITS = mask(GBPA.MemAttr, GBPA.MTCFG, GBPA.ALLOCCFG, GBPA.SHCFG, GBPA.PRIVCFG, GBPA.INSTCFG, GBPA.ABORT)
const INDEX_BITS = mask(CMDQ_CONS.RD)
const OVERFLOW_BITS = mask(EVENTQ_CONS.OVACKFLG)
const ERROR_BITS = mask(...GERROR.$.fields.values())

/** The rules for writing the registers of one unit. */
export class RegisterWrites {
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #commands: CommandQueue
  readonly #stalls: Stalls
  readonly #cr0Bits: number
  readonly #cr2Bits: number
  readonly #kept: ReadonlyMap<number, number>
  readonly #irqBits: number

  constructor(registers: RegisterFile, features: Features, commands: CommandQueue, stalls: Stalls) {
    this.#registers = registers
    this.#features = features
    this.#commands = commands
    this.#stalls = stalls
    const { ats, atsRecordsErrors, pri, vmw, hyp } = features
    const vmwBits = vmw ? mask(CR0.VMW) : 0
    const priBits = pri ? mask(CR0.PRIQEN) : 0
    this.#cr0Bits = CR0_BITS | vmwBits | priBits | (ats ? mask(CR0.ATSCHK) : 0)
    this.#irqBits = IRQ_BITS | (pri ? mask(IRQ_CTRL.PRIQ_IRQEN) : 0)
    const e2hBit = hyp ? mask(CR2.E2H) : 0
    this.#cr2Bits = CR2_BITS | e2hBit | (atsRecordsErrors ? mask(CR2.REC_CFG_ATS) : 0)
    this.#kept = keptBits(features)
  }

  /** Writes one word by the rules of its register; those not named are read-only or reserved, and ignore writes. */
  write(offset: number, written: number): void {
    const registers = this.#registers
    const at = foldOffset(offset)
    const value = written & (this.#kept.get(at) ?? -1)
    switch (at) {
      case OFFSET.CR0:
        this.#writeCr0(value)
        return
      case OFFSET.CR1:
        this.#writeCr1(value)
        return
      case OFFSET.CR2:
        if (!registers.enabled) registers.set(at, value & this.#cr2Bits)
        return
      case OFFSET.GBPA:
        // Applied at once, so Update never reads as 1. [SMMU 6.3.14 SMMU_GBPA]
        if (value < 0) registers.set(at, value & GBPA_BITS)
        return
      case OFFSET.IRQ_CTRL:
        registers.set(at, value & this.#irqBits)
        registers.set(OFFSET.IRQ_CTRLACK, value & this.#irqBits)
        return
      case OFFSET.GERRORN:
        this.#acknowledge(value)
        return
      case OFFSET.STRTAB_BASE:
      case OFFSET.STRTAB_BASE + 4:
      case OFFSET.STRTAB_BASE_CFG:
        if (!registers.enabled) registers.set(at, value)
        return
      case OFFSET.CMDQ_PROD:
        registers.set(at, value & INDEX_BITS)
        this.#commands.consume()
        return
      default:
        this.#writeQueueOrInterrupt(at, value)
        return
    }
  }

  #writeQueueOrInterrupt(at: number, value: number): void {
    const registers = this.#registers
    const { words } = registers
    const cr0 = OFFSET.CR0 >>> 2
    const irq = OFFSET.IRQ_CTRL >>> 2
    switch (at) {
      case OFFSET.CMDQ_BASE:
      case OFFSET.CMDQ_BASE + 4:
        if (CR0.CMDQEN.get(words, cr0) === 0) registers.set(at, value)
        return
      case OFFSET.CMDQ_CONS:
        if (CR0.CMDQEN.get(words, cr0) === 0) CMDQ_CONS.RD.set(words, at >>> 2, value & INDEX_BITS)
        return
      case OFFSET.EVENTQ_BASE:
      case OFFSET.EVENTQ_BASE + 4:
      case OFFSET.EVENTQ_PROD:
        if (CR0.EVENTQEN.get(words, cr0) === 1) return
        registers.set(at, at === OFFSET.EVENTQ_PROD ? value & (INDEX_BITS | OVERFLOW_BITS) : value)
        return
      case OFFSET.EVENTQ_CONS:
        registers.set(at, value & (INDEX_BITS | OVERFLOW_BITS))
        return
      case OFFSET.GERROR_IRQ_CFG0:
      case OFFSET.GERROR_IRQ_CFG0 + 4:
      case OFFSET.GERROR_IRQ_CFG1:
      case OFFSET.GERROR_IRQ_CFG2:
        if (this.#features.msi && IRQ_CTRL.GERROR_IRQEN.get(words, irq) === 0) registers.set(at, value)
        return
      case OFFSET.EVENTQ_IRQ_CFG0:
      case OFFSET.EVENTQ_IRQ_CFG0 + 4:
      case OFFSET.EVENTQ_IRQ_CFG1:
      case OFFSET.EVENTQ_IRQ_CFG2:
        if (this.#features.msi && IRQ_CTRL.EVENTQ_IRQEN.get(words, irq) === 0) registers.set(at, value)
        return
      default:
        if (this.#features.pri) this.#writePageRequests(at, value)
        return
    }
  }

  /** The PRI queue's registers are guarded by what CR0.PRIQEN says, whatever SMMUEN does. [SMMU 6.3.9.5 PRIQEN] */
  #writePageRequests(at: number, value: number): void {
    const registers = this.#registers
    const { words } = registers
    switch (at) {
      case OFFSET.PRIQ_BASE:
      case OFFSET.PRIQ_BASE + 4:
      case OFFSET.PRIQ_PROD:
        if (CR0.PRIQEN.get(words, OFFSET.CR0 >>> 2) === 1) return
        registers.set(at, at === OFFSET.PRIQ_PROD ? value & (INDEX_BITS | OVERFLOW_BITS) : value)
        return
      case OFFSET.PRIQ_CONS:
        registers.set(at, value & (INDEX_BITS | OVERFLOW_BITS))
        return
      case OFFSET.PRIQ_IRQ_CFG0:
      case OFFSET.PRIQ_IRQ_CFG0 + 4:
      case OFFSET.PRIQ_IRQ_CFG1:
      case OFFSET.PRIQ_IRQ_CFG2:
        if (IRQ_CTRL.PRIQ_IRQEN.get(words, OFFSET.IRQ_CTRL >>> 2) === 1) return
        if (this.#features.msi || at === OFFSET.PRIQ_IRQ_CFG2) registers.set(at, value)
        return
    }
  }

  /**
   * Switching a queue on may find commands waiting. Switching translation off ends every stall; caches survive it.
   * [SMMU 6.3.9 SMMU_CR0]
   */
  #writeCr0(value: number): void {
    const next = value & this.#cr0Bits
    const wasEnabled = this.#registers.enabled
    this.#registers.set(OFFSET.CR0, next)
    this.#registers.set(OFFSET.CR0ACK, next)
    this.#registers.enabled = (next & 1) === 1
    if (wasEnabled && !this.#registers.enabled) this.#stalls.endAll()
    // A CMD_SYNC that waited while its queue was switched off is fetched again.
    this.#commands.resume()
  }

  /** Attributes of tables and queues are kept and mean nothing here; they change only while their users are off. */
  #writeCr1(value: number): void {
    const { words, enabled } = this.#registers
    const at = OFFSET.CR1 >>> 2
    const queuesOn = (words[OFFSET.CR0 >>> 2] & mask(CR0.EVENTQEN, CR0.CMDQEN, CR0.PRIQEN)) !== 0
    const open = (enabled ? 0 : TABLE_ATTRIBUTES) | (queuesOn ? 0 : QUEUE_ATTRIBUTES)
    words[at] = (words[at] & ~open) | (value & open)
  }

  /** Acknowledges active errors; toggling an inactive one is software's mistake and is ignored. [SMMU 6.3.20] */
  #acknowledge(value: number): void {
    const registers = this.#registers
    const gerror = registers.get(OFFSET.GERROR)
    const gerrorn = registers.get(OFFSET.GERRORN)
    const active = gerror ^ gerrorn
    registers.set(OFFSET.GERRORN, gerrorn ^ ((gerrorn ^ value) & active & ERROR_BITS))
    // The command queue goes on without a write to PROD. [SMMU 7.1 Command queue errors]
    this.#commands.consume()
  }
}

/**
 * What a write to a register may change, and what it starts. Writes take effect, and are acknowledged, before they
 * return. [SMMU 6 Memory map and registers]
 */

import type { CommandQueue } from './commands.js'
import type { Features } from './features.js'
import { mask, type StoredWord, storedWords } from './register-bits.js'
import { foldOffset, type RegisterFile } from './register-file.js'
import { CR0, CR1, GBPA, GERROR, IRQ_CTRL, OFFSET } from './registers.js'
import type { Stalls } from './stalls.js'

/** CR0 bits that every unit has. */
const CR0_BITS = mask(CR0.SMMUEN, CR0.EVENTQEN, CR0.CMDQEN)
/** IRQ_CTRL bits that every unit has. */
const IRQ_BITS = mask(IRQ_CTRL.GERROR_IRQEN, IRQ_CTRL.EVENTQ_IRQEN)
const QUEUE_ATTRIBUTES = mask(CR1.QUEUE_IC, CR1.QUEUE_OC, CR1.QUEUE_SH)
const TABLE_ATTRIBUTES = mask(CR1.TABLE_IC, CR1.TABLE_OC, CR1.TABLE_SH)
const GBPA_BITS = mask(GBPA.MemAttr, GBPA.MTCFG, GBPA.ALLOCCFG, GBPA.SHCFG, GBPA.PRIVCFG, GBPA.INSTCFG, GBPA.ABORT)
const ERROR_BITS = mask(...GERROR.$.fields.values())

/** The rules for writing the registers of one unit. */
export class RegisterWrites {
  readonly #registers: RegisterFile
  readonly #commands: CommandQueue
  readonly #stalls: Stalls
  readonly #cr0Bits: number
  readonly #irqBits: number
  readonly #stored: ReadonlyMap<number, StoredWord>

  constructor(registers: RegisterFile, features: Features, commands: CommandQueue, stalls: Stalls) {
    this.#registers = registers
    this.#commands = commands
    this.#stalls = stalls
    const { ats, pri, vmw } = features
    const vmwBits = vmw ? mask(CR0.VMW) : 0
    const priBits = pri ? mask(CR0.PRIQEN) : 0
    this.#cr0Bits = CR0_BITS | vmwBits | priBits | (ats ? mask(CR0.ATSCHK) : 0)
    this.#irqBits = IRQ_BITS | (pri ? mask(IRQ_CTRL.PRIQ_IRQEN) : 0)
    this.#stored = storedWords(features)
  }

  /** Writes one word by the rules of its register; those not named are read-only or reserved, and ignore writes. */
  write(offset: number, value: number): void {
    const registers = this.#registers
    const at = foldOffset(offset)
    switch (at) {
      case OFFSET.CR0:
        this.#writeCr0(value)
        return
      case OFFSET.CR1:
        this.#writeCr1(value)
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
      default:
        this.#store(at, value)
        if (at === OFFSET.CMDQ_PROD) this.#commands.consume()
        return
    }
  }

  /** A guarded register changes only while its guard is 0. CMDQ_CONS keeps its ERR. [SMMU 6.2 Register overview] */
  #store(at: number, value: number): void {
    const registers = this.#registers
    const word = this.#stored.get(at)
    if (word === undefined || (registers.get(word.guardAt) & word.guardBit) !== 0) return
    registers.set(at, (registers.get(at) & ~word.bits) | (value & word.bits))
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
    this.#registers.enabled = (next & 1) === 1 && !this.#registers.hasFailed
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

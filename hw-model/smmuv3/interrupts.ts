/** Interrupts and global errors: a pulse on a wire, an MSI write, and GERROR's toggles. [SMMU 3.18 Interrupts] */

import { MEMORY, type Memory } from '../memory/memory.js'
import type { UnitOwner } from '../port.js'
import type { Features } from './features.js'
import type { RegisterFile } from './register-file.js'
import { GERROR, IRQ_CFG0, IRQ_CFG2, IRQ_CTRL, OFFSET } from './registers.js'

type ErrorField = (typeof GERROR)['CMDQ_ERR']

/** Interrupt sources and errors of one unit. */
export class Interrupts {
  readonly #memory: Memory
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #owner: UnitOwner

  constructor(memory: Memory, registers: RegisterFile, features: Features, owner: UnitOwner) {
    this.#memory = memory
    this.#registers = registers
    this.#features = features
    this.#owner = owner
  }

  /** The event queue went from empty to not empty. */
  eventQueue(): void {
    if (this.#isEnabled(IRQ_CTRL.EVENTQ_IRQEN)) {
      this.#raise('eventq', OFFSET.EVENTQ_IRQ_CFG0, OFFSET.EVENTQ_IRQ_CFG1, GERROR.MSI_EVENTQ_ABT_ERR)
    }
  }

  /**
   * A PRI message was written, or one that is the last of its group was discarded by an overflow. The queue interrupts
   * when it is empty no more, or for last ones alone, however full it is. [SMMU 6.3.36 SMMU_PRIQ_IRQ_CFG2]
   */
  pageRequest(wasEmpty: boolean, isLast: boolean): void {
    const isLastOnly = IRQ_CFG2.LO.get(this.#registers.words, OFFSET.PRIQ_IRQ_CFG2 >>> 2) === 1
    if ((isLastOnly ? isLast : wasEmpty) && this.#isEnabled(IRQ_CTRL.PRIQ_IRQEN)) {
      this.#raise('priq', OFFSET.PRIQ_IRQ_CFG0, OFFSET.PRIQ_IRQ_CFG1, GERROR.MSI_PRIQ_ABT_ERR)
    }
  }

  /** A CMD_SYNC with CS = IRQ completed. [SMMU 4.7.3 CMD_SYNC] */
  sync(address: number, data: number): void {
    this.#signal('cmdq-sync', address, data, GERROR.MSI_CMDQ_ABT_ERR)
  }

  /** Activates a global error unless it is active already. [SMMU 6.3.19 SMMU_GERROR] */
  raiseError(error: ErrorField): void {
    const { words } = this.#registers
    const at = OFFSET.GERROR >>> 2
    if (this.#registers.isActive(error)) return
    error.set(words, at, error.get(words, at) ^ 1)
    if (error === GERROR.MSI_GERROR_ABT_ERR || !this.#isEnabled(IRQ_CTRL.GERROR_IRQEN)) return
    this.#raise('gerror', OFFSET.GERROR_IRQ_CFG0, OFFSET.GERROR_IRQ_CFG1, GERROR.MSI_GERROR_ABT_ERR)
  }

  #isEnabled(source: (typeof IRQ_CTRL)['EVENTQ_IRQEN']): boolean {
    return source.get(this.#registers.words, OFFSET.IRQ_CTRLACK >>> 2) === 1
  }

  #raise(source: string, cfg0: number, cfg1: number, error: ErrorField): void {
    this.#signal(source, IRQ_CFG0.ADDR.get(this.#registers.words, cfg0 >>> 2), this.#registers.get(cfg1), error)
  }

  /** The MSI first, where there is an address for it, then the wire. */
  #signal(source: string, address: number, data: number, error: ErrorField): void {
    if (this.#features.msi && address !== 0) this.#write(address % 2 ** this.#features.oasBits, data, error)
    this.#owner.interrupt(source)
  }

  /** The address is truncated to OAS already. [SMMU 3.4.3 Address sizes of SMMU-originated accesses] */
  #write(address: number, data: number, error: ErrorField): void {
    const isWritten = this.#memory.store32(address, data) === MEMORY.OK
    // An address without memory is a doorbell, which only the owner can ring.
    if (isWritten || this.#memory.find(address) === undefined) this.#owner.message(address, data >>> 0)
    else this.raiseError(error)
  }
}

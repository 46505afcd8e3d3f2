/** Index arithmetic of the circular queues: 2^n slots, the bit above the index tells full from empty. [SMMU 3.5.1] */

import type { RegisterFile } from './register-file.js'
import { QUEUE_BASE } from './registers.js'

/** The index and wrap bit fields of PROD and CONS are 20 bits. */
const INDEX_BITS = 0xfffff

/** One queue's geometry, read from its BASE register each time: software may move it while it is disabled. */
export class QueueShape {
  readonly #registers: RegisterFile
  readonly #base: number
  readonly #entryBytes: number
  readonly #limitLg2: number

  /**
   * @param base offset of the BASE register
   * @param entryBytes bytes of an entry
   * @param limitLg2 largest LOG2SIZE the unit supports
   */
  constructor(registers: RegisterFile, base: number, entryBytes: number, limitLg2: number) {
    this.#registers = registers
    this.#base = base >>> 2
    this.#entryBytes = entryBytes
    this.#limitLg2 = limitLg2
  }

  /** log2 of the slots. */
  get sizeLg2(): number {
    return Math.min(QUEUE_BASE.LOG2SIZE.get(this.#registers.words, this.#base), this.#limitLg2)
  }

  /**
   * Address of the slot that an index names. The base is aligned to the queue's size, at least 32 bytes; the register
   * has no bits above OAS. [SMMU 6.3.26 SMMU_CMDQ_BASE]
   */
  slotAddress(index: number): number {
    const size = 2 ** this.sizeLg2
    const base = QUEUE_BASE.ADDR.get(this.#registers.words, this.#base)
    return base - (base % Math.max(32, size * this.#entryBytes)) + (index & (size - 1)) * this.#entryBytes
  }

  /** Whether an index pair says that nothing is there. */
  isEmpty(prod: number, cons: number): boolean {
    return ((prod ^ cons) & this.#mask) === 0
  }

  /** Whether an index pair says that no slot is free. Pairs that no sequence of steps reaches count as full. */
  isFull(prod: number, cons: number): boolean {
    return this.held(prod, cons) >= 2 ** this.sizeLg2
  }

  /** Entries between the two; more than there are slots when software wrote nonsense. */
  held(prod: number, cons: number): number {
    return (prod - cons) & this.#mask
  }

  /** The index after this one, wrap bit included; higher bits are zero. */
  next(index: number): number {
    return ((index & INDEX_BITS) + 1) & this.#mask
  }

  get #mask(): number {
    return 2 ** (this.sizeLg2 + 1) - 1
  }
}

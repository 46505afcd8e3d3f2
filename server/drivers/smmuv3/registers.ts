/** The unit's registers as the driver reaches them. */

import type { RemappingUnit } from '../../../hw-model/port.js'

/** 32 and 64-bit accesses to the register window. What a write starts has happened when it returns. */
export class Registers {
  readonly #unit: RemappingUnit

  constructor(unit: RemappingUnit) {
    this.#unit = unit
  }

  /** An unsigned 32-bit value. */
  read32(offset: number): number {
    return this.#unit.readRegister(offset, 4)[0] >>> 0
  }

  write32(offset: number, value: number): void {
    this.#unit.writeRegister(offset, 4, value, 0)
    this.#settle()
  }

  /** Writes two 32-bit words as one register. */
  write64(offset: number, words: Int32Array): void {
    this.#unit.writeRegister(offset, 8, words[0], words[1])
    this.#settle()
  }

  /** The driver's queues have a page, and it never queues more than they hold. */
  #settle(): void {
    while (this.#unit.hasWork) this.#unit.run()
  }
}

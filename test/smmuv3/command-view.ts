/**
 * What stands in a unit's command queue, found as a debugger would find it: through CMDQ_BASE and CMDQ_PROD and the
 * bytes in memory. It knows nothing of how the driver keeps its queue.
 */

import type { World } from './world.js'

/** A command's two doublewords. */
export type Words = readonly [dw0: bigint, dw1: bigint]

/** A SYNC, whatever its form: one that was done by a message has zeroes over the word with its opcode. */
export const SYNC = 'SYNC'

/** Commands since one looked last; no more than the queue has slots. */
export class CommandView {
  readonly #world: World
  #seen: number

  constructor(world: World) {
    this.#world = world
    this.#seen = this.#prod
  }

  /** The commands that were written since then, in order. */
  take(): (Words | typeof SYNC)[] {
    // CMDQ_BASE: ADDR 55:5, LOG2SIZE 4:0. [SMMU 6.3.26 SMMU_CMDQ_BASE]
    const base = this.#world.register(0x90, 8)
    const [address, lg2] = [base & 0xff_ffff_ffff_ffe0n, Number(base & 31n)]
    const written: (Words | typeof SYNC)[] = []
    // The index has one bit more than slots need: which time round. [SMMU 3.5.1 SMMU circular queues]
    const wrap = 2 ** (lg2 + 1)
    for (const end = this.#prod; this.#seen !== end; this.#seen = (this.#seen + 1) % wrap) {
      const slot = Number(address) + (this.#seen % 2 ** lg2) * 16
      const [dw0, dw1] = this.#world.words(slot, 2)
      const isDone = (dw0 & 0xffff_ffffn) === 0n && dw1 === BigInt(slot)
      written.push(isDone || (dw0 & 0xffn) === 0x46n ? SYNC : [dw0, dw1])
    }
    return written
  }

  /** CMDQ_CONS.ERR, bits 30:24, and whether GERROR.CMDQ_ERR, bit 0, is active: zeroes while all is well. */
  get errors(): readonly [err: number, active: number] {
    const cons = Number(this.#world.register(0x9c, 4))
    const gerror = Number(this.#world.register(0x60, 4) ^ this.#world.register(0x64, 4))
    return [(cons >>> 24) & 0x7f, gerror & 1]
  }

  get #prod(): number {
    return Number(this.#world.register(0x98, 4) & 0xf_ffffn)
  }
}

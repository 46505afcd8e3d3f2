/** What is mutated: a unit, and the guest that puts everything right again. */

import type { Memory } from '../../hw-model/memory/index.js'
import {
  type AtcInvalidation,
  type DevicePort,
  NO_PASID,
  type RemappingUnit,
  type Transaction,
} from '../../hw-model/port.js'
import type { Random } from '../hostile/random.js'

/** Writes a register. */
export type Write = (offset: number, bytes: 4 | 8, lo: number, hi?: number) => void

/** A unit in its machine, and whoever programs it. */
export interface Victim {
  readonly unit: RemappingUnit
  readonly memory: Memory
  /** Where structures are, and how many bytes; those of the first part matter most. */
  readonly structures: { readonly start: number; readonly bytes: number; readonly hotBytes: number }
  /** Registers that are worth writing. */
  readonly offsets: readonly number[]
  /** Writes every structure anew. */
  fill(): void
  /** Switches the unit on. */
  program(write: Write): void
  /** Puts a command into the queue, and answers what went wrong with others, or the queue would stand still for good. */
  command(write: Write): void
}

/** Devices that sometimes answer late, and sometimes never. */
export class LateDevices implements DevicePort {
  readonly tags: number[] = []
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  invalidateAtc({ tag }: AtcInvalidation): boolean {
    if (this.#random.oneIn(2)) return true
    this.tags.push(tag)
    return false
  }
  respondToPages(): void {}
  ended(): void {}
}

/** Who asks for what: mostly somebody who is known, mostly where something is mapped. */
export function aim(random: Random, transaction: Transaction): void {
  transaction.rid = random.oneIn(50) ? random.u32() : random.below(70)
  transaction.pasid = random.oneIn(2) ? NO_PASID : random.oneIn(20) ? random.below(2 ** 20) : random.below(8)
  transaction.lo = random.u32()
  transaction.hi = random.pick([0, 0, 0, 0x7f, 0xffff_ff80, 0xffff_ffff, random.u32()])
  transaction.access = 1 + random.below(15)
}

/** How software of one architecture says what is to be forgotten, and how it gets that wrong. Bits as the manual prints them. */

import type { Invalidation } from '../../../hw-model/port.js'
import type { Command } from '../../simulation/step.js'

/** One way to get one command wrong. */
export interface Mistake {
  /** `dropped`, `wrong ASID`, `leaf only` … */
  readonly what: string
  /** What is sent instead. */
  readonly instead: readonly Command[]
}

/** The language of one architecture's queue. */
export interface Dialect {
  /** All ways to get a command wrong; none for one that invalidates nothing. */
  mistakes(command: Command): readonly Mistake[]
  /** The words of a command that the unit names. */
  words(invalidation: Invalidation): Command
  /** Commands that do a little less than one that the unit names. */
  narrower(invalidation: Invalidation): readonly Invalidation[]
  /** Waits until all is done. */
  readonly sync: Command
}

/** Bits `high` to `low` of a word. */
export function bitsOf(word: bigint, high: number, low: number): bigint {
  return (word >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n)
}

/** A word whose bits `high` to `low` are others. */
export function withBits(word: bigint, high: number, low: number, value: bigint): bigint {
  const mask = ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low)
  return (word & ~mask) | ((value << BigInt(low)) & mask)
}

/** The page that an invalidation names. */
export function pageOf({ name, page }: Invalidation): bigint {
  if (page === undefined) throw new Error(`${name} names no page`)
  return (BigInt(page[1] >>> 0) << 32n) | BigInt(page[0] >>> 0)
}

/** An operand, which must be there. */
export function operandOf({ name, operands }: Invalidation, operand: string): bigint {
  const value = operands[operand]
  if (value === undefined) throw new Error(`${name} has no ${operand}`)
  return BigInt(value)
}

/** An operand, or 0. */
export const operandOr0 = ({ operands }: Invalidation, operand: string): bigint => BigInt(operands[operand] ?? 0)

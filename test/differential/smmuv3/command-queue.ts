/** The command queue of an epoch: commands go in, indices and errors are compared, and a stopped queue goes on. */

import { OFFSET } from '../../../hw-model/smmuv3/index.js'
import type { Pair } from './pair.js'
import { PLACE } from './ram.js'

/** A command as two 64-bit words. */
export type Command = readonly [bigint, bigint]

/** [SMMU 4.7.3 CMD_SYNC] */
export const SYNC: Command = [0x46n, 0n]

/** No opcode has this number, so both units must refuse it. [SMMU 4.1.3 Command opcodes] */
const NONE: Command = [0n, 0n]

const CMDQ_ERR = 1

/** The queue of one pair; its index starts at 0. */
export class CommandQueue {
  readonly #pair: Pair
  readonly #log2Size: number
  #prod = 0
  /** Bits of GERROR in which the reference differs, because it took a command that ours refused. */
  #skew = 0

  constructor(pair: Pair, log2Size: number) {
    this.#pair = pair
    this.#log2Size = log2Size
    pair.write(OFFSET.CMDQ_BASE, 8, BigInt(PLACE.COMMANDS + log2Size))
  }

  /** Both units refuse a command twice, which leaves the same error and no active one in both. */
  settle(): void {
    this.run([NONE])
    this.run([NONE])
    this.#pair.drop()
  }

  /** Puts commands and a SYNC into the queue. */
  run(commands: readonly Command[], why = ''): void {
    const pair = this.#pair
    for (const command of [...commands, SYNC]) {
      pair.say(() => `command ${command.map((word) => word.toString(16).padStart(16, '0')).join(' ')} ${why}`)
      this.#store(this.#prod, command)
      this.#prod = this.#next(this.#prod)
    }
    pair.write(OFFSET.CMDQ_PROD, 4, BigInt(this.#prod))
    this.#compare()
    this.#recover()
  }

  /**
   * A command that the reference takes and ours refuses: what each says of it is not compared.
   *
   * @param look called when both have done what they do
   */
  runRefused(command: Command, look: () => void = () => undefined): void {
    const pair = this.#pair
    pair.say(() => `command ${command.map((word) => word.toString(16).padStart(16, '0')).join(' ')} (refused by ours)`)
    for (const each of [command, SYNC]) {
      this.#store(this.#prod, each)
      this.#prod = this.#next(this.#prod)
    }
    pair.write(OFFSET.CMDQ_PROD, 4, BigInt(this.#prod))
    look()
    if ((pair.read(OFFSET.GERROR) ^ pair.read(OFFSET.GERRORN)) & CMDQ_ERR) {
      this.#skew ^= CMDQ_ERR
      this.#store(pair.read(OFFSET.CMDQ_CONS) % 2 ** (this.#log2Size + 1), SYNC)
      pair.writeOurs(OFFSET.GERRORN, pair.read(OFFSET.GERROR))
    }
    this.#compare()
  }

  /** Leaves the queue at index 0 with no error active in the reference. */
  finish(): void {
    const pair = this.#pair
    if (((pair.read(OFFSET.GERROR) ^ this.#skew) & CMDQ_ERR) !== 0) this.run([NONE])
    const size = 2 ** this.#log2Size
    for (let i = 0; i < size; i++) this.#store(i, SYNC)
    while (this.#prod !== 0) {
      const left = 2 * size - this.#prod
      this.#prod = (this.#prod + Math.min(left, size)) % (2 * size)
      pair.write(OFFSET.CMDQ_PROD, 4, BigInt(this.#prod))
    }
    pair.drop()
  }

  #compare(): void {
    this.#pair.check(OFFSET.CMDQ_CONS, 'CMDQ_CONS')
    this.#pair.check(OFFSET.GERROR, 'GERROR', this.#skew)
  }

  /** Software's way on: the bad command becomes a SYNC, and the error is acknowledged. [SMMU 7.1 Command queue errors] */
  #recover(): void {
    const pair = this.#pair
    for (;;) {
      const gerror = pair.read(OFFSET.GERROR)
      if (((gerror ^ pair.read(OFFSET.GERRORN)) & CMDQ_ERR) === 0) return
      this.#store(pair.read(OFFSET.CMDQ_CONS) % 2 ** (this.#log2Size + 1), SYNC)
      pair.writeReference(OFFSET.GERRORN, gerror ^ this.#skew)
      pair.writeOurs(OFFSET.GERRORN, gerror)
      this.#compare()
    }
  }

  #store(index: number, [low, high]: Command): void {
    const at = PLACE.COMMANDS + 16 * (index % 2 ** this.#log2Size)
    this.#pair.poke(at, low, 'queue')
    this.#pair.poke(at + 8, high, 'queue')
  }

  #next(index: number): number {
    return (index + 1) % 2 ** (this.#log2Size + 1)
  }
}

/**
 * One epoch: a random world, both units programmed for it, and a fixed number of cases. It depends on the seed, on its
 * number and on nothing that happened before, so that a case can be made again.
 */

import { type IdRegisters, OFFSET } from '../../../hw-model/smmuv3/index.js'
import { Rng } from '../../simulation/rng.js'
import type { Ram } from '../ram.js'
import { CommandQueue } from './command-queue.js'
import { COMMANDS } from './commands.js'
import { CONFIG_CHAPTERS } from './config-scenes.js'
import { EDIT_CHAPTERS } from './edit-scenes.js'
import { type Epoch, Pair } from './pair.js'
import { PLACE } from './ram.js'
import { type Chapter, type Scene, STILL_CHAPTERS } from './scenes.js'
import { WorldBuilder } from './world.js'

/** Cases of an epoch. */
export const EPOCH_CASES = 100

/** One epoch in four has a two-level stream table. */
const TWO_LEVEL_OF = 4

const CHAPTERS: readonly Chapter[] = [...STILL_CHAPTERS, ...EDIT_CHAPTERS, ...CONFIG_CHAPTERS]

const SMMUEN = 1n
const QUEUES = 0b1100n

/** Whether an epoch has a two-level stream table: the reference never goes back to a linear one. */
export const isTwoLevelEpoch = (number: number): boolean => number % TWO_LEVEL_OF === TWO_LEVEL_OF - 1

/** Lives an epoch in our unit, and notes it for the reference. */
export function makeEpoch(
  ram: Ram,
  id: IdRegisters,
  bars: readonly number[],
  seed: number,
  number: number,
  tells = false,
): Epoch {
  const rng = new Rng(seed, number)
  const isTwoLevel = isTwoLevelEpoch(number)
  ram.clear()
  const world = new WorldBuilder(ram, rng).build(isTwoLevel)
  const pair = new Pair(ram, id, bars, tells)
  // Both queues' memory is zero when they start.
  for (let at: number = PLACE.COMMANDS; at < PLACE.EVENTS + 0x2000; at += 4096) ram.touch(at)
  pair.begin()
  pair.write(OFFSET.CR0, 4, 0n)
  pair.write(OFFSET.CR1, 4, BigInt(rng.int(0x1000)))
  pair.write(OFFSET.CR2, 4, rng.chance(0.98) ? 2n : 0n)
  pair.registers.recordsBadStreams = (pair.read(OFFSET.CR2) & 2) !== 0
  const strtab = isTwoLevel ? (1 << 16) | (world.split << 6) | world.log2Size : world.log2Size
  // Bits below the table's alignment do not count. [SMMU 6.3.24 SMMU_STRTAB_BASE]
  const alignedLg2 = isTwoLevel ? Math.max(6, world.log2Size - world.split + 3) : world.log2Size + 6
  const strtabBase = PLACE.STREAMS + (rng.chance(0.1) ? 64 * rng.int(2 ** (alignedLg2 - 6)) : 0)
  pair.write(OFFSET.STRTAB_BASE, 8, BigInt(strtabBase))
  pair.write(OFFSET.STRTAB_BASE_CFG, 4, BigInt(strtab))
  const { log2Size, split } = world
  Object.assign(pair.registers, { strtabBase, log2Size, split, twoLevel: isTwoLevel })
  const queue = new CommandQueue(pair, rng.between(5, 6))
  // At most one record a case, so it never fills up.
  pair.eventQueue(7, rng.int(256))
  pair.write(OFFSET.CR0, 4, QUEUES)
  queue.settle()
  queue.run([COMMANDS.cfgiAll(), COMMANDS.nsnhAll()])
  pair.write(OFFSET.CR0, 4, QUEUES | SMMUEN)
  pair.registers.enabled = true
  pair.check(OFFSET.CR0ACK, 'CR0ACK')
  const scene: Scene = { rng, world, pair, queue, isFull: () => pair.cases.length >= EPOCH_CASES }
  const total = CHAPTERS.reduce((sum, { weight }) => sum + weight, 0)
  // Some worlds forbid almost every access: one that goes nowhere is left.
  for (let turns = 0; pair.cases.length < EPOCH_CASES && turns < 20 * EPOCH_CASES; turns++) {
    let roll = rng.int(total)
    const chapter = CHAPTERS.find(({ weight }) => {
      roll -= weight
      return roll < 0
    })
    chapter?.tell(scene)
    tidyUp(scene)
  }
  pair.drop()
  pair.write(OFFSET.CR0, 4, 0b1000n)
  queue.finish()
  pair.write(OFFSET.CR0, 4, 0n)
  return pair.end(isTwoLevel)
}

/** Both forget everything before the reference would, and after a case whose answers may differ as a whole. */
function tidyUp({ pair, queue, isFull }: Scene): void {
  if (isFull() || !pair.isNearlyFull) return
  queue.run([COMMANDS.nsnhAll()], 'the reference would soon forget by itself')
  pair.emptied()
}

/**
 * One epoch: a random world, both units programmed for it, and a fixed number of cases. It depends on the seed, on its
 * number and on nothing that happened before, so that a case can be made again.
 */

import { type IdRegisters, REGISTER } from '../../../hw-model/vtd/index.js'
import { Rng } from '../../simulation/rng.js'
import type { Ram } from '../ram.js'
import { BREAK_CHAPTERS } from './break-scenes.js'
import { EDIT_CHAPTERS } from './edit-scenes.js'
import { VARIANT_NAMES, VARIANTS, type VariantName } from './machine.js'
import { type Epoch, Pair } from './pair.js'
import { PLACE } from './places.js'
import { GCMD, Invalidations } from './queue.js'
import { REGISTER_CHAPTERS } from './register-scenes.js'
import { type Chapter, flush, type Scene, STILL_CHAPTERS } from './scenes.js'
import { WorldBuilder } from './world.js'

/** Cases of an epoch. */
export const EPOCH_CASES = 100

const CHAPTERS: readonly Chapter[] = [...STILL_CHAPTERS, ...REGISTER_CHAPTERS, ...EDIT_CHAPTERS, ...BREAK_CHAPTERS]

/** What an epoch is about. */
interface Flavour {
  readonly variant: VariantName
  readonly isScalable: boolean
  /** Invalidations go through registers. */
  readonly usesRegisters?: boolean
  /** The queue has descriptors of 32 bytes although the mode is legacy. */
  readonly isWide?: boolean
}

const LEGACY: Flavour = { variant: 'LEGACY', isScalable: false }
const NARROW: Flavour = { variant: 'NARROW', isScalable: false }
const FIRST: Flavour = { variant: 'FIRST', isScalable: true }
/** The same with device TLBs, PASIDs and page requests, of which no requester makes use. */
const SHARED: Flavour = { variant: 'SHARED', isScalable: true }
const SECOND: Flavour = { variant: 'SECOND', isScalable: true }

/** Epochs in the order in which they come, again and again. */
const FLAVOURS: readonly Flavour[] = [
  LEGACY,
  FIRST,
  { ...LEGACY, usesRegisters: true },
  SHARED,
  SECOND,
  NARROW,
  FIRST,
  { variant: 'DEVICES', isScalable: false },
  { variant: 'CACHING', isScalable: false },
  FIRST,
  { variant: 'SECOND', isScalable: false },
  SHARED,
  NARROW,
  SECOND,
  FIRST,
  LEGACY,
  { variant: 'FIRST', isScalable: false, isWide: true },
  FIRST,
]

const flavourOf = (number: number): Flavour => FLAVOURS[number % FLAVOURS.length]

/** Number of the machine that an epoch needs. */
export const machineOf = (number: number): number => VARIANT_NAMES.indexOf(flavourOf(number).variant)

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
  const { variant, isScalable, usesRegisters = false, isWide = isScalable } = flavourOf(number)
  ram.clear()
  const { bits } = VARIANTS[variant]
  const pair = new Pair(ram, id, bars, tells)
  const { ecap } = pair.state.caps
  const stage = isScalable && ecap.FSTS !== 0 ? 1 : 2
  const world = new WorldBuilder(ram, rng, { isScalable, stage, bits, ecap }).build()
  // The queue's memory is zero when it starts.
  for (let at: number = PLACE.QUEUE; at < PLACE.STATUS + 4096; at += 4096) ram.touch(at)
  pair.begin()
  const queue = new Invalidations(pair, !usesRegisters, isWide, rng.int(3))
  // The reference has had a root before.
  pair.drop()
  const ttm = isScalable ? 1 : 0
  pair.write(REGISTER.RTADDR, 8, BigInt(world.root) | (BigInt(ttm) << 10n))
  queue.command(GCMD.SRTP, true)
  Object.assign(pair.state, { root: world.root, ttm })
  const scene: Scene = { rng, world, pair, queue, isWide, isFull: () => pair.cases.length >= EPOCH_CASES }
  flush(scene, 'after a new root')
  queue.command(GCMD.TE, true)
  pair.state.enabled = true
  const total = CHAPTERS.reduce((sum, { weight }) => sum + weight, 0)
  // Some worlds forbid almost every access: one that goes nowhere is left.
  for (let turns = 0; pair.cases.length < EPOCH_CASES && turns < 20 * EPOCH_CASES; turns++) {
    let roll = rng.int(total)
    const chapter = CHAPTERS.find(({ weight }) => {
      roll -= weight
      return roll < 0
    })
    chapter?.tell(scene)
    if (!scene.isFull() && pair.isNearlyFull) flush(scene, 'the reference would soon forget by itself')
  }
  pair.drop()
  queue.command(GCMD.TE, false)
  queue.finish()
  pair.drop()
  return pair.end()
}

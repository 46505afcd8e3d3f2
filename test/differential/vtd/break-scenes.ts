/** Chapters in which one word of the configuration is spoilt, everything is told, and the word comes back. */

import { REGISTER } from '../../../hw-model/vtd/index.js'
import { BIT } from './entries.js'
import { PLACE } from './places.js'
import { GCMD } from './queue.js'
import { access, type Chapter, flush, pickDevice, pickTarget, type Scene, type Target } from './scenes.js'

/** A word with what it becomes. */
interface Spoilt {
  readonly at: number
  readonly next: bigint
}

/** A way to break something, where it applies. */
interface Break {
  readonly weight: number
  spoil(scene: Scene, target: Target, path: readonly number[]): Spoilt | null
}

const NOWHERE = BigInt(PLACE.END)
const ADDRESS = ((1n << 52n) - 1n) & ~0xfffn
/** Address bits that no machine here has. */
const TOO_HIGH = 1n << 50n

const lost = (scene: Scene, old: bigint): bigint => (old & ~ADDRESS) | (NOWHERE + (BigInt(scene.rng.int(0x100)) << 16n))

/** A word changed by a function of what it was. */
const change = (
  weight: number,
  at: (scene: Scene, target: Target) => number,
  next: (scene: Scene, old: bigint) => bigint,
): Break => ({
  weight,
  spoil: (scene, target) => {
    const slot = at(scene, target)
    return { at: slot, next: next(scene, scene.pair.ram.get(slot)) }
  },
})

/** A word of the way through the tables: the last, or one above it. */
const walked = (weight: number, isLast: boolean, next: (scene: Scene, old: bigint) => bigint): Break => ({
  weight,
  spoil: (scene, _, path) => {
    const above = path.slice(0, -1)
    if (isLast ? path.length === 0 : above.length === 0) return null
    const slot = isLast ? path[path.length - 1] : scene.rng.pick(above)
    const old = scene.pair.ram.get(slot)
    return (old & 3n) === 0n ? null : { at: slot, next: next(scene, old) }
  },
})

const rootOf = ({ world }: Scene, { device }: Target): number =>
  world.root + (world.wanted.isScalable && device.sid >= 128 ? 8 : 0)
const contextOf = (_: Scene, { device }: Target): number => device.context
const reservedBits = ({ rng }: Scene, old: bigint): bigint =>
  old | (rng.chance(0.5) ? TOO_HIGH : 1n << BigInt(rng.between(4, 8)))

/** Legacy mode: every reason that its tables have. [VTD 7.1.3 Fault Conditions, LRT.1 to LGN.4] */
const LEGACY: readonly Break[] = [
  change(5, rootOf, (_, old) => old & ~1n),
  change(5, rootOf, lost),
  change(4, rootOf, reservedBits),
  change(3, contextOf, (_, old) => old & ~1n),
  change(4, contextOf, reservedBits),
  change(
    4,
    (_, { device }) => device.context + 8,
    ({ rng }, old) => (old & ~7n) | BigInt(rng.pick([0, 3, 4, 5, 6, 7])),
  ),
  change(2, contextOf, (_, old) => old | (3n << 2n)),
  change(4, contextOf, lost),
  walked(5, false, lost),
  walked(3, true, ({ rng }, old) => old | (rng.chance(0.5) ? TOO_HIGH : 1n << 62n)),
  walked(2, false, ({ rng }, old) => old | rng.pick([TOO_HIGH, 1n << 62n, BIT.SNP])),
  walked(18, true, (_, old) => (old & ~ADDRESS) | 0xfee00000n),
]

/** PASID structures, whichever stage. [VTD 7.1.3 Fault Conditions, SPD.1 to SPT.4] */
const PASIDS: readonly Break[] = [
  change(8, contextOf, lost),
  change(
    9,
    (_, { device }) => device.directory,
    (_, old) => old & ~1n,
  ),
  change(8, (_, { device }) => device.directory, lost),
  change(
    6,
    (_, { device }) => device.pasid,
    (_, old) => old & ~1n,
  ),
  change(
    8,
    (_, { device }) => device.pasid,
    ({ rng }, old) => (old & ~(7n << 6n)) | (rng.pick([0n, 3n, 5n, 6n, 7n]) << 6n),
  ),
  change(
    2,
    (_, { device }) => device.pasid + 16,
    (scene, old) => old | (BigInt(scene.world.wanted.stage === 1 ? 1 : 0) << 3n),
  ),
  // Known to differ, and so rare.
  change(1, rootOf, ({ rng }, old) => old & ~rng.pick([1n, 0xfffffffffffff000n])),
  change(1, contextOf, (_, old) => old & ~1n),
]

/** The first stage. [VTD 7.1.3 Fault Conditions, SFS.1 to SGN.8] */
const FIRST: readonly Break[] = [
  change(18, (_, { device }) => device.pasid + 16, lost),
  walked(8, false, lost),
  walked(4, true, (_, old) => old & ~1n),
  walked(16, true, (_, old) => old | TOO_HIGH),
  walked(3, false, ({ rng }, old) => old | (rng.chance(0.8) ? TOO_HIGH : BIT.PS | (1n << 13n))),
  walked(3, false, (_, old) => old & ~BIT.US),
  walked(2, false, (_, old) => old & ~BIT.RW),
  walked(18, true, (_, old) => (old & ~ADDRESS) | 0xfee00000n),
]

/** The second stage of scalable mode, whose reasons the reference has wrong. */
const SECOND: readonly Break[] = [
  walked(2, false, lost),
  walked(1, true, (_, old) => old | TOO_HIGH),
  walked(6, true, (_, old) => (old & ~ADDRESS) | 0xfee00000n),
]

function breaksOf({ world }: Scene): readonly Break[] {
  const { isScalable, stage } = world.wanted
  return isScalable ? [...PASIDS, ...(stage === 1 ? FIRST : SECOND)] : LEGACY
}

const pathOf = ({ device, va }: Target): readonly number[] => device.domain?.tables.path(va) ?? []

function pickWeighted(scene: Scene): Break {
  const breaks = breaksOf(scene)
  let roll = scene.rng.int(breaks.reduce((sum, { weight }) => sum + weight, 0))
  return breaks.find(({ weight }) => {
    roll -= weight
    return roll < 0
  }) as Break
}

/** One thing is wrong, and both have been told. */
const broken: Chapter = {
  weight: 48,
  tell: (scene) => {
    const { rng, pair } = scene
    const target = pickTarget(scene, pickDevice(scene))
    const spoilt = pickWeighted(scene).spoil(scene, target, pathOf(target))
    if (spoilt === null || !pair.ram.has(spoilt.at)) return
    const old = pair.ram.get(spoilt.at)
    // The manual's way to keep a device that is known to be broken silent. [VTD 9.3 Context Entry, FPD]
    const context = pair.ram.get(target.device.context)
    const isSilent = rng.chance(0.08) && spoilt.at !== target.device.context
    if (isSilent) pair.poke(target.device.context, context | BIT.FPD, 'FPD')
    pair.poke(spoilt.at, spoilt.next, 'broken')
    flush(scene, 'drops everything')
    access(scene, target, 'rewalked')
    if (rng.chance(0.2)) access(scene, pickTarget(scene, target.device), 'rewalked')
    pair.poke(spoilt.at, old, 'mended')
    if (isSilent) pair.poke(target.device.context, context, 'FPD')
    flush(scene, 'drops everything')
  },
}

/** An address beyond what the tables translate, or one that is not canonical. */
const tooWide: Chapter = {
  weight: 14,
  tell: (scene) => {
    const { rng, world } = scene
    const device = pickDevice(scene)
    const { domain } = device
    if (domain === null) return
    const { isScalable, stage } = world.wanted
    if (isScalable && stage === 2 && rng.chance(0.9)) return
    const { va } = pickTarget(scene, device)
    // Most of it within what a fault record can hold.
    const most = rng.chance(0.96) ? scene.pair.state.caps.agawBits - 1 : 63
    const lowest = stage === 1 ? 47 : domain.bits
    if (lowest > most && rng.chance(0.95)) return
    const bit = rng.between(lowest, Math.max(lowest, most))
    access(scene, { device, leaf: null, va: stage === 1 ? va ^ (1n << BigInt(bit)) : va | (1n << BigInt(bit)) })
  },
}

/** The root table moves to where nothing is, or the mode becomes one that the unit lacks; and back. */
const moved: Chapter = {
  weight: 3,
  tell: (scene) => {
    const { rng, pair, queue, world } = scene
    const { isScalable } = world.wanted
    if (isScalable && rng.chance(0.8)) return
    const { ttm, caps } = pair.state
    const latch = (base: number, mode: number): void => {
      pair.write(REGISTER.RTADDR, 8, BigInt(base) | (BigInt(mode) << 10n))
      queue.command(GCMD.SRTP, true)
      pair.state.root = base
      pair.state.ttm = mode
    }
    const program = (base: number, mode: number): void => {
      latch(base, mode)
      flush(scene, 'after a new root')
    }
    if (rng.chance(0.05)) {
      // Such that the reference stays with the tables that are there. Nothing is dropped: no queue works in that mode.
      latch(world.root, isScalable ? 3 : caps.ecap.SMTS === 0 ? rng.between(1, 3) : 2)
      const device = pickDevice(scene)
      pair.dma(device.device, pickTarget(scene, device).va, true)
      program(world.root, ttm)
      return
    }
    program(PLACE.END + 0x10000 * rng.int(0x100), ttm)
    for (let i = rng.between(1, 3); i > 0; i--) access(scene, pickTarget(scene, pickDevice(scene)))
    program(world.root, ttm)
  },
}

/** Addresses of 64-bit words that an access depends on, weighted by kind. */
function wordsBehind({ rng, world }: Scene, target: Target): readonly number[] {
  const { device } = target
  const path = pathOf(target)
  const { isScalable, stage } = world.wanted
  const roll = rng.int(100)
  if (!isScalable) {
    if (roll < 10) return [world.root, world.root, world.root + 8]
    if (roll < 40) return [device.context, device.context + 8]
    return path
  }
  // Configuration of scalable mode is known to differ in most of its bits, and so is rarely touched.
  if (roll < 2) return [world.root, world.root + 8]
  if (roll < 5) return [0, 8, 16, 24].map((i) => device.context + i)
  if (roll < 7) return [device.directory]
  if (roll < 12) return [0, 0, 8, 16, 16, 24, 32, 40, 48, 56].map((i) => device.pasid + i)
  return stage === 1 || roll < 16 ? path : []
}

/** A bit flips in any entry that an access meets. */
const flipped: Chapter = {
  weight: 16,
  tell: (scene) => {
    const { rng, pair } = scene
    const target = pickTarget(scene, pickDevice(scene))
    const words = wordsBehind(scene, target)
    if (words.length === 0) return
    const at = rng.pick(words)
    if (!pair.ram.has(at)) return
    const old = pair.ram.get(at)
    let next = old
    for (let flips = rng.chance(0.9) ? 1 : 2; flips > 0; flips--) next ^= 1n << BigInt(rng.int(64))
    pair.poke(at, next, 'flipped')
    flush(scene, 'drops everything')
    access(scene, target, 'rewalked')
    if (rng.chance(0.2)) access(scene, pickTarget(scene, target.device), 'rewalked')
    pair.poke(at, old, 'restored')
    flush(scene, 'drops everything')
  },
}

/** Chapters of what is wrong. */
export const BREAK_CHAPTERS: readonly Chapter[] = [broken, tooWide, moved, flipped]

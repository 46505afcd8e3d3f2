/** Chapters in which configuration changes: STEs, CDs, pointers, registers, and a bit flipped anywhere. */

import { OFFSET } from '../../../hw-model/smmuv3/index.js'
import { COMMANDS } from './commands.js'
import { addressIn } from './geometry.js'
import { dropCd, dropSte, spareConfig } from './invalidate.js'
import { PLACE } from './ram.js'
import { access, type Chapter, foresee, pickStream, pickTarget, type Scene, type Target } from './scenes.js'
import type { Stream } from './world.js'

const wordsAt = ({ pair }: Scene, at: number): bigint[] => [0, 1, 2, 3].map((i) => pair.ram.get(at + 8 * i))

function put({ pair }: Scene, at: number, words: readonly bigint[], why: string): void {
  for (const [i, word] of words.entries()) pair.poke(at + 8 * i, word, why)
}

/** A target whose configuration both units have just read, found legal and kept. */
function settled(scene: Scene, kinds: readonly Stream['kind'][]): Target | null {
  const stream = pickStream(scene)
  if (!kinds.includes(stream.kind)) return null
  const target = pickTarget(scene, stream)
  if (target.isTagged || !access(scene, target)) return null
  const last = scene.pair.cases.at(-1)
  const isKept = last?.isConfigured === true && !last.quirks.includes('ROOT_FAULT')
  return isKept ? target : null
}

/** An STE changes under a stream. */
const stale: Chapter = {
  weight: 5,
  tell: (scene) => {
    const { rng, queue, world } = scene
    const target = settled(scene, ['stage1', 'stage2', 'nested', 'bypass', 'abort'])
    if (target === null) return
    const { stream } = target
    const before = foresee(scene, target)
    const old = wordsAt(scene, stream.ste)
    const others = world.streams.filter(({ ste }) => ste >= 0)
    const next = rng.chance(0.4)
      ? wordsAt(scene, rng.pick(others).ste)
      : [(old[0] & ~0xfn) | rng.pick([0n, 1n, 9n, 9n]), ...old.slice(1)]
    if (!before.isSafe) return
    put(scene, stream.ste, next, 'STE')
    access(scene, target, 'stale', before)
    if (rng.chance(0.4)) {
      queue.run([spareConfig(rng, stream)], 'spares it')
      access(scene, target, 'stale', before)
    }
    queue.run([dropSte(rng, stream)], 'drops it')
    access(scene, target, 'rewalked')
    put(scene, stream.ste, old, 'STE')
    queue.run([dropSte(rng, stream)], 'drops it')
  },
}

/** A CD changes under its streams. */
const staleContext: Chapter = {
  weight: 5,
  tell: (scene) => {
    const { rng, queue, world } = scene
    const target = settled(scene, ['stage1', 'nested'])
    const context = target?.stream.context
    if (target === null || context == null || context.pointer >= PLACE.END) return
    const before = foresee(scene, target)
    if (!before.isSafe) return
    const old = wordsAt(scene, context.at)
    const alike = world.contexts.filter((each) => each.second === context.second)
    const spoilt = old[0] ^ rng.pick([1n << 31n, 1n << 45n, 1n << 46n, 1n << 44n])
    put(scene, context.at, rng.chance(0.4) ? wordsAt(scene, rng.pick(alike).at) : [spoilt, ...old.slice(1)], 'CD')
    access(scene, target, 'stale', before)
    if (rng.chance(0.4)) {
      queue.run([spareConfig(rng, target.stream)], 'spares it')
      access(scene, target, 'stale', before)
    }
    queue.run([dropCd(rng, target.stream)], 'drops it')
    access(scene, target, 'rewalked')
    put(scene, context.at, old, 'CD')
    queue.run([COMMANDS.cfgiAll()], 'drops it in every stream')
  },
}

/** A pointer leads where there is no memory: to a CD, or a root of stage 1. */
const lost: Chapter = {
  weight: 2,
  tell: (scene) => {
    const { rng, queue, pair } = scene
    const stream = pickStream(scene)
    if (stream.kind !== 'stage1' || stream.context === null) return
    const nowhere = BigInt(PLACE.END + 0x10000 * rng.between(1, 0x1000))
    const slot = rng.chance(0.6) ? stream.ste : stream.context.at + (rng.chance(0.8) ? 8 : 16)
    const old = pair.ram.get(slot)
    const kept = slot === stream.ste ? old & ~(2n ** 56n - 64n) : 0n
    pair.poke(slot, kept | nowhere, 'a pointer')
    queue.run([COMMANDS.cfgiAll(), COMMANDS.nsnhAll()], 'drops everything')
    access(scene, pickTarget(scene, stream), 'rewalked')
    pair.poke(slot, old, 'a pointer')
    queue.run([COMMANDS.cfgiAll(), COMMANDS.nsnhAll()], 'drops everything')
  },
}

/** The stream table moves to where nothing is, or becomes too small. */
const moved: Chapter = {
  weight: 1,
  tell: (scene) => {
    const { rng, queue, pair } = scene
    const { registers } = pair
    const { strtabBase, log2Size } = registers
    const enable = (isOn: boolean): void => {
      pair.write(OFFSET.CR0, 4, isOn ? 0b1101n : 0b1100n)
      registers.enabled = isOn
    }
    const program = (base: number, size: number): void => {
      enable(false)
      registers.strtabBase = base
      registers.log2Size = size
      pair.write(OFFSET.STRTAB_BASE, 8, BigInt(base))
      const shape = registers.twoLevel ? (1 << 16) | (registers.split << 6) : 0
      pair.write(OFFSET.STRTAB_BASE_CFG, 4, BigInt(shape | size))
      queue.run([COMMANDS.cfgiAll()], 'drops everything')
      enable(true)
    }
    if (rng.chance(0.6)) program(PLACE.END + 0x100000 * rng.between(1, 16), log2Size)
    else program(strtabBase, rng.int(7))
    for (let i = rng.between(1, 2); i > 0; i--) access(scene, pickTarget(scene, pickStream(scene)))
    program(strtabBase, log2Size)
  },
}

/** The unit is off for a moment: everything passes, or everything is aborted. */
const disabled: Chapter = {
  weight: 1,
  tell: (scene) => {
    const { rng, pair } = scene
    const { registers } = pair
    const gbpa = (aborts: boolean): void => {
      pair.write(OFFSET.GBPA, 4, (1n << 31n) | (aborts ? 1n << 20n : 0n) | 0x1000n)
      registers.gbpaAborts = aborts
    }
    pair.write(OFFSET.CR0, 4, 0b1100n)
    registers.enabled = false
    gbpa(rng.chance(0.4))
    const stream = pickStream(scene)
    const va = BigInt(PLACE.DATA + 4 * rng.int(0x800000))
    access(scene, { stream, leaf: null, va, isTagged: false })
    gbpa(false)
    pair.write(OFFSET.CR0, 4, 0b1101n)
    registers.enabled = true
  },
}

/** The event queue is off for a moment: what faults is aborted, and not recorded. */
const unrecorded: Chapter = {
  weight: 1,
  tell: (scene) => {
    const { pair } = scene
    pair.write(OFFSET.CR0, 4, 0b1001n)
    access(scene, pickTarget(scene, pickStream(scene)))
    pair.write(OFFSET.CR0, 4, 0b1101n)
  },
}

/** Addresses of 64-bit words that an access depends on, weighted by kind. */
function wordsBehind({ rng, pair, world }: Scene, { stream, va }: Target): readonly number[] {
  const { context, second, ste } = stream
  const found: number[][] = [[ste, ste, ste + 8, ste + 16, ste + 16, ste + 24, ste + 8 * rng.between(4, 7)]]
  if (world.firstLevel.length > 0 && rng.chance(0.3)) found.push([...world.firstLevel])
  if (context !== null) {
    found.push([context.at, context.at, context.at + 8, context.at + 16, context.at + 8 * rng.between(3, 7)])
    const half = va >> 63n === 1n ? context.high : context.low
    const path = half?.tables.path(va & ((1n << BigInt(half.tables.geometry.inputBits)) - 1n)) ?? []
    if (path.length > 0) found.push(path, path)
    const last = path.length === 0 ? 0 : path[path.length - 1]
    if (second !== null && pair.ram.has(last)) {
      const ipa = addressIn(pair.ram.get(last), 12)
      if (ipa < 2 ** second.fields.geometry.inputBits) found.push(second.tables.path(BigInt(ipa)))
      if (rng.chance(0.5)) found.push(second.tables.path(BigInt(context.pointer)))
    }
  } else if (second !== null && va < 2n ** BigInt(second.fields.geometry.inputBits)) found.push(second.tables.path(va))
  return rng.pick(found).filter((at) => pair.ram.has(at))
}

/** A bit flips in any entry that an access meets. */
const flipped: Chapter = {
  weight: 16,
  tell: (scene) => {
    const { rng, queue, pair } = scene
    const stream = pickStream(scene)
    if (stream.ste < 0) return
    const target = pickTarget(scene, stream)
    const words = wordsBehind(scene, target)
    if (words.length === 0) return
    const at = rng.pick(words)
    const old = pair.ram.get(at)
    let next = old
    for (let flips = rng.chance(0.85) ? 1 : 2; flips > 0; flips--) next ^= 1n << BigInt(rng.int(64))
    pair.poke(at, next, 'flipped')
    queue.run([COMMANDS.cfgiAll(), COMMANDS.nsnhAll()], 'drops everything')
    access(scene, target, 'rewalked')
    if (rng.chance(0.3)) access(scene, pickTarget(scene, stream), 'rewalked')
    pair.poke(at, old, 'restored')
    queue.run([COMMANDS.cfgiAll(), COMMANDS.nsnhAll()], 'drops everything')
    pair.emptied()
    if (rng.chance(0.2)) access(scene, target, 'rewalked')
  },
}

/** Chapters of changed configuration. */
export const CONFIG_CHAPTERS: readonly Chapter[] = [stale, staleContext, lost, moved, disabled, unrecorded, flipped]

/** Chapters in which an entry of a translation table changes, with and without the commands that say so. */

import { COMMANDS } from './commands.js'
import { addressIn, BIT, LEAF_1, LEAF_2 } from './geometry.js'
import { dropFirst, dropSecond, spareFirst, spareSecond } from './invalidate.js'
import { PLACE } from './ram.js'
import { access, type Chapter, foresee, leavesOf, type Scene, type Target } from './scenes.js'
import type { Leaf, Stream } from './world.js'

/** A leaf of some stream, to be edited. */
function pickLeaf(
  { rng, world, pair }: Scene,
  kinds: readonly Stream['kind'][],
): (Target & { readonly leaf: Leaf }) | null {
  const streams = world.streams.filter(({ kind }) => kinds.includes(kind))
  if (streams.length === 0) return null
  const stream = rng.pick(streams)
  const leaves = leavesOf(stream)
  if (leaves.length === 0) return null
  const { leaf } = rng.pick(leaves)
  // Where nothing was mapped, a table may stand by now.
  if (leaf.level < 3 && (pair.ram.get(leaf.slot) & 3n) === 3n) return null
  return { stream, leaf, va: BigInt.asUintN(64, leaf.input + rng.pick(leaf.offsets)), isTagged: false }
}

/** Another stream with the same tables, or the same. */
function sibling({ rng, world }: Scene, target: Target): Target {
  const { context, second, kind } = target.stream
  const alike = world.streams.filter((each) => each.kind === kind && each.context === context && each.second === second)
  return { ...target, stream: rng.pick(alike) }
}

/** A new last entry for a leaf: moved, with other rights, without its flag, gone, or back. */
function newEntry({ rng, pair }: Scene, leaf: Leaf, stage: 1 | 2, isIpa: boolean): bigint {
  const old = pair.ram.get(leaf.slot)
  const fresh = (stage === 1 ? LEAF_1 : LEAF_2) | (leaf.level === 3 ? 3n : 1n)
  const kept = old & ((1n << 48n) - 1n) & ~0xfffn
  const output = leaf.lg2 > 25 ? 0x40000000 : addressIn(kept, leaf.lg2) || PLACE.DATA
  const moved = isIpa ? output : dataBlock(rng.int(0x10000), leaf.lg2)
  switch (rng.int(8)) {
    case 0:
      return 0n
    case 1:
      return (fresh & ~BIT.AF) | BigInt(output)
    case 2:
    case 3:
      return (stage === 1 ? fresh | BIT.READ_ONLY : fresh & ~BIT.S2_WRITE) | BigInt(output)
    case 4:
      return fresh | BigInt(output)
    default:
      return fresh | BigInt(moved)
  }
}

/** A block of the data region, or all of memory where blocks are larger. */
function dataBlock(random: number, lg2: number): number {
  if (lg2 > 25) return 0x40000000
  const first = Math.ceil(PLACE.DATA / 2 ** lg2)
  return (first + (random % (PLACE.END / 2 ** lg2 - first))) * 2 ** lg2
}

/** A leaf of stage 1: accessed, edited, accessed while stale, told in the wrong way, and told. */
const firstLeaf: Chapter = {
  weight: 12,
  tell: (scene) => {
    const { rng, pair, queue, world } = scene
    const target = pickLeaf(scene, ['stage1', 'nested'])
    if (target === null || target.stream.context === null) return
    const { leaf, va, stream } = target
    const { context } = target.stream
    const half = leaf.input >> 63n === 1n ? context.high : context.low
    if (half === null || !pair.ram.has(leaf.slot)) return
    if (rng.chance(0.8)) access(scene, target)
    const before = foresee(scene, target)
    if (!before.isSafe) return
    pair.poke(leaf.slot, newEntry(scene, leaf, 1, context.second !== null), 'leaf of stage 1')
    access(scene, sibling(scene, target), 'stale', before)
    if (rng.chance(0.4)) {
      queue.run([spareFirst(rng, context, leaf, va, world)], 'spares it')
      access(scene, target, 'stale', before)
    }
    queue.run([dropFirst(rng, context, leaf, va, half.tables.geometry.granuleLg2, true)], 'drops it')
    access(scene, sibling(scene, target), 'rewalked')
    if (rng.chance(0.3)) access(scene, { ...target, stream }, 'rewalked')
  },
}

/** A leaf of a stage 2 that is used alone. */
const secondLeaf: Chapter = {
  weight: 8,
  tell: (scene) => {
    const { rng, pair, queue, world } = scene
    const target = pickLeaf(scene, ['stage2'])
    const second = target?.stream.second
    if (target === null || second == null) return
    const { leaf, va } = target
    // Hardware may keep what denies an access, and ours does: it is dropped before it changes.
    queue.run([dropSecond(rng, second, leaf, va, true)], 'drops it')
    const isCached = rng.chance(0.8) && access(scene, target) && pair.cases.at(-1)?.ends === 'translated'
    const isDenied = !isCached && pair.cases.at(-1)?.va === va
    const before = foresee(scene, target)
    if (!before.isSafe) return
    pair.poke(leaf.slot, newEntry(scene, leaf, 2, false), 'leaf of stage 2')
    if (!isDenied) {
      const sees = isCached ? sibling(scene, target) : target
      const isAgain = access(scene, sees, 'stale', before) && pair.cases.at(-1)?.ends === 'translated'
      if (rng.chance(0.4) && (isCached || isAgain)) {
        queue.run([spareSecond(rng, second, leaf, va, world)], 'spares it')
        access(scene, target, 'stale', before)
      }
    }
    queue.run([dropSecond(rng, second, leaf, va, true)], 'drops it')
    access(scene, sibling(scene, target), 'rewalked')
  },
}

/** What stage 2 says of a stage 1 output: an entry of both stages outlives CMD_TLBI_S2_IPA. [SMMU 4.4.3.1] */
const nestedLeaf: Chapter = {
  weight: 8,
  tell: (scene) => {
    const { rng, pair, queue } = scene
    const target = pickLeaf(scene, ['nested'])
    const context = target?.stream.context
    const second = target?.stream.second
    if (target === null || context == null || second == null) return
    const { leaf, va } = target
    const entry = pair.ram.get(leaf.slot)
    const ipa = BigInt(addressIn(entry, leaf.lg2)) + (va - leaf.input)
    if ((entry & 1n) === 0n || ipa >> BigInt(second.fields.geometry.inputBits) !== 0n) return
    const path = second.tables.path(ipa)
    const level = second.tables.geometry.start + path.length - 1
    const { granuleLg2 } = second.tables.geometry
    const lg2 = granuleLg2 + (granuleLg2 - 3) * (3 - level)
    const behind: Leaf = { input: ipa, lg2, level, slot: path[path.length - 1], offsets: [0n] }
    // A block may map the tables too.
    const first = (Number(ipa) - second.origin) / 2 ** lg2
    if (lg2 > 25 || (first > -1 && first < 0x1000000 / 2 ** lg2) || !pair.ram.has(behind.slot)) return
    const isCached = access(scene, target) && pair.cases.at(-1)?.ends === 'translated'
    const before = foresee(scene, target)
    if (!before.isSafe) return
    pair.poke(behind.slot, newEntry(scene, behind, 2, false), 'leaf of stage 2 behind stage 1')
    if (isCached) access(scene, sibling(scene, target), 'stale', before)
    queue.run([dropSecond(rng, second, behind, ipa, true)], 'drops stage 2 alone')
    if (isCached && rng.chance(0.5)) access(scene, target, 'stale', before)
    queue.run([
      rng.pick([COMMANDS.nhAll(context.vmid), COMMANDS.nhAsid(context.vmid, context.asid), COMMANDS.nsnhAll()]),
    ])
    access(scene, sibling(scene, target), 'rewalked')
  },
}

/** A table of stage 1 is unlinked, and linked again. */
const unlinked: Chapter = {
  weight: 4,
  tell: (scene) => {
    const { rng, pair, queue } = scene
    const target = pickLeaf(scene, ['stage1', 'nested'])
    if (target === null || target.stream.context === null) return
    const { leaf, va } = target
    const { context } = target.stream
    const half = leaf.input >> 63n === 1n ? context.high : context.low
    const path = half?.tables.path(va & ((1n << BigInt(half.tables.geometry.inputBits)) - 1n)) ?? []
    if (half === null || path.length < 2) return
    access(scene, target)
    const before = foresee(scene, target)
    if (!before.isSafe) return
    const slot = path[rng.int(path.length - 1)]
    const old = pair.ram.get(slot)
    const { vmid, asid, second } = context
    pair.poke(slot, rng.chance(0.7) ? 0n : 0x50000000n | 3n, 'table of stage 1')
    access(scene, sibling(scene, target), 'stale', before)
    const drop = second !== null || rng.chance(0.5) ? COMMANDS.nhAsid(vmid, asid) : COMMANDS.nhVa(vmid, asid, va, false)
    queue.run([drop], 'drops it')
    access(scene, target, 'rewalked')
    pair.poke(slot, old, 'table of stage 1')
    // What is invalid is never kept, so nothing has to be told. [SMMU 3.17]
    access(scene, sibling(scene, target), 'rewalked')
  },
}

/** Chapters of edited tables. */
export const EDIT_CHAPTERS: readonly Chapter[] = [firstLeaf, secondLeaf, nestedLeaf, unlinked]

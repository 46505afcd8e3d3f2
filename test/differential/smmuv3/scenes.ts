/** What may happen in an epoch, chapter by chapter: plain accesses, edits with and without invalidation, flipped bits. */

import type { Rng } from '../../simulation/rng.js'
import type { CommandQueue } from './command-queue.js'
import { COMMANDS, REFUSED_BY_BOTH, TAKEN_BY_REFERENCE } from './commands.js'
import { levelLg2 } from './geometry.js'
import { REQUESTERS } from './machine.js'
import type { Change, Pair } from './pair.js'
import { SMMU_QUIRKS, type SmmuQuirk } from './quirks.js'
import type { Leaf, Stream, World } from './world.js'

/** Everything a chapter needs. */
export interface Scene {
  readonly rng: Rng
  readonly world: World
  readonly pair: Pair
  readonly queue: CommandQueue
  /** The epoch has its cases. */
  isFull(): boolean
}

/** Something that may happen. */
export interface Chapter {
  readonly weight: number
  tell(scene: Scene): void
}

/** A place to access. */
export interface Target {
  readonly stream: Stream
  readonly leaf: Leaf | null
  readonly va: bigint
  /** Its top byte is not what the range says. */
  readonly isTagged: boolean
}

/** A stream, the boring ones less often. */
export function pickStream({ rng, world }: Scene): Stream {
  const stream = rng.pick(world.streams)
  const isBoring =
    stream.kind === 'abort' || stream.kind === 'invalid' || stream.kind === 'lost' || stream.kind === 'bypass'
  return isBoring && rng.chance(0.75) ? rng.pick(world.streams) : stream
}

/** Leaves that a stream's addresses lead to, with the half they are in. */
export function leavesOf(stream: Stream): readonly { readonly leaf: Leaf; readonly tbi: boolean }[] {
  const { context, second } = stream
  if (context !== null) {
    return [context.low, context.high].flatMap((half) => half?.leaves.map((leaf) => ({ leaf, tbi: half.tbi })) ?? [])
  }
  return second?.leaves.map((leaf) => ({ leaf, tbi: false })) ?? []
}

/** An address, mostly one that is mapped. */
export function pickTarget(scene: Scene, stream: Stream): Target {
  const { rng } = scene
  const leaves = leavesOf(stream)
  // Stage 2 faults of addresses inside a page are known to differ in the reference: most go to a page's first word.
  const inPage = BigInt(4 * rng.int(1024)) * (stream.second === null || rng.chance(0.06) ? 1n : 0n)
  if (leaves.length === 0) return { stream, leaf: null, va: dataAddress(rng), isTagged: false }
  const { leaf, tbi } = rng.pick(leaves)
  const va = BigInt.asUintN(64, leaf.input + rng.pick(leaf.offsets) + inPage)
  if (tbi && rng.chance(0.15)) {
    return { stream, leaf, va: (va & ((1n << 56n) - 1n)) | (rng.bits(8) << 56n), isTagged: true }
  }
  const roll = rng.int(100)
  if (roll < 90) return { stream, leaf, va, isTagged: false }
  return { stream, leaf: null, va: stray(rng, stream, va), isTagged: false }
}

/** An address that nothing was made for. */
function stray(rng: Rng, stream: Stream, va: bigint): bigint {
  if (rng.chance(0.5)) return va ^ (1n << BigInt(rng.between(12, stream.context === null ? 43 : 63)))
  return stream.context === null ? rng.bits(32) & ~0xfffn : rng.bits(64) & ~3n
}

const dataAddress = (rng: Rng): bigint => BigInt(0x42000000 + 4 * rng.int(0x400000))

/** The direction of an access: some requesters only write. */
const pickWrite = (rng: Rng, { device }: Stream): boolean => !REQUESTERS[device].kind.canRead || rng.chance(0.4)

/** What an access would have met before something changed: excuses that still hold while it is not told. */
export interface Foresight {
  readonly read: readonly SmmuQuirk[]
  readonly write: readonly SmmuQuirk[]
  /** Neither would reach devices. */
  readonly isSafe: boolean
}

/** Looks at an access before an edit. */
export function foresee({ pair }: Scene, { stream, va }: Target): Foresight {
  const [read, write] = [pair.foresee(stream.sid, va, false), pair.foresee(stream.sid, va, true)]
  return { read: read.quirks, write: write.quirks, isSafe: read.isSafe && write.isSafe }
}

/** One access. Whatever an excuse covers as a whole may have left different entries behind, so both forget all. */
export function access(scene: Scene, target: Target, change: Change = '', before: Foresight | null = null): boolean {
  const { pair, queue, rng } = scene
  if (scene.isFull()) return false
  const isWrite = pickWrite(rng, target.stream)
  const history = before === null ? [] : isWrite ? before.write : before.read
  const isMade = pair.dma(target.stream.device, target.va, isWrite, change, history)
  if (isMade && pair.cases.at(-1)?.quirks.some((name) => SMMU_QUIRKS[name].hides === 'answer')) {
    queue.run([COMMANDS.cfgiAll(), COMMANDS.nsnhAll()], 'after a case that is excused')
    pair.emptied()
  }
  return isMade
}

/** Nothing is edited. */
const plain: Chapter = {
  weight: 50,
  tell: (scene) => {
    access(scene, pickTarget(scene, pickStream(scene)))
  },
}

/** Any command that invalidates, while nothing is stale. */
const noise: Chapter = {
  weight: 5,
  tell: ({ rng, world, queue }) => {
    const context = rng.pick(world.contexts)
    const { vmid, asid } = context
    const second = rng.pick(world.seconds)
    const { sid } = rng.pick(world.streams)
    const va = rng.bits(64)
    const range = rng.chance(0.5)
      ? null
      : { num: rng.int(32), scale: rng.int(8), tg: rng.between(1, 3), ttl: rng.pick([0, 2, 3]) }
    const aligned =
      range === null
        ? va
        : (va >> BigInt(levelLg2(10 + 2 * range.tg, range.ttl || 3))) <<
          BigInt(levelLg2(10 + 2 * range.tg, range.ttl || 3))
    const some = range !== null && range.ttl === 0 && range.num === 0 ? { ...range, num: 1 } : range
    const leaf = rng.chance(0.5)
    queue.run([
      rng.pick([
        COMMANDS.prefetchConfig(sid),
        COMMANDS.prefetchAddress(sid, va),
        COMMANDS.cfgiSte(sid, leaf),
        COMMANDS.cfgiRange(sid, rng.int(32)),
        COMMANDS.cfgiAll(),
        COMMANDS.cfgiCd(sid, leaf),
        COMMANDS.cfgiCdAll(sid),
        COMMANDS.nhAll(vmid),
        COMMANDS.nhAsid(vmid, asid),
        COMMANDS.nhVa(vmid, asid, aligned, leaf, some),
        COMMANDS.nhVaa(vmid, aligned, leaf, some),
        COMMANDS.s12VmAll(second.fields.vmid),
        COMMANDS.s2Ipa(second.fields.vmid, aligned & ((1n << 44n) - 1n), leaf, some),
        COMMANDS.nsnhAll(),
      ]),
    ])
  },
}

/** Commands that are refused. */
const refused: Chapter = {
  weight: 2,
  tell: (scene) => {
    const { rng, queue, pair } = scene
    if (rng.chance(0.3)) {
      queue.runRefused(rng.pick(TAKEN_BY_REFERENCE))
      pair.excuse('COMMAND_TAKEN')
    } else {
      const opcode = BigInt(rng.pick(REFUSED_BY_BOTH))
      const secure = rng.pick([0x03n, 0x04n, 0x05n, 0x06n]) | (1n << 10n)
      queue.run([[rng.chance(0.7) ? opcode : secure, 0n]], 'illegal')
    }
    access(scene, pickTarget(scene, pickStream(scene)))
  },
}

/** Chapters in which memory does not change. */
export const STILL_CHAPTERS: readonly Chapter[] = [plain, noise, refused]

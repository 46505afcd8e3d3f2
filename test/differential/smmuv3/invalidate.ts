/** Which commands must drop what, and which must not: the generator's word on invalidation. [SMMU 4 Commands] */

import type { Rng } from '../../simulation/rng.js'
import type { Command } from './command-queue.js'
import { COMMANDS, type Range } from './commands.js'
import { levelLg2 } from './geometry.js'
import type { Context, Leaf, Second, Stream, World } from './world.js'

/** A range that covers the leaf at an address, or none. */
function rangeOf(
  rng: Rng,
  granuleLg2: number,
  { level }: Leaf,
  address: bigint,
): { address: bigint; range: Range | null } {
  if (rng.chance(0.4)) return { address, range: null }
  const tg = (granuleLg2 - 10) / 2
  const ttl = rng.chance(0.5) && level !== 0 && !(granuleLg2 === 14 && level === 1) ? level : 0
  const lg2 = BigInt(ttl === 0 ? granuleLg2 : levelLg2(granuleLg2, level))
  const num = ttl === 0 ? rng.between(1, 31) : rng.int(3)
  return { address: (address >> lg2) << lg2, range: { num, scale: rng.int(3), tg, ttl } }
}

/** Drops what stage 1 says of an address; where stage 2 cuts its leaves to pieces, all of an ASID's. */
export function dropFirst(
  rng: Rng,
  context: Context,
  leaf: Leaf,
  va: bigint,
  granuleLg2: number,
  leafOnly: boolean,
): Command {
  const { vmid, asid, second } = context
  const wide = [COMMANDS.nhAll(vmid), COMMANDS.nhAsid(vmid, asid), COMMANDS.nsnhAll(), COMMANDS.s12VmAll(vmid)]
  const mayBeCut = second !== null && leaf.lg2 > 12
  if (mayBeCut || rng.chance(0.35)) return rng.pick(wide)
  const { address, range } = rangeOf(rng, granuleLg2, leaf, va)
  const isLeaf = leafOnly && rng.chance(0.5)
  return rng.chance(0.7)
    ? COMMANDS.nhVa(vmid, asid, address, isLeaf, range)
    : COMMANDS.nhVaa(vmid, address, isLeaf, range)
}

/** Must drop nothing that stage 1 says of an address. */
export function spareFirst(rng: Rng, { vmid, asid }: Context, leaf: Leaf, va: bigint, world: World): Command {
  const other = va ^ (1n << BigInt(leaf.lg2 + rng.int(4)))
  return rng.pick([
    COMMANDS.nhVa(vmid, asid ^ 0x8000, va, rng.chance(0.5)),
    COMMANDS.nhVa(vmid ^ 0x8000, asid, va, rng.chance(0.5)),
    COMMANDS.nhVa(vmid, asid, other, rng.chance(0.5)),
    COMMANDS.nhVaa(vmid ^ 0x8000, va, rng.chance(0.5)),
    COMMANDS.nhAsid(vmid, asid ^ 0x8000),
    COMMANDS.nhAsid(vmid ^ 0x8000, asid),
    COMMANDS.nhAll(vmid ^ 0x8000),
    COMMANDS.s12VmAll(vmid ^ 0x8000),
    COMMANDS.s2Ipa(vmid, va & ((1n << 44n) - 1n), rng.chance(0.5)),
    COMMANDS.cfgiSte(rng.pick(world.streams).sid, rng.chance(0.5)),
    COMMANDS.cfgiAll(),
  ])
}

/** Drops what stage 2 alone says of an address. */
export function dropSecond(rng: Rng, { fields }: Second, leaf: Leaf, ipa: bigint, leafOnly: boolean): Command {
  const { vmid, geometry } = fields
  if (rng.chance(0.35)) return rng.pick([COMMANDS.s12VmAll(vmid), COMMANDS.nsnhAll()])
  const { address, range } = rangeOf(rng, geometry.granuleLg2, leaf, ipa)
  return COMMANDS.s2Ipa(vmid, address, leafOnly && rng.chance(0.5), range)
}

/** Must drop nothing that stage 2 alone says of an address. */
export function spareSecond(rng: Rng, { fields: { vmid } }: Second, leaf: Leaf, ipa: bigint, world: World): Command {
  return rng.pick([
    COMMANDS.s2Ipa(vmid ^ 0x8000, ipa, rng.chance(0.5)),
    COMMANDS.s2Ipa(vmid, ipa ^ (1n << BigInt(leaf.lg2)), rng.chance(0.5)),
    COMMANDS.s12VmAll(vmid ^ 0x8000),
    COMMANDS.nhAll(vmid),
    COMMANDS.nhAsid(vmid, rng.int(0x10000)),
    COMMANDS.nhVa(vmid, rng.int(0x10000), ipa, rng.chance(0.5)),
    COMMANDS.cfgiSte(rng.pick(world.streams).sid, rng.chance(0.5)),
    COMMANDS.cfgiAll(),
  ])
}

/** Drops a stream's STE. */
export function dropSte(rng: Rng, { sid }: Stream): Command {
  return rng.pick([
    COMMANDS.cfgiSte(sid, false),
    COMMANDS.cfgiRange(sid ^ rng.int(4), rng.between(1, 9)),
    COMMANDS.cfgiAll(),
  ])
}

/** Drops a stream's CD. */
export function dropCd(rng: Rng, stream: Stream): Command {
  const { sid } = stream
  return rng.pick([COMMANDS.cfgiCd(sid, rng.chance(0.5)), COMMANDS.cfgiCdAll(sid), dropSte(rng, stream)])
}

/** Must leave a stream's configuration alone. */
export function spareConfig(rng: Rng, { sid }: Stream): Command {
  const other = sid ^ (1 << rng.between(5, 7))
  return rng.pick([
    COMMANDS.cfgiSte(other, rng.chance(0.5)),
    COMMANDS.cfgiRange(other, rng.int(5)),
    COMMANDS.cfgiCd(other, rng.chance(0.5)),
    COMMANDS.cfgiCdAll(other),
    COMMANDS.nsnhAll(),
    COMMANDS.prefetchConfig(sid),
  ])
}

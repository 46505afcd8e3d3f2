/** A random SMMUv3 guest: its streams, context descriptors and tables, mostly valid. */

import type { ArmTables, Slot } from './arm-tables.js'
import { buildContexts, type GuestContext } from './guest-smmuv3-contexts.js'
import { buildStage2, type GuestStage2 } from './guest-smmuv3-stage2.js'
import type { Ram, Space } from './ram.js'
import type { SmmuFeatures } from './reference/smmuv3-features.js'
import type { World } from './reference/smmuv3-types.js'
import type { Rng } from './rng.js'

/** What every builder needs. */
export interface Ground {
  readonly rng: Rng
  readonly features: SmmuFeatures
  /** CR2.E2H. */
  readonly e2h: boolean
  readonly ram: Ram
  /** Memory beyond 48 bits, where the unit reaches it. */
  readonly far: Ram | undefined
  /**
   * Global mappings and Contiguous bits are used, which bind several entries: what is flipped then must not make one
   * table be taken for another.
   */
  readonly isStrict: boolean
  /** Input addresses that many tables map, each elsewhere: what a wrong tag would confuse. */
  readonly popular: readonly bigint[]
}

/** Who shares entries of a TLB: StreamWorld and VMID. */
export interface Regime {
  readonly world: World
  readonly vmid: number
  nextAsid: number
  /** By ASET, tables of TTB1 that are global to all contexts, and the bits of a CD that have to agree then. */
  readonly shared: readonly SharedHalf[] | undefined
}

/** The half that all contexts of a regime share. */
export interface SharedHalf {
  readonly tables: ArmTables
  /** Bits of words 0, 1 and 2 of a CD that all contexts have. */
  readonly words: readonly [bigint, bigint, bigint]
}

/** Streams that share a CD table and a stage 2. */
export interface Group {
  readonly regime: Regime
  readonly stage2: GuestStage2 | undefined
  /** Where the guest's CDs are. */
  readonly space: Space
  readonly contexts: readonly GuestContext[]
  /** L1CDs. */
  readonly l1cds: readonly bigint[]
  readonly cdMax: number
  /** S1Fmt, S1ContextPtr and S1CDMax of an STE. */
  readonly word0: bigint
  readonly streams: GuestStream[]
}

/** One stream. */
export interface GuestStream {
  readonly sid: number
  readonly ste: bigint
  readonly group: Group
  /** Config and S1DSS, as they were written first. */
  readonly config: number
  readonly dss: number
}

/** One descriptor with all that it belongs to. */
export interface Owned {
  readonly slot: Slot
  readonly group: Group
  /** Absent where the slot is of stage 2. */
  readonly context?: GuestContext
  readonly half?: number
}

/** Builds groups until each STE has a stream. */
export function buildStreams(ground: Ground, stes: readonly { sid: number; ste: bigint }[]): Group[] {
  const { rng } = ground
  const groups: Group[] = []
  const vmids = vmidsOf(ground, stes.length)
  let plain: Regime | undefined
  for (const [i, { sid, ste }] of stes.entries()) {
    if (groups.length > 0 && rng.chance(0.3)) {
      addStream(ground, rng.pick(groups), sid, ste)
      continue
    }
    const world = worldOf(ground)
    const isKnown = groups.find(({ regime }) => regime.world === world && world !== 'EL1')
    if (isKnown !== undefined) {
      addStream(ground, isKnown, sid, ste)
      continue
    }
    const group = buildGroup(ground, world, vmids[i], plain)
    // Without stage 2 there are no VMIDs, and all EL1 streams share one regime.
    if (world === 'EL1' && !ground.features.stage2) plain = group.regime
    groups.push(group)
    addStream(ground, group, sid, ste)
  }
  return groups
}

/** Distinct VMIDs; some differ only in their low bits, for which VMW has wildcards. */
function vmidsOf({ rng, features }: Ground, count: number): number[] {
  const most = features.vmid16 ? 0x10000 : 0x100
  const base = rng.int(most)
  const vmids = new Set<number>()
  while (vmids.size < count) vmids.add(rng.chance(0.5) ? base ^ rng.int(16) : rng.int(most))
  return [...vmids]
}

function worldOf({ rng, features, e2h }: Ground): World {
  if (!features.hyp || !features.stage1 || rng.chance(0.6)) return 'EL1'
  return e2h ? 'EL2-E2H' : 'EL2'
}

function buildGroup(ground: Ground, world: World, vmid: number, known: Regime | undefined): Group {
  const { rng, features, ram } = ground
  const hasStage2 = features.stage2 && world === 'EL1' && (!features.stage1 || rng.chance(0.65))
  const stage2 = hasStage2 ? buildStage2(ground) : undefined
  const space = stage2?.near ?? ram
  const isNested = stage2 !== undefined && features.stage1 && stage2.near !== undefined
  const regime = known ?? { world, vmid, nextAsid: rng.between(1, 8), shared: undefined }
  const streams: GuestStream[] = []
  if (stage2 !== undefined && !isNested) {
    return { regime, stage2, space, contexts: [], l1cds: [], cdMax: 0, word0: 0n, streams }
  }
  const built = buildContexts(ground, regime, known === undefined, stage2)
  return { stage2, space, ...built, streams }
}

/** Writes an STE for one more stream of a group. */
function addStream({ rng, features, ram }: Ground, group: Group, sid: number, ste: bigint): void {
  const { regime, stage2, contexts } = group
  const isEl2 = regime.world !== 'EL1'
  const hasStage1 = contexts.length > 0
  const config = rng.chance(0.05) ? 4n : BigInt(4 + (stage2 === undefined ? 0 : 2) + (hasStage1 ? 1 : 0))
  const only2 = config === 7n && rng.chance(0.2) ? 6n : config
  const s2s = features.stallModel === 2 ? rng.bit(0.97) : features.stallModel === 0 ? rng.bit(0.3) : 0n
  const eats = features.ats ? rng.pick(s2s === 1n ? [0n, 0n, 0n, 3n, 1n] : [0n, 1n, 1n, 2n, 2n, 3n]) : 0n
  const isSplitLegal = features.splitAts && only2 === 7n
  const dss = rng.pick([0, 1, 1, 2, 2, 2, 3])
  const words = [
    1n | (only2 << 1n) | group.word0,
    BigInt(dss) |
      (0xdn << 2n) |
      (stage2?.word1 ?? 0n) |
      ((features.stallModel === 0 ? rng.bit(0.1) : 0n) << 27n) |
      ((eats === 2n && !isSplitLegal && rng.chance(0.9) ? 1n : eats) << 28n) |
      ((isEl2 ? 2n : 0n) << 30n) |
      (1n << 44n) |
      (rng.pick([0n, 0n, 0n, 1n, 2n, 3n]) << 48n) |
      (rng.pick([0n, 0n, 0n, 1n, 1n, 2n, 3n]) << 50n),
    BigInt(regime.vmid) | (stage2 === undefined ? 0n : stage2.word2 | (s2s << 57n) | (rng.bit(0.85) << 58n)),
    stage2?.word3 ?? 0n,
  ]
  for (const [i, word] of words.entries()) ram.write(ste + BigInt(i) * 8n, word)
  group.streams.push({ sid, ste, group, config: Number(only2), dss })
}

/** Every descriptor of a group that may change alone. */
export function ownedBy(group: Group): Owned[] {
  const second = group.stage2?.tables.slots.map((slot) => ({ slot, group })) ?? []
  const first = group.contexts.flatMap((context) =>
    context.halves.flatMap((tables, half) => tables?.slots.map((slot) => ({ slot, group, context, half })) ?? []),
  )
  return [...first, ...second]
}

/** The tables that a slot is one of. */
export function tablesOf({ group, context, half }: Omit<Owned, 'slot'>): ArmTables {
  const tables = context === undefined ? group.stage2?.tables : context.halves[half ?? 0]
  if (tables === undefined) throw new Error('a slot belongs to some tables')
  return tables
}

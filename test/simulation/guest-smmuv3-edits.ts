/** Edits of a random guest, each followed by the invalidations that the manual asks for. */

import type { ArmTables, Span } from './arm-tables.js'
import { type Group, type GuestStream, type Owned, ownedBy, tablesOf } from './guest-smmuv3-build.js'
import { type GuestContext, span1 } from './guest-smmuv3-contexts.js'
import type { Invalidator, Region } from './guest-smmuv3-invalidate.js'
import { span2 } from './guest-smmuv3-stage2.js'
import type { Rng } from './rng.js'

/** Words of an entry and bits of them that a guest may get wrong. */
type Flips = readonly (readonly [word: number, bits: readonly number[]])[]

/** Flags of an STE: not the VMID, no hints that bind several entries, and of STRW only what makes it illegal. */
const STE_FLAGS: Flips = [
  [0, [0, 1, 2, 3]],
  [1, [0, 1, 25, 27, 28, 29, 30, 48, 49, 50, 51]],
  [2, [48, 50, 51, 52, 53, 54, 55, 56, 57, 58]],
]

/**
 * Shapes and places of tables. A pointer to CDs may lead nowhere, and never to CDs that others use: they would have
 * one tag for different tables, which no unit has to tell apart. [SMMU 5.4.1 CD notes]
 */
const STE_SHAPES: Flips = [
  [0, [4, 5, 32, 40, 59, 60, 63]],
  [2, [32, 33, 36, 37, 38, 39, 46, 47]],
  [3, [2, 3, 13, 20, 40, 48, 50]],
]

/** Bits of a CD that are kept in no TLB: they may differ where entries are shared. */
const CD_LOOSE: Flips = [[0, [31, 44, 45, 46]]]

const CD_FLAGS: Flips = [
  [0, [14, 15, 30, 31, 32, 33, 34, 35, 36, 38, 39, 40, 41, 42, 43, 44, 45, 46]],
  [1, [1, 2, 59]],
  [2, [1, 2]],
]

const CD_SHAPES: Flips = [
  [0, [0, 1, 4, 5, 6, 7, 16, 21, 22, 23]],
  [1, [13, 20, 40, 48, 50]],
  [2, [13, 20, 40, 48, 50, 58]],
]

/** Attributes of a descriptor: not nG and Contiguous, which bind several entries. */
const DESCRIPTOR_FLAGS = [0, 1, 5, 6, 7, 10, 51, 53, 54, 59, 60, 61, 62]

const DESCRIPTOR_ADDRESS = [8, 9, 12, 13, 15, 16, 21, 30, 33, 40, 41, 44, 46, 48, 50]

/** Makes edits. */
export class Editor {
  readonly #rng: Rng
  readonly #isStrict: boolean
  readonly #groups: readonly Group[]
  readonly #invalidate: Invalidator
  /** L1STDs. */
  readonly #l1: readonly bigint[]

  constructor(rng: Rng, isStrict: boolean, groups: readonly Group[], l1: readonly bigint[], invalidate: Invalidator) {
    this.#rng = rng
    this.#isStrict = isStrict
    this.#groups = groups
    this.#l1 = l1
    this.#invalidate = invalidate
  }

  /** Changes something. */
  edit(): void {
    const rng = this.#rng
    const group = rng.pick(this.#groups)
    const kind = rng.int(12)
    if (kind < 2) this.#editSte(rng.pick(group.streams))
    else if (kind < 4 && group.contexts.length > 0) this.#editCd(group, rng.pick(group.contexts))
    else if (kind === 4 && this.#l1.length > 0 && !this.#isStrict) this.#editStreamTable()
    else if (kind === 5 && group.l1cds.length > 0) this.#editCdTable(group)
    else if (kind < 8) this.#editSpan(group)
    else {
      const slots = ownedBy(group)
      if (slots.length > 0) this.editDescriptor(rng.pick(slots))
    }
    if (this.#invalidate.isBent) this.#invalidate.everything()
    this.#invalidate.sync()
  }

  #editSte(stream: GuestStream): void {
    const [word, bits] = this.#pick(STE_FLAGS, STE_SHAPES)
    const bit = this.#rng.pick(bits)
    const { group } = stream
    // What stage 2 is must agree in all entries of a VMID; so one bit changes in all of them.
    const isStage2 = word > 1 || (word === 1 && bit === 25)
    const isFault = word === 2 && (bit === 57 || bit === 58)
    const all = isStage2 && !isFault ? group.streams : [stream]
    for (const { ste } of all) this.#flip(this.#invalidate.ram, ste + BigInt(word) * 8n, bit)
    for (const { sid } of all) this.#invalidate.streamChanged(sid, true)
    this.#invalidate.all(group)
  }

  #editCd(group: Group, context: GuestContext): void {
    const [word, bits] = group.regime.shared === undefined ? this.#pick(CD_FLAGS, CD_SHAPES) : CD_LOOSE[0]
    this.#flip(group.space, context.at + BigInt(word) * 8n, this.#rng.pick(bits))
    this.#invalidate.contextChanged(group, context)
    if (group.regime.shared === undefined) this.#invalidate.context(group, context)
  }

  #editStreamTable(): void {
    this.#invalidate.isBent = true
    this.#flip(this.#invalidate.ram, this.#rng.pick(this.#l1), this.#rng.pick([0, 1, 2, 3, 4, 14, 20, 40]))
    this.#invalidate.everything()
  }

  #editCdTable(group: Group): void {
    const bits = this.#isStrict ? [0] : [0, 32, 40]
    if (!this.#isStrict) this.#invalidate.isBent = true
    this.#flip(group.space, this.#rng.pick(group.l1cds), this.#rng.pick(bits))
    this.#invalidate.contextTableChanged(group)
    this.#invalidate.all(group)
  }

  /** Changes one descriptor. */
  editDescriptor(owned: Owned): void {
    const { slot } = owned
    const before = slot.space.read(slot.at)
    const isFlag = this.#isStrict || this.#rng.chance(0.6)
    if (!isFlag) this.#invalidate.isBent = true
    this.#flip(slot.space, slot.at, this.#rng.pick(isFlag ? DESCRIPTOR_FLAGS : DESCRIPTOR_ADDRESS))
    const { granule } = tablesOf(owned).shape
    // Where a table stands or stood, more than one leaf may be cached, and all have to go.
    const isTable = !slot.isLeaf || (slot.lg2 !== granule && (before | slot.space.read(slot.at)) % 4n === 3n)
    this.#invalidate.region(owned, { input: slot.input, lg2: slot.lg2, leafLg2: slot.lg2, isTable })
  }

  /** Replaces all leaves of a span: they go first, and new ones come after. */
  #editSpan(group: Group): void {
    const rng = this.#rng
    const all = spansOf(group)
    if (all.length === 0) return
    const { span, tables, context, half } = rng.pick(all)
    const { lg2: leafLg2, input, space } = span.slots[0]
    const region: Region = { input, lg2: span.lg2, leafLg2, isTable: false }
    for (const { at } of span.slots) space.write(at, 0n)
    this.#invalidate.region({ slot: span.slots[0], group, context, half }, region)
    this.#invalidate.sync()
    if (rng.chance(0.3)) return
    const level = 3 - (leafLg2 - tables.shape.granule) / (tables.shape.granule - 3)
    const isGlobal = half === 1 && group.regime.shared !== undefined
    const attributes = context === undefined ? span2(rng) : span1(rng) | (isGlobal ? 0n : 1n << 11n)
    tables.writeSpan(span, rng.bits(rng.pick([32, 36])), level, attributes)
  }

  /** In a strict guest tables are never taken for others. */
  #pick(flags: Flips, shapes: Flips): Flips[number] {
    const isFlag = this.#isStrict || this.#rng.chance(0.6)
    if (!isFlag) this.#invalidate.isBent = true
    return this.#rng.pick(isFlag ? flags : shapes)
  }

  #flip(space: { read(at: bigint): bigint; write(at: bigint, value: bigint): void }, at: bigint, bit: number): void {
    space.write(at, space.read(at) ^ (1n << BigInt(bit)))
  }
}

interface OwnedSpan {
  readonly span: Span
  readonly tables: ArmTables
  readonly context?: GuestContext
  readonly half?: number
}

function spansOf(group: Group): OwnedSpan[] {
  const second = group.stage2?.tables
  const first = group.contexts.flatMap((context) =>
    context.halves.flatMap((tables, half) => tables?.spans.map((span) => ({ span, tables, context, half })) ?? []),
  )
  return [...first, ...(second?.spans.map((span) => ({ span, tables: second })) ?? [])]
}

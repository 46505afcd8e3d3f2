/** A guest program that writes VMSAv8-64 tables, for either stage. */

import type { Space } from './ram.js'
import type { Rng } from './rng.js'

/** One descriptor that the guest wrote. */
export interface Slot {
  readonly space: Space
  readonly at: bigint
  /** First input address that it covers. */
  readonly input: bigint
  /** log2 of the bytes that it covers. */
  readonly lg2: number
  readonly isLeaf: boolean
}

/** Leaves that a Contiguous bit binds together; they only change together. */
export interface Span {
  readonly slots: readonly Slot[]
  /** log2 of the bytes that they cover together. */
  readonly lg2: number
}

/** What a set of tables looks like. */
export interface Shape {
  readonly granule: number
  readonly inputBits: number
  /** Level of the start table, as the manual counts: -1 to 3. */
  readonly start: number
  /** Descriptors of 4 KiB and 16 KiB granules hold 52-bit addresses. */
  readonly ds: boolean
  /** Descriptors of the 64 KiB granule do, and blocks are at level 1, too. */
  readonly lpa: boolean
}

/** One set of tables, grown as mappings are made. */
export class ArmTables {
  readonly root: bigint
  readonly slots: Slot[] = []
  readonly leaves: Slot[] = []
  readonly spans: Span[] = []
  readonly #children = new Map<bigint, bigint>()

  constructor(
    readonly space: Space,
    readonly shape: Shape,
    /** Attributes of a table descriptor, bits 63:59. */
    readonly tableBits: (rng: Rng) => bigint,
  ) {
    const { inputBits, start } = shape
    const bytes = 8n << BigInt(inputBits - this.shiftOf(start))
    this.root = space.allocate(bytes < 64n ? 64n : bytes)
  }

  /** Whether tables and leaves may lie beyond 48 bits. */
  get isWide(): boolean {
    return this.shape.ds || (this.shape.lpa && this.shape.granule === 16)
  }

  /** log2 of the bytes that one descriptor of a level covers. */
  shiftOf(level: number): number {
    return this.shape.granule + (this.shape.granule - 3) * (3 - level)
  }

  /** Levels at which a leaf may stand here. */
  leafLevels(): number[] {
    const { granule, ds, lpa, start, inputBits } = this.shape
    const least = granule === 12 ? (ds ? 0 : 1) : granule === 14 ? (ds ? 1 : 2) : lpa ? 1 : 2
    return [0, 1, 2, 3].filter((level) => level >= least && level >= start && this.shiftOf(level) <= inputBits)
  }

  /** A leaf or a table pointer, but for attributes and kind. [Arm D8.3.1 VMSAv8-64 descriptor formats] */
  addressBits(output: bigint, shift: number): bigint {
    const { granule, ds, lpa } = this.shape
    const address = (output >> BigInt(shift)) << BigInt(shift)
    const low = address & ((1n << 48n) - 1n)
    if (granule === 16) return lpa ? low | ((address >> 48n) << 12n) : low
    return ds ? low | (address & (3n << 48n)) | ((address >> 50n) << 8n) : low
  }

  /** Attributes without those whose place DS gives to the address. */
  attributesOf(bits: bigint): bigint {
    return this.shape.ds ? bits & ~(3n << 8n) : bits
  }

  /** Maps the leaf that holds `input` at a level; a leaf already there, or a table below, is left. */
  map(rng: Rng, input: bigint, output: bigint, level: number, attributes: bigint): Slot | undefined {
    const slot = this.#slot(rng, input, level)
    if (slot === undefined || this.space.read(slot.at) !== 0n) return undefined
    const kind = level === 3 ? 3n : 1n
    this.space.write(slot.at, this.addressBits(output, slot.lg2) | this.attributesOf(attributes) | kind)
    this.slots.push(slot)
    this.leaves.push(slot)
    return slot
  }

  /** Maps a span of leaves with the Contiguous bit. */
  mapSpan(rng: Rng, input: bigint, output: bigint, level: number, attributes: bigint): Span | undefined {
    const { granule, inputBits } = this.shape
    const count = granule === 12 ? 4 : granule === 14 && level === 3 ? 7 : 5
    const shift = this.shiftOf(level)
    const lg2 = shift + count
    if (level < 2 || lg2 > inputBits) return undefined
    const first = (input >> BigInt(lg2)) << BigInt(lg2)
    const slots: Slot[] = []
    for (let i = 0n; i < 1n << BigInt(count); i++) {
      const slot = this.#slot(rng, first + (i << BigInt(shift)), level)
      if (slot === undefined || this.space.read(slot.at) !== 0n) return undefined
      slots.push(slot)
    }
    const span = { slots, lg2 }
    this.spans.push(span)
    this.writeSpan(span, output, level, attributes)
    return span
  }

  /** Writes all leaves of a span. */
  writeSpan({ slots, lg2 }: Span, output: bigint, level: number, attributes: bigint): void {
    const base = (output >> BigInt(lg2)) << BigInt(lg2)
    const bits = this.attributesOf(attributes) | (1n << 52n) | (level === 3 ? 3n : 1n)
    slots.forEach(({ space, at, lg2: shift }, i) => {
      space.write(at, this.addressBits(base + (BigInt(i) << BigInt(shift)), shift) | bits)
    })
  }

  /** The place of a descriptor; tables on the way are made. */
  #slot(rng: Rng, input: bigint, level: number): Slot | undefined {
    const { granule, start } = this.shape
    const stride = granule - 3
    let table = this.root
    for (let at = start; ; at++) {
      const shift = this.shiftOf(at)
      const wide = at === start ? input >> BigInt(shift) : (input >> BigInt(shift)) & ((1n << BigInt(stride)) - 1n)
      const entry = table + wide * 8n
      const first = (input >> BigInt(shift)) << BigInt(shift)
      if (at === level) return { space: this.space, at: entry, input: first, lg2: shift, isLeaf: true }
      let next = this.#children.get(entry)
      if (next === undefined) {
        if (this.space.read(entry) !== 0n) return undefined
        next = this.space.allocate(1n << BigInt(granule))
        this.#children.set(entry, next)
        this.space.write(entry, this.addressBits(next, granule) | 3n | this.tableBits(rng))
        this.slots.push({ space: this.space, at: entry, input: first, lg2: shift, isLeaf: false })
      }
      table = next
    }
  }
}

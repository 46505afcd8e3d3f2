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

/** What a set of tables looks like. */
export interface Shape {
  readonly granule: number
  readonly inputBits: number
  /** Level of the start table, as the manual counts. */
  readonly start: number
}

/** One set of tables, grown as mappings are made. */
export class ArmTables {
  readonly root: bigint
  readonly slots: Slot[] = []
  readonly #children = new Map<bigint, bigint>()

  constructor(
    readonly space: Space,
    readonly shape: Shape,
    /** Attributes of a table descriptor, bits 63:59. */
    readonly tableBits: (rng: Rng) => bigint,
  ) {
    const { granule, inputBits, start } = shape
    const bytes = 8n << BigInt(inputBits - this.shiftOf(start))
    const least = start === 0 && granule === 16 ? 64n : bytes
    this.root = space.allocate(least < 64n ? 64n : least)
  }

  /** log2 of the bytes that one descriptor of a level covers. */
  shiftOf(level: number): number {
    return this.shape.granule + (this.shape.granule - 3) * (3 - level)
  }

  /** Levels at which a leaf may stand here. */
  leafLevels(): number[] {
    const blocks = this.shape.granule === 12 ? [1, 2, 3] : [2, 3]
    return blocks.filter((level) => level >= this.shape.start && this.shiftOf(level) <= this.shape.inputBits)
  }

  /** Maps the leaf that holds `input` at a level; a leaf already there, or a table below, is left. */
  map(rng: Rng, input: bigint, output: bigint, level: number, attributes: bigint): Slot | undefined {
    const { granule, start } = this.shape
    const stride = granule - 3
    let table = this.root
    for (let at = start; ; at++) {
      const shift = this.shiftOf(at)
      const wide = at === start ? input >> BigInt(shift) : (input >> BigInt(shift)) & ((1n << BigInt(stride)) - 1n)
      const entry = table + wide * 8n
      const first = (input >> BigInt(shift)) << BigInt(shift)
      if (at === level) {
        if (this.space.read(entry) !== 0n) return undefined
        const kind = level === 3 ? 3n : 1n
        this.space.write(entry, ((output >> BigInt(shift)) << BigInt(shift)) | attributes | kind)
        const slot = { space: this.space, at: entry, input: first, lg2: shift, isLeaf: true }
        this.slots.push(slot)
        return slot
      }
      let next = this.#children.get(entry)
      if (next === undefined) {
        if (this.space.read(entry) !== 0n) return undefined
        next = this.space.allocate(1n << BigInt(granule))
        this.#children.set(entry, next)
        this.space.write(entry, next | 3n | this.tableBits(rng))
        this.slots.push({ space: this.space, at: entry, input: first, lg2: shift, isLeaf: false })
      }
      table = next
    }
  }
}

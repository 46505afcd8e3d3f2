/** The dirty flags of a fake table: a set of leaves, each as large as its mapping allows. */

import type { Completion, DirtyOps } from '../../server/core/driver.js'
import type { FakePaging } from './fake-machine.js'

/** Leaves that one step looks at; small, so that tests see several. */
const LEAVES_A_STEP = 8

/** A log of writes. */
export class FakeDirty implements DirtyOps {
  isTracking = false
  /** Leaves by their first byte. */
  readonly #dirty = new Set<bigint>()
  /** Leaves that were looked at. */
  looked = 0

  constructor(readonly table: FakePaging) {}

  /** A device writes there. */
  touch(iova: bigint): void {
    const leaf = this.#leafAt(iova)
    if (leaf === undefined) throw new Error(`nothing is mapped at ${iova}`)
    this.#dirty.add(leaf.iova)
  }

  setTracking(isOn: boolean): Completion {
    this.isTracking = isOn
    return this.table.driver.machine.done(`tracking ${isOn ? 'on' : 'off'}`)
  }

  collect(start: bigint, last: bigint, clears: boolean, found?: (iova: number, length: number) => void) {
    let at = start
    for (let leaves = 0; at <= last; leaves++) {
      if (leaves === LEAVES_A_STEP) return at
      const leaf = this.#leafAt(at)
      if (leaf === undefined) return undefined
      this.looked++
      const end = leaf.iova + leaf.length
      if (this.#dirty.has(leaf.iova)) found?.(Number(at), Number((end - 1n < last ? end : last + 1n) - at))
      if (clears) this.#dirty.delete(leaf.iova)
      at = end
    }
    return undefined
  }

  #leafAt(iova: bigint): { iova: bigint; length: bigint } | undefined {
    const mapping = this.table.mappings.find((one) => iova >= one.iova && iova < one.iova + one.length)
    if (mapping === undefined) return undefined
    const sizes = [...Array(64).keys()].map((bit) => 2n ** BigInt(bit)).filter((size) => size & this.table.pageSizes)
    const aligned = sizes.filter(
      (size) => ((mapping.iova | BigInt(mapping.address) | mapping.length) & (size - 1n)) === 0n,
    )
    const length = aligned.at(-1) ?? 1n
    return { iova: iova - (iova % length), length }
  }
}

/** Memory of a simulated machine that is watched, or that the unit can only read. */

import { type Backing, type Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { Ram } from './ram.js'

/** Memory that notes that somebody writes to it. */
export class WatchedBacking extends SparseBacking {
  readonly isWatched = true
  writes = 0

  override chunkForWrite(index: number): Int32Array | null {
    this.writes++
    return super.chunkForWrite(index)
  }
}

/** Memory that can be closed. */
class ClosableBacking implements Backing {
  readonly isWatched = true
  writable = false
  readonly #inside: SparseBacking

  constructor(lengthBytes: number) {
    this.#inside = new SparseBacking(lengthBytes)
  }

  get lengthBytes(): number {
    return this.#inside.lengthBytes
  }

  get residentBytes(): number {
    return this.#inside.residentBytes
  }

  chunk(index: number): Int32Array | null {
    return this.#inside.chunk(index)
  }

  chunkForWrite(index: number): Int32Array | null {
    return this.#inside.chunkForWrite(index)
  }
}

/** Memory that only software writes to. */
export class SealedRam extends Ram {
  readonly #backing: ClosableBacking

  constructor(memory: Memory, base: bigint, end: bigint) {
    super(memory, base, end)
    this.#backing = new ClosableBacking(Number(end - base))
    memory.place(Number(base), this.#backing)
  }

  override write(pa: bigint, value: bigint): void {
    this.#backing.writable = true
    super.write(pa, value)
    this.#backing.writable = false
  }
}

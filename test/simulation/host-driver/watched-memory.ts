/** Memory that tells of each 8-byte store, so that somebody can look between two of them. */

import { Memory } from '../../../hw-model/memory/index.js'

/** Told after the store has happened. */
export interface StoreListener {
  /** One 8-byte word was stored. */
  stored(address: number): void
  /** A page was overwritten before it is put to another use. */
  wiped(): void
}

/** Physical memory, watched. */
export class WatchedMemory extends Memory {
  listener: StoreListener | undefined

  override storeWord(pa: number, lo: number, hi: number): number {
    const status = super.storeWord(pa, lo, hi)
    this.listener?.stored(pa)
    return status
  }

  /** One word at a time: hardware may read between any two of them. */
  override storeEntries(pa: number, words: Int32Array, count: number): number {
    let status = 0
    for (let i = 0; i < count && status === 0; i += 2) {
      status = this.storeWord(pa + i * 4, words[i], words[i + 1])
    }
    return status
  }

  override wipePage(pa: number): number {
    const status = super.wipePage(pa)
    this.listener?.wiped()
    return status
  }

  /** The word at an address, or undefined where no memory is. */
  peek(pa: number): bigint | undefined {
    if (this.loadWord(pa) !== 0) return undefined
    return (BigInt(this.hi >>> 0) << 32n) | BigInt(this.lo >>> 0)
  }

  /** Stores a word as a guest's CPU does. */
  poke(pa: number, word: bigint): void {
    this.storeWord(pa, Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n)))
  }
}

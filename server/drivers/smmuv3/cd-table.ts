/**
 * A device's CD table, owned by the host: one CD, a linear table, or two levels with 64 KiB leaves that are made when
 * they are first used. Stage 2 is bypassed, so its addresses are physical. [SMMU 3.3.2 StreamIDs to Context Descriptors]
 */

import type { Memory } from '../../../hw-model/memory/index.js'
import { CD, L1CD, S1FMT } from '../../../hw-model/smmuv3/index.js'
import type { HostRam } from '../host-ram.js'
import { INVALID_CD, syncCd, updateCd } from './cd-update.js'
import { type CdTableShape, leafPointer } from './entries.js'
import type { CommandRing } from './queues.js'

/** log2 of the CDs of a 64 KiB leaf, and of the largest linear table. */
const LEAF_LG2 = 10
const LEAF_BYTES = 2 ** LEAF_LG2 * CD.$.bytes

/** The CDs of one device. They stay as long as it does: who is detached may come back, and finds no valid CD. */
export class CdTable {
  readonly shape: CdTableShape
  readonly #memory: Memory
  readonly #ram: HostRam
  readonly #commands: CommandRing
  readonly #sid: number
  readonly #leaves = new Map<number, number>()

  /** @param maxLg2 log2 of the CDs; 0 for one, without substreams */
  constructor(memory: Memory, ram: HostRam, commands: CommandRing, sid: number, maxLg2: number) {
    this.#memory = memory
    this.#ram = ram
    this.#commands = commands
    this.#sid = sid
    const isLinear = maxLg2 <= LEAF_LG2
    const bytes = isLinear ? 2 ** maxLg2 * CD.$.bytes : 2 ** (maxLg2 - LEAF_LG2) * L1CD.$.bytes
    const format = isLinear ? S1FMT.LINEAR : S1FMT.TWO_LEVEL_64K
    this.shape = { address: ram.alloc(bytes), format, maxLg2 }
  }

  /**
   * Writes a CD; answers whether that was hitless.
   *
   * @throws Refusal ENOMEM when its leaf cannot be had; nothing has changed then
   */
  write(index: number, cd: Int32Array): boolean {
    return this.#update(this.#addressOf(index, true), index, cd)
  }

  /** Makes a CD invalid. */
  clear(index: number): void {
    const at = this.#addressOf(index, false)
    if (at >= 0) this.#update(at, index, INVALID_CD)
  }

  #update(at: number, index: number, target: Int32Array): boolean {
    return updateCd(this.#memory, this.#commands, at, { sid: this.#sid, index }, target)
  }

  #addressOf(index: number, make: boolean): number {
    const { address, format } = this.shape
    if (format === S1FMT.LINEAR) return address + index * CD.$.bytes
    const slot = index >>> LEAF_LG2
    let leaf = this.#leaves.get(slot)
    if (leaf === undefined) {
      if (!make) return -1
      leaf = this.#ram.alloc(LEAF_BYTES)
      this.#leaves.set(slot, leaf)
      this.#memory.storeRecord(address + slot * L1CD.$.bytes, leafPointer(leaf), 0, L1CD.$.words)
      syncCd(this.#commands, { sid: this.#sid, index }, false)
    }
    return leaf + (index % 2 ** LEAF_LG2) * CD.$.bytes
  }
}

/**
 * The two protected memory regions: DMA into them is blocked, whether or not it is translated first, and nothing is
 * recorded. The unit's own accesses are not DMA. [VTD 11.4.8 Protected Memory Range Registers]
 *
 * *Why every version blocks translated DMA too:* units of version 2 must, those of version 1 since Skylake do, and only
 * older ones do not.
 */

import { joinWord } from '../bits/address.js'
import { type Outcome, REQUEST, STATUS, type Transaction } from '../port.js'
import type { Capabilities } from './capabilities.js'
import { PMEN, REGISTER } from './registers.js'

/** log2 of what the regions count in; bits below read as 0, which is how software finds it. [choice] */
const PROTECTED_LG2 = 21
const GRANULE = 2 ** PROTECTED_LG2

const PMEN_WORD = REGISTER.PMEN >>> 2
const PLMBASE_WORD = REGISTER.PLMBASE >>> 2
const PLMLIMIT_WORD = REGISTER.PLMLIMIT >>> 2
const PHMBASE_WORD = REGISTER.PHMBASE >>> 2
const PHMLIMIT_WORD = REGISTER.PHMLIMIT >>> 2

/** The registers, and what they protect at this moment. */
export class ProtectedMemory {
  /** PMEN.PRS. */
  isOn = false
  readonly #words: Int32Array
  /** Bits that software may set, by word; a region that is not offered has none. */
  readonly #masks = new Map<number, number>()
  #lowBase = 0
  #lowEnd = 0
  #highBase = 0
  #highEnd = 0

  /** @param words the register file */
  constructor(words: Int32Array, { cap, hawBits }: Capabilities) {
    this.#words = words
    if (cap.PLMR !== 0) for (const word of [PLMBASE_WORD, PLMLIMIT_WORD]) this.#masks.set(word, -GRANULE)
    if (cap.PHMR === 0) return
    for (const word of [PHMBASE_WORD, PHMLIMIT_WORD]) {
      this.#masks.set(word, -GRANULE)
      this.#masks.set(word + 1, 2 ** (hawBits - 32) - 1)
    }
  }

  /** A write to a dword of these registers; EPM takes effect at once. */
  write(offset: number, value: number): void {
    const words = this.#words
    const word = offset >>> 2
    if (word !== PMEN_WORD) words[word] = value & (this.#masks.get(word) ?? 0)
    else if (this.#masks.size > 0) {
      this.isOn = value < 0
      PMEN.EPM.set(words, word, this.isOn ? 1 : 0)
      PMEN.PRS.set(words, word, this.isOn ? 1 : 0)
    }
    this.#measure()
  }

  /** Back to power-on; the register file has been cleared. */
  reset(): void {
    this.isOn = false
    this.#measure()
  }

  /** Whether a physical address is in a region that `isOn` protects. A limit below its base makes none. */
  covers(address: number): boolean {
    const isLow = address >= this.#lowBase && address < this.#lowEnd
    return isLow || (address >= this.#highBase && address < this.#highEnd)
  }

  /** Blocks a DMA that came out in protected memory, without a record. A translation request is no DMA. [VTD 11.4.8.1 EPM] */
  blocks({ type }: Transaction, out: Outcome): boolean {
    if (!this.isOn || out.status !== STATUS.OK || type === REQUEST.TRANSLATION) return false
    const isBlocked = this.covers(out.address)
    if (isBlocked) out.status = STATUS.ABORTED
    // A region may begin or end in the midst of a larger leaf.
    out.leafLg2 = Math.min(out.leafLg2, PROTECTED_LG2)
    return isBlocked
  }

  #measure(): void {
    const words = this.#words
    const [hasLow, hasHigh] = [this.#masks.has(PLMBASE_WORD), this.#masks.has(PHMBASE_WORD)]
    this.#lowBase = words[PLMBASE_WORD] >>> 0
    this.#lowEnd = hasLow ? (words[PLMLIMIT_WORD] >>> 0) + GRANULE : 0
    this.#highBase = joinWord(words[PHMBASE_WORD], words[PHMBASE_WORD + 1])
    this.#highEnd = hasHigh ? joinWord(words[PHMLIMIT_WORD], words[PHMLIMIT_WORD + 1]) + GRANULE : 0
  }
}

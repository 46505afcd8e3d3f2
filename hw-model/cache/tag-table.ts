/**
 * Turns a name of the manual's (a StreamWorld with VMID and ASID, a domain-id with a PASID) into a small dense number,
 * and gives each number a stamp. Raising the stamp forgets everything that was stored under the number.
 *
 * Names are exact numbers that the owner composes. The table is bounded: when it is full everything is forgotten and
 * it starts again, which hardware may do at any time.
 */

/** Dense numbers for names, each with a stamp. */
export class TagTable {
  readonly #numbers = new Map<number, number>()
  readonly #names: Float64Array
  readonly #stamps: Int32Array
  readonly #onFull: () => void
  #used = 0

  /**
   * @param limit names kept at once
   * @param onFull called before the table starts again; the owner drops all that was stored under its numbers
   */
  constructor(limit: number, onFull: () => void) {
    this.#names = new Float64Array(limit)
    this.#stamps = new Int32Array(limit)
    this.#onFull = onFull
  }

  /** The number of a name, made now if it is new. */
  intern(name: number): number {
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    if (this.#used === this.#names.length) {
      this.#onFull()
      this.#numbers.clear()
      this.#used = 0
    }
    const number = this.#used++
    this.#names[number] = name
    this.#numbers.set(name, number)
    return number
  }

  /** The number of a name, or -1 where nothing was ever stored under it. */
  lookup(name: number): number {
    return this.#numbers.get(name) ?? -1
  }

  /** The name behind a number. */
  nameOf(number: number): number {
    return this.#names[number]
  }

  /** Names in use; their numbers are 0 to this, exclusive. */
  get count(): number {
    return this.#used
  }

  /** The present stamp of a number. */
  stampOf(number: number): number {
    return this.#stamps[number]
  }

  /** Forgets everything stored under a number. */
  drop(number: number): void {
    this.#stamps[number] = (this.#stamps[number] + 1) | 0
  }
}

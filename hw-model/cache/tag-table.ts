/**
 * Turns a name of the manual's (a StreamWorld with VMID and ASID, a domain-id with a PASID) into a small dense number.
 *
 * Names are exact numbers that the owner composes. The table is bounded: when it is full everything is forgotten and
 * it starts again, which hardware may do at any time. It is an open-addressed table, at most half full, that grows with
 * what is in it: 40 to 80 bytes a name.
 */

/** What names a table begins with room for. */
const FIRST_NAMES = 16

/** A place has a name's halves, and its number plus 1; 0 for none. */
const PLACE_LG2 = 2
const NUMBER = 2

const TWO32 = 2 ** 32

/** Dense numbers for names. */
export class TagTable {
  /** How often it started again. */
  restarts = 0

  readonly #limit: number
  readonly #onFull: () => void
  #places = new Int32Array((FIRST_NAMES * 2) << PLACE_LG2)
  #names = new Float64Array(FIRST_NAMES)
  #used = 0

  /**
   * @param limit names kept at once
   * @param onFull called before the table starts again; the owner drops all that was stored under its numbers
   */
  constructor(limit: number, onFull: () => void) {
    this.#limit = limit
    this.#onFull = onFull
  }

  /** The number of a name, made now if it is new. */
  intern(name: number): number {
    const known = this.lookup(name)
    if (known >= 0) return known
    if (this.#used === this.#limit) this.#restart()
    if (this.#used === this.#names.length) this.#grow()
    const number = this.#used++
    this.#names[number] = name
    this.#place(number)
    return number
  }

  /** The number of a name, or -1 where nothing was ever stored under it. */
  lookup(name: number): number {
    return this.lookupHalves(name | 0, (name / TWO32) | 0)
  }

  /** The same, of a name's low 32 bits and those above them. */
  lookupHalves(low: number, high: number): number {
    const places = this.#places
    const mask = places.length - 1
    for (let at = placeOf(low, high) & mask; ; at = (at + (1 << PLACE_LG2)) & mask) {
      const number = places[at + NUMBER] - 1
      if (number < 0 || (places[at] === low && places[at + 1] === high)) return number
    }
  }

  /** The name behind a number. */
  nameOf(number: number): number {
    return this.#names[number]
  }

  /** Names in use; their numbers are 0 to this, exclusive. */
  get count(): number {
    return this.#used
  }

  #restart(): void {
    this.restarts++
    this.#onFull()
    this.#places.fill(0)
    this.#used = 0
  }

  #grow(): void {
    const names = this.#names
    this.#names = new Float64Array(names.length * 2)
    this.#names.set(names)
    this.#places = new Int32Array((names.length * 4) << PLACE_LG2)
    for (let number = 0; number < this.#used; number++) this.#place(number)
  }

  #place(number: number): void {
    const name = this.#names[number]
    const low = name | 0
    const high = (name / TWO32) | 0
    const mask = this.#places.length - 1
    let at = placeOf(low, high) & mask
    while (this.#places[at + NUMBER] !== 0) at = (at + (1 << PLACE_LG2)) & mask
    this.#places[at] = low
    this.#places[at + 1] = high
    this.#places[at + NUMBER] = number + 1
  }
}

/** Names that differ in few bits, wherever these are, are far apart. */
function placeOf(low: number, high: number): number {
  const mixed = Math.imul(low ^ Math.imul(high + 1, 0x9e3779b1), 0x85ebca6b)
  return (mixed ^ (mixed >>> 15)) << PLACE_LG2
}

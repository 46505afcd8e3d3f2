/**
 * The places of a buffer, each of which stands in exactly one list, oldest first. Moving a place, and finding the oldest
 * of a list, take the same few steps however many places there are, and allocate nothing.
 */

/** No place. */
export const NO_PLACE = -1

/** A fixed number of places in a fixed number of lists; at first all of them stand in list 0. */
export class Places {
  readonly #list: Uint8Array
  readonly #after: Int32Array
  readonly #before: Int32Array
  readonly #first: Int32Array
  readonly #last: Int32Array
  readonly #count: Int32Array

  constructor(places: number, lists: number) {
    this.#list = new Uint8Array(places)
    this.#after = new Int32Array(places)
    this.#before = new Int32Array(places)
    this.#first = new Int32Array(lists).fill(NO_PLACE)
    this.#last = new Int32Array(lists).fill(NO_PLACE)
    this.#count = new Int32Array(lists)
    for (let place = 0; place < places; place++) this.#append(place, 0)
  }

  /** How many stand in a list. */
  count(list: number): number {
    return this.#count[list]
  }

  /** The one that has stood longest in a list, or NO_PLACE. */
  first(list: number): number {
    return this.#first[list]
  }

  /** The one that came into the same list next, or NO_PLACE. */
  after(place: number): number {
    return this.#after[place]
  }

  /** The list that a place stands in. */
  listOf(place: number): number {
    return this.#list[place]
  }

  /** Puts a place behind all others of a list. */
  move(place: number, list: number): void {
    const from = this.#list[place]
    const after = this.#after[place]
    const before = this.#before[place]
    if (before === NO_PLACE) this.#first[from] = after
    else this.#after[before] = after
    if (after === NO_PLACE) this.#last[from] = before
    else this.#before[after] = before
    this.#count[from]--
    this.#append(place, list)
  }

  #append(place: number, list: number): void {
    const last = this.#last[list]
    this.#list[place] = list
    this.#before[place] = last
    this.#after[place] = NO_PLACE
    if (last === NO_PLACE) this.#first[list] = place
    else this.#after[last] = place
    this.#last[list] = place
    this.#count[list]++
  }
}

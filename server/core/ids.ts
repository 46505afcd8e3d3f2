/** Numbers as the kernel's tables give them: the lowest free one, from 1. */

/** Largest id. [uAPI iommufd ids are positive 32-bit integers] */
export const MAX_ID = 2 ** 31 - 1

/** Gives out the lowest free number; freed numbers wait in a binary heap. */
export class LowestFree {
  #next = 1
  readonly #freed: number[] = []

  /** How many are taken. */
  get taken(): number {
    return this.#next - 1 - this.#freed.length
  }

  /** The lowest free number, taken. */
  take(): number {
    const heap = this.#freed
    const lowest = heap[0]
    if (lowest === undefined) return this.#next++
    const moved = heap.pop() as number
    if (heap.length > 0) this.#sink(moved)
    return lowest
  }

  /** Makes a taken number free again. */
  free(id: number): void {
    const heap = this.#freed
    let at = heap.length
    heap.push(id)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (heap[above] <= id) break
      heap[at] = heap[above]
      at = above
    }
    heap[at] = id
  }

  #sink(id: number): void {
    const heap = this.#freed
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && heap[below + 1] < heap[below]) below++
      if (heap[below] >= id) break
      heap[at] = heap[below]
      at = below
    }
    heap[at] = id
  }
}

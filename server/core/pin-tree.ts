/**
 * Which pages of a run are pinned by anybody: ranges that may overlap, each added and taken away as a whole, and the
 * number of pages in their union. A tree of halves, made where it is needed: a range costs two paths from the root,
 * however many others there are.
 */

/** A half of its parent's pages. */
interface Half {
  /** Ranges that hold all of it and were not told to its own halves. */
  whole: number
  /** Pages of it in the union. */
  covered: number
  low?: Half
  high?: Half
}

/** The union of ranges of pages 0 to `count` - 1. */
export class PinTree {
  readonly #last: number
  readonly #root: Half = { whole: 0, covered: 0 }

  constructor(count: number) {
    this.#last = count - 1
  }

  /** Pages in the union. */
  get covered(): number {
    return this.#root.covered
  }

  /** Adds a range, `by` 1, or takes one away that was added, `by` -1. */
  change(first: number, last: number, by: 1 | -1): void {
    change(this.#root, 0, this.#last, { first, last, by })
  }

  /** Pages of a range that are in no other one, and so would be new. */
  missing(first: number, last: number): number {
    return last - first + 1 - coveredIn(this.#root, 0, this.#last, first, last)
  }
}

interface Change {
  readonly first: number
  readonly last: number
  readonly by: 1 | -1
}

function change(half: Half, from: number, to: number, what: Change): void {
  if (what.first <= from && to <= what.last) half.whole += what.by
  else {
    const middle = from + Math.floor((to - from) / 2)
    if (what.first <= middle) half.low = changed(half.low, from, middle, what)
    if (what.last > middle) half.high = changed(half.high, middle + 1, to, what)
  }
  half.covered = half.whole > 0 ? to - from + 1 : (half.low?.covered ?? 0) + (half.high?.covered ?? 0)
}

/** A half that holds nothing is gone. */
function changed(half: Half | undefined, from: number, to: number, what: Change): Half | undefined {
  const there = half ?? { whole: 0, covered: 0 }
  change(there, from, to, what)
  return there.covered === 0 ? undefined : there
}

function coveredIn(half: Half | undefined, from: number, to: number, first: number, last: number): number {
  if (half === undefined || last < from || to < first) return 0
  if (half.whole > 0) return Math.min(to, last) - Math.max(from, first) + 1
  if (first <= from && to <= last) return half.covered
  const middle = from + Math.floor((to - from) / 2)
  return coveredIn(half.low, from, middle, first, last) + coveredIn(half.high, middle + 1, to, first, last)
}

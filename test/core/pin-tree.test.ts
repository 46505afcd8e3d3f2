/** The union of pinned ranges against counts of each page. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PinTree } from '../../server/core/pin-tree.js'

describe('a tree of pinned pages', () => {
  it('knows of every page whether a range has it, and how many do', () => {
    const range = fc.tuple(fc.nat(40), fc.nat(40)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
    const step = fc.record({ range, takesAway: fc.nat(), asks: range })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(41, 64, 2 ** 52), (steps, count) => {
        const tree = new PinTree(count)
        const pages = new Map<number, number>()
        const inside: (readonly [number, number])[] = []
        const change = ([first, last]: readonly [number, number], by: 1 | -1) => {
          tree.change(first, last, by)
          for (let page = first; page <= last; page++) pages.set(page, (pages.get(page) ?? 0) + by)
        }
        for (const { range: added, takesAway, asks } of steps) {
          if (takesAway % 2 === 0 && inside.length > 0) change(inside.splice(takesAway % inside.length, 1)[0], -1)
          else {
            inside.push(added)
            change(added, 1)
          }
          expect(tree.covered).toBe([...pages.values()].filter((ranges) => ranges > 0).length)
          let missing = 0
          for (let page = asks[0]; page <= asks[1]; page++) if ((pages.get(page) ?? 0) === 0) missing++
          expect(tree.missing(...asks)).toBe(missing)
        }
      }),
    )
  })

  it('holds all of 2^52 pages at once', () => {
    const tree = new PinTree(2 ** 52)
    tree.change(0, 2 ** 52 - 1, 1)
    tree.change(2 ** 52 - 1, 2 ** 52 - 1, 1)
    tree.change(0, 2 ** 52 - 1, -1)
    expect([tree.covered, tree.missing(0, 2 ** 52 - 1)]).toEqual([1, 2 ** 52 - 1])
  })
})

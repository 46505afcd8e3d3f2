/** The free pages of a window: what was given is taken once, lowest first, and neighbours are one run again. */

import { expect, it } from 'vitest'
import { IpaPages } from '../../server/drivers/smmuv3/ipa-pages.js'

function pages(...runs: readonly (readonly [first: number, pages: number])[]): IpaPages {
  const free = new IpaPages()
  for (const [first, count] of runs) free.give({ first, pages: count })
  return free
}

/** Takes pages one by one until there are none. */
const drained = (free: IpaPages): number[] => {
  const taken: number[] = []
  while (free.has(1) && taken.length < 100) taken.push(free.take(1))
  return taken
}

it.each([
  [
    'before',
    [
      [8, 2],
      [6, 2],
    ],
  ],
  [
    'behind',
    [
      [6, 2],
      [8, 2],
    ],
  ],
  [
    'between',
    [
      [6, 1],
      [8, 2],
      [7, 1],
    ],
  ],
  [
    'apart from',
    [
      [20, 1],
      [6, 1],
      [12, 1],
    ],
  ],
] as const)('pages given %s others are taken once, lowest first', (_name, runs) => {
  const all = runs.flatMap(([first, count]) => Array.from({ length: count }, (_, i) => first + i))
  const free = pages(...runs)
  expect(free.count).toBe(all.length)
  expect(drained(free)).toEqual(all.sort((a, b) => a - b))
  expect(free.count).toBe(0)
})

it('pages that meet serve a larger piece, which is aligned to its size', () => {
  expect(pages([4, 1], [6, 2], [5, 1]).take(4)).toBe(4)
  expect(pages([5, 3]).has(4)).toBe(false)
  const free = pages([5, 8])
  expect(free.take(4)).toBe(8)
  expect(drained(free)).toEqual([5, 6, 7, 12])
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { IntervalMap } from '../../server/core/interval-map.js'

interface Item {
  readonly start: bigint
  readonly last: bigint
}

/** The obvious map: an array, searched from its beginning. */
class Naive {
  items: Item[] = []

  firstIn(start: bigint, last: bigint): Item | undefined {
    return this.items.find((item) => item.start <= last && start <= item.last)
  }

  insert(item: Item): void {
    this.items.push(item)
    this.items.sort((a, b) => (a.start < b.start ? -1 : 1))
  }

  hole(from: bigint, last: bigint, length: bigint): Item | undefined {
    let start = from
    for (const item of this.items) {
      if (item.last < start) continue
      const end = item.start - 1n < last ? item.start - 1n : last
      if (item.start > start && end - start + 1n >= length) return { start, last: end }
      if (item.last >= last) return undefined
      start = item.last + 1n
    }
    return last - start + 1n >= length ? { start, last } : undefined
  }
}

const SPACE = 4000

describe('an interval map', () => {
  it('answers as a sorted array does', () => {
    const step = fc.record({ start: fc.nat(SPACE), bytes: fc.integer({ min: 1, max: 3 }), removes: fc.nat(3) })
    const ask = fc.record({ from: fc.nat(SPACE), bytes: fc.integer({ min: 1, max: 40 }) })
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 2000, size: 'max' }), fc.array(ask), (steps, asks) => {
        const map = new IntervalMap<Item>()
        const naive = new Naive()
        for (const { start, bytes, removes } of steps) {
          const item = { start: BigInt(start), last: BigInt(start + bytes - 1) }
          const there = naive.firstIn(item.start, item.last)
          expect(map.firstIn(item.start, item.last)).toBe(there)
          if (there === undefined) {
            map.insert(item)
            naive.insert(item)
          } else if (removes === 0) {
            map.remove(there)
            naive.items.splice(naive.items.indexOf(there), 1)
          }
        }
        expect([...map]).toEqual(naive.items)
        expect(map.size).toBe(naive.items.length)
        for (const { from, bytes } of asks) {
          const [start, last] = [BigInt(from), BigInt(SPACE + 100)]
          expect(map.hole(start, last, BigInt(bytes))).toEqual(naive.hole(start, last, BigInt(bytes)))
          const inside = naive.items.filter((item) => item.last >= start && item.start <= start + 50n)
          expect([...map.in(start, start + 50n)]).toEqual(inside)
        }
      }),
      { numRuns: 60 },
    )
  })

  it('reaches both ends of 64 bits', () => {
    const map = new IntervalMap<Item>()
    const all = 2n ** 64n - 1n
    map.insert({ start: all, last: all })
    map.insert({ start: 0n, last: 0n })
    expect(map.firstFrom(1n)).toEqual({ start: all, last: all })
    expect(map.hole(0n, all, 2n ** 64n - 2n)).toEqual({ start: 1n, last: all - 1n })
    expect(map.hole(0n, all, 2n ** 64n - 1n)).toBeUndefined()
  })

  it('finds the hole that a removal opens in a chunk known to be full', () => {
    const map = new IntervalMap<Item>()
    const items = Array.from({ length: 2000 }, (_, at) => ({ start: BigInt(at * 10), last: BigInt(at * 10 + 9) }))
    for (const item of items) map.insert(item)
    expect(map.hole(0n, 19_999n, 1n)).toBeUndefined()
    map.remove(items[1234])
    expect(map.hole(0n, 19_999n, 10n)).toEqual({ start: 12_340n, last: 12_349n })
  })
})

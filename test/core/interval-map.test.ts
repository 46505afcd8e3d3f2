import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { XorShift32 } from '../../bench/random.js'
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

const add = (map: IntervalMap<Item>, item: Item): void => map.insert(item.start, item.last, item)

const SPACE = 4000
const ALL = 2n ** 64n - 1n

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
            add(map, item)
            naive.insert(item)
          } else if (removes === 0) {
            map.remove(there.start, there)
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
      { numRuns: 40 },
    )
  })

  it('answers as a sorted array does at both ends and in the middle of 64 bits', () => {
    const anchors = [0n, 2n ** 63n - 150n, 2n ** 64n - 300n]
    const address = fc.tuple(fc.constantFrom(...anchors), fc.nat(299)).map(([anchor, at]) => anchor + BigInt(at))
    const step = fc.record({ start: address, bytes: fc.integer({ min: 1, max: 5 }), removes: fc.boolean() })
    const ask = fc.record({
      from: address,
      to: address,
      length: fc.constantFrom(1n, 2n, 40n, 2n ** 62n, 2n ** 63n - 200n),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 700, size: 'max' }), fc.array(ask), (steps, asks) => {
        const map = new IntervalMap<Item>()
        const naive = new Naive()
        for (const { start, bytes, removes } of steps) {
          const last = start + BigInt(bytes - 1) > ALL ? ALL : start + BigInt(bytes - 1)
          const there = naive.firstIn(start, last)
          expect(map.firstIn(start, last)).toBe(there)
          if (there === undefined) {
            add(map, { start, last })
            naive.insert(map.firstFrom(start) as Item)
          } else if (removes) {
            map.remove(there.start, there)
            naive.items.splice(naive.items.indexOf(there), 1)
          }
        }
        expect([...map]).toEqual(naive.items)
        for (const { from, to, length } of asks) {
          expect(map.hole(from, ALL, length)).toEqual(naive.hole(from, ALL, length))
          expect(map.hole(0n, to, length)).toEqual(naive.hole(0n, to, length))
          expect(map.hole(from, to, length)).toEqual(from > to ? undefined : naive.hole(from, to, length))
        }
      }),
      { numRuns: 30 },
    )
  })

  it('looks at few of 100,000 ranges, whatever is asked', () => {
    let looks = 0
    class Counted implements Item {
      constructor(readonly at: number) {}
      get start(): bigint {
        looks++
        return BigInt(this.at * 10)
      }
      get last(): bigint {
        looks++
        return BigInt(this.at * 10 + 9)
      }
    }
    const most = (action: () => unknown): number => {
      looks = 0
      action()
      return looks
    }
    const map = new IntervalMap<Item>()
    const items = Array.from({ length: 100_000 }, (_, at) => new Counted(at))
    // In an order that meets every part of the map again and again.
    const scattered = items.map((_, at) => items[(at * 37_633) % items.length])
    const inserting = scattered.map((item) => most(() => add(map, item)))
    expect(Math.max(...inserting)).toBeLessThan(500)
    const whole = [0n, BigInt(items.length * 10 - 1)] as const
    map.hole(...whole, 1n)
    expect(most(() => expect(map.hole(...whole, 1n)).toBeUndefined())).toBeLessThan(500)
    expect(
      Math.max(...scattered.slice(0, 1000).map((item) => most(() => map.firstFrom(BigInt(item.at * 10))))),
    ).toBeLessThan(50)
    const removing = scattered.slice(0, 90_000).map((item) => most(() => map.remove(item.start, item)))
    expect(Math.max(...removing)).toBeLessThan(500)
    expect(most(() => map.hole(...whole, 10n))).toBeLessThan(500)
    expect(map.size).toBe(10_000)
  })

  it('finds what a sorted array does while thousands come and go, in order and in none', () => {
    const random = new XorShift32(0x5eed)
    // In bytes: where all of it lies, and how far apart.
    for (const [base, stride] of [
      [0n, 4n],
      [2n ** 64n - 2n ** 16n, 4n],
      [2n ** 20n + 5n, 2n ** 49n],
    ]) {
      const map = new IntervalMap<Item>()
      const items: Item[] = []
      const beyond = base + 2n ** 14n * stride - 1n
      const place = (address: bigint): number => {
        let [low, high] = [0, items.length]
        while (low < high) {
          const middle = (low + high) >> 1
          if (items[middle].last < address) low = middle + 1
          else high = middle
        }
        return low
      }
      const check = (): void => {
        const from = base + BigInt(random.below(2 ** 14)) * stride
        const length = (stride * BigInt(1 + random.below(24))) / 4n
        const naive = new Naive()
        naive.items = items.slice(place(from))
        expect(map.hole(from, beyond, length)).toEqual(naive.hole(from, beyond, length))
        naive.items = items
        expect(map.hole(base, from, length)).toEqual(naive.hole(base, from, length))
        expect(map.firstFrom(from)).toBe(items[place(from)])
      }
      const step = (at: number, adds: boolean): void => {
        const start = base + BigInt(at) * stride + (adds ? BigInt(random.below(2)) : 0n)
        const i = place(start)
        const there = items[i]
        if (there !== undefined && there.start <= start + 1n) {
          if (adds) return
          map.remove(there.start, there)
          items.splice(i, 1)
        } else if (adds) {
          const item = { start, last: start + BigInt(random.below(2)) }
          add(map, item)
          items.splice(i, 0, item)
        }
      }
      for (let i = 0; i < 6000; i++) step(random.below(2 ** 14), true)
      for (let i = 0; i < 2 ** 14; i += 2) step(i, true)
      for (let i = 0; i < 60; i++) check()
      for (let i = 0; i < 9000; i++) {
        step(random.below(2 ** 14), random.below(3) === 0)
        if (i % 60 === 0) check()
      }
      for (let i = 2 ** 14 - 1; i >= 2 ** 13; i--) step(i, false)
      for (let i = 0; i < 60; i++) check()
      expect([...map]).toEqual(items)
      for (let i = 0; i < 2 ** 13; i++) {
        step(i, false)
        if (i % 100 === 0) check()
      }
      for (const item of items) map.remove(item.start, item)
      expect(map.size).toBe(0)
      expect([...map]).toEqual([])
    }
  })

  it('reaches both ends of 64 bits', () => {
    const map = new IntervalMap<Item>()
    const all = 2n ** 64n - 1n
    add(map, { start: all, last: all })
    add(map, { start: 0n, last: 0n })
    expect(map.firstFrom(1n)).toEqual({ start: all, last: all })
    expect(map.hole(0n, all, 2n ** 64n - 2n)).toEqual({ start: 1n, last: all - 1n })
    expect(map.hole(0n, all, 2n ** 64n - 1n)).toBeUndefined()
  })

  it('goes on with what is there while ranges come and go, few or many', () => {
    for (const count of [3, 30, 40, 200]) {
      const map = new IntervalMap<Item>()
      const items = Array.from({ length: count }, (_, at) => ({ start: BigInt(at * 10), last: BigInt(at * 10 + 4) }))
      for (const item of items) add(map, item)
      const seen: bigint[] = []
      for (const item of map) {
        seen.push(item.start)
        // The one that was met goes, one is put behind it, and all behind are there once, few or many by then.
        map.remove(item.start, item)
        if (item.start % 10n === 0n && item.start < 9000n) add(map, { start: item.start + 6n, last: item.start + 7n })
        if (item.start === 0n)
          for (let at = 0; at < 30; at++) add(map, { start: 9000n + BigInt(at), last: 9000n + BigInt(at) })
      }
      const own = items.flatMap(({ start }) => [start, start + 6n])
      expect(seen).toEqual([...own, ...Array.from({ length: 30 }, (_, at) => 9000n + BigInt(at))])
      expect(map.size).toBe(0)
    }
  })

  it('knows what is at 0, alone and beside others', () => {
    for (const others of [0, 100]) {
      const map = new IntervalMap<Item>()
      for (let at = 0; at < others; at++) add(map, { start: BigInt(at * 2 + 100), last: BigInt(at * 2 + 100) })
      for (const last of [0n, 1n, 50n]) {
        expect(map.firstIn(0n, 0n)).toBeUndefined()
        expect(map.hole(0n, 60n, 2n)).toEqual({ start: 0n, last: 60n })
        const item = { start: 0n, last }
        add(map, item)
        expect(map.firstIn(0n, 0n)).toBe(item)
        expect(map.firstFrom(0n)).toBe(item)
        expect(map.firstIn(last, last)).toBe(item)
        expect(map.firstIn(last + 1n, last + 1n)).toBeUndefined()
        expect(map.hole(0n, 60n, 1n)).toEqual({ start: last + 1n, last: 60n })
        expect(map.hole(0n, 0n, 1n)).toBeUndefined()
        map.remove(0n, item)
        const later = { start: 1n, last: 3n }
        add(map, later)
        expect(map.firstIn(0n, 0n)).toBeUndefined()
        expect(map.firstFrom(0n)).toBe(later)
        expect(map.hole(0n, 60n, 1n)).toEqual({ start: 0n, last: 0n })
        expect(map.hole(0n, 60n, 2n)).toEqual({ start: 4n, last: 60n })
        map.remove(1n, later)
      }
    }
  })

  it('finds the hole that a removal opens in a part known to be full', () => {
    const map = new IntervalMap<Item>()
    const items = Array.from({ length: 2000 }, (_, at) => ({ start: BigInt(at * 10), last: BigInt(at * 10 + 9) }))
    for (const item of items) add(map, item)
    expect(map.hole(0n, 19_999n, 1n)).toBeUndefined()
    map.remove(items[1234].start, items[1234])
    expect(map.hole(0n, 19_999n, 10n)).toEqual({ start: 12_340n, last: 12_349n })
  })
})

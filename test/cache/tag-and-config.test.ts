/** Names into numbers, and the cache of decoded configuration. */

import { describe, expect, it } from 'vitest'
import { ConfigCache } from '../../hw-model/cache/config-cache.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'

describe('a tag table', () => {
  it('gives each name one dense number and keeps the way back', () => {
    const table = new TagTable(8, () => {})
    const names = [0, 5, 2 ** 52, 2 ** 32 + 5]
    expect(names.map((name) => table.intern(name))).toEqual([0, 1, 2, 3])
    expect(names.map((name) => table.intern(name))).toEqual([0, 1, 2, 3])
    expect([0, 1, 2, 3].map((number) => table.nameOf(number))).toEqual(names)
    expect(table.count).toBe(4)
  })

  it('does not make a number for a name that is only looked up', () => {
    const table = new TagTable(8, () => {})
    expect(table.lookup(9)).toBe(-1)
    expect(table.count).toBe(0)
    table.intern(9)
    expect(table.lookup(9)).toBe(0)
  })

  it('keeps thousands of names apart, whatever bits they differ in', () => {
    const table = new TagTable(65536, () => {})
    const names = [...Array(20_000).keys()].flatMap((i) => [i * 2 ** 21, i * 2 ** 32 + 7])
    expect(new Set(names.map((name) => table.intern(name))).size).toBe(names.length)
    expect(names.every((name, number) => table.lookup(name) === number && table.nameOf(number) === name)).toBe(true)
    expect(table.lookupHalves(7, 19_999)).toBe(39_999)
    expect(table.lookup(2 ** 21 + 1)).toBe(-1)
  })

  it('tells its owner once when it is full, and starts again', () => {
    let told = 0
    const table = new TagTable(2, () => told++)
    table.intern(10)
    table.intern(11)
    expect(told).toBe(0)
    expect(table.intern(12)).toBe(0)
    expect(told).toBe(1)
    expect([table.lookup(10), table.lookup(11), table.lookup(12), table.count]).toEqual([-1, -1, 0, 1])
    expect(table.restarts).toBe(1)
  })
})

describe('a configuration cache', () => {
  it('answers what was kept, and counts', () => {
    const cache = new ConfigCache<string>(4)
    expect(cache.get(1)).toBeUndefined()
    cache.set(1, 'one')
    expect(cache.get(1)).toBe('one')
    expect([cache.hits, cache.misses, cache.size]).toEqual([1, 1, 1])
  })

  it('lets the oldest go when it is full, and none when a known key is set again', () => {
    const cache = new ConfigCache<number>(2)
    cache.set(1, 1)
    cache.set(2, 2)
    cache.set(2, 22)
    expect([cache.get(1), cache.get(2), cache.evictions]).toEqual([1, 22, 0])
    cache.set(3, 3)
    expect([cache.get(1), cache.get(2), cache.get(3), cache.evictions]).toEqual([undefined, 22, 3, 1])
  })

  it('of no capacity keeps nothing', () => {
    const cache = new ConfigCache<number>(0)
    cache.set(1, 1)
    expect([cache.get(1), cache.size]).toEqual([undefined, 0])
  })

  it('forgets one, those that match, or all', () => {
    const cache = new ConfigCache<number>(8)
    for (let i = 0; i < 6; i++) cache.set(i, i * 10)
    cache.drop(0)
    cache.dropWhere((key, entry) => key === 1 || entry === 20)
    expect([0, 1, 2, 3, 4, 5].map((key) => cache.get(key))).toEqual([undefined, undefined, undefined, 30, 40, 50])
    cache.clear()
    expect(cache.size).toBe(0)
  })
})

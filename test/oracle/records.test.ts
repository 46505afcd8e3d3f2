/** What each hit of an oracle reads: records by key, and how walks begin. */

import { describe, expect, it } from 'vitest'
import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { Paths } from '../../hw-model/oracle/paths.js'
import { NONE, Records } from '../../hw-model/oracle/records.js'
import { Words } from '../../hw-model/oracle/words.js'
import { Outcome, Transaction } from '../../hw-model/port.js'

const SIZED = 12

describe('a record', () => {
  const find = (records: Records, page: number, rid = 1): number => records.find(rid, -1, page << 12, 7, SIZED)

  it('is found by its whole key, however many there are, and not when it was taken out', () => {
    const records = new Records(4096)
    for (let page = 0; page < 4096; page++) records.put(page, 1, -1, page << 12, 7, SIZED)
    for (let page = 0; page < 4096; page++) expect(find(records, page)).toBe(page)
    expect([find(records, 5, 2), records.find(1, 3, 5 << 12, 7, SIZED), records.find(1, -1, 5 << 12, 7, 21)]).toEqual([
      NONE,
      NONE,
      NONE,
    ])
    for (let page = 4095; page >= 0; page -= 2) records.take(page)
    for (let page = 0; page < 4096; page++) expect(find(records, page)).toBe(page % 2 === 0 ? page : NONE)
  })

  it('says an answer as long as its word has the value, no other has changed, and it was not hushed', () => {
    const memory = new Memory()
    memory.place(0x10_0000_0000, new SparseBacking(0x10000))
    memory.storeWord(0x10_0000_0008, 0x8000_0001, 0x12)
    const records = new Records(16)
    records.put(3, 1, -1, 0x5000, 7, SIZED)
    expect(records.holds(3, 0, memory)).toBe(false)
    const value = [0x8000_0001, 0x12] as const
    const address = 2 ** 51 + 0x9000_0000
    records.say(3, { address, rights: 0x1f, word: 0x10_0000_0008, value, changes: 4, isWhole: false })
    expect([records.holds(3, 4, memory), records.holds(3, 5, memory), records.isWhole(3)]).toEqual([true, false, false])
    const transaction = Object.assign(new Transaction(), { lo: 0x5123, hi: 7 })
    const outcome = Object.assign(new Outcome(), { address: address + 0x123, rights: 0x1f })
    expect(records.isSaid(3, transaction, outcome)).toBe(true)
    expect(records.isSaid(3, transaction, Object.assign(new Outcome(), outcome, { rights: 0x1e }))).toBe(false)
    expect(records.isSaid(3, transaction, Object.assign(new Outcome(), outcome, { address }))).toBe(false)
    memory.storeWord(0x10_0000_0008, 0x8000_0001, 0x13)
    expect(records.holds(3, 4, memory)).toBe(false)
    memory.storeWord(0x10_0000_0008, ...value)
    records.hush(3)
    expect(records.holds(3, 4, memory)).toBe(false)
  })
})

describe('how walks begin', () => {
  /** Words at some addresses, each with its address as its value. */
  function world(addresses: readonly number[]) {
    const memory = new Memory()
    memory.place(0, new SparseBacking(0x40000))
    const words = new Words(memory, 1024)
    const ids = addresses.map((address) => {
      memory.storeWord(address, address, 1)
      return words.hold(address, address, 1, 0, 1, 0)
    })
    return { memory, words, ids }
  }
  const at = (lo: number): Transaction => Object.assign(new Transaction(), { rid: 1, lo })

  it('is one path for pages of one table, of one stage or of two', () => {
    const { words, ids } = world([0, 8, 0x100, 0x200, 0x208, 0x300, 0x308, 0x400])
    const paths = new Paths(words)
    const [a, b, c, first, second, low, lower] = ids
    const one = paths.of(at(0x1000), [a, b, c, first])
    expect(one.ids).toEqual([a, b, c])
    expect(paths.of(at(0x2000), [a, b, c, second])).toBe(one)
    const other = new Paths(words)
    expect(other.of(at(0x1000), [a, b, c, first, low]).ids).toEqual([a, b, c, first])
    const shared = other.of(at(0x2000), [a, b, c, second, lower])
    expect(shared.ids).toEqual([a, b, c])
    expect(other.of(at(0x1000), [a, b, c, first, low])).toBe(shared)
    expect(other.of(at(0x1000), [a, b, c, first, low])).toBe(shared)
    expect(other.of(at(0x1000), [a]).ids).toEqual([])
  })

  it('is in memory as long as each of its words is what it was, in runs and across their gaps', () => {
    const { memory, words, ids } = world([0, 8, 0x100, 0x1_fff8, 0x2_0000])
    const path = new Paths(words).of(at(0), [...ids, ids[0]])
    // Words on both sides of the end of a chunk are no run that is seen at once.
    expect(path.isIn(memory)).toBe(false)
    const short = new Paths(words).of(at(0), ids.slice(0, 4))
    memory.loadWord(0)
    expect(short.isIn(memory)).toBe(true)
    for (const address of [0, 8, 0x100]) {
      memory.storeWord(address, 5, 1)
      expect(short.isIn(memory)).toBe(false)
      memory.storeWord(address, address, 1)
      expect(short.isIn(memory)).toBe(true)
    }
    words.hold(8, 77, 1, 0, 2, 0)
    expect(short.begins(ids, words)).toBe(false)
    memory.remove(0)
    expect(short.isIn(memory)).toBe(false)
  })
})

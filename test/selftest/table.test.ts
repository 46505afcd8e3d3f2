/** Tables of the self-test unit against a map from page to page. */

import { describe, expect, it } from 'vitest'
import { SelftestTable } from '../../server/drivers/selftest/table.js'

const MIB = 2 ** 20
const UNIT = 2048

/** xorshift32. */
function randomOf(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** The dirty ranges that a table tells, as [iova, length]. */
function dirtyOf(table: SelftestTable, start: number, last: number, clears = false): [number, number][] {
  const found: [number, number][] = []
  let at: bigint | undefined = BigInt(start)
  while (at !== undefined) {
    at = table.collect(at, BigInt(last), clears, (iova, length) => found.push([Number(iova), Number(length)]))
  }
  return found
}

describe('tables of the self-test unit', () => {
  it.each([1, 2, 3])('map and unmap as a map of pages of 2 KiB does, seed %d', (seed) => {
    const random = randomOf(seed)
    const table = new SelftestTable(false)
    const runs: { iova: number; address: number; length: number; rights: number }[] = []
    const model = new Map<number, { address: number; rights: number }>()
    for (let step = 0; step < 400; step++) {
      if (runs.length > 0 && random(3) === 0) {
        const [{ iova, length }] = runs.splice(random(runs.length), 1)
        table.unmap(iova, length)
        for (let at = 0; at < length; at += UNIT) model.delete(iova + at)
        continue
      }
      const iova = 16 * MIB + random(64) * (random(2) === 0 ? MIB : 37 * UNIT)
      const length = random(2) === 0 ? (1 + random(3)) * MIB : (1 + random(40)) * UNIT
      const address = 2 ** 40 + random(50) * (random(2) === 0 ? MIB : UNIT)
      if (runs.some((run) => iova < run.iova + run.length && run.iova < iova + length)) continue
      const rights = 1 + random(3)
      table.map(iova, address, length, rights)
      runs.push({ iova, address, length, rights })
      for (let at = 0; at < length; at += UNIT) model.set(iova + at, { address: address + at, rights })
    }
    for (let iova = 16 * MIB; iova < 84 * MIB; iova += UNIT) {
      const is = model.get(iova)
      expect(table.addressOf(iova)).toBe(is?.address ?? -1)
      expect(table.addressOf(iova + 7)).toBe(is === undefined ? -1 : is.address + 7)
      expect(table.rightsAt(iova)).toBe(is?.rights ?? 0)
    }
    for (const { iova, length } of runs) table.unmap(iova, length)
    expect(table.tableBytes).toBe(0)
  })

  it('count 4 KiB for a table, and nothing for a leaf of 1 MiB', () => {
    const table = new SelftestTable(false)
    table.map(MIB, 8 * MIB, MIB, 3)
    expect(table.tableBytes).toBe(0)
    table.map(2 * MIB, 9 * MIB + UNIT, MIB, 3)
    expect(table.tableBytes).toBe(4096)
  })

  it('note writes by pages of 2 KiB, also inside a leaf', () => {
    const table = new SelftestTable(false)
    table.map(MIB, 8 * MIB, MIB, 3)
    table.map(2 * MIB, 0, 2 * UNIT, 3)
    table.markDirty(MIB + 3 * UNIT + 5)
    table.markDirty(2 * MIB + UNIT)
    table.markDirty(5 * MIB)
    const both = [
      [MIB + 3 * UNIT, UNIT],
      [2 * MIB + UNIT, UNIT],
    ]
    expect(dirtyOf(table, MIB, 2 * MIB + 2 * UNIT - 1)).toEqual(both)
    expect(dirtyOf(table, MIB, 2 * MIB + 2 * UNIT - 1, true)).toEqual(both)
    expect(dirtyOf(table, MIB, 2 * MIB + 2 * UNIT - 1)).toEqual([])
  })

  it('note writes by leaves where the format says so, and tell the part in the range', () => {
    const table = new SelftestTable(true)
    table.map(0, 8 * MIB, 2 * MIB, 3)
    table.markDirty(MIB + 3 * UNIT)
    expect(dirtyOf(table, 0, 2 * MIB - 1)).toEqual([[MIB, MIB]])
    expect(dirtyOf(table, MIB + UNIT, MIB + 2 * UNIT - 1)).toEqual([[MIB + UNIT, UNIT]])
  })

  it('stop telling at a hole', () => {
    const table = new SelftestTable(false)
    table.map(0, 0, UNIT, 3)
    table.map(2 * UNIT, 0, UNIT, 3)
    table.markDirty(0)
    table.markDirty(2 * UNIT)
    expect(dirtyOf(table, 0, 3 * UNIT - 1)).toEqual([[0, UNIT]])
    expect(dirtyOf(table, 2 * UNIT, 3 * UNIT - 1)).toEqual([[2 * UNIT, UNIT]])
  })

  it('forget the writes of what is unmapped', () => {
    const table = new SelftestTable(false)
    table.map(0, 0, 2 * UNIT, 3)
    table.map(2 * UNIT, 0, 2 * UNIT, 3)
    table.markDirty(0)
    table.markDirty(3 * UNIT)
    table.unmap(0, 2 * UNIT)
    table.map(0, 0, 2 * UNIT, 3)
    expect(dirtyOf(table, 0, 4 * UNIT - 1)).toEqual([[3 * UNIT, UNIT]])
  })

  it('look at a bounded part of a large range', () => {
    const table = new SelftestTable(false)
    table.map(0, 0, 200 * MIB, 3)
    const next = table.collect(0n, BigInt(200 * MIB) - 1n, false, () => {})
    expect(next).toBe(BigInt(64 * MIB))
    table.markDirty(199 * MIB)
    expect(dirtyOf(table, 0, 200 * MIB - 1)).toEqual([[199 * MIB, UNIT]])
  })
})

import { beforeEach, describe, expect, it } from 'vitest'
import { Memory } from '../../hw-model/memory/index.js'
import type { EntryEncoder } from '../../server/drivers/entry-encoder.js'
import { HostRam } from '../../server/drivers/host-ram.js'
import { stageOneEncoder } from '../../server/drivers/smmuv3/encoders.js'
import { TableBuilder } from '../../server/drivers/table-builder.js'
import { SecondStageEncoder } from '../../server/drivers/vtd/encoders.js'

const RW = { read: true, write: true }
const RAM_BYTES = 2 ** 20
/** Levels of the root: 512 GiB. */
const TOP = 2
/** A table's worth. */
const PAGES = 512

describe.each<[string, EntryEncoder]>([
  ['Arm stage 1', stageOneEncoder(true)],
  ['VT-d second stage', new SecondStageEncoder(2, true)],
])('the table builder, %s', (_, encoder) => {
  let memory: Memory
  let tables: TableBuilder

  beforeEach(() => {
    memory = new Memory()
    tables = new TableBuilder(memory, new HostRam(memory, 0, RAM_BYTES), encoder, TOP)
  })

  /** Words of the entry on the way to a page, at a level; found as hardware finds it. */
  function entry(page: number, level: number): readonly [lo: number, hi: number] {
    let table = tables.root
    for (let at = TOP; ; at--) {
      memory.loadWord(table + (Math.floor(page / 512 ** at) % 512) * 8)
      if (at === level) return [memory.lo, memory.hi]
      table = memory.lo & -4096
    }
  }

  function leaf(frame: number, level = 0): readonly [lo: number, hi: number] {
    const words = { lo: 0, hi: 0 }
    encoder.leaf(frame * 4096, level, RW, words)
    return [words.lo, words.hi]
  }

  it.each([
    ['below 2 GiB and above', 0x7_ffff],
    ['below 4 GiB and above', 0xf_fffd],
    ['beyond 2^44', 0x1_0000_0ffe],
  ])('writes a run of pages as if one by one, where its frames are %s', (_, frame) => {
    tables.map({ page: PAGES - 5, pages: PAGES + 10, frame }, RW)
    for (let i = 0; i < PAGES + 10; i++) expect(entry(PAGES - 5 + i, 0)).toEqual(leaf(frame + i))
    expect(entry(PAGES - 6, 0)).toEqual([0, 0])
    expect(entry(2 * PAGES + 5, 0)).toEqual([0, 0])
  })

  it('takes out part of a full table, and the table with its last leaf', () => {
    tables.map({ page: PAGES, pages: PAGES, frame: 1 }, RW)
    const before = tables.tableBytes
    tables.unmap(PAGES, 3)
    tables.unmap(2 * PAGES - 1, 1)
    for (const page of [PAGES, PAGES + 2, 2 * PAGES - 1]) expect(entry(page, 0)).toEqual([0, 0])
    for (const page of [PAGES + 3, 2 * PAGES - 2]) expect(entry(page, 0)).toEqual(leaf(page - PAGES + 1))
    expect(tables.hasEmptied).toBe(false)
    tables.unmap(PAGES + 3, PAGES - 4)
    expect(entry(PAGES, 2)).toEqual([0, 0])
    tables.releaseFreed()
    expect(tables.tableBytes).toBe(before - 2 * 4096)
  })

  it('uses the largest leaf that fits, or pages only where it is told so', () => {
    tables.map({ page: PAGES, pages: PAGES, frame: 2 * PAGES }, RW)
    expect(entry(PAGES, 1)).toEqual(leaf(2 * PAGES, 1))
    tables.map({ page: 2 * PAGES, pages: PAGES, frame: 3 * PAGES }, RW, true)
    expect(entry(3 * PAGES - 1, 0)).toEqual(leaf(4 * PAGES - 1))
  })
})

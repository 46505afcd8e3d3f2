import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { OurIotlb, OurTlb } from '../../bench/ours.js'
import { ENTRY, LOOKUP, makeWork, withFiles, workParts } from '../../bench/work.js'
import { ACCESS } from '../../hw-model/port.js'

const PLAN = { contexts: 3, entries: 100, capacity: 256, lookups: 50 } as const

describe('a piece of work', () => {
  it('gives each context its share, one 2 MiB leaf for fifteen pages', () => {
    const { entries, first } = makeWork(PLAN)
    expect([...first]).toEqual([0, 33, 66, 100])
    const sizes = Array.from({ length: 33 }, (_, i) => entries[i * ENTRY + 3])
    expect(sizes.filter((lg2) => lg2 === 21)).toHaveLength(2)
    expect(sizes.filter((lg2) => lg2 === 12)).toHaveLength(31)
  })

  it('is sparse where it is asked to be: pages 2 MiB apart', () => {
    const { entries } = makeWork({ ...PLAN, isSparse: true })
    expect([entries[1], entries[ENTRY + 1], entries[2 * ENTRY + 1]]).toEqual([0, 0x20_0000, 0x40_0000])
  })

  it.each(['random', 'zipf', 'sequential'] as const)('looks up what is resident, %s', (pattern) => {
    const { entries, lookups } = makeWork({ ...PLAN, pattern })
    for (let at = 0; at < lookups.length; at += LOOKUP) {
      const entry = lookups[at + 3] * ENTRY
      const mask = -(2 ** entries[entry + 3])
      expect([lookups[at] & 0xffffff, lookups[at + 1] & mask, lookups[at + 2]]).toEqual([
        entries[entry],
        entries[entry + 1],
        entries[entry + 2],
      ])
      expect([ACCESS.READ, ACCESS.WRITE]).toContain(lookups[at] >>> 24)
    }
  })

  it('is the same each time', () => {
    expect(makeWork(PLAN)).toEqual(makeWork(PLAN))
  })

  it('is written for peers and gone afterwards', async () => {
    const path = await withFiles(async (write) => {
      const file = write('work', ...workParts(makeWork(PLAN)))
      expect(readFileSync(file).length).toBe(4 * (4 + 100 * ENTRY + 50 * LOOKUP))
      return file
    })
    expect(existsSync(path)).toBe(false)
  })
})

describe('our caches under a piece of work', () => {
  it('find the same addresses, those that the work says', () => {
    const work = makeWork(PLAN)
    const { entries, lookups } = work
    let sum = 0
    for (let at = 0; at < lookups.length; at += LOOKUP) {
      const entry = lookups[at + 3] * ENTRY
      const need = lookups[at] >>> 24
      if ((entries[entry + 6] & need) !== need) continue
      sum = (sum + entries[entry + 4] + (lookups[at + 1] & (2 ** entries[entry + 3] - 1))) | 0
    }
    expect(new OurTlb(work).hit(1)).toBe(sum >>> 0)
    expect(new OurIotlb(work).hit(2)).toBe(Math.imul(sum, 2) >>> 0)
    expect(new OurIotlb(work, true).hit(1)).toBe(sum >>> 0)
  })

  it('keep what they are given', () => {
    const tlb = new OurTlb(makeWork(PLAN))
    expect(Array.from({ length: 100 }, (_, i) => tlb.has(i))).not.toContain(false)
  })
})

/** Flags of entries that a Contiguous bit binds. [Arm D8.5.5 Use of the Contiguous bit with hardware updates] */

import { describe, expect, it } from 'vitest'
import type { CachePolicy } from '../../hw-model/smmuv3/index.js'
import { PAGE, World } from './checklist/tables.js'

const VA = 0x80_4060_0000n
const FRAME = 0x4000_0000n
const CONTIGUOUS = 1n << 52n
const DBM = 1n << 51n
const AF = 1n << 10n
const READ_ONLY = 1n << 7n
/** CD.HA and CD.HD. */
const HA_HD = 3n << 42n

/** Sixteen pages side by side, all `entry`: a function that reads one again, and the stream they are of. */
function run(policy: CachePolicy, entry: bigint): { w: World; flagsOf: (i: number) => bigint } {
  const w = new World(0b101, { caches: { policy } })
  const at = Array.from({ length: 16 }, (_, i) => {
    const step = BigInt(i) * 0x1000n
    return w.one.set(VA + step, 3, (FRAME + step) | entry | CONTIGUOUS)
  })
  w.cd[0] |= HA_HD
  w.apply()
  return { w, flagsOf: (i) => w.load(at[i]) & (AF | READ_ONLY) }
}

const page = (i: number): bigint => VA + BigInt(i) * 0x1000n

describe('a write to a page of a contiguous run', () => {
  const clean = PAGE | READ_ONLY | DBM

  it('marks that page alone, of sixteen', () => {
    const { w, flagsOf } = run('hardware', clean)
    w.write(page(3))
    expect(Array.from({ length: 16 }, (_, i) => flagsOf(i) === AF)).toEqual(
      Array.from({ length: 16 }, (_, i) => i === 3),
    )
  })

  it('marks each page that is written where pages are kept one by one', () => {
    const { w, flagsOf } = run('hardware', clean)
    for (const i of [3, 9]) w.write(page(i))
    expect([flagsOf(3), flagsOf(9), flagsOf(4)]).toEqual([AF, AF, AF | READ_ONLY])
  })

  it('need not mark another one where the run is kept as one: software looks at all sixteen', () => {
    const { w, flagsOf } = run('greedy', clean)
    expect(w.write(page(3))).toContain((FRAME + 0x3000n).toString(16))
    expect(w.write(page(9))).toContain((FRAME + 0x9000n).toString(16))
    expect([flagsOf(3), flagsOf(9)]).toEqual([AF, AF | READ_ONLY])
  })

  it('marks one where the run was kept while all of it was clean', () => {
    const { w, flagsOf } = run('greedy', clean)
    w.read(page(0))
    w.write(page(5))
    expect(flagsOf(5)).toBe(AF)
  })
})

describe('an access to a page of a contiguous run that was not accessed', () => {
  it('sets its own access flag, whoever else has one', () => {
    const { w, flagsOf } = run('hardware', PAGE & ~AF)
    w.read(page(2))
    w.read(page(7))
    expect([flagsOf(2), flagsOf(7), flagsOf(8)]).toEqual([AF, AF, 0n])
  })

  it('need not set it where the run is kept as one', () => {
    const { w, flagsOf } = run('greedy', PAGE & ~AF)
    w.read(page(2))
    w.read(page(7))
    expect([flagsOf(2), flagsOf(7)]).toEqual([AF, 0n])
  })
})

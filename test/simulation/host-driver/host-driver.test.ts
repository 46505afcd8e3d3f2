/** A slice of the host driver's simulation; `npm run sim:driver` makes millions of operations. */

import { describe, expect, it } from 'vitest'
import { type Counts, summary } from './counts.js'
import { run } from './run.js'
import { boasting, dropping, droppingForGuests, keeping, reversing, shifting, type Tampering } from './tampering.js'

const SEEDS = [1, 2, 3]
const OPERATIONS = 1200

function play(seed: number): { readonly counts: Counts; readonly found: readonly string[] } {
  const found: string[] = []
  const counts = run({ seed, operations: OPERATIONS, lifetime: 300 }, ({ what }) => found.push(what))
  return { counts, found }
}

describe('a host driver at work, with DMAs at each of its stores', () => {
  const met = new Set<string>()

  it.each(SEEDS)('shows the old state, the new one or the moment of the manual between: seed %i', (seed) => {
    const { counts, found } = play(seed)
    expect(found).toEqual([])
    expect(counts.sawOld).toBeGreaterThan(counts.operations)
    expect(counts.sawNew).toBeGreaterThan(counts.operations)
    const { done, ends, moments, met: others } = summary(counts)
    for (const names of [done, ends, moments, others]) for (const name of Object.keys(names)) met.add(name)
  })

  it('comes across everything that there is', () => {
    const operations = ['attach', 'replace', 'detach'].flatMap((what) => [`${what} the RID`, `${what} a PASID`])
    const guests = [
      'guest maps',
      'guest unmaps',
      'guest writes a CD',
      'guest clears a CD',
      'create a user domain',
      'create a root',
    ]
    const ends = ['translated', 'abort', 'C_BAD_STE', 'C_BAD_CD', 'C_BAD_SUBSTREAMID', 'C_BAD_STREAMID']
    const rest = [
      'F_TRANSLATION',
      'F_PERMISSION',
      'F_STREAM_DISABLED',
      '1 GiB block',
      '2 MiB block',
      'PASID',
      'nested',
      'write',
    ]
    const all = [
      ...operations,
      ...guests,
      ...ends,
      ...rest,
      'map',
      'unmap',
      'unmap and flush',
      'flush',
      'collect writes',
    ]
    expect(all.filter((name) => !met.has(name))).toEqual([])
  })
})

describe('a driver that does one thing wrong is caught:', () => {
  const wrongs: readonly (readonly [string, Tampering])[] = [
    ['it stores an entry from its last word to its first', reversing()],
    ['it says that every change was hitless', boasting()],
    ['it maps a page beside the one that was meant', shifting()],
    ['its devices keep what they were told', keeping()],
    ['it gives no CFGI_STE', dropping(0x03)],
    ['it gives no CFGI_CD', dropping(0x05)],
    ['it uses an ASID again without TLBI_NH_ASID', dropping(0x11)],
    ['it gives no TLBI_NH_VA', dropping(0x12)],
    ['it gives no TLBI_S2_IPA', dropping(0x2a)],
    ['it gives no TLBI_NH_ALL after a parent changed', droppingForGuests(0x10)],
  ]

  it.each(wrongs)('%s', (_name, tampering) => {
    const found: string[] = []
    run({ seed: 5, operations: 20_000, most: 1, lifetime: 400, ...tampering }, ({ what }) => found.push(what))
    expect(found).toHaveLength(1)
  })
})

import { describe, expect, it } from 'vitest'
import { anySet, pack } from '../../hw-model/bits/layout.js'
import { CONFIG, STE } from '../../hw-model/smmuv3/index.js'
import {
  abortSte,
  nestedSte,
  safeSteBits,
  stageOneCd,
  stageOneSte,
  stageTwoSte,
  usedCdBits,
  usedSteBits,
} from '../../server/drivers/smmuv3/entries.js'
import { ENTRY_WORDS, updateEntry } from '../../server/drivers/smmuv3/entry-update.js'

const TABLE = { address: 0x4000_0000, format: 0, maxLg2: 2 }
const STAGE_2 = {
  vmid: 3,
  t0sz: 16,
  sl0: 2,
  ps: 5,
  table: 0x5000_0000,
  forcedWriteBack: false,
  keepsShareability: true,
}

const abort = abortSte()
const bypass = pack(STE, { V: 1, Config: CONFIG.BYPASS, SHCFG: 1 })
const cdtable = stageOneSte(TABLE, 2)
const s1dss = (value: number): Int32Array => {
  const ste = stageOneSte(TABLE, value)
  if (value === 1) STE.SHCFG.set(ste, 0, 1)
  return ste
}
const s2 = stageTwoSte(STAGE_2)
const guest = (pointer: number, dss: number): Int32Array =>
  nestedSte(STAGE_2, pack(STE, { V: 1, Config: 5, S1ContextPtr: pointer, S1CDMax: 4, S1DSS: dss }))
const invalid = new Int32Array(ENTRY_WORDS)
const cd = (asid: number, table = 0x6000_0000): Int32Array => stageOneCd({ asid, table, ips: 5, tracksDirty: false })

interface Run {
  readonly syncs: number
  readonly hitless: boolean
  /** Every state that hardware could see, in order. */
  readonly states: Int32Array[]
  readonly last: Int32Array
}

function run(from: Int32Array, to: Int32Array, kind: 'ste' | 'cd'): Run {
  const seen = from.slice()
  const states: Int32Array[] = [seen.slice()]
  let syncs = 0
  const hitless = updateEntry(from.slice(), to, {
    used: kind === 'ste' ? usedSteBits : usedCdBits,
    safe: kind === 'ste' ? safeSteBits(from, to) : new Int32Array(ENTRY_WORDS),
    store: (qword, lo, hi) => {
      seen[qword * 2] = lo
      seen[qword * 2 + 1] = hi
      states.push(seen.slice())
    },
    sync: () => syncs++,
  })
  return { syncs, hitless, states, last: seen }
}

/** The kernel's own rows are in driver-kunit.test.ts; there, stage 2 has VMID 0, which ours never has. */
describe('updating an entry takes as many syncs as Linux takes', () => {
  const rows: [name: string, from: Int32Array, to: Int32Array, kind: 'ste' | 'cd', syncs: number, hitless: boolean][] =
    [
      ['stage 1 to stage 2', cdtable, s2, 'ste', 3, false],
      ['stage 2 to stage 1', s2, cdtable, 'ste', 3, false],
      [
        'moving the CD table and changing S1DSS',
        cdtable,
        stageOneSte({ ...TABLE, address: 0x7000_0000 }, 0),
        'ste',
        3,
        false,
      ],
      ["another table of the guest's", guest(0x1000, 2), guest(0x2000, 2), 'ste', 1, true],
      ['another S1DSS of the guest', guest(0x1000, 2), guest(0x1000, 0), 'ste', 1, true],
      ['both at once', guest(0x1000, 2), guest(0x2000, 0), 'ste', 3, false],
      ['a guest that begins to bypass', guest(0x1000, 2), s2, 'ste', 3, true],
      ['a guest that ends its bypass', s2, guest(0x1000, 2), 'ste', 2, true],
      ['a guest that begins to abort', guest(0x1000, 2), abort, 'ste', 2, true],
      ['no change', cdtable, cdtable, 'ste', 0, true],
      ['another ASID', cd(1), cd(2), 'cd', 1, true],
      ['another table and ASID', cd(1), cd(2, 0x7000_0000), 'cd', 3, false],
    ]
  it.each(rows)('%s', (_name, from, to, kind, syncs, hitless) => {
    const result = run(from, to, kind)
    expect(result.last).toEqual(to)
    expect([result.syncs, result.hitless]).toEqual([syncs, hitless])
  })
})

describe('every state that hardware can see', () => {
  const entries = [
    abort,
    bypass,
    cdtable,
    s1dss(0),
    s1dss(1),
    s2,
    stageTwoSte({ ...STAGE_2, vmid: 0 }),
    guest(0x1000, 2),
    guest(0x2000, 2),
    guest(0x2000, 0),
    invalid,
  ]

  it('is the old entry, the new one, or invalid, by the bits that it looks at', () => {
    for (const from of entries) {
      for (const to of entries) {
        const { states, hitless } = run(from, to, 'ste')
        for (const state of states) {
          const isInvalid = STE.V.get(state, 0) === 0
          expect(isInvalid && hitless && from !== invalid && to !== invalid).toBe(false)
          const safe = safeSteBits(from, to)
          expect(isInvalid || looksLike(state, from, safe) || looksLike(state, to, safe)).toBe(true)
        }
      }
    }
  })

  /** Equal in the used bits, but for those that may change early. */
  function looksLike(state: Int32Array, entry: Int32Array, safe: Int32Array): boolean {
    const difference = state.map((word, i) => word ^ entry[i])
    return !anySet(difference, 0, usedSteBits(entry).map((bits, i) => bits & ~safe[i]) as Int32Array)
  }
})

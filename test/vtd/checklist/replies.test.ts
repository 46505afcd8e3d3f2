/** What each fault reason answers to translation, translated and page requests, and what is recorded. [VTD 7.1.3 T30] */

import { describe, expect, it } from 'vitest'
import { REQUEST } from '../../../hw-model/port.js'
import { type Case, worldOf } from './cases.js'
import { FIRST_STAGE_CASES } from './cases-first.js'
import { LEGACY_CASES } from './cases-legacy.js'
import { PASID_CASES } from './cases-pasid.js'
import { SCALABLE_CASES } from './cases-scalable.js'
import { SECOND_STAGE_CASES } from './cases-second.js'
import { digits, ECAP_48, hex, REG } from './guest.js'
import { VA, type World } from './world.js'

/**
 * Replies by reason. Translation requests: UR, CA, nothing (success without permission), left (success with what is
 * left). Translated requests: UR, or through where the condition does not concern them. Page requests: invalid.
 */
const REPLIES = `
  1 UR UR; 2 UR UR; 3 CA UR; 4 nothing; 5 left; 6 left; 7 CA through; 8 CA UR; 9 CA UR; a CA UR; b CA UR; c CA through;
  e CA through; 30 CA UR invalid; 33 UR UR invalid; 31 UR; 34 UR; 38 CA UR invalid; 39 UR UR invalid; 3a CA UR invalid;
  40 CA UR invalid; 41 UR UR invalid; 42 CA UR invalid; 43 CA UR invalid; 45 UR - invalid; 46 UR - invalid; 48 UR - invalid;
  50 CA through invalid; 51 nothing through invalid; 52 CA through invalid; 58 CA through invalid;
  59 nothing through invalid; 5a CA through invalid; 5b CA through invalid; 5c nothing; 5d nothing; 70 nothing through;
  71 nothing through; 72 nothing through; 73 nothing through; 74 nothing through; 75 nothing through; 76 nothing through;
  77 nothing through; 78 CA through; 79 nothing through; 7a CA through; 7b CA through; 7c CA through; 7d CA through;
  80 nothing; 81 nothing through; 83 nothing; 84 nothing; 85 left through; 86 left through; 87 CA through; 89 UR;
  90 nothing through; 91 nothing through`

const TABLE = new Map(
  REPLIES.trim()
    .split(/;\s+/)
    .map((row) => row.split(' '))
    .map(([code, ...replies]) => [Number.parseInt(code, 16), replies] as const),
)

const CASES = [...LEGACY_CASES, ...SCALABLE_CASES, ...PASID_CASES, ...FIRST_STAGE_CASES, ...SECOND_STAGE_CASES]

const DT = 1n << 2n
const PRS = 1n << 29n

/** What a unit with device-TLBs does not have: entries whose DTE or PRE is reserved, ATS through legacy pass-through. */
const concerns = ({ kind, what, options }: Case): boolean =>
  kind !== 'legacy pass-through' && !/^(DTE|PRE) in/.test(what) && options?.ecap !== 0xfc3n

/** The same world, with ATS: DT, and TT 1 or DTE of the context entry; PRE as well for page requests. */
function withAts(told: Case, bits = 4n, then: (w: World) => void = () => {}): World {
  const base = told.options?.ecap ?? ECAP_48
  const ecap = bits === 4n ? base | DT : base | DT | PRS
  return worldOf(told, { ecap }, (w) => {
    w.or(w.context, bits)
    then(w)
  })
}

/** A record's second word as another kind of request has it: AT in 61:60, T1 in 62, T2 in 28. */
function recordOf(told: Case, at: bigint, t1: bigint, t2: bigint): string {
  const [low, high] = told.record.split(' ')
  const kept = BigInt(`0x${high}`) & ~((7n << 60n) | (1n << 28n))
  return `${low} ${digits(kept | (at << 60n) | (t1 << 62n) | (t2 << 28n))}`
}

const reason = ({ code }: Case): string => `0x${code.toString(16).padStart(2, '0')}`
const request = ({ dma = [VA, 'r'] }: Case): Case['dma'] & {} => dma

describe('[VTD 7.1.3] a translation request', () => {
  for (const told of CASES.filter(concerns)) {
    const [reply] = TABLE.get(told.code) as string[]
    // A translation request with PASID for the interrupt range is granted in pass-through.
    if (told.what.startsWith('a pass-through request with PASID')) continue
    const expected = reply === 'left' ? (told.left ?? 'nothing') : reply
    const isRecorded = reply === 'UR' || reply === 'CA' || told.code === 0x91

    it(`${reason(told)}: ${told.what}: ${expected}, ${isRecorded ? 'recorded' : 'not recorded'}`, () => {
      const w = withAts(told)
      const [va, access, how = {}] = request(told)
      expect(w.dma(va, access, { ...how, type: REQUEST.TRANSLATION })).toBe(expected)
      expect(w.faults()).toEqual(isRecorded ? [recordOf(told, 1n, 1n, 0n)] : [])
    })
  }
})

describe('[VTD 7.1.3] a translated request', () => {
  for (const told of CASES.filter(concerns)) {
    const [, reply] = TABLE.get(told.code) as string[]
    const [va, access, how = {}] = request(told)
    // That a root second-stage table cannot be read, and what needs a PASID, does not concern translated requests.
    if (reply === undefined || reply === '-' || how.pasid !== undefined) continue
    const expected =
      reply === 'through' || told.what.startsWith('second-stage tables') ? hex(va) : `fault ${told.code.toString(16)}`

    it(`${reason(told)}: ${told.what}: ${expected}`, () => {
      const w = withAts(told)
      expect(w.dma(va, access, { ...how, type: REQUEST.TRANSLATED })).toBe(expected)
      const [t1, t2] = [access === 'w' ? 0n : 1n, access === 'rw' ? 1n : 0n]
      expect(w.faults()).toEqual(expected === hex(va) ? [] : [recordOf(told, 2n, t1, t2)])
    })
  }
})

describe('[VTD 7.1.3, 7.4.1] a page request', () => {
  const UNQUALIFIED = [0x30, 0x33, 0x38, 0x39, 0x3a, 0x40, 0x50, 0x58]
  for (const told of CASES.filter(concerns)) {
    const [, , reply] = TABLE.get(told.code) as string[]
    // Host tables are asked in scalable mode alone.
    if (reply !== 'invalid' || (told.kind === 'legacy' && told.rtaddr === undefined)) continue

    it(`${reason(told)}: ${told.what}: answered invalid, recorded, not queued`, () => {
      const w = withAts(told, 0x14n)
      w.set64(REG.PQA, 0x60_0000n)
      const [va, access, how = {}] = request(told)
      w.requestPage(va, access, { ...how, group: 5 })
      expect(w.told).toEqual([`pages ${how.sid ?? 0x021a} ${how.pasid ?? -1} 5 1`])
      expect(w.faults()).toEqual([recordOf(told, 0n, 0n, 1n)])
      w.requestPage(va, access, { ...how, isLast: false })
      expect([w.told.length, w.faults().length, w.get64(REG.PQT), w.get32(REG.PRS)]).toEqual([1, 1, 0n, 0n])
    })

    it(`${reason(told)}: ${told.what}: FPD of the context entry`, () => {
      const w = withAts(told, 0x14n, (world) => world.or(world.context, 2n))
      w.set64(REG.PQA, 0x60_0000n)
      const [va, access, how = {}] = request(told)
      w.requestPage(va, access, how)
      const silent = told.depth > 0 && !UNQUALIFIED.includes(told.code)
      expect([w.told.length, w.faults().length]).toEqual([1, silent ? 0 : 1])
    })
  }
})

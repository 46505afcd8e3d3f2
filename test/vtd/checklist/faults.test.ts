/** Every fault reason, raised through registers, memory and requests alone, with the whole of its record. */

import { describe, expect, it } from 'vitest'
import { ask, type Case, worldOf } from './cases.js'
import { FIRST_STAGE_CASES } from './cases-first.js'
import { LEGACY_CASES } from './cases-legacy.js'
import { PASID_CASES } from './cases-pasid.js'
import { SCALABLE_CASES } from './cases-scalable.js'
import { SECOND_STAGE_CASES } from './cases-second.js'
import type { World } from './world.js'

/** Reasons that are recorded whatever FPD says. [VTD 7.1.3 T30] */
const UNQUALIFIED = [0x01, 0x08, 0x09, 0x0a, 0x30, 0x31, 0x32, 0x33, 0x34, 0x38, 0x39, 0x3a, 0x40, 0x50, 0x58]

/** Sets FPD of the context entry (1), of the PASID directory entry (2), of both PASIDs' entries (3). */
function suppress(w: World, scope: number): void {
  if (scope === 1) w.or(w.context, 2n)
  if (scope === 2) w.or(w.directoryEntry, 2n)
  if (scope === 3) for (const pasid of [0x43, 0x45]) w.or(w.entry(pasid), 2n)
}

function raises(cases: readonly Case[]): void {
  for (const told of cases) {
    const { code, what, record, depth, kind } = told
    const reason = code.toString(16).padStart(2, '0')

    it(`0x${reason}: ${what}`, () => {
      const w = worldOf(told)
      expect(ask(w, told)).toBe(`fault ${code.toString(16)}`)
      expect(w.faults()).toEqual([record])
    })

    it(`0x${reason}: ${what}: FPD`, () => {
      for (const scope of kind.startsWith('legacy') ? [1] : [1, 2, 3]) {
        const w = worldOf(told, {}, (world) => suppress(world, scope))
        expect(ask(w, told)).toBe(`fault ${code.toString(16)}`)
        const silent = scope <= depth && !UNQUALIFIED.includes(code)
        expect(w.faults(), `FPD ${scope}`).toEqual(silent ? [] : [record])
      }
    })
  }
}

describe('[VTD 7.1.3] in legacy mode, an untranslated request is blocked for', () => raises(LEGACY_CASES))

describe('[VTD 7.1.3] in scalable mode, an untranslated request is blocked for', () =>
  raises([...SCALABLE_CASES, ...PASID_CASES]))

describe('[VTD 7.1.3] in page tables of scalable mode, an untranslated request is blocked for', () =>
  raises([...FIRST_STAGE_CASES, ...SECOND_STAGE_CASES]))

/** Every reason that an untranslated request can meet, but 0x29 of the interrupt range, which has a file of its own. */
const UNTRANSLATED = `1 2 3 4 5 6 7 8 9 a b c e 30 31 33 34 38 39 3a 40 41 42 43 45 46 48 50 51 52 58 59 5a 5b 5c 5d
  70 71 72 73 74 75 76 77 78 79 7a 7b 7c 7d 80 81 83 84 85 86 87 89 90 91`

describe('[VTD 7.1.3 Fault Conditions and Remapping Hardware Behavior for Various Requests]', () => {
  it('has every reason of untranslated requests told above', () => {
    const cases = [...LEGACY_CASES, ...SCALABLE_CASES, ...PASID_CASES, ...FIRST_STAGE_CASES, ...SECOND_STAGE_CASES]
    const told = new Set(cases.map(({ code }) => code))
    expect([...told].sort((a, b) => a - b).map((code) => code.toString(16))).toEqual(UNTRANSLATED.split(/\s+/))
  })
})

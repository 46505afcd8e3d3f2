/** A seeded slice of the simulation; `npm run sim` plays any other. */

import { describe, expect, it } from 'vitest'
import { MET } from './met.js'
import { ARCHITECTURES, type Architecture, emptySummary, type Finding, run, type Summary } from './run.js'

const IS_LONG = process.env['IOMMUD_TEST_LONG'] === '1'
/** The long run compares ten million translations of each architecture. */
const SEEDS = IS_LONG ? [1, 2, 3, 4] : [1, 2]
const TRANSLATIONS = IS_LONG ? { smmuv3: 2_500_000, vtd: 2_500_000 } : { smmuv3: 25_000, vtd: 40_000 }

/** Steps between two turns of the event loop, in which vitest hears of us. */
const SLICE = 100

/** What was met in the runs so far. */
const met: Readonly<Record<Architecture, Set<string>>> = { smmuv3: new Set(), vtd: new Set() }

describe('a guest that invalidates properly', () => {
  for (const arch of ARCHITECTURES) {
    for (const seed of SEEDS) {
      it(
        `sees the ${arch} unit do what the manual says, cached or not: seed ${seed}`,
        async () => {
          const { findings, summary } = await play(seed, arch)
          expect(findings.slice(0, 5)).toEqual([])
          expect(summary.translated).toBeGreaterThan(summary.accesses / 5)
          expect(summary.blocked).toBeGreaterThan(summary.accesses / 10)
          expect(summary.hits).toBeGreaterThan(summary.accesses / 50)
          expect(summary.commands).toBeGreaterThan(summary.steps * 10)
          for (const name of Object.keys(summary.mix)) met[arch].add(name)
        },
        IS_LONG ? 3_600_000 : 120_000,
      )
    }

    it(`comes across everything that an ${arch} unit has`, () => {
      expect(MET[arch].filter((name) => !met[arch].has(name))).toEqual([])
    })
  }
})

/** Plays until enough was compared. */
async function play(seed: number, arch: Architecture): Promise<{ findings: Finding[]; summary: Summary }> {
  const findings: Finding[] = []
  const summary = emptySummary(seed)
  while (summary.accesses < TRANSLATIONS[arch]) {
    const from = summary.steps
    run(
      { seed, architectures: [arch], from, to: from + SLICE },
      (finding) => findings.push(finding),
      undefined,
      summary,
    )
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { findings, summary }
}

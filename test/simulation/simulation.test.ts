/** A seeded slice of the simulation; `npm run sim` plays any other. */

import { describe, expect, it } from 'vitest'
import { ARCHITECTURES, type Finding, run } from './run.js'

const IS_LONG = process.env['IOMMUD_TEST_LONG'] === '1'
const STEPS = IS_LONG ? 20_000 : 150
const SEEDS = IS_LONG ? [1, 2, 3, 4] : [1, 2]

describe('a guest that invalidates properly', () => {
  for (const arch of ARCHITECTURES) {
    for (const seed of SEEDS) {
      it(
        `sees the ${arch} unit do what the manual says, cached or not: seed ${seed}`,
        () => {
          const findings: Finding[] = []
          const summary = run({ seed, architectures: [arch], from: 0, to: STEPS }, (finding) => findings.push(finding))
          expect(findings.slice(0, 5)).toEqual([])
          expect(summary.translated).toBeGreaterThan(summary.accesses / 5)
          expect(summary.blocked).toBeGreaterThan(summary.accesses / 10)
          expect(summary.hits).toBeGreaterThan(summary.accesses / 50)
          expect(summary.commands).toBeGreaterThan(STEPS * 10)
        },
        IS_LONG ? 3_600_000 : 60_000,
      )
    }
  }
})

/** A seeded slice of the simulation; `npm run sim` plays any other. */

import { describe, expect, it } from 'vitest'
import { TRAIT_NAMES } from './guest-smmuv3-ids.js'
import { ARCHITECTURES, type Architecture, emptySummary, type Finding, run, type Summary } from './run.js'

const IS_LONG = process.env['IOMMUD_TEST_LONG'] === '1'
/** The long run compares ten million translations of each architecture. */
const SEEDS = IS_LONG ? [1, 2, 3, 4] : [1, 2]
const TRANSLATIONS = IS_LONG ? 2_500_000 : 25_000

/** Steps between two turns of the event loop, in which vitest hears of us. */
const SLICE = 100

/** What an SMMUv3 guest has to come across, or the simulation proves less than it says. */
const MET: readonly string[] = [
  ...TRAIT_NAMES.map((name) => `unit: ${name}`),
  'explained',
  'DS',
  '52-bit input',
  '52-bit output',
  'small table',
  'E0PD',
  'EPAN',
  'VMID wildcards',
  'SMMUEN = 0 while transactions are held',
  'substream',
  '4 KiB granule',
  '16 KiB granule',
  '64 KiB granule',
  'Contiguous',
  'global',
  'PAN',
  'AF set, stage 1',
  'AF set, stage 2',
  'AF set, TT read',
  'AF set, CD',
  'made dirty, stage 1',
  'made dirty, stage 2',
  'made dirty, TT write',
  'EL2',
  'EL2-E2H',
  'ordinary: razWi',
  'ordinary: stall',
  'RESUME, retry',
  'RESUME, terminate',
  'STALL_TERM',
  'request: granted',
  'request: unsupported',
  'request: completerAbort',
  'translated: translated',
  'translated: abort',
  // Every event that configuration and translation can make. [SMMU 7.3 Event records]
  ...[0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13].map(
    (id) => `event 0x${id.toString(16)}`,
  ),
]

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
          if (arch === 'smmuv3') expect(MET.filter((name) => summary.mix[name] === undefined)).toEqual([])
        },
        IS_LONG ? 3_600_000 : 120_000,
      )
    }
  }
})

/** Plays until enough was compared. */
async function play(seed: number, arch: Architecture): Promise<{ findings: Finding[]; summary: Summary }> {
  const findings: Finding[] = []
  const summary = emptySummary(seed)
  while (summary.accesses < TRANSLATIONS) {
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

/** A seeded slice of the oracle's proof; `npm run test:oracle` does the whole. */

import { describe, expect, it } from 'vitest'
import { ARCHITECTURES } from '../simulation/run.js'
import { doJob, slices } from './jobs.js'

const PROPER = { smmuv3: 60, vtd: 60 } as const
const MUTATED = { smmuv3: 12, vtd: 16 } as const

describe('software that forgets nothing', () => {
  for (const job of slices()) {
    it(`is not accused: the first 200,000 rows of guest ${job.kind === 'trace' ? job.guest : ''}`, () => {
      const { accused, accesses } = doJob(job)
      expect(accused).toEqual([])
      expect(accesses).toBeGreaterThan(140_000)
    }, 120_000)
  }

  for (const arch of ARCHITECTURES) {
    it(`is not accused: random guests of a ${arch} unit with any caches`, () => {
      const { accused, accesses } = doJob({ kind: 'proper', arch, seed: 1, from: 0, to: PROPER[arch] })
      expect(accused).toEqual([])
      expect(accesses).toBeGreaterThan(PROPER[arch] * 100)
    }, 120_000)
  }
})

describe('one invalidation dropped, narrowed or aimed elsewhere', () => {
  for (const arch of ARCHITECTURES) {
    it(`is reported where a later DMA meets what it left behind, with what was missing: ${arch}`, () => {
      const { accused, failures, mutants } = doJob({ kind: 'mutants', arch, seed: 1, from: 0, to: MUTATED[arch] })
      expect(accused).toEqual([])
      expect(failures).toEqual([])
      expect(mutants.reached).toBeGreaterThan(MUTATED[arch] / 4)
      expect(mutants.reported).toBe(mutants.reached)
    }, 120_000)
  }
})

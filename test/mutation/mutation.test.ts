/** A slice of `npm run mutate`: a unit over bytes that change under it. */

import { describe, expect, it } from 'vitest'
import { judge } from './judge.js'
import { ARCHITECTURES, run } from './run.js'

const MUTATIONS = process.env['IOMMUD_TEST_LONG'] === '1' ? 10_000_000 : 200_000

describe('a guest whose tables, commands and registers change byte by byte', () => {
  for (const arch of ARCHITECTURES) {
    it(`is answered ${MUTATIONS} times by ${arch} without a throw, a stall or growth`, { timeout: 3_600_000 }, () => {
      expect(judge(run(arch, 1, MUTATIONS))).toEqual([])
    })
  }

  it('is complained about when nothing was tried', () => {
    expect(judge(run('vtd', 1, 0))).toContain('nothing was ever translated, so nothing was tried')
  })
})

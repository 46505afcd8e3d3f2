import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { AtsBench, IPA, SID, VA } from './ats-bench.js'
import { AF, AP, leafOf, PAGE, PAGE_2, S2AP } from './httu-guest.js'

describe('[SMMU 13.7] a translation request that is granted nothing', () => {
  it('leaves no entry behind whose stage 2 flag is clear: the next access sets it', () => {
    // Stage 1 lets it be read and executed, stage 2 written and executed; to execute nobody asks here.
    const bench = new AtsBench().nested({ S2HA: 1 }, PAGE | AF | AP.USER_RO, PAGE_2 | S2AP.W)
    const at = leafOf(bench, bench.s2, IPA)
    expect(bench.request(VA, { access: ACCESS.READ | ACCESS.WRITE })).toBe('nothing/12')
    expect(bench.peek(at) & AF).toBe(0n)
    expect(bench.dma(SID, VA, { access: ACCESS.READ | ACCESS.EXECUTE })).toBe('ok a0000000')
    expect(bench.peek(at) & AF).toBe(AF)
  })
})

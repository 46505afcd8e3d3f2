/** What a guest's PASID table entry becomes of when a user domain is made of it. */

import { describe, expect, it } from 'vitest'
import { vtdS1Of } from '../../clients/cli/capture/user-replay.js'
import { VtdS1Flag } from '../../clients/node/index.js'

describe('a PASID table entry as a user domain', () => {
  it('of four levels, as Linux writes it', () =>
    expect(vtdS1Of([0x41n, 2n, 0x1_2345_6000n, 0n])).toEqual({ flags: 0n, pgtblAddr: 0x1_2345_6000n, addrWidth: 48 }))

  it('of five levels', () => expect(vtdS1Of([0x41n, 2n, 0x7004n]).addrWidth).toBe(57))

  it.each([
    ['SRE', 0x7001n, VtdS1Flag.SRE],
    ['WPE', 0x7010n, VtdS1Flag.WPE],
    ['EAFE', 0x7080n, VtdS1Flag.EAFE],
  ])('keeps %s', (_name, word, flag) =>
    expect(vtdS1Of([0x41n, 2n, word])).toEqual({ flags: BigInt(flag), pgtblAddr: 0x7000n, addrWidth: 48 }),
  )
})

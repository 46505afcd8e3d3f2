/** Numbers of fault reasons and their labels, spelled from the manual's table. */

import { describe, expect, it } from 'vitest'
import { faultName, REASON } from '../../../hw-model/vtd/index.js'

/** Label and code of every condition. [VTD 7.1.3 Fault Conditions and Remapping Hardware Behavior] */
const CONDITIONS = `
  LRT.1 8; LRT.2 1; LRT.3 a; LCT.1 9; LCT.2 2; LCT.3 b; LCT.4 3; LCT.5 d; LSS.1 7; LSS.2 c; LGN.1 4; LGN.2 5; LGN.3 6;
  LGN.4 e; RTA.1 30; RTA.2 31; RTA.3 32; RTA.4 33; RTA.5 34; SRT.1 38; SRT.2 39; SRT.3 3a; SCT.1 40; SCT.2 41; SCT.3 42;
  SCT.4 43; SCT.5 44; SCT.6 45; SCT.7 46; SCT.8 47; SCT.9 48; SCT.10 49; SPD.1 50; SPD.2 51; SPD.3 52; SPT.1 58; SPT.2 59;
  SPT.3 5a; SPT.4 5b; SPT.5 5c; SPT.6 5d; SPT.9 60; SFS.1 70; SFS.2 71; SFS.3 72; SFS.4 73; SFS.5 74; SFS.6 75; SFS.7 76;
  SFS.8 77; SFS.9 90; SFS.10 91; SSS.1 78; SSS.2 79; SSS.3 7a; SSS.4 7b; SSS.5 7c; SSS.6 7d; SGN.1 80; SGN.2 81; SGN.4 83;
  SGN.5 84; SGN.6 85; SGN.7 86; SGN.8 87; SGN.10 89; HPT.1 a0; HPT.2 a1; HPT.3 a2; HPT.4 a3; HPT.5 a4; HPT.6 a5`

const REASONS = new Map(
  CONDITIONS.trim()
    .split(/;\s+/)
    .map((entry) => entry.split(' '))
    .map(([label, code]) => [Number.parseInt(code, 16), label]),
)

describe('[VTD 7.1.3 Fault Conditions and Remapping Hardware Behavior for Various Requests]', () => {
  it('numbers every reason that the model can give', () => {
    const { NONE, INTERRUPT_REQUEST, ...reasons } = REASON
    expect([NONE, INTERRUPT_REQUEST]).toEqual([0, 0x29])
    for (const [name, code] of Object.entries(reasons)) expect(`${REASONS.get(code)}`).toBe(name.replace('_', '.'))
  })

  it('gives none of the numbers that are not assigned any more', () => {
    const codes: readonly number[] = Object.values(REASON)
    for (const gone of [0x35, 0x36, 0x37, 0x82, 0x88, 0x92]) expect(codes).not.toContain(gone)
  })

  it('reads as its number and its label', () => {
    expect([faultName(0x71), faultName(5), faultName(0x89)]).toEqual(['0x71 SFS.2', '0x05 LGN.2', '0x89 SGN.10'])
    expect(faultName(0x82)).toBe('0x82')
  })
})

/** Host permission table entries, spelled from the manual's tables. */

import { describe, expect, it } from 'vitest'
import * as records from '../../hw-model/vtd/hpt-records.js'
import { expectBits, expectWords, isLayout } from './spell.js'

const { HPTL1E, HPTL2E, HPTL3E, HPTL4E } = records

/** The upper half of every entry that leads to a table. */
const NEXT = 'AV 0; ADDR* 51:12; Ignored127_116 63:52'
/** Permissions of 4 bits each, of which the lower two are R and W. */
const FIRST_8 = 'PP0 1:0; PP1 5:4; PP2 9:8; PP3 13:12; PP4 17:16; PP5 21:20; PP6 25:24; PP7 29:28'
const SECOND_8 = 'PP8 33:32; PP9 37:36; PP10 41:40; PP11 45:44; PP12 49:48; PP13 53:52; PP14 57:56; PP15 61:60'
const THIRD_8 = 'PP16 1:0; PP17 5:4; PP18 9:8; PP19 13:12; PP20 17:16; PP21 21:20; PP22 25:24; PP23 29:28'
const FOURTH_8 = 'PP24 33:32; PP25 37:36; PP26 41:40; PP27 45:44; PP28 49:48; PP29 53:52; PP30 57:56; PP31 61:60'

describe('[VTD 9.12 Host Permission Table Entries]', () => {
  it('has no record that this file leaves out', () => {
    const layouts = records as unknown as Readonly<Record<string, unknown>>
    const made = Object.keys(layouts).filter((name) => isLayout(layouts[name]))
    expect(made.sort()).toEqual(['HPTL1E', 'HPTL2E', 'HPTL3E', 'HPTL4E'])
  })

  it('has each bit of HPTL4E where the manual has it', () => expectBits(HPTL4E, ['', NEXT]))
  it('has each bit of HPTL3E where the manual has it', () => expectBits(HPTL3E, [FIRST_8, NEXT]))
  it('has each bit of HPTL2E where the manual has it', () => expectBits(HPTL2E, [`${FIRST_8}; ${SECOND_8}`, NEXT]))
  it('has each bit of HPTL1E where the manual has it', () =>
    expectBits(HPTL1E, [`${FIRST_8}; ${SECOND_8}`, `${THIRD_8}; ${FOURTH_8}`]))

  it('with a table at 0x12_3456_7000', () => expectWords(HPTL4E, { AV: 1, ADDR: 0x12_3456_7000 }, '0 0000001234567001'))
  it('with its first gigabyte to read, its last to write', () => expectWords(HPTL3E, { PP0: 1, PP7: 2 }, '20000001 0'))
  it('with the last of its 2 MiB to read and write', () =>
    expectWords(HPTL2E, { PP15: 3, AV: 1, ADDR: 0x5000 }, '3000000000000000 5001'))
  it('with its first and last page to read and write', () =>
    expectWords(HPTL1E, { PP0: 3, PP31: 3 }, '3 3000000000000000'))
})

/** PRI queue entries, spelled from the manual's table and vectors. */

import { describe, expect, it } from 'vitest'
import * as records from '../../hw-model/smmuv3/records.js'
import { expectBits, expectWords, isLayout } from './spell.js'

describe('[SMMU 8 Page request queue]', () => {
  it('has each bit of an entry where the manual has it', () =>
    expectBits(records.PRI_ENTRY, [
      'StreamID 31:0; SubstreamID 51:32; Priv 58; X 59; R 60; W 61; Last 62; SSV 63',
      'PRGIndex 8:0; PageAddress* 63:12',
    ]))

  it('of stream 0x10 with PASID 5 that will read and write, the last of group 3', () =>
    expectWords(
      records.PRI_ENTRY,
      { StreamID: 0x10, SubstreamID: 5, R: 1, W: 1, Last: 1, SSV: 1, PRGIndex: 3, PageAddress: 0x1234_5678_9000 },
      'f000000500000010 0000123456789003',
    ))

  it('of a stop marker of PASID 5', () =>
    expectWords(records.PRI_ENTRY, { StreamID: 0x10, SubstreamID: 5, Last: 1, SSV: 1 }, 'c000000500000010'))

  it('of a privileged fetch without the end of its group', () =>
    expectWords(
      records.PRI_ENTRY,
      { StreamID: 0x10, SubstreamID: 5, Priv: 1, X: 1, R: 1, SSV: 1, PRGIndex: 0x1ff, PageAddress: 0x1000 },
      '9c00000500000010 11ff',
    ))
})

describe('the records of the unit', () => {
  it('are those whose words are spelled here and beside', () => {
    const commands = /^CMD_/
    const events = new Set(Object.keys(records.EVENT))
    const others = Object.keys(records)
      .filter((name) => isLayout((records as unknown as Readonly<Record<string, unknown>>)[name]))
      .filter((name) => !commands.test(name) && !events.has(name))
    expect(others.sort()).toEqual(['CD', 'COMMAND', 'EVENT_RECORD', 'L1CD', 'L1STD', 'PRI_ENTRY', 'STE'])
  })
})

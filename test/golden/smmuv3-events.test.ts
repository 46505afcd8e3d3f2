/** SMMUv3 event records, spelled from the manual's tables and vectors. */

import { describe, expect, it } from 'vitest'
import * as events from '../../hw-model/smmuv3/event-records.js'
import { expectBits, expectWords } from './spell.js'

const STREAM = 'ID 7:0; SID 63:32'
const SUBSTREAM = `${STREAM}; SSV 11; SSID 31:12`
const ACCESS = 'PnU 33; InD 34; RnW 35'
const INPUT = 'InputAddr 63:0'
const FETCH = 'FetchAddr* 55:3'
const IPA = 'IPA* 55:12'
const FAULT = `STAG 15:0; Stall 31; ${ACCESS}; NSIPA 38; S2 39; CLASS 41:40`

/** Name, number, and the bit table of each word. [SMMU 7.3 Event records] */
const EVENTS: readonly (readonly [name: string, id: number, ...tables: string[]])[] = [
  ['F_UUT', 0x01, SUBSTREAM, `Reason 15:0; ${ACCESS}`, INPUT],
  ['C_BAD_STREAMID', 0x02, SUBSTREAM],
  ['F_STE_FETCH', 0x03, SUBSTREAM, 'Reason 15:0', '', FETCH],
  ['C_BAD_STE', 0x04, SUBSTREAM],
  ['F_BAD_ATS_TREQ', 0x05, SUBSTREAM, 'Span 3:0; P 28; X 29; W 30; R 31', 'InputAddr* 63:12'],
  ['F_STREAM_DISABLED', 0x06, STREAM],
  ['F_TRANSL_FORBIDDEN', 0x07, STREAM, 'RnW 35', INPUT],
  ['C_BAD_SUBSTREAMID', 0x08, `${STREAM}; SSID 31:12`],
  ['F_CD_FETCH', 0x09, SUBSTREAM, 'Reason 15:0', '', FETCH],
  ['C_BAD_CD', 0x0a, SUBSTREAM],
  ['F_WALK_EABT', 0x0b, SUBSTREAM, `Reason 15:0; ${ACCESS}; S2 39; CLASS 41:40`, INPUT, FETCH],
  ['F_TRANSLATION', 0x10, SUBSTREAM, FAULT, INPUT, IPA],
  ['F_ADDR_SIZE', 0x11, SUBSTREAM, FAULT, INPUT, IPA],
  ['F_ACCESS', 0x12, SUBSTREAM, FAULT, INPUT, IPA],
  ['F_PERMISSION', 0x13, SUBSTREAM, `${FAULT}; TTRnW 44`, INPUT, IPA],
  ['F_TLB_CONFLICT', 0x20, SUBSTREAM, `Reason 15:0; ${ACCESS}; S2 39`, INPUT, IPA],
  ['F_CFG_CONFLICT', 0x21, SUBSTREAM, 'Reason 15:0'],
  ['E_PAGE_REQUEST', 0x24, SUBSTREAM, 'uX 33; uW 34; uR 35; pX 37; pW 38; pR 39; Span 63:52', 'InputAddr* 63:12'],
  ['F_VMS_FETCH', 0x25, SUBSTREAM, 'Reason 15:0', '', FETCH],
]

const layouts = events as unknown as Readonly<Record<string, unknown>>
const numbers = events.EVENT as Readonly<Record<string, number>>

describe('[SMMU 7.3 Event records]', () => {
  for (const [name, id, ...tables] of EVENTS) {
    it(`${name} is ${id.toString(16)} and has each bit where the manual has it`, () => {
      expect(numbers[name]).toBe(id)
      expectBits(layouts[name], tables)
    })
  }

  it('has no event that the table above leaves out', () => {
    expect(Object.keys(numbers).sort()).toEqual(EVENTS.map(([name]) => name).sort())
  })
})

/** The top 12 bits of VA 0x123456789abc leave a double exact, so InputAddr goes in as a number. */
const VA = 0x1234_5678_9abc
const stream = (name: string): Record<string, number> => ({ ID: numbers[name], SID: 0x10 })
const pasid = { SSV: 1, SSID: 5 }

const VECTORS: readonly (readonly [name: string, what: string, fields: Record<string, number>, words: string])[] = [
  [
    'F_TRANSLATION',
    'of stage 1, a read',
    { ...pasid, RnW: 1, CLASS: 2, InputAddr: VA },
    '0000001000005810 0000020800000000 0000123456789abc',
  ],
  [
    'F_TRANSLATION',
    'of stage 2 when the CD at IPA 0x8000_0140 is read',
    { ...pasid, RnW: 1, S2: 1, InputAddr: VA, IPA: 0x8000_0000 },
    '0000001000005810 0000008800000000 0000123456789abc 0000000080000000',
  ],
  [
    'F_PERMISSION',
    'of stage 2 when a flag is written into a stage 1 entry at IPA 0x8100_0478',
    { RnW: 1, S2: 1, CLASS: 1, InputAddr: VA, IPA: 0x8100_0000 },
    '0000001000000013 0000018800000000 0000123456789abc 0000000081000000',
  ],
  [
    'F_TRANSLATION',
    'of a stalled write',
    { CLASS: 2, Stall: 1, STAG: 0x21, InputAddr: VA },
    '0000001000000010 0000020080000021 0000123456789abc',
  ],
  ['C_BAD_SUBSTREAMID', 'of substream 9', { SSID: 9 }, '0000001000009008'],
  ['C_BAD_CD', 'of substream 5', pasid, '000000100000580a'],
  ['F_STREAM_DISABLED', 'alone', {}, '0000001000000006'],
  [
    'F_ADDR_SIZE',
    'of a bypassing write at 2^48',
    { CLASS: 2, InputAddr: 2 ** 48 },
    '0000001000000011 0000020000000000 0001000000000000',
  ],
  ['C_BAD_STREAMID', 'of a request with substream 5', pasid, '0000001000005802'],
  ['C_BAD_STE', 'alone', {}, '0000001000000004'],
  ['F_STE_FETCH', 'at 0x5000_0040', { FetchAddr: 0x5000_0040 }, '0000001000000003 0 0 0000000050000040'],
  ['F_CD_FETCH', 'at 0x5000_0048', { ...pasid, FetchAddr: 0x5000_0048 }, '0000001000005809 0 0 0000000050000048'],
  [
    'F_WALK_EABT',
    'of a privileged fetch at the stage 1 entry at 0x8100_0478',
    { PnU: 1, InD: 1, RnW: 1, CLASS: 1, InputAddr: VA, FetchAddr: 0x8100_0478 },
    '000000100000000b 0000010e00000000 0000123456789abc 0000000081000478',
  ],
  [
    'F_ACCESS',
    'of a privileged write at stage 2, at IPA 0x8123_4000',
    { PnU: 1, S2: 1, CLASS: 2, InputAddr: VA, IPA: 0x8123_4000 },
    '0000001000000012 0000028200000000 0000123456789abc 0000000081234000',
  ],
  [
    'F_PERMISSION',
    'of stage 2 when a stage 1 entry is read',
    { S2: 1, CLASS: 1, TTRnW: 1, InputAddr: VA, IPA: 0x8100_0000 },
    '0000001000000013 0000118000000000 0000123456789abc 0000000081000000',
  ],
  ['F_UUT', 'of a write', { InputAddr: VA }, '0000001000000001 0 0000123456789abc'],
  ['F_TRANSL_FORBIDDEN', 'of a read', { RnW: 1, InputAddr: VA }, '0000001000000007 800000000 0000123456789abc'],
  ['F_TLB_CONFLICT', 'of a read', { RnW: 1, InputAddr: VA }, '0000001000000020 800000000 0000123456789abc'],
  ['F_CFG_CONFLICT', 'of substream 5', pasid, '0000001000005821'],
  ['F_VMS_FETCH', 'at 0x5000_0000', { FetchAddr: 0x5000_0000 }, '0000001000000025 0 0 0000000050000000'],
]

describe('an event in the queue', () => {
  for (const [name, what, fields, words] of VECTORS) {
    it(`${name} ${what}`, () => expectWords(layouts[name], { ...stream(name), ...fields }, words))
  }
})

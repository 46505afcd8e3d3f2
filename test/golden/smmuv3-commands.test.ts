/** SMMUv3 commands, spelled from the manual's tables and vectors. */

import { describe, expect, it } from 'vitest'
import * as commands from '../../hw-model/smmuv3/command-records.js'
import { expectBits, expectWords } from './spell.js'

const SID = 'SID 63:32'
const SUBSTREAM = `SSV 11; SSID 31:12; ${SID}`
const VMID = 'VMID 47:32'
const ASID = 'ASID 63:48'
const RANGE = 'NUM 16:12; SCALE 25:20'
const LEAF_VA = 'Leaf 0; TTL128 7; TTL 9:8; TG 11:10; Address* 63:12'

/** Name, opcode, and the operands of both words; Opcode 7:0 and SSec 10 are common. [SMMU 4.1 Commands overview] */
const COMMANDS: readonly (readonly [name: string, opcode: number, low: string, high: string])[] = [
  ['PREFETCH_CONFIG', 0x01, SUBSTREAM, ''],
  ['PREFETCH_ADDR', 0x02, SUBSTREAM, 'Size 4:0; Stride 9:5; Address* 63:12'],
  ['CFGI_STE', 0x03, SID, 'Leaf 0'],
  ['CFGI_STE_RANGE', 0x04, SID, 'Range 4:0'],
  ['CFGI_CD', 0x05, `SSID 31:12; ${SID}`, 'Leaf 0'],
  ['CFGI_CD_ALL', 0x06, SID, ''],
  ['CFGI_VMS_PIDM', 0x07, VMID, ''],
  ['TLBI_NH_ALL', 0x10, VMID, ''],
  ['TLBI_NH_ASID', 0x11, `${VMID}; ${ASID}`, ''],
  ['TLBI_NH_VA', 0x12, `${RANGE}; ${VMID}; ${ASID}`, LEAF_VA],
  ['TLBI_NH_VAA', 0x13, `${RANGE}; ${VMID}`, LEAF_VA],
  ['TLBI_EL2_ALL', 0x20, '', ''],
  ['TLBI_EL2_ASID', 0x21, ASID, ''],
  ['TLBI_EL2_VA', 0x22, `${RANGE}; ${ASID}`, LEAF_VA],
  ['TLBI_EL2_VAA', 0x23, RANGE, LEAF_VA],
  ['TLBI_S12_VMALL', 0x28, VMID, ''],
  ['TLBI_S2_IPA', 0x2a, `${RANGE}; ${VMID}`, 'Leaf 0; TTL128 7; TTL 9:8; TG 11:10; Address* 55:12'],
  ['TLBI_NSNH_ALL', 0x30, '', ''],
  ['ATC_INV', 0x40, `G 9; ${SUBSTREAM}`, 'Size 5:0; Address* 63:12'],
  ['PRI_RESP', 0x41, SUBSTREAM, 'PRGIndex 8:0; Resp 13:12'],
  ['RESUME', 0x44, `Ac 12; Ab 13; ${SID}`, 'STAG 15:0'],
  ['STALL_TERM', 0x45, SID, ''],
  ['SYNC', 0x46, 'CS 13:12; MSH 23:22; MSIAttr 27:24; MSIData 63:32', 'MSIAddress* 55:2'],
]

const layouts = commands as unknown as Readonly<Record<string, unknown>>

describe('[SMMU 4.1 Commands overview]', () => {
  for (const [name, opcode, low, high] of COMMANDS) {
    it(`CMD_${name} is ${opcode.toString(16)} and has each bit where the manual has it`, () => {
      expect((commands.OPCODE as Readonly<Record<string, number>>)[name]).toBe(opcode)
      expectBits(layouts[`CMD_${name}`], [`Opcode 7:0; SSec 10; ${low}`, high])
    })
  }

  it('has no command that the table above leaves out', () => {
    const known = COMMANDS.map(([name]) => `CMD_${name}`)
    expect(
      Object.keys(commands)
        .filter((name) => name.startsWith('CMD_'))
        .sort(),
    ).toEqual([...known].sort())
  })
})

/** Commands whose words the manual's reader computed by hand. */
const VECTORS: readonly (readonly [name: string, fields: Readonly<Record<string, number>>, words: string])[] = [
  ['CFGI_STE', { SID: 0x10, Leaf: 1 }, '0000001000000003 1'],
  ['CFGI_STE_RANGE', { Range: 31 }, '4 1f'],
  ['CFGI_CD', { SID: 0x10, SSID: 5, Leaf: 1 }, '0000001000005005 1'],
  ['CFGI_CD_ALL', { SID: 0x10 }, '0000001000000006'],
  ['TLBI_NH_ALL', { VMID: 5 }, '0000000500000010'],
  ['TLBI_NH_ASID', { ASID: 7 }, '0007000000000011'],
  ['TLBI_NH_VA', { ASID: 7, Leaf: 1, Address: 0x1234_5000 }, '0007000000000012 0000000012345001'],
  [
    'TLBI_NH_VA',
    { ASID: 7, Leaf: 1, Address: 0x4000_0000, SCALE: 8, TTL: 3, TG: 1 },
    '0007000000800012 0000000040000701',
  ],
  [
    'TLBI_NH_VA',
    { ASID: 7, Leaf: 1, Address: 0x4000_0000, NUM: 6, TTL: 3, TG: 1 },
    '0007000000006012 0000000040000701',
  ],
  [
    'TLBI_S2_IPA',
    { VMID: 5, Leaf: 1, Address: 0x8000_0000, SCALE: 9, TTL: 2, TG: 1 },
    '000000050090002a 0000000080000601',
  ],
  ['TLBI_S12_VMALL', { VMID: 5 }, '0000000500000028'],
  ['TLBI_NSNH_ALL', {}, '30'],
  ['ATC_INV', { SID: 0x10, Size: 52 }, '0000001000000040 34'],
  ['ATC_INV', { SID: 0x10, SSV: 1, SSID: 5, Size: 1, Address: 0x1234_6000 }, '0000001000005840 0000000012346001'],
  ['SYNC', {}, '46'],
  ['SYNC', { CS: 2, MSH: 3, MSIAttr: 15 }, '000000000fc02046'],
  ['SYNC', { CS: 1, MSH: 3, MSIAttr: 15, MSIAddress: 0xa000_0010 }, '000000000fc01046 00000000a0000010'],
  ['RESUME', { SID: 0x10, Ac: 1, STAG: 0x21 }, '0000001000001044 21'],
  ['RESUME', { SID: 0x10, Ab: 1, STAG: 0x21 }, '0000001000002044 21'],
  ['STALL_TERM', { SID: 0x10 }, '0000001000000045'],
  ['PRI_RESP', { SID: 0x10, SSV: 1, SSID: 5, PRGIndex: 3, Resp: 2 }, '0000001000005841 0000000000002003'],
  ['PREFETCH_CONFIG', { SID: 0x10, SSV: 1, SSID: 5 }, '0000001000005801'],
  ['PREFETCH_ADDR', { SID: 0x10, Size: 3, Stride: 9, Address: 0x4000_0000 }, '0000001000000002 0000000040000123'],
  ['CFGI_STE_RANGE', { SID: 0x40, Range: 5 }, '0000004000000004 5'],
  ['CFGI_VMS_PIDM', { VMID: 5 }, '0000000500000007'],
  ['TLBI_NH_VAA', { VMID: 5, Leaf: 1, Address: 0x1234_5000 }, '0000000500000013 0000000012345001'],
  ['TLBI_EL2_ALL', {}, '20'],
  ['TLBI_EL2_ASID', { ASID: 7 }, '0007000000000021'],
  ['TLBI_EL2_VA', { ASID: 7, Address: 0x1234_5000 }, '0007000000000022 0000000012345000'],
  [
    'TLBI_EL2_VAA',
    { NUM: 31, SCALE: 31, TTL: 2, TG: 3, Leaf: 1, Address: 0x2000_0000 },
    '0000000001f1f023 0000000020000e01',
  ],
  ['ATC_INV', { SID: 0x10, SSV: 1, SSID: 5, G: 1, Size: 52 }, '0000001000005a40 34'],
  ['SYNC', { CS: 1, MSIData: 0x1234_5678, MSIAddress: 0x1000 }, '1234567800001046 1000'],
  ['CFGI_STE', { SSec: 1 }, '403'],
]

describe('a command in the queue', () => {
  for (const [name, fields, words] of VECTORS) {
    it(`CMD_${name} ${words}`, () => {
      const opcode = (commands.OPCODE as Readonly<Record<string, number>>)[name]
      expectWords(layouts[`CMD_${name}`], { Opcode: opcode, ...fields }, words)
    })
  }
})

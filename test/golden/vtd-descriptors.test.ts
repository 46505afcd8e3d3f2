/** VT-d invalidation descriptors and fault records, spelled from the manual's tables and vectors. */

import { describe, expect, it } from 'vitest'
import * as descriptors from '../../hw-model/vtd/descriptors.js'
import * as records from '../../hw-model/vtd/records.js'
import { expectBits, expectWords } from './spell.js'

const TYPE = 'TypeLow 3:0; TypeHigh 11:9'
const RANGE = 'AM 5:0; IH 6; ADDR* 63:12'

/** Layout, type, and the bit table of both words. [VTD 6.5.2 Queued Invalidation Interface] */
const DESCRIPTORS: readonly (readonly [name: string, type: number, low: string, high: string])[] = [
  ['CONTEXT_CACHE_INVALIDATE', 1, 'G 5:4; DID 31:16; SID 47:32; FM 49:48', ''],
  ['IOTLB_INVALIDATE', 2, 'G 5:4; DW 6; DR 7; DID 31:16', RANGE],
  ['DEVICE_TLB_INVALIDATE', 3, 'PFSIDLow 15:12; MIP 20:16; SID 47:32; PFSIDHigh 63:52', 'S 0; ADDR* 63:12'],
  ['INTERRUPT_ENTRY_CACHE_INVALIDATE', 4, 'G 4; IM 31:27; IIDX 47:32', ''],
  ['INVALIDATION_WAIT', 5, 'IF 4; SW 5; FN 6; PD 7; STDATA 63:32', 'STADDR* 63:2'],
  ['PASID_IOTLB_INVALIDATE', 6, 'G 5:4; DID 31:16; PASID 51:32', RANGE],
  ['PASID_CACHE_INVALIDATE', 7, 'G 5:4; DID 31:16; PASID 51:32', ''],
  [
    'PASID_DEVICE_TLB_INVALIDATE',
    8,
    'MIP 8:4; PFSIDLow 15:12; SID 31:16; PASID 51:32; PFSIDHigh 63:52',
    'GI 0; S 11; ADDR* 63:12',
  ],
]

const layouts = descriptors as unknown as Readonly<Record<string, unknown>>
const TYPES: Readonly<Record<string, number>> = {
  CONTEXT_CACHE: 1,
  IOTLB: 2,
  DEVICE_TLB: 3,
  INTERRUPT_ENTRY_CACHE: 4,
  WAIT: 5,
  PASID_IOTLB: 6,
  PASID_CACHE: 7,
  PASID_DEVICE_TLB: 8,
  PAGE_GROUP_RESPONSE: 9,
  HPT_CACHE: 10,
}

describe('[VTD 6.5.2 Queued Invalidation Interface]', () => {
  for (const [name, , low, high] of DESCRIPTORS) {
    it(`${name} has each bit where the manual has it`, () => expectBits(layouts[name], [`${TYPE}; ${low}`, high]))
  }

  it('splits the type of every descriptor over bits 3:0 and 11:9', () => expectBits(descriptors.DESCRIPTOR, [TYPE, '']))

  it('numbers the types', () => expect(descriptors.DESCRIPTOR_TYPE).toEqual(TYPES))
})

const typed = (type: number, fields: Record<string, number>): Record<string, number> => ({ TypeLow: type, ...fields })

const VECTORS: readonly (readonly [name: string, fields: Record<string, number>, words: string])[] = [
  ['CONTEXT_CACHE_INVALIDATE', typed(1, { G: 1 }), '11'],
  ['CONTEXT_CACHE_INVALIDATE', typed(1, { G: 3, DID: 2, SID: 0x10, FM: 3 }), '0003001000020031'],
  ['IOTLB_INVALIDATE', typed(2, { G: 2, DW: 1, DR: 1, DID: 2 }), '200e2'],
  ['IOTLB_INVALIDATE', typed(2, { G: 3, DID: 2, AM: 9, IH: 1, ADDR: 0x4020_0000 }), '20032 0000000040200049'],
  ['DEVICE_TLB_INVALIDATE', typed(3, { SID: 0x10, S: 1 }), '0000001000000003 1'],
  ['INTERRUPT_ENTRY_CACHE_INVALIDATE', typed(4, { G: 1, IM: 3, IIDX: 8 }), '0000000818000014'],
  ['INVALIDATION_WAIT', typed(5, { SW: 1, STDATA: 2, STADDR: 0x1_0000_1004 }), '0000000200000025 0000000100001004'],
  ['INVALIDATION_WAIT', typed(5, { SW: 1, PD: 1, STDATA: 2 }), '00000002000000a5'],
  ['INVALIDATION_WAIT', typed(5, { FN: 1, STDATA: 2 }), '0000000200000045'],
  ['PASID_IOTLB_INVALIDATE', typed(6, { G: 2, DID: 2, PASID: 5 }), '0000000500020026'],
  ['PASID_IOTLB_INVALIDATE', typed(6, { G: 3, DID: 2, PASID: 5, ADDR: 0x7000, AM: 3 }), '0000000500020036 7003'],
  ['PASID_CACHE_INVALIDATE', typed(7, { G: 1, DID: 2 }), '20017'],
  ['PASID_DEVICE_TLB_INVALIDATE', typed(8, { SID: 0x10, PASID: 5, S: 1 }), '0000000500100008 800'],
]

describe('a descriptor in the queue', () => {
  for (const [name, fields, words] of VECTORS) {
    it(`${name} ${words}`, () => expectWords(layouts[name], fields, words))
  }
})

describe('[VTD 11.4.7.6 Fault Recording Registers]', () => {
  it('has each bit where the manual has it', () =>
    expectBits(records.FAULT_RECORD, [
      'FI* 63:12',
      'SID 15:0; T2 28; PRIV 29; EXE 30; PP 31; FR 39:32; PV 59:40; AT 61:60; T1 62; F 63',
    ]))

  it('of a read by 00:02.0 with PASID 5 that met an absent first-stage entry', () =>
    expectWords(
      records.FAULT_RECORD,
      { FI: 0x1234_5000, SID: 0x10, PP: 1, FR: 0x71, PV: 5, T1: 1, F: 1 },
      '0000000012345000 c000057180000010',
    ))

  it('of a write without PASID that met nothing in legacy mode', () =>
    expectWords(records.FAULT_RECORD, { FI: 0x2000, SID: 0xff10, FR: 5, F: 1 }, '2000 800000050000ff10'))
})

/** VT-d invalidation descriptors, spelled from the manual's tables and vectors. */

import { describe, expect, it } from 'vitest'
import * as descriptors from '../../hw-model/vtd/descriptors.js'
import { expectBits, expectWords, isLayout } from './spell.js'

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
  ['PAGE_GROUP_RESPONSE', 9, 'PP 4; RC 15:12; RID 31:16; PASID 51:32', 'Ignored66 2; PRGI 11:3'],
  ['HPT_CACHE_INVALIDATE', 10, 'G 5:4; HPTDID 31:16', 'AM 5:0; IH 7:6; ADDR* 63:12'],
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

  it('has no descriptor that the table above leaves out', () => {
    const made = Object.keys(layouts).filter((name) => isLayout(layouts[name]))
    expect(made.sort()).toEqual(['DESCRIPTOR', ...DESCRIPTORS.map(([name]) => name)].sort())
  })

  it('numbers the types', () => expect(descriptors.DESCRIPTOR_TYPE).toEqual(TYPES))

  it('numbers the granularities of each descriptor that has some', () => {
    expect(descriptors.GRANULARITY).toEqual({ GLOBAL: 1, DOMAIN: 2, SELECTIVE: 3 })
    expect(descriptors.PASID_CACHE_GRANULARITY).toEqual({ DOMAIN: 0, PASID: 1, GLOBAL: 3 })
    expect(descriptors.PASID_IOTLB_GRANULARITY).toEqual({ PASID: 2, PAGE: 3 })
  })
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
  // A domain of 16 bits, and every function of a device whose phantom functions share a context.
  ['CONTEXT_CACHE_INVALIDATE', typed(1, { G: 2, DID: 0xffff }), 'ffff0021'],
  ['CONTEXT_CACHE_INVALIDATE', typed(1, { G: 3, DID: 0xffff, SID: 0xffff, FM: 1 }), '1ffffffff0031'],
  ['IOTLB_INVALIDATE', typed(2, { G: 1, DW: 1, DR: 1 }), 'd2'],
  ['IOTLB_INVALIDATE', typed(2, { G: 3, DID: 2, DW: 1, DR: 1, AM: 63, ADDR: 2 ** 63 }), '200f2 800000000000003f'],
  // PFSID 0xabc is split: c below, ab above. MIP 31.
  [
    'DEVICE_TLB_INVALIDATE',
    typed(3, { SID: 0x1234, PFSIDLow: 0xc, PFSIDHigh: 0xab, MIP: 31, S: 1, ADDR: 0x7ff000 }),
    '0ab01234001fc003 7ff001',
  ],
  ['INTERRUPT_ENTRY_CACHE_INVALIDATE', typed(4, {}), '4'],
  ['INTERRUPT_ENTRY_CACHE_INVALIDATE', typed(4, { G: 1, IM: 31, IIDX: 0xffff }), 'fffff8000014'],
  // Status and interrupt together; every flag together; nothing but the order.
  ['INVALIDATION_WAIT', typed(5, { SW: 1, IF: 1, STDATA: 0xdeadbeef, STADDR: 0x7ffc }), 'deadbeef00000035 7ffc'],
  ['INVALIDATION_WAIT', typed(5, { SW: 1, IF: 1, FN: 1, PD: 1 }), 'f5'],
  ['INVALIDATION_WAIT', typed(5, {}), '5'],
  ['PASID_IOTLB_INVALIDATE', typed(6, { G: 2, DID: 0xffff, PASID: 0xfffff }), '000fffffffff0026'],
  ['PASID_IOTLB_INVALIDATE', typed(6, { G: 3, DID: 1, AM: 52, IH: 1 }), '10036 74'],
  ['PASID_CACHE_INVALIDATE', typed(7, { G: 1, DID: 2, PASID: 5 }), '500020017'],
  ['PASID_CACHE_INVALIDATE', typed(7, { DID: 2 }), '20007'],
  ['PASID_CACHE_INVALIDATE', typed(7, { G: 3 }), '37'],
  [
    'PASID_DEVICE_TLB_INVALIDATE',
    typed(8, { MIP: 31, PFSIDLow: 0xc, PFSIDHigh: 0xab, SID: 0x1234, PASID: 0xfffff, GI: 1, S: 1, ADDR: 0x7ff000 }),
    '0abfffff1234c1f8 7ff801',
  ],
  // Success to the group 0x1ff of PASID 5; invalid request, and failure, to groups of requests without PASID.
  ['PAGE_GROUP_RESPONSE', typed(9, { PP: 1, RID: 0x10, PASID: 5, PRGI: 0x1ff }), '0000000500100019 ff8'],
  ['PAGE_GROUP_RESPONSE', typed(9, { RC: 1, RID: 0x10, PRGI: 1 }), '101009 8'],
  ['PAGE_GROUP_RESPONSE', typed(9, { RC: 15, RID: 0xffff, Ignored66: 1 }), 'fffff009 4'],
  ['HPT_CACHE_INVALIDATE', typed(10, { G: 1 }), '1a'],
  ['HPT_CACHE_INVALIDATE', typed(10, { G: 2, HPTDID: 0xffff, IH: 3 }), 'ffff002a c0'],
  // 2 MiB, of pages and of large pages.
  ['HPT_CACHE_INVALIDATE', typed(10, { G: 3, HPTDID: 7, AM: 9, IH: 1, ADDR: 0x200000 }), '7003a 200049'],
]

describe('a descriptor in the queue', () => {
  for (const [name, fields, words] of VECTORS) {
    it(`${name} ${words}`, () => expectWords(layouts[name], fields, words))
  }

  it('of every kind has words here', () => {
    const spelled = new Set(VECTORS.map(([name]) => name))
    expect([...spelled].sort()).toEqual(DESCRIPTORS.map(([name]) => name).sort())
  })
})

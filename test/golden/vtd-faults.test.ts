/** VT-d fault records and page requests, spelled from the manual's tables. */

import { describe, expect, it } from 'vitest'
import { FAULT_RECORD, PAGE_REQUEST, PAGE_REQUEST_TYPE } from '../../hw-model/vtd/records.js'
import { expectBits, expectWords } from './spell.js'

describe('[VTD 11.4.7.6 Fault Recording Registers]', () => {
  it('has each bit where the manual has it', () =>
    expectBits(FAULT_RECORD, [
      'FI* 63:12',
      'SID 15:0; T2 28; PRIV 29; EXE 30; PP 31; FR 39:32; PV 59:40; AT 61:60; T1 62; F 63',
    ]))

  it('of a read by 00:02.0 with PASID 5 that met an absent first-stage entry', () =>
    expectWords(
      FAULT_RECORD,
      { FI: 0x1234_5000, SID: 0x10, PP: 1, FR: 0x71, PV: 5, T1: 1, F: 1 },
      '0000000012345000 c000057180000010',
    ))

  it('of a write without PASID that met nothing in legacy mode', () =>
    expectWords(FAULT_RECORD, { FI: 0x2000, SID: 0xff10, FR: 5, F: 1 }, '2000 800000050000ff10'))

  it('of a privileged fetch with the widest PASID', () =>
    expectWords(
      FAULT_RECORD,
      { FI: 0x1ff_ffff_ffff_f000, SID: 0x10, PP: 1, EXE: 1, PRIV: 1, PV: 0xfffff, FR: 0x5d, T1: 1, F: 1 },
      '01fffffffffff000 cfffff5de0000010',
    ))

  it('of an AtomicOp, of a page request and of a translated write', () => {
    expectWords(FAULT_RECORD, { SID: 0x10, T1: 1, T2: 1, FR: 0x85, F: 1 }, '0 c000008510000010')
    expectWords(FAULT_RECORD, { SID: 0x10, T2: 1, FR: 0x47, F: 1 }, '0 8000004710000010')
    expectWords(FAULT_RECORD, { SID: 0x10, AT: 2, FR: 0x44, F: 1 }, '0 a000004400000010')
    expectWords(FAULT_RECORD, { SID: 0x10, AT: 1, T1: 1, FR: 0x44, F: 1 }, '0 d000004400000010')
  })
})

describe('[VTD 7.4.1.1 Page Request Descriptor]', () => {
  it('has each bit where the manual has it', () =>
    expectBits(PAGE_REQUEST, [
      'Type 7:0; PP 8; RID 31:16; PASID 51:32; EXR 52; PMR 53',
      'RDR 0; WRR 1; LPIG 2; PRGI 11:3; ADDR* 63:12',
      '',
      '',
    ]))

  it('is of type 1', () => expect(PAGE_REQUEST_TYPE).toBe(1))

  it('of a write by 00:02.0 with PASID 5, last of group 3', () =>
    expectWords(
      PAGE_REQUEST,
      { Type: 1, PP: 1, RID: 0x10, PASID: 5, WRR: 1, LPIG: 1, PRGI: 3, ADDR: 0x7f00_1234_5000 },
      '0000000500100101 00007f001234501e',
    ))

  it('of a privileged fetch without PASID, not the last of group 0x1ff', () =>
    expectWords(
      PAGE_REQUEST,
      { Type: 1, RID: 0xffff, EXR: 1, PMR: 1, RDR: 1, PRGI: 0x1ff, ADDR: 2 ** 63 },
      '00300000ffff0001 8000000000000ff9',
    ))

  it('of a stop marker', () =>
    expectWords(PAGE_REQUEST, { Type: 1, PP: 1, RID: 0x10, PASID: 5, LPIG: 1 }, '500100101 4'))
})

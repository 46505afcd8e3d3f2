/** VT-d registers, spelled from the manual's tables. */

import { describe, expect, it } from 'vitest'
import * as registers from '../../hw-model/vtd/registers.js'
import { expectBits, expectWords, isLayout, offsets } from './spell.js'

const layouts = registers as unknown as Readonly<Record<string, unknown>>

const TABLES: Readonly<Record<string, string>> = {
  VER: 'MIN 3:0; MAX 7:4',
  CAP: `ND 2:0; RWBF 4; PLMR 5; PHMR 6; CM 7; SAGAW 12:8; MGAW 21:16; ZLR 22; FRO 33:24; SSLPS 37:34; PSI 39; NFR 47:40;
    MAMV 53:48; DWD 54; DRD 55; FS1GP 56; PI 59; FS5LP 60; ECMDS 61; ESIRTPS 62; ESRTPS 63`,
  ECAP: `C 0; QI 1; DT 2; IR 3; EIM 4; PT 6; SC 7; IRO 17:8; MHMV 23:20; MTS 25; NEST 26; PRS 29; ERS 30; SRS 31;
    NWFS 33; EAFS 34; PSS 39:35; PASID 40; DIT 41; PDS 42; SMTS 43; VCS 44; SSADS 45; SSTS 46; FSTS 47; SMPWCS 48; RPS 49;
    TDXCS 50; PMS 51; ADMS 52; RPRIVS 53; HPTS 55; PTRS 56; SSIRWS 57; SMS 58; HPT1GPS 59; RDTS 60; EIMER 61; IRREQ 62`,
  GCMD: 'CFI 23; SIRTP 24; IRE 25; QIE 26; WBF 27; SRTP 30; TE 31',
  GSTS: 'CFIS 23; IRTPS 24; IRES 25; QIES 26; WBFS 27; RTPS 30; TES 31',
  RTADDR: 'SSIRWE 7; TTM 11:10; RTA* 63:12',
  CCMD: 'DID 15:0; SID 31:16; FM 33:32; CAIG 60:59; CIRG 62:61; ICC 63',
  IOTLB: 'DID 47:32; DW 48; DR 49; IAIG 58:57; IIRG 61:60; IVT 63',
  IVA: 'AM 5:0; IH 6; ADDR* 63:12',
  FSTS: 'PFO 0; PPF 1; IQE 4; ICE 5; ITE 6; FRI 15:8',
  EVENT_CONTROL: 'IP 30; IM 31',
  PMEN: 'PRS 0; EPM 31',
  IQH: 'QH 18:4',
  IQT: 'QT 18:4',
  IQA: 'QS 2:0; DW 11; IQA* 63:12',
  ICS: 'IWC 0',
  IQERCD: 'IQEI 3:0; ITESID 47:32; ICESID 63:48',
  PQH: 'PQH 18:5',
  PQT: 'PQT 18:5',
  PQA: 'PQS 2:0; PQA* 63:12',
  PRS: 'PPR 0; PRO 1',
}

describe('[VTD 11.4 Register Descriptions]', () => {
  for (const [name, table] of Object.entries(TABLES)) {
    it(`${name} has each bit where the manual has it`, () => expectBits(layouts[name], [table]))
  }

  it('has no register that the table above leaves out', () => {
    const made = Object.keys(layouts).filter((name) => isLayout(layouts[name]))
    expect(made.sort()).toEqual(Object.keys(TABLES).sort())
  })

  it('stand at their offsets, each of them', () => {
    const table = `VER 0; CAP 8; ECAP 10; GCMD 18; GSTS 1c; RTADDR 20; CCMD 28; FSTS 34; FECTL 38; FEDATA 3c; FEADDR 40;
      FEUADDR 44; PMEN 64; PLMBASE 68; PLMLIMIT 6c; PHMBASE 70; PHMLIMIT 78; IQH 80; IQT 88; IQA 90; ICS 9c; IECTL a0;
      IEDATA a4; IEADDR a8; IEUADDR ac; IQERCD b0; PQH c0; PQT c8; PQA d0; PRS dc; PECTL e0; PEDATA e4; PEADDR e8;
      PEUADDR ec`
    expect(registers.REGISTER).toEqual(offsets(table))
  })

  it('fill 4 KiB at least, and each FRCD is 128 bits', () => {
    expect([registers.WINDOW_BYTES, registers.FRCD_BYTES]).toEqual([4096, 16])
  })

  it('has modes 0 to 3 in TTM and errors 1 to 7 in IQEI', () => {
    expect(registers.TTM).toEqual({ LEGACY: 0, SCALABLE: 1, RESERVED: 2, ABORT: 3 })
    const errors = { BAD_TAIL: 1, FETCH: 2, BAD_TYPE: 3, RESERVED: 4, BAD_WIDTH: 5, TAIL_MISALIGNED: 6, BAD_TTM: 7 }
    expect(registers.IQEI).toEqual(errors)
  })
})

/** Register, what it is an example of, fields, and the word. */
const WORDS: readonly (readonly [name: string, what: string, fields: Record<string, number>, word: string])[] = [
  ['VER', 'of the first version', { MAX: 1 }, '10'],
  ['VER', 'of version 6.0, without register-based invalidation', { MAX: 6 }, '60'],
  ['VER', 'of version 4.2', { MAX: 4, MIN: 2 }, '42'],
  ['GCMD', 'that latches a root table while the queue and translation are on', { SRTP: 1, QIE: 1, TE: 1 }, 'c4000000'],
  ['GCMD', 'that flushes write buffers', { WBF: 1 }, '8000000'],
  [
    'GCMD',
    'that latches the interrupt table, remapping on, old formats let through',
    { SIRTP: 1, IRE: 1, CFI: 1 },
    '3800000',
  ],
  ['GSTS', 'of a unit that translates and has a queue', { TES: 1, RTPS: 1, QIES: 1 }, 'c4000000'],
  ['GSTS', 'of a unit whose write buffers are being flushed', { WBFS: 1, CFIS: 1, IRTPS: 1, IRES: 1 }, 'b800000'],
  ['RTADDR', 'of a scalable root table', { RTA: 0x12_3456_7000, TTM: 1 }, '1234567400'],
  ['RTADDR', 'of abort-DMA mode', { TTM: 3 }, 'c00'],
  ['RTADDR', 'whose second stage has I/O bits', { RTA: 0x4000, TTM: 1, SSIRWE: 1 }, '4480'],
  ['CCMD', 'for everything', { ICC: 1, CIRG: 1 }, 'a000000000000000'],
  ['CCMD', 'for domain 5', { ICC: 1, CIRG: 2, DID: 5 }, 'c000000000000005'],
  ['CCMD', 'for all functions of 00:02 in domain 5', { ICC: 1, CIRG: 3, DID: 5, SID: 0x10, FM: 3 }, 'e000000300100005'],
  ['CCMD', 'answered with the granularity of a domain', { CIRG: 2, CAIG: 2, DID: 5 }, '5000000000000005'],
  ['IOTLB', 'for everything, drained', { IVT: 1, IIRG: 1, DW: 1, DR: 1 }, '9003000000000000'],
  ['IOTLB', 'for domain 5', { IVT: 1, IIRG: 2, DID: 5 }, 'a000000500000000'],
  ['IOTLB', 'for pages of domain 5, answered', { IIRG: 3, IAIG: 3, DID: 5 }, '3600000500000000'],
  ['IVA', 'of 2 MiB, leaves alone', { ADDR: 0x4020_0000, AM: 9, IH: 1 }, '40200049'],
  ['FSTS', 'of records from 3 on, overflowed', { FRI: 3, PPF: 1, PFO: 1 }, '303'],
  ['FSTS', 'of a queue that met all errors', { IQE: 1, ICE: 1, ITE: 1 }, '70'],
  ['EVENT_CONTROL', 'masked, an interrupt pending', { IM: 1, IP: 1 }, 'c0000000'],
  ['PMEN', 'of protected regions that are on', { EPM: 1, PRS: 1 }, '80000001'],
  ['IQH', 'at descriptor 3 of 128 bits', { QH: 3 }, '30'],
  ['IQT', 'at descriptor 3 of 256 bits', { QT: 6 }, '60'],
  ['IQT', 'at the last of 2^15 descriptors', { QT: 0x7fff }, '7fff0'],
  ['IQA', 'as Linux has it on a scalable unit', { IQA: 0x1_0000_2000, DW: 1, QS: 1 }, '100002801'],
  ['IQA', 'as Linux has it on a legacy unit', { IQA: 0x1_0000_2000 }, '100002000'],
  ['ICS', 'of a wait that is over', { IWC: 1 }, '1'],
  ['IQERCD', 'of a reserved field', { IQEI: 4 }, '4'],
  ['IQERCD', 'of devices 01:00.0 and 02:00.0 that erred', { ITESID: 0x100, ICESID: 0x200 }, '200010000000000'],
  ['PQH', 'at request 3', { PQH: 3 }, '60'],
  ['PQT', 'at the last of 2^14 requests', { PQT: 0x3fff }, '7ffe0'],
  ['PQA', 'as Linux has it: 64 KiB, 2048 requests', { PQA: 0x5_0000_0000, PQS: 4 }, '500000004'],
  ['PRS', 'of requests that are pending and that were lost', { PPR: 1, PRO: 1 }, '3'],
]

describe('a register of the VT-d unit', () => {
  for (const [name, what, fields, word] of WORDS) it(`${name} ${what}`, () => expectWords(layouts[name], fields, word))

  it('of every kind has a word here', () => {
    const spelled = new Set([...WORDS.map(([name]) => name), 'CAP', 'ECAP'])
    expect([...spelled].sort()).toEqual(Object.keys(TABLES).sort())
  })
})

describe('[VTD 11.4.2 Capability Register]', () => {
  const common = { ND: 6, ZLR: 1, FRO: 0x22, SSLPS: 3, PSI: 1, DWD: 1, DRD: 1 }
  const fields = { ...common, SAGAW: 6, MGAW: 47, NFR: 7, MAMV: 18 }

  it('of a unit with 48-bit tables in both stages and eight fault records', () => {
    expectWords(registers.CAP, { ...fields, FS1GP: 1, ESRTPS: 1 }, '81d2078c226f0606')
    expectWords(registers.CAP, { ...fields, FS1GP: 1, ESRTPS: 1, CM: 1 }, '81d2078c226f0686')
  })

  it('of 57-bit tables in both stages', () => {
    const wide = { ...fields, SAGAW: 14, MGAW: 56, FS1GP: 1, FS5LP: 1, ESRTPS: 1 }
    // MGAW 56 is 0x38 in 21:16, and ZLR bit 22: 0x78.
    expectWords(registers.CAP, wide, '91d2078c22780e06')
  })

  it('of a unit without scalable mode, and of the one that QEMU shows', () => {
    expectWords(registers.CAP, { ...fields, ESRTPS: 1 }, '80d2078c226f0606')
    expectWords(registers.CAP, { ...fields, ZLR: 0, NFR: 0, SSLPS: 3 }, '00d2008c222f0606')
  })

  it('of what only old or larger units have', () => {
    expectWords(registers.CAP, { RWBF: 1, PLMR: 1, PHMR: 1 }, '70')
    expectWords(registers.CAP, { PI: 1, ECMDS: 1, ESIRTPS: 1 }, '6800000000000000')
  })
})

describe('[VTD 11.4.3 Extended Capability Register]', () => {
  const base = { C: 1, QI: 1, PT: 1, SC: 1, IRO: 15 }
  const scalable = { ...base, NEST: 1, PSS: 19, PASID: 1, SMTS: 1, SSADS: 1, SSTS: 1, FSTS: 1, SMPWCS: 1, RPS: 1 }

  it('of a legacy unit', () => expectWords(registers.ECAP, base, 'fc3'))
  it('of a scalable unit that nests, without ATS', () => expectWords(registers.ECAP, scalable, '0003e99804000fc3'))
  it('of the same with ATS, page requests, privilege, extended accessed flags and abort mode', () => {
    const more = { DT: 1, PRS: 1, SRS: 1, NWFS: 1, EAFS: 1, PDS: 1, ADMS: 1 }
    expectWords(registers.ECAP, { ...scalable, ...more }, '0013ed9ea4000fc7')
  })
  it('of what device-TLBs, permissions and interrupts may add', () => {
    expectWords(registers.ECAP, { RPRIVS: 1, HPTS: 1, PTRS: 1, SSIRWS: 1, SMS: 1, HPT1GPS: 1 }, '0fa0000000000000')
    expectWords(registers.ECAP, { IR: 1, EIM: 1, MHMV: 15, EIMER: 1, IRREQ: 1 }, '6000000000f00018')
    expectWords(registers.ECAP, { DIT: 1, MTS: 1, VCS: 1, TDXCS: 1, PMS: 1, RDTS: 1, ERS: 1 }, '100c120042000000')
  })
})

/** Registers of both units, spelled from the manuals' tables. */

import { describe, expect, it } from 'vitest'
import * as smmu from '../../hw-model/smmuv3/registers.js'
import * as vtd from '../../hw-model/vtd/registers.js'
import { expectBits, expectWords } from './spell.js'

describe('[SMMU 6.3 Register formats]', () => {
  const TABLES: Readonly<Record<string, string>> = {
    IDR0: `S2P 0; S1P 1; TTF 3:2; COHACC 4; BTM 5; HTTU 7:6; DORMHINT 8; Hyp 9; ATS 10; NS1ATS 11; ASID16 12; MSI 13;
      SEV 14; ATOS 15; PRI 16; VMW 17; VMID16 18; CD2L 19; VATOS 20; TTENDIAN 22:21; ATSRECERR 23; STALL_MODEL 25:24;
      TERM_MODEL 26; ST_LEVEL 28:27; RME_IMPL 30`,
    IDR1: `SIDSIZE 5:0; SSIDSIZE 10:6; PRIQS 15:11; EVENTQS 20:16; CMDQS 25:21; ATTR_PERMS_OVR 26; ATTR_TYPES_OVR 27;
      REL 28; QUEUES_PRESET 29; TABLES_PRESET 30; ECMDQ 31`,
    IDR3: `HAD 2; PBHA 3; XNX 4; PPS 5; MPAM 7; FWB 8; STT 9; RIL 10; BBML 12:11; E0PD 13; PTWNNC 14; DPT 15; PASIDTT 16;
      EPAN 17; S1PI 18; S2PI 19; S2PO 20; THE 21; MTEPERM 22; AIE 23`,
    IDR5: 'OAS 2:0; GRAN4K 4; GRAN16K 5; GRAN64K 6; DS 7; D128 8; VAX 11:10; STALL_MAX 31:16',
    CR0: 'SMMUEN 0; PRIQEN 1; EVENTQEN 2; CMDQEN 3; ATSCHK 4; VMW 8:6; DPT_WALK_EN 10',
    CR2: 'E2H 0; RECINVSID 1; PTM 2; REC_CFG_ATS 3',
    GBPA: 'MemAttr 3:0; MTCFG 4; ALLOCCFG 11:8; SHCFG 13:12; PRIVCFG 17:16; INSTCFG 19:18; ABORT 20; Update 31',
    GERROR: `CMDQ_ERR 0; EVENTQ_ABT_ERR 2; PRIQ_ABT_ERR 3; MSI_CMDQ_ABT_ERR 4; MSI_EVENTQ_ABT_ERR 5;
      MSI_PRIQ_ABT_ERR 6; MSI_GERROR_ABT_ERR 7; SFM_ERR 8; CMDQP_ERR 9; DPT_ERR 10`,
    STRTAB_BASE: 'ADDR* 55:6; RA 62',
    STRTAB_BASE_CFG: 'LOG2SIZE 5:0; SPLIT 10:6; FMT 17:16',
    CMDQ_CONS: 'RD 19:0; ERR 30:24',
    EVENTQ_PROD: 'WR 19:0; OVFLG 31',
    EVENTQ_CONS: 'RD 19:0; OVACKFLG 31',
  }
  const layouts = smmu as unknown as Readonly<Record<string, unknown>>
  for (const [name, table] of Object.entries(TABLES)) {
    it(`${name} has each bit where the manual has it`, () => expectBits(layouts[name], [table]))
  }

  it('stand at their offsets', () => {
    expect(smmu.OFFSET).toMatchObject({
      IDR0: 0,
      IDR5: 0x14,
      AIDR: 0x1c,
      CR0: 0x20,
      CR0ACK: 0x24,
      CR2: 0x2c,
      GBPA: 0x44,
    })
    expect(smmu.OFFSET).toMatchObject({ GERROR: 0x60, GERRORN: 0x64, STRTAB_BASE: 0x80, STRTAB_BASE_CFG: 0x88 })
    expect(smmu.OFFSET).toMatchObject({ CMDQ_BASE: 0x90, CMDQ_PROD: 0x98, CMDQ_CONS: 0x9c, EVENTQ_BASE: 0xa0 })
    expect([smmu.PAGE_1 + smmu.OFFSET.EVENTQ_PROD, smmu.PAGE_1 + smmu.OFFSET.EVENTQ_CONS]).toEqual([0x100a8, 0x100ac])
  })

  it('of a part with 16-bit StreamIDs, 20-bit SubstreamIDs and queues of 2^19', () =>
    expectWords(
      smmu.IDR1,
      { SIDSIZE: 16, SSIDSIZE: 20, PRIQS: 19, EVENTQS: 19, CMDQS: 19, ATTR_PERMS_OVR: 1 },
      '06739d10',
    ))
})

describe('[SMMU 6.3.1 SMMU_IDR0]', () => {
  it('of a part with both stages, hardware flags, EL2 and ATS', () => {
    const fields = { S2P: 1, S1P: 1, TTF: 2, COHACC: 1, HTTU: 2, Hyp: 1, ATS: 1, NS1ATS: 1, ASID16: 1, MSI: 1, PRI: 1 }
    expectWords(smmu.IDR0, { ...fields, VMID16: 1, CD2L: 1, TTENDIAN: 2, ST_LEVEL: 1 }, '084d3e9b')
  })
})

describe('[VTD 11.4 Register descriptions]', () => {
  const TABLES: Readonly<Record<string, string>> = {
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
    IQH: 'QH 18:4',
    IQT: 'QT 18:4',
    IQA: 'QS 2:0; DW 11; IQA* 63:12',
    ICS: 'IWC 0',
    IQERCD: 'IQEI 3:0; ITESID 47:32; ICESID 63:48',
  }
  const layouts = vtd as unknown as Readonly<Record<string, unknown>>
  for (const [name, table] of Object.entries(TABLES)) {
    it(`${name} has each bit where the manual has it`, () => expectBits(layouts[name], [table]))
  }

  it('stand at their offsets', () => {
    expect(vtd.REGISTER).toMatchObject({ VER: 0, CAP: 8, ECAP: 0x10, GCMD: 0x18, GSTS: 0x1c, RTADDR: 0x20, CCMD: 0x28 })
    expect(vtd.REGISTER).toMatchObject({ FSTS: 0x34, FECTL: 0x38, FEDATA: 0x3c, FEADDR: 0x40, FEUADDR: 0x44 })
    expect(vtd.REGISTER).toMatchObject({ IQH: 0x80, IQT: 0x88, IQA: 0x90, ICS: 0x9c, IECTL: 0xa0, IQERCD: 0xb0 })
  })

  it('CAP of a unit with 48-bit tables in both stages and eight fault records', () => {
    const fields = { ND: 6, SAGAW: 6, MGAW: 47, ZLR: 1, FRO: 0x22, SSLPS: 3, PSI: 1, NFR: 7, MAMV: 18, DWD: 1, DRD: 1 }
    expectWords(vtd.CAP, { ...fields, FS1GP: 1, ESRTPS: 1 }, '81d2078c226f0606')
    expectWords(vtd.CAP, { ...fields, FS1GP: 1, ESRTPS: 1, CM: 1 }, '81d2078c226f0686')
  })

  it('ECAP of a scalable unit that nests, without ATS', () => {
    const fields = { C: 1, QI: 1, PT: 1, SC: 1, IRO: 15, NEST: 1, PSS: 19, PASID: 1, SMTS: 1, SSADS: 1, SSTS: 1 }
    expectWords(vtd.ECAP, { ...fields, FSTS: 1, SMPWCS: 1, RPS: 1 }, '0003e99804000fc3')
  })
})

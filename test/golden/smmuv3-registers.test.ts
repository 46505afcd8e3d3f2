/** SMMUv3 registers, spelled from the manual's tables. */

import { describe, expect, it } from 'vitest'
import * as smmu from '../../hw-model/smmuv3/registers.js'
import { expectBits, expectWords, isLayout, offsets } from './spell.js'

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
    IDR2: 'BA_VATOS 9:0',
    IIDR: 'Implementer 11:0; Revision 15:12; Variant 19:16; ProductID 31:20',
    AIDR: 'ArchMinorRev 3:0; ArchMajorRev 7:4',
    CR0: 'SMMUEN 0; PRIQEN 1; EVENTQEN 2; CMDQEN 3; ATSCHK 4; VMW 8:6; DPT_WALK_EN 10',
    CR1: 'QUEUE_IC 1:0; QUEUE_OC 3:2; QUEUE_SH 5:4; TABLE_IC 7:6; TABLE_OC 9:8; TABLE_SH 11:10',
    CR2: 'E2H 0; RECINVSID 1; PTM 2; REC_CFG_ATS 3',
    GBPA: 'MemAttr 3:0; MTCFG 4; ALLOCCFG 11:8; SHCFG 13:12; PRIVCFG 17:16; INSTCFG 19:18; ABORT 20; Update 31',
    IRQ_CTRL: 'GERROR_IRQEN 0; PRIQ_IRQEN 1; EVENTQ_IRQEN 2',
    GERROR: `CMDQ_ERR 0; EVENTQ_ABT_ERR 2; PRIQ_ABT_ERR 3; MSI_CMDQ_ABT_ERR 4; MSI_EVENTQ_ABT_ERR 5;
      MSI_PRIQ_ABT_ERR 6; MSI_GERROR_ABT_ERR 7; SFM_ERR 8; CMDQP_ERR 9; DPT_ERR 10`,
    STRTAB_BASE: 'ADDR* 55:6; RA 62',
    STRTAB_BASE_CFG: 'LOG2SIZE 5:0; SPLIT 10:6; FMT 17:16',
    QUEUE_BASE: 'LOG2SIZE 4:0; ADDR* 55:5; RA 62',
    IRQ_CFG0: 'ADDR* 55:2',
    IRQ_CFG2: 'MemAttr 3:0; SH 5:4; LO 31',
    CMDQ_CONS: 'RD 19:0; ERR 30:24',
    EVENTQ_PROD: 'WR 19:0; OVFLG 31',
    EVENTQ_CONS: 'RD 19:0; OVACKFLG 31',
    // PIDR4 and 5, 6 and 7, 0 and 1, 2 and 3; CIDR0 and 1, 2 and 3.
    ID_REGS: `DES_2 3:0; SIZE 7:4 | | PART_0 7:0; PART_1 35:32; DES_0 39:36 |
      DES_1 2:0; JEDEC 3; REVISION 7:4; CMOD 35:32; REVAND 39:36 | CIDR0 7:0; CIDR1 39:32 | CIDR2 7:0; CIDR3 39:32`,
  }
  const layouts = smmu as unknown as Readonly<Record<string, unknown>>
  for (const [name, table] of Object.entries(TABLES)) {
    it(`${name} has each bit where the manual has it`, () => expectBits(layouts[name], table.split('|')))
  }

  it('has no register that the table above leaves out', () => {
    const made = Object.keys(layouts).filter((name) => isLayout(layouts[name]))
    expect(made.sort()).toEqual(Object.keys(TABLES).sort())
  })

  it('stand at their offsets', () => {
    const page0 = `IDR0 0; IDR1 4; IDR2 8; IDR3 c; IDR4 10; IDR5 14; IIDR 18; AIDR 1c; CR0 20; CR0ACK 24; CR1 28; CR2 2c;
      STATUSR 40; GBPA 44; IRQ_CTRL 50; IRQ_CTRLACK 54; GERROR 60; GERRORN 64; GERROR_IRQ_CFG0 68; GERROR_IRQ_CFG1 70;
      GERROR_IRQ_CFG2 74; STRTAB_BASE 80; STRTAB_BASE_CFG 88; CMDQ_BASE 90; CMDQ_PROD 98; CMDQ_CONS 9c; EVENTQ_BASE a0;
      EVENTQ_IRQ_CFG0 b0; EVENTQ_IRQ_CFG1 b8; EVENTQ_IRQ_CFG2 bc; PRIQ_BASE c0; PRIQ_IRQ_CFG0 d0; PRIQ_IRQ_CFG1 d8;
      PRIQ_IRQ_CFG2 dc; ID_REGS fd0`
    const page1 = 'EVENTQ_PROD a8; EVENTQ_CONS ac; PRIQ_PROD c8; PRIQ_CONS cc'
    expect(smmu.OFFSET).toEqual(offsets(`${page0}; ${page1}`))
    expect(smmu.PAGE_1).toBe(0x10000)
  })

  it('of a part with 16-bit StreamIDs, 20-bit SubstreamIDs and queues of 2^19', () =>
    expectWords(
      smmu.IDR1,
      { SIDSIZE: 16, SSIDSIZE: 20, PRIQS: 19, EVENTQS: 19, CMDQS: 19, ATTR_PERMS_OVR: 1 },
      '06739d10',
    ))
})

/** Values that a driver writes, as a boot of Linux shows them or as the manual's tables give them. */
describe('a register of the SMMUv3', () => {
  it('of a unit that is on, but for its page request queue', () =>
    expectWords(smmu.CR0, { SMMUEN: 1, EVENTQEN: 1, CMDQEN: 1 }, 'd'))
  it('of a unit with everything on and four VMIDs to a group', () =>
    expectWords(smmu.CR0, { SMMUEN: 1, PRIQEN: 1, EVENTQEN: 1, CMDQEN: 1, ATSCHK: 1, VMW: 2 }, '9f'))
  it('of tables and queues in write-back, inner shareable memory', () =>
    expectWords(smmu.CR1, { QUEUE_IC: 1, QUEUE_OC: 1, QUEUE_SH: 3, TABLE_IC: 1, TABLE_OC: 1, TABLE_SH: 3 }, 'd75'))
  it('of a host in E2H that records StreamIDs out of range and ignores broadcasts', () =>
    expectWords(smmu.CR2, { E2H: 1, RECINVSID: 1, PTM: 1 }, '7'))
  it('of a disabled unit that aborts, being updated', () => expectWords(smmu.GBPA, { ABORT: 1, Update: 1 }, '80100000'))
  it('of a disabled unit that passes on what comes', () => expectWords(smmu.GBPA, { SHCFG: 1 }, '1000'))
  it('of two levels with 256 STEs each for 16-bit StreamIDs', () =>
    expectWords(smmu.STRTAB_BASE_CFG, { LOG2SIZE: 16, SPLIT: 8, FMT: 1 }, '10210'))
  it('of a stream table at 0x12_3456_7000, read-allocate', () =>
    expectWords(smmu.STRTAB_BASE, { ADDR: 0x12_3456_7000, RA: 1 }, '4000001234567000'))
  it('of 2^10 commands at 0x5200_0000', () =>
    expectWords(smmu.QUEUE_BASE, { ADDR: 0x5200_0000, LOG2SIZE: 10 }, '5200000a'))
  it('of a command queue that stopped at entry 0x85 for an opcode', () =>
    expectWords(smmu.CMDQ_CONS, { RD: 0x85, ERR: smmu.CERROR.ILL }, '1000085'))
  it('of a command queue that waits for an ATC', () =>
    expectWords(smmu.CMDQ_CONS, { RD: 3, ERR: smmu.CERROR.ATC_INV_SYNC }, '3000003'))
  it('of a command that could not be fetched', () => expect(smmu.CERROR).toMatchObject({ NONE: 0, ABT: 2 }))
  it('of an event queue that overflowed, seen and not seen', () => {
    expectWords(smmu.EVENTQ_PROD, { WR: 0x12, OVFLG: 1 }, '80000012')
    expectWords(smmu.EVENTQ_CONS, { RD: 0x12, OVACKFLG: 1 }, '80000012')
  })
  it('of a message to a doorbell', () => expectWords(smmu.IRQ_CFG0, { ADDR: 0x808_0040 }, '8080040'))
  it('of an interrupt at the last request of a group, written back, inner shareable', () =>
    expectWords(smmu.IRQ_CFG2, { MemAttr: 15, SH: 3, LO: 1 }, '8000003f'))
  it("of Arm's MMU-700 r1p0", () =>
    expectWords(smmu.IIDR, { ProductID: 0x487, Variant: 1, Implementer: 0x43b }, '4871043b'))
})

describe('[SMMU 6.3.4 SMMU_IDR3], [SMMU 6.3.6 SMMU_IDR5]', () => {
  it('of a part of SMMUv3.2', () => {
    expectWords(smmu.IDR3, { HAD: 1, XNX: 1, FWB: 1, RIL: 1, BBML: 2 }, '1514')
    expectWords(smmu.IDR5, { OAS: 5, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1, STALL_MAX: 64 }, '400075')
    expectWords(smmu.AIDR, { ArchMinorRev: 2 }, '2')
  })
  it('of what a virtual machine is shown', () => {
    expectWords(smmu.IDR3, { HAD: 1, RIL: 1, BBML: 2 }, '1404')
    expectWords(smmu.IDR5, { OAS: 5, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1 }, '75')
  })
})

describe('[SMMU 6.3.1 SMMU_IDR0]', () => {
  it('of what a virtual machine is shown: stage 1, terminate only, aborts only', () => {
    const fields = { S1P: 1, TTF: 2, COHACC: 1, ASID16: 1, CD2L: 1, TTENDIAN: 2, STALL_MODEL: 1, TERM_MODEL: 1 }
    expectWords(smmu.IDR0, { ...fields, ST_LEVEL: 1 }, 'd48101a')
    expectWords(smmu.IDR1, { SIDSIZE: 16, SSIDSIZE: 20, EVENTQS: 19, CMDQS: 19 }, '2730510')
  })
  it('of the same part without EL2', () => {
    const fields = { S2P: 1, S1P: 1, TTF: 2, COHACC: 1, HTTU: 2, ATS: 1, NS1ATS: 1, ASID16: 1, MSI: 1, PRI: 1 }
    expectWords(smmu.IDR0, { ...fields, VMID16: 1, CD2L: 1, TTENDIAN: 2, ST_LEVEL: 1 }, '84d3c9b')
  })

  it('of a part with both stages, hardware flags, EL2 and ATS', () => {
    const fields = { S2P: 1, S1P: 1, TTF: 2, COHACC: 1, HTTU: 2, Hyp: 1, ATS: 1, NS1ATS: 1, ASID16: 1, MSI: 1, PRI: 1 }
    expectWords(smmu.IDR0, { ...fields, VMID16: 1, CD2L: 1, TTENDIAN: 2, ST_LEVEL: 1 }, '084d3e9b')
  })
})

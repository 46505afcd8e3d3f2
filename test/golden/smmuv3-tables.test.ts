/** SMMUv3 structures in memory, spelled from the manual's tables and vectors. */

import { describe, it } from 'vitest'
import { CD, L1CD, L1STD, STE } from '../../hw-model/smmuv3/records.js'
import { expectBits, expectWords } from './spell.js'

describe('[SMMU 5.1 Level 1 Stream Table Descriptor]', () => {
  it('has each bit where the manual has it', () => expectBits(L1STD, ['Span 4:0; L2Ptr* 55:6']))
  it('of 256 entries at 0x5200_0000', () => expectWords(L1STD, { Span: 9, L2Ptr: 0x5200_0000 }, '52000009'))
})

describe('[SMMU 5.2 Stream Table Entry]', () => {
  const S2 = { S2VMID: 5, S2T0SZ: 16, S2SL0: 2, S2IR0: 1, S2OR0: 1, S2SH0: 3, S2PS: 5, S2AA64: 1, S2PTW: 1, S2R: 1 }

  it('has each bit where the manual has it', () =>
    expectBits(STE, [
      'V 0; Config 3:1; S1Fmt 5:4; S1ContextPtr* 55:6; S1CDMax 63:59',
      `S1DSS 1:0; S1CIR 3:2; S1COR 5:4; S1CSH 7:6; S2HWU59 8; S2HWU60 9; S2HWU61 10; S2HWU62 11; DRE 12; CONT 16:13;
       DCP 17; PPAR 18; MEV 19; SW_RESERVED 23:20; S1PIE 24; S2FWB 25; S1MPAM 26; S1STALLD 27; EATS 29:28; STRW 31:30;
       MemAttr 35:32; MTCFG 36; ALLOCCFG 40:37; SHCFG 45:44; NSCFG 47:46; PRIVCFG 49:48; INSTCFG 51:50`,
      `S2VMID 15:0; S2T0SZ 37:32; S2SL0 39:38; S2IR0 41:40; S2OR0 43:42; S2SH0 45:44; S2TG 47:46; S2PS 50:48; S2AA64 51;
       S2ENDI 52; S2AFFD 53; S2PTW 54; S2HD 55; S2HA 56; S2S 57; S2R 58; S2HAFT 59; S2PIE 60; S2POE 61;
       DPT_VMATCH 63:62`,
      'S2NSW 0; S2NSA 1; S2SL0_2 2; S2DS 3; S2TTB* 55:4; S2SKL 62:61',
      'PARTID 31:16; S_S2T0SZ 37:32; S_S2SL0 39:38; S_S2TG 47:46; MECID 63:48',
      'PMG 7:0; MPAM_NS 8; AssuredOnly 9; TL0 10; TL1 11; VMSPtr* 55:12',
      'S2SW 0; S2SA 1; S_S2SL0_2 2; S_S2TTB* 55:4; S_S2SKL 62:61',
      'S2POI 63:0',
    ]))

  it('that aborts, and that bypasses', () => {
    expectWords(STE, { V: 1 }, '1')
    expectWords(STE, { V: 1, Config: 4 }, '9')
    expectWords(STE, { V: 1, Config: 4, SHCFG: 1 }, '9 0000100000000000')
  })

  it('of stage 1 with a single CD at 0x5000_0000', () =>
    expectWords(
      STE,
      { V: 1, Config: 5, S1ContextPtr: 0x5000_0000, S1CIR: 1, S1COR: 1, S1CSH: 3 },
      '000000005000000b 00000000000000d4',
    ))

  it('of stage 1 with 2^20 CDs in two levels', () => {
    const fields = { V: 1, Config: 5, S1Fmt: 2, S1CDMax: 20, S1ContextPtr: 0x6000_0000 }
    const decode = { S1DSS: 2, S1CIR: 1, S1COR: 1, S1CSH: 3, S1STALLD: 1, EATS: 1 }
    expectWords(STE, { ...fields, ...decode }, 'a00000006000002b 00000000180000d6')
    expectWords(STE, { ...fields, ...decode, STRW: 2 }, 'a00000006000002b 00000000980000d6')
  })

  it('of stage 2', () =>
    expectWords(
      STE,
      { V: 1, Config: 6, EATS: 1, ...S2, S2TTB: 0x7000_0000 },
      '000000000000000d 0000000010000000 044d359000000005 0000000070000000',
    ))

  it('nested', () =>
    expectWords(
      STE,
      {
        ...{ V: 1, Config: 7, S1Fmt: 2, S1ContextPtr: 0x8000_0000, S1CDMax: 5 },
        ...{ S1DSS: 2, S1CIR: 1, S1COR: 1, S1CSH: 3, MEV: 1, S1STALLD: 1 },
        ...{ ...S2, S2TTB: 0x7000_0000 },
      },
      '280000008000002f 00000000080800d6 044d359000000005 0000000070000000',
    ))
})

describe('[SMMU 5.3 Level 1 Context Descriptor]', () => {
  it('has each bit where the manual has it', () => expectBits(L1CD, ['V 0; L2Ptr* 55:12']))
  it('at 0x5300_0000', () => expectWords(L1CD, { V: 1, L2Ptr: 0x5300_0000 }, '53000001'))
})

describe('[SMMU 5.4 Context Descriptor]', () => {
  it('has each bit where the manual has it', () =>
    expectBits(CD, [
      `T0SZ 5:0; TG0 7:6; IR0 9:8; OR0 11:10; SH0 13:12; EPD0 14; ENDI 15; T1SZ 21:16; TG1 23:22; IR1 25:24; OR1 27:26;
       SH1 29:28; EPD1 30; V 31; IPS 34:32; AFFD 35; WXN 36; UWXN 37; TBI0 38; TBI1 39; PAN 40; AA64 41; HD 42; HA 43;
       S 44; R 45; A 46; ASET 47; ASID 63:48`,
      `NSCFG0 0; HAD0 1; E0PD0 2; HAFT 3; TTB0* 55:4; PnCH 58; EPAN 59; HWU059 60; HWU060 61; HWU061 62; HWU062 63`,
      `NSCFG1 0; HAD1 1; E0PD1 2; AIE 3; TTB1* 55:4; DS 58; PIE 59; HWU159 60; HWU160 61; HWU161 62; HWU162 63`,
      'MAIR0 31:0; MAIR1 63:32',
      'AMAIR0 31:0; AMAIR1 63:32',
      'PARTID 47:32; PMG 55:48',
      'PIIU 63:0',
      'PIIP 63:0',
    ]))

  const walk = { T0SZ: 16, IR0: 1, OR0: 1, SH0: 3, TTB0: 0x5100_0000 }
  const rest = { EPD1: 1, V: 1, IPS: 5, AA64: 1, A: 1, ASET: 1, ASID: 7, MAIR0: 0xf404ff44 }

  it('of a kernel domain', () =>
    expectWords(CD, { ...walk, ...rest, R: 1 }, '0007e205c0003510 0000000051000000 0 00000000f404ff44'))

  it('of a process that has gone', () => expectWords(CD, { ...rest, EPD0: 1 }, '0007c205c0004000 0 0 00000000f404ff44'))
})

/** VT-d structures in memory, spelled from the manual's tables and samples. */

import { describe, expect, it } from 'vitest'
import * as records from '../../hw-model/vtd/records.js'
import { expectBits, expectWords, isLayout } from './spell.js'

const {
  CONTEXT_ENTRY,
  FIRST_STAGE_ENTRY,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
  SECOND_STAGE_ENTRY,
} = records

describe('[VTD 9 Translation Structure Formats]', () => {
  it('has no record that this file and that of faults and page requests leave out', () => {
    const tables = ['ROOT_ENTRY', 'SCALABLE_ROOT_ENTRY', 'CONTEXT_ENTRY', 'SCALABLE_CONTEXT_ENTRY']
    const pasids = ['PASID_DIRECTORY_ENTRY', 'PASID_TABLE_ENTRY', 'FIRST_STAGE_ENTRY', 'SECOND_STAGE_ENTRY']
    const layouts = records as unknown as Readonly<Record<string, unknown>>
    const made = Object.keys(layouts).filter((name) => isLayout(layouts[name]))
    expect(made.sort()).toEqual([...tables, ...pasids, 'FAULT_RECORD', 'PAGE_REQUEST'].sort())
  })

  it('numbers translation types and modes', () => {
    expect(records.TT).toEqual({ UNTRANSLATED: 0, ALL: 1, PASS_THROUGH: 2 })
    expect(records.PGTT).toEqual({ FIRST: 1, SECOND: 2, NESTED: 3, PASS_THROUGH: 4 })
    expect(records.FSPM).toEqual({ FOUR_LEVEL: 0, FIVE_LEVEL: 1 })
  })
})

describe('[VTD 9.1 Root Entry]', () => {
  it('has each bit where the manual has it', () => expectBits(ROOT_ENTRY, ['P 0; CTP* 63:12', '']))
  it('with its context table at 0x12_3456_7000', () =>
    expectWords(ROOT_ENTRY, { P: 1, CTP: 0x12_3456_7000 }, '0000001234567001'))
})

describe('[VTD 9.2 Scalable-mode Root Entry]', () => {
  it('has each bit where the manual has it', () =>
    expectBits(SCALABLE_ROOT_ENTRY, ['LP 0; LCTP* 63:12', 'UP 0; UCTP* 63:12']))
  it('with both halves', () =>
    expectWords(SCALABLE_ROOT_ENTRY, { LP: 1, LCTP: 0x5000, UP: 1, UCTP: 0x7_0000_6000 }, '5001 0000000700006001'))
})

describe('[VTD 9.3 Context Entry]', () => {
  it('has each bit where the manual has it', () =>
    expectBits(CONTEXT_ENTRY, ['P 0; FPD 1; TT 3:2; SSPTPTR* 63:12', 'AW 2:0; Ignored70_67 6:3; DID 23:8']))
  it('of a 4-level domain 2, device-TLB allowed', () =>
    expectWords(CONTEXT_ENTRY, { P: 1, TT: 1, SSPTPTR: 0x1_0000_2000, AW: 2, DID: 2 }, '0000000100002005 202'))
  it('of pass-through in domain 1, faults silenced', () =>
    expectWords(CONTEXT_ENTRY, { P: 1, FPD: 1, TT: 2, AW: 3, DID: 1 }, 'b 103'))
})

describe('[VTD 9.4 Scalable-Mode Context Entry]', () => {
  it('has each bit where the manual has it', () =>
    expectBits(SCALABLE_CONTEXT_ENTRY, [
      'P 0; FPD 1; DTE 2; PASIDE 3; PRE 4; HPTE 5; EPTR 6; PDTS 11:9; PASIDDIRPTR* 63:12',
      'RID_PASID 19:0; RID_PRIV 20',
      '',
      '',
    ]))
  it("as a machine's log has it", () =>
    expectWords(SCALABLE_CONTEXT_ENTRY, { P: 1, PDTS: 2, PASIDDIRPTR: 0x1_05a6_a000 }, '0000000105a6a401'))
  it('with every gate open and a RID_PASID', () =>
    expectWords(
      SCALABLE_CONTEXT_ENTRY,
      { P: 1, DTE: 1, PASIDE: 1, PRE: 1, PDTS: 7, PASIDDIRPTR: 0x4_0000_0000, RID_PASID: 0xabcde, RID_PRIV: 1 },
      '0000000400000e1d 00000000001abcde',
    ))
  it('that checks translated requests, with a PASID, against host permissions', () =>
    expectWords(
      SCALABLE_CONTEXT_ENTRY,
      { P: 1, FPD: 1, DTE: 1, PASIDE: 1, HPTE: 1, EPTR: 1, PASIDDIRPTR: 0x7000, RID_PASID: 0xfffff },
      '706f fffff',
    ))
})

describe('[VTD 9.5 Scalable-Mode PASID Directory Entry]', () => {
  it('has each bit where the manual has it', () => expectBits(PASID_DIRECTORY_ENTRY, ['P 0; FPD 1; SMPTBLPTR* 63:12']))
  it('with a table at 0x9000', () => expectWords(PASID_DIRECTORY_ENTRY, { P: 1, SMPTBLPTR: 0x9000 }, '9001'))
  it('whose faults are not told', () =>
    expectWords(PASID_DIRECTORY_ENTRY, { P: 1, FPD: 1, SMPTBLPTR: 0xf_ffff_ffff_f000 }, '000ffffffffff003'))
})

describe('[VTD 9.6 Scalable-Mode PASID Table Entry]', () => {
  it('has each bit where the manual has it', () =>
    expectBits(PASID_TABLE_ENTRY, [
      'P 0; FPD 1; AW 4:2; PGTT 8:6; SSADE 9; SSPTPTR* 63:12',
      'DID 15:0; PWSNP 23; PGSNP 24; CD 25; EMTE 26; PAT 63:32',
      'SRE 0; FSPM 3:2; WPE 4; Ignored134_133 6:5; EAFE 7; FSPTPTR* 63:12',
      '',
      'HPTSZ 1:0; HPTPFD 2; HPTPTR* 63:12',
      'HPTDID 15:0',
      '',
      '',
    ]))
  it('of pass-through', () => expectWords(PASID_TABLE_ENTRY, { P: 1, AW: 2, PGTT: 4 }, '109'))
  it('of a second stage of 4 levels', () =>
    expectWords(PASID_TABLE_ENTRY, { P: 1, AW: 2, PGTT: 2, SSPTPTR: 0x7000, DID: 3 }, '7089 3'))
  it('of a first stage', () => expectWords(PASID_TABLE_ENTRY, { P: 1, PGTT: 1, DID: 1, FSPTPTR: 0x8000 }, '41 1 8000'))
  it('nested, of 4 and of 5 levels', () => {
    const nested = { P: 1, PGTT: 3, SSPTPTR: 0x3_0000_1000, DID: 4, PWSNP: 1, FSPTPTR: 0x2_0000_0000 }
    expectWords(PASID_TABLE_ENTRY, { ...nested, AW: 2 }, '00000003000010c9 0000000000800004 0000000200000000')
    expectWords(
      PASID_TABLE_ENTRY,
      { ...nested, AW: 3, FSPM: 1, SRE: 1, WPE: 1, EAFE: 1 },
      '00000003000010cd 0000000000800004 0000000200000095',
    )
  })
  it('of a second stage whose flags are tracked and whose data is snooped', () =>
    expectWords(
      PASID_TABLE_ENTRY,
      { P: 1, FPD: 1, AW: 1, PGTT: 2, SSADE: 1, SSPTPTR: 0x7000, DID: 0xffff, PWSNP: 1, PGSNP: 1 },
      '7287 180ffff',
    ))
  it('with memory types', () =>
    expectWords(
      PASID_TABLE_ENTRY,
      { P: 1, PGTT: 1, CD: 1, EMTE: 1, PAT: 0x0007_0406, Ignored134_133: 3 },
      '41 0007040606000000 60',
    ))
  it('with a host permission table of 4 levels', () =>
    expectWords(
      PASID_TABLE_ENTRY,
      { P: 1, PGTT: 4, HPTSZ: 2, HPTPFD: 1, HPTPTR: 0x1_0000_6000, HPTDID: 0xabcd },
      '101 0 0 0 100006006 abcd',
    ))
  it('as a driver leaves it behind for a process that has gone', () => expectWords(PASID_TABLE_ENTRY, { FPD: 1 }, '2'))
})

describe('[VTD 9.7 First-Stage Paging Entries]', () => {
  it('have each bit where the manual has it', () =>
    expectBits(FIRST_STAGE_ENTRY, [
      `P 0; RW 1; US 2; PWT 3; PCD 4; A 5; D 6; PS 7; G 8; Ignored9 9; EA 10; Ignored11 11; ADDR* 51:12;
       Ignored62_52 62:52; XD 63`,
    ]))
  it('of a dirty user page', () =>
    expectWords(FIRST_STAGE_ENTRY, { P: 1, RW: 1, US: 1, A: 1, D: 1, ADDR: 0x9000_0000 }, '90000067'))
  it('of a table, accessed, extended accessed', () =>
    expectWords(FIRST_STAGE_ENTRY, { P: 1, RW: 1, US: 1, A: 1, EA: 1, ADDR: 0x1_0000_0000 }, '100000427'))
  it('of a global page with all that is ignored', () =>
    expectWords(
      FIRST_STAGE_ENTRY,
      { P: 1, PWT: 1, PCD: 1, PS: 1, G: 1, Ignored9: 1, Ignored11: 1, ADDR: 0x1000, Ignored62_52: 0x7ff },
      '7ff0000000001b99',
    ))
  it('of a read-only 2 MiB page that may not be executed', () =>
    expectWords(FIRST_STAGE_ENTRY, { P: 1, US: 1, A: 1, PS: 1, ADDR: 0x4020_0000, XD: 1 }, '80000000402000a5'))
})

describe('[VTD 9.8 Second-Stage Paging Entries]', () => {
  it('have each bit where the manual has it', () =>
    expectBits(SECOND_STAGE_ENTRY, [
      `R 0; W 1; Ignored2 2; EMT 5:3; IPAT 6; PS 7; A 8; D 9; Ignored10 10; SNP 11; ADDR* 51:12; Ignored60_52 60:52;
       IR 61; IW 62; Ignored63 63`,
    ]))
  it('of a snooped, dirty page', () =>
    expectWords(SECOND_STAGE_ENTRY, { R: 1, W: 1, A: 1, D: 1, SNP: 1, ADDR: 0x9000_0000 }, '90000b03'))
  it('of a table that gives all', () => expectWords(SECOND_STAGE_ENTRY, { R: 1, W: 1, ADDR: 0x7000 }, '7003'))
  it('of a page that devices may write and read by bits of their own', () =>
    expectWords(SECOND_STAGE_ENTRY, { IR: 1, IW: 1, ADDR: 0x7000, IPAT: 1, EMT: 6 }, '6000000000007070'))
  it('with all that is ignored', () =>
    expectWords(
      SECOND_STAGE_ENTRY,
      { R: 1, Ignored2: 1, Ignored10: 1, Ignored60_52: 0x1ff, Ignored63: 1 },
      '9ff0000000000405',
    ))
  it('of a 1 GiB page that may only be read', () =>
    expectWords(SECOND_STAGE_ENTRY, { R: 1, PS: 1, ADDR: 0x80_0000_0000 }, '0000008000000081'))
})

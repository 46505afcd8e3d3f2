/** VMSAv8-64 table entries, spelled from the manual's diagrams and from entries that guests write. */

import { describe, it } from 'vitest'
import { STAGE_1_LEAF, STAGE_1_TABLE, STAGE_2_LEAF, STAGE_2_TABLE } from '../../hw-model/smmuv3/descriptors.js'
import { expectBits, expectWords } from './spell.js'

describe('[Arm D8.3.1 Table descriptor format]', () => {
  it('has each bit of stage 1 where the manual has it', () =>
    expectBits(STAGE_1_TABLE, ['V 0; Type 1; NextTable* 47:12; PXNTable 59; UXNTable 60; APTable 62:61; NSTable 63']))
  it('has each bit of stage 2 where the manual has it', () =>
    expectBits(STAGE_2_TABLE, ['V 0; Type 1; NextTable* 47:12']))
  it('of a table at 0x4100_2000 without privileged execution', () =>
    expectWords(STAGE_1_TABLE, { V: 1, Type: 1, NextTable: 0x4100_2000, PXNTable: 1 }, '0800000041002003'))
})

describe('[Arm D8.3.1 Block descriptor and Page descriptor formats]', () => {
  it('has each bit of stage 1 where the manual has it', () =>
    expectBits(STAGE_1_LEAF, [
      `V 0; Type 1; AttrIndx 4:2; NS 5; AP 7:6; SH 9:8; AF 10; nG 11; OutputAddress* 47:12; GP 50; DBM 51;
       Contiguous 52; PXN 53; UXN 54`,
    ]))
  it('has each bit of stage 2 where the manual has it', () =>
    expectBits(STAGE_2_LEAF, [
      `V 0; Type 1; MemAttr 5:2; S2AP 7:6; SH 9:8; AF 10; FnXS 11; OutputAddress* 47:12; DBM 51; Contiguous 52;
       XN 54:53`,
    ]))
  it('of a page of stage 1: AttrIndx 1, EL0 and EL1 may write, inner shareable, accessed, not global', () => {
    const page = { V: 1, Type: 1, AttrIndx: 1, AP: 1, SH: 3, AF: 1, nG: 1, OutputAddress: 0x4010_0000 }
    expectWords(STAGE_1_LEAF, page, '40100f47')
  })
  it('of a block of stage 2: write-back, read-write, inner shareable, accessed', () =>
    expectWords(STAGE_2_LEAF, { V: 1, MemAttr: 15, S2AP: 3, SH: 3, AF: 1, OutputAddress: 0x20_0000 }, '2007fd'))

  const user = { V: 1, Type: 1, AttrIndx: 1, AP: 1, SH: 3, AF: 1, nG: 1, OutputAddress: 0x9000_0000 }
  it('of a page of stage 1 that is read-write, read-only, not executable, writable-clean', () => {
    expectWords(STAGE_1_LEAF, user, '0000000090000f47')
    expectWords(STAGE_1_LEAF, { ...user, AP: 3 }, '0000000090000fc7')
    expectWords(STAGE_1_LEAF, { ...user, PXN: 1, UXN: 1 }, '0060000090000f47')
    expectWords(STAGE_1_LEAF, { ...user, AP: 3, DBM: 1 }, '0008000090000fc7')
  })
  it('of a guarded, secure-looking block of stage 1 in a contiguous run', () =>
    expectWords(
      STAGE_1_LEAF,
      { V: 1, NS: 1, AF: 1, GP: 1, Contiguous: 1, OutputAddress: 0x4000_0000 },
      '0014000040000421',
    ))

  const guest = { V: 1, Type: 1, MemAttr: 15, S2AP: 3, SH: 3, AF: 1, OutputAddress: 0x1234_0000 }
  it('of a page of stage 2 that is read-write, read-only, not executable, writable-clean', () => {
    expectWords(STAGE_2_LEAF, guest, '00000000123407ff')
    expectWords(STAGE_2_LEAF, { ...guest, S2AP: 1 }, '000000001234077f')
    expectWords(STAGE_2_LEAF, { ...guest, XN: 2 }, '00400000123407ff')
    expectWords(STAGE_2_LEAF, { ...guest, S2AP: 1, DBM: 1 }, '000800001234077f')
  })
  it('of a page of stage 2 that only EL0, and that only EL1, may execute', () => {
    expectWords(STAGE_2_LEAF, { ...guest, XN: 1 }, '00200000123407ff')
    expectWords(STAGE_2_LEAF, { ...guest, XN: 3 }, '00600000123407ff')
  })
  it('of a contiguous block of device memory of stage 2', () =>
    expectWords(
      STAGE_2_LEAF,
      { V: 1, MemAttr: 1, S2AP: 3, AF: 1, Contiguous: 1, OutputAddress: 0x20_0000 },
      '00100000002004c5',
    ))

  it('of the walk that QEMU tests its unit with', () => {
    expectWords(STAGE_1_TABLE, { V: 1, Type: 1, NextTable: 0x4e4d_1000, NSTable: 1 }, '800000004e4d1003')
    const leaf = { V: 1, Type: 1, SH: 3, AF: 1, OutputAddress: 0x4ecb_a000 }
    expectWords(STAGE_1_LEAF, { ...leaf, AP: 1, UXN: 0, NS: 1 }, '000000004ecba763')
    expectWords(STAGE_2_LEAF, { ...leaf, MemAttr: 8, S2AP: 1 }, '000000004ecba763')
    expectWords(STAGE_2_LEAF, { ...leaf, MemAttr: 8, S2AP: 3, XN: 0 }, '000000004ecba7e3')
  })
})

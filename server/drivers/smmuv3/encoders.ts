/** How kernel-owned tables of both stages spell their entries. [Arm D8.3 Translation table descriptor formats] */

import { highWord, lowWord } from '../../../hw-model/bits/address.js'
import { address, bit, bits, layout } from '../../../hw-model/bits/layout.js'
import type { Protection } from '../../core/driver.js'
import type { DirtyMark, EntryEncoder, EntryWords } from '../entry-encoder.js'

/** A table entry of either stage. */
const TABLE = layout('table', 64, { Valid: bit(0), Table: bit(1), NextTable: address(47, 12) })

/** A stage 1 page or block. */
const STAGE_1_LEAF = layout('stage 1 leaf', 64, {
  Valid: bit(0),
  Page: bit(1),
  AttrIndx: bits(4, 2),
  AP: bits(7, 6),
  SH: bits(9, 8),
  AF: bit(10),
  nG: bit(11),
  DBM: bit(51),
})

/** A stage 2 page or block. */
const STAGE_2_LEAF = layout('stage 2 leaf', 64, {
  Valid: bit(0),
  Page: bit(1),
  MemAttr: bits(5, 2),
  S2AP: bits(7, 6),
  SH: bits(9, 8),
  AF: bit(10),
})

/** 1 GiB blocks are the largest that 4 KiB granules have. */
const TOP_LEAF_LEVEL = 2
const INNER_SHAREABLE = 3
/** Index of write-back in the CD's MAIR. */
const WRITE_BACK_INDEX = 1
/** AP[2:1]: readable by unprivileged accesses, and writable or not. */
const AP_RW = 0b01
const AP_RO = 0b11
const AP_READ_ONLY = 0b10
/** Write-back as STE.S2FWB = 0 and 1 spell it. */
const MEMATTR_WB = 0xf
const MEMATTR_FWB_WB = 0x6

const scratch = new Int32Array(2)

function emit(out: EntryWords, target: number): void {
  out.lo = scratch[0] | lowWord(target)
  out.hi = scratch[1] | highWord(target)
}

function tableEntry(target: number, out: EntryWords): void {
  scratch.fill(0)
  TABLE.Valid.set(scratch, 0, 1)
  TABLE.Table.set(scratch, 0, 1)
  emit(out, target)
}

/** Writable and dirty: DBM is set and AP[2], read-only, is not. [Arm D8.5.2 Hardware management of the dirty state] */
const DIRTY_MARK: DirtyMark = {
  has: ({ lo, hi }) => {
    scratch[0] = lo
    scratch[1] = hi
    return STAGE_1_LEAF.DBM.get(scratch, 0) === 1 && (STAGE_1_LEAF.AP.get(scratch, 0) & AP_READ_ONLY) === 0
  },
  remove: (leaf) => {
    scratch[0] = leaf.lo
    scratch[1] = leaf.hi
    STAGE_1_LEAF.AP.set(scratch, 0, AP_RO)
    leaf.lo = scratch[0]
  },
}

/**
 * Stage 1: what may be written may be read, too.
 *
 * @param tracksDirty writable leaves have DBM; they begin dirty, as Linux has them, for nothing tells whether the page
 * was written before it was mapped
 */
export const stageOneEncoder = (tracksDirty: boolean): EntryEncoder => ({
  topLeafLevel: TOP_LEAF_LEVEL,
  ...(tracksDirty ? { dirty: DIRTY_MARK } : {}),
  table: tableEntry,
  leaf(target: number, level: number, protection: Protection, out: EntryWords): void {
    scratch.fill(0)
    STAGE_1_LEAF.Valid.set(scratch, 0, 1)
    STAGE_1_LEAF.Page.set(scratch, 0, level === 0 ? 1 : 0)
    STAGE_1_LEAF.AttrIndx.set(scratch, 0, WRITE_BACK_INDEX)
    STAGE_1_LEAF.AP.set(scratch, 0, protection.write ? AP_RW : AP_RO)
    STAGE_1_LEAF.SH.set(scratch, 0, INNER_SHAREABLE)
    STAGE_1_LEAF.AF.set(scratch, 0, 1)
    STAGE_1_LEAF.nG.set(scratch, 0, 1)
    STAGE_1_LEAF.DBM.set(scratch, 0, tracksDirty && protection.write ? 1 : 0)
    emit(out, target)
  },
})

/** Stage 2, with MemAttr as the STE's S2FWB has it read. */
export const stageTwoEncoder = (forcedWriteBack: boolean): EntryEncoder => ({
  topLeafLevel: TOP_LEAF_LEVEL,
  table: tableEntry,
  leaf(target: number, level: number, protection: Protection, out: EntryWords): void {
    scratch.fill(0)
    STAGE_2_LEAF.Valid.set(scratch, 0, 1)
    STAGE_2_LEAF.Page.set(scratch, 0, level === 0 ? 1 : 0)
    STAGE_2_LEAF.MemAttr.set(scratch, 0, forcedWriteBack ? MEMATTR_FWB_WB : MEMATTR_WB)
    STAGE_2_LEAF.S2AP.set(scratch, 0, (protection.read ? 1 : 0) | (protection.write ? 2 : 0))
    STAGE_2_LEAF.SH.set(scratch, 0, INNER_SHAREABLE)
    STAGE_2_LEAF.AF.set(scratch, 0, 1)
    emit(out, target)
  },
})

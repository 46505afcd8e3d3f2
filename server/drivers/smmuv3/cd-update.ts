/** Changes to a CD that hardware may be reading, wherever its table is, and what makes hardware forget it. */

import type { Memory } from '../../../hw-model/memory/index.js'
import { CMD_CFGI_CD, OPCODE } from '../../../hw-model/smmuv3/index.js'
import { usedCdBits } from './entries.js'
import { ENTRY_WORDS, updateEntry } from './entry-update.js'
import type { CommandRing } from './queues.js'

const NO_SAFE_BITS = new Int32Array(ENTRY_WORDS)

/** A CD that is not valid. */
export const INVALID_CD = new Int32Array(ENTRY_WORDS)

/** Whose CD it is. */
export interface CdName {
  readonly sid: number
  /** The SubstreamID. */
  readonly index: number
}

/** Brings the CD at a physical address to `target`; answers whether that was hitless. */
export function updateCd(memory: Memory, commands: CommandRing, at: number, name: CdName, target: Int32Array): boolean {
  const current = new Int32Array(ENTRY_WORDS)
  memory.loadRecord(at, current, 0, ENTRY_WORDS)
  return updateEntry(current, target, {
    used: usedCdBits,
    safe: NO_SAFE_BITS,
    store: (qword, lo, hi) => void memory.storeWord(at + qword * 8, lo, hi),
    sync: () => syncCd(commands, name, true),
  })
}

/** Has hardware forget a CD, and, unless it is the leaf alone, the L1CD that leads to it. [SMMU 4.3.3 CMD_CFGI_CD] */
export function syncCd(commands: CommandRing, { sid, index }: CdName, isLeaf: boolean): void {
  commands.add(CMD_CFGI_CD, OPCODE.CFGI_CD, { SID: sid, SSID: index, Leaf: isLeaf ? 1 : 0 })
  commands.sync()
}

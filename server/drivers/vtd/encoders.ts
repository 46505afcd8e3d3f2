/** How the kernel-owned tables of both stages are spelled. [VTD 9.7 First-Stage, 9.8 Second-Stage Paging Entries] */

import type { Field } from '../../../hw-model/bits/layout.js'
import { FIRST_STAGE_ENTRY, SECOND_STAGE_ENTRY } from '../../../hw-model/vtd/index.js'
import type { Protection } from '../../core/driver.js'
import type { DirtyMark, EntryEncoder, EntryWords } from '../entry-encoder.js'

const TWO32 = 4294967296
const flag = (field: Field): number => 1 << field.low

const { P, RW, US, A, D } = FIRST_STAGE_ENTRY
const { R, W, SNP } = SECOND_STAGE_ENTRY

/** Access flags are set beforehand, as Linux does, so that units without snooped walks need not set them. */
const FIRST_TABLE = flag(P) | flag(RW) | flag(US) | flag(A)
const FIRST_READ = flag(P) | flag(US) | flag(A)
const FIRST_WRITE = flag(RW) | flag(D)
const SECOND_TABLE = flag(R) | flag(W)
const LARGE = flag(FIRST_STAGE_ENTRY.PS)

/** First stage: whatever is present can be read. */
export class FirstStageEncoder implements EntryEncoder {
  readonly topLeafLevel: number

  /** @param topLeafLevel 1 with 2 MiB leaves, 2 with 1 GiB leaves too */
  constructor(topLeafLevel: number) {
    this.topLeafLevel = topLeafLevel
  }

  table(address: number, out: EntryWords): void {
    fill(out, address, FIRST_TABLE)
  }

  leaf(address: number, level: number, { write }: Protection, out: EntryWords): void {
    fill(out, address, FIRST_READ | (write ? FIRST_WRITE : 0) | (level > 0 ? LARGE : 0))
  }
}

/** D: clean until the first write. [VTD 3.7.2 Accessed and Dirty Flags] */
const DIRTY_MARK: DirtyMark = {
  has: ({ lo }) => (lo & flag(SECOND_STAGE_ENTRY.D)) !== 0,
  remove: (leaf) => {
    leaf.lo &= ~flag(SECOND_STAGE_ENTRY.D)
  },
}

/** Second stage: read and write stand alone. */
export class SecondStageEncoder implements EntryEncoder {
  readonly topLeafLevel: number
  readonly dirty = DIRTY_MARK
  readonly #snoop: number

  /**
   * @param topLeafLevel 0, 1 or 2: 4 KiB, 2 MiB, 1 GiB
   * @param snoops accesses snoop caches whatever the device asks for, where the unit can (ECAP.SC)
   */
  constructor(topLeafLevel: number, snoops: boolean) {
    this.topLeafLevel = topLeafLevel
    this.#snoop = snoops ? flag(SNP) : 0
  }

  table(address: number, out: EntryWords): void {
    fill(out, address, SECOND_TABLE)
  }

  leaf(address: number, level: number, { read, write }: Protection, out: EntryWords): void {
    fill(out, address, (read ? flag(R) : 0) | (write ? flag(W) : 0) | (level > 0 ? LARGE : 0) | this.#snoop)
  }
}

function fill(out: EntryWords, address: number, flags: number): void {
  out.lo = address | flags | 0
  out.hi = Math.floor(address / TWO32) | 0
}

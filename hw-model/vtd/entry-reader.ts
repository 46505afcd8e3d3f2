/**
 * One configuration entry at a time: copied from memory once, judged from the copy, and shown to whoever looks on.
 * [VTD 9 Translation Structure Formats]
 */

import type { Layout } from '../bits/layout.js'
import { MEMORY, type Memory } from '../memory/memory.js'
import type { Space, WalkTrace } from '../port.js'
import type { DmaConfig } from './dma-config.js'
import { PGTT } from './records.js'
import { configStep, failedStep } from './steps.js'

/** Words that hardware reads as one. [VTD 9 Translation Structure Formats] */
const PIECE_WORDS = 4

/** How often a piece that changes under its reader is read again; then it counts as unreadable. */
const PIECE_TRIES = 256

/** Words of the longest entry. */
const ENTRY_WORDS = 16

/** Sees the words of every record that is read. */
export interface RecordReads {
  record(name: string, pa: number, words: Int32Array, count: number): void
}

/** Holds the entry read last. */
export class EntryReader {
  readonly words = new Int32Array(ENTRY_WORDS)
  /** Shows every entry that is read. */
  trace: WalkTrace | null = null
  /** Is given the words of every entry that is read. */
  reads: RecordReads | null = null

  readonly #memory: Memory
  /** The record read last, until it is shown. */
  #shown: Layout<Record<never, never>> | null = null
  #shownAt = 0
  #wasRead = false

  constructor(memory: Memory) {
    this.#memory = memory
  }

  /** Copies a record once; false where it could not be read. */
  load(record: Layout<Record<never, never>>, pa: number): boolean {
    this.#shown = record
    this.#shownAt = pa
    this.#wasRead = true
    for (let at = 0; at < record.$.words && this.#wasRead; at += PIECE_WORDS) {
      this.#wasRead = this.#loadPiece(pa + at * 4, at, Math.min(PIECE_WORDS, record.$.words - at))
    }
    if (this.reads !== null && this.#wasRead) this.reads.record(record.$.name, pa, this.words, record.$.words)
    return this.#wasRead
  }

  /** Shows what follows from the record in hand. */
  show(verdict: string, address: number | undefined, space: Space = 'pa'): void {
    if (this.trace === null || this.#shown === null) return
    const target = address === undefined ? undefined : { space, address }
    this.trace.step(configStep(this.#shown.$.name, this.#shownAt, this.words, verdict, target))
    this.#shown = null
  }

  /** Shows where the last entry of the configuration leads. */
  showDma({ pgtt, firstTable, secondTable }: DmaConfig): void {
    if (pgtt === PGTT.PASS_THROUGH) this.show('addresses pass untranslated', undefined)
    else if (pgtt === PGTT.SECOND) this.show('second-stage tables', secondTable)
    else if (pgtt === PGTT.FIRST) this.show('first-stage tables', firstTable)
    else this.show('first stage then second stage: first-stage tables', firstTable, 'ipa')
  }

  /** Shows why the record in hand ends the way. */
  showFailure(reason: number): void {
    if (this.trace === null || this.#shown === null) return
    const words = this.#wasRead ? this.words : null
    this.trace.step(failedStep(this.#shown.$.name, this.#shownAt, words, reason))
    this.#shown = null
  }

  /** Copies 128 bits, whole: software may replace them by one store. The lower half is read before and after. */
  #loadPiece(pa: number, at: number, words: number): boolean {
    const memory = this.#memory
    for (let attempt = 0; attempt < PIECE_TRIES; attempt++) {
      if (memory.loadRecord(pa, this.words, at, words) !== MEMORY.OK) return false
      if (words < PIECE_WORDS) return true
      if (memory.loadWord(pa) !== MEMORY.OK) return false
      if (memory.lo === this.words[at] && memory.hi === this.words[at + 1]) return true
    }
    return false
  }
}

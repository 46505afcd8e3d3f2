/**
 * What a unit's oracle answers: translations that its caches answer otherwise than memory does, each with the command
 * that software forgot.
 */

import type { Invalidation, Outcome, Transaction } from '../port.js'

/** How a unit's oracle judges. */
export interface OracleOptions {
  /** A stale translation that is reported ends ABORTED. */
  readonly fails: boolean
  /** Completed SYNCs or waits since a change that do not count yet. */
  readonly graceSyncs: number
  /** Reports kept; later ones are counted as dropped. */
  readonly reportLimit: number
}

/** What a unit's oracle has counted since it was switched on. */
export interface OracleCounts {
  /** Translations compared with what memory says. */
  readonly compared: number
  /** Of those, answered from something that software has changed since. */
  readonly stale: number
  /** Of those, while old and new are both legal: no SYNC or wait has completed since the change. */
  readonly inWindow: number
  /** Reports made, those that found no room too. */
  readonly reports: number
  readonly droppedReports: number
  /** Entries that an invalidation took: those that had changed, and those that had not. */
  readonly needed: number
  readonly needless: number
  /** SYNCs or waits completed. */
  readonly syncs: number
}

/** How a transaction ends, with the caches and without. Fields mean what those of `Outcome` do. */
export interface Ended {
  readonly status: number
  readonly fault: number
  readonly address: number
  readonly leafLg2: number
  readonly rights: number
}

/** An entry in memory that is not what it was when the translation was last right. */
export interface ChangedEntry {
  /** Which structure: `STE`, `CD`, `stage-1 table entry`, `context entry` … */
  readonly what: string
  /** Whose tables, and the level as the manual counts it; absent for configuration. */
  readonly stage?: 1 | 2
  readonly level?: number
  /** Physical address of the 64-bit word, and its two unsigned halves, low first. */
  readonly address: number
  readonly before: readonly [lo: number, hi: number]
  readonly after: readonly [lo: number, hi: number]
}

/** A command that was sent, and why the stale entry outlived it. */
export interface SentInvalidation {
  readonly command: Invalidation
  /** The operation that consumed it. */
  readonly at: number
  readonly why: string
}

/**
 * Why a difference was reported: a SYNC or wait has completed since the change; the frame has become somebody else's;
 * somebody asked what is stale; one valid entry took another's place although the manual wants an invalid one between;
 * it was still cached when its owner ended.
 */
export type StaleReason = 'synced' | 'frame-reused' | 'checked' | 'break-before-make' | 'ended'

/** A translation that a unit's caches answer otherwise than memory does, and the command that software forgot. */
export interface StaleReport {
  /** Counts the reports of one unit, from 1. */
  readonly number: number
  readonly reason: StaleReason
  /** The cache that is stale, by its name in the statistics: `tlb`, `ipa`, `walk1`, `ste`, `cd`, `iotlb`, `atc` … */
  readonly cache: string
  /** Who met it, and what was asked for. */
  readonly rid: number
  readonly pasid: number
  readonly lo: number
  readonly hi: number
  readonly access: number
  readonly cached: Ended
  readonly fresh: Ended
  /**
   * Operations of the unit (translations, consumed commands, register writes), counted from 1: when the entry was
   * filled, or first met; when it was last seen to be right, 0 for never; when it was first seen to be wrong, by a SYNC
   * or a translation, or where all but a SYNC was sent, what followed that. The missing commands belong before the last
   * of these.
   */
  readonly filledAt: number
  readonly lastRightAt: number
  readonly firstSeenAt: number
  /** When it was reported. */
  readonly at: number
  /** Stale answers so far. */
  readonly hits: number
  /** Null where nothing that was read has changed, such as where registers lead elsewhere. */
  readonly changed: ChangedEntry | null
  /** The narrowest commands that make this answer right, in the order to send them. */
  readonly missing: readonly Invalidation[]
  /** Where software would rather send a wider one, that one. */
  readonly usual: Invalidation | null
  /** The nearest commands that were sent, nearest first. */
  readonly sent: readonly SentInvalidation[]
}

/** What a function keeps in its device TLB. */
export interface KeptTranslations {
  /** What it would use for an address: `address`, `leafLg2` and `rights`. False for nothing. Counts nothing. */
  lookUp(pasid: number, isPrivileged: boolean, lo: number, hi: number, outcome: Outcome): boolean
}

/** Whom something cached concerns: by RID, PASID, and whether it is what the function keeps. */
export type Concerns = (rid: number, pasid: number, isKept: boolean) => boolean

/** Compares what a unit answers with what memory says. */
export interface UnitOracle {
  readonly options: OracleOptions
  /** Number of the last operation. */
  readonly operation: number
  readonly counts: OracleCounts
  /** Oldest first. */
  readonly reports: readonly StaleReport[]
  /** The report for which the last translation ended ABORTED; null where it did not. */
  readonly failed: StaleReport | null
  /** Translations that are watched now; a `check` of as many looks at all of them. */
  readonly watched: number
  /** Called for each new report. */
  onReport: ((report: StaleReport) => void) | null
  /** Looks at what is cached now, `most` translations that were met before at most, and goes on there the next time. */
  check(most: number): { readonly compared: number; readonly stale: readonly StaleReport[] }
  /**
   * The same of what concerns somebody who ends, from watch `from` on. What is cached of tables that are in no memory any
   * more is no difference that anybody meets.
   *
   * @returns where to go on: `watched` when all were looked at
   */
  checkLast(from: number, most: number, concerns: Concerns): number
  /**
   * A function has got a translation, or is about to use one that it keeps. False where that is reported as stale and its
   * use is to end ABORTED.
   */
  used(transaction: Transaction, device: KeptTranslations): boolean
}

/**
 * The oracle of a unit, as core sees it: it compares what caches answer with what memory says, and names the command that
 * software forgot. Core carries its reports to whom they concern.
 */

import type { DeviceDriver } from './driver.js'
import type { SmmuCommand, VtdInvalidation } from './given.js'

/** What the oracle does with a stale answer. */
export type OracleMode = 'off' | 'report' | 'fail'

/** How the oracle of a unit is set. */
export interface OracleSetting {
  readonly mode: OracleMode
  /** SYNCs or waits that may complete after a change before a stale answer is reported. */
  readonly graceSyncs: number
}

/** How an access ends. Fields mean what those of `DmaOutcome` do. */
export interface StaleEnd {
  readonly status: number
  readonly fault: number
  readonly address: number
  readonly leafLg2: number
  readonly rights: number
}

/** An entry in memory that has changed. */
export interface ChangedWord {
  readonly what: string
  readonly stage?: 1 | 2
  readonly level?: number
  /** Physical. */
  readonly address: number
  /** Two unsigned halves, low first. */
  readonly before: readonly [lo: number, hi: number]
  readonly after: readonly [lo: number, hi: number]
}

/** A command that was sent and did not help. */
export interface SentText {
  readonly command: string
  readonly at: number
  readonly why: string
  /** It names what the device's own owner may know: its device, or its tables' VMID or domain-id. */
  readonly isOfDevice: boolean
}

/** An invalidation as the owner of user tables gives it to InvalidateIotlb. */
export interface OwnInvalidation {
  readonly text: string
  /** Raw commands for the vIOMMU, or ranges for the user domain. */
  readonly commands?: readonly SmmuCommand[]
  readonly ranges?: readonly VtdInvalidation[]
}

/** A stale answer, with commands spelled out. */
export interface StaleFacts {
  /** Counts the reports of one unit, from 1. */
  readonly number: number
  readonly reason: 'synced' | 'frame-reused' | 'checked' | 'break-before-make' | 'ended'
  readonly cache: string
  readonly sourceId: number
  /** -1 for none. */
  readonly pasid: number
  readonly lo: number
  readonly hi: number
  readonly access: number
  readonly cached: StaleEnd
  readonly fresh: StaleEnd
  readonly filledAt: number
  readonly lastRightAt: number
  readonly firstSeenAt: number
  readonly at: number
  /** So far: it may rise. */
  readonly hits: number
  readonly changed: ChangedWord | null
  readonly needed: string
  readonly usual: string
  readonly sent: readonly SentText[]
  /** Absent: the host, or the unit's owner, has to send what is needed. */
  readonly own?: OwnInvalidation
  /** The device on a platform's unit. */
  readonly device?: DeviceDriver
}

/** What the oracle has counted since it was switched on. */
export interface OracleNumbers {
  readonly compared: number
  readonly stale: number
  readonly inWindow: number
  readonly reports: number
  readonly droppedReports: number
  readonly needed: number
  readonly needless: number
  readonly syncs: number
}

/** Whom something cached concerns: by source-id, PASID or -1, and whether the device keeps it itself. */
export type Concerns = (sourceId: number, pasid: number, isKept: boolean) => boolean

/** The oracle of one unit. */
export interface UnitOracle {
  readonly setting: OracleSetting
  /** Undefined while it is off. */
  readonly counts: OracleNumbers | undefined
  /** Translations that it watches: as many are looked at by a whole check. */
  readonly watched: number
  /** Called for each new report. */
  onReport: ((report: StaleFacts) => void) | undefined
  /**
   * Switches it, and starts anew.
   *
   * @param setting null: as the unit was made
   */
  set(setting: OracleSetting | null): void
  /** Looks at some of what is watched, and goes on there the next time. Reports what is stale. */
  check(most: number): { readonly compared: number; readonly numbers: readonly number[] }
  /**
   * Looks at what concerns somebody who is about to end, and reports what is stale. What is cached of tables that are in
   * no memory any more is none of it.
   *
   * @param from where to begin: 0, or what the last step has answered
   * @param most translations compared
   * @returns where to go on; `watched` when all were looked at
   */
  checkLast(from: number, most: number, concerns: Concerns): number
  /** The number of the report for which the last access ended ABORTED; 0 where it did not. */
  readonly failedNumber: number
  faultName(fault: number): string
}

/** What core is given from outside, as it has no clock, no randomness and no output of its own. */

import type { Context } from './context.js'
import type { StaleFacts } from './unit-oracle.js'

/** Time in milliseconds from any start; it never goes back. */
export interface Clock {
  now(): number
  /** Calls once when `ms` have passed; the function it returns cancels that. */
  after(ms: number, fn: () => void): () => void
  /** A manual clock only: lets time pass and ends when all that this caused has happened. */
  advance?(ms: number): Promise<void>
}

/**
 * The present turn of the event loop. All who work in it share one budget, so that nobody waits longer for his turn
 * than that.
 */
export interface Turn {
  /** Somebody begins to work; the first one of a turn starts its budget. */
  begin(): void
  /** The budget is used up: whoever still works gives way at his next pause. */
  spent(): boolean
  /** Ends in a later turn, when it is the caller's again. Those who wait go on one after the other. */
  next(): Promise<void>
}

/** A turn that is never over: whatever is asked for is done at once. */
export const ENDLESS_TURN: Turn = { begin() {}, spent: () => false, next: () => Promise.resolve() }

/** Unpredictable bytes, or with `--seed` repeatable ones. */
export interface RandomSource {
  bytes(count: number): Uint8Array
}

/** What happens in core that operators want to know. Tokens are never in it. */
export type CoreEvent =
  | { readonly kind: 'context-opened'; readonly context: Context }
  | { readonly kind: 'context-ended'; readonly context: Context; readonly why: EndReason }
  | {
      /** The oracle of a unit has found a stale answer. */
      readonly kind: 'stale-translation'
      /** Who has bound the device, or owns the raw unit. */
      readonly context: Context | undefined
      /** The unit's name, or `raw`. */
      readonly unit: string
      readonly deviceName: string
      readonly facts: StaleFacts
      readonly summary: string
    }
  | TimeOut

/** Somebody did not answer within its limit. */
export type TimeOut =
  | {
      /** Groups of page faults that were answered INVALID in their reader's place. */
      readonly kind: 'fault-groups-timed-out'
      readonly context: Context
      readonly queueId: number
      readonly count: number
    }
  | {
      /** A device that kept translations it was to forget: it does nothing until it is reset. */
      readonly kind: 'device-blocked'
      readonly context: Context
      readonly deviceName: string
      /** Invalidations that it had not answered. */
      readonly count: number
    }

/** Why a context ended. */
export type EndReason = 'closed' | 'lease' | 'connection' | 'administrator' | 'shutdown'

/** Takes events at once and without throwing. */
export type EventSink = (event: CoreEvent) => void

/** A transport's connection whose end ends the contexts that were opened with it. */
export class Connection {
  /** Contexts that end with it. */
  readonly contexts = new Set<Context>()
  /** The one that an empty token means. */
  own: Context | undefined
}

/** Who calls. */
export interface Peer {
  /** User id: of the socket's other end, or of the token that opened the TCP door. */
  readonly uid: number
  /** Its process, where the transport can tell. */
  readonly pid?: number
  /** Absent where connections are shared by many clients (HTTP); then no context can end with one. */
  readonly connection?: Connection
  /** Calls through the admin socket. */
  readonly admin?: boolean
}

/** Facts of this daemon that core only passes on. */
export interface ServerFacts {
  readonly version: string
  readonly strict: boolean
  readonly manualClock: boolean
  /** `--seed`, 0 when it was not given. */
  readonly seed: bigint
  readonly features: readonly string[]
  readonly fileRoots: readonly string[]
}

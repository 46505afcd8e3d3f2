/** What a transport tells about calls, for logs and metrics. Nothing in it is a secret. */

import type { RefusalDetail } from '../core/detail.js'
import type { Code } from './status.js'

/** A finished call. */
export interface CallRecord {
  /** `IommuService/IoasMap`, or `unknown` for a path that names no method. */
  readonly method: string
  /** `http`, `memory` … */
  readonly transport: string
  readonly uid: number
  /** Number of the caller's connection in this run of the daemon. */
  readonly connection: number
  /** Number of the context; 0 where none was named or found. */
  readonly contextNumber: number
  readonly code: Code | 'ok'
  readonly durationMs: number
  /** A refusal, whether it was the error or came in the reply. */
  readonly refusal?: RefusalDetail
  /** What was thrown where it was no refusal, and the name by which the caller knows it. */
  readonly incident?: { readonly id: string; readonly error: unknown }
}

/** Is told of calls. */
export interface CallObserver {
  started(): void
  finished(record: CallRecord): void
}

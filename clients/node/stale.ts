/** The oracle's reports as they come: for a test that is to fail at the first, and for whoever watches. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { ListStaleTranslationsResponse, StaleTranslation } from '../../proto/generated/types.js'

/** A unit by its name in the platform, or a raw one by its id. */
export type OracleUnit = { readonly unitName: string } | { readonly unitId: number }

/** What lists reports: a client in a context, or one on the admin socket. */
export interface StaleLister {
  listStaleTranslations(
    request: OracleUnit & { readonly start: number },
  ): Promise<Pick<ListStaleTranslationsResponse, 'stale' | 'totalCount'>>
}

/** How reports are waited for. */
export interface WatchOptions {
  /** Milliseconds between two looks. */
  readonly pollMs?: number
  /** Ends it. */
  readonly signal?: AbortSignal
}

const POLL_MS = 250

/** Every report of a unit's oracle, those that are there first; ends when the signal says so. */
export async function* watchStale(
  client: StaleLister,
  unit: OracleUnit,
  { pollMs = POLL_MS, signal }: WatchOptions = {},
): AsyncGenerator<StaleTranslation, void> {
  let start = 0
  while (signal?.aborted !== true) {
    const { stale, totalCount } = await client.listStaleTranslations({ ...unit, start })
    for (const report of stale) yield report
    start += stale.length
    // The oracle was switched anew: it counts from the start.
    if (totalCount < BigInt(start)) start = 0
    else if (stale.length === 0) await sleep(pollMs, undefined, { signal }).catch(() => undefined)
  }
}

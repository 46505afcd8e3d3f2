/** A context's open files, by handle. What can be done with one is the business of the door that opened it. */

import type { Call } from './call.js'
import type { Completion } from './driver.js'
import { LowestFree } from './ids.js'
import type { Quota } from './quota.js'
import { assert } from './refusal.js'
import type { Region } from './region.js'

/** A file that a context has open. */
export interface OpenFile {
  /** As a refusal names it: `/dev/vfio/devices/0000:00:01.0`. */
  readonly name: string
  /** The memory region that it is, if it is one. */
  readonly region?: Region
  /** Its last handle is closed. Cannot fail. */
  close(): Completion
}

/** Handles: the lowest free number, from 1. 0 is the context itself and not in here. */
export class OpenFiles {
  readonly #quota: Quota
  readonly #numbers = new LowestFree()
  readonly #files = new Map<number, OpenFile>()

  constructor(quota: Quota) {
    this.#quota = quota
  }

  /** Open handles, ascending. */
  get all(): readonly (readonly [handle: number, file: OpenFile])[] {
    return [...this.#files].sort(([a], [b]) => a - b)
  }

  /** The file behind a handle. */
  find(handle: number): OpenFile | undefined {
    return this.#files.get(handle)
  }

  /** The lowest handle of each region that has one. */
  get ofRegions(): ReadonlyMap<Region, number> {
    const handles = new Map<Region, number>()
    for (const [handle, { region }] of this.all) {
      if (region !== undefined && !handles.has(region)) handles.set(region, handle)
    }
    return handles
  }

  /**
   * Opens a file for a call; it is closed again when the call is refused.
   *
   * @param make is asked when nothing but it can refuse the call any more
   * @throws Refusal EDQUOT, and what `make` throws
   */
  open(call: Call, make: () => OpenFile): number {
    call.core.failPoint?.('handle')
    this.#quota.check('handles', 1)
    const file = make()
    this.#quota.charge('handles')
    const handle = this.#numbers.take()
    this.#files.set(handle, file)
    call.onUndo(() => (this.#files.get(handle) === file ? this.close(handle) : undefined))
    return handle
  }

  /** Closes a handle that is open; its number is free at once. */
  close(handle: number): Completion {
    const file = this.#files.get(handle)
    assert(file !== undefined, `handle ${handle} is open before it is closed`)
    this.#files.delete(handle)
    this.#numbers.free(handle)
    this.#quota.release('handles')
    return file.close()
  }
}

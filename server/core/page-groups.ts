/** Groups of PRI page requests that wait for their answers: those of a raw unit's streams, or of a device. */

import { DMA_STATUS, PAGE_RESPONSE } from './driver.js'
import { PAGE_REQUEST_RESPONSE, type PageRequestResponse, type Transaction } from './transactions.js'

/** A group of page requests that waits for its answer. */
interface Group {
  readonly pasid: number
  readonly transaction: Transaction
}

const NO_PASID = -1

/** Page request group indices of a function. [PCIe 10.4.1] */
const GROUPS = 512

/** By source and group index. */
export class PageGroups {
  /** The oldest first. */
  readonly #waiting = new Map<number, Group[]>()

  /** The last request of a group is about to be sent. */
  expect(sourceId: number, pasid: number, group: number, transaction: Transaction): void {
    const key = keyOf(sourceId, group)
    const waiting = this.#waiting.get(key)
    if (waiting === undefined) this.#waiting.set(key, [{ pasid, transaction }])
    else waiting.push({ pasid, transaction })
  }

  /**
   * A group was answered. A response without a PASID is for the group of that index, whatever PASID its requests had: a
   * function whose responses need none has one space of indices.
   *
   * @param isExact answered is only what was asked with the very PASID
   * @returns false where none waits
   */
  respond(sourceId: number, pasid: number, group: number, code: number, isExact = false): boolean {
    const key = keyOf(sourceId, group)
    const waiting = this.#waiting.get(key) ?? []
    const at = waiting.findIndex((one) => one.pasid === pasid || (pasid === NO_PASID && !isExact))
    if (at < 0) return false
    const [{ transaction }] = waiting.splice(at, 1)
    if (waiting.length === 0) this.#waiting.delete(key)
    transaction.ended ??= { outcome: DMA_STATUS.OK, pageResponse: responseOf(code) }
    return true
  }

  /** Nothing is answered any more. Answers how many waited. */
  abandon(): number {
    let count = 0
    for (const groups of this.#waiting.values()) {
      for (const { transaction } of groups) transaction.abort()
      count += groups.length
    }
    this.#waiting.clear()
    return count
  }
}

const keyOf = (sourceId: number, group: number): number => sourceId * GROUPS + group

/** Codes that PCIe reserves are failures. */
function responseOf(code: number): PageRequestResponse {
  if (code === PAGE_RESPONSE.SUCCESS) return PAGE_REQUEST_RESPONSE.SUCCESS
  return code === PAGE_RESPONSE.INVALID ? PAGE_REQUEST_RESPONSE.INVALID_REQUEST : PAGE_REQUEST_RESPONSE.FAILURE
}

/** How ATS translation requests are completed, as the contract numbers it. */

import { DMA_STATUS } from './driver.js'

/** The contract's AtsStatus. */
export const ATS_STATUS = { UNSPECIFIED: 0, SUCCESS: 1, UNSUPPORTED_REQUEST: 2, COMPLETER_ABORT: 3 } as const

/** One of ATS_STATUS. */
export type AtsStatus = (typeof ATS_STATUS)[keyof typeof ATS_STATUS]

/** A unit that blocks a request as it does any other has no ATS, and that is an Unsupported Request. [PCIe 10.2.3] */
export function atsStatusOf(status: number): AtsStatus {
  if (status === DMA_STATUS.OK) return ATS_STATUS.SUCCESS
  return status === DMA_STATUS.COMPLETER_ABORT ? ATS_STATUS.COMPLETER_ABORT : ATS_STATUS.UNSUPPORTED_REQUEST
}

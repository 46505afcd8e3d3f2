/** Which CD serves a transaction. [SMMU 3.3.2 StreamIDs to Context Descriptors] [SMMU 5.2 S1DSS] */

import { NO_PASID } from '../port.js'
import type { StreamConfig } from './decode-ste.js'
import { EVENT } from './event-records.js'
import { S1DSS } from './records.js'

/** Answered by `chooseContext` for a transaction that skips stage 1. What is less is an event, negated. */
export const STAGE_1_OFF = -1

/** The index of a CD, STAGE_1_OFF, or below that the event of a transaction that the stream does not take, negated. */
export function chooseContext(stream: StreamConfig, pasid: number): number {
  const hasSubstreams = stream.stage1 && stream.cdMaxLg2 !== 0
  if (pasid !== NO_PASID) {
    // SSIDSIZE = 0 leaves cdMaxLg2 at 0.
    if (!hasSubstreams || pasid >= 2 ** stream.cdMaxLg2) return -EVENT.C_BAD_SUBSTREAMID
    if (pasid === 0 && stream.s1dss === S1DSS.SSID0) return -EVENT.F_STREAM_DISABLED
    return pasid
  }
  if (!stream.stage1) return STAGE_1_OFF
  if (!hasSubstreams || stream.s1dss === S1DSS.SSID0) return 0
  if (stream.s1dss === S1DSS.BYPASS) return STAGE_1_OFF
  return -EVENT.F_STREAM_DISABLED
}

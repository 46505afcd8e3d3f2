/**
 * What a device with ATS is answered. A translation request never ends blocked: what stands in its way is Unsupported
 * Request (UR), which makes the function switch ATS off, Completer Abort (CA), or a success that grants nothing.
 * [VTD 4.2.3 Handling of Translation Requests, 4.2.5 Handling of Translated Requests]
 */

import { PAGE_LG2 } from '../bits/address.js'
import { ACCESS, type Outcome, STATUS, type Transaction } from '../port.js'
import type { Capabilities } from './capabilities.js'
import type { ContextConfig } from './dma-config.js'
import { REASON } from './faults.js'
import { isInterruptAddress } from './interrupt-range.js'
import { TT } from './records.js'
import { isBeyondHost } from './requests.js'

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS

/** How a reason answers a translation request. Reasons that are in neither list below are Completer Aborts. */
const ANSWER = { COMPLETER_ABORT: 0, UNSUPPORTED: 1, NOTHING: 2 } as const

/** Reasons that are Unsupported Request. [VTD 7.1.3 T30] */
const UNSUPPORTED: readonly number[] = [
  REASON.LRT_2,
  REASON.LCT_2,
  REASON.LCT_5,
  REASON.RTA_2,
  REASON.RTA_4,
  REASON.RTA_5,
  REASON.SRT_2,
  REASON.SCT_2,
  REASON.SCT_5,
  REASON.SCT_6,
  REASON.SCT_7,
  REASON.SCT_9,
  REASON.SGN_10,
]

/** Reasons that are a success which grants nothing. [VTD 7.1.3 T30] */
const NOTHING: readonly number[] = [
  REASON.LGN_1,
  REASON.LGN_2,
  REASON.LGN_3,
  REASON.SPD_2,
  REASON.SPT_2,
  REASON.SPT_5,
  REASON.SPT_6,
  REASON.SFS_1,
  REASON.SFS_2,
  REASON.SFS_3,
  REASON.SFS_4,
  REASON.SFS_5,
  REASON.SFS_6,
  REASON.SFS_7,
  REASON.SFS_8,
  REASON.SFS_9,
  REASON.SFS_10,
  REASON.SSS_2,
  REASON.SGN_1,
  REASON.SGN_2,
  REASON.SGN_4,
  REASON.SGN_5,
  REASON.SGN_6,
  REASON.SGN_7,
]

const answers = new Uint8Array(256)
for (const reason of UNSUPPORTED) answers[reason] = ANSWER.UNSUPPORTED
for (const reason of NOTHING) answers[reason] = ANSWER.NOTHING

/** Answers a translation request that met a reason. True where that is a fault to record. */
export function answerWith(reason: number, out: Outcome): boolean {
  const answer = answers[reason]
  if (answer === ANSWER.NOTHING) {
    grantNothing(out)
    // A flag that could not be set is told to software too. [VTD 7.1.3 SFS.10]
    return reason === REASON.SFS_10
  }
  out.status = answer === ANSWER.UNSUPPORTED ? STATUS.UNSUPPORTED : STATUS.COMPLETER_ABORT
  out.fault = reason
  return true
}

/** Success with R=W=U=S=0. */
export function grantNothing(out: Outcome): void {
  out.status = STATUS.OK
  out.address = 0
  out.leafLg2 = PAGE_LG2
  out.rights = 0
}

/**
 * What a translation request asks for: always to read, and to write unless it says No Write, which a unit without
 * NWFS does not hear. [VTD 4.2.3, 4.2.3.1 Accessed, Extended Accessed, and Dirty Flags]
 */
export function wanted({ access }: Transaction, { ecap }: Capabilities): number {
  return (access & (WRITE | EXECUTE | PRIVILEGED)) | (ecap.NWFS === 0 ? READ | WRITE : READ)
}

/**
 * A translation request for the interrupt address range: the range may be written, untranslated alone; who does not
 * want to write is granted nothing. [VTD 7.1.3 S.1, S.2]
 */
export function answerInterruptRange(mayWrite: boolean, { lo }: Transaction, out: Outcome): void {
  grantNothing(out)
  if (!mayWrite) return
  out.address = lo >>> 0
  out.rights = WRITE
  out.untranslatedOnly = 1
}

/** log2 of the largest page that the unit maps: what a pass-through translation is answered in. [VTD 4.2.3 ADDR] */
export function largestPageLg2({ cap, ecap }: Capabilities): number {
  if (cap.FS1GP !== 0 || (cap.SSLPS & 2) !== 0) return 30
  return ecap.FSTS !== 0 || cap.SSLPS !== 0 ? 21 : PAGE_LG2
}

/** Whether a context entry lets translation requests and translated requests in. [VTD 9.3 TT, 9.4 DTE] */
export const allowsAts = (context: ContextConfig): boolean =>
  context.dma === null ? context.deviceTlbEnabled : context.tt === TT.ALL

/** What an address that a device says is physical may not be. [VTD 7.1.3 LGN.1.2, LGN.4, SGN.4.1, SGN.8.3] */
export function translatedAddressFault(tx: Transaction, isLegacy: boolean, caps: Capabilities): number {
  if (isBeyondHost(tx, caps)) return isLegacy ? REASON.LGN_1 : REASON.SGN_4
  if (isInterruptAddress(tx)) return isLegacy ? REASON.LGN_4 : REASON.SGN_8
  return REASON.NONE
}

/** How a dry translation that fails would have ended: stalled or not, and with which record. */

import { type Outcome, STATUS } from '../port.js'
import { CLASS, EVENT } from './event-records.js'
import type { EventSink, FaultInfo } from './events.js'

/** Events whose records say which fetch failed. */
const FETCHES: ReadonlySet<number> = new Set([EVENT.F_STE_FETCH, EVENT.F_CD_FETCH, EVENT.F_WALK_EABT])

/** Keeps what software would be told of the last translation. */
export class FaultNote implements EventSink {
  /** Equal where records are; empty where nothing is recorded. */
  text = ''

  record(event: number, info: FaultInfo): void {
    this.text = textOf(event, info)
  }

  /** What would stall is known by its status; the transaction goes nowhere. */
  hold(event: number, info: FaultInfo, outcome: Outcome): void {
    this.text = textOf(event, info)
    outcome.status = STATUS.PENDING
    outcome.fault = event
  }
}

/** What a record says that does not follow from the transaction. */
function textOf(event: number, { ssid, rnw, pnu, ind, s2, class: cls, ipa, ttrnw, fetchAddress }: FaultInfo): string {
  const stage = s2 === 1 ? [cls, Math.floor(ipa / 4096), cls === CLASS.TT ? ttrnw : 0] : []
  return [event, ssid, rnw, pnu, ind, s2, ...stage, FETCHES.has(event) ? fetchAddress : 0].join()
}

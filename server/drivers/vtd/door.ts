/** A device's side of ATS and PRI, as its messages enter the unit. [VTD 4 Support For Device-TLBs, 7.4] */

import { NO_PASID, PageRequest, REQUEST } from '../../../hw-model/port.js'
import type { VtdUnit } from '../../../hw-model/vtd/index.js'
import {
  type AtsDoor,
  type AtsPageRequest,
  assert,
  type DmaOutcome,
  type ExplainStep,
  type KeptTranslations,
} from '../../core/driver.js'
import type { UnitPort } from './port.js'

/** The door of a device that keeps translations of its own. */
export class FunctionDoor implements AtsDoor {
  readonly takesPageRequests: boolean
  readonly #unit: VtdUnit
  readonly #port: UnitPort
  readonly #rid: number
  readonly #drain: () => void

  /** @param drain reads what the unit recorded and queued */
  constructor(unit: VtdUnit, port: UnitPort, rid: number, takesPageRequests: boolean, drain: () => void) {
    this.#unit = unit
    this.#port = port
    this.#rid = rid
    this.takesPageRequests = takesPageRequests
    this.#drain = drain
  }

  request(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#port.send(REQUEST.TRANSLATION, pasid, lo, hi, access, out)
  }

  explainRequest(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[] {
    return this.#port.explainOf(REQUEST.TRANSLATION, pasid, lo, hi, access, out)
  }

  /** Without the PASID: no context entry here enables PASIDs on translated requests. [VTD 9.4 EPTR] */
  translated(_pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#port.send(REQUEST.TRANSLATED, NO_PASID, lo, hi, access, out)
  }

  used(pasid: number, lo: number, hi: number, access: number, kept: KeptTranslations): boolean {
    return this.#port.used(pasid, lo, hi, access, kept)
  }

  requestPage(asked: AtsPageRequest): void {
    const { ats } = this.#unit
    assert(ats !== null, 'a device has this door where its unit takes what comes through it')
    const { pasid, lo, hi, access, group, isLast } = asked
    ats.requestPage(Object.assign(new PageRequest(), { rid: this.#rid, pasid, lo, hi, access, group, isLast }))
    this.#drain()
  }
}

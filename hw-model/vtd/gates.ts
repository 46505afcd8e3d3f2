/**
 * What bars a request before any PASID or page table is read, the table mode, then the context entry; and what bars one
 * that no page table translates.
 * [VTD 7.1.3 RTA.1 to RTA.5, LCT.5, SCT.5 to SCT.10, SGN.10]
 */

import { ACCESS, NO_PASID, REQUEST, Transaction } from '../port.js'
import { allowsAts } from './ats.js'
import type { Capabilities } from './capabilities.js'
import type { ContextConfig, DmaConfig } from './dma-config.js'
import { REASON } from './faults.js'
import { isInterruptAddress } from './interrupt-range.js'
import { TTM } from './registers.js'
import { isBeyondHost } from './requests.js'

/** A mode that the unit does not have, and the one in which nothing passes. [VTD 7.1.3 RTA.1.1 to RTA.1.3, RTA.4] */
function tableModeFault(ttm: number, { ecap }: Capabilities): number {
  if (ttm === TTM.RESERVED) return REASON.RTA_1
  if (ttm === TTM.ABORT) return ecap.ADMS ? REASON.RTA_4 : REASON.RTA_1
  return ttm === TTM.SCALABLE && !ecap.SMTS ? REASON.RTA_1 : REASON.NONE
}

/** What RTADDR, as SRTP latched it, says of a DMA or a translation request. [VTD 7.1.3 RTA.1 to RTA.5] */
export function modeFault(ttm: number, ssirwe: boolean, { pasid, access }: Transaction, caps: Capabilities): number {
  const fault = tableModeFault(ttm, caps)
  if (fault !== REASON.NONE) return fault
  // Legacy mode has no I/O rights. [VTD 7.1.3 RTA.1.4]
  if (pasid === NO_PASID) return ssirwe && ttm === TTM.LEGACY ? REASON.RTA_1 : REASON.NONE
  if (ttm === TTM.LEGACY) return REASON.RTA_2
  return caps.verMajor >= 8 && (access & ACCESS.EXECUTE) !== 0 ? REASON.RTA_5 : REASON.NONE
}

/** RTADDR as SRTP latched it, and what follows from it for every request. */
export class Mode {
  readonly ttm: number
  /** Plain requests pass this gate: those without PASID; and those with one, unless they are to execute. */
  readonly takesPlain: boolean
  readonly takesPasids: boolean
  readonly #ssirwe: boolean
  readonly #caps: Capabilities

  constructor(ttm: number, ssirwe: boolean, caps: Capabilities) {
    this.ttm = ttm
    this.#ssirwe = ssirwe
    this.#caps = caps
    const request = new Transaction()
    this.takesPlain = this.fault(request) === REASON.NONE
    request.pasid = 0
    this.takesPasids = this.fault(request) === REASON.NONE
  }

  /** What bars a request here, or NONE. */
  fault(tx: Transaction): number {
    return modeFault(this.ttm, this.#ssirwe, tx, this.#caps)
  }
}

/** The same of a page request. [VTD 7.1.3 RTA.1, RTA.3, RTA.4] */
export function pageRequestModeFault(ttm: number, caps: Capabilities): number {
  return ttm === TTM.LEGACY ? REASON.RTA_3 : tableModeFault(ttm, caps)
}

/** What a context entry says of a DMA or a translation request. [VTD 7.1.3 LCT.5, SCT.5 to SCT.10, SGN.10] */
export function contextFault(
  context: ContextConfig,
  { type, pasid }: Transaction,
  { pasidBits }: Capabilities,
): number {
  const isAts = type !== REQUEST.UNTRANSLATED
  if (isAts && !allowsAts(context)) return context.dma === null ? REASON.SCT_5 : REASON.LCT_5
  if (pasid === NO_PASID) return REASON.NONE
  const isTranslated = type === REQUEST.TRANSLATED
  if (isTranslated && !context.translatedPasidEnabled) return REASON.SCT_10
  if (!isTranslated && !context.pasidEnabled) return REASON.SCT_6
  if (pasid >= 2 ** pasidBits) return REASON.SGN_10
  if (pasid >= context.pasidLimit) return REASON.SCT_7
  return pasid === context.ridPasid ? REASON.SCT_9 : REASON.NONE
}

/** The same of a page request, which the width of PASIDs does not concern. [VTD 7.1.3 SCT.6 to SCT.9] */
export function pageRequestContextFault(context: ContextConfig, pasid: number): number {
  if (pasid !== NO_PASID && !context.pasidEnabled) return REASON.SCT_6
  if (pasid !== NO_PASID && pasid >= context.pasidLimit) return REASON.SCT_7
  if (!context.pageRequestEnabled) return REASON.SCT_8
  return pasid === context.ridPasid ? REASON.SCT_9 : REASON.NONE
}

/** What bars a request whose output is its input. [VTD 3.9 Pass-through Translation] */
export function passFault(config: DmaConfig, tx: Transaction, caps: Capabilities): number {
  if (isBeyondHost(tx, caps)) return config.isLegacy ? REASON.LGN_1 : REASON.SGN_4
  // The whole of a translation is not looked at here. [VTD 7.1.3 SGN.8.2]
  const isOffer = tx.type === REQUEST.TRANSLATION
  return !isOffer && isInterruptAddress(tx) && tx.pasid !== NO_PASID ? REASON.SGN_8 : REASON.NONE
}

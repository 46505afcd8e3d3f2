/** A fake device's side of ATS and PRI. */

import type { AtsDoor, AtsPageRequest, DmaOutcome, ExplainStep, KeptTranslations } from '../../server/core/driver.js'
import { DMA_STATUS } from '../../server/core/driver.js'
import type { FakeDevice } from './fake-device.js'

/** A request that waits for software. */
export interface Held {
  readonly pasid: number
  readonly lo: number
  readonly hi: number
  readonly access: number
}

/** How a request ends that is not tried again. */
export const NO_OUTCOME: Readonly<DmaOutcome> = {
  status: DMA_STATUS.ABORTED,
  address: 0,
  leafLg2: 12,
  rights: 0,
  fault: 0,
  hit: 0,
  tag: 0,
  untranslatedOnly: 0,
}

/** It trusts translated requests, as a unit does. */
export class FakeAts implements AtsDoor {
  readonly takesPageRequests = true
  readonly requested: AtsPageRequest[] = []
  /** Physical addresses of translated requests. */
  readonly translatedTo: number[] = []
  /** Groups that are answered at once, with success. */
  answersAtOnce = false
  /** Rights to say beside those asked for; 16: to be used untranslated alone. */
  isUntranslatedOnly = false
  /** What the oracle was told of, with where it would lead. */
  readonly uses: (Held & { readonly address: number | undefined })[] = []
  /** The oracle is against each use. */
  refusesUses = false
  readonly #device: FakeDevice

  constructor(device: FakeDevice) {
    this.#device = device
  }

  request(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#device.walk(pasid, lo, hi, out)
    out.untranslatedOnly = this.isUntranslatedOnly ? 1 : 0
    if (out.status === DMA_STATUS.OK) out.rights = access & 7
    if (out.status !== DMA_STATUS.FAULT) return
    out.status = DMA_STATUS.OK
    out.rights = 0
    out.fault = 0
  }

  explainRequest(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[] {
    return this.#device.port.explain(pasid, lo, hi, access, out)
  }

  translated(_pasid: number, lo: number, hi: number, _access: number, out: DmaOutcome): void {
    const address = hi * 2 ** 32 + (lo >>> 0)
    this.translatedTo.push(address)
    const isBlocked = this.#device.slots.size === 0
    Object.assign(out, { ...NO_OUTCOME, address, status: isBlocked ? DMA_STATUS.ABORTED : DMA_STATUS.OK })
  }

  used(pasid: number, lo: number, hi: number, access: number, kept: KeptTranslations): boolean {
    const out = { ...NO_OUTCOME }
    const isKept = kept.lookUp(pasid, (access & 8) !== 0, lo, hi, out)
    this.uses.push({ pasid, lo, hi, access, address: isKept ? out.address : undefined })
    return !this.refusesUses
  }

  requestPage(request: AtsPageRequest): void {
    this.requested.push({ ...request })
    if (this.answersAtOnce) this.respond(request.pasid, request.group, 0)
  }

  respond(pasid: number, group: number, code: number): void {
    this.#device.driver.listener?.respondToPages(this.#device, pasid, group, code)
  }

  /** Asks whoever holds translations; what the unit's own command came to is in the log. */
  forget(slot: number, iova: bigint, sizeLg2: number): Promise<boolean> | undefined {
    const [lo, hi] = [Number(iova & 0xffff_ffffn), Number(iova >> 32n)]
    const pasid = slot === 0 ? -1 : slot
    const { driver, machine } = this.#device
    const asked = driver.listener?.invalidate(this.#device, { pasid, allPasids: false, lo, hi, sizeLg2 })
    return asked?.then((isDone) => {
      machine.log.push(isDone ? 'ATC_INV' : 'ATC_INV failed')
      return isDone
    })
  }
}

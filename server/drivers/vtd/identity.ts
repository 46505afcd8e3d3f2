/**
 * The identity domain: addresses pass untranslated, under the one domain-id that all such entries share. It is for the
 * host's own devices. No call makes or names one, because nothing that a client asks for reaches physical memory as it is.
 * [VTD 3.9 Pass-through Translation]
 */

import { Refusal } from '../../core/driver.js'
import { IDENTITY_DID } from './domain-ids.js'
import type { VtdHardware } from './hardware.js'

/** The bindings of a domain that has no tables: nothing about it ever changes, so nothing is counted. */
const BINDINGS = {
  did: IDENTITY_DID,
  users: 0,
  attach: (): number => IDENTITY_DID,
  detach: (): void => {},
} as const

/** One for each unit. */
export class IdentityDomain {
  readonly kind = 'identity'
  readonly bindings = BINDINGS
  readonly #hardware: VtdHardware

  constructor(hardware: VtdHardware) {
    this.#hardware = hardware
  }

  /** @throws Refusal EOPNOTSUPP where the unit has no pass-through */
  checkAttachable(): void {
    if (this.#hardware.ecap['PT'] === 0) throw new Refusal('EOPNOTSUPP', 'this unit has no pass-through (ECAP.PT)')
  }
}

/** What a transaction needs of each stage, once the STE's overrides are applied. [SMMU 13.1.1 Attribute definitions] */

import { ACCESS } from '../port.js'
import type { StreamConfig } from './decode-ste.js'
import type { FaultInfo } from './events.js'
import { PRIVILEGED_SHIFT, RIGHT } from './formats.js'

/** STE.PRIVCFG and INSTCFG: the two values that override what came in. [SMMU 5.2 PRIVCFG] */
const OVERRIDE = { LOW: 2, HIGH: 3 } as const

/** The rights that the transaction being served asks for; one struct per pipeline, reused. */
export class Need {
  /** READ, WRITE and EXECUTE, unshifted. */
  rights = 0
  /** How far the row of rights for its privilege stands. */
  shift = 0
  /** Any one of the rights is enough: an ATS translation request takes what it is given. */
  isPartial = false
  /** What the last refusal lacked. */
  missing = 0

  /** The rights as bits of ACCESS, with PRIVILEGED. */
  get access(): number {
    return this.shift === 0 ? this.rights : this.rights | ACCESS.PRIVILEGED
  }

  /**
   * Settles what an access needs. `info` holds what came in and takes the overrides. Writes are always data.
   * [SMMU 5.2 INSTCFG]
   */
  settle(stream: StreamConfig, access: number, info: FaultInfo): void {
    if (stream.privcfg >= OVERRIDE.LOW) info.pnu = stream.privcfg & 1
    if (info.rnw === 1 && stream.instcfg >= OVERRIDE.LOW) info.ind = stream.instcfg & 1
    this.rights = info.ind === 1 ? RIGHT.EXECUTE : info.rnw === 1 ? RIGHT.READ : access & (RIGHT.READ | RIGHT.WRITE)
    this.shift = info.pnu === 1 ? PRIVILEGED_SHIFT : 0
    this.isPartial = false
  }

  /** Whether a stage that grants `rights` lets the transaction pass. */
  isMetBy(rights: number): boolean {
    this.missing = this.rights & ~(rights >>> this.shift)
    return this.isPartial ? this.missing !== this.rights : this.missing === 0
  }
}

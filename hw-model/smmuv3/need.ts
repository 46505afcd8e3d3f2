/** What a transaction needs of each stage, once the STE's overrides are applied. [SMMU 13.1.1 Attribute definitions] */

import { ACCESS } from '../port.js'
import type { StreamConfig } from './decode-ste.js'
import type { FaultInfo } from './events.js'
import { ASK, PRIVILEGED_SHIFT, RIGHT, settledRights } from './rights.js'

/** STE.PRIVCFG and INSTCFG: the two values that override what came in. [SMMU 5.2 PRIVCFG] */
const OVERRIDE = { LOW: 2, HIGH: 3 } as const

/** The part of an STE that counts here. */
type Overrides = Pick<StreamConfig, 'privcfg' | 'instcfg'>

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
  /** A translation request asks to execute. */
  #wantsExecute = false
  /** What executing needs besides reading, once INSTCFG made one of them the other. */
  #executeRight: number = RIGHT.EXECUTE
  /** What reading needs: RIGHT.EXECUTE where INSTCFG makes every read an instruction fetch. */
  #readRight: number = RIGHT.READ

  /** What a walk is told: it says which flags may be set on the way. */
  get ask(): number {
    return this.rights | (this.shift === 0 ? 0 : ACCESS.PRIVILEGED) | (this.isPartial ? ASK.ANY : 0)
  }

  /** The same, of stage 2 for what stage 1 put out: nobody asks there for what stage 1 does not grant. */
  askBehind(rights: number): number {
    return this.ask & ((settledRights(rights) >>> this.shift) | ~RIGHT.USER)
  }

  /**
   * Settles what an access needs. `info` holds what came in and takes the overrides. Writes are always data.
   * [SMMU 5.2 INSTCFG]
   */
  settle(stream: Overrides, access: number, info: FaultInfo): void {
    if (stream.privcfg >= OVERRIDE.LOW) info.pnu = stream.privcfg & 1
    if (info.rnw === 1 && stream.instcfg >= OVERRIDE.LOW) info.ind = stream.instcfg & 1
    this.rights = info.ind === 1 ? RIGHT.EXECUTE : info.rnw === 1 ? RIGHT.READ : access & (RIGHT.READ | RIGHT.WRITE)
    this.shift = info.pnu === 1 ? PRIVILEGED_SHIFT : 0
    this.isPartial = false
  }

  /** Takes over what was settled before: rights in the row of their privilege. */
  take(needed: number): void {
    this.shift = needed > RIGHT.USER ? PRIVILEGED_SHIFT : 0
    this.rights = needed >>> this.shift
    this.isPartial = false
  }

  /**
   * Settles what an ATS translation request takes: whatever it is given. `access` holds READ, always; WRITE unless it
   * said No Write; EXECUTE and PRIVILEGED as it asked. [SMMU 13.7.1 Permission attributes granted in completions]
   */
  settleRequest(stream: StreamConfig, access: number, info: FaultInfo): void {
    if (stream.privcfg >= OVERRIDE.LOW) info.pnu = stream.privcfg & 1
    if (stream.instcfg >= OVERRIDE.LOW) info.ind = stream.instcfg & 1
    this.#wantsExecute = (access & ACCESS.EXECUTE) !== 0
    this.#readRight = stream.instcfg === OVERRIDE.HIGH ? RIGHT.EXECUTE : RIGHT.READ
    this.#executeRight = stream.instcfg >= OVERRIDE.LOW ? this.#readRight : RIGHT.EXECUTE
    this.rights = this.#readRight | (access & RIGHT.WRITE)
    this.shift = info.pnu === 1 ? PRIVILEGED_SHIFT : 0
    this.isPartial = true
  }

  /**
   * Bits of ACCESS that a translation request gets where the stages leave `rights`. To execute is granted with reading
   * alone, so an execute-only page gives nothing. A request that said No Write is not granted writing, though it might.
   */
  granted(rights: number): number {
    const row = rights >>> this.shift
    const writable = row & this.rights & RIGHT.WRITE
    if ((row & this.#readRight) === 0) return writable
    const executes = this.#wantsExecute && (row & this.#executeRight) !== 0
    return writable | ACCESS.READ | (executes ? ACCESS.EXECUTE : 0)
  }

  /** Whether a stage that grants `rights` lets the transaction pass. */
  isMetBy(rights: number): boolean {
    this.missing = this.rights & ~(rights >>> this.shift)
    return this.isPartial ? this.missing !== this.rights : this.missing === 0
  }
}

/**
 * The commands that send something to devices with ATS and PRI, and the invalidations that were not answered yet.
 * [SMMU 4.5 ATS and PRI] [SMMU 3.9.1.4 ATS Invalidation timeout]
 */

import { AtcInvalidation, type DevicePort, NO_PASID, PAGE_RESPONSE } from '../port.js'
import { CMD_ATC_INV, CMD_PRI_RESP, OPCODE } from './command-records.js'
import type { Features } from './features.js'
import type { RegisterFile } from './register-file.js'

const { G, SSV, SSID, SID, Size, Address } = CMD_ATC_INV
const { PRGIndex, Resp } = CMD_PRI_RESP

/**
 * Invalidations that may be outstanding at once; the next one waits in the queue. A function tells its own apart by
 * ITags of 5 bits.
 */
const OUTSTANDING = 32

/** The code that PCIe sends for each value of CMD_PRI_RESP.Resp. [SMMU 8.3 PRG Response Message codes] */
const CODES: readonly number[] = [PAGE_RESPONSE.FAILURE, PAGE_RESPONSE.INVALID, PAGE_RESPONSE.SUCCESS]

/** What commands send to the devices of one unit. */
export class AtsCommands {
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #devices: DevicePort
  readonly #invalidation = new AtcInvalidation()
  readonly #outstanding = new Set<number>()
  #lastTag = 0
  /** An invalidation was not answered in time, and no CMD_SYNC has told it yet. */
  #hasTimedOut = false

  constructor(registers: RegisterFile, features: Features, devices: DevicePort) {
    this.#registers = registers
    this.#features = features
    this.#devices = devices
  }

  /** A CMD_SYNC cannot complete now. */
  get isOutstanding(): boolean {
    return this.#outstanding.size !== 0
  }

  /** A CMD_ATC_INV cannot be taken now. */
  get isFull(): boolean {
    return this.#outstanding.size >= OUTSTANDING
  }

  /** Does what a CMD_ATC_INV or CMD_PRI_RESP says; both are ignored while SMMUEN is 0. */
  execute(opcode: number, command: Int32Array): void {
    if (!this.#registers.enabled) return
    if (opcode === OPCODE.ATC_INV) this.#invalidate(command)
    else this.#respond(command)
  }

  /** An invalidation is complete. False where none of that tag is outstanding. */
  complete(tag: number): boolean {
    return this.#outstanding.delete(tag)
  }

  /** An invalidation will never complete: the CMD_SYNC that waits for it fails. False as above. */
  timeOut(tag: number): boolean {
    const isKnown = this.#outstanding.delete(tag)
    if (isKnown) this.#hasTimedOut = true
    return isKnown
  }

  /** Whether the CMD_SYNC that asks must fail; the next one is free of it. [SMMU 7.1 Command queue errors] */
  takeTimeout(): boolean {
    const hasTimedOut = this.#hasTimedOut
    this.#hasTimedOut = false
    return hasTimedOut
  }

  /** Forgets what is outstanding. */
  reset(): void {
    this.#outstanding.clear()
    this.#hasTimedOut = false
  }

  /** The span is aligned to its size. Global means every PASID, and needs one. [SMMU 4.5.1 CMD_ATC_INV] */
  #invalidate(command: Int32Array): void {
    const invalidation = this.#invalidation
    const size = Size.get(command, 0)
    const tag = ++this.#lastTag
    invalidation.tag = tag
    invalidation.rid = SID.get(command, 0)
    invalidation.pasid = this.#pasid(command)
    invalidation.allPasids = invalidation.pasid !== NO_PASID && G.get(command, 0) === 1
    invalidation.sizeLg2 = 12 + size
    const lo = Address.lo(command, 0)
    const hi = Address.hi(command, 0)
    invalidation.lo = lo - (lo % 2 ** (12 + size))
    invalidation.hi = size <= 20 ? hi : hi - (hi % 2 ** (size - 20))
    // The device may answer from inside the call.
    this.#outstanding.add(tag)
    if (this.#devices.invalidateAtc(invalidation)) this.#outstanding.delete(tag)
  }

  /** [SMMU 4.5.2 CMD_PRI_RESP] */
  #respond(command: Int32Array): void {
    const code = CODES[Resp.get(command, 0)]
    this.#devices.respondToPages(SID.get(command, 0), this.#pasid(command), PRGIndex.get(command, 0), code)
  }

  /** Without PASIDs in the unit a command behaves as though SSV were 0. */
  #pasid(command: Int32Array): number {
    return SSV.get(command, 0) === 1 && this.#features.ssidSize !== 0 ? SSID.get(command, 0) : NO_PASID
  }
}

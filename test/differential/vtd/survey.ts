/**
 * Reads the configuration of one access as it stands in memory, to say which of the reference's quirks it touches and
 * what a generator needs to know: how it ought to end, and whether any address on the way belongs to the machine's
 * devices. It decides nothing between the two units, and keeps no cache.
 */

import { type Capabilities, faultName } from '../../../hw-model/vtd/index.js'
import type { Ram } from '../ram.js'
import { isDevice, isInterrupt, PLACE } from './places.js'
import { VTD_QUIRKS, type VtdQuirk } from './quirks.js'
import { type Config, readLegacy, readScalable } from './survey-config.js'
import { surveyFirst, surveySecond } from './survey-walk.js'

/** What the registers say. */
export interface Unit {
  enabled: boolean
  /** As latched by SRTP. */
  ttm: number
  root: number
  readonly caps: Capabilities
}

/** Reasons that are recorded whatever FPD says. [VTD 7.1.3 Fault Conditions] */
const UNQUALIFIED: readonly number[] = [0x01, 0x08, 0x09, 0x0a, 0x30, 0x31, 0x33, 0x38, 0x39, 0x3a, 0x40, 0x50, 0x58]

/** What was found; filled again by every `look`. */
export class Survey {
  /** How it ought to end: `translated`, `passed`, `suppressed`, or the name of a fault reason. */
  ends = ''
  /** The fault reason, or 0. */
  reason = 0
  /** Where to, where it is translated or passed. */
  output = 0
  /** Bits of ACCESS that all entries leave, and log2 of the leaf. */
  rights = 0
  leafLg2 = 12
  /** Configuration was found and is legal. */
  isConfigured = false
  /** Fault processing is disabled by an entry on the way. */
  fpd = false
  /** Why it must not be made; empty where it may. */
  withheld = ''
  /** Entries in which the reference sets flags and ours does not. */
  readonly flagged: number[] = []
  readonly quirks = new Set<VtdQuirk>()
  readonly #ram: Ram

  constructor(ram: Ram) {
    this.#ram = ram
  }

  /** Looks at what an access meets. */
  look(unit: Unit, sid: number, va: bigint, isWrite: boolean): this {
    this.ends = ''
    this.reason = this.output = this.rights = 0
    this.leafLg2 = 12
    this.isConfigured = this.fpd = false
    this.withheld = ''
    this.flagged.length = 0
    this.quirks.clear()
    const { caps } = unit
    if (va >> 20n === 0xfeen) this.withheld = 'it is an interrupt message'
    if (!unit.enabled) this.#pass(va)
    else {
      const config = this.#config(unit, sid)
      if (config !== null) this.#translate(config, caps, va, isWrite)
    }
    if (this.reason !== 0) this.#blocked(caps, va)
    else this.#checkOutput(isWrite)
    return this
  }

  /** Whether memory is at an address; one of a device withholds the access. */
  has(address: number): boolean {
    if (isDevice(address)) this.withheld ||= 'an address on the way belongs to a device'
    return this.#ram.has(address)
  }

  get(address: number): bigint {
    return this.#ram.get(address)
  }

  /** Ends with a fault. */
  fault(reason: number): null {
    this.reason = reason
    return null
  }

  quirk(name: VtdQuirk): void {
    this.quirks.add(name)
  }

  /** Names of the quirks, in the list's order. */
  get quirkNames(): readonly VtdQuirk[] {
    return (Object.keys(VTD_QUIRKS) as VtdQuirk[]).filter((name) => this.quirks.has(name))
  }

  #config(unit: Unit, sid: number): Config | null {
    const { ttm, caps } = unit
    if (ttm === 0) return readLegacy(this, unit, sid)
    if (ttm === 1 && caps.ecap.SMTS !== 0) return readScalable(this, unit, sid)
    this.quirk('MODE')
    return this.fault(0x30)
  }

  #translate(config: Config, caps: Capabilities, va: bigint, isWrite: boolean): void {
    this.isConfigured = true
    if (config.kind === 'pass') {
      if (va >> BigInt(caps.hawBits) !== 0n) {
        this.quirk('PASS_WIDTH')
        this.fault(config.isLegacy ? 0x04 : 0x83)
      } else this.#pass(va)
      return
    }
    const walk = config.kind === 'first' ? surveyFirst : surveySecond
    const output = walk(this, config, caps, va, isWrite)
    if (output === null) return
    this.output = output
    if (isInterrupt(output)) {
      this.fault(config.isLegacy ? 0x0e : 0x87)
      if (config.isLegacy && caps.ecap.SMTS !== 0) this.quirk('INTERRUPT_CODE')
    } else this.ends = 'translated'
  }

  #pass(va: bigint): void {
    this.output = Number(va & (2n ** 52n - 1n))
    this.ends = 'passed'
  }

  #blocked(caps: Capabilities, va: bigint): void {
    const isHidden = this.fpd && !UNQUALIFIED.includes(this.reason)
    this.ends = isHidden ? 'suppressed' : faultName(this.reason)
    if (isHidden && (this.reason === 0x0b || this.reason === 0x42)) this.quirk('CONTEXT_FPD')
    if (va >> BigInt(caps.agawBits) !== 0n) this.quirk(caps.agawBits === 39 ? 'FI_ABOVE_39' : 'FI_ABOVE_48')
  }

  /** Writes of ours may only land where no table stands. */
  #checkOutput(isWrite: boolean): void {
    if (isDevice(this.output)) this.withheld ||= 'the output belongs to a device'
    else if (isWrite && this.output < PLACE.DATA) this.withheld ||= 'the output is where tables stand'
  }
}

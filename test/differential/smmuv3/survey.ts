/**
 * Reads the configuration of one access as it stands in memory, to say which of the reference's quirks it touches and
 * what a generator needs to know: how it ought to end, and whether any address on the way belongs to the machine's
 * devices. It decides nothing between the two units, and keeps no cache.
 */

import type { Ram } from '../ram.js'
import { OAS_BITS } from './geometry.js'
import { SMMU_QUIRKS, type SmmuQuirk } from './quirks.js'
import { PLACE, RAM_BASE } from './ram.js'
import { type Format, type RootOf, readCd, readStageTwo, type StageTwo } from './survey-entries.js'
import { surveyWalk, type Walked } from './survey-walk.js'

/** What the registers say. */
export interface RegisterState {
  enabled: boolean
  gbpaAborts: boolean
  recordsBadStreams: boolean
  strtabBase: number
  log2Size: number
  split: number
  twoLevel: boolean
}

const OAS = 2 ** OAS_BITS

/** What was found; filled again by every `look`. */
export class Survey {
  /** How it ought to end: `translated`, `bypassed`, `aborted`, or the name of an event. */
  ends = ''
  /** Where to, where it is translated or passed. */
  output = 0
  /** The stage whose tables ended it. */
  stage = 0
  /** Configuration was found and is legal. */
  isConfigured = false
  /** Faults of its stage are recorded. */
  isRecorded = true
  /** Why it must not be made; empty where it may. */
  withheld = ''
  /** Entries that a TLB may keep of it, by name. */
  readonly kept: string[] = []
  /** The entry that denies it, if stage 2 does. */
  deniedBy = ''
  /** log2 of the leaf that was judged last. */
  leafLg2 = 0
  readonly quirks = new Set<SmmuQuirk>()
  readonly #ram: Ram

  constructor(ram: Ram) {
    this.#ram = ram
  }

  /** Looks at what an access meets. */
  look(registers: RegisterState, sid: number, va: bigint, isWrite: boolean): this {
    this.ends = ''
    this.output = this.stage = 0
    this.isConfigured = false
    this.isRecorded = true
    this.withheld = ''
    this.deniedBy = ''
    this.kept.length = 0
    this.quirks.clear()
    if (!registers.enabled) this.#pass(va, registers.gbpaAborts)
    else {
      const ste = this.#findSte(registers, sid)
      if (ste >= 0) this.#stream(ste, va, isWrite)
    }
    if (this.ends === 'translated' || this.ends === 'bypassed') this.#checkOutput(isWrite)
    return this
  }

  /** Whether memory is at an address; one of a device withholds the access. */
  has(address: number): boolean {
    if (address < RAM_BASE) this.withheld ||= 'an address on the way belongs to a device'
    return this.#ram.has(address)
  }

  get(address: number): bigint {
    return this.#ram.get(address)
  }

  end(how: string, stage = 0): false {
    this.ends = how
    this.stage = stage
    return false
  }

  quirk(name: SmmuQuirk): void {
    this.quirks.add(name)
  }

  #pass(va: bigint, aborts: boolean): void {
    this.output = Number(va & (2n ** 52n - 1n))
    if (aborts) this.end('aborted')
    else {
      if (va >= BigInt(OAS)) this.quirk('INPUT_SIZE')
      this.end('bypassed')
    }
  }

  /** Writes of ours may only land where no table stands. */
  #checkOutput(isWrite: boolean): void {
    if (this.output < RAM_BASE) this.withheld ||= 'the output belongs to a device'
    else if (isWrite && this.output < PLACE.DATA) this.withheld ||= 'the output is where tables stand'
  }

  /** Address of the STE, or -1 with an end. */
  #findSte(registers: RegisterState, sid: number): number {
    const { strtabBase: base, log2Size, twoLevel } = registers
    if (sid >= 2 ** Math.min(log2Size, 16)) return this.#badStream(registers)
    let at: number
    if (twoLevel) {
      at = this.#secondLevel(registers, sid)
      if (at < 0) return -1
    } else {
      const aligned = base - (base % 2 ** (log2Size + 6))
      at = aligned + sid * 64
    }
    if (this.has(at)) return at
    if (at >= OAS) this.quirk('FETCH_TOP')
    this.end('F_STE_FETCH')
    return -1
  }

  #secondLevel(registers: RegisterState, sid: number): number {
    const { strtabBase: base, log2Size } = registers
    const split = [8, 10].includes(registers.split) ? registers.split : 6
    const aligned = base - (base % 2 ** Math.max(6, log2Size - split + 3))
    const l1 = aligned + 8 * Math.floor(sid / 2 ** split)
    if (!this.has(l1)) {
      this.end('F_STE_FETCH')
      return -1
    }
    const word = this.get(l1)
    const span = Number(word & 0x1fn)
    const index = sid % 2 ** split
    const raw = word & ~0x1fn
    const table = Number(raw & (2n ** 56n - 64n))
    if (span === 0) return this.#badStream(registers)
    if (word >> 56n !== 0n) this.quirk('L2PTR')
    // The reference reads here even where the manual says that nothing is.
    const taken = Number(raw & (2n ** 52n - 1n)) + index * 64
    if (this.has(taken) && taken % 8 === 0) this.#checkSte(taken)
    if (span > 11 || span > split + 1 || index >= 2 ** (span - 1)) {
      this.quirk('SPAN')
      return this.#badStream(registers)
    }
    return table - (table % 2 ** (span + 5)) + index * 64
  }

  #badStream(registers: RegisterState): number {
    if (!registers.recordsBadStreams) this.quirk('UNWANTED_RECORD')
    this.end('C_BAD_STREAMID')
    return -1
  }

  /** The reference ends itself on tables of AArch32. */
  #checkSte(at: number): void {
    const ste = this.get(at)
    const isSecond = (ste & 1n) === 1n && ((ste >> 2n) & 3n) === 3n
    if (isSecond && ((this.get(at + 16) >> 51n) & 1n) === 0n)
      this.withheld ||= 'the reference ends itself on S2AA64 = 0'
  }

  #stream(at: number, va: bigint, isWrite: boolean): void {
    this.#checkSte(at)
    const [d0, d1] = [this.get(at), this.get(at + 8)]
    const config = Number((d0 >> 1n) & 7n)
    if ((d0 & 1n) === 0n) return void this.end('C_BAD_STE')
    if ((config & 4) === 0) {
      this.isConfigured = true
      return void this.end('aborted')
    }
    if (config === 4) {
      this.isConfigured = true
      this.#pass(va, false)
      return
    }
    if (d0 >> 59n !== 0n) this.quirk('S1CDMAX')
    const stalls = ((d1 >> 27n) & 1n) === 1n
    if (stalls && config === 6) this.quirk('S1STALLD')
    let isBad = stalls && config !== 6
    const pointer = Number(d0 & (2n ** 56n - 64n))
    if ((config & 1) === 1 && pointer >= OAS) {
      this.quirk('CONTEXT_POINTER')
      isBad ||= config === 5
    }
    let second: StageTwo | null = null
    if ((config & 2) !== 0) {
      second = readStageTwo(this, at)
      if (second === null) isBad = true
    }
    if (isBad) return void this.end('C_BAD_STE')
    if (config === 6) this.#stageTwoOnly(second as StageTwo, va, isWrite)
    else this.#stageOne(pointer, second, Number(this.get(at + 16) & 0xffffn), va, isWrite)
  }

  #stageTwoOnly(second: StageTwo, va: bigint, isWrite: boolean): void {
    this.isConfigured = true
    this.isRecorded = second.records
    if (va >= BigInt(OAS)) {
      this.quirk('INPUT_SIZE')
      return void this.end('F_ADDR_SIZE', 1)
    }
    const walked = this.#stageTwo(second, Number(va), isWrite, 'input')
    if (walked === null) {
      this.deniedBy = nameOf(second.vmid, null, va, this.leafLg2)
      return
    }
    this.kept.push(nameOf(second.vmid, null, va, walked.lg2))
    this.output = walked.address
    this.end('translated', 2)
  }

  #stageOne(pointer: number, second: StageTwo | null, vmid: number, va: bigint, isWrite: boolean): void {
    let at = pointer
    if (second !== null) {
      this.isRecorded = second.records
      const walked = this.#stageTwo(second, pointer, false, 'context')
      if (walked === null) return
      at = walked.address
    }
    if (!this.has(at)) {
      this.quirk('FETCH_ADDRESS')
      return void this.end('F_CD_FETCH')
    }
    const cd = readCd(this, at)
    if (cd !== null && second !== null) this.#roots(second, [cd.low, cd.high])
    if (cd?.isLegal !== true) return void this.end('C_BAD_CD')
    this.isConfigured = true
    this.isRecorded = cd.records
    const isHigh = ((va >> 55n) & 1n) === 1n
    const half = isHigh ? cd.high : cd.low
    if (half === null) return void this.end('F_TRANSLATION', 1)
    const isTagged = isHigh ? cd.tbi1 : cd.tbi0
    if (isHigh && cd.tbi0 !== cd.tbi1 && va >> 56n !== 0xffn) this.quirk('HIGH_TAG')
    const sign = isHigh ? -1n : 0n
    const effective = isTagged ? BigInt.asIntN(56, va) : BigInt.asIntN(64, va)
    if (isTagged && effective !== BigInt.asIntN(64, va)) this.quirk('TAGGED')
    if (effective >> BigInt(half.inputBits) !== sign) return void this.end('F_TRANSLATION', 1)
    const input = effective & ((1n << BigInt(half.inputBits)) - 1n)
    const tables = second === null ? null : (address: number, base: number) => this.#tableIn(second, address, base)
    const own = surveyWalk(this, half, 1, input, isWrite, tables)
    if (own === null) return
    if (second === null) {
      this.kept.push(nameOf(vmid, cd.asid, va, own.lg2))
      this.output = own.address
      return void this.end('translated', 1)
    }
    this.isRecorded = second.records
    const walked = this.#stageTwo(second, own.address, isWrite, 'input')
    const name = nameOf(vmid, cd.asid, va, Math.min(own.lg2, walked === null ? this.leafLg2 : walked.lg2))
    if (walked === null) {
      this.deniedBy = name
      return
    }
    this.kept.push(name)
    this.output = walked.address
    this.end('translated', 2)
  }

  /** The reference takes both roots through stage 2 at once. */
  #roots(second: StageTwo, halves: readonly ((RootOf & Format) | null)[]): void {
    const before = { ends: this.ends, stage: this.stage }
    for (const half of halves) {
      if (half === null) continue
      if (this.#stageTwo(second, half.table, false, 'table') === null) this.quirk('ROOT_FAULT')
    }
    this.ends = before.ends
    this.stage = before.stage
  }

  /** Where an entry of a stage 1 table really is, or -1. */
  #tableIn(second: StageTwo, address: number, base: number): number {
    const recorded = this.isRecorded
    this.isRecorded = second.records
    const walked = this.#stageTwo(second, address, false, 'table')
    if (walked === null) {
      this.quirk('TABLE_FAULT')
      return -1
    }
    if (address !== base) {
      const { ends, stage } = this
      const root = this.#stageTwo(second, base, false, 'table')
      this.ends = ends
      this.stage = stage
      if (root === null || root.address + (address - base) !== walked.address) this.quirk('SCATTERED_TABLE')
    }
    this.isRecorded = recorded
    return walked.address
  }

  /** An IPA through stage 2, or null with an end. */
  #stageTwo(second: StageTwo, ipa: number, isWrite: boolean, what: 'input' | 'context' | 'table'): Walked | null {
    if (ipa >= 2 ** second.inputBits) {
      this.end('F_TRANSLATION', 2)
      return this.#secondFault(ipa, what)
    }
    const walked = surveyWalk(this, second, 2, BigInt(ipa), isWrite, null)
    if (walked === null) return this.#secondFault(ipa, what)
    if (what !== 'input') this.kept.push(nameOf(second.vmid, null, BigInt(ipa), walked.lg2))
    if (what !== 'input' && second.protectsTables && walked.isDevice) this.quirk('DEVICE_TABLE')
    return walked
  }

  #secondFault(ipa: number, what: 'input' | 'context' | 'table'): null {
    if (what === 'context') this.quirk('CONTEXT_FAULT')
    if (what !== 'input') return null
    if (ipa % 4096 !== 0 && this.ends !== 'F_WALK_EABT') this.quirk('IPA_BITS')
    return null
  }

  /** Names of the quirks, in the list's order. */
  get quirkNames(): readonly SmmuQuirk[] {
    return (Object.keys(SMMU_QUIRKS) as SmmuQuirk[]).filter((name) => this.quirks.has(name))
  }
}

/** The name of a TLB entry: one of stage 1 has an ASID, one of stage 2 alone has none. */
const nameOf = (vmid: number, asid: number | null, address: bigint, lg2: number): string =>
  `${vmid}/${asid ?? ''}/${(address >> BigInt(lg2)).toString(16)}/${lg2}`

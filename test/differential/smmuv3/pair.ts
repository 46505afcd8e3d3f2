/**
 * One epoch as both units live it: what is stored, written to registers and asked for by DMA happens at once in ours,
 * and is noted as requests for the reference, which makes the same of them later and in one go.
 */

import { NO_CACHE } from '../../../hw-model/cache/geometry.js'
import { ACCESS, Outcome, STATUS, Transaction } from '../../../hw-model/port.js'
import { type IdRegisters, OFFSET, SmmuV3 } from '../../../hw-model/smmuv3/index.js'
import type { Image, Ram } from '../ram.js'
import { REGISTERS, REQUESTERS } from './machine.js'
import type { SmmuQuirk } from './quirks.js'
import { PLACE } from './ram.js'
import { type RegisterState, Survey } from './survey.js'

/** Words of an event record. */
export const RECORD_WORDS = 8

/** Page 1, where the event queue's indices are. */
const PAGE_1 = 0x10000
export const EVENTQ_PROD = PAGE_1 + OFFSET.EVENTQ_PROD
const EVENTQ_CONS = PAGE_1 + OFFSET.EVENTQ_CONS

/** A register that both units must agree on. */
export interface Check {
  /** Which answer holds the reference's value. */
  readonly at: number
  readonly want: number
  readonly what: string
}

/** How a DMA ended in one unit. */
export interface Ending {
  readonly isOk: boolean
  readonly address: number
  /** It was passed on without any stage. */
  readonly isBypass: boolean
  /** The event queue's index afterwards. */
  readonly prod: number
  /** The record that it left, if one. */
  readonly record: Int32Array | null
}

/** What a change of a table had to do with a case: it had not been told, or had just been. */
export type Change = '' | 'stale' | 'rewalked'

/** One DMA, with what came before it. */
export interface Case {
  readonly device: number
  readonly sid: number
  readonly va: bigint
  readonly isWrite: boolean
  /** How it ought to end, as memory stands and if nothing is stale. */
  readonly ends: string
  readonly stage: number
  /** Its configuration is legal and was found. */
  readonly isConfigured: boolean
  readonly quirks: readonly SmmuQuirk[]
  readonly change: Change
  readonly ours: Ending
  /** The answer with the reference's event queue index, and the one with the device's status or -1. */
  readonly prodAt: number
  readonly statusAt: number
  readonly checks: readonly Check[]
  readonly story: readonly string[]
}

/** Everything that an epoch asks of the reference. */
export interface Epoch {
  readonly image: Image
  readonly touched: readonly number[]
  readonly requests: readonly string[]
  readonly cases: readonly Case[]
  readonly eventLg2: number
  /** The event queue's index before the first case. */
  readonly firstProd: number
  readonly isTwoLevel: boolean
  readonly withheld: number
}

/** Translations that the reference may have kept before both are made to forget: its TLB has 256, and then none. */
const KEPT_LIMIT = 200

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`

/** Lives one epoch. */
export class Pair {
  readonly ram: Ram
  readonly unit: SmmuV3
  readonly registers: RegisterState = {
    enabled: false,
    gbpaAborts: false,
    recordsBadStreams: true,
    strtabBase: 0,
    log2Size: 0,
    split: 0,
    twoLevel: false,
  }
  readonly survey: Survey
  readonly cases: Case[] = []
  /** Accesses that were not made. */
  withheld = 0
  readonly #bars: readonly number[]
  readonly #requests: string[] = []
  readonly #transaction = new Transaction()
  readonly #outcome = new Outcome()
  readonly #kept = new Set<string>()
  readonly #tells: boolean
  #image: Image | null = null
  #checks: Check[] = []
  #story: string[] = []
  #quirks: SmmuQuirk[] = []
  #eventLg2 = 0
  #firstProd = 0

  /** @param tells whether to note in words what happens, for people */
  constructor(ram: Ram, id: IdRegisters, bars: readonly number[], tells: boolean) {
    this.ram = ram
    this.survey = new Survey(ram)
    this.#bars = bars
    this.#tells = tells
    const owner = { message: () => undefined, interrupt: () => undefined }
    // Large enough that nothing is ever evicted; QEMU keeps no table entries.
    const leaves = { entries: 2048, ways: 16 }
    const caches = { tlb: leaves, ipa: leaves, walk1: NO_CACHE, walk2: NO_CACHE }
    this.unit = new SmmuV3({ memory: ram.memory, owner, id, caches })
  }

  /** From here on the reference hears of every store. */
  begin(): void {
    this.#image = this.ram.image()
  }

  /** Notes what happens, for people. */
  say(text: () => string): void {
    if (this.#tells) this.#story.push(text())
  }

  /** Stores 64 bits. */
  poke(address: number, value: bigint, why: string): void {
    this.say(() => `${why}: [${hex(address)}] ${this.ram.get(address).toString(16)} -> ${value.toString(16)}`)
    this.ram.set(address, value)
    if (this.#image !== null) this.#requests.push(`writeq ${hex(address)} 0x${value.toString(16)}`)
  }

  /** Writes a register. */
  write(offset: number, bytes: 4 | 8, value: bigint): void {
    const digits = value.toString(16)
    this.say(() => `register ${hex(offset)} := ${digits}`)
    const [lo, hi] = [Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))]
    this.unit.writeRegister(offset, bytes, lo, hi)
    while (this.unit.hasWork) this.unit.run()
    this.#requests.push(`write${bytes === 8 ? 'q' : 'l'} ${hex(REGISTERS + offset)} 0x${digits}`)
  }

  /** Writes a register of the reference alone. */
  writeReference(offset: number, value: number): void {
    this.#requests.push(`writel ${hex(REGISTERS + offset)} ${hex(value)}`)
  }

  /** Writes a register of ours alone. */
  writeOurs(offset: number, value: number): void {
    this.unit.writeRegister(offset, 4, value, 0)
    while (this.unit.hasWork) this.unit.run()
  }

  /** What ours says. */
  read(offset: number): number {
    return this.unit.readRegister(offset, 4)[0]
  }

  /** Reads a register of both; they must agree, up to bits that are known to differ. */
  check(offset: number, what: string, skew = 0): void {
    this.#checks.push({ at: this.#requests.length, want: (this.read(offset) ^ skew) >>> 0, what })
    this.#requests.push(`readl ${hex(REGISTERS + offset)}`)
  }

  /** What came before the next case is covered by an excuse, and was not compared. */
  excuse(quirk: SmmuQuirk): void {
    this.#quirks.push(quirk)
  }

  /** The next checks and excuses belong to no case. */
  drop(): void {
    this.#checks = []
    this.#quirks = []
    this.#story = []
  }

  /** Programs the event queue; its size and where it starts. */
  eventQueue(log2Size: number, index: number): void {
    this.#eventLg2 = log2Size
    this.#firstProd = index
    this.write(OFFSET.EVENTQ_BASE, 8, BigInt(PLACE.EVENTS + log2Size))
    this.write(EVENTQ_PROD, 4, BigInt(index))
    this.write(EVENTQ_CONS, 4, BigInt(index))
  }

  /**
   * One DMA of four bytes, unless what it meets forbids it. Answers whether it was made.
   *
   * @param history excuses that hold because of what was done before
   */
  dma(device: number, va: bigint, isWrite: boolean, change: Change = '', history: readonly SmmuQuirk[] = []): boolean {
    const { kind, sid } = REQUESTERS[device]
    const survey = this.survey.look(this.registers, sid, va, isWrite)
    const met = this.#quirksMet()
    if (survey.withheld !== '' || (!isWrite && !kind.canRead)) {
      this.withheld++
      return false
    }
    for (const name of survey.kept) this.#kept.add(name)
    const before = this.read(EVENTQ_PROD)
    const ours = this.#ours(sid, va, isWrite, kind.stores, before)
    const digits = va.toString(16).padStart(16, '0')
    const first = this.#requests.length
    this.#requests.push(...kind.dma(this.#bars[device], digits.slice(0, 8), digits.slice(8), isWrite))
    const prodAt = this.#requests.length
    this.#requests.push(`readl ${hex(REGISTERS + EVENTQ_PROD)}`)
    const quirks = [...new Set([...this.#quirks, ...history, ...met])]
    const statusAt = kind.statusAt < 0 ? -1 : first + kind.statusAt
    const { ends, stage, isConfigured } = survey
    const [checks, story] = [this.#checks, this.#story]
    this.cases.push({
      device,
      sid,
      va,
      isWrite,
      ends,
      stage,
      isConfigured,
      quirks,
      change,
      ours,
      prodAt,
      statusAt,
      checks,
      story,
    })
    this.drop()
    return true
  }

  /** Excuses that an access would meet, if it were made twice, and whether it may be made at all. */
  foresee(
    sid: number,
    va: bigint,
    isWrite: boolean,
  ): { readonly quirks: readonly SmmuQuirk[]; readonly isSafe: boolean } {
    const { withheld, kept, deniedBy } = this.survey.look(this.registers, sid, va, isWrite)
    for (const name of kept) this.#kept.add(name)
    if (deniedBy !== '') this.#kept.add(deniedBy)
    return { quirks: this.#quirksMet(), isSafe: withheld === '' }
  }

  /** What the survey found, and what follows from entries that may be cached. */
  #quirksMet(): readonly SmmuQuirk[] {
    const { deniedBy, ends, quirkNames } = this.survey
    if (ends !== 'F_PERMISSION' || !this.#kept.has(deniedBy)) return quirkNames
    return [...quirkNames, deniedBy.includes('//') ? 'CACHED_DENIAL' : 'CACHED_IPA']
  }

  /** Whether the reference's TLB may soon be full. */
  get isNearlyFull(): boolean {
    return this.#kept.size > KEPT_LIMIT
  }

  /** Both have forgotten every translation. */
  emptied(): void {
    this.#kept.clear()
  }

  /** Everything noted. */
  end(isTwoLevel: boolean): Epoch {
    const { cases, withheld } = this
    return {
      image: this.#image as Image,
      touched: this.ram.touched,
      requests: this.#requests,
      cases,
      eventLg2: this.#eventLg2,
      firstProd: this.#firstProd,
      isTwoLevel,
      withheld,
    }
  }

  #ours(sid: number, va: bigint, isWrite: boolean, stores: number, before: number): Ending {
    const [transaction, outcome] = [this.#transaction, this.#outcome]
    transaction.rid = sid
    transaction.lo = Number(BigInt.asIntN(32, va))
    transaction.hi = Number(BigInt.asIntN(32, va >> 32n))
    transaction.access = isWrite ? ACCESS.WRITE : ACCESS.READ
    transaction.bytes = 4
    this.unit.translate(transaction, outcome)
    const isOk = outcome.status === STATUS.OK
    const { address } = outcome
    if (isOk && isWrite && this.ram.has(address)) this.ram.set32(address, stores)
    const prod = this.read(EVENTQ_PROD)
    return { isOk, address, isBypass: false, prod, record: prod === before ? null : this.#record(before) }
  }

  #record(index: number): Int32Array {
    return this.ram.words(recordAt(index, this.#eventLg2), RECORD_WORDS)
  }
}

/** Address of a record in the event queue. */
export const recordAt = (index: number, log2Size: number): number => PLACE.EVENTS + 32 * (index % 2 ** log2Size)

/**
 * One epoch as both units live it: what is stored, written to registers and asked for by DMA happens at once in ours,
 * and is noted as requests for the reference, which makes the same of them later and in one go.
 */

import { ACCESS, Outcome, STATUS, Transaction } from '../../../hw-model/port.js'
import { type CacheOptions, type IdRegisters, presetOptions, REGISTER, VtdUnit } from '../../../hw-model/vtd/index.js'
import type { Image, Ram } from '../ram.js'
import { REGISTERS, REQUESTERS } from './machine.js'
import type { VtdQuirk } from './quirks.js'
import { Survey, type Unit } from './survey.js'

/** The fault record: a part of this kind has one. [VTD 11.4.7.6 Fault Recording Registers] */
export const FRCD = 0x220

/** Words of a fault record. */
export const RECORD_WORDS = 4

/** F and PFO as software clears them. */
const F_CLEAR = 0x80000000
const PFO_CLEAR = 1

/** FSTS.PPF. [VTD 11.4.7.1 Fault Status Register] */
const PPF = 2

/** A register or a word of memory that both units must agree on. */
export interface Check {
  /** Which answer holds the reference's value. */
  readonly at: number
  readonly want: number
  /** Bits that count. */
  readonly mask: number
  readonly what: string
}

/** How a DMA ended in one unit. */
export interface Ending {
  readonly isOk: boolean
  readonly address: number
  /** It was passed on untranslated. */
  readonly isPassed: boolean
  readonly fsts: number
  /** The fault record afterwards, if it is one. */
  readonly record: Int32Array | null
}

/** What a change of an entry had to do with a case: it had not been told, or had just been. */
export type Change = '' | 'stale' | 'rewalked'

/** One DMA, with what came before it. */
export interface Case {
  readonly device: number
  readonly sid: number
  readonly va: bigint
  readonly isWrite: boolean
  /** How it ought to end, as memory stands and if nothing is stale. */
  readonly ends: string
  /** Its configuration is legal and was found. */
  readonly isConfigured: boolean
  readonly quirks: readonly VtdQuirk[]
  readonly change: Change
  readonly ours: Ending
  /** A record was pending before it, so that it can leave none. */
  readonly isPending: boolean
  /** Answers with FSTS, the record's halves (or -1) and the device's status (or -1). */
  readonly fstsAt: number
  readonly recordAt: number
  readonly statusAt: number
  readonly checks: readonly Check[]
  readonly story: readonly string[]
}

/** Everything that an epoch asks of the reference. */
export interface Epoch {
  readonly image: Image
  /** Memory as our unit left it. */
  readonly final: Image
  /** Words that an excuse lets differ. */
  readonly unlike: ReadonlySet<number>
  readonly touched: readonly number[]
  readonly requests: readonly string[]
  readonly cases: readonly Case[]
  readonly withheld: number
}

/** Translations that may be cached before both are made to forget: the reference forgets all when it has 1024. */
const KEPT_LIMIT = 300

const hex = (value: number): string => `0x${value.toString(16)}`

/** Lives one epoch. */
export class Pair {
  readonly ram: Ram
  readonly unit: VtdUnit
  readonly state: Unit
  readonly survey: Survey
  readonly cases: Case[] = []
  /** Accesses that were not made. */
  withheld = 0
  /** Fault records are left as they are. */
  keepsRecords = false
  readonly #bars: readonly number[]
  readonly #requests: string[] = []
  readonly #transaction = new Transaction()
  readonly #outcome = new Outcome()
  /** Pages of requesters that may be cached, and what the entry grants. */
  readonly #kept = new Map<string, number>()
  readonly #unlike = new Set<number>()
  readonly #tells: boolean
  #image: Image | null = null
  #checks: Check[] = []
  #story: string[] = []
  #quirks: VtdQuirk[] = []

  /** @param tells whether to note in words what happens, for people */
  constructor(ram: Ram, id: IdRegisters, bars: readonly number[], tells: boolean) {
    this.ram = ram
    this.#bars = bars
    this.#tells = tells
    const owner = { message: () => undefined, interrupt: () => undefined }
    // Large enough that nothing is ever evicted; the reference keeps no PASID table entries, no tables, nothing that faulted.
    const caches: CacheOptions = { policy: 'off', iotlb: { entries: 4096, ways: 16 }, contextEntries: 256 }
    this.unit = new VtdUnit(ram.memory, owner, presetOptions('qemu-legacy', id, caches))
    this.state = { enabled: false, ttm: 0, root: 0, caps: this.unit.capabilities }
    this.survey = new Survey(ram)
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
    this.writeOurs(offset, bytes, value)
    this.#requests.push(`write${bytes === 8 ? 'q' : 'l'} ${hex(REGISTERS + offset)} 0x${digits}`)
  }

  /** Writes a register of ours alone. */
  writeOurs(offset: number, bytes: 4 | 8, value: bigint): void {
    const [lo, hi] = [Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))]
    this.unit.writeRegister(offset, bytes, lo, hi)
    while (this.unit.hasWork) this.unit.run()
  }

  /** What ours says. */
  read(offset: number): number {
    return this.unit.readRegister(offset, 4)[0] >>> 0
  }

  /** Reads a register of both; they must agree in the bits that count. */
  check(offset: number, what: string, mask = -1): void {
    this.#checks.push({ at: this.#requests.length, want: this.read(offset), mask, what })
    this.#requests.push(`readl ${hex(REGISTERS + offset)}`)
  }

  /** Reads 32 bits of both memories. */
  checkWord(address: number, what: string): void {
    this.#checks.push({ at: this.#requests.length, want: this.ram.words(address, 1)[0] >>> 0, mask: -1, what })
    this.#requests.push(`readl ${hex(address)}`)
  }

  /** What came before the next case is covered by an excuse. */
  excuse(quirk: VtdQuirk): void {
    this.#quirks.push(quirk)
  }

  /** The next checks and excuses belong to no case. */
  drop(): void {
    this.#checks = []
    this.#quirks = []
    this.#story = []
  }

  /**
   * One DMA of four bytes, unless what it meets forbids it. Answers whether it was made.
   *
   * @param history excuses that hold because of what was done before
   */
  dma(device: number, va: bigint, isWrite: boolean, change: Change = '', history: readonly VtdQuirk[] = []): boolean {
    const { kind, sid } = REQUESTERS[device]
    const survey = this.survey.look(this.state, sid, va, isWrite)
    const met = this.#quirksMet(sid, va, isWrite)
    if (survey.withheld !== '' || (!isWrite && !kind.canRead)) {
      this.withheld++
      return false
    }
    this.#keep(sid, va)
    const quirks = [...new Set([...this.#quirks, ...history, ...met])]
    const isPending = (this.read(REGISTER.FSTS) & PPF) !== 0
    const ours = this.#ours(sid, va, isWrite, kind.stores)
    const digits = va.toString(16).padStart(16, '0')
    const first = this.#requests.length
    this.#requests.push(...kind.dma(this.#bars[device], digits.slice(0, 8), digits.slice(8), isWrite))
    const fstsAt = this.#requests.length
    this.#requests.push(`readl ${hex(REGISTERS + REGISTER.FSTS)}`, `readq ${hex(REGISTERS + FRCD)}`)
    // Where neither can have a record the reading of it is spared.
    const mayRecord = ours.record !== null || quirks.length > 0
    const recordAt = mayRecord ? fstsAt + 1 : -1
    if (mayRecord) this.#requests.push(`readq ${hex(REGISTERS + FRCD + 8)}`)
    if (mayRecord && !this.keepsRecords) this.clearRecord()
    const statusAt = kind.statusAt < 0 ? -1 : first + kind.statusAt
    for (const at of survey.flagged) this.#unlike.add(at)
    const { ends, isConfigured } = survey
    const [checks, story] = [this.#checks, this.#story]
    this.cases.push({
      device,
      sid,
      va,
      isWrite,
      ends,
      isConfigured,
      quirks,
      change,
      ours,
      isPending,
      fstsAt,
      recordAt,
      statusAt,
      checks,
      story,
    })
    this.drop()
    return true
  }

  /** Software takes note of the record, and of an overflow. [VTD 7.2.1 Primary Fault Logging] */
  clearRecord(): void {
    this.write(FRCD + 12, 4, BigInt(F_CLEAR))
    this.write(REGISTER.FSTS, 4, BigInt(PFO_CLEAR))
  }

  /** Excuses that an access would meet, and whether it may be made at all. */
  foresee(
    sid: number,
    va: bigint,
    isWrite: boolean,
  ): { readonly quirks: readonly VtdQuirk[]; readonly isSafe: boolean } {
    const { withheld } = this.survey.look(this.state, sid, va, isWrite)
    const quirks = this.#quirksMet(sid, va, isWrite)
    return { quirks, isSafe: withheld === '' }
  }

  /** What the survey found, and what follows from entries that may be cached. */
  #quirksMet(sid: number, va: bigint, isWrite: boolean): readonly VtdQuirk[] {
    const { quirkNames } = this.survey
    const need = isWrite ? ACCESS.WRITE : ACCESS.READ
    for (const lg2 of [12, 21, 30]) {
      const rights = this.#kept.get(nameOf(sid, va, lg2))
      if (rights !== undefined && (rights & need) === 0) return [...quirkNames, 'CACHED_DENIAL']
    }
    return quirkNames
  }

  #keep(sid: number, va: bigint): void {
    const { ends, leafLg2, rights } = this.survey
    if (ends === 'translated') this.#kept.set(nameOf(sid, va, leafLg2), rights)
  }

  /** Whether the reference's cache may soon be full. */
  get isNearlyFull(): boolean {
    return this.#kept.size > KEPT_LIMIT
  }

  /** Both have forgotten a leaf, whoever used it. */
  forget(va: bigint, lg2: number): void {
    for (const { sid } of REQUESTERS) this.#kept.delete(nameOf(sid, va, lg2))
  }

  /** Both have forgotten every translation. */
  emptied(): void {
    this.#kept.clear()
  }

  /** Everything noted. */
  end(): Epoch {
    const { cases, withheld } = this
    return {
      image: this.#image as Image,
      final: this.ram.image(),
      unlike: this.#unlike,
      touched: this.ram.touched,
      requests: this.#requests,
      cases,
      withheld,
    }
  }

  #ours(sid: number, va: bigint, isWrite: boolean, stores: number): Ending {
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
    const fsts = this.read(REGISTER.FSTS)
    const words = [0, 4, 8, 12].map((at) => this.read(FRCD + at))
    return { isOk, address, isPassed: false, fsts, record: (fsts & PPF) === 0 ? null : Int32Array.from(words) }
  }
}

/** The name of a cached entry. */
const nameOf = (sid: number, va: bigint, lg2: number): string => `${sid}/${(va >> BigInt(lg2)).toString(16)}/${lg2}`

/**
 * The slow reference walker beside every DMA. What it says of an access follows from the words that it reads and from
 * nothing else: so it walks again only where one of those words differs, each is looked at before every DMA, and a million
 * operations take minutes.
 */

import { STATUS } from '../../../hw-model/port.js'
import type { ReferenceMemory } from '../reference/memory.js'
import { translate } from '../reference/smmuv3.js'
import type { SmmuFeatures } from '../reference/smmuv3-features.js'
import type { SmmuAccess, SmmuEnd, SmmuRegisters, SmmuResult } from '../reference/smmuv3-types.js'
import { ABORT, MADE } from './answers.js'
import type { WatchedMemory } from './watched-memory.js'

/** What the reference says of an access, and the words that it read. */
export interface Walked {
  readonly result: SmmuResult
  /** As one number: see `answers.ts`. */
  readonly code: number
  /** The record that the access leaves, 32 bits each; undefined for none. */
  readonly record: Int32Array | undefined
  readonly addresses: readonly number[]
  /** Both halves of each word. */
  readonly words: readonly number[]
}

/** Walks that are kept of one access: an entry goes to and fro between a few states. */
const KEPT = 4

/** One access that is made again and again. */
export class Probe {
  readonly access: SmmuAccess
  /** What the reference said at any moment since the operation began. */
  readonly seen: number[] = []
  /** What it says now. */
  walked!: Walked
  readonly known: Walked[] = []

  /** @param pasid -1 for none */
  constructor(
    readonly device: number,
    readonly sid: number,
    readonly pasid: number,
    readonly page: number,
    readonly offset: number,
    readonly write: boolean,
  ) {
    const address = BigInt(page) * 4096n + BigInt(offset)
    const ssid = pasid < 0 ? undefined : pasid
    this.access = { kind: 'ordinary', sid, ssid, address, write, fetch: false, privileged: false }
  }
}

/** Asks the reference. */
export class Oracle implements ReferenceMemory {
  /** How often it walked. */
  walks = 0
  readonly #memory: WatchedMemory
  readonly #features: SmmuFeatures
  readonly #registers: SmmuRegisters
  readonly #stores = new Map<bigint, bigint>()
  #addresses: number[] = []
  #words: number[] = []

  constructor(memory: WatchedMemory, features: SmmuFeatures, registers: SmmuRegisters) {
    this.#memory = memory
    this.#features = features
    this.#registers = registers
  }

  /** Settles what the reference says of an access now; answers whether that differs from the last time. */
  ask(probe: Probe): boolean {
    const { known } = probe
    for (let i = 0; i < known.length; i++) {
      if (!this.#holds(known[i])) continue
      const isOther = known[i] !== probe.walked
      probe.walked = known[i]
      return isOther
    }
    probe.walked = this.#walk(probe.access)
    known.unshift(probe.walked)
    if (known.length > KEPT) known.pop()
    return true
  }

  /** Asks of an access that is made once. */
  askOnce(access: SmmuAccess): SmmuResult {
    return this.#walk(access).result
  }

  read64(pa: bigint): bigint | undefined {
    const stored = this.#stores.get(pa)
    if (stored !== undefined) return stored
    if (pa >> 52n !== 0n) return undefined
    const address = Number(pa)
    const word = this.#memory.peek(address)
    this.#addresses.push(address)
    this.#words.push(this.#memory.lo, this.#memory.hi)
    return word
  }

  /** What hardware would mark stays aside. */
  write64(pa: bigint, value: bigint): boolean {
    this.#stores.set(pa, value)
    return true
  }

  #walk(access: SmmuAccess): Walked {
    this.walks++
    this.#addresses = []
    this.#words = []
    // Its faults are exceptions, and nobody reads their stacks.
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    const result = translate(this, this.#features, this.#registers, access)
    Error.stackTraceLimit = limit
    this.#stores.clear()
    const { expected } = result
    const event = 'event' in expected ? expected.event : undefined
    return {
      result,
      code: codeOf(expected),
      record: event === undefined ? undefined : recordOf(event.words),
      addresses: this.#addresses,
      words: this.#words,
    }
  }

  #holds({ addresses, words }: Walked): boolean {
    const memory = this.#memory
    for (let i = 0; i < addresses.length; i++) {
      if (memory.loadWord(addresses[i]) !== 0) return false
      if (memory.lo !== words[i * 2] || memory.hi !== words[i * 2 + 1]) return false
    }
    return true
  }
}

const recordOf = (words: readonly bigint[]): Int32Array =>
  Int32Array.from(words.flatMap((word) => [Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n))]))

function codeOf(end: SmmuEnd): number {
  if (end.end === 'translated') return Number(end.address)
  if (end.end === 'stall') return MADE.stall
  if ('event' in end && end.event !== undefined) return -Number(end.event.words[0] & 0xffn)
  return ABORT
}

/** The unit's end as one number. */
export function codeOfOutcome(status: number, address: number, fault: number): number {
  if (status === STATUS.OK) return address
  if (status === STATUS.FAULT) return -fault
  if (status === STATUS.PENDING) return MADE.stall
  return ABORT
}

/**
 * Where StreamIDs and SubstreamIDs have led: what the STE, the CD and their checks come to for an access that meets the
 * TLB, kept while nothing of the configuration is dropped. It is a shorter way to the configuration caches and no cache
 * beside them: a line is made from entries that they hold, and is void as soon as they lose one.
 * [SMMU 3.3.3 Configuration and Translation lookup] [SMMU 3.21.3 Configuration structures and configuration invalidation]
 *
 * One line is 32 bytes, all that a hit needs to know of who asks.
 */

import type { ContextConfig, HalfConfig } from './decode-cd.js'
import type { StreamConfig } from './decode-ste.js'
import { FaultInfo } from './events.js'
import { Need } from './need.js'

/** Words of a line. */
export const PATH = {
  SID: 0,
  /** SubstreamID, or NO_PASID. */
  SSID: 1,
  /** Of the configuration caches and the TLB's tags, plus 1, so that an empty line is void. */
  VERSION: 2,
  /** Bits of SHAPE, and PRIVCFG and INSTCFG above them, as `neededAt` takes them. */
  SHAPE: 3,
  /** Entries of its own ASID, or of its VMID's IPAs. */
  TAG: 4,
  /** Global entries of its ASID set; `TAG` again where there are none. */
  GLOBAL_TAG: 5,
  /** Bits of the high word that no address of the lower half has. */
  BEYOND_LOW: 6,
  /** The same of the upper half, of the high word's complement. */
  BEYOND_HIGH: 7,
} as const

/** What is out of the ordinary. */
export const SHAPE = {
  /** Stage 1 is off: the address is an IPA. */
  BY_IPA: 1,
  /** No address of the lower half passes here, and of the upper. */
  NO_LOW: 2,
  NO_HIGH: 4,
  /** TBI0, and TBI1. */
  IGNORES_LOW: 8,
  IGNORES_HIGH: 16,
  /** E0PD0, and E0PD1. */
  BARS_LOW: 32,
  BARS_HIGH: 64,
} as const

const { BY_IPA, NO_LOW, NO_HIGH, IGNORES_LOW, IGNORES_HIGH, BARS_LOW, BARS_HIGH } = SHAPE

/** All that an address of the lower half has to be asked beside its range, */
export const ODD_LOW = NO_LOW | IGNORES_LOW | BARS_LOW
/** and of the upper half. */
export const ODD_HIGH = NO_HIGH | IGNORES_HIGH | BARS_HIGH

/** Answered by `find` where nothing is known. */
export const UNKNOWN = -1
const NOWHERE = UNKNOWN

const { SID, SSID, VERSION, SHAPE: SHAPE_OF, TAG, GLOBAL_TAG, BEYOND_LOW, BEYOND_HIGH } = PATH

const LINE_LG2 = 3
const LINE = 1 << LINE_LG2
/** Four lines stand beside each other for the same place. */
const SET = 4 * LINE
/** 32,768 lines at most: 1 MiB, touched as they are used. */
const MOST_LG2 = 15
/** Values of ACCESS, and of PRIVCFG and INSTCFG together, and where the latter stand in SHAPE. */
const ACCESSES = 16
const OVERRIDES = 16
const OVERRIDES_SHIFT = 8
/** Spreads the SubstreamIDs of a stream; streams alone stand one after the other. */
const SSID_STEP = 0x9e35

/** The lines of one unit. */
export class KnownPaths {
  readonly words: Int32Array
  /** The entries behind each line. */
  readonly #streams: (StreamConfig | null)[] = []
  readonly #contexts: (ContextConfig | null)[] = []
  readonly #mask: number
  readonly #isOn: boolean

  /** @param entries that the configuration caches have room for; 0 for a pipeline that keeps nothing */
  constructor(entries: number) {
    this.#isOn = entries > 0
    const lg2 = entries === 0 ? 2 : Math.min(MOST_LG2, Math.max(2, Math.ceil(Math.log2(entries)) + 1))
    this.words = new Int32Array(LINE << lg2)
    this.#mask = (1 << lg2) - 1
  }

  /** The first word of a line, or UNKNOWN. */
  find(sid: number, ssid: number, version: number): number {
    const { words } = this
    let at = this.#placeOf(sid, ssid)
    if (words[at | SID] !== sid || words[at | SSID] !== ssid) {
      at = this.#beside(at, sid, ssid)
      if (at < 0) return NOWHERE
    }
    return words[at | VERSION] === version + 1 ? at : NOWHERE
  }

  /** The line of a stream and SubstreamID among the three beside the place where it would be, or UNKNOWN. */
  #beside(place: number, sid: number, ssid: number): number {
    const { words } = this
    for (let i = LINE; i < SET; i += LINE) {
      const at = place ^ i
      if (words[at | SID] === sid && words[at | SSID] === ssid) return at
    }
    return NOWHERE
  }

  /** The STE and the CD that a line stands for. */
  streamOf(at: number): StreamConfig {
    return this.#streams[at >>> LINE_LG2] as StreamConfig
  }

  contextOf(at: number): ContextConfig {
    return this.#contexts[at >>> LINE_LG2] as ContextConfig
  }

  /** Notes a path through stage 1. */
  learn(stream: StreamConfig, ssid: number, version: number, context: ContextConfig): void {
    if (!this.#isOn) return
    const { words } = this
    const at = this.#lineFor(stream, ssid, version)
    const { low, high } = context
    this.#contexts[at >>> LINE_LG2] = context
    words[at | TAG] = context.tag
    words[at | GLOBAL_TAG] = context.globalTag
    words[at | BEYOND_LOW] = beyond(low)
    words[at | BEYOND_HIGH] = beyond(high)
    words[at | SHAPE_OF] |=
      (isPlain(low) ? 0 : NO_LOW) |
      (isPlain(high) ? 0 : NO_HIGH) |
      (context.tbi0 ? IGNORES_LOW : 0) |
      (context.tbi1 ? IGNORES_HIGH : 0) |
      (low?.keepsUserOut ? BARS_LOW : 0) |
      (high?.keepsUserOut ? BARS_HIGH : 0)
  }

  /** Notes a path to stage 2 alone, of addresses with at most `inputBits`. */
  learnIpa(stream: StreamConfig, ssid: number, version: number, tag: number, inputBits: number): void {
    if (!this.#isOn) return
    const { words } = this
    const at = this.#lineFor(stream, ssid, version)
    words[at | TAG] = tag
    words[at | GLOBAL_TAG] = tag
    words[at | BEYOND_LOW] = above(inputBits)
    words[at | BEYOND_HIGH] = -1
    words[at | SHAPE_OF] |= BY_IPA | NO_HIGH | (inputBits < 32 ? NO_LOW : 0)
  }

  /** The line that is there, or one of the four that may be; what both kinds have in common is filled in. */
  #lineFor(stream: StreamConfig, ssid: number, version: number): number {
    const { words } = this
    const sid = stream.sid | 0
    const place = this.#placeOf(sid, ssid)
    const isThere = words[place | SID] === sid && words[place | SSID] === ssid
    let at = isThere ? place : this.#beside(place, sid, ssid)
    // A line of an older version makes room before one that is good.
    for (let i = 0; at < 0 && i < SET; i += LINE) if (words[(place ^ i) | VERSION] !== version + 1) at = place ^ i
    if (at < 0) at = place
    words[at | SID] = sid
    words[at | SSID] = ssid
    words[at | VERSION] = version + 1
    words[at | SHAPE_OF] = ((stream.privcfg << 2) | stream.instcfg) << OVERRIDES_SHIFT
    this.#streams[at >>> LINE_LG2] = stream
    return at
  }

  #placeOf(sid: number, ssid: number): number {
    return ((sid + Math.imul(ssid + 1, SSID_STEP)) & this.#mask) << LINE_LG2
  }
}

/** Bits of a high word that an address of so many bits, 32 or more, does not have. */
const above = (bits: number): number => (bits > 63 ? 0 : -1 << (bits - 32))

/** Halves of less than 4 GiB are left to those who look at every bit. */
const isPlain = (half: HalfConfig | null): boolean => half !== null && half.inputBits >= 32

const beyond = (half: HalfConfig | null): number => (half === null ? -1 : above(half.inputBits))

/** The place of a line's overrides and an access in `NEEDED`. */
export const neededAt = (shape: number, access: number): number =>
  ((shape >>> OVERRIDES_SHIFT) * ACCESSES) | (access & (ACCESSES - 1))

/**
 * The rights that an access needs, in the row of its privilege, for each pair of overrides and each ACCESS: what `Need`
 * settles, settled once. [SMMU 13.1.1 Attribute definitions]
 */
export const NEEDED = neededTable()

function neededTable(): Uint8Array {
  const table = new Uint8Array(OVERRIDES * ACCESSES)
  const need = new Need()
  const info = new FaultInfo()
  for (let overrides = 0; overrides < OVERRIDES; overrides++) {
    for (let access = 0; access < ACCESSES; access++) {
      info.describe(access)
      need.settle({ privcfg: overrides >>> 2, instcfg: overrides & 3 }, access, info)
      table[neededAt(overrides << OVERRIDES_SHIFT, access)] = need.rights << need.shift
    }
  }
  return table
}

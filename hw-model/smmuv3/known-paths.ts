/**
 * Where StreamIDs and SubstreamIDs have led: what the STE, the CD and their checks come to for an access that meets the
 * TLB, kept while nothing of the configuration is dropped. It is a shorter way to the configuration caches and no cache
 * beside them: a line is made from entries that they hold, and is void as soon as they lose one.
 * [SMMU 3.3.3 Configuration and Translation lookup] [SMMU 3.21.3 Configuration structures and configuration invalidation]
 *
 * One line is 64 bytes, all that a hit needs to know of who asks. Two lines stand beside each other for the same place.
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
  /** Of the configuration caches, plus 1, so that an empty line is void. */
  GENERATION: 2,
  /** Of the TLB's tags. */
  EPOCH: 3,
  /** Entries of its own ASID, or of its VMID's IPAs. */
  TAG: 4,
  /** Global entries of its ASID set; `TAG` again where there are none. */
  GLOBAL_TAG: 5,
  /** High words of the lower half that are in range: those below this. 0 where the half is off. */
  LOW_LIMIT: 6,
  /** The same of the upper half, whose high words are counted from the top. */
  HIGH_LIMIT: 7,
  /** Bits of SHAPE. */
  SHAPE: 8,
  /** PRIVCFG and INSTCFG, as `neededAt` takes them. */
  OVERRIDES: 9,
} as const

/** What is out of the ordinary. */
export const SHAPE = {
  /** Stage 1 is off: the address is an IPA. */
  BY_IPA: 1,
  /** TBI0, and TBI1. */
  IGNORES_LOW: 2,
  IGNORES_HIGH: 4,
  /** E0PD0, and E0PD1. */
  BARS_LOW: 8,
  BARS_HIGH: 16,
} as const

/** Answered by `find` where nothing is known. */
export const UNKNOWN = -1

const LINE_LG2 = 4
const LINE = 1 << LINE_LG2
/** 32,768 lines at most: 2 MiB, touched as they are used. */
const MOST_LG2 = 15
/** Values of ACCESS, and of PRIVCFG and INSTCFG together. */
const ACCESSES = 16
const OVERRIDES = 16
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
    const lg2 = entries === 0 ? 1 : Math.min(MOST_LG2, Math.ceil(Math.log2(entries)) + 1)
    this.words = new Int32Array(LINE << lg2)
    this.#mask = (1 << lg2) - 1
  }

  /** The first word of a line, or UNKNOWN. */
  find(sid: number, ssid: number, generation: number, epoch: number): number {
    const { words } = this
    let at = this.#placeOf(sid, ssid)
    if (words[at + PATH.SID] !== sid || words[at + PATH.SSID] !== ssid) {
      at ^= LINE
      if (words[at + PATH.SID] !== sid || words[at + PATH.SSID] !== ssid) return UNKNOWN
    }
    return words[at + PATH.GENERATION] === generation + 1 && words[at + PATH.EPOCH] === epoch ? at : UNKNOWN
  }

  /** The STE and the CD that a line stands for. */
  streamOf(at: number): StreamConfig {
    return this.#streams[at >>> LINE_LG2] as StreamConfig
  }

  contextOf(at: number): ContextConfig {
    return this.#contexts[at >>> LINE_LG2] as ContextConfig
  }

  /** Notes a path through stage 1; void at once where the context has no tags of this epoch. */
  learn(stream: StreamConfig, ssid: number, generation: number, context: ContextConfig): void {
    if (!this.#isOn) return
    const { words } = this
    const at = this.#lineFor(stream, ssid, generation, context.tagEpoch)
    const { low, high } = context
    this.#contexts[at >>> LINE_LG2] = context
    words[at + PATH.TAG] = context.tag
    words[at + PATH.GLOBAL_TAG] = context.globalTag
    words[at + PATH.LOW_LIMIT] = limitOf(low)
    words[at + PATH.HIGH_LIMIT] = limitOf(high)
    words[at + PATH.SHAPE] =
      (context.tbi0 ? SHAPE.IGNORES_LOW : 0) |
      (context.tbi1 ? SHAPE.IGNORES_HIGH : 0) |
      (low?.keepsUserOut ? SHAPE.BARS_LOW : 0) |
      (high?.keepsUserOut ? SHAPE.BARS_HIGH : 0)
  }

  /** Notes a path to stage 2 alone, of addresses with at most `inputBits`. */
  learnIpa(
    stream: StreamConfig,
    ssid: number,
    generation: number,
    epoch: number,
    tag: number,
    inputBits: number,
  ): void {
    if (!this.#isOn) return
    const { words } = this
    const at = this.#lineFor(stream, ssid, generation, epoch)
    words[at + PATH.TAG] = tag
    words[at + PATH.GLOBAL_TAG] = tag
    words[at + PATH.LOW_LIMIT] = inputBits < 32 ? 0 : 2 ** (inputBits - 32)
    words[at + PATH.HIGH_LIMIT] = 0
    words[at + PATH.SHAPE] = SHAPE.BY_IPA
  }

  /** The line that is there, or one of the two that may be; what both kinds have in common is filled in. */
  #lineFor(stream: StreamConfig, ssid: number, generation: number, epoch: number): number {
    const { words } = this
    const sid = stream.sid | 0
    const first = this.#placeOf(sid, ssid)
    const other = first ^ LINE
    const isFirst = words[first + PATH.SID] === sid && words[first + PATH.SSID] === ssid
    const isOther = words[other + PATH.SID] === sid && words[other + PATH.SSID] === ssid
    // A line of an older generation makes room before one that is good.
    const isOld = words[other + PATH.GENERATION] !== generation + 1 && words[first + PATH.GENERATION] === generation + 1
    const at = isOther || (isOld && !isFirst) ? other : first
    words[at + PATH.SID] = sid
    words[at + PATH.SSID] = ssid
    words[at + PATH.GENERATION] = generation + 1
    words[at + PATH.EPOCH] = epoch
    words[at + PATH.OVERRIDES] = ((stream.privcfg << 2) | stream.instcfg) * ACCESSES
    this.#streams[at >>> LINE_LG2] = stream
    return at
  }

  #placeOf(sid: number, ssid: number): number {
    return ((sid + Math.imul(ssid + 1, SSID_STEP)) & this.#mask) << LINE_LG2
  }
}

/** How many high words a half's addresses have. Halves of less than 4 GiB are left to those who look at every bit. */
const limitOf = (half: HalfConfig | null): number =>
  half === null || half.inputBits < 32 ? 0 : 2 ** (half.inputBits - 32)

/** The place of a line's overrides and an access in `NEEDED`. */
export const neededAt = (overrides: number, access: number): number => overrides | (access & (ACCESSES - 1))

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
      table[neededAt(overrides * ACCESSES, access)] = need.rights << need.shift
    }
  }
  return table
}

/**
 * Who has asked before: the IOTLB's number of a source-id and PASID, and the configuration that governed the request,
 * for as long as the context cache and the PASID cache have lost nothing. It is a shorter way to those caches and no
 * cache beside them. The number alone is good for longer: a hit in the IOTLB needs neither entry. [VTD 6.2.4.1, 6.2.7]
 *
 * One line is 16 bytes. Two lines stand beside each other for the same place.
 */

import type { ContextConfig, DmaConfig } from './dma-config.js'

/** Words of a line. */
export const REQUESTER = {
  /** Source-id, plus 1, so that an empty line is nobody's. */
  SID: 0,
  /** PASID, or NO_PASID. */
  PASID: 1,
  /** The IOTLB's number. */
  TAG: 2,
  /** Of the configuration caches, plus 1; 0 where no configuration is known. */
  GENERATION: 3,
} as const

const { SID, PASID, TAG, GENERATION } = REQUESTER

/** Answered by `find` for somebody new. */
export const STRANGER = -1
const NOBODY = STRANGER

const LINE_LG2 = 2
const LINE = 1 << LINE_LG2
/** 512 KiB, touched as they are used. */
const LINES = 1 << 15
/** Spreads the PASIDs of a source-id; source-ids alone stand one after the other. */
const PASID_STEP = 0x9e35

/** The lines of one unit. */
export class Requesters {
  readonly words: Int32Array
  readonly #contexts: ContextConfig[] = []
  readonly #configs: DmaConfig[] = []
  readonly #isOn: boolean
  readonly #keepsConfig: boolean
  readonly #mask: number

  /**
   * @param isOn whether anything is noted; not for a view, nor without an IOTLB
   * @param keepsConfig whether configurations are: only what their caches hold may be known here
   */
  constructor(isOn: boolean, keepsConfig: boolean) {
    this.#keepsConfig = keepsConfig
    const lines = isOn ? LINES : 2
    this.words = new Int32Array(lines << LINE_LG2)
    this.#mask = lines - 1
    this.#isOn = isOn
  }

  /** The first word of a line, or STRANGER. */
  find(sid: number, pasid: number): number {
    const { words } = this
    const at = this.#placeOf(sid, pasid)
    const asked = (sid + 1) | 0
    if (words[at | SID] === asked && words[at | PASID] === pasid) return at
    const other = at ^ LINE
    return words[other | SID] === asked && words[other | PASID] === pasid ? other : NOBODY
  }

  /** What governed the requests of a line whose generation is the present one. */
  contextOf(at: number): ContextConfig {
    return this.#contexts[at >>> LINE_LG2]
  }

  configOf(at: number): DmaConfig {
    return this.#configs[at >>> LINE_LG2]
  }

  /** Notes the number of a requester. Answers its line, or STRANGER where nothing is noted. */
  learn(sid: number, pasid: number, tag: number): number {
    if (!this.#isOn) return STRANGER
    const { words } = this
    const known = this.find(sid, pasid)
    const at = known === STRANGER ? this.#roomFor(sid, pasid) : known
    if (known === STRANGER) words[at + GENERATION] = 0
    words[at + SID] = sid + 1
    words[at + PASID] = pasid
    words[at + TAG] = tag
    return at
  }

  /** Notes the configuration too, of a line that was just noted. */
  learnConfig(at: number, generation: number, context: ContextConfig, config: DmaConfig): void {
    if (at === STRANGER || !this.#keepsConfig) return
    this.words[at + GENERATION] = generation + 1
    this.#contexts[at >>> LINE_LG2] = context
    this.#configs[at >>> LINE_LG2] = config
  }

  /** Forgets everybody: the numbers are handed out anew. */
  clear(): void {
    this.words.fill(0)
  }

  /** An empty line of the two that may be, or the first. */
  #roomFor(sid: number, pasid: number): number {
    const first = this.#placeOf(sid, pasid)
    const other = first ^ LINE
    return this.words[first + SID] !== 0 && this.words[other + SID] === 0 ? other : first
  }

  #placeOf(sid: number, pasid: number): number {
    return ((sid + Math.imul(pasid + 1, PASID_STEP)) & this.#mask) << LINE_LG2
  }
}

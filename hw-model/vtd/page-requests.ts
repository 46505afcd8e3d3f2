/**
 * Page requests of devices: the checks up to the PASID table entry, the queue in memory that software reads, and the
 * answers that the unit gives by itself. No page table is walked, so no page fault is found here.
 * [VTD 7.4.1 Handling of Page Requests, 7.5 Recoverable Fault Event]
 */

import { MEMORY, type Memory } from '../memory/memory.js'
import { ACCESS, type DevicePort, NO_PASID, PAGE_RESPONSE, type PageRequest, QUEUE_RUN, Transaction } from '../port.js'
import type { Capabilities } from './capabilities.js'
import type { DmaConfig } from './dma-config.js'
import type { EventBlock } from './events.js'
import { type FaultRecorder, REASON } from './faults.js'
import { pageRequestContextFault, pageRequestModeFault } from './gates.js'
import type { Invalidator } from './invalidate.js'
import { PAGE_REQUEST, PAGE_REQUEST_TYPE } from './records.js'
import { PQA, PQH, PQT, PRS, REGISTER } from './registers.js'
import { fitsTlp } from './requests.js'
import type { Translator } from './translate.js'

const WORDS = PAGE_REQUEST.$.words
const BYTES = PAGE_REQUEST.$.bytes
/** The word that the page's address starts in; the group's index has the low bits of it. */
const ADDR_WORD = PAGE_REQUEST.ADDR.low >>> 5

const PQH_WORD = REGISTER.PQH >>> 2
const PQT_WORD = REGISTER.PQT >>> 2
const PQA_WORD = REGISTER.PQA >>> 2
const PRS_WORD = REGISTER.PRS >>> 2

/** Bytes of the smallest queue, PQS = 0. */
const SMALLEST_QUEUE = 4096

/** An answer to a group, before its device hears it. */
interface Answer {
  readonly rid: number
  readonly pasid: number
  readonly group: number
  readonly code: number
}

/** The page request queue of one unit. */
export class PageRequestQueue {
  /** Requests and markers written. */
  written = 0
  /** Those that were not. */
  discarded = 0

  readonly #words: Int32Array
  readonly #memory: Memory
  readonly #caps: Capabilities
  readonly #translator: Translator
  readonly #invalidator: Invalidator
  readonly #faults: FaultRecorder
  readonly #event: EventBlock
  readonly #devices: DevicePort
  readonly #descriptor = new Int32Array(WORDS)
  /** The request in hand, as what it has in common with a DMA. */
  readonly #tx = new Transaction()
  /** Why no entry governs the request in hand; one of REASON. */
  #barred: number = REASON.NONE
  #answers: Answer[] = []
  #isAnswering = false

  /** @param words the register file */
  constructor(
    words: Int32Array,
    memory: Memory,
    caps: Capabilities,
    translator: Translator,
    invalidator: Invalidator,
    faults: FaultRecorder,
    event: EventBlock,
    devices: DevicePort,
  ) {
    this.#words = words
    this.#memory = memory
    this.#caps = caps
    this.#translator = translator
    this.#invalidator = invalidator
    this.#faults = faults
    this.#event = event
    this.#devices = devices
  }

  /** A request arrives. Without translation, or beyond what a TLP can carry, it meets nobody. [choice] */
  requestPage(request: PageRequest): void {
    const { rid, pasid } = request
    if (!this.#translator.isEnabled || this.#caps.ecap.PRS === 0 || !fitsTlp(rid, pasid)) {
      this.discarded++
      return
    }
    this.#describe(request)
    const config = this.#traverse()
    if (config === null) this.#refuse(request)
    else if (PRS.PRO.get(this.#words, PRS_WORD) !== 0) this.#discard(request)
    else if (this.#isFull()) this.#overflow(request)
    else this.#enqueue(config, request)
  }

  /** Answers wait that devices asked for while they were given others. */
  get hasWork(): boolean {
    return this.#answers.length > 0 && !this.#isAnswering
  }

  /**
   * Gives answers, QUEUE_RUN at most: a device that asks again from inside an answer, and is answered again, would keep
   * this going for ever.
   */
  run(): void {
    if (this.#isAnswering) return
    this.#isAnswering = true
    try {
      for (let left = QUEUE_RUN; left > 0; left--) {
        const answer = this.#answers.shift()
        if (answer === undefined) return
        this.#devices.respondToPages(answer.rid, answer.pasid, answer.group, answer.code)
      }
    } finally {
      this.#isAnswering = false
    }
  }

  /** A write to PRS: PPR and PRO are cleared by writing 1, and the event with the last of them. */
  writeStatus(value: number): void {
    const words = this.#words
    words[PRS_WORD] &= ~(value & CAUSES)
    if (words[PRS_WORD] === 0) this.#event.withdraw()
  }

  /** Back to power-on. */
  reset(): void {
    this.#answers = []
  }

  /** The PASID table entry that governs the request; null, and `#barred` says why, where there is none. */
  #traverse(): DmaConfig | null {
    const { ttm, config } = this.#translator
    const { rid, pasid } = this.#tx
    config.fpd = 0
    this.#barred = pageRequestModeFault(ttm, this.#caps)
    if (this.#barred !== REASON.NONE) return null
    const context = config.context(rid, false)
    this.#barred = context === null ? config.reason : pageRequestContextFault(context, pasid)
    if (context === null || this.#barred !== REASON.NONE) return null
    const entry = config.pasidEntry(context, pasid)
    this.#barred = config.reason
    return entry
  }

  /** A table error: recorded, and answered with Invalid Request. [VTD 7.4.1 T31] */
  #refuse(request: PageRequest): void {
    this.discarded++
    if (this.#isDroppedSilently(request)) return
    this.#faults.recordPageRequest(this.#barred, this.#translator.config.fpd, this.#tx)
    if (request.isLast) this.#answer(request, PAGE_RESPONSE.INVALID)
  }

  /** Nothing is taken until software clears PRO. The device is to try again. [VTD 7.4.1 T31] */
  #discard(request: PageRequest): void {
    this.discarded++
    if (request.isLast && !this.#isDroppedSilently(request)) this.#answer(request, PAGE_RESPONSE.SUCCESS)
  }

  #overflow(request: PageRequest): void {
    if (!this.#isDroppedSilently(request)) this.#raise(PRS.PRO)
    this.#discard(request)
  }

  /** A stop marker that a unit knows is not missed. One that it does not know is a request like others. [choice] */
  #isDroppedSilently({ access, isLast }: PageRequest): boolean {
    return this.#caps.ecap.SMS !== 0 && isLast && (access & (ACCESS.READ | ACCESS.WRITE)) === 0
  }

  /** The tail is one behind the head, or there is no queue yet. */
  #isFull(): boolean {
    const words = this.#words
    if (PQA.PQA.get(words, PQA_WORD) === 0) return true
    return this.#next(this.#tail) === PQH.PQH.get(words, PQH_WORD) * BYTES
  }

  /** The unit's own caches forget the page before software hears of it, so an upgraded right is found. */
  #enqueue(config: DmaConfig, request: PageRequest): void {
    this.#invalidator.pageRequested(config, request.lo, request.hi)
    const tail = this.#tail
    const base = PQA.PQA.get(this.#words, PQA_WORD) % 2 ** this.#caps.hawBits
    this.#compose(request)
    // A queue that is not in memory can take nothing. [choice]
    if (this.#memory.storeRecord(base + tail, this.#descriptor, 0, WORDS) !== MEMORY.OK) {
      this.#overflow(request)
      return
    }
    this.written++
    PQT.PQT.set(this.#words, PQT_WORD, this.#next(tail) / BYTES)
    this.#raise(PRS.PPR)
  }

  /** The event is for the first cause alone. [VTD 7.5 Recoverable Fault Event] */
  #raise(cause: typeof PRS.PPR): void {
    const words = this.#words
    const before = words[PRS_WORD] & CAUSES
    cause.set(words, PRS_WORD, 1)
    if (before === 0) this.#event.trigger()
  }

  #answer({ rid, pasid, group }: PageRequest, code: number): void {
    this.#answers.push({ rid, pasid, group, code })
    this.run()
  }

  /** Byte offset of the next descriptor; software may have written one beyond the queue. */
  get #tail(): number {
    return (PQT.PQT.get(this.#words, PQT_WORD) * BYTES) % this.#bytes
  }

  #next(offset: number): number {
    return (offset + BYTES) % this.#bytes
  }

  get #bytes(): number {
    return SMALLEST_QUEUE * 2 ** PQA.PQS.get(this.#words, PQA_WORD)
  }

  #describe({ rid, pasid, lo, hi, access }: PageRequest): void {
    const tx = this.#tx
    tx.rid = rid
    tx.pasid = pasid
    tx.lo = lo
    tx.hi = hi
    tx.access = access
  }

  /** [VTD 7.4.1.1 Page Request Descriptor] */
  #compose({ rid, pasid, lo, hi, access, group, isLast }: PageRequest): void {
    const words = this.#descriptor
    const { Type, PP, RID, PASID, EXR, PMR, RDR, WRR, LPIG, PRGI } = PAGE_REQUEST
    words.fill(0)
    words[ADDR_WORD] = lo & -4096
    words[ADDR_WORD + 1] = hi
    Type.set(words, 0, PAGE_REQUEST_TYPE)
    RID.set(words, 0, rid)
    RDR.set(words, 0, access & ACCESS.READ ? 1 : 0)
    WRR.set(words, 0, access & ACCESS.WRITE ? 1 : 0)
    LPIG.set(words, 0, isLast ? 1 : 0)
    PRGI.set(words, 0, group)
    if (pasid === NO_PASID) return
    PP.set(words, 0, 1)
    PASID.set(words, 0, pasid)
    EXR.set(words, 0, access & ACCESS.EXECUTE ? 1 : 0)
    PMR.set(words, 0, access & ACCESS.PRIVILEGED ? 1 : 0)
  }
}

/** PPR and PRO. */
const CAUSES = 3

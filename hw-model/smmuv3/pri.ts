/**
 * The PRI queue: page requests of devices, and the answers that the unit gives by itself where the queue cannot take
 * them. [SMMU 8 Page request queue]
 */

import { MEMORY, type Memory } from '../memory/memory.js'
import { ACCESS, type DevicePort, NO_PASID, PAGE_RESPONSE, type PageRequest } from '../port.js'
import type { Configurations } from './config.js'
import { EVENT } from './event-records.js'
import { type EventSink, FaultInfo } from './events.js'
import type { Features } from './features.js'
import type { Interrupts } from './interrupts.js'
import { PRI_ENTRY } from './pri-records.js'
import { QueueShape } from './queue.js'
import type { RegisterFile } from './register-file.js'
import { CR0, GERROR, OFFSET, EVENTQ_CONS as PRIQ_CONS, EVENTQ_PROD as PRIQ_PROD } from './registers.js'

const { StreamID, SubstreamID, Priv, X, R, W, Last, SSV, PRGIndex } = PRI_ENTRY
/** The word that the page address starts in; the group's index has the low bits of it. */
const PAGE = PRI_ENTRY.PageAddress.low >>> 5
const WORDS = PRI_ENTRY.$.words
const PROD = OFFSET.PRIQ_PROD >>> 2
const CONS = OFFSET.PRIQ_CONS >>> 2

/** The PRI queue of one unit. */
export class PageRequestQueue {
  /** Requests and markers written. */
  written = 0
  /** Those that the queue did not take. */
  discarded = 0

  readonly #memory: Memory
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #configs: Configurations
  readonly #interrupts: Interrupts
  readonly #devices: DevicePort
  readonly #sink: Pick<EventSink, 'record'>
  readonly #shape: QueueShape
  readonly #words = new Int32Array(WORDS)
  readonly #info = new FaultInfo()

  constructor(
    memory: Memory,
    registers: RegisterFile,
    features: Features,
    configs: Configurations,
    interrupts: Interrupts,
    devices: DevicePort,
    sink: Pick<EventSink, 'record'>,
  ) {
    this.#memory = memory
    this.#registers = registers
    this.#features = features
    this.#configs = configs
    this.#interrupts = interrupts
    this.#devices = devices
    this.#sink = sink
    this.#shape = new QueueShape(registers, OFFSET.PRIQ_BASE, PRI_ENTRY.$.bytes, features.priQueueLg2)
  }

  /** Takes a request or a marker, whatever the stream's EATS and ATSCHK say. [SMMU 8.2 Miscellaneous] */
  requestPage(request: PageRequest): void {
    const { words, enabled } = this.#registers
    if (!enabled || !this.#registers.isOn(CR0.PRIQEN) || this.#registers.isActive(GERROR.PRIQ_ABT_ERR)) {
      this.#fail(request)
      return
    }
    const prod = PRIQ_PROD.WR.get(words, PROD)
    const cons = PRIQ_CONS.RD.get(words, CONS)
    if (this.#isOverflowing || this.#shape.isFull(prod, cons)) {
      this.#overflow(request)
      return
    }
    this.#compose(request)
    if (this.#memory.storeRecord(this.#shape.slotAddress(prod), this.#words, 0, WORDS) !== MEMORY.OK) {
      this.#interrupts.raiseError(GERROR.PRIQ_ABT_ERR)
      this.#fail(request)
      return
    }
    this.written++
    PRIQ_PROD.WR.set(words, PROD, this.#shape.next(prod))
    this.#interrupts.pageRequest(this.#shape.isEmpty(prod, cons), request.isLast)
  }

  /** Unlike the event queue, this one takes nothing until the overflow is acknowledged. [SMMU 8.1 PRI queue overflow] */
  get #isOverflowing(): boolean {
    const { words } = this.#registers
    return PRIQ_PROD.OVFLG.get(words, PROD) !== PRIQ_CONS.OVACKFLG.get(words, CONS)
  }

  /** The last request of a group is answered, so that its device tries again; the others are dropped. */
  #overflow(request: PageRequest): void {
    this.discarded++
    if (!this.#isOverflowing) {
      const { words } = this.#registers
      PRIQ_PROD.OVFLG.set(words, PROD, PRIQ_PROD.OVFLG.get(words, PROD) ^ 1)
    }
    this.#interrupts.pageRequest(false, request.isLast)
    if (!request.isLast || this.#isMarker(request)) return
    const pasid = this.#pasidOf(request)
    if (pasid === NO_PASID || this.#features.pps) {
      this.#devices.respondToPages(request.rid >>> 0, pasid, request.group, PAGE_RESPONSE.SUCCESS)
      return
    }
    const stream = this.#configs.stream(request.rid >>> 0)
    if (stream === null || stream.event !== 0) {
      this.#report(request, stream === null ? this.#configs.event : stream.event)
      this.#devices.respondToPages(request.rid >>> 0, NO_PASID, request.group, PAGE_RESPONSE.FAILURE)
      return
    }
    const answered = stream.answersWithPasid ? pasid : NO_PASID
    this.#devices.respondToPages(request.rid >>> 0, answered, request.group, PAGE_RESPONSE.SUCCESS)
  }

  /** Response Failure without a PASID; a marker has no response. */
  #fail(request: PageRequest): void {
    this.discarded++
    if (this.#isMarker(request)) return
    this.#devices.respondToPages(request.rid >>> 0, NO_PASID, request.group, PAGE_RESPONSE.FAILURE)
  }

  /** STE.PPAR could not be looked up. [SMMU 8.1 PRI queue overflow] */
  #report(request: PageRequest, event: number): void {
    const registers = this.#registers
    if (!registers.wantsAtsRecords || (event === EVENT.C_BAD_STREAMID && !registers.wantsUnknownStreams)) return
    const info = this.#info
    info.sid = request.rid >>> 0
    info.ssv = 1
    info.ssid = request.pasid
    info.fetchAddress = this.#configs.fetchAddress
    this.#sink.record(event, info)
  }

  /** [SMMU 8 Page request queue] */
  #compose(request: PageRequest): void {
    const words = this.#words
    const { access, lo, hi } = request
    const pasid = this.#pasidOf(request)
    words.fill(0)
    words[PAGE] = lo & -4096
    words[PAGE + 1] = hi
    PRGIndex.set(words, 0, request.group)
    StreamID.set(words, 0, request.rid)
    Last.set(words, 0, request.isLast ? 1 : 0)
    W.set(words, 0, (access & ACCESS.WRITE) === 0 ? 0 : 1)
    R.set(words, 0, (access & ACCESS.READ) === 0 ? 0 : 1)
    if (pasid === NO_PASID) return
    SSV.set(words, 0, 1)
    SubstreamID.set(words, 0, pasid)
    X.set(words, 0, (access & ACCESS.EXECUTE) === 0 ? 0 : 1)
    Priv.set(words, 0, (access & ACCESS.PRIVILEGED) === 0 ? 0 : 1)
  }

  /** A Stop PASID marker: Last, neither read nor write, and a PASID. */
  #isMarker(request: PageRequest): boolean {
    const asksNothing = (request.access & (ACCESS.READ | ACCESS.WRITE)) === 0
    return request.isLast && asksNothing && this.#pasidOf(request) !== NO_PASID
  }

  /** A unit without substreams sees no PASID. */
  #pasidOf(request: PageRequest): number {
    return this.#features.ssidSize === 0 ? NO_PASID : request.pasid
  }
}

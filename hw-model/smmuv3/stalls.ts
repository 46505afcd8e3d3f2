/**
 * Transactions that stage 1 or stage 2 stalled: what was asked, until software says how it ends.
 * [SMMU 3.12.2 Stall model] [SMMU 4.7.1 CMD_RESUME] [SMMU 4.7.2 CMD_STALL_TERM]
 *
 * The unit has IDR5.STALL_MAX places for recorded stalls and a few more in front of them. A place's number is its STAG,
 * and the one that has been free longest is taken first, so that a token which software uses twice finds nothing for as
 * long as can be. A stall waits, unrecorded, while no further record may be outstanding or the event queue is not
 * writable; when that is over it is retried as if it had just arrived, whatever was invalidated meanwhile, so a record
 * never tells of tables that have changed since. [SMMU 7.2.1 Recording of events]
 *
 * *Why an access aborts when every place is taken:* hardware would take nothing more from the interconnect, and a model
 * without a clock has no interconnect that could wait. To the device it is the time-out of one; the unit never saw the
 * access, so nothing is recorded. [SMMU 3.12.2.3 Miscellaneous Stall considerations]
 *
 * *Why ends are told late:* commands only mark a transaction, and `serve` ends what is marked, never while a translation
 * is under way. So a requester knows a tag before it hears of its end, and a device that answers with a new access
 * finds the pipeline idle.
 */

import { type DevicePort, NO_PASID, Outcome, QUEUE_RUN, STATUS, Transaction } from '../port.js'
import type { EventQueue, EventSink, FaultInfo } from './events.js'
import { type Features, STALL_MODEL } from './features.js'
import { NO_PLACE, Places } from './places.js'

/** How a stalled transaction goes on. [SMMU 4.7.1 CMD_RESUME] */
export const RESUME = { RETRY: 0, ABORT: 1, RAZ_WI: 2 } as const

/** Places for stalls that are not recorded yet. As many as one run retries; a STAG has 16 bits. */
const WAITING_PLACES = QUEUE_RUN
const STAGS = 2 ** 16

/** Where a place stands. */
const FREE = 0
/** Recorded: software knows its STAG. */
const HELD = 1
/** Not recorded. */
const WAITING = 2
/** Not recorded because a recorded one says the same. */
const SUPPRESSED = 3
/** `serve` retries or ends it; its STAG means nothing any more. */
const MARKED = 4
const LISTS = 5

/** The pipeline, for those that arrive again. */
export interface Pipeline {
  translate(transaction: Transaction, outcome: Outcome): void
}

/**
 * The stalled transactions of one unit, and the way of all its faults into the event queue: what software does from
 * inside the interrupt of a record is noted, and done after the translation.
 */
export class Stalls implements EventSink {
  /** Where retried transactions go. */
  pipeline: Pipeline | null = null

  readonly #events: EventQueue
  readonly #devices: DevicePort
  readonly #recordedMax: number
  readonly #suppresses: boolean
  readonly #places: Places
  readonly #tag: Float64Array
  readonly #sid: Int32Array
  readonly #pasid: Int32Array
  readonly #lo: Int32Array
  readonly #hi: Int32Array
  readonly #access: Uint8Array
  /** One of RESUME; RETRY unless marked otherwise. */
  readonly #resume: Uint8Array
  /** The recorded stall that a SUPPRESSED one waits for. */
  readonly #twin: Int32Array
  readonly #transaction = new Transaction()
  readonly #outcome = new Outcome()
  #lastTag = 0
  /** Tag of the transaction that is being retried, until the pipeline says what became of it; else 0. */
  #retried = 0
  #isBusy = false

  /** @param suppresses stalls that repeat a recorded one are not recorded; allowed, and hides what a test looks for */
  constructor(features: Features, events: EventQueue, devices: DevicePort, suppresses: boolean) {
    this.#events = events
    this.#devices = devices
    this.#suppresses = suppresses
    const canStall = features.stallModel !== STALL_MODEL.TERMINATE
    this.#recordedMax = features.stallMax
    const places = canStall ? Math.min(features.stallMax + WAITING_PLACES, STAGS) : 0
    this.#places = new Places(places, LISTS)
    this.#tag = new Float64Array(places)
    this.#sid = new Int32Array(places)
    this.#pasid = new Int32Array(places)
    this.#lo = new Int32Array(places)
    this.#hi = new Int32Array(places)
    this.#access = new Uint8Array(places)
    this.#resume = new Uint8Array(places)
    this.#twin = new Int32Array(places)
  }

  /** Stalls that software knows of and has not answered; never more than IDR5.STALL_MAX. */
  get recorded(): number {
    return this.#places.count(HELD)
  }

  /** Stalls that software has not been told of. */
  get unrecorded(): number {
    return this.#places.count(WAITING) + this.#places.count(SUPPRESSED)
  }

  /** A transaction is to be retried or ended. */
  get hasWork(): boolean {
    const places = this.#places
    return places.count(MARKED) !== 0 || (places.count(WAITING) !== 0 && this.#canRecord)
  }

  record(event: number, info: FaultInfo): void {
    this.#retried = 0
    const wasBusy = this.#isBusy
    this.#isBusy = true
    try {
      this.#events.record(event, info)
    } finally {
      this.#isBusy = wasBusy
    }
  }

  hold(event: number, info: FaultInfo, outcome: Outcome): void {
    const places = this.#places
    const again = this.#retried
    this.#retried = 0
    const place = places.first(FREE)
    if (place === NO_PLACE) {
      outcome.status = STATUS.ABORTED
      return
    }
    const tag = again === 0 ? ++this.#lastTag : again
    outcome.status = STATUS.PENDING
    outcome.fault = event
    outcome.tag = tag
    this.#keep(place, tag, info)
    if (this.#suppresses && this.#hasTwin(place)) {
      places.move(place, SUPPRESSED)
      return
    }
    // A new arrival does not overtake those that wait already.
    if (this.#canRecord && (again !== 0 || places.count(WAITING) === 0)) this.#recordStall(event, info, place)
    else places.move(place, WAITING)
  }

  /** Answers one recorded stall. Without one of that STAG and StreamID nothing happens. [SMMU 4.7.1 CMD_RESUME] */
  resume(sid: number, stag: number, how: number): void {
    const isHeld = stag < this.#tag.length && this.#places.listOf(stag) === HELD
    if (!isHeld || this.#sid[stag] !== (sid | 0)) return
    this.#mark(stag, how)
    this.#releaseTwins(stag)
    this.serve()
  }

  /** Aborts every stalled transaction of a stream, recorded or not. [SMMU 4.7.2 CMD_STALL_TERM] */
  endStream(sid: number): void {
    for (let list = HELD; list <= MARKED; list++) this.#abort(list, sid | 0, false)
    this.serve()
  }

  /** Aborts them all; their STAGs are free at once. [SMMU 6.3.9.6 SMMUEN] */
  endAll(): void {
    for (let list = HELD; list <= MARKED; list++) this.#abort(list, 0, true)
  }

  /** Back to power-on: who waits for a transaction is told that it was aborted. */
  reset(): void {
    this.endAll()
    while (!this.#isBusy && this.hasWork) this.serve()
  }

  /** Retries and ends QUEUE_RUN transactions, if so many are due. A call from inside `ended` does not nest. */
  serve(): void {
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      for (let left = QUEUE_RUN; left > 0 && this.hasWork; left--) this.#serveOne()
    } finally {
      this.#isBusy = false
    }
  }

  #serveOne(): void {
    const places = this.#places
    const outcome = this.#outcome
    const place = places.count(MARKED) === 0 ? places.first(WAITING) : places.first(MARKED)
    const tag = this.#tag[place]
    const how = this.#resume[place]
    places.move(place, FREE)
    if (how === RESUME.RETRY) {
      this.#arriveAgain(place, tag)
      if (outcome.status === STATUS.PENDING) return
    } else {
      outcome.status = how === RESUME.ABORT ? STATUS.ABORTED : STATUS.RAZ_WI
      outcome.fault = 0
    }
    this.#devices.ended(tag, outcome)
  }

  /** [SMMU 4.7.1 CMD_RESUME] The place is free, so there is one if it stalls again. */
  #arriveAgain(place: number, tag: number): void {
    const transaction = this.#transaction
    transaction.rid = this.#sid[place]
    transaction.pasid = this.#pasid[place]
    transaction.lo = this.#lo[place]
    transaction.hi = this.#hi[place]
    transaction.access = this.#access[place]
    this.#retried = tag
    this.pipeline?.translate(transaction, this.#outcome)
    this.#retried = 0
  }

  get #canRecord(): boolean {
    return this.#places.count(HELD) < this.#recordedMax && this.#events.isWritable
  }

  #keep(place: number, tag: number, info: FaultInfo): void {
    this.#tag[place] = tag
    this.#sid[place] = info.sid
    this.#pasid[place] = info.ssv === 1 ? info.ssid : NO_PASID
    this.#lo[place] = info.lo
    this.#hi[place] = info.hi
    this.#access[place] = info.access
    this.#resume[place] = RESUME.RETRY
  }

  /**
   * Software may answer from inside the record's interrupt, so the place is held before; what it answers is done later.
   * A record that memory did not take is made again once that error is acknowledged.
   */
  #recordStall(event: number, info: FaultInfo, place: number): void {
    const places = this.#places
    const wasBusy = this.#isBusy
    this.#isBusy = true
    places.move(place, HELD)
    info.stall = 1
    info.stag = place
    try {
      const isWritten = this.#events.recordStall(event, info)
      if (!isWritten && places.listOf(place) === HELD) places.move(place, WAITING)
    } finally {
      this.#isBusy = wasBusy
    }
  }

  /** Whether a recorded stall says all that this one would. [SMMU 3.12.2.1 Suppression of duplicate Stall event records] */
  #hasTwin(place: number): boolean {
    const places = this.#places
    for (let other = places.first(HELD); other !== NO_PLACE; other = places.after(other)) {
      const isSame =
        this.#sid[other] === this.#sid[place] &&
        this.#pasid[other] === this.#pasid[place] &&
        this.#access[other] === this.#access[place] &&
        this.#hi[other] === this.#hi[place] &&
        (this.#lo[other] ^ this.#lo[place]) >>> 12 === 0
      if (!isSame) continue
      this.#twin[place] = other
      return true
    }
    return false
  }

  /** However a recorded stall is answered, those that were suppressed for it are retried. */
  #releaseTwins(place: number): void {
    const places = this.#places
    for (let other = places.first(SUPPRESSED); other !== NO_PLACE; ) {
      const next = places.after(other)
      if (this.#twin[other] === place) this.#mark(other, RESUME.RETRY)
      other = next
    }
  }

  #mark(place: number, how: number): void {
    this.#resume[place] = how
    this.#places.move(place, MARKED)
  }

  /** Marks those of a list; of the marked ones, those that were to be retried. */
  #abort(list: number, sid: number, all: boolean): void {
    const places = this.#places
    for (let place = places.first(list); place !== NO_PLACE; ) {
      const next = places.after(place)
      if ((all || this.#sid[place] === sid) && this.#resume[place] === RESUME.RETRY) {
        this.#resume[place] = RESUME.ABORT
        if (list !== MARKED) places.move(place, MARKED)
      }
      place = next
    }
  }
}

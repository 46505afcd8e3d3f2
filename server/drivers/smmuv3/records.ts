/**
 * What the unit writes for software, event records and page requests: taken out of its queues, counted, and brought to
 * whom they concern. What nobody takes is reported to the operator. [SMMU 7.2 Event queue] [SMMU 8 Page request queue]
 */

import { EVENT_RECORD, F_TRANSLATION, PRI_ENTRY, type SmmuV3 } from '../../../hw-model/smmuv3/index.js'
import type { DeviceDriver } from '../../core/driver.js'
import type { SmmuDevice, VirtualStream } from './device.js'
import { eventFacts, pageFacts } from './event-facts.js'
import type { Faults, Taker } from './faults.js'
import type { RecordRing } from './queues.js'

/** One record of the event queue. */
export interface SmmuEvent {
  /** Event number. */
  readonly event: number
  readonly sid: number
  /** The record's eight 32-bit words; the receiver's own copy. */
  readonly record: Int32Array
  /** Whether stage 2 refused; such events are the host's alone. */
  readonly isStageTwo: boolean
  readonly device: DeviceDriver | undefined
  /** The guest's name of the device, when a user domain is on its RID and the guest has one. */
  readonly virtual: VirtualStream | null
  readonly taker: Taker
}

/** Something that the operator is to know: what nobody else takes, or what befell the unit. */
export interface SmmuReport {
  /** The manual's name of it, such as `F_STE_FETCH`, or in words. */
  readonly name: string
  /** The StreamID it concerns, if it concerns one. */
  readonly rid?: number
  /** The unit does nothing any more. */
  readonly isFailure?: boolean
  readonly facts: Readonly<Record<string, string | number>>
}

/** Takes a report, at once and without throwing. */
export type Reporter = (report: SmmuReport) => void

/** What records are read with. */
export interface RecordParts {
  readonly unit: SmmuV3
  readonly events: RecordRing
  /** null: the unit has no PRI. */
  readonly pages: RecordRing | null
  readonly faults: Faults
  readonly devices: ReadonlyMap<number, SmmuDevice>
  readonly onEvent: (event: SmmuEvent) => void
  readonly report: Reporter
}

/** The unit's two queues of records. */
export class Records {
  readonly #parts: RecordParts
  /** Records by their names and takers, since the start. */
  readonly #kinds: Record<string, number> = {}
  #isDraining = false

  constructor(parts: RecordParts) {
    this.#parts = parts
  }

  /** For metrics. */
  get counters(): Readonly<Record<string, number>> {
    const { unit, events, pages } = this.#parts
    const { written, dropped } = unit.events
    return {
      events: written,
      eventsDropped: dropped,
      eventOverflows: events.overflows,
      pageRequestOverflows: pages?.overflows ?? 0,
      ...this.#kinds,
    }
  }

  /** Where the queues are. */
  program(enable: (queue: 'EVENTQEN' | 'PRIQEN') => void): void {
    const { events, pages } = this.#parts
    events.program()
    enable('EVENTQEN')
    if (pages === null) return
    pages.program()
    enable('PRIQEN')
  }

  /**
   * Takes the unit's records out until there are none: an answer may cause the next one. A call from inside is part of
   * that. Every request is drained after, so a flood of one device's takes no place from another's.
   */
  drain(): void {
    if (this.#isDraining) return
    this.#isDraining = true
    const { events, pages } = this.#parts
    try {
      for (let more = true; more; ) {
        const records = this.#drained('event queue', events)
        const entries = pages === null ? [] : this.#drained('PRI queue', pages)
        for (const record of records) this.#event(record)
        for (const entry of entries) this.#page(entry)
        more = records.length + entries.length > 0
      }
    } finally {
      this.#isDraining = false
    }
  }

  /** Whose the lost records were, nobody knows. [SMMU 7.4 Event queue overflow] [SMMU 8.1 PRI queue overflow] */
  #drained(name: string, ring: RecordRing): Int32Array[] {
    const before = ring.overflows
    const records = ring.drain()
    if (ring.overflows > before) this.#parts.report({ name: `${name} overflow: records were lost`, facts: {} })
    return records
  }

  #event(record: Int32Array): void {
    const { unit, faults, devices, onEvent, report } = this.#parts
    const sid = EVENT_RECORD.SID.get(record, 0)
    const event = EVENT_RECORD.ID.get(record, 0)
    const device = devices.get(sid)
    const virtual = device?.virtual ?? null
    const taker = device === undefined ? 'operator' : faults.event(device, record)
    const name = unit.faultName(event)
    this.#count(name, taker)
    const isStageTwo = F_TRANSLATION.S2.get(record, 0) === 1
    onEvent({ event, sid, record, isStageTwo, device, virtual, taker })
    if (taker === 'operator') report({ name, rid: sid, facts: eventFacts(record) })
  }

  #page(entry: Int32Array): void {
    const { faults, devices, report } = this.#parts
    const sid = PRI_ENTRY.StreamID.get(entry, 0)
    const device = devices.get(sid)
    const taker = device === undefined ? 'operator' : faults.page(device, entry)
    this.#count('page request', taker)
    if (taker === 'operator') report({ name: 'page request', rid: sid, facts: pageFacts(entry) })
  }

  #count(name: string, taker: Taker): void {
    const key = `${name} to ${taker}`
    this.#kinds[key] = (this.#kinds[key] ?? 0) + 1
  }
}

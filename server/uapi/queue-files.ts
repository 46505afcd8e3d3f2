/** Fault queues and vEVENTQs as files: read, write and poll. The object stays while a file of it is open. */

import type { Call } from '../core/call.js'
import type { Completion } from '../core/driver.js'
import type { FaultQueue, ReadFault } from '../core/fault-queue.js'
import { RECORDS_A_STEP } from '../core/limits.js'
import type { Holder, IommuObject } from '../core/object.js'
import { Refusal, refusalOf } from '../core/refusal.js'
import type { Vevent, Veventq } from '../core/veventq.js'
import type { Work } from '../core/work.js'
import { PAGE_RESPONSE, PGFAULT, VEVENT_HEADER } from './data-structs.js'
import { type File, type MaybeLater, POLL } from './file.js'
import { decode, encode, put } from './struct.js'

/** Answers to a group of faults. [uAPI enum iommufd_page_response_code] */
const RESPONSE_CODE = { SUCCESS: 0, INVALID: 1 } as const

/** A file on an object, which it holds. */
class ObjectFile<T extends IommuObject> {
  readonly object: T
  readonly #holder: Holder

  constructor(object: T) {
    this.object = object
    this.#holder = { id: object.id, kind: `open file of ${object.kind}` }
    object.hold(this.#holder)
  }

  get name(): string {
    return `${this.object.kind} ${this.object.id}`
  }

  close(): Completion {
    this.object.drop(this.#holder)
    return undefined
  }
}

/** [uAPI struct iommu_hwpt_pgfault, struct iommu_hwpt_page_response] */
export class FaultQueueFile extends ObjectFile<FaultQueue> implements File {
  read(call: Call, count: number, most: number): MaybeLater<Uint8Array> {
    refusePart(count, PGFAULT.bytes)
    return call.inSlices(this.#read(call, Math.floor(Math.min(count, most) / PGFAULT.bytes)))
  }

  write(call: Call, data: Uint8Array): MaybeLater<number> {
    refusePart(data.length, PAGE_RESPONSE.bytes)
    return call.inSlices(this.#respond(call, data))
  }

  poll(): number {
    return POLL.OUT | (this.object.isReadable ? POLL.IN | POLL.RDNORM : 0)
  }

  *#read(call: Call, most: number): Work<Uint8Array> {
    const records: Uint8Array[] = []
    const take = (group: readonly ReadFault[]): void => {
      for (const { flags, deviceId, pasid, groupId, access, addr, cookie } of group) {
        records.push(encode(PGFAULT, { flags, dev_id: deviceId, pasid, grpid: groupId, perm: access, addr, cookie }))
      }
    }
    this.object.hold(call)
    try {
      while (this.object.read(most - records.length, take, RECORDS_A_STEP) > 0) yield
    } finally {
      this.object.drop(call)
    }
    return joined(records)
  }

  /** Up to the first that is refused; that is told where nothing was done before it. */
  *#respond(call: Call, data: Uint8Array): Work<number> {
    const queue = this.object
    queue.hold(call)
    try {
      for (let at = 0; at < data.length; at += PAGE_RESPONSE.bytes) {
        const { cookie, code } = decode(PAGE_RESPONSE, data.subarray(at))
        let completion: Completion
        const refusal = refusalOf(() => {
          completion = queue.respond(cookie, isSuccess(code))
        })
        if (refusal !== undefined && at === 0) throw refusal
        if (refusal !== undefined) return at
        yield completion
      }
      return data.length
    } finally {
      queue.drop(call)
    }
  }
}

/** [uAPI struct iommufd_vevent_header] */
export class VeventqFile extends ObjectFile<Veventq> implements File {
  read(call: Call, count: number, most: number): MaybeLater<Uint8Array> {
    return call.inSlices(this.#read(call, Math.min(count, most)))
  }

  *#read(call: Call, bytes: number): Work<Uint8Array> {
    const records: Uint8Array[] = []
    let left = bytes
    let end = 0
    const take = (event: Vevent): boolean => {
      if (records.length === end) return false
      const record = recordOf(event)
      if (record.length > left) return false
      left -= record.length
      records.push(record)
      return true
    }
    this.object.hold(call)
    try {
      do {
        end = records.length + RECORDS_A_STEP
        this.object.read(take)
        yield
      } while (records.length === end)
    } finally {
      this.object.drop(call)
    }
    return joined(records)
  }

  poll(): number {
    return this.object.isReadable ? POLL.IN | POLL.RDNORM : 0
  }
}

/** The header, and the event as its unit wrote it. */
function recordOf({ flags, sequence, words }: Vevent): Uint8Array {
  const bytes = new Uint8Array(VEVENT_HEADER.bytes + 4 * words.length)
  put(VEVENT_HEADER, bytes, { flags, sequence })
  const view = new DataView(bytes.buffer)
  for (const [index, word] of words.entries()) view.setUint32(VEVENT_HEADER.bytes + 4 * index, word, true)
  return bytes
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function refusePart(count: number, bytes: number): void {
  if (count % bytes === 0) return
  throw new Refusal('ESPIPE', `${count} bytes are no whole number of records, which have ${bytes}`, { count, bytes })
}

function isSuccess(code: number): boolean {
  if (code === RESPONSE_CODE.SUCCESS || code === RESPONSE_CODE.INVALID) return code === RESPONSE_CODE.SUCCESS
  throw new Refusal('EINVAL', `code ${code} is no answer; SUCCESS is 0 and INVALID 1`, { code })
}

/**
 * A guest's trace through our caches: every DMA is looked up, and filled with what was recorded where nothing is found;
 * every command drops what the unit that consumes it would drop. The caches are those that a unit has by itself.
 */

import { pageHigh, pageLow } from '../hw-model/bits/address.js'
import { Memory } from '../hw-model/memory/index.js'
import { ACCESS, NO_PASID } from '../hw-model/port.js'
import { planCaches as planSmmu } from '../hw-model/smmuv3/cache-options.js'
import { ContextConfig } from '../hw-model/smmuv3/decode-cd.js'
import { featuresOf } from '../hw-model/smmuv3/features.js'
import { idRegisters } from '../hw-model/smmuv3/index.js'
import { RegisterFile } from '../hw-model/smmuv3/register-file.js'
import { Tlb } from '../hw-model/smmuv3/tlb.js'
import { TlbCommands } from '../hw-model/smmuv3/tlb-commands.js'
import { geometryFlags } from '../hw-model/smmuv3/tlb-flags.js'
import { planCaches as planVtd } from '../hw-model/vtd/cache-options.js'
import { Caches } from '../hw-model/vtd/caches.js'
import { decodeCapabilities } from '../hw-model/vtd/capabilities.js'
import { ConfigReader } from '../hw-model/vtd/config.js'
import { type DmaConfig, dmaConfig } from '../hw-model/vtd/dma-config.js'
import { presetOptions } from '../hw-model/vtd/index.js'
import { Invalidator } from '../hw-model/vtd/invalidate.js'
import { GRANT } from '../hw-model/vtd/iotlb.js'
import { PGTT } from '../hw-model/vtd/records.js'
import { REQUESTER } from '../hw-model/vtd/requesters.js'
import { inPieces } from './pieces.js'
import { TRACE_ROW, TRACED, type Trace } from './traces.js'

// Names of other modules are looked up each time that they are used, names of this one are not.
const { COMMAND } = TRACED
const { READ, WRITE } = ACCESS
const { TAG } = REQUESTER
const [ROW, WITHOUT_PASID, lowOf, highOf] = [TRACE_ROW, NO_PASID, pageLow, pageHigh]

/** Something that replays a trace from its beginning. */
export interface Replayer {
  /** The sum of the low words of all addresses that were found. */
  replay(): number
  /** Look-ups that found nothing, of all replays. */
  readonly misses: number
}

/** IDR0: stage 1, ATOS aside; IDR3: RIL, as the captured unit has it. */
const CAPTURED = { IDR0: 0xd44101b, IDR1: 0x2730010, IDR3: 0x1414, IDR5: 0x74 } as const

/** SMMUv3's TLB and the commands that drop from it. */
export class TlbReplay implements Replayer {
  misses = 0
  readonly #trace: Trace
  readonly #tlb: Tlb
  readonly #commands: TlbCommands
  readonly #command = new Int32Array(4)
  readonly #contexts: ContextConfig[] = []

  constructor(trace: Trace) {
    const id = idRegisters('default', CAPTURED)
    this.#trace = trace
    this.#tlb = new Tlb(planSmmu())
    this.#commands = new TlbCommands(new RegisterFile(id), featuresOf(id), this.#tlb)
    const { rows } = trace
    for (let at = 0; at < rows.length; at += TRACE_ROW) {
      if (rows[at] !== TRACED.DMA || this.#contexts[rows[at + 1]] !== undefined) continue
      const context = new ContextConfig()
      context.asid = rows[at + 1]
      this.#tlb.tagContext(context, 0)
      this.#contexts[rows[at + 1]] = context
    }
  }

  replay(): number {
    this.#tlb.dropAll()
    return inPieces(this.#trace.rows.length / ROW, 1, (from, end) => this.#some(from, end))
  }

  #some(from: number, end: number): number {
    const { rows } = this.#trace
    const tlb = this.#tlb
    const { va } = tlb
    const contexts = this.#contexts
    const last = end * ROW
    let sum = 0
    for (let at = from * ROW; at < last; at += ROW) {
      if (rows[at] === COMMAND) {
        this.#obey(at)
        continue
      }
      const context = contexts[rows[at | 1]]
      const lo = rows[at | 2]
      const hi = rows[at | 3]
      let slot = tlb.findVaAt(context, lowOf(lo, hi), highOf(hi))
      if (slot < 0) slot = this.#fill(at, context)
      const need = rows[at | 6] & READ ? READ : WRITE
      if ((va.flagsOf(slot) & need) !== need) continue
      sum += va.addressOf(slot) + (lo & ((1 << va.leafLg2Of(slot)) - 1))
    }
    return sum
  }

  #fill(at: number, context: ContextConfig): number {
    const { rows } = this.#trace
    this.misses++
    const leafLg2 = rows[at + 7]
    const [lo, hi] = [pageLow(rows[at + 2], rows[at + 3]), pageHigh(rows[at + 3])]
    const flags = rows[at + 6] | (rows[at + 6] << 9) | geometryFlags(12, ((leafLg2 - 12) / 9) | 0)
    const low = leafAddress(rows, at)
    return this.#tlb.va.fillAt(context.tag, context.group, lo, hi, leafLg2, low, rows[at + 5], flags, -1, -1, leafLg2)
  }

  #obey(at: number): void {
    const { rows } = this.#trace
    const command = this.#command
    command[0] = rows[at + 1]
    command[1] = rows[at + 2]
    command[2] = rows[at + 3]
    command[3] = rows[at + 4]
    this.#commands.execute(command[0] & 0xff, command)
  }
}

/** Types of descriptors. [VTD 6.5.2] */
const [IOTLB_INVALIDATE, PASID_IOTLB_INVALIDATE] = [2, 6]

/** VT-d's IOTLB and the descriptors that drop from it. */
export class IotlbReplay implements Replayer {
  misses = 0
  readonly #trace: Trace
  readonly #caches: Caches
  readonly #invalidator: Invalidator
  readonly #words = new Int32Array(8)
  readonly #configs: DmaConfig[] = []

  constructor(trace: Trace) {
    const caps = decodeCapabilities(presetOptions('vtd-scalable').ids)
    this.#trace = trace
    this.#caches = new Caches(planVtd(), caps)
    this.#invalidator = new Invalidator(caps, new ConfigReader(new Memory(), caps, this.#caches), this.#caches)
  }

  replay(): number {
    this.#caches.iotlb.dropAll()
    return inPieces(this.#trace.rows.length / ROW, 1, (from, end) => this.#some(from, end))
  }

  #some(from: number, end: number): number {
    const { rows } = this.#trace
    const { cache, requesters } = this.#caches.iotlb
    const { words } = requesters
    const last = end * ROW
    let sum = 0
    for (let at = from * ROW; at < last; at += ROW) {
      if (rows[at] === COMMAND) {
        this.#obey(at)
        continue
      }
      const lo = rows[at | 2]
      const hi = rows[at | 3]
      const line = requesters.find(rows[at | 1] & 0xffff, WITHOUT_PASID)
      let slot = line < 0 ? -1 : cache.findAt(words[line | TAG], lowOf(lo, hi), highOf(hi))
      if (slot < 0) slot = this.#fill(at, line)
      const need = rows[at | 6] & READ ? READ : WRITE
      if ((cache.flagsOf(slot) & need) !== need) continue
      sum += cache.addressOf(slot) + (lo & ((1 << cache.leafLg2Of(slot)) - 1))
    }
    return sum
  }

  /** What a unit does after a walk: who is known by now has a number. */
  #fill(at: number, line: number): number {
    const { rows } = this.#trace
    const { iotlb } = this.#caches
    this.misses++
    const [sid, did] = [rows[at + 1] & 0xffff, rows[at + 1] >>> 16]
    this.#configs[did] ??= dmaConfig(PGTT.FIRST, did, 0, 0, TABLES)
    const rights = rows[at + 6]
    const [lo, hi] = [pageLow(rows[at + 2], rows[at + 3]), pageHigh(rows[at + 3])]
    const grants = rights | (rights << 2) | GRANT.DIRTY
    const low = leafAddress(rows, at)
    const tag = line < 0 ? iotlb.internTag(sid, WITHOUT_PASID) : iotlb.requesters.words[line | TAG]
    const slot = iotlb.fillAt(tag, this.#configs[did], lo, hi, rows[at + 7], low, rows[at + 5], -1, -1, grants)
    if (line < 0) iotlb.requesters.learn(sid, WITHOUT_PASID, tag)
    return slot
  }

  #obey(at: number): void {
    const { rows } = this.#trace
    const words = this.#words
    words[0] = rows[at + 1]
    words[1] = rows[at + 2]
    words[2] = rows[at + 3]
    words[3] = rows[at + 4]
    const type = words[0] & 0xf
    if (type === IOTLB_INVALIDATE) this.#invalidator.iotlb(words)
    else if (type === PASID_IOTLB_INVALIDATE) this.#invalidator.pasidIotlb(words)
  }
}

const TABLES = { secondTable: 0, secondLevels: 4, secondBits: 48, sre: false } as const

/** First byte of the leaf, of 1 GiB at most, that a recorded address is in: the low 32 bits of it. */
const leafAddress = (rows: Int32Array, at: number): number => rows[at + 4] & -(1 << rows[at + 7])

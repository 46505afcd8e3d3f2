/**
 * A guest's trace through our caches: every DMA is looked up, and filled with what was recorded where nothing is found;
 * every command drops what the unit that consumes it would drop. The caches are those that a unit has by itself.
 */

import { pageHigh, pageLow } from '../hw-model/bits/address.js'
import { MISS } from '../hw-model/cache/translation-cache.js'
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
import { REQUESTER, STRANGER } from '../hw-model/vtd/requesters.js'
import { TRACE_ROW, TRACED, type Trace } from './traces.js'

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
    const { rows } = this.#trace
    const tlb = this.#tlb
    const { va } = tlb
    const contexts = this.#contexts
    let sum = 0
    tlb.dropAll()
    for (let at = 0; at < rows.length; at += TRACE_ROW) {
      if (rows[at] === TRACED.COMMAND) {
        this.#obey(at)
        continue
      }
      const context = contexts[rows[at + 1]]
      const lo = rows[at + 2]
      const hi = rows[at + 3]
      let slot = tlb.findVaAt(context, pageLow(lo, hi), pageHigh(hi))
      if (slot === MISS) slot = this.#fill(at, context)
      const need = rows[at + 6] & ACCESS.READ ? ACCESS.READ : ACCESS.WRITE
      if ((va.flagsOf(slot) & need) !== need) continue
      sum = (sum + ((va.addressOf(slot) + (lo & ((1 << va.leafLg2Of(slot)) - 1))) | 0)) | 0
    }
    return sum >>> 0
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
    const { rows } = this.#trace
    const { iotlb } = this.#caches
    const { cache, requesters } = iotlb
    const { words } = requesters
    let sum = 0
    iotlb.dropAll()
    for (let at = 0; at < rows.length; at += TRACE_ROW) {
      if (rows[at] === TRACED.COMMAND) {
        this.#obey(at)
        continue
      }
      const lo = rows[at + 2]
      const line = requesters.find(rows[at + 1] & 0xffff, NO_PASID)
      const hi = rows[at + 3]
      let slot = line === STRANGER ? MISS : cache.findAt(words[line + REQUESTER.TAG], pageLow(lo, hi), pageHigh(hi))
      if (slot === MISS) slot = this.#fill(at)
      const need = rows[at + 6] & ACCESS.READ ? ACCESS.READ : ACCESS.WRITE
      if ((cache.flagsOf(slot) & need) !== need) continue
      sum = (sum + ((cache.addressOf(slot) + (lo & ((1 << cache.leafLg2Of(slot)) - 1))) | 0)) | 0
    }
    return sum >>> 0
  }

  #fill(at: number): number {
    const { rows } = this.#trace
    const { iotlb } = this.#caches
    this.misses++
    const [sid, did] = [rows[at + 1] & 0xffff, rows[at + 1] >>> 16]
    this.#configs[did] ??= dmaConfig(PGTT.FIRST, did, 0, 0, TABLES)
    const rights = rows[at + 6]
    const [lo, hi] = [pageLow(rows[at + 2], rows[at + 3]), pageHigh(rows[at + 3])]
    const grants = rights | (rights << 2) | GRANT.DIRTY
    const low = leafAddress(rows, at)
    const tag = iotlb.internTag(sid, NO_PASID)
    const slot = iotlb.fillAt(tag, this.#configs[did], lo, hi, rows[at + 7], low, rows[at + 5], -1, -1, grants)
    iotlb.requesters.learn(sid, NO_PASID, tag)
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

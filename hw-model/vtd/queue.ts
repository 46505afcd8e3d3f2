/**
 * The invalidation queue: fetches descriptors in order, carries each out, and stops at one it cannot accept, with IQH
 * on it, until software clears the error. A wait descriptor that devices have to answer first pends: it is taken, and
 * nothing behind it is. [VTD 6.5.2 Queued Invalidation Interface, 6.5.2.11]
 */

import { joinWord } from '../bits/address.js'
import { MEMORY, type Memory } from '../memory/memory.js'
import { type DevicePort, NO_PASID, QUEUE_RUN } from '../port.js'
import type { Capabilities } from './capabilities.js'
import { DESCRIPTOR, DESCRIPTOR_TYPE, INVALIDATION_WAIT, PAGE_GROUP_RESPONSE } from './descriptors.js'
import type { DeviceTlbs } from './device-tlb.js'
import type { EventBlock } from './events.js'
import type { FaultRecorder } from './faults.js'
import type { Invalidator } from './invalidate.js'
import { carryOut, type HeldInvalidation, type LateInvalidations } from './late.js'
import { FSTS, ICS, IQA, IQEI, IQERCD, IQH, IQT, REGISTER, TTM } from './registers.js'
import { type DescriptorMasks, descriptorMasks } from './reserved.js'

/** Highest type that legacy mode knows. [VTD 6.5.2.11 T26] */
const LAST_LEGACY_TYPE = 5

/** A descriptor that has to wait: it is read again. */
const HELD = -1

const FSTS_WORD = REGISTER.FSTS >>> 2
const ICS_WORD = REGISTER.ICS >>> 2
const IQH_WORD = REGISTER.IQH >>> 2
const IQT_WORD = REGISTER.IQT >>> 2
const IQERCD_WORD = REGISTER.IQERCD >>> 2

/** Sees what the queue carries out. */
export interface QueueWitness {
  /** A descriptor was accepted, and takes effect now or at the next wait. */
  carriedOut(type: number, words: Int32Array): void
  /** A wait descriptor is complete, and so is all before it. */
  waited(): void
}

/** The queue's registers and its consumer. */
export class InvalidationQueue {
  /** GSTS.QIES. */
  isEnabled = false
  /** RTADDR.TTM as latched; it decides which types are valid. */
  ttm: number = TTM.LEGACY
  /** Descriptors carried out. */
  completed = 0
  /** Is told of every descriptor. */
  witness: QueueWitness | null = null

  readonly #words: Int32Array
  readonly #memory: Memory
  readonly #caps: Capabilities
  readonly #invalidator: Invalidator
  readonly #faults: FaultRecorder
  readonly #event: EventBlock
  readonly #devices: DevicePort
  readonly #deviceTlbs: DeviceTlbs
  #late: LateInvalidations | null
  readonly #reserved: DescriptorMasks
  readonly #descriptor = new Int32Array(8)
  /** The wait descriptor that pends. */
  readonly #pending = new Int32Array(8)
  #base = 0
  #bytes = 0
  #isWide = false
  #isRunning = false
  #isDraining = false
  /** A wait descriptor was taken and is not complete. */
  #isWaiting = false
  /** The next descriptor needs an ITag, and none is free. */
  #isHeld = false
  /** Tells a descriptor whose interrupt or device reset the unit. */
  #resets = 0

  /**
   * @param words the register file
   * @param late holds invalidations back; null where each takes effect when it is taken
   */
  constructor(
    words: Int32Array,
    memory: Memory,
    caps: Capabilities,
    invalidator: Invalidator,
    faults: FaultRecorder,
    event: EventBlock,
    devices: DevicePort,
    deviceTlbs: DeviceTlbs,
    late: LateInvalidations | null = null,
  ) {
    this.#words = words
    this.#memory = memory
    this.#caps = caps
    this.#invalidator = invalidator
    this.#faults = faults
    this.#event = event
    this.#devices = devices
    this.#deviceTlbs = deviceTlbs
    this.#late = late
    this.#reserved = descriptorMasks(caps)
  }

  /** What was carried out and has no effect before the next wait, oldest first. */
  get held(): readonly HeldInvalidation[] {
    return this.#late?.held ?? []
  }

  /** What was held back has its effect: nothing is cached any more. From here on, `late` holds back. */
  replan(late: LateInvalidations | null): void {
    this.#late?.reset()
    this.#late = late
  }

  /** QIE goes on: IQA is latched. A tail that is already there is served by the next `run`. */
  enable(): void {
    const at = REGISTER.IQA >>> 2
    this.#base = IQA.IQA.get(this.#words, at) % 2 ** this.#caps.hawBits
    this.#bytes = 4096 * 2 ** IQA.QS.get(this.#words, at)
    this.#isWide = IQA.DW.get(this.#words, at) !== 0
    this.isEnabled = true
    this.#setHead(0)
  }

  /** QIE goes off: the next `run` drains what is queued first, unless the queue had stopped. */
  disable(): void {
    this.#isDraining = true
  }

  /** Back to power-on. */
  reset(): void {
    this.isEnabled = false
    this.#isDraining = false
    this.#isWaiting = false
    this.#isHeld = false
    this.#late?.reset()
    this.#resets++
  }

  /** There is a descriptor, and neither an error nor a device keeps the queue from taking it. */
  get canRun(): boolean {
    const words = this.#words
    if (!this.isEnabled || this.#isWaiting || this.#isHeld) return false
    if (FSTS.IQE.get(words, FSTS_WORD) !== 0 || FSTS.ITE.get(words, FSTS_WORD) !== 0) return false
    return IQH.QH.get(words, IQH_WORD) !== IQT.QT.get(words, IQT_WORD)
  }

  /** Serves QUEUE_RUN descriptors, or until the queue is empty or stops. A write from inside an interrupt does not nest. */
  run(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    try {
      this.#serve()
    } finally {
      this.#isRunning = false
    }
  }

  /** A device answered: a wait may be complete, an ITag is free. */
  resume(): void {
    this.#isHeld = false
    this.run()
  }

  /**
   * An invalidation timed out: the wait that pends will never complete, and IQH, which is past it, stays where it is.
   * [VTD 6.5.2.11 Device-TLB Invalidation Response Time-out]
   */
  abort(): void {
    this.#isWaiting = false
  }

  #serve(): void {
    const words = this.#words
    if (this.#isWaiting && !this.#deviceTlbs.isOutstanding) {
      this.#isWaiting = false
      this.#complete(this.#pending)
    }
    for (let left = QUEUE_RUN; left > 0 && this.canRun; left--) {
      const resets = this.#resets
      const step = this.#isWide ? 32 : 16
      const head = IQH.QH.get(words, IQH_WORD) * 16
      const tail = IQT.QT.get(words, IQT_WORD) * 16
      const error = this.#queueError(tail) || this.#fetch(this.#base + head, step)
      if (resets !== this.#resets) continue
      if (error === 0) {
        this.completed++
        this.#setHead((head + step) % this.#bytes)
      } else if (error === HELD) this.#isHeld = true
      else this.#stop(error)
    }
    if (!this.#isDraining || this.canRun || this.#isWaiting || this.#isHeld) return
    this.#isDraining = false
    this.isEnabled = false
    this.#late?.settle()
    this.#setHead(0)
  }

  /** A write to ICS: the completion is acknowledged. */
  writeCompletion(value: number): void {
    if ((value & 1) === 0) return
    ICS.IWC.set(this.#words, ICS_WORD, 0)
    this.#event.withdraw()
  }

  /** Each part of IQERCD holds only while its error is set. */
  clearError(): void {
    const words = this.#words
    if (FSTS.IQE.get(words, FSTS_WORD) === 0) IQERCD.IQEI.set(words, IQERCD_WORD, 0)
    if (FSTS.ICE.get(words, FSTS_WORD) === 0) IQERCD.ICESID.set(words, IQERCD_WORD, 0)
    if (FSTS.ITE.get(words, FSTS_WORD) === 0) IQERCD.ITESID.set(words, IQERCD_WORD, 0)
  }

  /** What is wrong before a descriptor is even read. [VTD 6.5.2.11] */
  #queueError(tail: number): number {
    const { ecap } = this.#caps
    if (this.ttm === TTM.RESERVED) return IQEI.BAD_TTM
    const canBeWide = ecap.SMTS !== 0 || ecap.ADMS !== 0
    if (this.#isWide ? !canBeWide : this.ttm !== TTM.LEGACY) return IQEI.BAD_WIDTH
    if (this.#isWide && tail % 32 !== 0) return IQEI.TAIL_MISALIGNED
    return tail >= this.#bytes ? IQEI.BAD_TAIL : 0
  }

  /** Reads, checks and carries out one descriptor. */
  #fetch(at: number, bytes: number): number {
    const words = this.#descriptor
    words.fill(0)
    if (this.#memory.loadRecord(at, words, 0, bytes / 4) !== MEMORY.OK) return IQEI.FETCH
    const type = DESCRIPTOR.TypeLow.get(words, 0) | (DESCRIPTOR.TypeHigh.get(words, 0) << 4)
    const reserved = this.#reserved[type]
    if (reserved === undefined) return IQEI.BAD_TYPE
    if (this.ttm === TTM.LEGACY && type > LAST_LEGACY_TYPE) return IQEI.BAD_TYPE
    for (let i = 0; i < 4; i++) if ((words[i] & reserved[i]) !== 0) return IQEI.RESERVED
    if ((words[4] | words[5] | words[6] | words[7]) !== 0) return IQEI.RESERVED
    const isDeviceTlb = type === DESCRIPTOR_TYPE.DEVICE_TLB || type === DESCRIPTOR_TYPE.PASID_DEVICE_TLB
    if (isDeviceTlb && this.#deviceTlbs.isFull) return HELD
    return this.#execute(type, words) ? 0 : IQEI.RESERVED
  }

  /** False for a granularity that does not exist or an AM that the unit does not take. */
  #execute(type: number, words: Int32Array): boolean {
    switch (type) {
      case DESCRIPTOR_TYPE.PAGE_GROUP_RESPONSE:
        this.#respond(words)
        return true
      case DESCRIPTOR_TYPE.DEVICE_TLB:
      case DESCRIPTOR_TYPE.PASID_DEVICE_TLB:
        // What is asked again must not find what was invalidated before. [VTD 6.5.2.5]
        this.#late?.settle()
        this.witness?.carriedOut(type, words)
        this.#deviceTlbs.invalidate(type, words)
        return true
      case DESCRIPTOR_TYPE.WAIT:
        this.#late?.settle()
        this.#wait(words)
        return true
      default:
        return this.#invalidate(type, words)
    }
  }

  #invalidate(type: number, words: Int32Array): boolean {
    const isTaken = this.#late === null ? carryOut(this.#invalidator, type, words) : this.#late.take(type, words)
    if (isTaken) this.witness?.carriedOut(type, words)
    return isTaken
  }

  /** A device hears what became of a group of its page requests; nobody there, nobody hears. [VTD 7.6.1] */
  #respond(words: Int32Array): void {
    const { PP, RC, RID, PASID, PRGI } = PAGE_GROUP_RESPONSE
    const pasid = PP.get(words, 0) === 0 ? NO_PASID : PASID.get(words, 0)
    this.#devices.respondToPages(RID.get(words, 0), pasid, PRGI.get(words, 0), RC.get(words, 0))
  }

  /**
   * Everything before it is done by now but for what devices were asked. Until they have answered nothing behind it is
   * taken, with FN or without. Every page request that was received is in its queue, which is what PD asks for.
   * [VTD 6.5.2.9, 6.5.2.12 Queued Invalidation Ordering Considerations]
   */
  #wait(words: Int32Array): void {
    if (this.#deviceTlbs.isOutstanding) {
      this.#pending.set(words)
      this.#isWaiting = true
    } else this.#complete(words)
  }

  /** The status is written before the interrupt. [VTD 6.5.2.9 Invalidation Wait Descriptor] */
  #complete(words: Int32Array): void {
    this.witness?.waited()
    if (INVALIDATION_WAIT.SW.get(words, 0) !== 0) {
      // Bits above the host width are ignored; with them the address may be too long for one exact number.
      const { STADDR } = INVALIDATION_WAIT
      const address = joinWord(STADDR.lo(words, 0), STADDR.hi(words, 0) & (2 ** (this.#caps.hawBits - 32) - 1))
      this.#memory.store32(address, INVALIDATION_WAIT.STDATA.get(words, 0))
    }
    if (INVALIDATION_WAIT.IF.get(words, 0) === 0 || ICS.IWC.get(this.#words, ICS_WORD) !== 0) return
    ICS.IWC.set(this.#words, ICS_WORD, 1)
    this.#event.trigger()
  }

  /** IQH stays on the descriptor; nothing behind it runs. */
  #stop(info: number): void {
    IQERCD.IQEI.set(this.#words, IQERCD_WORD, info)
    this.#faults.report(FSTS.IQE)
  }

  #setHead(head: number): void {
    IQH.QH.set(this.#words, IQH_WORD, head / 16)
  }
}

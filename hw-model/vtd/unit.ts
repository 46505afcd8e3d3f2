/**
 * One remapping unit: the register window, the one-shot command protocol, and the parts behind it.
 * [VTD 11.4 Register Descriptions]
 */

import type { Memory } from '../memory/memory.js'
import type { Invalidation, Outcome, RemappingUnit, Transaction, UnitCounters, UnitOwner, WalkTrace } from '../port.js'
import { type Capabilities, decodeCapabilities } from './capabilities.js'
import { ConfigReader } from './config.js'
import { EventBlock } from './events.js'
import { explain, missing, type Parts, peek } from './explain.js'
import { FaultRecorder, faultName } from './faults.js'
import { Invalidator } from './invalidate.js'
import { Iotlb } from './iotlb.js'
import type { UnitOptions } from './presets.js'
import { InvalidationQueue } from './queue.js'
import { CCMD, FRCD_BYTES, GCMD, GSTS, IOTLB, IVA, REGISTER, RTADDR, TTM } from './registers.js'
import { Translator } from './translate.js'

/** Low dwords and full registers that software may store into without starting anything: offset → writable bits. */
const PLAIN: ReadonlyMap<number, number> = new Map([
  [REGISTER.RTADDR, 0xfffffc00],
  [REGISTER.RTADDR + 4, -1],
  [REGISTER.CCMD, -1],
  [REGISTER.FEDATA, 0xffff],
  [REGISTER.FEADDR, 0xfffffffc],
  [REGISTER.FEUADDR, -1],
  [REGISTER.IQA, 0xfffff807],
  [REGISTER.IQA + 4, -1],
  [REGISTER.IEDATA, 0xffff],
  [REGISTER.IEADDR, 0xfffffffc],
  [REGISTER.IEUADDR, -1],
])

/** High halves: what software may set in CCMD (ICC, CIRG, FM) and IOTLB (IVT, IIRG, DR, DW, DID). */
const CCMD_HIGH_MASK = 0xe0000003
const IOTLB_HIGH_MASK = 0xb003ffff

/** High halves: CAIG and IAIG, which hardware alone writes. */
const CAIG_HIGH = 0x18000000
const IAIG_HIGH = 0x06000000

/** Bits of IQT that software may set. */
const IQT_MASK = 0x7fff0

const GCMD_WORDS = new Int32Array(1)

/** A VT-d remapping unit. */
export class VtdUnit implements RemappingUnit {
  readonly kind = 'vtd'
  /** ECAP.DT and ECAP.PRS are 0. */
  readonly ats = null
  readonly registerBytes: number
  readonly capabilities: Capabilities

  readonly #words: Int32Array
  readonly #config: ConfigReader
  readonly #iotlb: Iotlb
  readonly #faultEvent: EventBlock
  readonly #completionEvent: EventBlock
  readonly #faults: FaultRecorder
  readonly #invalidator: Invalidator
  readonly #queue: InvalidationQueue
  readonly #translator: Translator
  readonly #parts: Parts
  readonly #version: number

  /** @throws RangeError naming the register field that this model does not offer */
  constructor(memory: Memory, owner: UnitOwner, options: UnitOptions) {
    const caps = decodeCapabilities(options.ids)
    this.capabilities = caps
    this.registerBytes = caps.registerBytes
    this.#version = options.ids.VER
    this.#words = new Int32Array(caps.registerBytes / 4)
    this.#config = new ConfigReader(memory, caps, options.contextEntries, options.pasidEntries)
    this.#iotlb = new Iotlb(options.iotlb, () => this.#config.pasids.clear())
    this.#faultEvent = new EventBlock(this.#words, REGISTER.FECTL, memory, owner, 'fault')
    this.#completionEvent = new EventBlock(this.#words, REGISTER.IECTL, memory, owner, 'iq')
    this.#faults = new FaultRecorder(this.#words, caps, this.#faultEvent)
    this.#invalidator = new Invalidator(caps, this.#config, this.#iotlb)
    this.#queue = new InvalidationQueue(
      this.#words,
      memory,
      caps,
      this.#invalidator,
      this.#faults,
      this.#completionEvent,
    )
    this.#translator = new Translator(memory, caps, this.#config, this.#iotlb, this.#faults)
    this.#parts = { memory, caps, live: this.#translator, config: this.#config, iotlb: this.#iotlb }
    this.reset()
  }

  get counters(): UnitCounters {
    const { translations, hits, misses, faults } = this.#translator.counts
    return { translations, hits, misses, faults, evictions: this.#iotlb.cache.evictions }
  }

  /** Live IOTLB entries, for statistics and tests. */
  get iotlbEntries(): number {
    return this.#iotlb.cache.countLive()
  }

  get hasWork(): boolean {
    return this.#queue.canRun
  }

  run(): void {
    this.#queue.run()
    this.#showQueue()
  }

  translate(transaction: Transaction, outcome: Outcome): void {
    this.#translator.translate(transaction, outcome)
  }

  explain(transaction: Transaction, outcome: Outcome, trace: WalkTrace): void {
    explain(this.#parts, transaction, outcome, trace)
  }

  peek(transaction: Transaction, outcome: Outcome): boolean {
    return peek(this.#parts, transaction, outcome)
  }

  missing(transaction: Transaction): readonly Invalidation[] {
    return missing(this.#parts, transaction)
  }

  faultName(fault: number): string {
    return faultName(fault)
  }

  reset(): void {
    const words = this.#words
    words.fill(0)
    words[REGISTER.VER >>> 2] = this.#version
    words.set(this.capabilities.capWords, REGISTER.CAP >>> 2)
    words.set(this.capabilities.ecapWords, REGISTER.ECAP >>> 2)
    this.#faultEvent.reset()
    if (this.capabilities.ecap.QI !== 0) this.#completionEvent.reset()
    this.#faults.restart()
    this.#queue.reset()
    this.#translator.isEnabled = false
    this.#latchMode(TTM.LEGACY)
    this.#config.rootTable = 0
    this.#invalidator.dropAll()
  }

  readRegister(offset: number, bytes: 4 | 8): readonly [lo: number, hi: number] {
    if (offset % bytes !== 0 || offset < 0 || offset + bytes > this.registerBytes) return [0, 0]
    const lo = this.#isWriteOnly(offset) ? 0 : this.#words[offset >>> 2] >>> 0
    return [lo, bytes === 8 ? this.readRegister(offset + 4, 4)[0] : 0]
  }

  writeRegister(offset: number, bytes: 4 | 8, lo: number, hi: number): void {
    if (offset % bytes !== 0 || offset < 0 || offset + bytes > this.registerBytes) return
    // A qword is two dwords, the low one first. [VTD 11.2]
    this.#write(offset, lo | 0)
    if (bytes === 8) this.#write(offset + 4, hi | 0)
  }

  #write(offset: number, value: number): void {
    const { ivaOffset, frcdOffset, frcdCount, ecap } = this.capabilities
    // Without a queue its registers are reserved. [VTD 11.4.9]
    if (ecap.QI === 0 && offset >= REGISTER.IQH && offset < REGISTER.IQERCD + 8) return
    const plain = PLAIN.get(offset)
    if (plain !== undefined) this.#words[offset >>> 2] = value & plain
    else if (offset === REGISTER.GCMD) this.#command(value)
    else if (offset === REGISTER.CCMD + 4) this.#contextCommand(value)
    else if (offset === ivaOffset || offset === ivaOffset + 4) this.#words[offset >>> 2] = value
    else if (offset === ivaOffset + 12) this.#iotlbCommand(value)
    else if (offset === REGISTER.FSTS) this.#writeFaultStatus(value)
    else if (offset === REGISTER.FECTL) this.#faultEvent.writeControl(value)
    else if (offset === REGISTER.IECTL) this.#completionEvent.writeControl(value)
    else if (offset === REGISTER.ICS) this.#queue.writeCompletion(value)
    else if (offset === REGISTER.IQT) this.#writeTail(value)
    else if (offset >= frcdOffset && offset < frcdOffset + frcdCount * FRCD_BYTES && offset % FRCD_BYTES === 12) {
      this.#faults.writeRecord((offset - frcdOffset) >>> 4, value)
    }
  }

  /** Persistent bits act when they change, one-shot bits whenever they are 1; TE comes last. [VTD 11.4.4.1] */
  #command(value: number): void {
    GCMD_WORDS[0] = value
    const status = REGISTER.GSTS >>> 2
    const { ecap } = this.capabilities
    if (GCMD.SRTP.get(GCMD_WORDS, 0) !== 0) this.#setRootTable()
    const qie = GCMD.QIE.get(GCMD_WORDS, 0)
    if (ecap.QI !== 0 && qie !== GSTS.QIES.get(this.#words, status)) {
      if (qie !== 0) this.#queue.enable()
      else this.#queue.disable()
      this.#showQueue()
    }
    const te = GCMD.TE.get(GCMD_WORDS, 0)
    if (te === GSTS.TES.get(this.#words, status)) return
    GSTS.TES.set(this.#words, status, te)
    this.#translator.isEnabled = te !== 0
    if (te !== 0) return
    if (ecap.SMTS !== 0) this.#invalidator.dropAll()
    this.#faults.restart()
  }

  /** QIES follows QIE once the queue is drained. */
  #showQueue(): void {
    GSTS.QIES.set(this.#words, REGISTER.GSTS >>> 2, this.#queue.isEnabled ? 1 : 0)
  }

  /** SRTP: all of RTADDR takes effect now, and not when it was written. [VTD 6.6] */
  #setRootTable(): void {
    const at = REGISTER.RTADDR >>> 2
    const words = this.#words
    this.#config.rootTable = RTADDR.RTA.get(words, at) % 2 ** this.capabilities.hawBits
    this.#latchMode(RTADDR.TTM.get(words, at))
    if (this.capabilities.cap.ESRTPS !== 0) this.#invalidator.dropAll()
    GSTS.RTPS.set(words, REGISTER.GSTS >>> 2, 1)
  }

  #latchMode(ttm: number): void {
    this.#config.isScalable = ttm === TTM.SCALABLE
    this.#translator.ttm = ttm
    this.#queue.ttm = ttm
  }

  /** CCMD's high half: ICC starts a context-cache invalidation. [VTD 11.4.6.1] */
  #contextCommand(high: number): void {
    const at = REGISTER.CCMD >>> 2
    const words = this.#words
    words[at + 1] = (high & CCMD_HIGH_MASK) | (words[at + 1] & CAIG_HIGH)
    if (CCMD.ICC.get(words, at) === 0) return
    const granularity = CCMD.CIRG.get(words, at)
    const done =
      this.#acceptsRegisterInvalidation() &&
      this.#invalidator.dropContexts(
        granularity,
        CCMD.DID.get(words, at),
        CCMD.SID.get(words, at),
        CCMD.FM.get(words, at),
      )
    CCMD.CAIG.set(words, at, done ? granularity : 0)
    CCMD.ICC.set(words, at, 0)
  }

  /** IOTLB's high half: IVT starts an IOTLB invalidation, with IVA as written before. [VTD 11.4.6.3] */
  #iotlbCommand(high: number): void {
    const iva = this.capabilities.ivaOffset >>> 2
    const at = iva + 2
    const words = this.#words
    words[at + 1] = (high & IOTLB_HIGH_MASK) | (words[at + 1] & IAIG_HIGH)
    if (IOTLB.IVT.get(words, at) === 0) return
    const granularity = IOTLB.IIRG.get(words, at)
    const done =
      this.#acceptsRegisterInvalidation() &&
      this.#invalidator.dropIotlb(
        granularity,
        IOTLB.DID.get(words, at),
        IVA.AM.get(words, iva),
        IVA.ADDR.lo(words, iva),
        IVA.ADDR.hi(words, iva),
      )
    IOTLB.IAIG.set(words, at, done ? granularity : 0)
    IOTLB.IVT.set(words, at, 0)
  }

  /** Only in legacy mode, before version 6, and not beside the queue. [VTD 6.5.1 Register-based Invalidation] */
  #acceptsRegisterInvalidation(): boolean {
    return this.#translator.ttm === TTM.LEGACY && this.capabilities.verMajor < 6 && !this.#queue.isEnabled
  }

  /** Clearing IQE lets the queue go on by itself. [VTD 6.5.2.11] */
  #writeFaultStatus(value: number): void {
    this.#faults.writeStatus(value)
    this.#queue.clearError()
    this.run()
  }

  #writeTail(value: number): void {
    if (this.capabilities.ecap.QI === 0) return
    this.#words[REGISTER.IQT >>> 2] = value & IQT_MASK
    this.run()
  }

  /** GCMD and IVA read as 0. */
  #isWriteOnly(offset: number): boolean {
    const { ivaOffset } = this.capabilities
    return offset === REGISTER.GCMD || offset === ivaOffset || offset === ivaOffset + 4
  }
}

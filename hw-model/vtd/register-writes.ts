/**
 * What a write to a register does: plain stores, the one-shot protocol of GCMD, and register-based invalidation.
 * [VTD 11.4.4.1 Global Command Register, 6.5.1 Register-based Invalidation Interface]
 */

import { pack } from '../bits/layout.js'
import type { Capabilities } from './capabilities.js'
import type { ConfigReader } from './config.js'
import { CONTEXT_CACHE_INVALIDATE, DESCRIPTOR_TYPE, IOTLB_INVALIDATE } from './descriptors.js'
import type { EventBlock } from './events.js'
import type { FaultRecorder } from './faults.js'
import type { Invalidator } from './invalidate.js'
import type { PageRequestQueue } from './page-requests.js'
import type { ProtectedMemory } from './protected-memory.js'
import type { InvalidationQueue } from './queue.js'
import { CCMD, FRCD_BYTES, GCMD, GSTS, IOTLB, IVA, REGISTER, RTADDR, TTM } from './registers.js'
import type { Translator } from './translate.js'

/** Low dwords and full registers that software may store into without starting anything: offset → writable bits. */
const PLAIN: ReadonlyMap<number, number> = new Map([
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
  [REGISTER.PQH, 0x7ffe0],
  [REGISTER.PQT, 0x7ffe0],
  [REGISTER.PQA, 0xfffff007],
  [REGISTER.PQA + 4, -1],
  [REGISTER.PEDATA, 0xffff],
  [REGISTER.PEADDR, 0xfffffffc],
  [REGISTER.PEUADDR, -1],
])

/** High halves: what software may set in CCMD (ICC, CIRG, FM) and IOTLB (IVT, IIRG, DR, DW, DID). */
const CCMD_HIGH_MASK = 0xe0000003
const IOTLB_HIGH_MASK = 0xb003ffff

/** High halves: CAIG and IAIG, which hardware alone writes. */
const CAIG_HIGH = 0x18000000
const IAIG_HIGH = 0x06000000

/** Bits of RTADDR's low half that software may set; SSIRWE where there is such a thing. */
const RTADDR_MASK = 0xfffffc00
const RTADDR_MASK_SSIRWS = 0xfffffc80

/** An address of pages, in its low half. */
const ADDRESS_LOW = 0xfffff000

/** Bits of IQT that software may set. */
const IQT_MASK = 0x7fff0

/** What writes reach. */
export interface Targets {
  /** The register file. */
  readonly words: Int32Array
  readonly caps: Capabilities
  readonly config: ConfigReader
  readonly faultEvent: EventBlock
  readonly completionEvent: EventBlock
  readonly pageEvent: EventBlock
  readonly faults: FaultRecorder
  readonly invalidator: Invalidator
  readonly queue: InvalidationQueue
  readonly pageRequests: PageRequestQueue
  readonly protectedMemory: ProtectedMemory
  readonly translator: Translator
}

/** Writes by software. */
export class RegisterWrites {
  readonly #words: Int32Array
  readonly #caps: Capabilities
  readonly #config: ConfigReader
  readonly #faultEvent: EventBlock
  readonly #completionEvent: EventBlock
  readonly #pageEvent: EventBlock
  readonly #faults: FaultRecorder
  readonly #invalidator: Invalidator
  readonly #queue: InvalidationQueue
  readonly #pageRequests: PageRequestQueue
  readonly #protectedMemory: ProtectedMemory
  readonly #translator: Translator
  readonly #gcmd = new Int32Array(1)

  constructor(targets: Targets) {
    this.#words = targets.words
    this.#caps = targets.caps
    this.#config = targets.config
    this.#faultEvent = targets.faultEvent
    this.#completionEvent = targets.completionEvent
    this.#pageEvent = targets.pageEvent
    this.#faults = targets.faults
    this.#invalidator = targets.invalidator
    this.#queue = targets.queue
    this.#pageRequests = targets.pageRequests
    this.#protectedMemory = targets.protectedMemory
    this.#translator = targets.translator
  }

  /** Stores one dword of a register, and does what that starts. */
  write(offset: number, value: number): void {
    const { ivaOffset, frcdOffset, frcdCount, ecap } = this.#caps
    // Without a queue its registers are reserved. [VTD 11.4.9]
    if (ecap.QI === 0 && offset >= REGISTER.IQH && offset < REGISTER.IQERCD + 8) return
    // Nor are there any for page requests without those. [VTD 11.4.11]
    if (ecap.PRS === 0 && offset >= REGISTER.PQH && offset < REGISTER.PEUADDR + 4) return
    const plain = PLAIN.get(offset)
    if (offset === REGISTER.RTADDR) this.#words[offset >>> 2] = value & (ecap.SSIRWS ? RTADDR_MASK_SSIRWS : RTADDR_MASK)
    else if (plain !== undefined) this.#words[offset >>> 2] = value & plain
    else if (offset === REGISTER.GCMD) this.#command(value)
    else if (offset === REGISTER.CCMD + 4) this.#contextCommand(value)
    else if (offset === ivaOffset || offset === ivaOffset + 4) this.#words[offset >>> 2] = value
    else if (offset === ivaOffset + 12) this.#iotlbCommand(value)
    else if (offset >= REGISTER.PMEN && offset < REGISTER.PHMLIMIT + 8) this.#protectedMemory.write(offset, value)
    else if (offset === REGISTER.FSTS) this.#writeFaultStatus(value)
    else if (offset === REGISTER.FECTL) this.#faultEvent.writeControl(value)
    else if (offset === REGISTER.IECTL) this.#completionEvent.writeControl(value)
    else if (offset === REGISTER.PECTL) this.#pageEvent.writeControl(value)
    else if (offset === REGISTER.PRS) this.#pageRequests.writeStatus(value)
    else if (offset === REGISTER.ICS) this.#queue.writeCompletion(value)
    else if (offset === REGISTER.IQT) this.#writeTail(value)
    else if (offset >= frcdOffset && offset < frcdOffset + frcdCount * FRCD_BYTES && offset % FRCD_BYTES === 12) {
      this.#faults.writeRecord((offset - frcdOffset) >>> 4, value)
    }
  }

  /**
   * Persistent bits act when they change, one-shot bits whenever they are 1; TE comes last. WBF has nothing to wait for:
   * no write is held back on its way to memory, so WBFS is 0 again before anybody looks. [VTD 11.4.4.1, 6.8]
   */
  #command(value: number): void {
    this.#gcmd[0] = value
    const status = REGISTER.GSTS >>> 2
    const { ecap } = this.#caps
    if (GCMD.SRTP.get(this.#gcmd, 0) !== 0) this.#setRootTable()
    const qie = GCMD.QIE.get(this.#gcmd, 0)
    if (ecap.QI !== 0 && qie !== GSTS.QIES.get(this.#words, status)) {
      if (qie !== 0) this.#queue.enable()
      else this.#queue.disable()
      // QIES is there before the first descriptor can interrupt: its handler may write GCMD.
      this.showQueue()
      this.#serve()
    }
    const te = GCMD.TE.get(this.#gcmd, 0)
    if (te === GSTS.TES.get(this.#words, status)) return
    GSTS.TES.set(this.#words, status, te)
    this.#translator.isEnabled = te !== 0
    if (te !== 0) return
    if (ecap.SMTS !== 0) this.#invalidator.dropAll()
    this.#faults.restart()
  }

  /** QIES follows QIE once the queue is drained. */
  showQueue(): void {
    GSTS.QIES.set(this.#words, REGISTER.GSTS >>> 2, this.#queue.isEnabled ? 1 : 0)
  }

  /** SRTP: all of RTADDR takes effect now, and not when it was written. [VTD 6.6] */
  #setRootTable(): void {
    const at = REGISTER.RTADDR >>> 2
    const words = this.#words
    this.#config.rootTable = RTADDR.RTA.get(words, at) % 2 ** this.#caps.hawBits
    this.latchMode(RTADDR.TTM.get(words, at), RTADDR.SSIRWE.get(words, at) !== 0)
    if (this.#caps.cap.ESRTPS !== 0) this.#invalidator.dropAll()
    GSTS.RTPS.set(words, REGISTER.GSTS >>> 2, 1)
  }

  /** RTADDR.TTM and SSIRWE take effect. */
  latchMode(ttm: number, ssirwe = false): void {
    this.#config.isScalable = ttm === TTM.SCALABLE
    this.#translator.setMode(ttm, ssirwe)
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
    if (done) {
      const [DID, SID, FM] = [CCMD.DID.get(words, at), CCMD.SID.get(words, at), CCMD.FM.get(words, at)]
      this.#tell(DESCRIPTOR_TYPE.CONTEXT_CACHE, pack(CONTEXT_CACHE_INVALIDATE, { G: granularity, DID, SID, FM }))
    }
    CCMD.CAIG.set(words, at, done ? granularity : 0)
    CCMD.ICC.set(words, at, 0)
  }

  /** IOTLB's high half: IVT starts an IOTLB invalidation, with IVA as written before. [VTD 11.4.6.3] */
  #iotlbCommand(high: number): void {
    const iva = this.#caps.ivaOffset >>> 2
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
        IVA.IH.get(words, iva) !== 0,
      )
    if (done) {
      const [DID, AM, IH] = [IOTLB.DID.get(words, at), IVA.AM.get(words, iva), IVA.IH.get(words, iva)]
      const descriptor = pack(IOTLB_INVALIDATE, { G: granularity, DID, AM, IH })
      descriptor[2] |= words[iva] & ADDRESS_LOW
      descriptor[3] = words[iva + 1]
      this.#tell(DESCRIPTOR_TYPE.IOTLB, descriptor)
    }
    IOTLB.IAIG.set(words, at, done ? granularity : 0)
    IOTLB.IVT.set(words, at, 0)
  }

  /** What a register has done is told as the descriptor that does the same, and nothing is left to wait for. */
  #tell(type: number, words: Int32Array): void {
    const { witness } = this.#queue
    witness?.carriedOut(type, words)
    witness?.waited()
  }

  /** Only in legacy mode, before version 6, and not beside the queue. [VTD 6.5.1 Register-based Invalidation Interface] */
  #acceptsRegisterInvalidation(): boolean {
    return this.#translator.ttm === TTM.LEGACY && this.#caps.verMajor < 6 && !this.#queue.isEnabled
  }

  /** Clearing IQE lets the queue go on by itself. [VTD 6.5.2.11] */
  #writeFaultStatus(value: number): void {
    this.#faults.writeStatus(value)
    this.#queue.clearError()
    this.#serve()
  }

  #writeTail(value: number): void {
    this.#words[REGISTER.IQT >>> 2] = value & IQT_MASK
    this.#serve()
  }

  /** The queue takes what it can; GSTS says whether it is still on. */
  #serve(): void {
    this.#queue.run()
    this.showQueue()
  }
}

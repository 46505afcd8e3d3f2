/**
 * One remapping unit: the register window, the one-shot command protocol, and the parts behind it.
 * [VTD 11.4 Register Descriptions]
 */

import type { Memory } from '../memory/memory.js'
import type { Oracle } from '../oracle/oracle.js'
import {
  type AtsPort,
  type CachePolicy,
  type CacheStatistics,
  type DevicePort,
  type Invalidation,
  NO_DEVICES,
  type OracleOptions,
  type Outcome,
  type RemappingUnit,
  type Transaction,
  type UnitCounters,
  type UnitOracle,
  type UnitOwner,
  type WalkTrace,
} from '../port.js'
import { type CacheOptions, planCaches } from './cache-options.js'
import { Caches, NO_CACHES } from './caches.js'
import { type Capabilities, decodeCapabilities } from './capabilities.js'
import { ConfigReader } from './config.js'
import { DeviceTlbs } from './device-tlb.js'
import { EventBlock } from './events.js'
import { explain, type Parts, peek } from './explain.js'
import { FaultRecorder, faultName } from './faults.js'
import { HostPermissions } from './hpt.js'
import { Invalidator } from './invalidate.js'
import { LateInvalidations } from './late.js'
import { missing } from './missing.js'
import { oracleOf } from './oracle.js'
import { PageRequestQueue } from './page-requests.js'
import type { UnitOptions } from './presets.js'
import { ProtectedMemory } from './protected-memory.js'
import { InvalidationQueue } from './queue.js'
import { RegisterWrites } from './register-writes.js'
import { REGISTER, TTM } from './registers.js'
import { Translator } from './translate.js'

/** A VT-d remapping unit. */
export class VtdUnit implements RemappingUnit {
  readonly kind = 'vtd'
  /** Null where ECAP.DT is 0. */
  readonly ats: AtsPort | null
  readonly registerBytes: number
  readonly capabilities: Capabilities
  readonly pageRequests: PageRequestQueue

  readonly #words: Int32Array
  readonly #config: ConfigReader
  readonly #caches: Caches
  readonly #faultEvent: EventBlock
  readonly #completionEvent: EventBlock
  readonly #pageEvent: EventBlock
  readonly #faults: FaultRecorder
  readonly #invalidator: Invalidator
  readonly #deviceTlbs: DeviceTlbs
  readonly #queue: InvalidationQueue
  readonly #translator: Translator
  readonly #protectedMemory: ProtectedMemory
  readonly #writes: RegisterWrites
  readonly #parts: Parts
  readonly #version: number
  readonly #madeWith: CacheOptions
  /** What caches that others have replaced had done. */
  #before = { hits: 0, misses: 0, evictions: 0 }
  /** Compares what is answered; null while nobody wants to know. */
  #oracle: Oracle | null = null

  /**
   * @param devices what stands in front of the unit
   * @throws RangeError naming the register field that this model does not offer
   */
  constructor(memory: Memory, owner: UnitOwner, options: UnitOptions, devices: DevicePort = NO_DEVICES) {
    const caps = decodeCapabilities(options.ids)
    this.capabilities = caps
    this.registerBytes = caps.registerBytes
    this.#version = options.ids.VER
    this.#words = new Int32Array(caps.registerBytes / 4)
    this.#madeWith = options.caches ?? {}
    this.#caches = new Caches(planCaches(options.caches), caps)
    this.#config = new ConfigReader(memory, caps, this.#caches)
    this.#faultEvent = new EventBlock(this.#words, REGISTER.FECTL, memory, owner, 'fault')
    this.#completionEvent = new EventBlock(this.#words, REGISTER.IECTL, memory, owner, 'iq')
    this.#pageEvent = new EventBlock(this.#words, REGISTER.PECTL, memory, owner, 'prq')
    this.#faults = new FaultRecorder(this.#words, caps, this.#faultEvent)
    this.#invalidator = new Invalidator(caps, this.#config, this.#caches)
    this.#deviceTlbs = new DeviceTlbs(this.#words, this.#faults, devices)
    this.#queue = new InvalidationQueue(
      this.#words,
      memory,
      caps,
      this.#invalidator,
      this.#faults,
      this.#completionEvent,
      devices,
      this.#deviceTlbs,
      this.#lateOnes(),
    )
    this.#translator = new Translator(memory, caps, this.#config, this.#caches, this.#faults)
    const { permissions } = this.#caches
    if (permissions !== null) this.#translator.permissions = new HostPermissions(memory, caps, permissions)
    this.#protectedMemory = new ProtectedMemory(this.#words, caps)
    if (caps.cap.PLMR !== 0 || caps.cap.PHMR !== 0) this.#translator.protectedMemory = this.#protectedMemory
    this.pageRequests = new PageRequestQueue(
      this.#words,
      memory,
      caps,
      this.#translator,
      this.#invalidator,
      this.#faults,
      this.#pageEvent,
      devices,
    )
    this.#writes = new RegisterWrites({
      words: this.#words,
      caps,
      config: this.#config,
      faultEvent: this.#faultEvent,
      completionEvent: this.#completionEvent,
      faults: this.#faults,
      invalidator: this.#invalidator,
      queue: this.#queue,
      pageEvent: this.#pageEvent,
      pageRequests: this.pageRequests,
      protectedMemory: this.#protectedMemory,
      translator: this.#translator,
    })
    this.ats = caps.ecap.DT === 0 ? null : this.#atsPort()
    this.#parts = { memory, caps, live: this.#translator, config: this.#config, caches: this.#caches }
    this.reset()
  }

  get counters(): UnitCounters {
    const { translations, hits, misses, faults } = this.#translator.counts
    return { translations, hits, misses, faults, evictions: this.#before.evictions + this.#caches.evictions }
  }

  /** Live IOTLB entries, for statistics and tests. */
  get iotlbEntries(): number {
    return this.#caches.iotlb.cache.countLive()
  }

  get cacheStatistics(): readonly CacheStatistics[] {
    const { hits, misses } = this.#translator.counts
    return this.#caches.statistics({ hits: hits - this.#before.hits, misses: misses - this.#before.misses })
  }

  setCachePolicy(policy: CachePolicy | null, seed = 0): void {
    const { hits, misses, evictions } = this.counters
    this.#before = { hits, misses, evictions }
    this.#caches.replan(planCaches(policy === null ? this.#madeWith : { policy, seed }))
    this.#translator.replan(this.#caches)
    this.#queue.replan(this.#lateOnes())
  }

  #lateOnes(): LateInvalidations | null {
    if (!this.#caches.plan.isLate) return null
    return new LateInvalidations(this.#invalidator, new Invalidator(this.capabilities, this.#config, NO_CACHES))
  }

  get hasWork(): boolean {
    return this.#queue.canRun || this.pageRequests.hasWork
  }

  run(): void {
    this.#queue.run()
    this.#writes.showQueue()
    this.pageRequests.run()
  }

  translate(transaction: Transaction, outcome: Outcome): void {
    if (this.#oracle === null) this.#translator.translate(transaction, outcome)
    else this.#oracle.translate(transaction, outcome)
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

  get oracle(): UnitOracle | null {
    return this.#oracle
  }

  setOracle(options: OracleOptions | null): void {
    this.#oracle = oracleOf(options, this.#parts, this.#queue, this.#invalidator)
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
    if (this.capabilities.ecap.PRS !== 0) this.#pageEvent.reset()
    this.#faults.restart()
    this.#deviceTlbs.reset()
    this.#queue.reset()
    this.pageRequests.reset()
    this.#protectedMemory.reset()
    this.#translator.isEnabled = false
    this.#writes.latchMode(TTM.LEGACY)
    this.#config.rootTable = 0
    this.#invalidator.dropAll()
  }

  readRegister(offset: number, bytes: 4 | 8): readonly [lo: number, hi: number] {
    if (offset % bytes !== 0 || offset < 0 || offset + bytes > this.registerBytes) return [0, 0]
    const lo = (this.#words[offset >>> 2] & this.#readableBits(offset)) >>> 0
    return [lo, bytes === 8 ? this.readRegister(offset + 4, 4)[0] : 0]
  }

  writeRegister(offset: number, bytes: 4 | 8, lo: number, hi: number): void {
    if (offset % bytes !== 0 || offset < 0 || offset + bytes > this.registerBytes) return
    this.#oracle?.wroteRegister(leadsElsewhere(offset))
    // A qword is two dwords, the low one first. [VTD 11.2]
    this.#writes.write(offset, lo | 0)
    if (bytes === 8) this.#writes.write(offset + 4, hi | 0)
  }

  /** A completion that comes while translation is off is an Unsupported Request: nobody hears it. [VTD 4.2.1] */
  #atsPort(): AtsPort {
    return {
      requestPage: (request) => this.pageRequests.requestPage(request),
      completed: (tag, rid) => {
        const isHeard = this.#translator.isEnabled && this.#deviceTlbs.complete(tag, rid)
        if (isHeard) this.#queue.resume()
        this.#writes.showQueue()
        return isHeard
      },
      timedOut: (tag) => {
        const isKnown = this.#deviceTlbs.timeOut(tag, () => this.#queue.abort())
        if (isKnown) this.#queue.resume()
        this.#writes.showQueue()
        return isKnown
      },
    }
  }

  /** Write-only fields read as 0: GCMD and IVA, SID and FM of CCMD. */
  #readableBits(offset: number): number {
    const { ivaOffset } = this.capabilities
    if (offset === REGISTER.CCMD) return 0xffff
    if (offset === REGISTER.CCMD + 4) return ~3
    return offset === REGISTER.GCMD || offset === ivaOffset || offset === ivaOffset + 4 ? 0 : -1
  }
}

/** Registers that say where the tables are, and what DMA may not reach. */
const leadsElsewhere = (offset: number): boolean =>
  offset === REGISTER.GCMD || (offset >= REGISTER.PMEN && offset < REGISTER.PHMLIMIT + 8)

/**
 * One SMMUv3: its registers and the parts behind them. It is driven by registers and memory alone, and by what its
 * devices send.
 */

import type { Memory } from '../memory/memory.js'
import { Oracle } from '../oracle/oracle.js'
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
import { AtsCommands } from './ats-commands.js'
import { type CacheOptions, planCaches } from './cache-options.js'
import { CommandQueue } from './commands.js'
import { Configurations } from './config.js'
import { eventName } from './event-records.js'
import { EventQueue } from './events.js'
import { explain, type Parts, peek } from './explain.js'
import { type Features, featuresOf, type IdRegisters } from './features.js'
import { Interrupts } from './interrupts.js'
import { missing } from './missing.js'
import { SmmuSubject, witnessFor } from './oracle.js'
import { SMMU_DEVICES } from './oracle-devices.js'
import { idRegisters } from './presets.js'
import { PageRequestQueue } from './pri.js'
import { leadsWalks, shownBits } from './register-bits.js'
import { foldOffset, RegisterFile } from './register-file.js'
import { RegisterWrites } from './register-writes.js'
import { GERROR, WINDOW_BYTES } from './registers.js'
import { Stalls } from './stalls.js'
import { Tlb } from './tlb.js'
import { Translator } from './translate.js'

/** How a unit is made. */
export interface SmmuV3Options {
  readonly memory: Memory
  readonly owner: UnitOwner
  /** The devices in front of the unit; absent, none of them has ATS or waits for anything. */
  readonly devices?: DevicePort
  /** ID registers; see `idRegisters` for presets and overrides. */
  readonly id?: IdRegisters
  /** What the unit keeps of configuration and translations; absent, what real parts do. */
  readonly caches?: CacheOptions
  /** Stalls that repeat a recorded one are not recorded. [SMMU 3.12.2.1 Suppression of duplicate Stall event records] */
  readonly suppressesStalls?: boolean
  /** Records that repeat the one before them are left out where STE.MEV allows it. [SMMU 7.3.1 Event record merging] */
  readonly mergesEvents?: boolean
}

/** An SMMUv3. */
export class SmmuV3 implements RemappingUnit {
  readonly kind = 'smmuv3'
  /** There with IDR0.ATS. */
  readonly ats: AtsPort | null
  readonly registerBytes = WINDOW_BYTES
  readonly features: Features
  readonly id: IdRegisters
  readonly events: EventQueue
  readonly pageRequests: PageRequestQueue
  readonly stalls: Stalls
  readonly commands: CommandQueue
  readonly tlb: Tlb
  readonly configs: Configurations

  readonly #registers: RegisterFile
  readonly #writes: RegisterWrites
  readonly #translator: Translator
  readonly #atsCommands: AtsCommands
  readonly #parts: Parts
  readonly #interrupts: Interrupts
  readonly #madeWith: CacheOptions
  #oracle: Oracle | null = null
  /** Of caches that others have replaced. */
  #evictedBefore = 0

  constructor(options: SmmuV3Options) {
    const { memory, owner, id = idRegisters() } = options
    const { devices = NO_DEVICES, suppressesStalls = false, mergesEvents = false } = options
    this.id = id
    this.features = featuresOf(id)
    this.#registers = new RegisterFile(id)
    const interrupts = new Interrupts(memory, this.#registers, this.features, owner)
    this.#interrupts = interrupts
    this.#madeWith = options.caches ?? {}
    const plan = planCaches(options.caches)
    this.tlb = new Tlb(plan)
    this.configs = new Configurations(memory, this.#registers, this.features, plan)
    this.events = new EventQueue(memory, this.#registers, this.features, interrupts, mergesEvents)
    this.stalls = new Stalls(this.features, this.events, devices, suppressesStalls)
    const { features, configs, stalls } = this
    const registers = this.#registers
    const ats = new AtsCommands(registers, features, devices)
    this.#atsCommands = ats
    this.pageRequests = new PageRequestQueue(memory, registers, features, configs, interrupts, devices, stalls)
    this.commands = new CommandQueue(memory, registers, features, configs, this.tlb, interrupts, stalls, ats)
    this.ats = features.ats ? this.#atsPort() : null
    this.#translator = new Translator(memory, this.#registers, features, configs, this.tlb, stalls)
    this.commands.isLate = plan.isLate
    stalls.pipeline = this.#translator
    this.#writes = new RegisterWrites(this.#registers, features, this.commands, stalls)
    this.#parts = { memory, registers: this.#registers, features, configs, tlb: this.tlb }
  }

  readRegister(offset: number, bytes: 4 | 8): readonly [lo: number, hi: number] {
    return [this.#read(offset), bytes === 8 ? this.#read(offset + 4) : 0]
  }

  writeRegister(offset: number, bytes: 4 | 8, lo: number, hi: number): void {
    this.#oracle?.wroteRegister(leadsWalks(offset))
    this.#writes.write(offset, lo | 0)
    if (bytes === 8) this.#writes.write(offset + 4, hi | 0)
    this.stalls.serve()
  }

  get hasWork(): boolean {
    return this.commands.canConsume || this.stalls.hasWork
  }

  run(): void {
    this.commands.consume()
    this.stalls.serve()
  }

  translate(transaction: Transaction, outcome: Outcome): void {
    if (this.#oracle !== null) this.#oracle.translate(transaction, outcome)
    else this.#translator.translate(transaction, outcome)
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
    const { memory } = this.#parts
    const translator = this.#translator
    this.#oracle =
      options === null ? null : new Oracle(options, memory, new SmmuSubject(this.#parts, translator), SMMU_DEVICES)
    // Who arrives again is judged as the first time.
    this.stalls.pipeline = this.#oracle ?? translator
    this.commands.witness = this.#oracle === null ? null : witnessFor(this.#oracle, this.features)
  }

  faultName(fault: number): string {
    return eventName(fault)
  }

  get counters(): UnitCounters {
    this.#translator.settle()
    const { translations, hits, misses } = this.#translator
    const { faults } = this.#translator.verdicts
    const evictions = this.#evictedBefore + this.tlb.evictions + this.configs.evictions
    return { translations, hits, misses, faults, evictions }
  }

  get cacheStatistics(): readonly CacheStatistics[] {
    this.#translator.settle()
    return [...this.configs.statistics, ...this.tlb.statistics]
  }

  setCachePolicy(policy: CachePolicy | null, seed = 0): void {
    const plan = planCaches(policy === null ? this.#madeWith : { policy, seed })
    this.#evictedBefore += this.tlb.evictions + this.configs.evictions
    this.#translator.settle()
    this.configs.replan(plan)
    this.tlb.replan(plan)
    this.commands.settle()
    this.commands.isLate = plan.isLate
    this.#translator.replan()
  }

  /**
   * The unit finds that it cannot trust itself: transactions end, queues stand still, and software is told. No register
   * starts this, and only a reset ends it. [SMMU 12.3 Service Failure Mode (SFM)]
   */
  fail(): void {
    this.#registers.hasFailed = true
    this.#registers.enabled = false
    this.stalls.endAll()
    this.stalls.serve()
    this.#interrupts.raiseError(GERROR.SFM_ERR)
  }

  reset(): void {
    this.#registers.reset()
    this.configs.dropAll()
    this.tlb.dropAll()
    this.stalls.reset()
    this.#atsCommands.reset()
    this.commands.reset()
    this.#oracle?.wroteRegister(true)
  }

  /** An answer to an invalidation may let the command queue go on. */
  #atsPort(): AtsPort {
    const goOn = (isKnown: boolean): boolean => {
      if (isKnown) {
        this.commands.resume()
        this.stalls.serve()
      }
      return isKnown
    }
    return {
      requestPage: (request) => this.pageRequests.requestPage(request),
      completed: (tag) => goOn(this.#atsCommands.complete(tag)),
      timedOut: (tag) => goOn(this.#atsCommands.timeOut(tag)),
    }
  }

  #read(offset: number): number {
    const at = foldOffset(offset)
    return at < 0 ? 0 : (this.#registers.get(at) & shownBits(this.#registers, this.features, at)) >>> 0
  }
}

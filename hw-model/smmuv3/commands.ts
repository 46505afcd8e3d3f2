/** Consumes the command queue. Every effect has happened when its command is consumed. [SMMU 4 Commands] */

import { MEMORY, type Memory } from '../memory/memory.js'
import { QUEUE_RUN } from '../port.js'
import type { AtsCommands } from './ats-commands.js'
import {
  CMD_CFGI_CD,
  CMD_CFGI_STE,
  CMD_CFGI_STE_RANGE,
  CMD_RESUME,
  CMD_STALL_TERM,
  CMD_SYNC,
  COMMAND,
  OPCODE,
  RANGE_ALL,
  SYNC_CS,
} from './command-records.js'
import { isIllegal } from './command-rules.js'
import type { Configurations } from './config.js'
import type { Features } from './features.js'
import type { Interrupts } from './interrupts.js'
import { QueueShape } from './queue.js'
import type { RegisterFile } from './register-file.js'
import { CERROR, CMDQ_CONS, CR0, GERROR, OFFSET } from './registers.js'
import { RESUME, type Stalls } from './stalls.js'
import type { Tlb } from './tlb.js'
import { TlbCommands } from './tlb-commands.js'

const { Opcode } = COMMAND
const WORDS = COMMAND.$.words
const PROD = OFFSET.CMDQ_PROD >>> 2
const CONS = OFFSET.CMDQ_CONS >>> 2

/** Opcodes of commands that drop cached configuration. */
const CONFIGURATION: ReadonlySet<number> = new Set([
  OPCODE.CFGI_STE,
  OPCODE.CFGI_STE_RANGE,
  OPCODE.CFGI_CD,
  OPCODE.CFGI_CD_ALL,
])

/** Commands held back at once; when they are more, all take effect. */
const HELD_BACK = 1024

/** Sees what the queue consumes. */
export interface CommandWitness {
  /** A command that invalidates was consumed. */
  invalidates(opcode: number, command: Int32Array): void
  /** A SYNC was consumed, and all before it has taken effect. */
  synced(): void
}

/** The command queue and what its commands do. */
export class CommandQueue {
  /** Commands consumed. */
  consumed = 0
  /** Is told of invalidations. */
  witness: CommandWitness | null = null
  /**
   * Configuration and translations are dropped as late as the manual lets them be, at the next SYNC: software that goes
   * on without one meets what it has invalidated. [SMMU 4.7.3 CMD_SYNC]
   */
  isLate = false

  readonly #memory: Memory
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #configs: Configurations
  readonly #tlb: Tlb
  readonly #tlbCommands: TlbCommands
  readonly #interrupts: Interrupts
  readonly #stalls: Stalls
  readonly #ats: AtsCommands
  readonly #shape: QueueShape
  readonly #command = new Int32Array(WORDS)
  /** Consumed, and without effect yet, in order. */
  readonly #heldBack: Int32Array[] = []
  #isConsuming = false
  /** The next command waits for devices to answer invalidations. */
  #isHeld = false

  constructor(
    memory: Memory,
    registers: RegisterFile,
    features: Features,
    configs: Configurations,
    tlb: Tlb,
    interrupts: Interrupts,
    stalls: Stalls,
    ats: AtsCommands,
  ) {
    this.#memory = memory
    this.#registers = registers
    this.#features = features
    this.#configs = configs
    this.#tlb = tlb
    this.#tlbCommands = new TlbCommands(registers, features, tlb)
    this.#interrupts = interrupts
    this.#stalls = stalls
    this.#ats = ats
    this.#shape = new QueueShape(registers, OFFSET.CMDQ_BASE, COMMAND.$.bytes, features.commandQueueLg2)
  }

  /**
   * Consumes QUEUE_RUN commands, or until the queue is empty, disabled or in error. A write from inside an interrupt
   * does not nest; an error that is acknowledged there does not end the run.
   */
  consume(): void {
    if (this.#isConsuming) return
    this.#isConsuming = true
    try {
      for (let left = QUEUE_RUN; left > 0 && this.canConsume; left--) this.#one()
    } finally {
      this.#isConsuming = false
    }
  }

  /** Looks again at a command that waits, and goes on: something was answered, or the queue was switched. */
  resume(): void {
    this.#isHeld = false
    this.consume()
  }

  /** There is a command, and nothing keeps the queue from taking it. */
  get canConsume(): boolean {
    const { words } = this.#registers
    if (this.#isHeld || this.#registers.hasFailed) return false
    if (!this.#registers.isOn(CR0.CMDQEN) || this.#registers.isActive(GERROR.CMDQ_ERR)) return false
    const held = this.#shape.held(words[PROD], words[CONS])
    // An index pair that no sequence of steps reaches leaves the queue idle.
    return held !== 0 && held <= 2 ** this.#shape.sizeLg2
  }

  /** One command. On an error CONS stays at it, and the queue stops until the error is acknowledged. [SMMU 7.1] */
  #one(): void {
    const { words } = this.#registers
    const cons = CMDQ_CONS.RD.get(words, CONS)
    const at = this.#shape.slotAddress(cons)
    if (this.#memory.loadRecord(at, this.#command, 0, WORDS) !== MEMORY.OK) {
      this.#stop(CERROR.ABT)
      return
    }
    const opcode = Opcode.get(this.#command, 0)
    if (isIllegal(this.#command, this.#features)) {
      this.#stop(CERROR.ILL)
      return
    }
    if (this.#mustWait(opcode)) {
      this.#isHeld = true
      return
    }
    if (opcode === OPCODE.SYNC && this.#ats.takeTimeout()) {
      this.#stop(CERROR.ATC_INV_SYNC)
      return
    }
    // A SYNC's interrupt may be seen only when CONS covers it.
    CMDQ_CONS.RD.set(words, CONS, this.#shape.next(cons))
    this.consumed++
    if (opcode === OPCODE.SYNC) this.#sync()
    else this.#execute(opcode)
  }

  /** A SYNC stays where it is until every invalidation before it is answered. [SMMU 4.7.3 CMD_SYNC] */
  #mustWait(opcode: number): boolean {
    if (opcode === OPCODE.SYNC) return this.#ats.isOutstanding
    return opcode === OPCODE.ATC_INV && this.#ats.isFull
  }

  #stop(error: number): void {
    CMDQ_CONS.ERR.set(this.#registers.words, CONS, error)
    this.#interrupts.raiseError(GERROR.CMDQ_ERR)
  }

  /** Back to power-on. */
  reset(): void {
    this.#heldBack.length = 0
    this.resume()
  }

  /** What was held back takes effect. */
  settle(): void {
    for (const command of this.#heldBack) this.#invalidate(Opcode.get(command, 0), command)
    this.#heldBack.length = 0
  }

  /** Everything before it is complete, and then only the signal is left. [SMMU 4.7.3 CMD_SYNC] */
  #sync(): void {
    const command = this.#command
    this.settle()
    this.witness?.synced()
    if (CMD_SYNC.CS.get(command, 0) !== SYNC_CS.IRQ) return
    this.#interrupts.sync(CMD_SYNC.MSIAddress.get(command, 0), CMD_SYNC.MSIData.get(command, 0))
  }

  #execute(opcode: number): void {
    const command = this.#command
    switch (opcode) {
      case OPCODE.RESUME:
        this.#stalls.resume(CMD_RESUME.SID.get(command, 0), CMD_RESUME.STAG.get(command, 0), this.#resumption())
        return
      case OPCODE.STALL_TERM:
        this.#stalls.endStream(CMD_STALL_TERM.SID.get(command, 0))
        return
      case OPCODE.ATC_INV:
      case OPCODE.PRI_RESP:
        if (opcode === OPCODE.ATC_INV) this.witness?.invalidates(opcode, command)
        this.#ats.execute(opcode, command)
        return
      case OPCODE.PREFETCH_CONFIG:
      case OPCODE.PREFETCH_ADDR:
        // Hints that may be ignored.
        return
      default:
        this.witness?.invalidates(opcode, command)
        if (!this.isLate) {
          this.#invalidate(opcode, command)
          return
        }
        if (this.#heldBack.length === HELD_BACK) this.settle()
        this.#heldBack.push(command.slice())
        return
    }
  }

  /** Drops what a command says from the caches. */
  #invalidate(opcode: number, command: Int32Array): void {
    const configs = this.#configs
    // What was made from configuration may go with it. [SMMU 4.3.8 Configuration structure invalidation semantics/rules]
    if (this.#tlb.isWide && CONFIGURATION.has(opcode)) {
      configs.dropAll()
      this.#tlb.dropAll()
      return
    }
    switch (opcode) {
      case OPCODE.CFGI_STE:
        configs.dropStream(CMD_CFGI_STE.SID.get(command, 0), CMD_CFGI_STE.Leaf.get(command, 0) === 1)
        return
      case OPCODE.CFGI_STE_RANGE: {
        const range = CMD_CFGI_STE_RANGE.Range.get(command, 0)
        if (range === RANGE_ALL) {
          configs.dropAll()
          return
        }
        configs.dropStreams(CMD_CFGI_STE_RANGE.SID.get(command, 0), range + 1)
        return
      }
      case OPCODE.CFGI_CD: {
        const { SID, SSID, Leaf } = CMD_CFGI_CD
        configs.dropContext(SID.get(command, 0), SSID.get(command, 0), Leaf.get(command, 0) === 1)
        return
      }
      case OPCODE.CFGI_CD_ALL:
        configs.dropContexts(CMD_CFGI_CD.SID.get(command, 0))
        return
      default:
        this.#tlbCommands.execute(opcode, command)
        return
    }
  }

  /** Ac retries, and then Ab is ignored; Ab aborts, as does a unit that knows no other end. [SMMU 4.7.1 CMD_RESUME] */
  #resumption(): number {
    if (CMD_RESUME.Ac.get(this.#command, 0) === 1) return RESUME.RETRY
    return CMD_RESUME.Ab.get(this.#command, 0) === 1 || this.#features.abortOnly ? RESUME.ABORT : RESUME.RAZ_WI
  }
}

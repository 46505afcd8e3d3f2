/** Consumes the command queue. Every effect has happened when its command is consumed. [SMMU 4 Commands] */

import type { Page } from '../bits/address.js'
import { MEMORY, type Memory } from '../memory/memory.js'
import { QUEUE_RUN } from '../port.js'
import {
  CMD_CFGI_CD,
  CMD_CFGI_STE,
  CMD_CFGI_STE_RANGE,
  CMD_SYNC,
  CMD_TLBI_NH_VA,
  CMD_TLBI_S2_IPA,
  COMMAND,
  OPCODE,
  RANGE_ALL,
  SYNC_CS,
} from './command-records.js'
import type { Configurations } from './config.js'
import type { Features } from './features.js'
import type { Interrupts } from './interrupts.js'
import { QueueShape } from './queue.js'
import type { RegisterFile } from './register-file.js'
import { CERROR, CMDQ_CONS, CR0, GERROR, OFFSET } from './registers.js'
import { type AddressScope, TLB_FLAGS, type Tlb } from './tlb.js'

const { Opcode, SSec } = COMMAND
const { NUM, SCALE, TTL, TG, VMID, ASID, Address } = CMD_TLBI_NH_VA
const WORDS = COMMAND.$.words
const PROD = OFFSET.CMDQ_PROD >>> 2
const CONS = OFFSET.CMDQ_CONS >>> 2
const LAST_PAGE = 2 ** 52 - 1

/** The command queue and what its commands do. */
export class CommandQueue {
  /** Commands consumed. */
  consumed = 0

  readonly #memory: Memory
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #configs: Configurations
  readonly #tlb: Tlb
  readonly #interrupts: Interrupts
  readonly #shape: QueueShape
  readonly #command = new Int32Array(WORDS)
  #isConsuming = false

  constructor(
    memory: Memory,
    registers: RegisterFile,
    features: Features,
    configs: Configurations,
    tlb: Tlb,
    interrupts: Interrupts,
  ) {
    this.#memory = memory
    this.#registers = registers
    this.#features = features
    this.#configs = configs
    this.#tlb = tlb
    this.#interrupts = interrupts
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

  /** There is a command, and nothing keeps the queue from taking it. */
  get canConsume(): boolean {
    const { words } = this.#registers
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
    // A SYNC's interrupt may be seen only when CONS covers it.
    CMDQ_CONS.RD.set(words, CONS, this.#shape.next(cons))
    this.consumed++
    if (opcode === OPCODE.SYNC) this.#sync()
    else this.#execute(opcode)
  }

  #stop(error: number): void {
    CMDQ_CONS.ERR.set(this.#registers.words, CONS, error)
    this.#interrupts.raiseError(GERROR.CMDQ_ERR)
  }

  /** Everything before it is complete already, so only the signal is left. [SMMU 4.7.3 CMD_SYNC] */
  #sync(): void {
    const command = this.#command
    if (CMD_SYNC.CS.get(command, 0) !== SYNC_CS.IRQ) return
    this.#interrupts.sync(CMD_SYNC.MSIAddress.get(command, 0), CMD_SYNC.MSIData.get(command, 0))
  }

  #execute(opcode: number): void {
    const command = this.#command
    const configs = this.#configs
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
        // PREFETCH_* are hints that may be ignored.
        this.#invalidateTlb(opcode)
        return
    }
  }

  #invalidateTlb(opcode: number): void {
    const command = this.#command
    const tlb = this.#tlb
    // Without stage 2 there are no VMIDs, and the field is reserved. [SMMU 4.4 TLB invalidation]
    const vmid = this.#features.stage2 ? VMID.get(command, 0) : 0
    switch (opcode) {
      case OPCODE.TLBI_NH_ALL:
        tlb.dropVmidStageOne(vmid)
        return
      case OPCODE.TLBI_NH_ASID:
        tlb.dropAsid(vmid, ASID.get(command, 0))
        return
      case OPCODE.TLBI_NH_VA:
        tlb.dropVa(vmid, ASID.get(command, 0), this.#scope(Address.get(command, 0)))
        return
      case OPCODE.TLBI_NH_VAA:
        tlb.dropVaa(vmid, this.#scope(Address.get(command, 0)))
        return
      case OPCODE.TLBI_S2_IPA:
        tlb.dropIpa(vmid, this.#scope(CMD_TLBI_S2_IPA.Address.get(command, 0)))
        return
      case OPCODE.TLBI_S12_VMALL:
        tlb.dropVmid(vmid)
        return
      case OPCODE.TLBI_NSNH_ALL:
        tlb.dropAll()
        return
    }
  }

  /** The pages a command by address means, and the granule and level it narrows them to. [SMMU 4.4.1.1 Range-based] */
  #scope(address: number): AddressScope {
    const command = this.#command
    const page = address / 4096
    const tg = this.#features.ril ? TG.get(command, 0) : 0
    if (tg === 0) return { first: page as Page, last: page as Page, mask: 0, want: 0 }
    const granuleLg2 = 10 + 2 * tg
    // A 16 KiB granule has no level 1 leaves: TTL = 1 counts as none.
    const ttl = tg === 2 && TTL.get(command, 0) === 1 ? 0 : TTL.get(command, 0)
    // An address that is not aligned to what it names is aligned down.
    const unitLg2 = granuleLg2 - 12 + (ttl === 0 ? 0 : (granuleLg2 - 3) * (3 - ttl))
    const first = page - (page % 2 ** unitLg2)
    const pages = (NUM.get(command, 0) + 1) * 2 ** (SCALE.get(command, 0) + granuleLg2 - 12)
    const last = Math.min(first + pages - 1, LAST_PAGE)
    const ttlMask = ttl === 0 ? 0 : TLB_FLAGS.TTL_MASK
    return {
      first: first as Page,
      last: last as Page,
      mask: TLB_FLAGS.TG_MASK | ttlMask,
      want: (tg << TLB_FLAGS.TG_SHIFT) | (ttl << TLB_FLAGS.TTL_SHIFT),
    }
  }
}

/** Opcodes of commands by address, which may carry a range. */
const BY_ADDRESS: ReadonlySet<number> = new Set([OPCODE.TLBI_NH_VA, OPCODE.TLBI_NH_VAA, OPCODE.TLBI_S2_IPA])

/** Opcodes of commands that name a stream, and so have SSec; in others the bit is reserved, and ignored. */
const BY_STREAM: ReadonlySet<number> = new Set([
  OPCODE.PREFETCH_CONFIG,
  OPCODE.PREFETCH_ADDR,
  OPCODE.CFGI_STE,
  OPCODE.CFGI_STE_RANGE,
  OPCODE.CFGI_CD,
  OPCODE.CFGI_CD_ALL,
])

/** Whether the queue answers a command with CERROR_ILL. [SMMU 4.1.3 Command opcodes] */
export function isIllegal(command: Int32Array, features: Features): boolean {
  const opcode = Opcode.get(command, 0)
  // Secure streams are not this queue's. [SMMU 4.1.6 Common command fields]
  if (BY_STREAM.has(opcode) && SSec.get(command, 0) === 1) return true
  switch (opcode) {
    case OPCODE.PREFETCH_CONFIG:
    case OPCODE.PREFETCH_ADDR:
    case OPCODE.CFGI_STE:
    case OPCODE.CFGI_STE_RANGE:
    case OPCODE.TLBI_NSNH_ALL:
      return false
    case OPCODE.CFGI_CD:
    case OPCODE.CFGI_CD_ALL:
    case OPCODE.TLBI_NH_ALL:
    case OPCODE.TLBI_NH_ASID:
      return !features.stage1
    case OPCODE.TLBI_NH_VA:
    case OPCODE.TLBI_NH_VAA:
      return !features.stage1 || isReservedRange(command, features)
    case OPCODE.TLBI_S12_VMALL:
      return !features.stage2
    case OPCODE.TLBI_S2_IPA:
      return !features.stage2 || isReservedRange(command, features)
    case OPCODE.SYNC:
      return CMD_SYNC.CS.get(command, 0) === SYNC_CS.RESERVED
    default:
      // No ATS, PRI, stalls, EL2 or Secure StreamWorlds; and what has no meaning at all.
      return true
  }
}

/** The one range code that says nothing: a granule, and no NUM, SCALE or TTL. [SMMU 4.4.1.1 Range-based] */
function isReservedRange(command: Int32Array, features: Features): boolean {
  if (!features.ril || !BY_ADDRESS.has(Opcode.get(command, 0))) return false
  const tg = TG.get(command, 0)
  if (tg === 0 || NUM.get(command, 0) !== 0 || SCALE.get(command, 0) !== 0) return false
  const ttl = TTL.get(command, 0)
  return ttl === 0 || (tg === 2 && ttl === 1)
}

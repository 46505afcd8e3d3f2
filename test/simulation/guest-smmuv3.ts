/** A random SMMUv3 guest at work: DMA, edits with the invalidations that the manual asks for, and the judge. */

import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { ACCESS, NO_PASID, Outcome, Transaction } from '../../hw-model/port.js'
import { SmmuV3 } from '../../hw-model/smmuv3/index.js'
import { buildStream, type GuestContext, type GuestStream, slotsOf } from './guest-smmuv3-build.js'
import { describe, judge } from './judge-smmuv3.js'
import { Overlay, Ram } from './ram.js'
import { type SmmuAccess, type SmmuFeatures, type SmmuRegisters, translate } from './reference/smmuv3.js'
import type { Rng } from './rng.js'
import { Disagreement, hex, type StepOptions, type StepReport } from './step.js'

/** The default unit, as its ID registers say. [SMMU 6.3 Register formats] */
const FEATURES: SmmuFeatures = {
  stage1: true,
  stage2: true,
  sidSize: 16,
  ssidSize: 20,
  cd2l: true,
  oasBits: 48,
  granules: [12, 14, 16],
  abortOnly: false,
  overrides: true,
  had: true,
  xnx: true,
}

const RAM_BASE = 0x4000_0000n
const RAM_BYTES = 0x4000_0000n
/** So far from the tables that no single wrong bit of a pointer makes a queue one. */
const QUEUE_BASE = 0x7000_0000n
const COMMANDS_LG2 = 5
const EVENTS_LG2 = 4
const ACCESSES = 60

const REG = { CR0: 0x20, CR2: 0x2c, STRTAB_BASE: 0x80, CFG: 0x88, CMDQ_BASE: 0x90, CMDQ_PROD: 0x98, CMDQ_CONS: 0x9c }
const EVENTQ = { BASE: 0xa0, PROD: 0x100a8, CONS: 0x100ac }

/** Bits of an STE that a guest may get wrong by itself: not the VMID, and no hints that bind several entries. */
const STE_FLIPS: readonly (readonly [word: number, bits: readonly number[]])[] = [
  [0, [0, 1, 2, 3, 4, 5, 13, 20, 32, 59, 60, 63]],
  [1, [0, 1, 25, 27, 48, 49, 50, 51]],
  [2, [32, 33, 36, 37, 38, 39, 46, 47, 48, 50, 51, 52, 53, 54, 55, 56, 57, 58]],
  [3, [13, 20, 40, 48, 50]],
]

/** Bits of a CD, without ASID and ASET. */
const CD_FLIPS: readonly (readonly [word: number, bits: readonly number[]])[] = [
  [0, [0, 1, 4, 5, 6, 7, 14, 15, 16, 21, 22, 23, 30, 31, 32, 33, 34, 35, 36, 38, 39, 40, 41, 42, 43, 44, 45, 46]],
  [1, [1, 13, 20, 40, 48, 50]],
  [2, [1, 13, 20, 40, 48, 50]],
]

/** Bits of a descriptor, without nG, nT, DBM and Contiguous, which bind several entries. */
const DESCRIPTOR_FLIPS = [0, 1, 5, 6, 7, 10, 12, 13, 16, 21, 30, 33, 40, 41, 44, 46, 48, 50, 53, 54, 59, 60, 61, 62]

/** Plays one machine. */
export function stepSmmuv3(rng: Rng, options: StepOptions): StepReport {
  return new Machine(rng, options).play()
}

class Machine {
  readonly #rng: Rng
  readonly #memory = new Memory()
  readonly #ram: Ram
  readonly #unit: SmmuV3
  readonly #registers: SmmuRegisters
  readonly #streams: GuestStream[] = []
  readonly #l1: bigint[] = []
  readonly #commands: bigint
  readonly #events: bigint
  readonly #transaction = new Transaction()
  readonly #outcome = new Outcome()
  readonly #recent: SmmuAccess[] = []
  /** The access to be made next, after an edit of what it passed. */
  #again: SmmuAccess | undefined
  #produced = 0
  #consumed = 0
  #commandCount = 0
  #translated = 0
  #blocked = 0

  constructor(rng: Rng, { cached }: StepOptions) {
    this.#rng = rng
    this.#memory.place(Number(RAM_BASE), new SparseBacking(Number(RAM_BYTES)))
    this.#ram = new Ram(this.#memory, RAM_BASE, QUEUE_BASE)
    const queues = new Ram(this.#memory, QUEUE_BASE, RAM_BASE + RAM_BYTES)
    const tlb = { entries: cached ? rng.pick([16, 64, 1024]) : 0, ways: rng.pick([1, 4]) }
    const owner = { message: (): void => {}, interrupt: (): void => {} }
    this.#unit = new SmmuV3({ memory: this.#memory, owner, tlb, configEntries: cached ? rng.pick([2, 4096]) : 0 })
    this.#commands = queues.allocate(16n << BigInt(COMMANDS_LG2), 4096n)
    this.#events = queues.allocate(32n << BigInt(EVENTS_LG2), 4096n)
    this.#registers = this.#buildStreams()
    this.#program()
  }

  play(): StepReport {
    let disagreement: string | undefined
    let accesses = 0
    try {
      if (this.#rng.chance(0.3)) for (let i = this.#rng.int(3); i >= 0; i--) this.#edit()
      for (; accesses < ACCESSES; accesses++) {
        if (this.#rng.chance(0.08)) this.#edit()
        this.#access(accesses)
      }
    } catch (error) {
      if (!(error instanceof Disagreement)) throw error
      disagreement = error.message
    }
    return {
      accesses,
      translated: this.#translated,
      blocked: this.#blocked,
      hits: this.#unit.counters.hits,
      commands: this.#commandCount,
      disagreement,
    }
  }

  #buildStreams(): SmmuRegisters {
    const rng = this.#rng
    const twoLevel = rng.chance(0.5)
    const log2 = rng.pick([4, 7, 10])
    const split = rng.pick([6, 8, 10])
    const sids = [...new Set([0, 2 ** log2 - 1, rng.int(2 ** log2), rng.int(2 ** log2)])]
    let base: bigint
    if (twoLevel) {
      const bytes = 8n << BigInt(Math.max(0, log2 - split))
      base = this.#ram.allocate(bytes < 64n ? 64n : bytes)
    } else base = this.#ram.allocate(64n << BigInt(log2))
    for (const [i, sid] of sids.entries()) {
      const ste = twoLevel ? this.#leafSte(base, sid, split) : base + BigInt(sid) * 64n
      this.#streams.push(buildStream(rng, this.#ram, sid, i + 1, ste))
    }
    const recordInvalidSid = rng.chance(0.7)
    return { strtabBase: base, strtabLog2Size: log2, strtabSplit: split, twoLevel, recordInvalidSid }
  }

  /** The place of a stream's STE in a two-level table, whose leaf is made on the way. */
  #leafSte(base: bigint, sid: number, split: number): bigint {
    const at = base + BigInt(sid >>> split) * 8n
    if (this.#ram.read(at) === 0n) {
      this.#l1.push(at)
      this.#ram.write(at, this.#ram.allocate(64n << BigInt(split)) | BigInt(split + 1))
    }
    return (this.#ram.read(at) & ~0x3fn) + BigInt(sid & (2 ** split - 1)) * 64n
  }

  #program(): void {
    const { strtabBase, strtabLog2Size, strtabSplit, twoLevel, recordInvalidSid } = this.#registers
    this.#write(REG.CR2, recordInvalidSid ? 6n : 4n)
    this.#write(REG.STRTAB_BASE, strtabBase, 8)
    this.#write(REG.CFG, BigInt(strtabLog2Size) | (BigInt(strtabSplit) << 6n) | (BigInt(twoLevel) << 16n))
    this.#write(REG.CMDQ_BASE, this.#commands | BigInt(COMMANDS_LG2), 8)
    this.#write(REG.CMDQ_PROD, 0n)
    this.#write(REG.CMDQ_CONS, 0n)
    this.#write(EVENTQ.BASE, this.#events | BigInt(EVENTS_LG2), 8)
    this.#write(EVENTQ.PROD, 0n)
    this.#write(EVENTQ.CONS, 0n)
    this.#write(REG.CR0, 0b1100n)
    this.#command(0x04n, 31n)
    this.#command(0x30n, 0n)
    this.#sync()
    this.#write(REG.CR0, 0b1101n)
  }

  #write(offset: number, value: bigint, bytes: 4 | 8 = 4): void {
    this.#unit.writeRegister(offset, bytes, Number(value & 0xffffffffn), Number(value >> 32n))
  }

  /** Puts one command into the queue. */
  #command(low: bigint, high: bigint): void {
    const slot = this.#commands + BigInt(this.#produced % 2 ** COMMANDS_LG2) * 16n
    this.#ram.write(slot, low)
    this.#ram.write(slot + 8n, high)
    this.#produced = (this.#produced + 1) % 2 ** (COMMANDS_LG2 + 1)
    this.#commandCount++
    this.#write(REG.CMDQ_PROD, BigInt(this.#produced))
    const [consumed] = this.#unit.readRegister(REG.CMDQ_CONS, 4)
    if (consumed !== this.#produced) {
      throw new Disagreement(
        `command ${hex(low)} ${hex(high)}: CMDQ_CONS is ${hex(consumed)}, not ${hex(this.#produced)}`,
      )
    }
  }

  #sync(): void {
    this.#command(this.#rng.pick([0x46n, 0x2046n]), 0n)
  }

  #access(number: number, access = this.#nextAccess()): void {
    const expected = translate(new Overlay(this.#memory), FEATURES, this.#registers, access)
    const { address } = access
    Object.assign(this.#transaction, {
      rid: access.sid,
      pasid: access.ssid ?? NO_PASID,
      lo: Number(BigInt.asIntN(32, address)),
      hi: Number(BigInt.asIntN(32, address >> 32n)),
      access:
        (access.write ? ACCESS.WRITE : ACCESS.READ) |
        (access.fetch ? ACCESS.EXECUTE : 0) |
        (access.privileged ? ACCESS.PRIVILEGED : 0),
    })
    this.#unit.translate(this.#transaction, this.#outcome)
    if (expected.ok) this.#translated++
    else this.#blocked++
    const wrong = judge(expected, this.#outcome, this.#takeEvents())
    if (wrong !== undefined) {
      const stream = this.#streams.find(({ sid }) => sid === access.sid)
      const ste = stream === undefined ? [] : [0n, 8n, 16n, 24n].map((i) => hex(this.#ram.read(stream.ste + i)))
      const what = `sid ${access.sid} ssid ${access.ssid ?? 'none'} ${hex(address)} ${describe(access)}`
      throw new Disagreement(`access ${number} (${what}): ${wrong}\n    STE ${ste.join(' ')}`)
    }
  }

  /** The records that the unit wrote since the last look; they are consumed. */
  #takeEvents(): bigint[][] {
    const events: bigint[][] = []
    const [produced] = this.#unit.readRegister(EVENTQ.PROD, 4)
    while (this.#consumed !== produced && events.length < 2 ** EVENTS_LG2) {
      const at = this.#events + BigInt(this.#consumed % 2 ** EVENTS_LG2) * 32n
      events.push([0n, 8n, 16n, 24n].map((i) => this.#ram.read(at + i)))
      this.#consumed = (this.#consumed + 1) % 2 ** (EVENTS_LG2 + 1)
    }
    this.#write(EVENTQ.CONS, BigInt(this.#consumed))
    return events
  }

  /** Often the same page again, perhaps in another way: what a cache is for. */
  #nextAccess(): SmmuAccess {
    const rng = this.#rng
    const next = this.#again
    this.#again = undefined
    if (next !== undefined) return { ...next, address: next.address ^ rng.bits(12) }
    if (this.#recent.length > 0 && rng.chance(0.5)) {
      const again = rng.pick(this.#recent)
      const write = rng.chance(0.4)
      const address = again.address ^ rng.bits(12)
      if (rng.chance(0.7)) return { ...again, address }
      return { ...again, address, write, fetch: !write && rng.chance(0.2), privileged: rng.chance(0.25) }
    }
    const access = this.#randomAccess()
    this.#recent.push(access)
    if (this.#recent.length > 8) this.#recent.shift()
    return access
  }

  #randomAccess(): SmmuAccess {
    const rng = this.#rng
    const stream = rng.pick(this.#streams)
    const sid = rng.chance(0.03) ? rng.int(2 ** 16) : stream.sid
    const context = stream.contexts.length > 0 ? rng.pick(stream.contexts) : undefined
    const ssid = rng.chance(context === undefined || stream.cdMax === 0 ? 0.95 : 0.35)
      ? undefined
      : (context?.ssid ?? 0)
    const write = rng.chance(0.4)
    return {
      sid,
      ssid: ssid !== undefined && rng.chance(0.04) ? rng.int(2 ** 20) : ssid,
      address: this.#randomAddress(
        stream,
        stream.contexts.find((c) => c.ssid === (ssid ?? 0)),
      ),
      write,
      fetch: !write && rng.chance(0.2),
      privileged: rng.chance(0.25),
    }
  }

  #randomAddress(stream: GuestStream, context: GuestContext | undefined): bigint {
    const rng = this.#rng
    if (rng.chance(0.04)) return rng.bits(64)
    if (rng.chance(0.04)) return rng.bits(49)
    const half = context?.halves[1] !== undefined && rng.chance(0.4) ? 1 : 0
    const tables = context?.halves[half] ?? stream.stage2
    const slots = tables?.slots.filter(({ isLeaf }) => isLeaf) ?? []
    if (tables === undefined || slots.length === 0) return rng.bits(36)
    const slot = rng.pick(slots)
    let address = slot.input + rng.bits(slot.lg2)
    if (rng.chance(0.05)) address ^= 1n << BigInt(rng.int(tables.shape.inputBits))
    if (half === 1) address |= ((1n << 64n) - 1n) & ~((1n << BigInt(tables.shape.inputBits)) - 1n)
    if (context !== undefined && rng.chance(0.05)) address ^= rng.bits(8) << 56n
    return address & ((1n << 64n) - 1n)
  }

  /** Changes something in memory and tells the unit what the manual asks to be told. */
  #edit(): void {
    const rng = this.#rng
    if (rng.chance(0.6) && this.#editHot()) {
      this.#sync()
      return
    }
    const stream = rng.pick(this.#streams)
    const kind = rng.int(10)
    if (kind < 2) this.#editSte(stream)
    else if (kind < 4 && stream.contexts.length > 0) this.#editCd(stream, rng.pick(stream.contexts))
    else if (kind === 4 && this.#l1.length > 0) this.#editStreamTable()
    else if (kind === 5 && stream.leaves.length > 0) this.#editCdTable(stream)
    else {
      const slots = slotsOf(stream)
      if (slots.length > 0) this.#editDescriptor(stream, rng.pick(slots))
    }
    this.#sync()
  }

  /** Edits a descriptor that a recent access passed, and lets the same access come again. */
  #editHot(): boolean {
    if (this.#recent.length === 0) return false
    const access = this.#rng.pick(this.#recent)
    const stream = this.#streams.find(({ sid }) => sid === access.sid)
    const context = stream?.contexts.find(({ ssid }) => ssid === (access.ssid ?? 0))
    const half = Number((access.address >> 55n) & 1n)
    const tables = context === undefined ? stream?.stage2 : context.halves[half]
    if (stream === undefined || tables === undefined) return false
    const input = BigInt.asUintN(tables.shape.inputBits, access.address)
    const passed = tables.slots.filter(({ input: first, lg2 }) => first >> BigInt(lg2) === input >> BigInt(lg2))
    if (passed.length === 0) return false
    this.#access(-1, access)
    this.#editDescriptor(stream, { slot: this.#rng.pick(passed), context, half })
    this.#again = access
    return true
  }

  #editSte(stream: GuestStream): void {
    const [word, bits] = this.#rng.pick(STE_FLIPS)
    this.#flip(this.#ram, stream.ste + BigInt(word) * 8n, this.#rng.pick(bits))
    this.#configChanged(stream.sid, true)
    this.#command(0x28n | (BigInt(stream.vmid) << 32n), 0n)
  }

  #editCd(stream: GuestStream, context: GuestContext): void {
    const [word, bits] = this.#rng.pick(CD_FLIPS)
    this.#flip(stream.space, context.at + BigInt(word) * 8n, this.#rng.pick(bits))
    const sid = BigInt(stream.sid) << 32n
    if (this.#rng.chance(0.7)) this.#command(0x05n | sid | (BigInt(context.ssid) << 12n), this.#rng.bit())
    else this.#command(0x06n | sid, 0n)
    this.#command(0x11n | (BigInt(stream.vmid) << 32n) | (BigInt(context.asid) << 48n), 0n)
  }

  #editStreamTable(): void {
    this.#flip(this.#ram, this.#rng.pick(this.#l1), this.#rng.pick([0, 1, 2, 3, 4, 14, 20, 40]))
    this.#command(0x04n, 31n)
    this.#command(0x30n, 0n)
  }

  #editCdTable(stream: GuestStream): void {
    this.#flip(stream.space, this.#rng.pick(stream.leaves), this.#rng.pick([0, 16, 20, 40]))
    this.#command(0x06n | (BigInt(stream.sid) << 32n), 0n)
    this.#command(0x10n | (BigInt(stream.vmid) << 32n), 0n)
  }

  #editDescriptor(stream: GuestStream, { slot, context, half }: ReturnType<typeof slotsOf>[number]): void {
    const rng = this.#rng
    const before = slot.space.read(slot.at)
    this.#flip(slot.space, slot.at, rng.pick(DESCRIPTOR_FLIPS))
    const vmid = BigInt(stream.vmid) << 32n
    if (context === undefined) {
      // A stage 2 change may have moved the CDs too, and it lives on in entries that combine both stages.
      this.#configChanged(stream.sid, true)
      const granule = stream.stage2?.shape.granule
      if (slot.isLeaf && granule === slot.lg2 && rng.chance(0.5)) {
        this.#command(0x2an | vmid, slot.input | 1n)
        this.#sync()
        this.#command(0x10n | vmid, 0n)
      } else this.#command(0x28n | vmid, 0n)
      return
    }
    const asid = BigInt(context.asid) << 48n
    const tables = context.halves[half ?? 0]
    const sign = half === 1 ? ((1n << 64n) - 1n) & ~((1n << BigInt(tables?.shape.inputBits ?? 64)) - 1n) : 0n
    const va = (slot.input | sign) & ~0xfffn
    // Where a table stands or stood, more than one leaf may be cached, and all have to go.
    const mayBeTable = slot.lg2 !== tables?.shape.granule && (before | slot.space.read(slot.at)) % 4n === 3n
    const how = !slot.isLeaf || mayBeTable ? 0 : rng.int(4)
    if (how === 0) this.#command(0x11n | vmid | asid, 0n)
    else if (how === 1) this.#command(0x13n | vmid, va | rng.bit())
    else if (how === 2) this.#invalidateRange(vmid | asid, va, slot.lg2, tables?.shape.granule ?? 12)
    else this.#command(0x12n | vmid | asid, va | rng.bit())
  }

  /** NH_VA over a whole leaf by range. [SMMU 4.4.2.4 CMD_TLBI_NH_VA, RIL] */
  #invalidateRange(tags: bigint, va: bigint, lg2: number, granule: number): void {
    const tg = BigInt({ 12: 1, 14: 2, 16: 3 }[granule] ?? 0)
    const scale = lg2 - granule
    // A single page without a level is a reserved combination, so two pages are named.
    const num = scale === 0 ? 1n : 0n
    this.#command(0x12n | tags | (num << 12n) | (BigInt(scale) << 20n), va | (tg << 10n) | this.#rng.bit())
  }

  #configChanged(sid: number, leaf: boolean): void {
    const rng = this.#rng
    if (rng.chance(0.6)) this.#command(0x03n | (BigInt(sid) << 32n), BigInt(leaf))
    else if (rng.chance(0.5)) this.#command(0x04n | (BigInt(sid) << 32n), BigInt(rng.int(6)))
    else this.#command(0x04n, 31n)
  }

  #flip(space: { read(at: bigint): bigint; write(at: bigint, value: bigint): void }, at: bigint, bit: number): void {
    space.write(at, space.read(at) ^ (1n << BigInt(bit)))
  }
}

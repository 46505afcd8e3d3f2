/**
 * A unit with the host driver's stream table, and tables of every kind for its entries to lead to. Whatever the driver
 * stores can be watched, and each DMA is compared with what the reference makes of given words: a plain reading of the
 * manual that knows neither caches nor the driver.
 */

import { SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { NO_DEVICES, NO_PASID, Outcome, REQUEST, STATUS, Transaction } from '../../hw-model/port.js'
import {
  CMD_CFGI_STE,
  CMD_STALL_TERM,
  CMD_TLBI_NSNH_ALL,
  type IdOverrides,
  idRegisters,
  OFFSET,
  OPCODE,
  SmmuV3,
} from '../../hw-model/smmuv3/index.js'
import { HostRam } from '../../server/drivers/host-ram.js'
import { CommandRing, EVENTQ, RecordRing } from '../../server/drivers/smmuv3/queues.js'
import { Registers } from '../../server/drivers/smmuv3/registers.js'
import { StreamTable } from '../../server/drivers/smmuv3/stream-table.js'
import { judge } from '../simulation/judge-smmuv3.js'
import { translate } from '../simulation/reference/smmuv3.js'
import { featuresOf, type SmmuFeatures } from '../simulation/reference/smmuv3-features.js'
import type { SmmuAccess, SmmuResult } from '../simulation/reference/smmuv3-types.js'

/** The 64-bit words of an entry. */
export type Qwords = readonly bigint[]

/** An access without its stream. */
export type Access = Omit<SmmuAccess, 'sid'>

/** Where memory of ours is: the driver's, tables made by hand, the guest's. */
const DRIVER_RAM = 2 ** 33
const TABLES = 2 ** 34
const GUEST = 2 ** 40
/** The guest's RAM as it names it. */
export const IPA = 0x4000_0000

/** Addresses that a device uses: read-write, read-only, and nothing there. */
export const RW = 0x4000_1000n
export const RO = 0xc000_1000n
export const NONE = 0x8000_1000n

/** Bits of table entries. */
const TABLE = 3n
const BLOCK_RW = 0xf41n
const BLOCK_RO = 0xfc1n
const STAGE_2_RW = 0x7fdn
const STAGE_2_RO = 0x77dn

/** Tells of each 64-bit store. */
class WatchedMemory extends Memory {
  watch: ((pa: number) => void) | undefined

  override storeWord(pa: number, lo: number, hi: number): number {
    const status = super.storeWord(pa, lo, hi)
    this.watch?.(pa)
    return status
  }
}

/** Words of 32 bits from words of 64. */
export const split = (qwords: Qwords): Int32Array =>
  Int32Array.from(
    qwords.flatMap((qword) => [Number(BigInt.asIntN(32, qword)), Number(BigInt.asIntN(32, qword >> 32n))]),
  )

/** Words of 64 bits from words of 32. */
export const join = (words: Int32Array): bigint[] =>
  Array.from(
    { length: words.length / 2 },
    (_, i) => (BigInt(words[i * 2 + 1] >>> 0) << 32n) | BigInt(words[i * 2] >>> 0),
  )

/** The rig. */
export class EntryRig {
  readonly memory = new WatchedMemory()
  readonly ram: HostRam
  readonly unit: SmmuV3
  readonly commands: CommandRing
  readonly streams: StreamTable
  /** Called after each SYNC of the driver's, while something is watched. */
  onSync: (() => void) | undefined
  readonly #events: RecordRing
  readonly #features: SmmuFeatures
  readonly #results = new Map<string, SmmuResult>()
  #next = TABLES
  #guestNext = GUEST + 2 ** 24

  constructor(overrides: IdOverrides = {}) {
    const { memory } = this
    this.ram = new HostRam(memory, DRIVER_RAM, 2 ** 28)
    memory.place(TABLES, new SparseBacking(2 ** 26))
    memory.place(GUEST, new SparseBacking(2 ** 26))
    const id = idRegisters('full', overrides)
    const owner = { message: () => undefined, interrupt: () => undefined }
    this.unit = new SmmuV3({ memory, owner, devices: NO_DEVICES, id, caches: {} })
    this.#features = featuresOf(id)
    const registers = new Registers(this.unit)
    this.commands = new CommandRing(memory, this.ram, registers, 8, true)
    const { commands } = this
    const sync = commands.sync.bind(commands)
    commands.sync = () => {
      sync()
      const told = this.onSync
      if (told !== undefined) this.#undisturbed(told)
    }
    this.streams = new StreamTable(memory, this.ram, this.commands, this.unit.features)
    this.#events = new RecordRing(memory, this.ram, registers, EVENTQ, 7)
    // PTM and RECINVSID; then queues, ATSCHK (bit 4) and SMMUEN (bit 0).
    registers.write32(OFFSET.CR2, 0b110)
    this.streams.program(registers)
    this.commands.program()
    this.#events.program()
    registers.write32(OFFSET.CR0, 0b11101)
  }

  /** Calls `then` after each store of the driver's into these bytes, and not for what it stores itself. */
  watch(address: number, bytes: number, then: (pa: number) => void): void {
    this.memory.watch = (pa) => {
      if (pa >= address && pa < address + bytes) this.#undisturbed(() => then(pa))
    }
  }

  unwatch(): void {
    this.memory.watch = undefined
    this.onSync = undefined
  }

  #undisturbed(act: () => void): void {
    const { watch } = this.memory
    const { onSync } = this
    this.unwatch()
    act()
    this.memory.watch = watch
    this.onSync = onSync
  }

  /** Zeroed memory of the host's, aligned to its size. */
  alloc(bytes = 4096): number {
    this.#next = Math.ceil(this.#next / bytes) * bytes + bytes
    return this.#next - bytes
  }

  /** Zeroed memory of the guest's, as the guest names it. */
  guestAlloc(bytes = 4096): number {
    this.#guestNext = Math.ceil(this.#guestNext / bytes) * bytes + bytes
    return this.#guestNext - bytes - GUEST + IPA
  }

  /** Where a guest's address is. */
  readonly inGuest = (ipa: number): number => ipa - IPA + GUEST

  poke(address: number, ...qwords: bigint[]): void {
    this.memory.storeRecord(address, split(qwords), 0, qwords.length * 2)
  }

  peek(address: number): bigint {
    this.memory.loadWord(address)
    return (BigInt(this.memory.hi >>> 0) << 32n) | BigInt(this.memory.lo >>> 0)
  }

  /** Stage 1 tables of the host's, or of the guest's: RW and RO lead to 2 MiB that are its own. */
  stageOne(which: number, isGuest = false): number {
    const alloc = isGuest ? () => this.guestAlloc() : () => this.alloc()
    const at = isGuest ? this.inGuest : (address: number) => address
    const [root, first, low, high] = [alloc(), alloc(), alloc(), alloc()]
    const target = BigInt((isGuest ? IPA : 2 ** 36) + which * 2 ** 21)
    this.poke(at(root), BigInt(first) | TABLE)
    this.poke(at(first) + 8, BigInt(low) | TABLE)
    this.poke(at(first) + 24, BigInt(high) | TABLE)
    this.poke(at(low), target | BLOCK_RW)
    this.poke(at(high), target | BLOCK_RO)
    return root
  }

  /** Stage 2 tables: the guest's RAM, or for others than 0 a gigabyte that is their own; RO is that, read-only. */
  stageTwo(which: number): number {
    const [root, first] = [this.alloc(), this.alloc()]
    const target = BigInt(GUEST + which * 2 ** 30)
    this.poke(root, BigInt(first) | TABLE)
    this.poke(first + 8, target | STAGE_2_RW)
    this.poke(first + 24, target | STAGE_2_RO)
    return root
  }

  /** Where a stream's entry is. */
  steAt(sid: number): number {
    this.streams.ensure(sid)
    const descriptor = this.peek(Number(this.#base) + Math.floor(sid / 256) * 8)
    return Number(descriptor & 0xf_ffff_ffff_ffc0n) + (sid % 256) * 64
  }

  get #base(): bigint {
    const [lo, hi] = this.unit.readRegister(OFFSET.STRTAB_BASE, 8)
    return ((BigInt(hi) << 32n) | BigInt(lo)) & 0xf_ffff_ffff_ffc0n
  }

  words(address: number, count: number): bigint[] {
    return Array.from({ length: count }, (_, i) => this.peek(address + i * 8))
  }

  /** The unit forgets what it has cached of a stream. */
  forgetStream(sid: number): void {
    this.commands.add(CMD_CFGI_STE, OPCODE.CFGI_STE, { SID: sid, Leaf: 1 })
    this.commands.sync()
  }

  /** The unit forgets every translation; else what an earlier update has left there would answer for the tables. */
  forgetTranslations(): void {
    this.commands.add(CMD_TLBI_NSNH_ALL, OPCODE.TLBI_NSNH_ALL, {})
    this.commands.sync()
  }

  /** Ends what waits of a stream. */
  endStalls(sid: number): void {
    this.commands.add(CMD_STALL_TERM, OPCODE.STALL_TERM, { SID: sid })
    this.commands.sync()
  }

  /** A DMA of the unit's, with what it recorded. */
  dma(sid: number, access: Access): { readonly outcome: Outcome; readonly events: bigint[][] } {
    const transaction = new Transaction()
    transaction.rid = sid
    transaction.pasid = access.ssid ?? NO_PASID
    transaction.lo = Number(access.address & 0xffffffffn)
    transaction.hi = Number(access.address >> 32n)
    transaction.access = access.write ? (access.kind === 'request' ? 3 : 2) : 1
    transaction.type = { ordinary: REQUEST.UNTRANSLATED, request: REQUEST.TRANSLATION, translated: REQUEST.TRANSLATED }[
      access.kind
    ]
    const outcome = new Outcome()
    this.unit.translate(transaction, outcome)
    const events = this.#events.drain().map(join)
    if (outcome.status === STATUS.PENDING) this.endStalls(sid)
    return { outcome, events }
  }

  /** What the reference says where these words are at `at`. */
  expected(sid: number, access: Access, at: number, entry: Qwords): SmmuResult {
    const key = `${sid} ${at} ${entry.join()} ${access.kind} ${access.ssid} ${access.address} ${access.write}`
    const known = this.#results.get(key)
    if (known !== undefined) return known
    const memory = {
      read64: (pa: bigint) => {
        const index = (Number(pa) - at) / 8
        return index >= 0 && index < 8 ? entry[index] : this.peek(Number(pa))
      },
      write64: () => false,
    }
    const registers = {
      strtabBase: this.#base,
      strtabLog2Size: this.streams.sizeLg2,
      strtabSplit: 8,
      twoLevel: true,
      recordInvalidSid: true,
      e2h: false,
      recordAtsConfig: false,
      atsCheck: true,
    }
    const result = translate(memory, this.#features, registers, { ...access, sid })
    this.#results.set(key, result)
    return result
  }

  /** Whether a DMA ended as those words say. */
  fits(result: SmmuResult, { outcome, events }: { outcome: Outcome; events: bigint[][] }): boolean {
    return judge(result, outcome, events) === undefined
  }

  tell({ outcome: { status, fault, address }, events }: ReturnType<EntryRig['dma']>): string {
    const records = events.map((words) => words.map((word) => word.toString(16)).join(' '))
    return `status ${status} fault ${fault} address ${address.toString(16)} [${records.join('; ')}]`
  }
}

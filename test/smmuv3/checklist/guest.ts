/**
 * A guest that speaks in words: it writes registers, tables and queues with the numbers of the manual, and reads
 * events back as it finds them in memory. It knows the unit by its registers alone and shares no layout with it.
 */

import { FlatBacking, Memory, SparseBacking } from '../../../hw-model/memory/index.js'
import {
  ACCESS,
  type DevicePort,
  NO_PASID,
  Outcome,
  PageRequest,
  QUEUE_RUN,
  REQUEST,
  STATUS,
  Transaction,
} from '../../../hw-model/port.js'
import {
  type IdRegisters,
  idRegisters,
  type PresetName,
  SmmuV3,
  type SmmuV3Options,
} from '../../../hw-model/smmuv3/index.js'

/** Where things are in physical memory. 64 STEs; queues of 2^5 entries unless a test says otherwise. */
export const STREAM_TABLE = 0x1_0000n
export const COMMANDS = 0x20_0000n
export const EVENTS = 0x30_0000n
export const PAGE_REQUESTS = 0x40_0000n
/** Bytes of RAM from address 0; nothing is behind them but 64 KiB that may only be read. */
export const RAM = 0x1_0000_0000n
export const ROM = 0x2_0000_0000n

/** The stream of most tests, and an address that the manual's vectors use. */
export const SID = 0x10
export const VA = 0x1234_5678_9abcn

/** Bits of ID registers. */
export type IdBits = Partial<Record<'IDR0' | 'IDR1' | 'IDR3' | 'IDR5', number>>

export interface GuestOptions extends Partial<Omit<SmmuV3Options, 'id' | 'memory' | 'owner'>> {
  readonly preset?: PresetName
  /** Bits of ID registers that are 0 although the preset has them. */
  readonly deny?: IdBits
  /** Bits of ID registers that are 1 although the preset has them not; after `deny`. */
  readonly offer?: IdBits
  readonly commandLg2?: number
  readonly eventLg2?: number
  /** What CR0 is set to at the end; by default SMMUEN, EVENTQEN and CMDQEN. */
  readonly cr0?: number
  /** Whether the three interrupts are enabled. */
  readonly irq?: number
}

/** How one DMA is told: stream 0x10, unprivileged, without a SubstreamID, unless said otherwise. */
export interface Dma {
  readonly sid?: number
  readonly ssid?: number
  readonly priv?: boolean
  readonly type?: number
}

/** How a page request is told; it is the last of its group 0, unless said otherwise. */
export interface Page {
  readonly sid?: number
  readonly ssid?: number
  readonly priv?: boolean
  readonly group?: number
  readonly isLast?: boolean
}

export class Guest {
  readonly memory = new Memory()
  readonly unit: SmmuV3
  /** What stands in the memory that may only be read. */
  readonly rom = new BigUint64Array(0x2000)
  /** Wired interrupts and messages, in the order in which they came. */
  readonly interrupts: string[] = []
  readonly messages: string[] = []
  /** How transactions that were held ended, by tag, and what devices were told of pages and translations. */
  readonly ended = new Map<number, string>()
  readonly told: string[] = []
  /** Whether a device has forgotten its translations when it is asked to; else it answers later. */
  answersAtOnce = true
  readonly invalidations: number[] = []
  /** What the last DMA came back with. */
  readonly outcome = new Outcome()
  readonly commandLg2: number
  readonly eventLg2: number
  #free = 0x100_0000n
  #prod = 0
  #cons = 0

  constructor(options: GuestOptions = {}) {
    const {
      preset = 'full',
      deny = {},
      offer = {},
      commandLg2 = 5,
      eventLg2 = 5,
      cr0 = 0b1101,
      irq = 0b111,
      ...rest
    } = options
    this.commandLg2 = commandLg2
    this.eventLg2 = eventLg2
    this.memory.place(0, new SparseBacking(Number(RAM)))
    this.memory.place(Number(ROM), new FlatBacking(this.rom.buffer, false))
    const owner = {
      message: (address: number, data: number) => this.messages.push(`${hex(BigInt(address))} ${hex(BigInt(data))}`),
      interrupt: (source: string) => this.interrupts.push(source),
    }
    const devices: DevicePort = {
      ended: (tag, outcome) => this.ended.set(tag, howEnded(outcome)),
      respondToPages: (rid, pasid, group, code) => this.told.push(`pages ${[rid, pasid, group, code].join(' ')}`),
      invalidateAtc: ({ tag, rid, pasid, allPasids, lo, hi, sizeLg2 }) => {
        const address = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
        const who = pasid === NO_PASID ? '-' : `${pasid}${allPasids ? '*' : ''}`
        this.told.push(`forget ${rid} ${who} ${hex(address)} ${sizeLg2}`)
        this.invalidations.push(tag)
        return this.answersAtOnce
      },
    }
    const id = identified(preset, deny, offer)
    this.unit = new SmmuV3({ memory: this.memory, owner, id, devices, ...rest })
    // RECINVSID; a linear table of 64 streams; queues; then the interrupts and everything on.
    this.set32(0x2c, 0b10)
    this.set64(0x80, STREAM_TABLE)
    this.set32(0x88, 6)
    this.set64(0x90, COMMANDS | BigInt(commandLg2))
    this.set64(0xa0, EVENTS | BigInt(eventLg2))
    this.set64(0xc0, PAGE_REQUESTS | 5n)
    this.set32(0x50, irq)
    this.set32(0x20, cr0)
  }

  /** Reads a 32-bit register. */
  get32(offset: number): number {
    return this.unit.readRegister(offset, 4)[0]
  }

  /** Writes a 32-bit register. */
  set32(offset: number, value: number): void {
    this.unit.writeRegister(offset, 4, value >>> 0, 0)
    this.settle()
  }

  /** Reads a 64-bit register. */
  get64(offset: number): bigint {
    const [lo, hi] = this.unit.readRegister(offset, 8)
    return (BigInt(hi) << 32n) | BigInt(lo)
  }

  /** Writes a 64-bit register. */
  set64(offset: number, value: bigint): void {
    this.unit.writeRegister(offset, 8, Number(value & 0xffff_ffffn), Number(value >> 32n))
    this.settle()
  }

  /** Lets the unit take what is in its queues. */
  settle(): void {
    for (let i = 0; this.unit.hasWork; i++) {
      if (i * QUEUE_RUN > 2 ** 21) throw new Error('the unit never comes to rest')
      this.unit.run()
    }
  }

  /** Stores 64-bit words, one after the other. */
  store(address: bigint, ...words: readonly bigint[]): void {
    words.forEach((word, i) => {
      const [lo, hi] = [Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n))]
      this.memory.storeWord(Number(address) + i * 8, lo, hi)
    })
  }

  /** Loads a 64-bit word. */
  load(address: bigint): bigint {
    this.memory.loadWord(Number(address))
    return (BigInt(this.memory.hi >>> 0) << 32n) | BigInt(this.memory.lo >>> 0)
  }

  /** Memory that nobody uses, zero, aligned to its size (4 KiB at least). */
  alloc(bytes = 0x1000n): bigint {
    const size = bytes < 0x1000n ? 0x1000n : bytes
    const at = ((this.#free + size - 1n) / size) * size
    this.#free = at + size
    return at
  }

  /** Puts commands, words in pairs, behind the others and rings the bell once. */
  command(...words: readonly bigint[]): void {
    const mask = (1 << (this.commandLg2 + 1)) - 1
    for (let i = 0; i < words.length; i += 2) {
      const slot = this.#prod & ((1 << this.commandLg2) - 1)
      this.store(COMMANDS + BigInt(slot) * 16n, words[i], words[i + 1] ?? 0n)
      this.#prod = (this.#prod + 1) & mask
    }
    this.set32(0x98, this.#prod)
  }

  /** CMD_CFGI_ALL, CMD_TLBI_NSNH_ALL, CMD_SYNC: what was written is what counts. */
  forget(): void {
    this.command(0x04n, 0x1fn, 0x30n, 0n, 0x46n, 0n)
  }

  /** Stores an STE where the linear table has it. Caches keep what they have. */
  storeSte(sid: number, ...words: readonly bigint[]): void {
    this.store(STREAM_TABLE + BigInt(sid) * 64n, ...Array.from({ length: 8 }, (_, i) => words[i] ?? 0n))
  }

  /** What a read comes back with: the physical address, or how it ended. */
  read(va: bigint, how: Dma = {}): string {
    return this.dma(va, ACCESS.READ, how)
  }

  /** What a write comes back with. */
  write(va: bigint, how: Dma = {}): string {
    return this.dma(va, ACCESS.WRITE, how)
  }

  /** What an instruction fetch comes back with. */
  fetch(va: bigint, how: Dma = {}): string {
    return this.dma(va, ACCESS.READ | ACCESS.EXECUTE, how)
  }

  /** One DMA of any kind. */
  dma(va: bigint, access: number, how: Dma = {}): string {
    const transaction = new Transaction()
    transaction.rid = how.sid ?? SID
    transaction.pasid = how.ssid ?? NO_PASID
    transaction.lo = Number(va & 0xffff_ffffn)
    transaction.hi = Number((va >> 32n) & 0xffff_ffffn)
    transaction.access = access | (how.priv === true ? ACCESS.PRIVILEGED : 0)
    transaction.type = how.type ?? REQUEST.UNTRANSLATED
    transaction.bytes = 4
    this.unit.translate(transaction, this.outcome)
    return howEnded(this.outcome)
  }

  /** A page request of a device: `rights` are letters of `rwx`, none of them and last is a stop marker. */
  requestPage(va: bigint, rights: string, how: Page = {}): void {
    const request = new PageRequest()
    request.rid = how.sid ?? SID
    request.pasid = how.ssid ?? NO_PASID
    request.lo = Number(va & 0xffff_ffffn)
    request.hi = Number(va >> 32n)
    request.access = how.priv === true ? ACCESS.PRIVILEGED : 0
    for (const right of rights) request.access |= { r: ACCESS.READ, w: ACCESS.WRITE, x: ACCESS.EXECUTE }[right] ?? 0
    request.group = how.group ?? 0
    request.isLast = how.isLast ?? true
    if (this.unit.ats === null) throw new Error('this unit has no PRI')
    this.unit.ats.requestPage(request)
  }

  /** Takes the records out of the event queue, each as its four words in hex. */
  events(): string[] {
    const found: string[] = []
    const size = 1 << this.eventLg2
    const prod = this.get32(0x100a8) & (2 * size - 1)
    for (; this.#cons !== prod; this.#cons = (this.#cons + 1) & (2 * size - 1)) {
      const at = EVENTS + BigInt(this.#cons & (size - 1)) * 32n
      found.push([0n, 8n, 16n, 24n].map((i) => this.load(at + i).toString(16)).join(' '))
    }
    this.set32(0x100ac, this.#cons | (this.get32(0x100a8) & ~0x7fff_ffff))
    return found
  }

  /** The opcode of each event in the queue, in hex. */
  kinds(): string[] {
    return this.events().map((record) => hex(BigInt(`0x${record.split(' ')[0]}`) & 0xffn))
  }
}

/**
 * The ID registers of a preset without what is denied and with what is offered, and without what then makes no sense:
 * EL2 needs both stages, wildcards of VMIDs and PTWNNC stage 2, records of ATS and PRI need ATS, which a unit that always stalls has not; without stalls there
 * is no number of them.
 */
function identified(preset: PresetName, deny: IdBits, offer: IdBits): IdRegisters {
  const id: Record<string, number> = { ...idRegisters(preset) }
  // OAS [2:0] is 48 bits, DS 7 and VAX [11:10] are 0, unless a test offers more.
  if (preset === 'full') id.IDR5 = (id.IDR5 & ~0xc87) | 5
  for (const name of ['IDR0', 'IDR1', 'IDR3', 'IDR5'] as const) {
    id[name] = ((id[name] & ~(deny[name] ?? 0)) | (offer[name] ?? 0)) >>> 0
  }
  const stalls = (id.IDR0 >>> 24) & 3
  if ((id.IDR0 & 3) !== 3) id.IDR0 &= ~(1 << 9)
  if ((id.IDR0 & 1) === 0) {
    id.IDR0 &= ~(1 << 17)
    id.IDR3 &= ~(1 << 14)
  }
  if (stalls === 2) id.IDR0 &= ~(1 << 10)
  if ((id.IDR0 & (1 << 10)) === 0) id.IDR0 &= ~((1 << 11) | (1 << 16) | (1 << 23))
  if ((id.IDR0 & (1 << 16)) === 0) id.IDR1 &= ~(0x1f << 11)
  if (stalls === 1) id.IDR5 &= 0xffff
  for (const name of ['IDR0', 'IDR1', 'IDR5']) id[name] >>>= 0
  return idRegisters(preset, id)
}

/** How a transaction ended, as its device sees it. */
export function howEnded({ status, address }: Outcome): string {
  if (status === STATUS.OK) return hex(BigInt(address))
  if (status === STATUS.RAZ_WI) return 'raz/wi'
  if (status === STATUS.PENDING) return 'stalled'
  if (status === STATUS.UNSUPPORTED) return 'UR'
  if (status === STATUS.COMPLETER_ABORT) return 'CA'
  return 'abort'
}

export const hex = (value: bigint): string => `0x${value.toString(16)}`

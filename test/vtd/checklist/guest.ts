/**
 * A guest that speaks in words: it writes registers, tables and descriptors with the numbers of the manual, and reads
 * fault records back as registers show them. It knows the unit by its registers alone and shares no layout with it.
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
import { type CacheOptions, presetOptions, VtdUnit } from '../../../hw-model/vtd/index.js'

/** Bytes of RAM from address 0; nothing is behind them but 64 KiB that may only be read. */
export const RAM = 0x1_0000_0000n
export const ROM = 0x2_0000_0000n
/** An address that no memory answers for. */
export const HOLE = 0x3_0000_0000n

export const QUEUE = 0x8_0000n

/** Function 02:03.2. */
export const SID = 0x021a

/** Offsets. [VTD 11.4 Register Descriptions] */
export const REG = {
  VER: 0x00,
  CAP: 0x08,
  ECAP: 0x10,
  GCMD: 0x18,
  GSTS: 0x1c,
  RTADDR: 0x20,
  CCMD: 0x28,
  FSTS: 0x34,
  FECTL: 0x38,
  FEDATA: 0x3c,
  FEADDR: 0x40,
  FEUADDR: 0x44,
  IQH: 0x80,
  IQT: 0x88,
  IQA: 0x90,
  ICS: 0x9c,
  IECTL: 0xa0,
  IEDATA: 0xa4,
  IEADDR: 0xa8,
  IEUADDR: 0xac,
  IQERCD: 0xb0,
  PQH: 0xc0,
  PQT: 0xc8,
  PQA: 0xd0,
  PRS: 0xdc,
  PECTL: 0xe0,
  PEDATA: 0xe4,
  PEADDR: 0xe8,
  IVA: 0xf0,
  IOTLB: 0xf8,
  FRCD: 0x220,
} as const

/** Bits of GCMD, and of GSTS. */
export const TE = 1n << 31n
export const SRTP = 1n << 30n
export const QIE = 1n << 26n

/** 48-bit tables in both stages, 8 fault records, 2 MiB and 1 GiB pages, ZLR, PSI, MAMV 18, ESRTPS. */
export const CAP_48 = 0x81d2_078c_226f_0606n
/** Both stages, nesting, 20-bit PASIDs, SRS, EAFS, SSADS, SMPWCS, RPS, abort mode; no ATS. */
export const ECAP_48 = 0x0013_e99c_8400_0fc3n

export interface GuestOptions extends CacheOptions {
  readonly cap?: bigint
  readonly ecap?: bigint
  readonly ver?: number
  /** Host address width. */
  readonly haw?: number
}

/** How one request is told: of SID, untranslated, without a PASID, moving no data, unless said otherwise. */
export interface Dma {
  readonly sid?: number
  readonly pasid?: number
  readonly type?: number
  readonly bytes?: number
}

/** How a page request is told: the last of group 0, without PASID, unless said otherwise. */
export interface Page {
  readonly sid?: number
  readonly pasid?: number
  readonly group?: number
  readonly isLast?: boolean
}

const LETTERS: Readonly<Record<string, number>> = {
  r: ACCESS.READ,
  w: ACCESS.WRITE,
  x: ACCESS.EXECUTE,
  p: ACCESS.PRIVILEGED,
}

const halves = (word: bigint): [number, number] => [Number(word & 0xffff_ffffn), Number(word >> 32n)]

export class Guest {
  readonly memory = new Memory()
  readonly unit: VtdUnit
  /** What stands in the memory that may only be read. */
  readonly rom = new BigUint64Array(0x2000)
  readonly messages: string[] = []
  readonly interrupts: string[] = []
  /** What runs when a message arrives. */
  onMessage = (): void => {}
  /** What devices were told of pages and translations, and tags of the latter. */
  readonly told: string[] = []
  readonly invalidations: number[] = []
  /** Whether a device has forgotten its translations when it is asked to; else it answers later. */
  answersAtOnce = true
  readonly outcome = new Outcome()
  /** Where the queue goes on, and bytes of its descriptors. */
  tail = 0n
  step = 32n
  #free = 0x100_0000n
  #commands = 0n
  #isHandling = false

  constructor({ cap = CAP_48, ecap = ECAP_48, ver = 0x10, haw = 48, ...caches }: GuestOptions = {}) {
    this.memory.place(0, new SparseBacking(Number(RAM)))
    this.memory.place(Number(ROM), new FlatBacking(this.rom.buffer, false))
    const owner = {
      message: (address: number, data: number) => {
        this.messages.push(`${hex(BigInt(address))} ${hex(BigInt(data))}`)
        this.#isHandling = true
        this.onMessage()
        this.#isHandling = false
      },
      interrupt: (source: string) => void this.interrupts.push(source),
    }
    const ids = { VER: ver, CAP: halves(cap), ECAP: halves(ecap), hawBits: haw }
    const devices: DevicePort = {
      ended: () => undefined,
      respondToPages: (rid, pasid, group, code) => void this.told.push(`pages ${[rid, pasid, group, code].join(' ')}`),
      invalidateAtc: ({ tag, rid, pasid, allPasids, lo, hi, sizeLg2 }) => {
        const address = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
        const who = pasid === NO_PASID ? '-' : `${pasid}${allPasids ? '*' : ''}`
        this.told.push(`forget ${rid} ${who} ${hex(address)} ${sizeLg2}`)
        this.invalidations.push(tag)
        return this.answersAtOnce
      },
    }
    this.unit = new VtdUnit(this.memory, owner, presetOptions('vtd-scalable', ids, caches), devices)
  }

  get32(offset: number): bigint {
    return BigInt(this.unit.readRegister(offset, 4)[0])
  }

  set32(offset: number, value: bigint): void {
    this.unit.writeRegister(offset, 4, Number(value), 0)
    this.settle()
  }

  get64(offset: number): bigint {
    const [lo, hi] = this.unit.readRegister(offset, 8)
    return (BigInt(hi) << 32n) | BigInt(lo)
  }

  set64(offset: number, value: bigint): void {
    this.unit.writeRegister(offset, 8, ...halves(value))
    this.settle()
  }

  /** Lets the unit take what is in its queue. */
  settle(): void {
    // A handler runs in the middle of what raised its interrupt; that goes on when it returns.
    if (this.#isHandling) return
    for (let i = 0; this.unit.hasWork; i++) {
      if (i * QUEUE_RUN > 2 ** 21) throw new Error('the unit never comes to rest')
      this.unit.run()
    }
  }

  /** Stores 64-bit words, one after the other. */
  store(address: bigint, ...words: readonly bigint[]): void {
    words.forEach((word, i) => {
      const [lo, hi] = halves(BigInt.asUintN(64, word))
      this.memory.storeWord(Number(address) + i * 8, lo | 0, hi | 0)
    })
  }

  load(address: bigint): bigint {
    this.memory.loadWord(Number(address))
    return (BigInt(this.memory.hi >>> 0) << 32n) | BigInt(this.memory.lo >>> 0)
  }

  /** Sets bits of one word. */
  or(address: bigint, bits: bigint): void {
    this.store(address, this.load(address) | bits)
  }

  /** Clears bits of one word. */
  clear(address: bigint, bits: bigint): void {
    this.store(address, this.load(address) & ~bits)
  }

  /** Pages that nobody uses, zero. */
  alloc(pages = 1n): bigint {
    const at = this.#free
    this.#free += pages * 0x1000n
    return at
  }

  /** Switches a persistent command on, beside those that are on. */
  enable(bit: bigint): void {
    this.#commands |= bit
    this.set32(REG.GCMD, this.#commands)
  }

  disable(bit: bigint): void {
    this.#commands &= ~bit
    this.set32(REG.GCMD, this.#commands)
  }

  /** Gives a one-shot command. */
  once(bit: bigint): void {
    this.set32(REG.GCMD, this.#commands | bit)
  }

  /** RTADDR, SRTP, TE. */
  start(rtaddr: bigint): void {
    this.set64(REG.RTADDR, rtaddr)
    this.once(SRTP)
    this.enable(TE)
  }

  /** Switches the queue on: 256 descriptors of 32 bytes, or of 16. */
  startQueue(wide = true): void {
    this.set64(REG.IQT, 0n)
    this.set64(REG.IQA, QUEUE | (wide ? 0x801n : 0n))
    this.enable(QIE)
    this.tail = 0n
    this.step = wide ? 32n : 16n
  }

  /** Queues descriptors, each a pair of words, and rings the bell once. */
  queue(...words: readonly bigint[]): void {
    for (let i = 0; i < words.length; i += 2) {
      const high = this.step === 32n ? [0n, 0n] : []
      this.store(QUEUE + this.tail, words[i], words[i + 1] ?? 0n, ...high)
      this.tail = (this.tail + this.step) % (this.step * 256n)
    }
    this.set64(REG.IQT, this.tail)
  }

  /** One request; `access` of r, w (both: AtomicOp), p (privileged), x (execute), or none: a zero-length read. */
  dma(
    va: bigint,
    access = 'r',
    { sid = SID, pasid = NO_PASID, type = REQUEST.UNTRANSLATED, bytes = 0 }: Dma = {},
  ): string {
    const tx = new Transaction()
    Object.assign(tx, { rid: sid, pasid, type, bytes })
    ;[tx.lo, tx.hi] = halves(va)
    tx.access = [...access].reduce((bits, letter) => bits | LETTERS[letter], 0)
    this.unit.translate(tx, this.outcome)
    return howEnded(this.outcome, type)
  }

  /** A page request of SID; `access` as in `dma`, none of it and last is a stop marker. */
  requestPage(va: bigint, access = 'r', { pasid = NO_PASID, sid = SID, group = 0, isLast = true }: Page = {}): void {
    const request = new PageRequest()
    Object.assign(request, { rid: sid, pasid, group, isLast })
    ;[request.lo, request.hi] = halves(va)
    request.access = [...access].reduce((bits, letter) => bits | LETTERS[letter], 0)
    if (this.unit.ats === null) throw new Error('this unit has no device-TLBs')
    this.unit.ats.requestPage(request)
    this.settle()
  }

  /** Takes the fault records as a driver does, from FRI on: two words of 16 digits each. */
  faults(): string[] {
    const status = this.get32(REG.FSTS)
    if ((status & 2n) === 0n) return []
    const cap = this.get64(REG.CAP)
    const [count, base] = [Number((cap >> 40n) & 0xffn) + 1, Number((cap >> 24n) & 0x3ffn) * 16]
    const found: string[] = []
    for (let i = Number((status >> 8n) & 0xffn); ; i = (i + 1) % count) {
      const at = base + i * 16
      const high = this.get64(at + 8)
      if (high >> 63n === 0n) return found
      found.push(`${digits(this.get64(at))} ${digits(high)}`)
      this.set32(at + 12, 1n << 31n)
    }
  }
}

/** How a request ended, as its device and its unit see it. */
export function howEnded({ status, address, rights, leafLg2, fault, untranslatedOnly }: Outcome, type: number): string {
  if (status === STATUS.FAULT) return `fault ${fault.toString(16)}`
  if (status === STATUS.UNSUPPORTED) return 'UR'
  if (status === STATUS.COMPLETER_ABORT) return 'CA'
  if (status !== STATUS.OK) return 'aborted'
  if (type !== REQUEST.TRANSLATION) return hex(BigInt(address))
  if (rights === 0) return 'nothing'
  const granted = ['r', 'w', 'x', 'p'].filter((letter) => (rights & LETTERS[letter]) !== 0).join('')
  return untranslatedOnly === 0 ? `${hex(BigInt(address))} ${granted} ${leafLg2}` : `untranslated only ${granted}`
}

export const hex = (value: bigint): string => `0x${value.toString(16)}`
export const digits = (value: bigint): string => value.toString(16).padStart(16, '0')

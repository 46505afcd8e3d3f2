/**
 * A guest that programs a bare unit by words spelled from the manual: no layout and no driver code is shared.
 * Source-id 0x0008 has a scalable context entry; its PASID directory and table serve PASIDs 0 to 63.
 */

import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { ACCESS, type DevicePort, NO_PASID, Outcome, STATUS, Transaction, type WalkStep } from '../../hw-model/port.js'
import {
  type CacheOptions,
  type IdRegisters,
  type PresetName,
  presetOptions,
  VtdUnit,
} from '../../hw-model/vtd/index.js'

export const SID = 8
const ROOT = 0x1000
const CONTEXTS = 0x2000
const DIRECTORY = 0x4000
export const PASIDS = 0x5000
export const QUEUE = 0x10000
export const STATUS_SLOT = 0x12000

/** Offsets of registers. [VTD 11.4] */
export const REG = {
  GCMD: 0x18,
  GSTS: 0x1c,
  RTADDR: 0x20,
  CCMD: 0x28,
  FSTS: 0x34,
  FECTL: 0x38,
  FEDATA: 0x3c,
  FEADDR: 0x40,
  IQH: 0x80,
  IQT: 0x88,
  IQA: 0x90,
  ICS: 0x9c,
  IECTL: 0xa0,
  IEDATA: 0xa4,
  IEADDR: 0xa8,
  IQERCD: 0xb0,
  IVA: 0xf0,
  IOTLB: 0xf8,
  FRCD: 0x220,
} as const

const SRTP = 1n << 30n
const QIE = 1n << 26n
const TE = 1n << 31n

/** RTADDR.TTM. */
export const MODE = { LEGACY: 0n, SCALABLE: 1n, ABORT: 3n } as const

/** Which unit, and what stands in front of it. */
export interface GuestOptions {
  readonly preset?: PresetName
  readonly ids?: Partial<IdRegisters>
  readonly caches?: CacheOptions
  readonly devices?: DevicePort
}

/** A unit and the memory in front of it. */
export class Guest {
  readonly memory = new Memory()
  readonly unit: VtdUnit
  readonly messages: [address: number, data: number][] = []
  /** The guest's interrupt handler, which runs in the middle of what raised the interrupt. */
  onMessage = (): void => {}
  readonly out = new Outcome()
  readonly #tx = new Transaction()
  #tail = 0
  #commands = 0n

  constructor(options: GuestOptions = {}) {
    this.memory.place(0, new SparseBacking(16 * 2 ** 20))
    const owner = {
      message: (address: number, data: number) => {
        this.messages.push([address, data])
        this.onMessage()
      },
      interrupt: () => {},
    }
    this.unit = new VtdUnit(
      this.memory,
      owner,
      presetOptions(options.preset, options.ids, options.caches),
      options.devices,
    )
  }

  /** Stores 64-bit words, one after the other. */
  store(address: number, ...words: bigint[]): void {
    for (const [index, word] of words.entries()) {
      this.memory.storeWord(
        address + index * 8,
        Number(BigInt.asIntN(32, word)),
        Number(BigInt.asIntN(32, word >> 32n)),
      )
    }
  }

  load(address: number): bigint {
    this.memory.loadWord(address)
    return (BigInt(this.memory.hi >>> 0) << 32n) | BigInt(this.memory.lo >>> 0)
  }

  read(offset: number, bytes: 4 | 8 = 4): bigint {
    const [lo, hi] = this.unit.readRegister(offset, bytes)
    return (BigInt(hi) << 32n) | BigInt(lo)
  }

  write(offset: number, value: bigint, bytes: 4 | 8 = 4): void {
    this.unit.writeRegister(offset, bytes, Number(value & 0xffffffffn), Number(value >> 32n))
  }

  /** Latches the root table and switches translation on. */
  start(mode: bigint): void {
    this.write(REG.RTADDR, BigInt(ROOT) | (mode << 10n), 8)
    this.write(REG.GCMD, this.#commands | SRTP)
    this.#commands |= TE
    this.write(REG.GCMD, this.#commands)
  }

  /** Scalable tables: root, context with PASIDE and a directory of 2^13 PASIDs, one PASID table. */
  startScalable(contextFlags = 0x9n): void {
    this.store(ROOT, BigInt(CONTEXTS | 1), 0n)
    this.store(CONTEXTS + SID * 32, BigInt(DIRECTORY) | contextFlags, 0n, 0n, 0n)
    this.store(DIRECTORY, BigInt(PASIDS | 1))
    this.start(MODE.SCALABLE)
  }

  /** Address of the context entry of SID in scalable mode. */
  get context(): number {
    return CONTEXTS + SID * 32
  }

  get directory(): number {
    return DIRECTORY
  }

  /** Fills the PASID table entry: first stage, PWSNP. */
  firstStage(pasid: number, did: number, table: number, flags = 0n): void {
    this.store(PASIDS + pasid * 64, 0x41n, BigInt(did) | PWSNP, BigInt(table) | flags)
  }

  /** Second stage, 48 bits. */
  secondStage(pasid: number, did: number, table: number, flags = 0n): void {
    this.store(PASIDS + pasid * 64, BigInt(table) | 0x89n | flags, BigInt(did) | PWSNP, 0n)
  }

  /** Nested, 48 bits over four levels. */
  nested(pasid: number, did: number, first: number, second: number, flags = 0n): void {
    this.store(PASIDS + pasid * 64, BigInt(second) | 0xc9n | flags, BigInt(did) | PWSNP, BigInt(first))
  }

  passThrough(pasid: number, did: number): void {
    this.store(PASIDS + pasid * 64, 0x109n, BigInt(did) | PWSNP, 0n)
  }

  /** A path of four tables from `base`, one page each, down to a leaf entry; all with the same table flags. */
  path(base: number, iova: bigint, leaf: bigint, tableFlags: bigint, toGuest = (pa: number): number => pa): void {
    for (let step = 0; step < 4; step++) {
      const index = Number((iova >> BigInt(39 - 9 * step)) & 511n)
      const next = step === 3 ? leaf : BigInt(toGuest(base + (step + 1) * 0x1000)) | tableFlags
      this.store(base + step * 0x1000 + index * 8, next)
    }
  }

  /** Switches the queue on: 32-byte descriptors, 256 of them, or 16-byte ones. */
  startQueue(wide = true): void {
    this.write(REG.IQT, 0n, 8)
    this.write(REG.IQA, BigInt(QUEUE) | (wide ? 0x801n : 0n), 8)
    this.#commands |= QIE
    this.write(REG.GCMD, this.#commands)
    this.#tail = 0
    this.#step = wide ? 32 : 16
  }

  #step = 32

  /** Queues descriptors and rings the bell. */
  queue(...descriptors: readonly (readonly [qw0: bigint, qw1?: bigint])[]): void {
    for (const [qw0, qw1 = 0n] of descriptors) {
      this.store(QUEUE + this.#tail, qw0, qw1, ...(this.#step === 32 ? [0n, 0n] : []))
      this.#tail = (this.#tail + this.#step) % (this.#step * 256)
    }
    this.write(REG.IQT, BigInt(this.#tail), 8)
  }

  stop(): void {
    this.#commands &= ~TE
    this.write(REG.GCMD, this.#commands)
  }

  /** A DMA: a physical address, or the reason it was blocked; `access` of r, w, p (privileged), x (execute), or none. */
  dma(iova: bigint, access = 'r', pasid: number = NO_PASID, sid = SID, bytes = 0): string {
    this.unit.translate(this.#request(iova, access, pasid, sid, bytes), this.out)
    return this.#answer()
  }

  explain(iova: bigint, access = 'r', pasid: number = NO_PASID): WalkStep[] {
    const steps: WalkStep[] = []
    this.unit.explain(this.#request(iova, access, pasid, SID, 0), this.out, { step: (step) => steps.push(step) })
    return steps
  }

  #request(iova: bigint, access: string, pasid: number, sid: number, bytes: number): Transaction {
    const tx = this.#tx
    tx.rid = sid
    tx.pasid = pasid
    tx.lo = Number(BigInt.asIntN(32, iova))
    tx.hi = Number(BigInt.asIntN(32, iova >> 32n))
    tx.bytes = bytes
    tx.access = accessOf(access)
    return tx
  }

  #answer(): string {
    const { status, address, fault } = this.out
    if (status === STATUS.OK) return `0x${address.toString(16)}`
    return status === STATUS.FAULT ? `fault 0x${fault.toString(16)}` : 'aborted'
  }
}

/** Bits of ACCESS, by letters: r, w, x (execute), p (privileged). */
export const accessOf = (letters: string): number =>
  [...letters].reduce((bits, letter) => bits | (LETTERS[letter] ?? 0), 0)

const PWSNP = 1n << 23n

const LETTERS: Readonly<Record<string, number>> = {
  r: ACCESS.READ,
  w: ACCESS.WRITE,
  x: ACCESS.EXECUTE,
  p: ACCESS.PRIVILEGED,
}

/** First-stage flags: P, R/W, U/S, A, D. */
export const FS = {
  P: 1n,
  RW: 2n,
  US: 4n,
  A: 0x20n,
  D: 0x40n,
  PS: 0x80n,
  EA: 0x400n,
  TABLE: 0x27n,
  PAGE: 0x67n,
} as const

/** Second-stage flags. */
export const SS = { R: 1n, W: 2n, RW: 3n, PS: 0x80n, A: 0x100n, D: 0x200n } as const

/** Descriptors. [VTD 6.5.2] */
export const IQ = {
  contextsAll: [0x11n] as const,
  contextDevice: (sid: number): readonly [bigint] => [0x31n | (BigInt(sid) << 32n)],
  contextDomain: (did: number): readonly [bigint] => [0x21n | (BigInt(did) << 16n)],
  pasidsAll: [0x37n] as const,
  pasidsDomain: (did: number): readonly [bigint] => [0x07n | (BigInt(did) << 16n)],
  pasid: (did: number, pasid: number): readonly [bigint] => [0x17n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n)],
  iotlbAll: [0xd2n] as const,
  iotlbDomain: (did: number): readonly [bigint] => [0xe2n | (BigInt(did) << 16n)],
  /** `flags` of AM and IH. */
  iotlbPage: (did: number, address: bigint, flags = 0n): readonly [bigint, bigint] => [
    0xf2n | (BigInt(did) << 16n),
    address | flags,
  ],
  piotlb: (did: number, pasid: number): readonly [bigint] => [0x26n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n)],
  piotlbPage: (did: number, pasid: number, address: bigint, flags = 0n): readonly [bigint, bigint] => [
    0x36n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n),
    address | flags,
  ],
  /** Only leaves have changed. */
  IH: 0x40n,
  wait: (data: bigint, address: bigint): readonly [bigint, bigint] => [0x25n | (data << 32n), address],
  waitWithInterrupt: (data: bigint, address: bigint): readonly [bigint, bigint] => [0x35n | (data << 32n), address],
  fence: [0x45n] as const,
} as const

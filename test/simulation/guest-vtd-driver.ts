/** The little driver of the random VT-d guest: registers, the invalidation queue, and the fault records. */

import type { VtdUnit } from '../../hw-model/vtd/index.js'
import type { Ram } from './ram.js'
import { field } from './reference/memory.js'
import type { VtdFeatures, VtdRegisters } from './reference/vtd.js'
import type { Rng } from './rng.js'
import { Disagreement, hex } from './step.js'

const REG = { CAP: 0x08, ECAP: 0x10, GCMD: 0x18, GSTS: 0x1c, RTADDR: 0x20, FSTS: 0x34, IQH: 0x80, IQT: 0x88, IQA: 0x90 }
const TE = 0x8000_0000n
const SRTP = 0x4000_0000n
const QIE = 0x0400_0000n

const read64 = (unit: VtdUnit, offset: number): bigint => {
  const [lo, hi] = unit.readRegister(offset, 8)
  return (BigInt(hi) << 32n) | BigInt(lo)
}

/** What CAP and ECAP say. [VTD 11.4.2 Capability Register, 11.4.3 Extended Capability Register] */
export function decodeFeatures(unit: VtdUnit, haw: number): VtdFeatures {
  const cap = read64(unit, REG.CAP)
  const ecap = read64(unit, REG.ECAP)
  const has = (bit: number): boolean => field(ecap, bit) === 1
  return {
    haw,
    mgaw: field(cap, 21, 16) + 1,
    sagaw: field(cap, 12, 8),
    sslps: field(cap, 37, 34),
    fs1gp: field(cap, 56) === 1,
    fs5lp: field(cap, 60) === 1,
    didBits: 4 + 2 * field(cap, 2, 0),
    smts: has(43),
    ssts: has(46),
    fsts: has(47),
    nest: has(26),
    pt: has(6),
    sc: has(7),
    pasid: has(40),
    rps: has(49),
    srs: has(31),
    eafs: has(34),
    ssads: has(45),
    smpwcs: has(48),
    adms: has(52),
  }
}

/** Programs one unit. */
export class Driver {
  /** Descriptors queued. */
  count = 0
  readonly #unit: VtdUnit
  readonly #ram: Ram
  readonly #rng: Rng
  readonly #isWide: boolean
  readonly #queue: bigint
  readonly #status: bigint
  readonly #frcd: number
  readonly #frcdCount: number
  #tail = 0
  #serial = 0n

  /** @param isWide 32-byte descriptors */
  constructor(unit: VtdUnit, ram: Ram, rng: Rng, isWide: boolean) {
    this.#unit = unit
    this.#ram = ram
    this.#rng = rng
    this.#isWide = isWide
    this.#queue = ram.allocate(4096n)
    this.#status = ram.allocate(8n)
    const cap = read64(unit, REG.CAP)
    this.#frcd = field(cap, 33, 24) * 16
    this.#frcdCount = field(cap, 47, 40) + 1
  }

  /** Root table, queue, translation. */
  start({ rootTable, mode }: VtdRegisters): void {
    this.#write(REG.RTADDR, rootTable | (BigInt(mode) << 10n), 8)
    this.#write(REG.GCMD, SRTP)
    this.#write(REG.IQT, 0n, 8)
    this.#write(REG.IQA, this.#queue | (BigInt(this.#isWide) << 11n), 8)
    this.#write(REG.GCMD, QIE)
    this.contextGlobal()
    if (mode === 1) this.pasidCacheGlobal()
    this.iotlbGlobal()
    this.wait()
    this.#write(REG.GCMD, QIE | TE)
    const [status] = this.#unit.readRegister(REG.GSTS, 4)
    if (status !== 0xc400_0000) throw new Disagreement(`GSTS is ${hex(status)} after SRTP, QIE and TE`)
  }

  contextGlobal(): void {
    this.#put(0x11n, 0n)
  }

  contextDevice(sid: number, did: number): void {
    this.#put(0x31n | (BigInt(did) << 16n) | (BigInt(sid) << 32n), 0n)
  }

  pasidCacheGlobal(): void {
    this.#put(0x37n, 0n)
  }

  pasidCacheDomain(did: number): void {
    this.#put(0x07n | (BigInt(did) << 16n), 0n)
  }

  pasidCachePasid(did: number, pasid: number): void {
    this.#put(0x17n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n), 0n)
  }

  iotlbGlobal(): void {
    this.#put(0xd2n, 0n)
  }

  iotlbDomain(did: number): void {
    this.#put(0xe2n | (BigInt(did) << 16n), 0n)
  }

  iotlbPages(did: number, address: bigint, am: number, leafOnly: bigint): void {
    this.#put(0xf2n | (BigInt(did) << 16n), (address & ~0xfffn) | (leafOnly << 6n) | BigInt(am))
  }

  pasidIotlb(did: number, pasid: number): void {
    this.#put(0x26n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n), 0n)
  }

  pasidIotlbPages(did: number, pasid: number, address: bigint, am: number, leafOnly: bigint): void {
    const low = 0x36n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n)
    this.#put(low, (address & ~0xfffn) | (leafOnly << 6n) | BigInt(am))
  }

  /** A wait with a status write, whose value must then stand in memory. */
  wait(): void {
    const value = ++this.#serial
    this.#put(0x25n | (this.#rng.bit() << 6n) | (value << 32n), this.#status)
    if (this.#ram.read(this.#status) !== value) throw new Disagreement('the wait descriptor wrote no status')
  }

  /** The fault records that stand there; they are cleared. */
  takeFaults(): (readonly [bigint, bigint])[] {
    const [status] = this.#unit.readRegister(REG.FSTS, 4)
    const faults: (readonly [bigint, bigint])[] = []
    for (let i = 0; i < this.#frcdCount; i++) {
      const at = this.#frcd + i * 16
      const high = read64(this.#unit, at + 8)
      if (high >> 63n === 0n) continue
      faults.push([read64(this.#unit, at), high])
      if (faults.length === 1 && (status & 2) === 0) throw new Disagreement('a fault is recorded and FSTS.PPF is clear')
      if (faults.length === 1 && ((status >>> 8) & 0xff) !== i) throw new Disagreement(`FSTS.FRI is not ${i}`)
      this.#write(at + 12, 0x8000_0000n)
    }
    if (faults.length === 0 && (status & 2) !== 0) throw new Disagreement('FSTS.PPF is set and no fault is recorded')
    return faults
  }

  #put(low: bigint, high: bigint): void {
    const bytes = this.#isWide ? 32 : 16
    const at = this.#queue + BigInt(this.#tail)
    const words = this.#isWide ? [low, high, 0n, 0n] : [low, high]
    for (const [i, word] of words.entries()) this.#ram.write(at + BigInt(i) * 8n, word)
    this.#tail = (this.#tail + bytes) % 4096
    this.count++
    this.#write(REG.IQT, BigInt(this.#tail), 8)
    const head = read64(this.#unit, REG.IQH)
    const [status] = this.#unit.readRegister(REG.FSTS, 4)
    if (head !== BigInt(this.#tail) || (status & 0x70) !== 0) {
      throw new Disagreement(
        `descriptor ${hex(low)} ${hex(high)}: IQH ${hex(head)} of ${hex(this.#tail)}, FSTS ${hex(status)}`,
      )
    }
  }

  #write(offset: number, value: bigint, bytes: 4 | 8 = 4): void {
    this.#unit.writeRegister(offset, bytes, Number(value & 0xffffffffn), Number(value >> 32n))
  }
}

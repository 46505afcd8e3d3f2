/**
 * A guest's VT-d driver that has nothing but the unit's registers and its own RAM: it boots the unit and keeps its tables
 * in scalable mode as Linux does, and knows no layout of the daemon's. Every word is spelled from the manual by hand.
 */

import { CachePolicy, type ContextClient, UnitType } from '../../clients/node/index.js'
import type { FileRam } from './file-ram.js'

/** Offsets of registers. [VTD 11.4 Register Descriptions] */
export const REG = {
  CAP: 0x08,
  ECAP: 0x10,
  GCMD: 0x18,
  GSTS: 0x1c,
  RTADDR: 0x20,
  FSTS: 0x34,
  FECTL: 0x38,
  IQH: 0x80,
  IQT: 0x88,
  IQA: 0x90,
  ICS: 0x9c,
  IECTL: 0xa0,
  IQERCD: 0xb0,
  PQH: 0xc0,
  PQT: 0xc8,
  PQA: 0xd0,
  PRS: 0xdc,
  PECTL: 0xe0,
} as const

/** Bits of GCMD and GSTS. [VTD 11.4.4.1 Global Command Register] */
const TE = 1n << 31n
const SRTP = 1n << 30n
const QIE = 1n << 26n

/** Where messages go, and what each says. */
export const MSI = { address: 0xfee0_0000n, fault: 0x31, completion: 0x32, page: 0x33 } as const

/** A descriptor's quadwords; the upper half of each slot is zero. [VTD 6.5.2 Queued Invalidation Interface] */
export type Descriptor = readonly [qw0: bigint, qw1: bigint]

const SLOT = 32n
const SLOTS = 256

/** A wait descriptor that was sent. */
export interface Wait {
  /** Where its status is written. */
  readonly status: bigint
}

/** A guest's driver. */
export class VtdGuest {
  readonly client: ContextClient
  readonly ram: FileRam
  readonly unitId: number
  #ecap = 0n
  #root = 0n
  #queue = 0n
  #pages = 0n
  #tail = 0
  #enabled = 0n

  private constructor(client: ContextClient, ram: FileRam, unitId: number) {
    this.client = client
    this.ram = ram
    this.unitId = unitId
  }

  /** Makes a unit whose bus has the RAM alone, and boots it. */
  static async start(
    client: ContextClient,
    ram: FileRam,
    preset: string,
    cachePolicy: CachePolicy = CachePolicy.UNSPECIFIED,
  ): Promise<VtdGuest> {
    const { path, bytes, base } = ram
    await client.createMemoryRegion({ file: { path, bytes, writable: true }, busAddress: base })
    const { unitId } = await client.createUnit({ type: UnitType.VTD, preset, cachePolicy })
    const guest = new VtdGuest(client, ram, unitId)
    guest.#root = ram.allocate(0x1000n)
    guest.#queue = ram.allocate(0x2000n)
    guest.#pages = ram.allocate(0x1000n)
    await guest.boot()
    return guest
  }

  /** The unit takes page requests. */
  get hasPages(): boolean {
    return ((this.#ecap >> 29n) & 1n) === 1n
  }

  async read(offset: number, width: 4 | 8 = 4): Promise<bigint> {
    const { values } = await this.client.readUnitRegisters({ unitId: this.unitId, reads: [{ offset, width }] })
    return values[0]
  }

  async write(offset: number, value: bigint, width: 4 | 8 = 4): Promise<void> {
    await this.client.writeUnitRegisters({ unitId: this.unitId, writes: [{ offset, width, value }] })
  }

  /** The order in which Linux writes registers when it finds a unit. */
  async boot(): Promise<void> {
    this.#enabled = 0n
    this.#tail = 0
    this.#ecap = await this.read(REG.ECAP, 8)
    await this.write(REG.FSTS, await this.read(REG.FSTS))
    await this.write(REG.IQT, 0n, 8)
    // Descriptors of 256 bits, two pages of them.
    await this.write(REG.IQA, this.#queue | 0x801n, 8)
    await this.#enable(QIE)
    // TTM: scalable.
    await this.write(REG.RTADDR, this.#root | 0x400n, 8)
    await this.#command(SRTP)
    // Global: context cache, PASID cache, IOTLB.
    await this.run([0x11n, 0n], [0x37n, 0n], [0x12n, 0n])
    if (this.hasPages) {
      await this.write(REG.PQH, 0n, 8)
      await this.write(REG.PQT, 0n, 8)
      // One page: 128 requests.
      await this.write(REG.PQA, this.#pages, 8)
      await this.#unmask(REG.PECTL, MSI.page)
    }
    await this.#unmask(REG.FECTL, MSI.fault)
    await this.#unmask(REG.IECTL, MSI.completion)
    await this.#enable(TE)
  }

  /** Writes descriptors and one wait for them, which writes 2 and raises no interrupt. */
  async issue(...descriptors: Descriptor[]): Promise<Wait> {
    for (const descriptor of descriptors) this.push(descriptor)
    const status = this.ram.allocate(8n)
    this.push([0x2_0000_0025n, status])
    await this.write(REG.IQT, BigInt(this.#tail) * SLOT, 8)
    return { status }
  }

  /** The unit has written the status. */
  isDone({ status }: Wait): boolean {
    return (this.ram.load(status) & 0xffff_ffffn) === 2n
  }

  /** Descriptors, and the end of them. */
  async run(...descriptors: Descriptor[]): Promise<void> {
    const wait = await this.issue(...descriptors)
    if (!this.isDone(wait)) throw new Error('the wait is not done when the write to IQT has returned')
  }

  /** Writes a descriptor, and does not move the tail. */
  push([qw0, qw1]: Descriptor): void {
    this.ram.store(this.#queue + BigInt(this.#tail) * SLOT, qw0, qw1, 0n, 0n)
    this.#tail = (this.#tail + 1) % SLOTS
  }

  /** Takes page requests, their first two quadwords each, as Linux does: PPR first, then head and tail. */
  async takePageRequests(): Promise<bigint[][]> {
    await this.write(REG.PRS, 1n)
    const tail = await this.read(REG.PQT, 8)
    const taken: bigint[][] = []
    let head = await this.read(REG.PQH, 8)
    for (; head !== tail; head = (head + 32n) & 0xfe0n) {
      taken.push([this.ram.load(this.#pages + head), this.ram.load(this.#pages + head + 8n)])
    }
    await this.write(REG.PQH, tail, 8)
    if (((await this.read(REG.PRS)) & 2n) !== 0n) await this.write(REG.PRS, 2n)
    return taken
  }

  /** Takes the fault records of the ring, two quadwords each, and clears them. */
  async takeFaults(): Promise<[bigint, bigint][]> {
    const cap = await this.read(REG.CAP, 8)
    const [first, count] = [Number((cap >> 24n) & 0x3ffn) * 16, Number((cap >> 40n) & 0xffn) + 1]
    const faults: [bigint, bigint][] = []
    for (let i = 0; i < count; i++) {
      const at = first + 16 * i
      const high = await this.read(at + 8, 8)
      if (high >> 63n === 0n) continue
      faults.push([await this.read(at, 8), high])
      await this.write(at + 12, 1n << 31n)
    }
    await this.write(REG.FSTS, 1n)
    return faults
  }

  /** The messages since the last time, by their data. */
  async takeMessages(): Promise<number[]> {
    const { interrupts } = await this.client.pollUnitInterrupts({ unitId: this.unitId })
    return interrupts.map(({ msiData }) => msiData)
  }

  /** Where a function's context entry is; its table is made when it is first needed. [VTD 9.2 Scalable-mode Root Entry] */
  contextEntry(sid: number): bigint {
    const half = this.#root + BigInt(sid >>> 8) * 16n + (sid & 0x80 ? 8n : 0n)
    let table = this.ram.load(half) & ~0xfffn
    if (table === 0n) {
      table = this.ram.allocate(0x1000n)
      this.ram.store(half, table | 1n)
    }
    return table + BigInt(sid & 0x7f) * 32n
  }

  async #unmask(control: number, data: number): Promise<void> {
    await this.write(control + 4, BigInt(data))
    await this.write(control + 8, MSI.address)
    await this.write(control + 12, 0n)
    await this.write(control, 0n)
  }

  async #enable(bit: bigint): Promise<void> {
    this.#enabled |= bit
    await this.#command(0n)
  }

  async #command(oneShot: bigint): Promise<void> {
    await this.write(REG.GCMD, this.#enabled | oneShot)
    const status = await this.read(REG.GSTS)
    if ((status & (this.#enabled | oneShot)) !== (this.#enabled | oneShot)) {
      throw new Error(`GSTS is 0x${status.toString(16)} after 0x${(this.#enabled | oneShot).toString(16)}`)
    }
  }
}

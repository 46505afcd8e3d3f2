/** A gibibyte in pages of 4 KiB, in the tables of each kind of domain that the host drivers make. */

import { type Area, piecesOf } from '../server/core/area.js'
import type { PagingOps } from '../server/core/driver.js'
import type { Machine } from '../server/core/machine.js'
import { createMachine, DEFAULT_PLATFORM } from '../server/drivers/machine.js'
import { cpuNs } from './clock.js'
import type { Contender, Turn } from './measure.js'
import { XorShift32 } from './random.js'

/** Pages of a GiB. */
export const PAGES = 2 ** 18
/** Of a region that begins one page off: nowhere does a leaf of 2 MiB fit. */
export const FIRST_FRAME = 2 ** 28 + 1
/** IOVA 4 GiB. */
export const FIRST_PAGE = 2 ** 20
export const SEED = 7
const RW = { read: true, write: true }
const ENTRY_ADDRESS = 0xf_ffff_ffff_f000n
const PAGE_SIZE = [4096n]

/** A kind of domain. */
export interface Format {
  readonly name: string
  readonly device: string
  readonly nestParent: boolean
}

/** Every kind: both stages of both architectures. */
export const FORMATS: readonly Format[] = [
  { name: 'smmuv3-stage-1', device: '0000:00:01.0', nestParent: false },
  { name: 'smmuv3-stage-2', device: '0000:00:03.0', nestParent: true },
  { name: 'vtd-first-stage', device: '0000:01:01.0', nestParent: false },
  { name: 'vtd-second-stage', device: '0000:01:03.0', nestParent: true },
]

/** A domain on a device, with nothing mapped yet. */
export class Mapped {
  /** Levels of its tables. */
  readonly levels: number
  readonly #count: number
  readonly #machine: Machine
  readonly #ops: PagingOps & { readonly root: number }
  readonly #pieces: readonly { readonly iova: bigint; readonly address: number; readonly length: bigint }[]
  readonly #pages: readonly { readonly iova: bigint; readonly address: number }[]
  readonly #table = new Int32Array(1024)

  /** @param pages how many, a GiB's if not told */
  constructor({ device: name, nestParent }: Format, pages = PAGES) {
    this.#count = pages
    this.#machine = createMachine({ platform: DEFAULT_PLATFORM, files: { roots: [], map: () => noFiles() } })
    const found = this.#machine.devices.find((device) => device.name === name)
    if (found === undefined) throw new Error(`there is no device ${name}`)
    const flags = { nestParent, dirtyTracking: false, pasid: false }
    this.#ops = found.driver.createPaging(found.device, flags) as PagingOps & { readonly root: number }
    found.device.set(0, this.#ops, null)
    this.levels = Math.ceil((this.#ops.aperture.last.toString(2).length - 12) / 9)
    const start = BigInt(FIRST_PAGE) * 4096n
    const length = BigInt(pages) * 4096n
    const segments = [{ region: { memory: { address: FIRST_FRAME * 4096 } }, offset: 0, length }]
    this.#pieces = [...piecesOf({ start, segments } as unknown as Area, PAGE_SIZE)]
    this.#pages = Array.from(scatteredFrames(pages), (frame, i) => ({
      iova: start + BigInt(i) * 4096n,
      address: (FIRST_FRAME + frame) * 4096,
    }))
  }

  /** One half of the work, the other untimed. */
  contenders(): Contender[] {
    const contender = (name: string, map: () => void, unmap: () => void, isMap: boolean): Contender => ({
      name,
      operations: this.#count,
      run: (rounds) => this.#turn(rounds, map, unmap, isMap),
    })
    const run = [() => this.#map(), () => this.#unmap()] as const
    const each = [() => this.#mapEach(), () => this.#unmapEach()] as const
    return [
      contender('map', ...run, true),
      contender('unmap', ...run, false),
      contender('map-each', ...each, true),
      contender('unmap-each', ...each, false),
    ]
  }

  #turn(rounds: number, map: () => void, unmap: () => void, isMap: boolean): Turn {
    let sum = 0
    let ns = 0
    for (let round = 0; round < rounds; round++) {
      const began = cpuNs()
      map()
      const mapped = cpuNs()
      sum += this.#sumOf(this.#ops.root, this.levels - 1)
      const wentOn = cpuNs()
      unmap()
      ns += isMap ? mapped - began : cpuNs() - wentOn
      sum += this.#sumOf(this.#ops.root, this.levels - 1)
    }
    return { ns, sum: sum >>> 0 }
  }

  /** As IoasMap does without large pages: the steps of one area. */
  #map(): void {
    for (const { iova, address, length } of this.#pieces) this.#ops.map(iova, address, length, RW, true)
  }

  /** With the flush, which the loop in C has not. */
  #unmap(): void {
    for (const { iova, length } of this.#pieces) this.#ops.unmap(iova, length)
    this.#ops.flush()
  }

  #mapEach(): void {
    const pages = this.#pages
    for (let i = 0; i < pages.length; i++) this.#ops.map(pages[i].iova, pages[i].address, 4096n, RW)
  }

  #unmapEach(): void {
    const pages = this.#pages
    for (let i = 0; i < pages.length; i++) this.#ops.unmap(pages[i].iova, 4096n)
    this.#ops.flush()
  }

  /** Of all entries, read out of physical memory: leaves as they are, entries of tables without the table's address. */
  #sumOf(table: number, level: number): number {
    const words = level === 0 ? this.#table : new Int32Array(1024)
    this.#machine.readPhysical(table, new Uint8Array(words.buffer))
    let sum = 0
    for (let i = 0; i < 512; i++) {
      let lo = words[2 * i]
      let hi = words[2 * i + 1]
      if (lo === 0 && hi === 0) continue
      if (level > 0) {
        const entry = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
        sum = (Math.imul(sum, 31) + this.#sumOf(Number(entry & ENTRY_ADDRESS), level - 1)) | 0
        const rest = entry & ~ENTRY_ADDRESS
        lo = Number(BigInt.asIntN(32, rest))
        hi = Number(BigInt.asIntN(32, rest >> 32n))
      }
      sum = (sum + Math.imul(lo ^ Math.imul(hi, 0x9e3779b1), 2 * i + 1)) | 0
    }
    return sum
  }
}

/** Every frame once, in no order. */
function scatteredFrames(pages: number): Uint32Array {
  const frames = Uint32Array.from({ length: pages }, (_, i) => i)
  const random = new XorShift32(SEED)
  for (let i = pages - 1; i > 0; i--) {
    const other = random.below(i + 1)
    const kept = frames[i]
    frames[i] = frames[other]
    frames[other] = kept
  }
  return frames
}

function noFiles(): never {
  throw new Error('there are no files here')
}

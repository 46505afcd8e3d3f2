/** Tables of one domain with a log of writes, mapped from end to end, that a reading of the log is measured with. */

import { MEMORY, Memory } from '../hw-model/memory/index.js'
import type { Area } from '../server/core/area.js'
import { readDirty } from '../server/core/dirty-bits.js'
import { DirtyRuns, type RunColumns } from '../server/core/dirty-runs.js'
import { IntervalMap } from '../server/core/interval-map.js'
import { DEFAULT_LIMITS } from '../server/core/limits.js'
import type { PagingDomain } from '../server/core/paging-domain.js'
import { HostRam } from '../server/drivers/host-ram.js'
import { TableBuilder } from '../server/drivers/table-builder.js'
import { SecondStageEncoder } from '../server/drivers/vtd/encoders.js'
import { cpuNs } from './clock.js'
import type { Turn } from './measure.js'
import { XorShift32 } from './random.js'

const PAGE = 4096n
const PAGE_LG2 = 12n
const PAGE_BYTES = 4096
const TOP_LEVEL = 3
const BASE = 2 ** 33
/** What maps 1 TiB in 4 KiB pages, and as much again. */
const TABLE_RAM = 2 ** 32
/** D of a second-stage leaf. [VTD 9.8 Second-Stage Paging Entries] */
const DIRTY = 1 << 9
/** Of one reply. */
const MOST_RUNS = DEFAULT_LIMITS.call.batch_elements
const SEED = 0x2545f491

/** So many pages, in leaves of a level. */
export class DirtyTables {
  readonly #memory = new Memory()
  readonly #builder: TableBuilder
  readonly #domain: PagingDomain
  readonly #pages: number
  readonly #level: number
  readonly #dirty: number
  #columns: RunColumns = { runFirsts: new BigUint64Array(0), runLasts: new BigUint64Array(0) }

  constructor(pages: number, level: number, dirty: number) {
    const ram = new HostRam(this.#memory, BASE, TABLE_RAM)
    this.#builder = new TableBuilder(this.#memory, ram, new SecondStageEncoder(level, false), TOP_LEVEL)
    this.#builder.map({ page: 0, pages, frame: 0 }, { read: true, write: true }, level === 0)
    this.#pages = pages
    this.#level = level
    this.#dirty = dirty
    const areas = new IntervalMap<Pick<Area, 'start' | 'last' | 'busy'>>()
    const area = { start: 0n, last: BigInt(pages) * PAGE - 1n, busy: undefined }
    areas.insert(area.start, area.last, area)
    const collect = (start: bigint, last: bigint, clears: boolean, found?: (iova: number, length: number) => void) => {
      const tell = (page: number, count: number): void => found?.(page * PAGE_BYTES, count * PAGE_BYTES)
      const next = this.#builder.collectDirty(Number(start >> PAGE_LG2), Number(last >> PAGE_LG2) + 1, clears, tell)
      return next < 0 ? undefined : BigInt(next) << PAGE_LG2
    }
    this.#domain = { ioas: { areas }, ops: { dirty: { collect } } } as unknown as PagingDomain
  }

  /** Writes to pages, and reads which ones, as often as asked. Only reading is timed. */
  turn(rounds: number): Turn {
    let [ns, sum] = [0, 0]
    for (let round = 0; round < rounds; round++) {
      this.#write()
      const began = cpuNs()
      this.#read()
      ns += cpuNs() - began
      sum = (sum + this.#checksum()) >>> 0
    }
    return { ns, sum }
  }

  /** As hardware does: it sets a flag in the leaf. */
  #write(): void {
    const random = new XorShift32(SEED)
    const span = 512 ** this.#level
    const memory = this.#memory
    for (let i = 0; i < this.#dirty; i++) {
      const leaf = this.#leafOf((random.next() % (this.#pages / span)) * span)
      memory.loadWord(leaf)
      if ((memory.lo & DIRTY) !== 0) continue
      const status = memory.updateFlags(leaf, memory.lo, memory.lo | DIRTY, memory.hi)
      if (status !== MEMORY.OK) throw new Error('a leaf is in memory')
    }
  }

  #leafOf(page: number): number {
    let table = this.#builder.root
    for (let level = TOP_LEVEL; ; level--) {
      const slot = table + (Math.floor(page / 512 ** level) % 512) * 8
      if (level === this.#level) return slot
      this.#memory.loadWord(slot)
      table = (this.#memory.hi & 0xfffff) * 2 ** 32 + ((this.#memory.lo & ~0xfff) >>> 0)
    }
  }

  /** As GetDirtyBitmap does with `as_runs`, in steps that another call could come between, up to the columns of its reply. */
  #read(): void {
    const span = { start: 0n, last: BigInt(this.#pages) * PAGE - 1n, bytesOfBit: PAGE }
    const runs = new DirtyRuns(span)
    for (const _ of readDirty(this.#domain, span, true, runs.sink, () => runs.count >= MOST_RUNS));
    this.#columns = runs.columns()
  }

  #checksum(): number {
    const { runFirsts, runLasts } = this.#columns
    let sum = runFirsts.length
    for (let i = 0; i < runFirsts.length; i++) {
      const [first, last] = [Number(runFirsts[i] >> PAGE_LG2), Number(runLasts[i] >> PAGE_LG2)]
      sum = Math.imul((Math.imul(sum, 31) + first) | 0, 31) + last
    }
    return sum >>> 0
  }
}

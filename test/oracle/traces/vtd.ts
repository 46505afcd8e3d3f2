/**
 * The amd64 guest's trace through a VT-d unit in scalable mode: its descriptors as they stand, its devices' addresses, and
 * first-stage tables that say at each moment what the trace says. What the guest unmapped is not in the trace, only the flush
 * that followed: so leaves go right before the descriptor that names them, as the guest's driver does it.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SparseBacking } from '../../../hw-model/memory/index.js'
import { ACCESS } from '../../../hw-model/port.js'
import { presetOptions, VtdUnit } from '../../../hw-model/vtd/index.js'
import type { TracedTranslation } from '../../fixtures/traces.js'
import { NEVER_EVICTS, type Replayed, TraceMachine } from './replay.js'
import type { Writing } from './tables.js'

/** The guest's own memory, into which waits write their status. */
const GUEST_BYTES = 0x2_0000_0000
const BASE = 0x20_0000_0000n
const REG = { GCMD: 0x18, RTADDR: 0x20, FSTS: 0x34, IQH: 0x80, IQT: 0x88, IQA: 0x90 } as const
const TE = 0x8000_0000
const SRTP = 0x4000_0000
const QIE = 0x0400_0000
const QUEUE_BYTES = 8192
const DESCRIPTOR_BYTES = 32

/** Present, writable, user, accessed, dirty; PS where it is large. [VTD 9.7 First-Stage Paging Entries] */
const WRITING: Writing = {
  table: (address) => address | 0x27n,
  leaf: (address, leafLg2, _read, write) => address | (write ? 0x67n : 0x25n) | (leafLg2 === 12 ? 0n : 0x80n),
}

interface Stream {
  readonly sid: number
  readonly did: number
  readonly pgtt?: number
}

/** Plays the whole trace, or as many rows of it as there are. */
export const replayVtd = (folder: string, capture: string): Replayed => new Machine(capture).play('F', folder)

class Machine extends TraceMachine {
  protected readonly unit: VtdUnit
  readonly #queue: bigint
  readonly #dids = new Map<number, number>()
  #tail = 0

  constructor(capture: string) {
    super(BASE, WRITING)
    this.memory.place(0, new SparseBacking(GUEST_BYTES))
    const { registers, streams } = JSON.parse(readFileSync(join(capture, 'F/capture.json'), 'utf8')) as {
      registers: Record<string, string>
      streams: Stream[]
    }
    const halves = (name: string): readonly [number, number] => {
      const value = BigInt(registers[name])
      return [Number(value & 0xffffffffn), Number(value >> 32n)]
    }
    const ids = { VER: Number(registers['VER']), CAP: halves('CAP'), ECAP: halves('ECAP') }
    this.unit = new VtdUnit(
      this.memory,
      { message: () => {}, interrupt: () => {} },
      {
        ...presetOptions('qemu-first-stage', ids),
        caches: { policy: 'hardware', iotlb: NEVER_EVICTS, walk1: NEVER_EVICTS, walk2: NEVER_EVICTS },
      },
    )
    this.#queue = this.ram.allocate(BigInt(QUEUE_BYTES), BigInt(QUEUE_BYTES))
    this.#start(streams)
  }

  protected translate(row: TracedTranslation): void {
    const { sid, iova, pa, leafLg2, write, did } = row
    if (this.#dids.get(sid) !== did) throw new Error(`source-id ${sid} has domain ${did}, and not the captured one`)
    this.tablesOf(did).map(iova, pa, leafLg2, true, write)
    this.ask(row, ACCESS.READ)
  }

  protected command(low: bigint, high: bigint): void {
    this.#unmap(low, high)
    const at = this.#queue + BigInt(this.#tail)
    for (const [i, word] of [low, high, 0n, 0n].entries()) this.ram.write(at + BigInt(i) * 8n, word)
    this.#tail = (this.#tail + DESCRIPTOR_BYTES) % QUEUE_BYTES
    this.unit.writeRegister(REG.IQT, 8, this.#tail, 0)
    while (this.unit.hasWork) this.unit.run()
    const [head] = this.unit.readRegister(REG.IQH, 8)
    if (head !== this.#tail) throw new Error(`0x${low.toString(16)} 0x${high.toString(16)} was not consumed`)
    this.replayed.commands++
  }

  /** The leaves that a flush names: page-selective ones theirs, all others everything of their domains. */
  #unmap(low: bigint, high: bigint): void {
    const type = low & 0xfn
    if (type !== 2n && type !== 6n) return
    const granularity = (low >> 4n) & 3n
    const did = Number((low >> 16n) & 0xffffn)
    const isGlobal = type === 2n && granularity === 1n
    const isPages = granularity === 3n
    const am = high & 0x3fn
    const first = isPages ? high & ~0xfffn & ~((4096n << am) - 1n) : 0n
    const last = isPages ? first + (4096n << am) - 1n : (1n << 48n) - 1n
    for (const [owner, tables] of this.tables) if (isGlobal || owner === did) tables.clear(first, last)
  }

  /** Root, scalable context, PASID directory and PASID table entries: RID_PASID is 0. [VTD 9.1 to 9.6] */
  #start(streams: readonly Stream[]): void {
    const ram = this.ram
    const root = ram.allocate(4096n)
    for (const { sid, did, pgtt } of streams) {
      if (pgtt !== 1) continue
      this.#dids.set(sid, did)
      const half = root + BigInt(sid >> 8) * 16n + ((sid & 0x80) !== 0 ? 8n : 0n)
      if (ram.read(half) === 0n) ram.write(half, ram.allocate(4096n) | 1n)
      const context = (ram.read(half) & ~0xfffn) + BigInt(sid & 0x7f) * 32n
      const directory = ram.allocate(4096n)
      const table = ram.allocate(4096n)
      ram.write(context, directory | 1n)
      ram.write(directory, table | 1n)
      ram.write(table + 8n, BigInt(did))
      // 4 levels, FSPTPTR.
      ram.write(table + 16n, this.tablesOf(did).root)
      // Present, first stage.
      ram.write(table, 1n | (1n << 6n))
    }
    // Scalable mode, 256-bit descriptors.
    this.write8(REG.RTADDR, root | (1n << 10n))
    this.unit.writeRegister(REG.GCMD, 4, SRTP, 0)
    this.write8(REG.IQA, this.#queue | (1n << 11n) | 1n)
    this.unit.writeRegister(REG.GCMD, 4, QIE, 0)
    this.unit.writeRegister(REG.GCMD, 4, TE + QIE, 0)
    this.switchOracleOn()
  }
}

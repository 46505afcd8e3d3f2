/**
 * The arm64 guest's trace through an SMMUv3: its commands as they stand, its devices' addresses, and tables that say at each
 * moment what the trace says. What the guest unmapped is not in the trace, only the TLBI that followed: so leaves go right
 * before the command that names them, as the guest's driver does it.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ACCESS } from '../../../hw-model/port.js'
import { idRegisters, SmmuV3 } from '../../../hw-model/smmuv3/index.js'
import type { TracedTranslation } from '../../fixtures/traces.js'
import { NEVER_EVICTS, type Replayed, TraceMachine } from './replay.js'
import type { Writing } from './tables.js'

const BASE = 0x80_0000_0000n
const STREAMS_LG2 = 9
const COMMANDS_LG2 = 8
const REG = { CR0: 0x20, STRTAB_BASE: 0x80, CFG: 0x88, CMDQ_BASE: 0x90, CMDQ_PROD: 0x98, CMDQ_CONS: 0x9c } as const

/** Valid, AF, inner shareable, nG; AP[2:1] is 01 or 11. [Arm D8.3 Translation table descriptor formats] */
const WRITING: Writing = {
  table: (address) => address | 3n,
  leaf: (address, leafLg2, _read, write) =>
    address | (1n << 11n) | (1n << 10n) | (3n << 8n) | (write ? 1n << 6n : 3n << 6n) | (leafLg2 === 12 ? 3n : 1n),
}

interface Stream {
  readonly sid: number
  readonly cd?: readonly string[]
}

/** Plays the whole trace, or as many rows of it as there are. */
export const replaySmmuv3 = (folder: string, capture: string): Replayed => new Machine(capture).play('A', folder)

class Machine extends TraceMachine {
  protected readonly unit: SmmuV3
  readonly #queue: bigint
  readonly #asids = new Map<number, number>()
  #produced = 0

  constructor(capture: string) {
    super(BASE, WRITING)
    const ids = JSON.parse(readFileSync(join(capture, 'A/capture.json'), 'utf8')) as {
      registers: Record<string, string>
      streams: Stream[]
    }
    const id = Object.fromEntries(
      Object.entries(ids.registers)
        .filter(([name]) => /^(IDR[0-5]|IIDR|AIDR)$/.test(name))
        .map(([name, value]) => [name, Number(value)]),
    )
    this.unit = new SmmuV3({
      memory: this.memory,
      owner: { message: () => {}, interrupt: () => {} },
      id: idRegisters('default', id),
      caches: { policy: 'hardware', tlb: NEVER_EVICTS, walk1: NEVER_EVICTS },
    })
    this.#queue = this.ram.allocate(16n << BigInt(COMMANDS_LG2), 4096n)
    this.#start(ids.streams)
  }

  protected translate(row: TracedTranslation): void {
    const { sid, iova, pa, leafLg2, read, write } = row
    const asid = this.#asids.get(sid)
    if (asid === undefined) throw new Error(`the capture has no CD of stream ${sid}`)
    this.tablesOf(asid).map(iova, pa, leafLg2, read, write)
    this.ask(row, read ? ACCESS.READ : ACCESS.WRITE)
  }

  protected command(low: bigint, high: bigint): void {
    this.#unmap(low, high)
    const slot = this.#queue + BigInt(this.#produced % 2 ** COMMANDS_LG2) * 16n
    // A SYNC's message would go to memory that is not here.
    this.ram.write(slot, (low & 0xffn) === 0x46n ? 0x46n : low)
    this.ram.write(slot + 8n, (low & 0xffn) === 0x46n ? 0n : high)
    this.#produced = (this.#produced + 1) % 2 ** (COMMANDS_LG2 + 1)
    this.unit.writeRegister(REG.CMDQ_PROD, 4, this.#produced, 0)
    const [consumed] = this.unit.readRegister(REG.CMDQ_CONS, 4)
    if (consumed !== this.#produced) throw new Error(`0x${low.toString(16)} 0x${high.toString(16)} was not consumed`)
    this.replayed.commands++
  }

  /** The leaves that a TLBI names. NUM, SCALE and TG as the manual counts them. [SMMU 4.4.1.1] */
  #unmap(low: bigint, high: bigint): void {
    const opcode = low & 0xffn
    if (opcode < 0x10n || opcode > 0x30n) return
    const asid = Number(low >> 48n)
    const tables = this.tables.get(asid)
    if (opcode === 0x12n) {
      const granule = (high >> 10n) & 3n
      const pages = granule === 0n ? 1n : (((low >> 12n) & 31n) + 1n) << ((low >> 20n) & 31n)
      const first = high & ~0xfffn
      tables?.clear(first, first + pages * 4096n - 1n)
    } else if (opcode === 0x11n) tables?.clear(0n, (1n << 48n) - 1n)
    else for (const all of this.tables.values()) all.clear(0n, (1n << 48n) - 1n)
  }

  #start(streams: readonly Stream[]): void {
    const table = this.ram.allocate(64n << BigInt(STREAMS_LG2))
    for (const { sid, cd } of streams) {
      if (cd === undefined) continue
      const asid = Number(BigInt(cd[0]) >> 48n)
      this.#asids.set(sid, asid)
      const at = this.ram.allocate(64n)
      // T0SZ 16, 4 KiB, no TTB1; V, IPS 44 bits, AA64, R, A, ASET.
      const first = 16n | (1n << 30n) | (1n << 31n) | (4n << 32n) | (1n << 41n) | (7n << 45n) | (BigInt(asid) << 48n)
      this.ram.write(at, first)
      this.ram.write(at + 8n, this.tablesOf(asid).root)
      // V, Config stage 1 alone, S1ContextPtr.
      this.ram.write(table + BigInt(sid) * 64n, 1n | (5n << 1n) | at)
    }
    this.write8(REG.STRTAB_BASE, table)
    this.unit.writeRegister(REG.CFG, 4, STREAMS_LG2, 0)
    this.write8(REG.CMDQ_BASE, this.#queue | BigInt(COMMANDS_LG2))
    this.unit.writeRegister(REG.CR0, 4, 0b1001, 0)
    this.switchOracleOn()
  }
}

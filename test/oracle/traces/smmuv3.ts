/**
 * The arm64 guest's trace through an SMMUv3: its commands as they stand, its devices' addresses, and tables that say at each
 * moment what the trace says. What the guest unmapped is not in the trace, only the TLBI that followed: so leaves go right
 * before the command that names them, as the guest's driver does it.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Memory, SparseBacking } from '../../../hw-model/memory/index.js'
import { ACCESS, NO_PASID, Outcome, STATUS, Transaction } from '../../../hw-model/port.js'
import { idRegisters, SmmuV3 } from '../../../hw-model/smmuv3/index.js'
import { type TracedTranslation, tracedRows } from '../../fixtures/traces.js'
import { Ram } from '../../simulation/ram.js'
import { emptyReplay, NEVER_EVICTS, noteWrong, type Replayed } from './replay.js'
import { TraceTables, type Writing } from './tables.js'

const BASE = 0x80_0000_0000n
const BYTES = 0x1000_0000n
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
export function replaySmmuv3(folder: string, capture: string): Replayed {
  const machine = new Machine(capture)
  for (const row of tracedRows('A', folder)) {
    if (row.kind === 'translation') machine.translate(row)
    else machine.command(row.low, row.high)
  }
  return machine.end()
}

class Machine {
  readonly #replayed = emptyReplay()
  readonly #memory = new Memory()
  readonly #ram: Ram
  readonly #unit: SmmuV3
  readonly #queue: bigint
  readonly #asids = new Map<number, number>()
  readonly #tables = new Map<number, TraceTables>()
  readonly #transaction = new Transaction()
  readonly #outcome = new Outcome()
  #produced = 0

  constructor(capture: string) {
    this.#memory.place(Number(BASE), new SparseBacking(Number(BYTES)))
    this.#ram = new Ram(this.#memory, BASE, BASE + BYTES)
    const ids = JSON.parse(readFileSync(join(capture, 'A/capture.json'), 'utf8')) as {
      registers: Record<string, string>
      streams: Stream[]
    }
    const id = Object.fromEntries(
      Object.entries(ids.registers)
        .filter(([name]) => /^(IDR[0-5]|IIDR|AIDR)$/.test(name))
        .map(([name, value]) => [name, Number(value)]),
    )
    this.#unit = new SmmuV3({
      memory: this.#memory,
      owner: { message: () => {}, interrupt: () => {} },
      id: idRegisters('default', id),
      caches: { policy: 'hardware', tlb: NEVER_EVICTS, walk1: NEVER_EVICTS },
    })
    this.#queue = this.#ram.allocate(16n << BigInt(COMMANDS_LG2), 4096n)
    this.#start(ids.streams)
  }

  translate(row: TracedTranslation): void {
    const { sid, iova, pa, leafLg2, read, write } = row
    const asid = this.#asids.get(sid)
    if (asid === undefined) throw new Error(`the capture has no CD of stream ${sid}`)
    this.#tablesOf(asid).map(iova, pa, leafLg2, read, write)
    const transaction = this.#transaction
    transaction.rid = sid
    transaction.pasid = NO_PASID
    transaction.lo = Number(BigInt.asIntN(32, iova))
    transaction.hi = Number(iova >> 32n)
    transaction.access = read ? ACCESS.READ : ACCESS.WRITE
    const outcome = this.#outcome
    this.#unit.translate(transaction, outcome)
    this.#replayed.translations++
    this.#replayed.hits += outcome.hit
    if (outcome.status !== STATUS.OK || BigInt(outcome.address) !== pa) {
      const got = `status ${outcome.status} 0x${outcome.address.toString(16)}`
      noteWrong(this.#replayed, `stream ${sid} 0x${iova.toString(16)}: ${got}, not 0x${pa.toString(16)}`)
    }
  }

  command(low: bigint, high: bigint): void {
    this.#unmap(low, high)
    const slot = this.#queue + BigInt(this.#produced % 2 ** COMMANDS_LG2) * 16n
    // A SYNC's message would go to memory that is not here.
    this.#ram.write(slot, (low & 0xffn) === 0x46n ? 0x46n : low)
    this.#ram.write(slot + 8n, (low & 0xffn) === 0x46n ? 0n : high)
    this.#produced = (this.#produced + 1) % 2 ** (COMMANDS_LG2 + 1)
    this.#unit.writeRegister(REG.CMDQ_PROD, 4, this.#produced, 0)
    const [consumed] = this.#unit.readRegister(REG.CMDQ_CONS, 4)
    if (consumed !== this.#produced) throw new Error(`0x${low.toString(16)} 0x${high.toString(16)} was not consumed`)
    this.#replayed.commands++
  }

  end(): Replayed {
    const { oracle } = this.#unit
    if (oracle === null) throw new Error('the oracle is on')
    oracle.check(Number.MAX_SAFE_INTEGER)
    this.#replayed.reports = oracle.reports
    this.#replayed.evictions = this.#unit.counters.evictions
    return this.#replayed
  }

  /** The leaves that a TLBI names. NUM, SCALE and TG as the manual counts them. [SMMU 4.4.1.1] */
  #unmap(low: bigint, high: bigint): void {
    const opcode = low & 0xffn
    if (opcode < 0x10n || opcode > 0x30n) return
    const asid = Number(low >> 48n)
    const tables = this.#tables.get(asid)
    if (opcode === 0x12n) {
      const granule = (high >> 10n) & 3n
      const pages = granule === 0n ? 1n : (((low >> 12n) & 31n) + 1n) << ((low >> 20n) & 31n)
      const first = high & ~0xfffn
      tables?.clear(first, first + pages * 4096n - 1n)
    } else if (opcode === 0x11n) tables?.clear(0n, (1n << 48n) - 1n)
    else for (const all of this.#tables.values()) all.clear(0n, (1n << 48n) - 1n)
  }

  #tablesOf(asid: number): TraceTables {
    const known = this.#tables.get(asid)
    if (known !== undefined) return known
    const tables = new TraceTables(this.#ram, WRITING)
    this.#tables.set(asid, tables)
    return tables
  }

  #start(streams: readonly Stream[]): void {
    const table = this.#ram.allocate(64n << BigInt(STREAMS_LG2))
    for (const { sid, cd } of streams) {
      if (cd === undefined) continue
      const asid = Number(BigInt(cd[0]) >> 48n)
      this.#asids.set(sid, asid)
      const at = this.#ram.allocate(64n)
      // T0SZ 16, 4 KiB, no TTB1; V, IPS 44 bits, AA64, R, A, ASET.
      const first = 16n | (1n << 30n) | (1n << 31n) | (4n << 32n) | (1n << 41n) | (7n << 45n) | (BigInt(asid) << 48n)
      this.#ram.write(at, first)
      this.#ram.write(at + 8n, this.#tablesOf(asid).root)
      // V, Config stage 1 alone, S1ContextPtr.
      this.#ram.write(table + BigInt(sid) * 64n, 1n | (5n << 1n) | at)
    }
    this.#write8(REG.STRTAB_BASE, table)
    this.#unit.writeRegister(REG.CFG, 4, STREAMS_LG2, 0)
    this.#write8(REG.CMDQ_BASE, this.#queue | BigInt(COMMANDS_LG2))
    this.#unit.writeRegister(REG.CR0, 4, 0b1001, 0)
    this.#unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: 100 })
  }

  #write8(offset: number, value: bigint): void {
    this.#unit.writeRegister(offset, 8, Number(value & 0xffffffffn), Number(value >> 32n))
  }
}

/** What both architectures' replays have in common: who plays, what is counted, what is wrong. */

import { Memory, SparseBacking } from '../../../hw-model/memory/index.js'
import { NO_PASID, Outcome, type RemappingUnit, STATUS, type StaleReport, Transaction } from '../../../hw-model/port.js'
import { type TracedGuest, type TracedTranslation, tracedRows } from '../../fixtures/traces.js'
import { Ram } from '../../simulation/ram.js'
import { TraceTables, type Writing } from './tables.js'

/** What a replay came to. */
export interface Replayed {
  translations: number
  commands: number
  /** Answered by the translation cache. */
  hits: number
  /** Made room for others: a cache that never evicts has none. */
  evictions: number
  /** Translations that ended otherwise than in the trace, in words; the first few. */
  readonly wrong: string[]
  reports: readonly StaleReport[]
}

/** Wrong translations that are told. */
const TOLD = 5

/** Larger than what any of the traces keeps alive. */
export const NEVER_EVICTS = { entries: 1 << 17, ways: 8 } as const

/** Bytes for tables and queues. */
const BYTES = 0x1000_0000n

/** A unit, and tables that say at each moment what the trace says. */
export abstract class TraceMachine {
  readonly replayed: Replayed = { translations: 0, commands: 0, hits: 0, evictions: 0, wrong: [], reports: [] }
  protected readonly memory = new Memory()
  protected readonly ram: Ram
  protected abstract readonly unit: RemappingUnit
  /** By ASID or domain-id. */
  protected readonly tables = new Map<number, TraceTables>()
  readonly #writing: Writing
  readonly #transaction = new Transaction()
  readonly #outcome = new Outcome()

  /** @param base where tables and queues are */
  constructor(base: bigint, writing: Writing) {
    this.memory.place(Number(base), new SparseBacking(Number(BYTES)))
    this.ram = new Ram(this.memory, base, base + BYTES)
    this.#writing = writing
  }

  /** Plays the whole trace, or as many rows of it as there are. */
  play(guest: TracedGuest, folder: string): Replayed {
    for (const row of tracedRows(guest, folder)) {
      if (row.kind === 'translation') this.translate(row)
      else this.command(row.low, row.high)
    }
    const { oracle, counters } = this.unit
    if (oracle === null) throw new Error('the oracle is on')
    oracle.check(Number.MAX_SAFE_INTEGER)
    this.replayed.reports = oracle.reports
    this.replayed.evictions = counters.evictions
    return this.replayed
  }

  /** Makes the tables say what a row says, and asks the unit. */
  protected abstract translate(row: TracedTranslation): void

  /** Takes away what a command names, and sends it. */
  protected abstract command(low: bigint, high: bigint): void

  /** Compares one translation with the trace's. */
  protected ask({ sid, iova, pa }: TracedTranslation, access: number): void {
    const transaction = this.#transaction
    transaction.rid = sid
    transaction.pasid = NO_PASID
    transaction.lo = Number(BigInt.asIntN(32, iova))
    transaction.hi = Number(iova >> 32n)
    transaction.access = access
    const outcome = this.#outcome
    this.unit.translate(transaction, outcome)
    this.replayed.translations++
    this.replayed.hits += outcome.hit
    if (outcome.status === STATUS.OK && BigInt(outcome.address) === pa) return
    if (this.replayed.wrong.length >= TOLD) return
    const got = `status ${outcome.status} 0x${outcome.address.toString(16)}`
    this.replayed.wrong.push(`device ${sid} 0x${iova.toString(16)}: ${got}, not 0x${pa.toString(16)}`)
  }

  /** The tables of an ASID or domain-id. */
  protected tablesOf(owner: number): TraceTables {
    const known = this.tables.get(owner)
    if (known !== undefined) return known
    const tables = new TraceTables(this.ram, this.#writing)
    this.tables.set(owner, tables)
    return tables
  }

  protected write8(offset: number, value: bigint): void {
    this.unit.writeRegister(offset, 8, Number(value & 0xffffffffn), Number(value >> 32n))
  }

  /** To be called when the unit is set up. */
  protected switchOracleOn(): void {
    this.unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: 100 })
  }
}

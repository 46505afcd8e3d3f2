/** A private unit on a private bus: the hardware model alone, with its owner's regions as its only memory. */

import { type Backing, CHUNK_BYTES, Memory } from '../../hw-model/memory/index.js'
import { type RemappingUnit, Transaction, type WalkStep } from '../../hw-model/port.js'
import { assert, type DmaOutcome, type ExplainStep, Refusal } from '../core/driver.js'
import type { RawUnit, RawUnitSpec, RegionMemory, RegisterAccess, UnitEvent } from '../core/machine.js'
import { makeUnit, type NamedRegisters, readIds } from './id-registers.js'
import { spell } from './invalidation-text.js'

/** Events kept for the owner. A unit that nobody polls must not grow; what is beyond is counted as lost. */
const EVENT_LIMIT = 1024

/** A raw unit over a memory that holds nothing but what is placed on it. */
export class PrivateUnit implements RawUnit {
  readonly preset: string
  readonly idRegisters: NamedRegisters
  readonly #memory = new Memory()
  readonly #unit: RemappingUnit
  readonly #backingOf: (region: RegionMemory) => Backing
  readonly #placed = new Map<RegionMemory, number>()
  readonly #transaction = new Transaction()
  #events: UnitEvent[] = []
  #lost = 0

  /** @throws Refusal ENOENT (preset), EINVAL (an override) */
  constructor(spec: RawUnitSpec, backingOf: (region: RegionMemory) => Backing) {
    this.preset = spec.preset
    this.#backingOf = backingOf
    this.#unit = makeUnit(spec, this.#memory, {
      message: (address, data) => this.#keep({ kind: 'message', address, data, source: 'MSI' }),
      interrupt: (source) => this.#keep({ kind: 'interrupt', address: 0, data: 0, source }),
    })
    this.idRegisters = readIds(this.#unit)
  }

  get kind(): 'smmuv3' | 'vtd' {
    return this.#unit.kind
  }

  get registerBytes(): number {
    return this.#unit.registerBytes
  }

  placeRegion(region: RegionMemory, address: number): void {
    const backing = this.#backingOf(region)
    if (address % CHUNK_BYTES !== 0) {
      throw new Refusal('EINVAL', 'a region stands on a bus at a multiple of 65536', { address })
    }
    const other = this.#memory.findOverlap(address, backing.lengthBytes)
    if (other !== undefined) {
      throw new Refusal('EINVAL', 'another region is there on the bus', { address, otherAddress: other.base })
    }
    this.#memory.place(address, backing)
    this.#placed.set(region, address)
  }

  removeRegion(region: RegionMemory): void {
    const address = this.#placed.get(region)
    if (address === undefined) return
    this.#memory.remove(address)
    this.#placed.delete(region)
  }

  readRegister({ offset, bytes }: RegisterAccess): bigint {
    const [lo, hi] = this.#unit.readRegister(offset, bytes)
    return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
  }

  writeRegister({ offset, bytes }: RegisterAccess, value: bigint): void {
    this.#unit.writeRegister(offset, bytes, Number(value & 0xffff_ffffn), Number(value >> 32n))
  }

  get hasWork(): boolean {
    return this.#unit.hasWork
  }

  run(): void {
    this.#unit.run()
  }

  translate(rid: number, pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#unit.translate(this.#fill(rid, pasid, lo, hi, access), out)
  }

  explain(rid: number, pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): ExplainStep[] {
    const steps: WalkStep[] = []
    this.#unit.explain(this.#fill(rid, pasid, lo, hi, access), out, { step: (step) => steps.push(step) })
    return steps
  }

  peek(rid: number, pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): boolean {
    return this.#unit.peek(this.#fill(rid, pasid, lo, hi, access), out)
  }

  missing(rid: number, pasid: number, lo: number, hi: number, access: number): string {
    return spell(this.#unit.missing(this.#fill(rid, pasid, lo, hi, access)))
  }

  faultName(fault: number): string {
    return this.#unit.faultName(fault)
  }

  counters(): Readonly<Record<string, number>> {
    return { ...this.#unit.counters }
  }

  takeEvents(): { readonly events: readonly UnitEvent[]; readonly lost: number } {
    const taken = { events: this.#events, lost: this.#lost }
    this.#events = []
    this.#lost = 0
    return taken
  }

  reset(): void {
    this.#unit.reset()
    this.takeEvents()
  }

  destroy(): void {
    for (const region of [...this.#placed.keys()]) this.removeRegion(region)
    assert(this.#memory.placements.length === 0, 'only regions stand on the bus of a raw unit')
  }

  #keep(event: UnitEvent): void {
    if (this.#events.length < EVENT_LIMIT) this.#events.push(event)
    else this.#lost++
  }

  #fill(rid: number, pasid: number, lo: number, hi: number, access: number): Transaction {
    const transaction = this.#transaction
    transaction.rid = rid
    transaction.pasid = pasid
    transaction.lo = lo
    transaction.hi = hi
    transaction.access = access
    return transaction
  }
}

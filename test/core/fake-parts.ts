/** What a fake machine gives to clients: memory, and raw units that are a few registers. */

import { DMA_STATUS, type DmaOutcome } from '../../server/core/driver.js'
import type { RawUnit, RegionMemory } from '../../server/core/machine.js'

/** Counts what exists. */
export interface Census {
  live: number
  failPoint: (what: string) => void
}

/** Bytes in a map. */
export class FakeMemory implements RegionMemory {
  readonly residentBytes = 0
  readonly #bytes = new Map<number, number>()

  constructor(
    readonly census: Census,
    readonly forget: (memory: FakeMemory) => void,
    readonly address: number,
    readonly lengthBytes: number,
    readonly writable: boolean,
  ) {
    census.live++
  }

  read(offset: number, into: Uint8Array): void {
    for (let at = 0; at < into.length; at++) into[at] = this.#bytes.get(offset + at) ?? 0
  }

  write(offset: number, from: Uint8Array): void {
    for (const [at, byte] of from.entries()) this.#bytes.set(offset + at, byte)
  }

  release(): void {
    this.census.live--
    this.forget(this)
  }
}

/** Registers that remember, and a translation that adds the source id. */
export class FakeRawUnit implements RawUnit {
  readonly kind = 'smmuv3'
  readonly preset = 'default'
  readonly idRegisters = new Map([['IDR0', 5n]])
  readonly registerBytes = 0x20000
  work = 0
  readonly placed = new Set<RegionMemory>()
  readonly #registers = new Map<number, bigint>()
  #events: { kind: 'interrupt'; address: number; data: number; source: string }[] = []

  constructor(readonly machine: Census) {
    machine.live++
  }

  placeRegion(region: RegionMemory): void {
    this.machine.failPoint('place')
    this.placed.add(region)
  }

  removeRegion(region: RegionMemory): void {
    this.placed.delete(region)
  }

  readRegister({ offset }: { offset: number }): bigint {
    return this.#registers.get(offset) ?? 0n
  }

  writeRegister({ offset }: { offset: number }, value: bigint): void {
    this.#registers.set(offset, value)
    this.work = 2
    this.#events.push({ kind: 'interrupt', address: 0, data: 0, source: 'cmdq-sync' })
  }

  /** Every write starts two runs of work. */
  get hasWork(): boolean {
    return this.work > 0
  }

  run(): void {
    this.work--
  }

  translate(rid: number, _pasid: number, lo: number, hi: number, _access: number, out: DmaOutcome): void {
    out.status = DMA_STATUS.OK
    out.address = (hi >>> 0) * 2 ** 32 + (lo >>> 0) + rid
    out.hit = 1
  }

  explain(): [] {
    return []
  }

  peek(): boolean {
    return false
  }

  missing(): string {
    return ''
  }

  faultName(): string {
    return ''
  }

  counters(): Record<string, number> {
    return {}
  }

  takeEvents() {
    const events = this.#events
    this.#events = []
    return { events, lost: 0 }
  }

  reset(): void {
    this.#registers.clear()
  }

  destroy(): void {
    this.machine.live--
  }
}

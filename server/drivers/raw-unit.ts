/** A private unit on a private bus: the hardware model alone, with its owner's regions as its only memory. */

import { type Backing, CHUNK_BYTES, Memory } from '../../hw-model/memory/index.js'
import {
  type AtcInvalidation,
  type DevicePort,
  Outcome,
  PageRequest,
  REQUEST,
  type RemappingUnit,
  STATUS,
  Transaction,
  type UnitOwner,
  type WalkStep,
} from '../../hw-model/port.js'
import { assert, type DmaOutcome, type DmaRun, type ExplainStep, Refusal } from '../core/driver.js'
import type {
  RawUnit,
  RawUnitSpec,
  RegionMemory,
  RegisterAccess,
  StreamPageRequest,
  StreamPort,
  StreamRequest,
  UnitEvent,
} from '../core/machine.js'
import { makeUnit, type NamedRegisters, offersOf, readIds } from './id-registers.js'
import { spell } from './invalidation-text.js'
import { StreamTlbs } from './stream-tlbs.js'
import { sendRun } from './translate-run.js'
import { ModelCaches } from './unit-caches.js'
import { ModelOracle, NO_ORACLE } from './unit-oracle.js'

/** Events kept for the owner. A unit that nobody polls must not grow; what is beyond is counted as lost. */
const EVENT_LIMIT = 1024

/** A raw unit over a memory that holds nothing but what is placed on it. */
export class PrivateUnit implements RawUnit {
  readonly preset: string
  readonly idRegisters: NamedRegisters
  readonly stalls: boolean
  readonly takesPageRequests: boolean
  readonly caches: ModelCaches
  readonly oracle: ModelOracle
  readonly #memory = new Memory()
  readonly #unit: RemappingUnit
  readonly #backingOf: (region: RegionMemory) => Backing
  readonly #placed = new Map<RegionMemory, number>()
  readonly #transaction = new Transaction()
  readonly #tlbs: StreamTlbs
  readonly #page = new PageRequest()
  /** What the interrupt that is being raised was sent as. */
  #message: { readonly address: number; readonly data: number } | undefined
  #events: UnitEvent[] = []
  #lost = 0

  /** @throws Refusal ENOENT (preset), EINVAL (an override), EOPNOTSUPP (caches) */
  constructor(spec: RawUnitSpec, backingOf: (region: RegionMemory) => Backing, streams: StreamPort) {
    this.preset = spec.preset
    this.#backingOf = backingOf
    const owner: UnitOwner = {
      message: (address, data) => {
        this.#message = { address, data }
      },
      interrupt: (source) => this.#raised(source),
    }
    this.#unit = makeUnit(spec, this.#memory, owner, this.#devicesOf(streams))
    this.#tlbs = new StreamTlbs(this.#unit)
    this.caches = new ModelCaches(this.#unit, spec.caches)
    this.oracle = new ModelOracle(this.#unit, spec.oracle ?? NO_ORACLE)
    this.idRegisters = readIds(this.#unit)
    const { stalls, pageRequests } = offersOf(this.#unit.kind, this.idRegisters)
    this.stalls = stalls
    this.takesPageRequests = pageRequests
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

  translate(request: StreamRequest, out: DmaOutcome): void {
    const transaction = this.#fill(request)
    if (request.type === REQUEST.TRANSLATED && !this.#tlbs.mayUse(transaction)) {
      out.status = STATUS.ABORTED
      out.fault = 0
      out.hit = 1
      return
    }
    this.#unit.translate(transaction, out)
    if (request.type === REQUEST.TRANSLATION) this.#tlbs.got(transaction, out)
  }

  translateRun(
    like: StreamRequest,
    sourceIds: Uint32Array,
    run: DmaRun,
    from: number,
    end: number,
    out: DmaOutcome,
  ): number {
    return sendRun(this.#unit, this.#fill(like), sourceIds, run, from, end, out)
  }

  newOutcome(): DmaOutcome {
    return new Outcome()
  }

  explain(request: StreamRequest, out: DmaOutcome): ExplainStep[] {
    const steps: WalkStep[] = []
    this.#unit.explain(this.#fill(request), out, { step: (step) => steps.push(step) })
    return steps
  }

  peek(request: StreamRequest, out: DmaOutcome): boolean {
    return this.#unit.peek(this.#fill(request), out)
  }

  missing(request: StreamRequest): string {
    return spell(this.#unit.missing(this.#fill(request)))
  }

  requestPage({ sourceId, pasid, lo, hi, access, group, isLast }: StreamPageRequest): void {
    const { ats } = this.#unit
    assert(ats !== null, 'a unit that takes page requests has a port for them')
    ats.requestPage(Object.assign(this.#page, { rid: sourceId, pasid, lo, hi, access, group, isLast }))
  }

  completeInvalidation(tag: number, timedOut: boolean): boolean {
    const { ats } = this.#unit
    this.#tlbs.answered(tag, timedOut)
    return timedOut ? ats?.timedOut(tag) === true : ats?.completed(tag) === true
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
    this.#tlbs.clear()
    this.takeEvents()
  }

  destroy(): void {
    for (const region of [...this.#placed.keys()]) this.removeRegion(region)
    assert(this.#memory.placements.length === 0, 'only regions stand on the bus of a raw unit')
  }

  /**
   * A wire's pulse, or the end of a message: messages come first. Those of VT-d have no wires beside them. Messages into
   * memory are seen there.
   */
  #raised(name: string): void {
    const source = SOURCES[name] ?? name
    const message = this.#message
    this.#message = undefined
    if (message !== undefined && this.#memory.find(message.address) === undefined) {
      this.#keep({ kind: 'message', ...message, source })
    }
    if (message === undefined || this.#unit.kind === 'smmuv3') {
      this.#keep({ kind: 'interrupt', address: 0, data: 0, source })
    }
  }

  #keep(event: UnitEvent): void {
    if (this.#events.length < EVENT_LIMIT) this.#events.push(event)
    else this.#lost++
  }

  /** Every stream has a TLB, whose owner says when it has forgotten something. */
  #devicesOf(streams: StreamPort): DevicePort {
    return {
      invalidateAtc: (invalidation: AtcInvalidation) => {
        const { tag, rid, pasid, allPasids, lo, hi, sizeLg2 } = invalidation
        this.#tlbs.asked(invalidation)
        streams.invalidate({ tag, sourceId: rid >>> 0, pasid, allPasids, lo, hi, sizeLg2 })
        return false
      },
      respondToPages: (rid, pasid, group, code) => streams.respondToPages(rid >>> 0, pasid, group, code),
      ended: (tag: number, outcome: Outcome) => streams.ended(tag, outcome),
    }
  }

  #fill({ sourceId, pasid, lo, hi, access, type }: StreamRequest): Transaction {
    const transaction = this.#transaction
    transaction.rid = sourceId
    transaction.pasid = pasid
    // Signed, as runs send them: a field that now holds one kind and now the other is slower.
    transaction.lo = lo | 0
    transaction.hi = hi | 0
    transaction.access = access
    transaction.type = type
    return transaction
  }
}

/** The manuals' names of what the models call otherwise. */
const SOURCES: Readonly<Record<string, string>> = {
  eventq: 'EVENTQ',
  gerror: 'GERROR',
  'cmdq-sync': 'CMD_SYNC',
  priq: 'PRIQ',
  iq: 'invalidation',
}

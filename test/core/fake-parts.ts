/** What a fake machine gives to clients: memory, and raw units that are a few registers. */

import { DMA_REQUEST, DMA_STATUS, type DmaOutcome, type ExplainStep } from '../../server/core/driver.js'
import {
  type CacheFacts,
  type CacheMode,
  type Concerns,
  type OracleNumbers,
  type OracleSetting,
  PAGE_RESPONSE,
  type RawUnit,
  type RegionMemory,
  type StaleFacts,
  type StreamPageRequest,
  type StreamPort,
  type StreamRequest,
  type UnitCaches,
  type UnitOracle,
} from '../../server/core/machine.js'

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

/** One cache that remembers how it was set. */
export class FakeCaches implements UnitCaches {
  mode: UnitCaches['mode'] = 'hardware'
  seed = 0

  statistics(): readonly CacheFacts[] {
    return [{ name: 'tlb', entries: 8, live: 1, hits: 2, misses: 3, evictions: 4, fills: 5, invalidated: 6 }]
  }

  setMode(mode: CacheMode | null, seed: number): void {
    this.mode = mode ?? 'hardware'
    this.seed = seed
  }
}

/** Finds what it is told to find. */
export class FakeOracle implements UnitOracle {
  setting: OracleSetting = { mode: 'off', graceSyncs: 0 }
  onReport: ((report: StaleFacts) => void) | undefined
  failedNumber = 0
  watched = 0
  #number = 0

  get counts(): OracleNumbers | undefined {
    const { mode } = this.setting
    const none = { compared: 5, stale: 4, inWindow: 3, droppedReports: 0, needed: 2, needless: 1, syncs: 7 }
    return mode === 'off' ? undefined : { ...none, reports: this.#number }
  }

  set(setting: OracleSetting | null): void {
    this.setting = setting ?? { mode: 'off', graceSyncs: 0 }
    this.#number = 0
  }

  /** What was asked to be looked at last. */
  readonly lookedAt: [sourceId: number, pasid: number, isKept: boolean][] = []
  /** What is cached: whom it concerns. */
  cached: [sourceId: number, pasid: number, isKept: boolean][] = []

  checkLast(from: number, most: number, concerns: Concerns): number {
    const next = Math.min(from + most, this.watched)
    this.lookedAt.push(...this.cached.slice(from, next).filter((one) => concerns(...one)))
    return next
  }

  /** A stale answer of a device. */
  find(more: Partial<StaleFacts> = {}): StaleFacts {
    const end = { status: 1, fault: 0, leafLg2: 12, rights: 3 }
    const facts: StaleFacts = {
      number: ++this.#number,
      reason: 'synced',
      cache: 'tlb',
      sourceId: 8,
      pasid: -1,
      lo: 0x5000,
      hi: 1,
      access: 1,
      cached: { ...end, address: 0x1000 },
      fresh: { ...end, address: 0x2000 },
      filledAt: 1,
      lastRightAt: 2,
      firstSeenAt: 4,
      at: 5,
      hits: 1,
      changed: { what: 'stage-1 table entry', stage: 1, level: 3, address: 0x3000, before: [1, 2], after: [3, 4] },
      needed: 'TLBI_NH_VA VMID=1 ASID=2 Leaf=1 ADDR=0x100005000',
      usual: '',
      sent: [
        { command: 'TLBI_NH_ASID VMID=1 ASID=3', at: 3, why: 'ASID 3, needed 2', isOfDevice: true },
        { command: 'TLBI_NH_ASID VMID=9 ASID=2', at: 3, why: 'VMID 9, needed 1', isOfDevice: false },
      ],
      ...more,
    }
    this.onReport?.(facts)
    return facts
  }

  check(): { compared: number; numbers: readonly number[] } {
    return { compared: this.watched, numbers: [this.find({ reason: 'checked' }).number] }
  }

  faultName(fault: number): string {
    return `fault ${fault}`
  }
}

/** Registers of a fake unit that do something; the value names what with. */
export const FAKE_REGISTER = {
  /** Ends the held request of this tag: translated, aborted, with a fault. */
  RESUME: 0x100,
  ABORT: 0x108,
  FAULT: 0x110,
  /** Asks the stream of this number to forget something. */
  INVALIDATE: 0x118,
  /** Answers a group: stream | group << 16 | code << 32 | (PASID + 1) << 40. */
  RESPOND: 0x120,
} as const

/** IOVAs from here to twice of it are held. */
export const HELD = 0x4000_0000n

/** The group that a fake unit answers at once, with a failure. */
export const FAILING_GROUP = 511

/** Registers that remember, and a translation that adds the source id. */
export class FakeRawUnit implements RawUnit {
  readonly kind = 'smmuv3'
  readonly preset = 'default'
  readonly idRegisters = new Map([['IDR0', 5n]])
  readonly registerBytes = 0x20000
  readonly stalls = true
  readonly takesPageRequests: boolean
  work = 0
  tags = 0
  readonly placed = new Set<RegionMemory>()
  readonly outstanding = new Set<number>()
  readonly requested: StreamPageRequest[] = []
  readonly timedOut: number[] = []
  /** It hears no completions. */
  isDeaf = false
  readonly caches = new FakeCaches()
  readonly oracle = new FakeOracle()
  readonly #registers = new Map<number, bigint>()
  readonly #outcome: DmaOutcome = {
    status: 1,
    address: 0x1234,
    leafLg2: 21,
    rights: 3,
    fault: 0x13,
    hit: 0,
    tag: 0,
    untranslatedOnly: 0,
  }
  #events: { kind: 'interrupt'; address: number; data: number; source: string }[] = []

  constructor(
    readonly machine: Census,
    readonly streams: StreamPort,
    preset: string,
  ) {
    this.takesPageRequests = preset !== 'no pages'
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
    const number = Number(value)
    if (offset === FAKE_REGISTER.RESUME) this.#end(number, DMA_STATUS.OK)
    if (offset === FAKE_REGISTER.ABORT) this.#end(number, DMA_STATUS.ABORTED)
    if (offset === FAKE_REGISTER.FAULT) this.#end(number, DMA_STATUS.FAULT)
    if (offset === FAKE_REGISTER.INVALIDATE) this.#invalidate(number)
    if (offset === FAKE_REGISTER.RESPOND) {
      const [stream, group, code] = [value & 0xffffn, (value >> 16n) & 0xffffn, (value >> 32n) & 0xffn].map(Number)
      this.streams.respondToPages(stream, Number(value >> 40n) - 1, group, code)
    }
  }

  /** Every write starts two runs of work. */
  get hasWork(): boolean {
    return this.work > 0
  }

  run(): void {
    this.work--
  }

  translate(request: StreamRequest, out: DmaOutcome): void {
    this.explain(request, out)
    if (out.status !== DMA_STATUS.FAULT) return
    out.status = DMA_STATUS.PENDING
    out.tag = ++this.tags
  }

  explain({ sourceId, lo, hi, type, access }: StreamRequest, out: DmaOutcome): readonly ExplainStep[] {
    out.status = DMA_STATUS.OK
    out.address = (hi >>> 0) * 2 ** 32 + (lo >>> 0) + sourceId
    out.rights = access
    out.hit = 1
    if (type === DMA_REQUEST.TRANSLATION) {
      out.leafLg2 = 12
      if (hi !== 0) out.rights = 0
      if ((lo & 0xf000) === 0x1000) out.status = DMA_STATUS.COMPLETER_ABORT
      if ((lo & 0xf000) === 0x2000) Object.assign(out, { status: DMA_STATUS.UNSUPPORTED, fault: 5 })
    } else if (BigInt(lo >>> 0) >= HELD && BigInt(lo >>> 0) < 2n * HELD) {
      out.status = DMA_STATUS.FAULT
      out.fault = 0x13
      return [{ what: 'STE', level: 3, address: 4096, verdict: 'not valid' }]
    }
    return []
  }

  peek(): boolean {
    return false
  }

  missing(): string {
    return ''
  }

  requestPage(request: StreamPageRequest): void {
    this.requested.push(request)
    const { sourceId, group, isLast } = request
    if (group === FAILING_GROUP && isLast) this.streams.respondToPages(sourceId, -1, group, PAGE_RESPONSE.FAILURE)
  }

  completeInvalidation(tag: number, timedOut: boolean): boolean {
    if (timedOut) this.timedOut.push(tag)
    this.work = 1
    if (this.isDeaf && !timedOut) return false
    return this.outstanding.delete(tag)
  }

  faultName(fault: number): string {
    return fault === 0 ? '' : `FAULT_${fault}`
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
    this.outstanding.clear()
  }

  destroy(): void {
    this.machine.live--
  }

  #end(tag: number, status: number): void {
    this.streams.ended(tag, Object.assign(this.#outcome, { status }))
  }

  #invalidate(sourceId: number): void {
    const tag = ++this.tags
    this.outstanding.add(tag)
    const pasid = tag % 2 === 0 ? 5 : -1
    this.streams.invalidate({ tag, sourceId, pasid, allPasids: tag % 4 === 0, lo: 0x2000, hi: 1, sizeLg2: 13 })
  }
}

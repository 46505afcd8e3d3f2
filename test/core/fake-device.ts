/** A device of the fake machine. */

import type {
  Completion,
  DeviceDriver,
  DmaOutcome,
  DomainOps,
  PageFault,
  ReservedRange,
} from '../../server/core/driver.js'
import { DMA_STATUS } from '../../server/core/driver.js'
import { FakeAts, type Held, NO_OUTCOME } from './fake-ats.js'
import { type FakeDeviceSpec, type FakeDriver, type FakeMachine, type FakeMapping, FakePaging } from './fake-machine.js'

/** A device with slots, whose DMA finds what is mapped. */
export class FakeDevice implements DeviceDriver {
  readonly rid: number
  readonly maxPasids: number
  readonly capabilities: number
  readonly reserved: readonly ReservedRange[]
  readonly hwInfo: DeviceDriver['hwInfo']
  readonly slots = new Map<number, DomainOps>()
  readonly port: DeviceDriver['port']
  readonly ats: FakeAts | undefined
  /** What it finds nothing for is held, until `answer`. */
  stalls = false
  /** Nobody is there to answer: what is held ends at once. */
  isAlone = false
  readonly #held = new Map<number, Held>()
  #tags = 0

  constructor(
    readonly machine: FakeMachine,
    readonly driver: FakeDriver,
    index: number,
    spec: FakeDeviceSpec,
  ) {
    this.ats = spec.ats === true ? new FakeAts(this) : undefined
    this.rid = index * 8
    this.capabilities = driver.spec.dirty === true ? 9 : 8
    this.maxPasids = spec.pasidLg2 === undefined ? 0 : 2 ** spec.pasidLg2
    this.reserved = spec.reserved ?? []
    this.hwInfo =
      driver.kind === 'vtd'
        ? { kind: 'vtd', flags: 1, cap: 2n ** 63n + 1n, ecap: 3n }
        : { kind: 'smmuv3', idr: [1, 2, 3, 4, 5, 6], iidr: 7, aidr: 8 }
    const stalls = (): boolean => this.stalls
    this.port = {
      get mayPend() {
        return stalls()
      },
      translate: (pasid, lo, hi, access, out) => {
        this.walk(pasid, lo, hi, out)
        if (this.stalls && out.status === DMA_STATUS.FAULT) this.#hold({ pasid, lo, hi, access }, out)
      },
      explain: (pasid, lo, hi, _access, out) => {
        this.walk(pasid, lo, hi, out)
        return [
          {
            what: 'stage-1 table entry',
            stage: 1,
            level: 3,
            address: 4096,
            words: [1, 2],
            fields: { V: 0, TTB: 2 ** 32 },
            verdict: 'not valid',
          },
        ]
      },
      peek: () => false,
      missing: () => '',
      faultName: (fault) => `FAULT_${fault}`,
    }
  }

  set(slot: number, domain: DomainOps, old: DomainOps | null): Completion {
    if ((this.slots.get(slot) ?? null) !== old) throw new Error('bug: the old domain is another one')
    this.machine.failPoint('set')
    this.slots.set(slot, domain)
    return this.machine.done(`set ${this.rid}:${slot}`)
  }

  clear(slot: number, old: DomainOps): Completion {
    if (this.slots.get(slot) !== old) throw new Error('bug: another domain is cleared')
    this.slots.delete(slot)
    const done = this.machine.done(`clear ${this.rid}:${slot}`)
    const asked = this.ats?.forget(slot, 0n, 64)
    return asked === undefined ? done : Promise.all([done, asked]).then(() => undefined)
  }

  reset(slots?: readonly number[]): Completion {
    this.#held.clear()
    return this.machine.done(`reset ${this.rid}${slots === undefined ? '' : `:${slots.join()}`}`)
  }

  respond({ pasid, group }: PageFault, isSuccess: boolean): Completion {
    return this.machine.done(`respond ${this.rid}:${pasid}:${group} ${isSuccess ? 'success' : 'invalid'}`)
  }

  /** Software answers a request that is held: it is tried again, or not. */
  answer(tag: number, isRetried: boolean): void {
    const held = this.#held.get(tag)
    this.#held.delete(tag)
    if (held === undefined) return
    const out = { ...NO_OUTCOME }
    if (isRetried) this.walk(held.pasid, held.lo, held.hi, out)
    this.driver.listener?.ended(this, tag, out)
  }

  /** The table that a slot has lost mappings; whoever holds their translations is asked. */
  forget(table: DomainOps, gone: readonly FakeMapping[]): Promise<boolean>[] {
    const slots = [...this.slots].filter(([, domain]) => domain === table).map(([slot]) => slot)
    const asked = slots.flatMap((slot) =>
      gone.map(({ iova, length }) => this.ats?.forget(slot, iova, Math.log2(Number(length)))),
    )
    return asked.filter((one) => one !== undefined)
  }

  #hold(held: Held, out: DmaOutcome): void {
    const tag = ++this.#tags
    this.#held.set(tag, held)
    if (this.isAlone) this.answer(tag, false)
    out.status = DMA_STATUS.PENDING
    out.tag = tag
  }

  /** Looks an address up. */
  walk(pasid: number, lo: number, hi: number, out: DmaOutcome): void {
    const domain = this.slots.get(Math.max(pasid, 0))
    const iova = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
    const found =
      domain instanceof FakePaging
        ? domain.mappings.find((one) => iova >= one.iova && iova < one.iova + one.length)
        : undefined
    out.hit = 0
    if (domain === undefined) out.status = DMA_STATUS.ABORTED
    else if (found === undefined) {
      out.status = DMA_STATUS.FAULT
      out.fault = 0x10
    } else {
      out.status = DMA_STATUS.OK
      out.address = found.address + Number(iova - found.iova)
      out.leafLg2 = 12
      out.rights = 3
    }
  }
}

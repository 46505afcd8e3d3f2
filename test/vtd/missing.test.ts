/**
 * Random guests that forget invalidations: what the caches are said to answer they do answer, and the descriptors that are
 * said to be missing help. Descriptors are spelled from the manual by hand.
 */

import { describe, expect, it } from 'vitest'
import { ACCESS, type Invalidation, NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import { Rng } from '../simulation/rng.js'
import { FS, Guest, IQ, SID, SS } from './guest.js'

const PAGES = [0x5000n, 0x6000n, 0x20_0000n] as const
const FIRSTS = [0x100000, 0x110000] as const
const SECONDS = [0x200000, 0x210000] as const
const OTHER_DIRECTORY = 0x6000
const OTHER_PASIDS = 0x7000
const NOTHING = { step: () => undefined }

/** A guest with two trees of either stage, two domain-ids, two directories, and requests with and without PASID. */
class Forgetful {
  readonly guest = new Guest({ caches: { iotlb: { entries: 64, ways: 4 } } })
  readonly #rng: Rng
  readonly #transaction = new Transaction()

  constructor(seed: number) {
    this.#rng = new Rng(seed)
    const { guest } = this
    guest.startScalable()
    guest.startQueue()
    guest.store(OTHER_DIRECTORY, BigInt(OTHER_PASIDS | 1))
    for (const first of FIRSTS) this.#tables(first, FS.TABLE)
    for (const second of SECONDS) {
      this.#tables(second, SS.RW)
      // The first stage's own tables stand where they are.
      for (let pa = FIRSTS[0]; pa < 0x120000; pa += 4096) this.#leaf(second, BigInt(pa), BigInt(pa) | SS.RW)
    }
    for (const change of [this.entry, this.first, this.second]) for (let i = 0; i < 12; i++) change.call(this)
  }

  /** Tables for the first 4 MiB: one of each upper level, and two with leaves. */
  #tables(root: number, flags: bigint): void {
    this.guest.store(root, BigInt(root + 0x1000) | flags)
    this.guest.store(root + 0x1000, BigInt(root + 0x2000) | flags)
    this.guest.store(root + 0x2000, BigInt(root + 0x3000) | flags, BigInt(root + 0x4000) | flags)
  }

  #leaf(root: number, address: bigint, entry: bigint): void {
    this.guest.store(root + 0x3000 + Number(address >> 12n) * 8, entry)
  }

  #one<T>(values: readonly T[]): T {
    return values[this.#rng.int(values.length)]
  }

  /** A PASID table entry: nested, first stage, second stage or pass-through, under either domain-id. */
  entry(): void {
    const { guest } = this
    const [did, pasid] = [this.#one([2, 3]), this.#one([0, 1])]
    const [first, second] = [this.#one(FIRSTS), this.#one(SECONDS)]
    const kind = this.#rng.int(6)
    if (kind < 3) guest.nested(pasid, did, first, second)
    else if (kind === 3) guest.firstStage(pasid, did, first)
    else if (kind === 4) guest.secondStage(pasid, did, second)
    else guest.passThrough(pasid, did)
    // The other table has the same entry for as long as nothing changes this one again.
    if (this.#rng.int(2) === 0) guest.nested(64 * 2 + pasid, did, first, second)
  }

  context(): void {
    const { guest } = this
    guest.store(guest.context, BigInt(this.#one([guest.directory, OTHER_DIRECTORY])) | this.#one([9n, 9n, 1n]))
  }

  first(): void {
    const flags = this.#one([FS.PAGE, FS.PAGE, FS.PAGE & ~FS.RW, 0n])
    const page = BigInt(this.#one([0x300000, 0x301000, 0x302000]))
    this.#leaf(this.#one(FIRSTS), this.#one(PAGES), flags === 0n ? 0n : page | flags)
  }

  second(): void {
    const flags = this.#one([SS.RW, SS.RW, SS.R, 0n])
    const page = BigInt(this.#one([0x310000, 0x311000, 0x312000]))
    const from = this.#one([...PAGES, 0x300000n, 0x301000n, 0x302000n])
    this.#leaf(this.#one(SECONDS), from, flags === 0n ? 0n : page | flags)
  }

  forget(): void {
    this.#one([this.entry, this.context, this.first, this.first, this.second]).call(this)
  }

  request(): Transaction {
    const transaction = this.#transaction
    transaction.rid = SID
    transaction.pasid = this.#one([NO_PASID, 1])
    transaction.access = this.#one([ACCESS.READ, ACCESS.WRITE])
    transaction.lo = Number(this.#one(PAGES))
    return transaction
  }

  send(descriptors: readonly Invalidation[]): void {
    this.guest.queue(...descriptors.map(wordsOf))
  }
}

/** [VTD 6.5.2] */
function wordsOf({ name, operands, page = [0, 0] }: Invalidation): readonly [bigint, bigint?] {
  const value = (key: string): number => operands[key] ?? Number.NaN
  const address = (BigInt(page[1]) << 32n) | BigInt(page[0])
  if (name === 'context cache') return IQ.contextDevice(value('SID'))
  if (name === 'PASID cache') return IQ.pasid(value('DID'), value('PASID'))
  const hint = value('IH') === 1 ? IQ.IH : 0n
  if (name === 'P_IOTLB') return IQ.piotlbPage(value('DID'), value('PASID'), address, hint)
  if (name === 'IOTLB') return IQ.iotlbPage(value('DID'), address, hint)
  throw new Error(`no descriptor is called ${name}`)
}

/** What a device can tell of an outcome, and why it was blocked. */
const tell = ({ status, address, rights, fault }: Outcome): string =>
  status === STATUS.OK ? `${address.toString(16)} ${rights}` : `${status} ${status === STATUS.FAULT ? fault : ''}`

const SEEDS = Array.from({ length: 12 }, (_, i) => i + 1)

describe('a guest that forgets invalidations', () => {
  it.each(SEEDS)('of seed %i is told what its caches answer', (seed) => {
    const forgetful = new Forgetful(seed)
    const { unit } = forgetful.guest
    let cached = 0
    for (let i = 0; i < 300; i++) {
      if (i % 3 === 0) forgetful.forget()
      const request = forgetful.request()
      const [peeked, outcome] = [new Outcome(), new Outcome()]
      const before = unit.counters
      const isCached = unit.peek(request, peeked)
      unit.missing(request)
      unit.explain(request, new Outcome(), NOTHING)
      expect(unit.counters).toEqual(before)
      unit.translate(request, outcome)
      // Entries of the tables may be all that an answer needs.
      if (unit.counters.hits !== before.hits) expect(isCached).toBe(true)
      if (!isCached) continue
      cached++
      expect(tell(peeked)).toBe(tell(outcome))
    }
    expect(cached).toBeGreaterThan(20)
  })

  it.each(SEEDS)('of seed %i is told descriptors that help', (seed) => {
    const forgetful = new Forgetful(seed)
    const { unit } = forgetful.guest
    const named = new Set<string>()
    for (let i = 0; i < 400; i++) {
      if (i % 4 === 0) forgetful.forget()
      const request = forgetful.request()
      const [fresh, outcome] = [new Outcome(), new Outcome()]
      unit.explain(request, fresh, NOTHING)
      let missing = unit.missing(request)
      if (i % 2 === 0) {
        unit.translate(request, outcome)
        // What a unit does by itself agrees with memory exactly where nothing is said to be missing.
        expect(tell(outcome) === tell(fresh)).toBe(missing.length === 0)
        // It may have filled the IOTLB from what is stale.
        missing = unit.missing(request)
      }
      for (const { name } of missing) named.add(name)
      forgetful.send(missing)
      unit.translate(request, outcome)
      expect([tell(outcome), unit.missing(request)]).toEqual([tell(fresh), []])
    }
    expect(named.size).toBeGreaterThan(2)
  })
})

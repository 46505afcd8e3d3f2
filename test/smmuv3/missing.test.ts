/**
 * Random guests that forget invalidations: what the caches are said to answer they do answer, and the commands that are
 * said to be missing help. Commands are spelled from the manual by hand.
 */

import { describe, expect, it } from 'vitest'
import { ACCESS, type Invalidation, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Rng } from '../simulation/rng.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

const SID = 3
const PAGES = [0x5000n, 0x6000n, 0x20_0000n, 0x7fff_f000n] as const
const SMALL = { entries: 64, ways: 4 }
const NOTHING = { step: () => undefined }

interface Twin {
  readonly slot: number
  /** What the slot is to hold next. */
  word: bigint
}

/** A guest with two of everything: CDs, ASIDs, trees of either stage, VMIDs. */
class Forgetful {
  readonly bench = new Bench({ caches: { tlb: SMALL, ipa: SMALL, walk1: SMALL, walk2: SMALL, configEntries: 4 } })
  readonly #rng: Rng
  readonly #cds = [this.bench.alloc(), this.bench.alloc()] as const
  readonly #firsts = [this.bench.alloc(), this.bench.alloc()] as const
  readonly #seconds = [this.bench.alloc(), this.bench.alloc()] as const
  readonly #transaction = new Transaction()
  readonly #twins: Twin[] = []

  constructor(seed: number) {
    this.#rng = new Rng(seed)
    const { bench } = this
    // Stage 2 of either tree maps all that stage 1 needs, and each input page of a stream without stage 1.
    for (const second of this.#seconds) {
      for (let pa = 0; pa < 0x400000; pa += 4096) bench.map(second, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
    }
    for (const root of this.#firsts) this.#twins.push(this.#twin(root, PAGES[0], GUEST))
    for (const root of this.#seconds) this.#twins.push(this.#twin(root, PAGES[0], 0))
    for (const change of [this.ste, this.cd, this.first, this.second]) for (let i = 0; i < 6; i++) change.call(this)
  }

  #one<T>(values: readonly T[]): T {
    return values[this.#rng.int(values.length)]
  }

  ste(): void {
    const second = { ...stageTwoFields(this.#one([1, 2]), this.#one(this.#seconds)) }
    const kind = this.#one([CONFIG.NESTED, CONFIG.NESTED, CONFIG.NESTED, CONFIG.S2_TRANS, CONFIG.BYPASS])
    this.bench.ste(SID, {
      ...second,
      V: this.#one([1, 1, 1, 0]),
      Config: kind,
      S1ContextPtr: GUEST + this.#one(this.#cds),
    })
  }

  cd(): void {
    const fields = contextFields(this.#one([7, 8]), GUEST + this.#one(this.#firsts))
    this.bench.cd(this.#one(this.#cds), { ...fields, R: this.#one([1, 0]), A: this.#one([1, 0]) })
  }

  first(): void {
    const entry = this.#one([S1.RW, S1.RO, S1.GLOBAL, 0n])
    const page = entry === 0n ? 0n : BigInt(GUEST + this.#one([0x300000, 0x301000, 0x302000]))
    this.bench.map(this.#one(this.#firsts), this.#one(PAGES), page | entry, 3, GUEST)
  }

  second(): void {
    const entry = this.#one([S2.RW, S2.RW, S2.RO, 0n])
    const page = entry === 0n ? 0n : BigInt(this.#one([0x310000, 0x311000, 0x312000]))
    const from = this.#one([...PAGES, ...[0x300000n, 0x301000n, 0x302000n].map((ipa) => BigInt(GUEST) + ipa)])
    this.bench.map(this.#one(this.#seconds), from, page | entry)
  }

  /** Another last table for a page, and where its address would have to stand. */
  #twin(root: number, page: bigint, below: number): Twin {
    const { bench } = this
    const twin = bench.alloc()
    bench.map(root, page, 0n, 3, below)
    const frame = below === 0 ? 0x320000n | S2.RW : BigInt(below + 0x303000) | S1.RW
    for (let i = 0; i < 512; i++) bench.poke(twin + i * 8, frame)
    let slot = root
    for (let level = 0; level < 2; level++) slot = Number(bench.peek(slot) & 0xfffffffff000n) - below
    return { slot, word: BigInt(twin + below) | S1.TABLE }
  }

  /** One of the trees has its other last table for the low pages. */
  table(): void {
    const twin = this.#one(this.#twins)
    const word = this.bench.peek(twin.slot)
    this.bench.poke(twin.slot, twin.word)
    twin.word = word
  }

  forget(): void {
    this.#one([this.ste, this.cd, this.first, this.first, this.second, this.table]).call(this)
  }

  request(): Transaction {
    const address = this.#one(PAGES)
    const transaction = this.#transaction
    transaction.rid = SID
    transaction.access = this.#one([ACCESS.READ, ACCESS.WRITE])
    transaction.lo = Number(address & 0xffffffffn)
    transaction.hi = Number(address >> 32n)
    return transaction
  }

  send(commands: readonly Invalidation[]): void {
    this.bench.commands(...commands.map(wordsOf))
  }
}

/** [SMMU 4.3.1, 4.3.4, 4.4] */
function wordsOf({ name, operands, page = [0, 0] }: Invalidation): readonly [bigint, bigint] {
  const value = (key: string): bigint => BigInt(operands[key] ?? Number.NaN)
  const address = (BigInt(page[1]) << 32n) | BigInt(page[0]) | BigInt(operands['Leaf'] ?? 0)
  if (name === 'CFGI_STE') return [0x03n | (value('SID') << 32n), 0n]
  if (name === 'CFGI_CD') return [0x05n | (value('SSID') << 12n) | (value('SID') << 32n), 0n]
  if (name === 'TLBI_NH_VA') return [0x12n | (value('VMID') << 32n) | (value('ASID') << 48n), address]
  if (name === 'TLBI_S12_VMALL') return [0x28n | (value('VMID') << 32n), 0n]
  if (name === 'TLBI_S2_IPA') return [0x2an | (value('VMID') << 32n), address]
  throw new Error(`no command is called ${name}`)
}

/** What a device can tell of an outcome, and which fault it was. */
const tell = ({ status, address, rights, fault }: Outcome): string =>
  status === STATUS.OK ? `${address.toString(16)} ${rights}` : `${status} ${status === STATUS.FAULT ? fault : ''}`

const SEEDS = Array.from({ length: 12 }, (_, i) => i + 1)

describe('a guest that forgets invalidations', () => {
  it.each(SEEDS)('of seed %i is told what its caches answer', (seed) => {
    const guest = new Forgetful(seed)
    const { unit } = guest.bench
    let cached = 0
    for (let i = 0; i < 300; i++) {
      if (i % 3 === 0) guest.forget()
      const request = guest.request()
      const peeked = new Outcome()
      const outcome = new Outcome()
      const before = { ...unit.counters }
      const isCached = unit.peek(request, peeked)
      unit.missing(request)
      unit.explain(request, new Outcome(), NOTHING)
      expect(unit.counters).toEqual(before)
      unit.translate(request, outcome)
      const { misses } = unit.counters
      if (isCached) {
        cached++
        expect([tell(peeked), misses]).toEqual([tell(outcome), before.misses])
      }
      guest.bench.events()
    }
    expect(cached).toBeGreaterThan(20)
  })

  it.each(SEEDS)('of seed %i is told commands that help', (seed) => {
    const guest = new Forgetful(seed)
    const { unit } = guest.bench
    const named = new Set<string>()
    for (let i = 0; i < 400; i++) {
      if (i % 4 === 0) guest.forget()
      const request = guest.request()
      const fresh = new Outcome()
      const outcome = new Outcome()
      unit.explain(request, fresh, NOTHING)
      let missing = unit.missing(request)
      // What a unit does by itself agrees with memory exactly where nothing is said to be missing.
      if (i % 2 === 0) {
        unit.translate(request, outcome)
        expect(tell(outcome) === tell(fresh)).toBe(missing.length === 0)
        // It may have filled the TLB from what is stale.
        missing = unit.missing(request)
      }
      for (const { name, operands } of missing) named.add(`${name} ${operands['Leaf'] ?? ''}`)
      guest.send(missing)
      unit.translate(request, outcome)
      expect([tell(outcome), missing]).toEqual([tell(fresh), missing])
      expect(unit.missing(request)).toEqual([])
      guest.bench.events()
    }
    expect(named.size).toBeGreaterThan(3)
  })
})

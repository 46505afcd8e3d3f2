/**
 * Every way from one context descriptor to another, with DMA at each 64-bit store and each mix of old and new words: on
 * the RID and on PASIDs, in linear tables and in two levels.
 */

import { beforeAll, describe, expect, it } from 'vitest'
import { CdTable } from '../../server/drivers/smmuv3/cd-table.js'
import { type Access, EntryRig, NONE, type Qwords, RO, RW, split } from './entry-rig.js'

/** The stream whose CDs change, and one that reads the same words just now. */
const SID = 8
const FRESH = 9

const rig = new EntryRig()
let trees = 0
let asids = 0

/** 48 bits of VA, 4 KiB granules, EPD1, AA64, recording, ASET; 48 bits of PA. [SMMU 5.4 Context Descriptor] */
const cd = (asid: number, root: number, more = 0n): Qwords => [
  0x0000_e205_c000_3510n | (BigInt(asid) << 48n) | more,
  BigInt(root),
  0n,
  0xf404_ff44n,
]
const own = (more = 0n): Qwords => cd(++asids, rig.stageOne(++trees), more)
const S = 1n << 44n
const HA_AND_HD = 3n << 42n
const WXN = 1n << 36n
const base = own()
const root = Number(base[1])
const released = (asid: number): Qwords => [0x0000_c205_c000_4000n | (BigInt(asid) << 48n), 0n, 0n, 0xf404_ff44n]

const CDS: Readonly<Record<string, Qwords>> = {
  invalid: [],
  'a domain': base,
  'that waits for software': [base[0] | S, ...base.slice(1)],
  'the same tables under another ASID': cd(++asids, root),
  'another domain': own(),
  'another domain that waits': own(S),
  'one that tracks what is written': own(HA_AND_HD),
  'one that cannot execute what it writes': own(WXN),
  'one with narrower addresses': cd(++asids, rig.stageOne(++trees)).with(
    0,
    0x0000_e204_c000_3510n | (BigInt(asids) << 48n),
  ),
  'a process that has gone': released(++asids),
}
const full = (entry: Qwords): Qwords => [...entry, ...Array<bigint>(8 - entry.length).fill(0n)]
const ENTRIES = Object.entries(CDS).map(([name, entry]) => ({ name, words: full(entry) }))
const INVALID = full([])
/** Under the PASIDs beside it, always. */
const BESIDE = full(own())
const beside = 2 ** 36 + trees * 2 ** 21 + Number(RW & 0x1fffffn)

const plain = { kind: 'ordinary', fetch: false, privileged: false } as const
const accesses = (index: number): readonly Access[] => {
  // Without a PASID it is CD 0, with S1DSS 2.
  const ssid = index === 0 ? undefined : index
  return [
    { ...plain, ssid, address: RW, write: false },
    { ...plain, ssid, address: RW, write: true },
    { ...plain, ssid, address: RO, write: true },
    { ...plain, ssid, address: NONE, write: false },
  ]
}

/** A CD's place: whose table, which one, and the one beside it. */
interface Place {
  readonly table: CdTable
  readonly index: number
  readonly neighbour: number
  readonly at: number
  readonly fresh: number
}

/** A device's table under the host driver, and one made by hand for the fresh reader: a single leaf of 1,024. */
function placeOf(maxLg2: number, index: number, neighbour: number): Place {
  const table = new CdTable(rig.memory, rig.ram, rig.commands, SID, maxLg2)
  const { address, format } = table.shape
  const ste = (pointer: number, fmt: number): bigint =>
    0xbn | (BigInt(fmt) << 4n) | BigInt(pointer) | (BigInt(maxLg2) << 59n)
  table.write(neighbour, split(BESIDE))
  table.write(index, split(BESIDE))
  rig.poke(rig.steAt(SID), ste(address, format), 0xd6n)
  const [leaf, top] = [rig.alloc(65536), rig.alloc(8192)]
  rig.poke(top + (index >>> 10) * 8, BigInt(leaf) | 1n)
  rig.poke(rig.steAt(FRESH), ste(format === 0 ? leaf : top, format), 0xd6n)
  for (const sid of [SID, FRESH]) rig.forgetStream(sid)
  const leafAt = format === 0 ? address : Number(rig.peek(address + (index >>> 10) * 8) & ~0xfffn)
  return { table, index, neighbour, at: leafAt + (index % 1024) * 64, fresh: leaf + (index % 1024) * 64 }
}

class Trip {
  readonly wrong: string[] = []
  hitless = true
  metInvalid = false
  readonly #place: Place
  readonly #from: Qwords
  readonly #to: Qwords
  #seen: bigint[][]

  constructor(place: Place, from: Qwords, to: Qwords) {
    this.#place = place
    this.#from = from
    this.#to = to
    this.#seen = from.map((word) => [word])
  }

  run(): void {
    const { table, at, index } = this.#place
    rig.poke(at, ...this.#from)
    rig.forgetStream(SID)
    rig.forgetTranslations()
    for (const access of accesses(index)) rig.dma(SID, access)
    rig.watch(at, 64, () => this.#stored())
    rig.onSync = () => this.#synced()
    this.hitless = table.write(index, split(this.#to))
    rig.unwatch()
    this.#check(SID, 'at last', [this.#to])
    expect(rig.words(at, 8)).toEqual(this.#to)
  }

  #stored(): void {
    const words = rig.words(this.#place.at, 8)
    this.#seen = this.#seen.map((before, i) => [...new Set([...before, words[i]])])
    this.#check(SID, 'cached')
    let mixed: bigint[][] = [[]]
    for (const choices of this.#seen) mixed = mixed.flatMap((head) => choices.map((word) => [...head, word]))
    for (const entry of mixed) {
      rig.poke(this.#place.fresh, ...entry)
      rig.forgetStream(FRESH)
      this.#check(FRESH, `read as ${entry.map((word) => word.toString(16)).join(' ')}`)
    }
  }

  #synced(): void {
    this.#seen = rig.words(this.#place.at, 8).map((word) => [word])
    this.#check(SID, 'synced')
  }

  #check(sid: number, when: string, allowed = [this.#from, this.#to]): void {
    const { index, neighbour, at, fresh } = this.#place
    const says = (access: Access, entry: Qwords, seen: ReturnType<EntryRig['dma']>): boolean =>
      rig.fits(rig.expected(sid, access, sid === SID ? at : fresh, entry), seen)
    for (const access of accesses(index)) {
      const seen = rig.dma(sid, access)
      if (allowed.some((entry) => says(access, entry, seen))) continue
      if (says(access, INVALID, seen)) this.metInvalid = true
      else this.wrong.push(`${when}: SID ${sid} PASID ${access.ssid} ${access.address.toString(16)} ${rig.tell(seen)}`)
    }
    if (sid === FRESH || neighbour === index) return
    const [access] = accesses(neighbour)
    const seen = rig.dma(sid, access)
    if (seen.outcome.address !== beside) this.wrong.push(`${when}: beside ${rig.tell(seen)}`)
  }
}

describe.each([
  ['the only CD', 0, 0, 0],
  ['CD 0 of a linear table', 5, 0, 1],
  ['a PASID in a linear table', 10, 1023, 1022],
  ['CD 0 of two levels', 20, 0, 4],
  ['the last PASID', 20, 2 ** 20 - 1, 2 ** 20 - 2],
])('%s', (_name, maxLg2, index, neighbour) => {
  let place: Place
  beforeAll(() => {
    place = placeOf(maxLg2, index, neighbour)
  })

  it.each(ENTRIES)(
    'changes from $name to each other one, and each DMA meets the old one, the new one, or the gap',
    ({ name, words: from }) => {
      for (const { name: target, words: to } of ENTRIES) {
        const trip = new Trip(place, from, to)
        trip.run()
        expect({ target, wrong: trip.wrong }).toEqual({ target, wrong: [] })
        if (name === 'invalid' || target === 'invalid') continue
        expect({ target, metInvalid: trip.metInvalid }).toEqual({ target, metInvalid: !trip.hitless })
      }
    },
  )
})

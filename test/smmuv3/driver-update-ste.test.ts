/**
 * Every way from one stream table entry to another, with DMA at each 64-bit store and after each sync: by the stream
 * that has the old entry cached, and by one that reads the entry for the first time in that moment.
 */

import { describe, expect, it } from 'vitest'
import { type Access, EntryRig, IPA, NONE, type Qwords, RO, RW, split } from './entry-rig.js'

/** The stream that is updated, and the one that reads the same words just now. */
const SID = 8
const FRESH = 9

const V = 1n
/** Fields of an entry, where the manual prints them. [SMMU 5.2 Stream Table Entry] */
const config = (code: number): bigint => BigInt(code) << 1n
const s1 = (format: number, cdMax: number, pointer: number): bigint =>
  V | (BigInt(format) << 4n) | BigInt(pointer) | (BigInt(cdMax) << 59n)
/** S1CIR and S1COR write-back, S1CSH inner shareable, and S1DSS. */
const dss = (code: number): bigint => 0xd4n | BigInt(code)
const MEV = 1n << 19n
const S2FWB = 1n << 25n
const S1STALLD = 1n << 27n
const ATS = 1n << 28n
const INCOMING = 1n << 44n
/** 48 bits, four levels of 4 KiB, write-back, inner shareable, S2AA64, S2PTW, S2R. */
const s2 = (vmid: number): bigint => 0x044d_3590_0000_0000n | BigInt(vmid)
const S2S = 1n << 57n

const rig = new EntryRig()

/** A CD: 48 bits of VA, 4 KiB, EPD1, 48 bits of PA, AA64, recording; with S, it stalls. */
function cdAt(address: number, asid: number, root: number, stalls = false): void {
  rig.poke(address, 0x0000_e205_c000_3510n | (BigInt(asid) << 48n) | (stalls ? 1n << 44n : 0n), BigInt(root), 0n, 0xffn)
}

/** Each table has translations of its own; ASIDs begin anew under each VMID. */
let trees = 0
const asids: Record<number, number> = {}

/** A linear table of eight CDs, of which 0, 1 and 4 are valid. */
function linearTable(vmid = 0, stalls = false): number {
  const isGuest = vmid !== 0
  const table = isGuest ? rig.guestAlloc() : rig.alloc()
  for (const index of [0, 1, 4])
    context((isGuest ? rig.inGuest(table) : table) + index * 64, vmid, stalls && index !== 1)
  return table
}

function context(address: number, vmid: number, stalls = false): void {
  asids[vmid] = (asids[vmid] ?? 0) + 1
  cdAt(address, asids[vmid], rig.stageOne(++trees, vmid !== 0), stalls)
}

/** Two levels over that: a first leaf, and nothing else. */
function twoLevels(leaf: number, isGuest = false): number {
  const top = isGuest ? rig.guestAlloc() : rig.alloc(8192)
  rig.poke(isGuest ? rig.inGuest(top) : top, BigInt(leaf) | V)
  return top
}

const [linear, other, stalling, single] = [linearTable(), linearTable(), linearTable(0, true), linearTable()]
const leaf64 = rig.alloc(65536)
context(leaf64, 0)
context(leaf64 + 64, 0)
const large = twoLevels(leaf64)
const [guestLinear, guestOther, guestStalling] = [linearTable(1), linearTable(1), linearTable(1, true)]
const guestLarge = twoLevels(linearTable(1), true)
const windowTable = linearTable(3)
const windowLarge = twoLevels(windowTable, true)
const [parent, elsewhere] = [BigInt(rig.stageTwo(0)), BigInt(rig.stageTwo(1))]

const nested = (format: number, cdMax: number, table: number, word1: bigint, vmid = 1): Qwords => [
  s1(format, cdMax, table) | config(7),
  MEV | S2FWB | INCOMING | word1,
  s2(vmid),
  parent,
]

const STES: Readonly<Record<string, Qwords>> = {
  invalid: [],
  abort: [V],
  bypass: [V | config(4), INCOMING],
  'stage 1, S1DSS 2': [s1(0, 3, linear) | config(5), dss(2) | S1STALLD],
  'stage 1, S1DSS 0': [s1(0, 3, linear) | config(5), dss(0) | S1STALLD],
  'stage 1, S1DSS 1': [s1(0, 3, linear) | config(5), dss(1) | S1STALLD | INCOMING],
  'stage 1, S1DSS 2, ATS': [s1(0, 3, linear) | config(5), dss(2) | S1STALLD | ATS],
  'stage 1, S1DSS 0, ATS': [s1(0, 3, linear) | config(5), dss(0) | S1STALLD | ATS],
  'stage 1, another table': [s1(0, 3, other) | config(5), dss(2) | S1STALLD],
  'stage 1, more PASIDs': [s1(2, 20, large) | config(5), dss(2) | S1STALLD],
  'stage 1 that may stall': [s1(0, 3, stalling) | config(5), dss(2)],
  'stage 1, single CD': [s1(0, 0, single) | config(5), dss(0) | S1STALLD],
  'stage 2': [V | config(6), INCOMING | S2FWB, s2(1), parent],
  'stage 2, ATS': [V | config(6), INCOMING | S2FWB | ATS, s2(1), parent],
  'stage 2 that stalls': [V | config(6), INCOMING | S2FWB, s2(1) | S2S, parent],
  'stage 2, another domain': [V | config(6), 0n, s2(2), elsewhere],
  'nested, S1DSS 2': nested(0, 3, guestLinear, dss(2) | S1STALLD),
  'nested, S1DSS 0': nested(0, 3, guestLinear, dss(0) | S1STALLD),
  'nested, S1DSS 1': nested(0, 3, guestLinear, dss(1) | S1STALLD),
  'nested, ATS': nested(0, 3, guestLinear, dss(2) | S1STALLD | ATS),
  'nested, another table': nested(0, 3, guestOther, dss(2) | S1STALLD),
  'nested, two levels': nested(1, 8, guestLarge, dss(2) | S1STALLD),
  'nested that may stall': nested(0, 3, guestStalling, dss(2)),
  'window, bypass': nested(0, 3, windowTable, dss(1) | S1STALLD, 3),
  'window, PASID 0': nested(0, 3, windowTable, dss(2) | S1STALLD, 3),
  'window, blocked': nested(0, 3, windowTable, dss(0) | S1STALLD, 3),
  'window, grown': nested(1, 15, windowLarge, dss(2) | S1STALLD, 3),
}
const full = (entry: Qwords): Qwords => [...entry, ...Array<bigint>(8 - entry.length).fill(0n)]
const ENTRIES = Object.entries(STES).map(([name, entry]) => ({ name, words: full(entry) }))

const plain = { kind: 'ordinary', fetch: false, privileged: false } as const
const ACCESSES: readonly Access[] = [
  ...[undefined, 0, 1, 4, 2, 9].map((ssid): Access => ({ ...plain, ssid, address: RW, write: false })),
  ...[undefined, 1].map((ssid): Access => ({ ...plain, ssid, address: RW, write: true })),
  ...[undefined, 1].map((ssid): Access => ({ ...plain, ssid, address: RO, write: true })),
  ...[undefined, 4].map((ssid): Access => ({ ...plain, ssid, address: NONE, write: false })),
  { ...plain, kind: 'request', ssid: undefined, address: RW, write: true },
  { ...plain, kind: 'request', ssid: 1, address: RW, write: false },
  { ...plain, kind: 'translated', ssid: undefined, address: BigInt(IPA), write: false },
]

/** Bits of an entry that may change early: EATS, where no entry has S2S or split-stage ATS. [SMMU 5.2 EATS] */
function mixtures(from: Qwords, to: Qwords): Qwords[] {
  const mix = (entry: Qwords, eats: Qwords): Qwords =>
    entry.with(1, (entry[1] & ~(3n << 28n)) | (eats[1] & (3n << 28n)))
  return ((from[2] | to[2]) & S2S) === 0n ? [mix(from, to), mix(to, from)] : []
}

type Stream = typeof SID | typeof FRESH
const at = { [SID]: rig.steAt(SID), [FRESH]: rig.steAt(FRESH) }
const INVALID = full([])
/** Streams that nobody touches. */
const WITNESSES = [
  [10, full(STES['stage 1, S1DSS 2'])],
  [11, full(STES['nested, S1DSS 2'])],
  [12, full(STES['window, PASID 0'])],
] as const
for (const [sid, words] of WITNESSES) rig.poke(rig.steAt(sid), ...words)

/** Puts an entry there without further ado, and has its stream use it. */
function place(sid: Stream, words: Qwords): void {
  rig.poke(at[sid], ...words)
  rig.forgetStream(sid)
}

/** One update, watched. */
class Trip {
  readonly wrong: string[] = []
  hitless = true
  /** An access met the entry while it was invalid. */
  metInvalid = false
  readonly #from: Qwords
  readonly #to: Qwords
  /** What hardware may have read of each word since the last sync. */
  #seen: bigint[][]
  /** By access: 0 the old meaning, 1 invalid, 2 the new one. There is no way back. */
  readonly #reached = ACCESSES.map(() => 0)

  constructor(from: Qwords, to: Qwords) {
    this.#from = from
    this.#to = to
    this.#seen = from.map((word) => [word])
  }

  /** After a store: the stream with the cached entry; then one that reads now, each word as it is or was. */
  stored(): void {
    const words = rig.words(at[SID], 8)
    this.#seen = this.#seen.map((before, i) => [...new Set([...before, words[i]])])
    this.#check(SID, 'cached', this.#reached)
    let mixed: bigint[][] = [[]]
    for (const choices of this.#seen) mixed = mixed.flatMap((head) => choices.map((word) => [...head, word]))
    for (const entry of mixed) {
      place(FRESH, entry)
      this.#check(FRESH, `read as ${entry.map((word) => word.toString(16)).join(' ')}`)
    }
  }

  /** After a sync, what was read before has no say any more. */
  synced(): void {
    const words = rig.words(at[SID], 8)
    this.#seen = words.map((word) => [word])
    this.#check(SID, 'synced', this.#reached)
  }

  arrived(): void {
    for (const access of ACCESSES) {
      const seen = rig.dma(SID, access)
      if (!this.#says(SID, access, this.#to, seen)) this.wrong.push(`at last: ${tell(access)} ${rig.tell(seen)}`)
    }
  }

  /** Another stream, whose ASIDs are the same numbers. */
  bystander(sid: number, words: Qwords): void {
    for (const access of ACCESSES) {
      const seen = rig.dma(sid, access)
      if (!rig.fits(rig.expected(sid, access, rig.steAt(sid), words), seen))
        this.wrong.push(`SID ${sid}: ${rig.tell(seen)}`)
    }
  }

  #says(sid: Stream, access: Access, entry: Qwords, seen: Seen): boolean {
    return rig.fits(rig.expected(sid, access, at[sid], entry), seen)
  }

  #check(sid: Stream, when: string, reached?: number[]): void {
    for (const [i, access] of ACCESSES.entries()) {
      const seen = rig.dma(sid, access)
      const [isOld, isNew] = [this.#says(sid, access, this.#from, seen), this.#says(sid, access, this.#to, seen)]
      const isAts = access.kind !== 'ordinary'
      const mixed = isAts && !isOld && !isNew ? mixtures(this.#from, this.#to) : []
      if (mixed.some((entry) => this.#says(sid, access, entry, seen))) continue
      const isInvalid = !isOld && !isNew && this.#says(sid, access, INVALID, seen)
      if (isInvalid) this.metInvalid = true
      const stage = isInvalid ? 1 : isNew ? 2 : 0
      const isBack = reached !== undefined && !isAts && isOld !== isNew && stage < reached[i]
      if ((!isOld && !isNew && !isInvalid) || isBack)
        this.wrong.push(`${when}: SID ${sid} ${tell(access)} ${rig.tell(seen)}`)
      if (reached !== undefined && isOld !== isNew) reached[i] = stage
    }
  }
}

type Seen = ReturnType<EntryRig['dma']>

function travel(from: Qwords, to: Qwords): Trip {
  const trip = new Trip(from, to)
  place(SID, from)
  rig.forgetTranslations()
  for (const access of ACCESSES) rig.dma(SID, access)
  rig.watch(at[SID], 64, () => trip.stored())
  rig.onSync = () => trip.synced()
  trip.hitless = rig.streams.update(SID, split(to))
  rig.commands.sync()
  rig.unwatch()
  trip.arrived()
  for (const [sid, words] of WITNESSES) trip.bystander(sid, words)
  expect(rig.words(at[SID], 8)).toEqual(to)
  return trip
}

const tell = ({ kind, ssid, address, write }: Access): string =>
  `${kind} ${write ? 'write' : 'read'} ${address.toString(16)} PASID ${ssid}`

describe('on the way to another stream table entry, each DMA meets the old one, the new one, or the announced gap', () => {
  it.each(ENTRIES)('from $name', ({ name, words: from }) => {
    for (const { name: target, words: to } of ENTRIES) {
      const { hitless, wrong, metInvalid } = travel(from, to)
      expect({ target, wrong }).toEqual({ target, wrong: [] })
      // Where an entry is invalid itself, that is no gap.
      if (name !== 'invalid' && target !== 'invalid')
        expect({ target, metInvalid }).toEqual({ target, metInvalid: !hitless })
    }
  })
})

describe('what the entries mean', () => {
  const meaning = (words: Qwords): string[] => {
    place(FRESH, words)
    return [undefined, 1].map((ssid) => {
      const { outcome } = rig.dma(FRESH, { ...plain, ssid, address: RW, write: false })
      return outcome.status === 1 ? outcome.address.toString(16) : rig.unit.faultName(outcome.fault)
    })
  }
  const [stageOne, guest] = [2 ** 36, 2 ** 40].map(
    (base) => (tree: number) => (base + tree * 2 ** 21 + 0x1000).toString(16),
  )

  it.each([
    ['bypass', '40001000', 'C_BAD_SUBSTREAMID'],
    ['stage 1, S1DSS 2', stageOne(1), stageOne(2)],
    ['stage 1, S1DSS 0', 'F_STREAM_DISABLED', stageOne(2)],
    ['stage 1, S1DSS 1', '40001000', stageOne(2)],
    ['stage 1, more PASIDs', stageOne(13), stageOne(14)],
    ['stage 1, single CD', stageOne(10), 'C_BAD_SUBSTREAMID'],
    ['stage 2', '10000001000', 'C_BAD_SUBSTREAMID'],
    ['stage 2, another domain', '10040001000', 'C_BAD_SUBSTREAMID'],
    ['nested, S1DSS 2', guest(15), guest(16)],
    ['nested, S1DSS 1', '10000001000', guest(16)],
    ['nested, two levels', guest(24), guest(25)],
    ['window, bypass', '10000001000', guest(28)],
    ['window, grown', guest(27), guest(28)],
  ])('%s', (name, without, withPasid) => {
    expect(meaning(full(STES[name]))).toEqual([without, withPasid])
  })
})

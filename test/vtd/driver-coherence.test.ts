/**
 * A driver at work, by chance: attachments, mappings, second stages that change under nested domains, guests that edit
 * their tables and invalidate. After each of them no cache may know anything that the tables no longer say.
 */

import { expect, it } from 'vitest'
import { ACCESSED, Endpoint } from '../../hw-model/pci/endpoint.js'
import { Functions } from '../../hw-model/pci/functions.js'
import { ACCESS, NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import {
  type DeviceDriver,
  type DomainOps,
  givenData,
  type PagingOps,
  RID_SLOT,
  type UserOps,
} from '../../server/core/driver.js'
import { invalidateRanges } from '../given.js'
import { Random } from '../hostile/random.js'
import { CLIENT, dma, FS_RW, guestMaps, makeHost, NEST_PARENT, PLAIN } from './host.js'

const RW = { read: true, write: true }
const MIB2 = 0x20_0000
const IOVAS = [0x10_0000n, 0x10_1000n, 0x12_3456_7000n, 0x7f00_0000_0000n]
const SLOTS = [RID_SLOT, 1, 5]
/** Guest-physical 2 MiB pieces: the first holds the guests' tables and stays, the others come and go. */
const PIECES = [1, 2, 3, 4]
const MAX = 2n ** 64n - 1n

/** What the tables say now. */
function fresh(device: DeviceDriver, slot: number, iova: bigint): string {
  const out = new Outcome()
  const pasid = slot === RID_SLOT ? NO_PASID : slot
  device.port.explain(pasid, Number(iova & 0xffffffffn), Number(iova >> 32n), 1, out)
  return out.status === STATUS.OK ? `0x${out.address.toString(16)}` : device.port.faultName(out.fault)
}

/** Where a function's DMA ends that uses translations of its own. It is on again if a blocked slot switched it off. */
function reach(endpoint: Endpoint, slot: number, iova: bigint): string {
  const [out, tx] = [new Outcome(), new Transaction()]
  const pasid = slot === RID_SLOT ? NO_PASID : slot
  Object.assign(tx, { pasid, lo: Number(iova & 0xffffffffn), hi: Number(iova >> 32n), access: ACCESS.READ })
  endpoint.hasAts = true
  const isDone = endpoint.access(tx, out) === ACCESSED.DONE && out.status === STATUS.OK
  return isDone ? `0x${out.address.toString(16)}` : NOWHERE
}

const NOWHERE = 'nowhere'

/** One host, its devices and its domains, and everything that can happen to them. */
class Scene {
  readonly host
  readonly devices: readonly DeviceDriver[]
  /** What stands in front of the unit, where it lets them have TLBs. */
  readonly #endpoints: readonly Endpoint[]
  readonly #chance: Random
  readonly done = new Map<string, number>()
  readonly #plain: PagingOps[] = []
  readonly #parents: PagingOps[] = []
  readonly #users: { readonly domain: UserOps; readonly tables: readonly number[] }[] = []
  readonly #there = new Map<string, DomainOps>()
  /** What is mapped where, by domain: an IOVA or a piece. */
  readonly #mapped = new Map<PagingOps, Set<number>>()

  constructor(options: Parameters<typeof makeHost>[0], seed: number) {
    const functions = new Functions()
    this.host = makeHost({ ...options, devices: functions })
    this.#chance = new Random(seed)
    const { driver } = this.host
    this.devices = [this.host.probe(8, true), this.host.probe(0x88, true)]
    const hasTlbs = driver.hardware.ecap['DT'] !== 0
    this.#endpoints = hasTlbs ? this.devices.map(({ rid }) => new Endpoint(driver.unit, { rid })) : []
    for (const endpoint of this.#endpoints) functions.add(endpoint)
    const [device] = this.devices
    for (let i = 0; i < 2; i++) {
      this.#plain.push(driver.createPaging(device, PLAIN))
      const parent = driver.createPaging(device, NEST_PARENT)
      parent.map(0n, CLIENT, BigInt(MIB2), RW)
      this.#parents.push(parent)
      for (let j = 0; j < 2; j++) {
        const from = 0x1000 + this.#users.length * 0x10000
        const tables = [0, 1, 2, 3].map((n) => from + n * 0x1000)
        const data = givenData('vtd_s1', { flags: 0n, pgtblAddr: BigInt(from), addrWidth: 48 })
        this.#users.push({ domain: driver.createUserDomain(device, parent, data), tables })
      }
    }
    for (const domain of [...this.#plain, ...this.#parents]) this.#mapped.set(domain, new Set())
  }

  step(): void {
    const what = this.#chance.below(10)
    if (what < 3) this.#attach()
    else if (what < 5) this.#changeHosts(this.#plain[this.#chance.below(2)], IOVAS.length, (n) => IOVAS[n], 0x1000n)
    else if (what < 7) this.#changeHosts(this.#parents[this.#chance.below(2)], PIECES.length, pieceOf, BigInt(MIB2))
    else this.#changeGuests()
  }

  /** Slots and addresses at which a DMA does not end as the tables say. */
  stale(): string[] {
    const out: string[] = []
    for (const [d, device] of this.devices.entries()) {
      for (const slot of SLOTS) {
        for (const iova of IOVAS) {
          const cached = dma(device, iova, 'r', slot === RID_SLOT ? NO_PASID : slot)
          const said = fresh(device, slot, iova)
          if (cached !== said && !(isBlocked(cached) && isBlocked(said)))
            out.push(`${d} ${slot} 0x${iova.toString(16)}: ${cached}, not ${said}`)
          if (this.#endpoints.length > 0) {
            const reached = reach(this.#endpoints[d], slot, iova)
            if (reached !== (said.startsWith('0x1') ? said : NOWHERE)) out.push(`${d} ${slot}: ${reached}, not ${said}`)
          }
          this.#count(said.startsWith('0x1') ? 'translated' : 'faulted')
        }
      }
    }
    return out
  }

  #attach(): void {
    const d = this.#chance.below(2)
    const slot = SLOTS[this.#chance.below(SLOTS.length)]
    const key = `${d} ${slot}`
    const old = this.#there.get(key) ?? null
    const users = this.#users.map(({ domain }) => domain)
    const all: readonly DomainOps[] = this.#chance.below(2) === 0 ? users : [...this.#plain, ...this.#parents]
    const next = all[this.#chance.below(all.length)]
    if (next === old) return
    if (old !== null && this.#chance.below(4) === 0) {
      this.devices[d].clear(slot, old)
      this.#there.delete(key)
      this.#count('cleared')
      return
    }
    this.devices[d].set(slot, next, old)
    this.#there.set(key, next)
    this.#count(old === null ? 'attached' : this.devices[d].lastSetWasHitless ? 'exchanged' : 'replaced')
  }

  /** Maps what is not mapped, unmaps and flushes what is. */
  #changeHosts(domain: PagingOps, count: number, iovaOf: (n: number) => bigint, bytes: bigint): void {
    const mapped = this.#mapped.get(domain) as Set<number>
    const n = this.#chance.below(count)
    if (mapped.delete(n)) {
      domain.unmap(iovaOf(n), bytes)
      domain.flush()
      this.#count('unmapped')
      return
    }
    mapped.add(n)
    domain.map(iovaOf(n), CLIENT + (1 + this.#chance.below(8)) * MIB2, bytes, RW)
    this.#count('mapped')
  }

  /** An entry of a guest's changes, and is invalidated alone, in a range, or with everything. */
  #changeGuests(): void {
    const { domain, tables } = this.#users[this.#chance.below(this.#users.length)]
    const iova = IOVAS[this.#chance.below(IOVAS.length)]
    const leaf = pieceOf(this.#chance.below(PIECES.length)) | BigInt(this.#chance.below(512) << 12)
    guestMaps(this.host.memory, tables, iova, this.#chance.below(4) === 0 ? 0n : leaf | BigInt(FS_RW))
    const entry = [
      { addr: iova, npages: 1n, flags: 0 },
      { addr: iova - 0x1000n, npages: 3n, flags: 0 },
      { addr: 0n, npages: MAX, flags: 0 },
    ][this.#chance.below(3)]
    invalidateRanges(domain, [entry])
    this.#count('invalidated')
  }

  #count(what: string): void {
    this.done.set(what, (this.done.get(what) ?? 0) + 1)
  }
}

/**
 * No entry, or no table of entries. With caching mode a unit may go on saying the one where the tables say the other:
 * for a table that comes, Linux sends nothing until one of its entries does.
 */
const isBlocked = (outcome: string): boolean => outcome === '0x51 SPD.2' || outcome === '0x59 SPT.2'

const pieceOf = (n: number): bigint => BigInt(PIECES[n] * MIB2)

const KINDS = [
  'attached',
  'cleared',
  'exchanged',
  'replaced',
  'mapped',
  'unmapped',
  'invalidated',
  'translated',
  'faulted',
]

/** The default registers with DT, bit 2. */
const ATS = { ECAP: [0x84000fc7, 0x0013e99c] } as const
const CACHING = { CAP: [0x226f0686, 0x81d2078c] } as const

const UNITS = [
  ['the platform’s unit', {}],
  ['a unit in caching mode', { overrides: CACHING }],
  ['a unit without page-selective invalidation', { overrides: { CAP: [0x226f0606, 0x81d2070c] } }],
  ['a unit that keeps all it may', { caches: { policy: 'greedy' } }],
  ['one in caching mode', { overrides: CACHING, caches: { policy: 'greedy' } }],
  ['a unit that keeps one of each', { caches: { policy: 'minimal' } }],
  ['a unit whose devices have TLBs', { overrides: ATS }],
  ['one that keeps all it may', { overrides: { ...ATS, ...CACHING }, caches: { policy: 'greedy' } }],
] as const

it.each(UNITS.flatMap(([name, options]) => [1, 2].map((seed) => [name, seed, options] as const)))(
  'on %s, a driver of seed %d leaves nothing stale in any cache',
  (_, seed, options) => {
    const scene = new Scene(options, seed)
    for (let step = 0; step < 150; step++) {
      scene.step()
      expect(scene.stale(), `after step ${step}`).toEqual([])
    }
    expect(KINDS.filter((what) => (scene.done.get(what) ?? 0) === 0)).toEqual([])
  },
)

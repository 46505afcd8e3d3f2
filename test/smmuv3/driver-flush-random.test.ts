/**
 * After a flush nothing that was unmapped is found any more, whatever the caches keep: random domains of pages and blocks,
 * unmapped in pieces, behind caches that keep all that the manual lets them.
 */

import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome, STATUS } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { DeviceDriver, DomainOps, PagingFlags, PagingOps } from '../../server/core/driver.js'
import { givenData } from '../../server/core/driver.js'
import { Rng } from '../simulation/rng.js'
import { CLIENT_RAM, ListenedHost } from './stream/listener.js'
import { bits, type Command, nameOf } from './stream/recording.js'
import { PLAIN, RW } from './world.js'

const PAGE = 4096n
const BLOCK = 512
/** Pages of the address space that is used: four tables of pages, or blocks in their place. */
const SPACE = 4 * BLOCK
const STEPS = 24
const NO_RIL = PRESETS.default.IDR3 & ~(1 << 10)
const NO_S1 = PRESETS.default.IDR0 & ~0b10

/** How a domain is reached, and on what unit. */
interface Kind {
  readonly name: string
  readonly ids: Readonly<Record<string, number>>
  readonly flags: PagingFlags
  /** The guest's STE before it. */
  readonly ste0?: bigint
}

/** Where the guest's CD and its table are, for it and in the client's memory: one block of 1 GiB, onto itself. */
const GUEST_IPA = 0x8000_0000n
const GUEST_AT = CLIENT_RAM + 2 ** 30
const BYPASS = 9n
const STAGE_1 = GUEST_IPA | 0xbn

const KINDS: readonly Kind[] = [
  { name: 'stage 1', ids: {}, flags: PLAIN },
  { name: 'stage 1 without ranges', ids: { IDR3: NO_RIL }, flags: PLAIN },
  { name: 'stage 2', ids: { IDR0: NO_S1 }, flags: PLAIN },
  { name: 'stage 2 without ranges', ids: { IDR0: NO_S1, IDR3: NO_RIL }, flags: PLAIN },
  { name: 'a nesting parent, bypassed by its guest', ids: {}, flags: { ...PLAIN, nestParent: true }, ste0: BYPASS },
  { name: 'a nesting parent behind stage 1', ids: {}, flags: { ...PLAIN, nestParent: true }, ste0: STAGE_1 },
]

/** A domain beside the plainest account of it: the frame of each page. */
class Beside {
  /** DMAs that found what is there no more, or something else. */
  stale = 0
  readonly host: ListenedHost
  readonly #out = new Outcome()
  readonly #rng: Rng
  readonly #domain: PagingOps
  readonly #device: DeviceDriver
  /** Frame by page; -1 for none. */
  readonly #frames = new Int32Array(SPACE).fill(-1)
  /** First and last page of each leaf, by its pages: no unmap cuts one. */
  readonly #leafSize = new Int32Array(SPACE).fill(1)

  constructor(seed: number, { ids, flags, ste0 }: Kind) {
    this.#rng = new Rng(seed)
    this.host = new ListenedHost(ids, 'default', { policy: 'greedy' })
    const { driver } = this.host
    this.#device = driver.probe({ rid: 8, pasidLg2: 0, ats: false, pri: false })
    this.#domain = driver.createPaging(this.#device, flags)
    this.#device.set(0, ste0 === undefined ? this.#domain : this.#guest(ste0), null)
  }

  #guest(ste0: bigint): DomainOps {
    this.#domain.map(GUEST_IPA, GUEST_AT, 2n * PAGE, RW)
    // T0SZ 25, write-back, EPD1, V; IPS, AA64, R, A, ASET, ASID 1. Then a block of 1 GiB.
    const cd = [0x1_e205_c000_3519n, GUEST_IPA + PAGE, 0n, 0xf404ff44n]
    for (const [i, word] of cd.entries()) this.host.poke(GUEST_AT + i * 8, word)
    this.host.poke(GUEST_AT + 4096, 0xf45n)
    const viommu = this.host.driver.createViommu(this.#device, this.#domain)
    viommu.addVdevice(this.#device, 8n)
    return viommu.createUserDomain(this.#device, givenData('smmuv3_ste', { ste0, ste1: 0xd4n }), { pasid: false })
  }

  step(): void {
    for (let i = 0; i < 3; i++) this.#map()
    this.#look()
    for (let i = this.#rng.int(10); i >= 0; i--) this.#unmap()
    void this.#domain.flush()
    this.#look()
  }

  /** Maps what is free from a page on, in pages or in blocks. */
  #map(): void {
    const rng = this.#rng
    const inBlocks = rng.int(3) === 0
    const first = inBlocks ? rng.int(SPACE / BLOCK) * BLOCK : rng.int(SPACE)
    const wanted = inBlocks ? BLOCK * (1 + rng.int(3)) : 1 + rng.int([1, 5, 70, 1100][rng.int(4)])
    let pages = 0
    while (pages < wanted && first + pages < SPACE && this.#frames[first + pages] < 0) pages++
    if (inBlocks) pages -= pages % BLOCK
    if (pages === 0) return
    const frame = rng.int(64) * BLOCK + (inBlocks ? 0 : 1)
    const address = CLIENT_RAM + frame * 4096
    this.#domain.map(BigInt(first) * PAGE, address, BigInt(pages) * PAGE, RW, !inBlocks)
    for (let i = 0; i < pages; i++) {
      this.#frames[first + i] = frame + i
      this.#leafSize[first + i] = inBlocks ? BLOCK : 1
    }
  }

  /** Unmaps a run of what is mapped, whole leaves. */
  #unmap(): void {
    const rng = this.#rng
    let first = rng.int(SPACE)
    while (first < SPACE && this.#frames[first] < 0) first++
    if (first === SPACE) return
    first -= this.#leafSize[first] === BLOCK ? first % BLOCK : 0
    let end = first
    const wanted = [1, 3, 33, 512, 1500][rng.int(5)]
    while (end < SPACE && end - first < wanted && this.#frames[end] >= 0) end += this.#leafSize[end]
    this.#domain.unmap(BigInt(first) * PAGE, BigInt(end - first) * PAGE)
    this.#frames.fill(-1, first, end)
    this.#leafSize.fill(1, first, end)
  }

  /** A DMA to each page. */
  #look(): void {
    for (let page = 0; page < SPACE; page++) {
      const frame = this.#frames[page]
      const expected = frame < 0 ? 'F_TRANSLATION' : `ok ${(CLIENT_RAM + frame * 4096).toString(16)}`
      if (this.#dma(page) !== expected) this.stale++
    }
  }

  #dma(page: number): string {
    const { port } = this.#device
    port.translate(-1, page * 4096, 0, ACCESS.READ, this.#out)
    if (this.#out.status === STATUS.OK) return `ok ${this.#out.address.toString(16)}`
    return port.faultName(this.#out.fault)
  }
}

/** Commands that a driver would give that does not know what it unmapped, each once. */
const MISTAKES: Readonly<Record<string, (command: Command) => Command>> = {
  'a level where leaves are others': ({ dw0, dw1 }) => ({ dw0, dw1: bits(dw1, 9, 8) === 2 ? dw1 | 0x300n : dw1 }),
  'a level where tables went': ({ dw0, dw1 }) => ({ dw0, dw1: bits(dw1, 0, 0) === 0 ? dw1 | 0x301n : dw1 }),
  'a page too few': ({ dw0, dw1 }) => ({ dw0: bits(dw0, 16, 12) > 0 ? dw0 - (1n << 12n) : dw0, dw1 }),
}

describe.each(KINDS)('$name, unmapped in pieces', (kind) => {
  it.each([1])('leaves nothing behind after a flush: seed %i', (seed) => {
    const beside = new Beside(seed, kind)
    for (let step = 0; step < STEPS; step++) beside.step()
    expect(beside.stale).toBe(0)
    expect(beside.host.driver.counters()['hits']).toBeGreaterThan(10_000)
  })
})

describe('a driver that is wrong', () => {
  it.each(Object.entries(MISTAKES))('is found out: %s', (_name, mistake) => {
    const beside = new Beside(3, KINDS[0])
    beside.host.spoil = (command) => (nameOf(command) === 'TLBI_NH_VA' ? mistake(command) : command)
    for (let step = 0; step < STEPS && beside.stale === 0; step++) beside.step()
    expect(beside.stale).toBeGreaterThan(0)
  })
})

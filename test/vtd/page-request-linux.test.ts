/** Linux's handler of page requests, and how it drains them. */

import { beforeEach, describe, expect, it } from 'vitest'
import { NO_PASID } from '../../hw-model/port.js'
import { IQ, PASIDS, SID, STATUS_SLOT } from './guest.js'
import { type Answer, PAGES, PageGuest, PPR, PRO, PRQ } from './page-request-guest.js'

const SLOTS = 128n

let guest: PageGuest

beforeEach(() => {
  guest = new PageGuest().ready()
})

/**
 * Linux's handler: clears PPR, then reads head and tail, takes what is between, writes the head, and clears PRO once the
 * queue is empty. Answers the last request of each group with Success.
 */
class LinuxPrq {
  readonly pages: bigint[] = []
  readonly #guest: PageGuest
  readonly #size: bigint
  /** Called in the middle, after head and tail were read. */
  onRead = (): void => {}

  constructor(guest: PageGuest, size = SLOTS * 32n) {
    this.#guest = guest
    this.#size = size
  }

  handle(): void {
    const { read, write } = this.#registers
    write(PRQ.PRS, PPR)
    const tail = read(PRQ.PQT) & (this.#size - 32n)
    let head = read(PRQ.PQH) & (this.#size - 32n)
    this.onRead()
    const responses: [bigint, bigint][] = []
    for (; head !== tail; head = (head + 32n) & (this.#size - 1n)) {
      const [qw0, qw1] = this.#guest.descriptor(Number(head / 32n))
      const isMarker = (qw1 & 7n) === 4n
      if (isMarker) continue
      this.pages.push(qw1 & ~0xfffn)
      if (qw1 & 4n) responses.push([(qw0 & 0xf_ffff_ffff_0000n) | ((qw0 >> 4n) & 0x10n) | 9n, (qw1 & 0xff8n) | 4n])
    }
    write(PRQ.PQH, tail)
    if (responses.length > 0) this.#guest.queue(...responses)
    if ((this.#guest.status & PRO) === 0n) return
    if (read(PRQ.PQH) === read(PRQ.PQT)) write(PRQ.PRS, PRO)
  }

  get #registers() {
    return {
      read: (offset: number): bigint => this.#guest.read(offset, 8),
      write: (offset: number, value: bigint): void => this.#guest.write(offset, value, offset === PRQ.PRS ? 4 : 8),
    }
  }
}

describe('Linux', () => {
  beforeEach(() => guest.startQueue())

  it('answers the last request of each group, and devices that share an index are told apart', () => {
    const linux = new LinuxPrq(guest)
    const rids: number[] = []
    guest.onAnswer = (rid) => rids.push(rid)
    guest.store(guest.context + 32, BigInt(guest.directory) | 0x1dn, 0n, 0n, 0n)
    guest.page(0x1000n, 'rl', 5, 6)
    guest.page(0x2000n, 'w', 5, 6, SID + 1)
    guest.page(0x3000n, 'r', 5, 6)
    linux.handle()
    expect(linux.pages).toEqual([0x1000n, 0x2000n, 0x3000n])
    const answer: Answer = [5, 6, 0]
    expect([guest.answers, rids]).toEqual([
      [answer, answer],
      [SID + 1, SID],
    ])
  })

  it('loses no request that comes while it handles others: there is another event', () => {
    const linux = new LinuxPrq(guest)
    let late = 3
    linux.onRead = () => {
      if (late-- > 0) guest.page(BigInt(late) << 20n, 'r', 5, late)
    }
    let pending = 0
    guest.onMessage = () => pending++
    guest.page(0x1000n)
    for (let left = 10; left > 0 && pending > 0; left--) {
      pending--
      linux.handle()
    }
    expect(linux.pages).toEqual([0x1000n, 0x20_0000n, 0x10_0000n, 0n])
    expect([guest.status, guest.read(PRQ.PQH, 8), guest.tail]).toEqual([0n, 128n, 128n])
  })

  it('comes out of an overflow with every group answered, by it or by the unit', () => {
    const linux = new LinuxPrq(guest)
    for (let i = 0; i < 200; i++) guest.page(BigInt(i) << 12n, 'r', 5, i)
    expect(guest.answers.length).toBe(200 - 127)
    linux.handle()
    while (guest.unit.hasWork) guest.unit.run()
    const groups = guest.answers.map(([, group]) => group).sort((a, b) => a - b)
    expect(groups).toEqual(Array.from({ length: 200 }, (_, i) => i))
    expect([guest.status, linux.pages.length]).toEqual([0n, 127])
    guest.page(0x1000n)
    expect(guest.status).toBe(PPR)
  })

  it('sets up 2048 slots, drops stop markers, and leaves zeros when it goes', () => {
    guest.write(PRQ.PQH, 0n, 8)
    guest.write(PRQ.PQT, 0n, 8)
    guest.write(PRQ.PQA, BigInt(PAGES) | 4n, 8)
    const linux = new LinuxPrq(guest, 0x10000n)
    for (let i = 0; i < 300; i++) guest.page(BigInt(i) << 12n, 'rl', 5, 1)
    guest.page(0n, '', 5, 0)
    linux.handle()
    expect([linux.pages.length, guest.answers, guest.tail]).toEqual([300, [], 301n * 32n])
    for (const offset of [PRQ.PQH, PRQ.PQT, PRQ.PQA]) guest.write(offset, 0n, 8)
    guest.page(0x1000n)
    expect([guest.answers, guest.status & PRO]).toEqual([[[NO_PASID, 1, 0]], PRO])
  })

  it('drains: a fence, an IOTLB invalidation, and a wait with PD that its status ends', () => {
    const linux = new LinuxPrq(guest)
    guest.page(0x1000n, 'r', 5, 1)
    guest.store(PASIDS + 5 * 64, 0n)
    guest.queue(IQ.pasid(3, 5), IQ.piotlb(3, 5), IQ.wait(1n, BigInt(STATUS_SLOT)))
    linux.handle()
    guest.queue(IQ.fence, IQ.piotlb(3, 5), [0x2000000a5n, BigInt(STATUS_SLOT)])
    expect(guest.load(STATUS_SLOT)).toBe(2n)
    expect([guest.status, guest.read(PRQ.PQH, 8)]).toEqual([0n, guest.tail])
    guest.page(0x1000n, 'r', 5, 2)
    expect(guest.answers).toEqual([
      [5, 1, 0],
      [5, 2, 1],
    ])
  })

  it('drains behind the device: a request that it sent before it obeyed is in the queue when the status says so', () => {
    const linux = new LinuxPrq(guest)
    const held: number[] = []
    guest.onInvalidate = (tag) => held.push(tag) === 0
    const all = 0x7fff_ffff_ffff_f800n
    const deviceTlb = [8n | (BigInt(SID) << 16n) | (5n << 32n), all] as const
    guest.queue(IQ.fence, IQ.piotlb(3, 5), deviceTlb, [0x2000000a5n, BigInt(STATUS_SLOT)])
    expect([held.length, guest.load(STATUS_SLOT)]).toEqual([1, 0n])
    guest.page(0x1000n, 'r', 5, 1)
    guest.page(0x2000n, 'r', 5, 2)
    expect(guest.load(STATUS_SLOT)).toBe(0n)
    expect(guest.unit.ats?.completed(held[0] ?? 0)).toBe(true)
    expect([guest.load(STATUS_SLOT), guest.tail]).toEqual([2n, 64n])
    linux.handle()
    expect(linux.pages).toEqual([0x1000n, 0x2000n])
  })

  it('hears its answers reach a device before the invalidation behind them', () => {
    const seen: string[] = []
    guest.onAnswer = (_rid, pasid, group) => seen.push(`answer to ${pasid}, ${group}`)
    guest.onInvalidate = () => seen.push('invalidation') > 0
    const respond = (group: bigint): readonly [bigint, bigint] => [0x0000_0005_0008_0019n, group << 3n]
    guest.queue(respond(1n), respond(2n), [3n | (BigInt(SID) << 32n), 0x7fff_ffff_ffff_f001n], respond(3n))
    expect(seen).toEqual(['answer to 5, 1', 'answer to 5, 2', 'invalidation', 'answer to 5, 3'])
  })

  it('drains again after an overflow, since the unit answered by itself meanwhile', () => {
    const linux = new LinuxPrq(guest)
    guest.write(PRQ.PQH, 64n, 8)
    guest.page(0x1000n, 'r', 5, 1)
    guest.page(0x2000n, 'r', 5, 2)
    const drain = (data: bigint): void => guest.queue(IQ.piotlb(3, 5), [0xa5n | (data << 32n), BigInt(STATUS_SLOT)])
    guest.queue(IQ.fence)
    drain(1n)
    expect([guest.load(STATUS_SLOT), guest.status]).toEqual([1n, PPR | PRO])
    linux.handle()
    drain(2n)
    expect([guest.load(STATUS_SLOT), guest.status]).toEqual([2n, 0n])
    expect(guest.answers.map(([, group]) => group)).toContain(2)
  })
})

/**
 * A function with ATS and PRI whose pages software maps when they are asked for: no invalidation is sent for what is
 * granted, since a page request makes the unit forget. [VTD 6.5.3.1 Implicit Invalidation on Page Requests]
 */

import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESSED, Endpoint } from '../../hw-model/pci/endpoint.js'
import { ACCESS, NO_PASID, Outcome, PAGE_RESPONSE, STATUS, Transaction } from '../../hw-model/port.js'
import { FS, IQ, PASIDS, REG, SID, SS, STATUS_SLOT } from './guest.js'
import { PageGuest, PPR, PRO, PRQ } from './page-request-guest.js'

const PASID = 5
const PAGE = 0x40_0000n
const FIRST = 0x100000
const SECOND = 0x110000
/** Absent, and P, U/S, A; with R/W and D. */
const READ_ONLY = 0x25n
const DATA = 0x50_0000n

let guest: PageGuest
let endpoint: Endpoint

beforeEach(() => {
  guest = new PageGuest().ready()
  guest.startQueue()
  endpoint = new Endpoint(guest.unit, { rid: SID, hasPri: true })
  guest.onAnswer = (_rid, _pasid, group, code) => endpoint.respond(group, code)
  guest.onInvalidate = (_tag, invalidation) => endpoint.invalidate(invalidation)
})

/** A DMA of the function: where it went, or what it met instead. */
function dma(access: number, iova = PAGE, pasid: number = PASID): string {
  const tx = Object.assign(new Transaction(), { pasid, lo: Number(iova), access, bytes: 8 })
  const out = new Outcome()
  const ended = endpoint.access(tx, out)
  if (ended === ACCESSED.DONE && out.status === STATUS.OK) return `0x${out.address.toString(16)}`
  return ended === ACCESSED.REQUESTED ? 'requested' : `ended ${ended}, ${out.status}`
}

/** Takes what is in the queue, answers each group, and tells what was asked for. */
function serve(map: (page: bigint, writes: boolean) => void, code = 0n): string[] {
  guest.write(PRQ.PRS, PPR)
  const asked: string[] = []
  const tail = guest.tail
  for (let head = guest.read(PRQ.PQH, 8); head !== tail; head = (head + 32n) % 4096n) {
    const [qw0, qw1] = guest.descriptor(Number(head / 32n))
    const page = qw1 & ~0xfffn
    map(page, (qw1 & 2n) !== 0n)
    asked.push(`0x${page.toString(16)}${qw1 & 1n ? ' r' : ''}${qw1 & 2n ? ' w' : ''}`)
    guest.queue([(qw0 & 0xf_ffff_ffff_0000n) | ((qw0 >> 4n) & 0x10n) | (code << 12n) | 9n, qw1 & 0xff8n])
  }
  guest.write(PRQ.PQH, tail, 8)
  return asked
}

const leaf = (flags: bigint): void => guest.path(FIRST, PAGE, DATA | flags, FS.TABLE)

describe('a page of a function with PRI', () => {
  it('is mapped when it is first read, and made writable when it is first written', () => {
    expect(dma(ACCESS.READ)).toBe('requested')
    expect(serve((_page, writes) => leaf(writes ? FS.PAGE : READ_ONLY))).toEqual(['0x400000 r'])
    expect(endpoint.answerTo(endpoint.group)).toBe(PAGE_RESPONSE.SUCCESS)
    expect(dma(ACCESS.READ)).toBe('0x500000')
    expect(dma(ACCESS.WRITE)).toBe('requested')
    expect(serve((_page, writes) => leaf(writes ? FS.PAGE : READ_ONLY))).toEqual(['0x400000 w'])
    expect([dma(ACCESS.WRITE), dma(ACCESS.READ), guest.status]).toEqual(['0x500000', '0x500000', 0n])
    expect(guest.unit.counters.faults).toBe(0)
  })

  it('is found with the rights that a nested second stage was given meanwhile', () => {
    for (const page of [0x100000n, 0x101000n, 0x102000n, 0x103000n]) guest.path(SECOND, page, page | SS.RW, SS.RW)
    guest.store(0x113000 + 0x100 * 8, 0x100003n, 0x101003n, 0x102003n, 0x103003n)
    guest.store(0x112000 + 2 * 8, 0x115003n)
    guest.store(0x115000 + 0x100 * 8, DATA | SS.R)
    leaf(FS.PAGE)
    guest.nested(PASID, 3, FIRST, SECOND)
    expect([dma(ACCESS.READ), dma(ACCESS.WRITE)]).toEqual(['0x500000', 'requested'])
    serve(() => guest.store(0x115000 + 0x100 * 8, DATA | SS.RW))
    expect(dma(ACCESS.WRITE)).toBe('0x500000')
  })

  it('that software refuses stays refused, and no record is made of it', () => {
    expect(dma(ACCESS.WRITE)).toBe('requested')
    serve(() => undefined, 1n)
    expect([endpoint.answerTo(endpoint.group), endpoint.waitingGroups]).toEqual([PAGE_RESPONSE.INVALID, []])
    expect([dma(ACCESS.WRITE), guest.read(REG.FSTS)]).toEqual(['requested', 0n])
  })

  it('is asked for again after an overflow, whose automatic answer mapped nothing', () => {
    guest.write(PRQ.PQH, 32n, 8)
    expect([dma(ACCESS.READ), endpoint.answerTo(endpoint.group)]).toEqual(['requested', PAGE_RESPONSE.SUCCESS])
    expect([guest.status, endpoint.waitingGroups]).toEqual([PRO, []])
    guest.write(PRQ.PQH, 0n, 8)
    guest.write(PRQ.PRS, PRO)
    expect(dma(ACCESS.READ)).toBe('requested')
    expect(serve(() => leaf(READ_ONLY))).toEqual(['0x400000 r'])
    expect(dma(ACCESS.READ)).toBe('0x500000')
  })

  it('of a PASID that is revoked is answered Invalid Request once its entry is gone', () => {
    leaf(FS.PAGE)
    expect(dma(ACCESS.WRITE)).toBe('0x500000')
    guest.store(PASIDS + PASID * 64, 0n)
    guest.queue(IQ.pasid(3, PASID), IQ.piotlb(3, PASID))
    guest.queue([8n | (BigInt(SID) << 16n) | (BigInt(PASID) << 32n), 0x7fff_ffff_ffff_f800n])
    // The translation request ends in success without a right; the page request meets the absent entry.
    expect([dma(ACCESS.WRITE), endpoint.answerTo(endpoint.group)]).toEqual(['requested', PAGE_RESPONSE.INVALID])
    expect([guest.tail, guest.read(REG.FSTS), (guest.read(REG.FRCD + 8, 8) >> 32n) & 0xffn]).toEqual([0n, 2n, 0x59n])
  })

  it('without PASID is asked for under the function’s name alone, by the tables of RID_PASID', () => {
    expect(dma(ACCESS.READ, PAGE, NO_PASID)).toBe('requested')
    expect(guest.descriptor(0)[0]).toBe(0x80001n)
    serve(() => leaf(READ_ONLY))
    expect(dma(ACCESS.READ, PAGE, NO_PASID)).toBe('0x500000')
  })

  it('is forgotten with the device drained: stop marker, fence, invalidations and a wait with PD', () => {
    expect(dma(ACCESS.READ)).toBe('requested')
    endpoint.stopPasid(PASID)
    guest.queue(IQ.fence, IQ.piotlb(3, PASID), [3n | (BigInt(SID) << 32n), 0x7fff_ffff_ffff_f001n])
    guest.queue([0x2000000a5n, BigInt(STATUS_SLOT)])
    expect([guest.load(STATUS_SLOT), guest.tail]).toEqual([2n, 64n])
    expect(guest.descriptor(1)).toEqual([0x0000_0005_0008_0101n, 4n, 0n, 0n])
  })
})

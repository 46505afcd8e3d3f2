/** Device TLBs that were not told to forget, in front of a VT-d unit. [VTD 6.5.2.5, 6.5.2.6, 4.2.5] */

import { beforeEach, describe, expect, it } from 'vitest'
import { Endpoint, type EndpointOptions } from '../../hw-model/pci/endpoint.js'
import { Functions } from '../../hw-model/pci/functions.js'
import { type Invalidation, NO_PASID, Outcome, STATUS, Transaction, type UnitOracle } from '../../hw-model/port.js'
import { AtsGuest, CONTEXT, FIRST, halves } from '../vtd/ats-guest.js'
import { accessOf, FS, IQ, SID } from '../vtd/guest.js'
import { text } from '../vtd/oracle-guest.js'

const VA = 0x40_0000n
const PA = 0x80_0000n
const MOVED = 0x90_0000n
const LEAF = FIRST + 0x3000
/** The page at VA, of what was got without a PASID and with PASID 5. */
const PLAIN: readonly [bigint, bigint] = [(BigInt(SID) << 32n) | 3n, VA]
const OF_PASID: readonly [bigint, bigint] = [(5n << 32n) | (BigInt(SID) << 16n) | 8n, VA]

let functions: Functions
let guest: AtsGuest

beforeEach(() => {
  functions = new Functions()
  guest = new AtsGuest({ devices: functions })
  guest.startScalable(CONTEXT.PASID)
  guest.startQueue()
  guest.unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: 16 })
})

const oracle = (): UnitOracle => guest.unit.oracle as UnitOracle
const told = (): string[] =>
  oracle().reports.map(
    ({ cache, missing }) => `${cache}: ${missing.map((each: Invalidation) => text(each)).join(' + ')}`,
  )

function plug(options: Partial<EndpointOptions> = {}): Endpoint {
  const endpoint = new Endpoint(guest.unit, { rid: SID, ...options })
  functions.add(endpoint)
  return endpoint
}

function dma(endpoint: Endpoint, access = 'r', pasid = NO_PASID, va = VA): string {
  const transaction = new Transaction()
  const [lo, hi] = halves(va)
  Object.assign(transaction, { lo, hi, access: accessOf(access), pasid, bytes: 8 })
  const out = new Outcome()
  endpoint.access(transaction, out)
  return out.status === STATUS.OK ? `0x${out.address.toString(16)}` : `status ${out.status}`
}

describe('a device TLB that was forgotten', () => {
  it('is reported with the descriptor that was missing, after a wait', () => {
    guest.mapFirst(VA, PA | FS.PAGE)
    const endpoint = plug()
    expect([dma(endpoint), dma(endpoint)]).toEqual(['0x800000', '0x800000'])
    guest.store(LEAF, MOVED | FS.PAGE)
    guest.queue(IQ.piotlbPage(2, 0, VA))
    expect(dma(endpoint)).toBe('0x800000')
    expect([told(), oracle().counts.inWindow]).toEqual([[], 1])
    guest.queue(IQ.fence)
    expect(dma(endpoint)).toBe('0x800000')
    expect(told()).toEqual(['atc: DEV_IOTLB SID=8 S=0 ADDR=0x400000'])
    expect(oracle().reports[0]).toMatchObject({
      reason: 'synced',
      rid: SID,
      cached: { address: 0x80_0000 },
      fresh: { address: 0x90_0000 },
      changed: { what: 'first-stage entry', address: LEAF },
      usual: null,
    })
    guest.queue(PLAIN, IQ.fence)
    expect(dma(endpoint)).toBe('0x900000')
    expect(oracle().reports).toHaveLength(1)
  })

  it('of a PASID has a descriptor of its own', () => {
    guest.mapFirst(VA, PA | FS.PAGE, 5)
    const endpoint = plug()
    dma(endpoint, 'r', 5)
    guest.store(LEAF, 0n)
    guest.queue(IQ.piotlbPage(2, 5, VA), PLAIN, IQ.fence)
    expect(dma(endpoint, 'r', 5)).toBe('0x800000')
    expect(told()).toEqual(['atc: P_DEV_IOTLB SID=8 PASID=5 S=0 ADDR=0x400000'])
    expect(oracle().reports[0].sent[0].why).toBe('reaches what was got without a PASID alone')
    guest.queue(OF_PASID, IQ.fence)
    dma(endpoint, 'r', 5)
    expect(oracle().reports).toHaveLength(1)
  })

  it('of a PASID is told of with why what was sent did not reach it', () => {
    guest.mapFirst(VA, PA | FS.PAGE, 5)
    const endpoint = plug()
    dma(endpoint, 'r', 5)
    guest.store(LEAF, 0n)
    const four: readonly [bigint, bigint] = [(4n << 32n) | (BigInt(SID) << 16n) | 8n, VA]
    // GI, bit 64, is every PASID: here of other pages. S, bit 75, makes them the 16 KiB from VA + 0x4000.
    const global: readonly [bigint, bigint] = [(BigInt(SID) << 16n) | 8n, (VA + 0x5000n) | (1n << 11n) | 1n]
    guest.queue(IQ.piotlbPage(2, 5, VA + 0x3000n, 2n), IQ.piotlbPage(2, 5, VA - 0x1000n), four, global, IQ.fence)
    expect(dma(endpoint, 'r', 5)).toBe('0x800000')
    expect(told()).toEqual(['atc: P_DEV_IOTLB SID=8 PASID=5 S=0 ADDR=0x400000'])
    expect(oracle().reports[0].sent.map(({ command, why }) => `${text(command)}: ${why}`)).toEqual([
      'P_DEV_IOTLB SID=8 GI=1 S=1 ADDR=0x405000: range starts at 0x404000',
      'P_DEV_IOTLB SID=8 PASID=4 S=0 ADDR=0x400000: wrong PASID (4, needed 5)',
      'P_IOTLB DID=2 PASID=5 AM=2 IH=0 ADDR=0x403000: drops what the unit keeps, not the device',
    ])
  })

  it('of a gigabyte is one descriptor of its size to most software', () => {
    guest.firstStage(0, 2, FIRST)
    guest.path(FIRST, VA, PA | FS.PAGE, FS.TABLE)
    const entry = FIRST + 0x1000 + Number((VA >> 30n) & 511n) * 8
    guest.store(entry, 0x4000_0000n | FS.PAGE | FS.PS)
    const endpoint = plug()
    dma(endpoint)
    guest.store(entry, 0n)
    guest.queue(IQ.piotlb(2, 0), IQ.fence)
    dma(endpoint)
    expect(text(oracle().reports[0].usual as Invalidation)).toBe('DEV_IOTLB SID=8 S=1 ADDR=0x1ffff000')
  })

  it('is told again what the IOTLB keeps, which goes first', () => {
    guest.mapFirst(VA, PA | FS.PAGE)
    const endpoint = plug()
    dma(endpoint)
    guest.store(LEAF, MOVED | FS.PAGE)
    guest.queue(IQ.fence)
    dma(endpoint)
    expect(told()).toEqual(['atc: P_IOTLB DID=2 PASID=0 AM=0 IH=1 ADDR=0x400000 + DEV_IOTLB SID=8 S=0 ADDR=0x400000'])
  })

  it('is told of with why what was sent to devices did not reach it', () => {
    guest.mapFirst(VA, PA | FS.PAGE)
    const endpoint = plug()
    dma(endpoint)
    guest.store(LEAF, 0n)
    const other: readonly [bigint, bigint] = [(9n << 32n) | 3n, VA]
    const beside: readonly [bigint, bigint] = [(BigInt(SID) << 32n) | 3n, VA + 0x2000n]
    // S, 8 KiB from VA - 0x2000.
    const below: readonly [bigint, bigint] = [(BigInt(SID) << 32n) | 3n, (VA - 0x2000n) | 1n]
    guest.queue(IQ.piotlbPage(2, 0, VA), other, beside, below, IQ.fence)
    dma(endpoint)
    expect(oracle().reports[0].sent.map(({ command, why }) => `${text(command)}: ${why}`)).toEqual([
      'DEV_IOTLB SID=8 S=1 ADDR=0x3fe000: range ends at 0x3fffff',
      'DEV_IOTLB SID=8 S=0 ADDR=0x402000: range starts at 0x402000',
      'DEV_IOTLB SID=9 S=0 ADDR=0x400000: wrong SID (9, needed 8)',
      'P_IOTLB DID=2 PASID=0 AM=0 IH=0 ADDR=0x400000: drops what the unit keeps, not the device',
    ])
  })

  it('of a large page is one descriptor of its size to most software', () => {
    guest.firstStage(0, 2, FIRST)
    guest.path(FIRST, VA, PA | FS.PAGE, FS.TABLE)
    const entry = FIRST + 0x2000 + Number((VA >> 21n) & 511n) * 8
    guest.store(entry, PA | FS.PAGE | FS.PS)
    const endpoint = plug()
    dma(endpoint)
    guest.store(entry, 0n)
    guest.queue(IQ.piotlbPage(2, 0, VA, 9n), IQ.fence)
    dma(endpoint)
    expect(told()).toEqual(['atc: DEV_IOTLB SID=8 S=0 ADDR=0x400000'])
    expect(text(oracle().reports[0].usual as Invalidation)).toBe('DEV_IOTLB SID=8 S=1 ADDR=0x4ff000')
  })

  it('ends the DMA aborted where that was asked for', () => {
    guest.unit.setOracle({ fails: true, graceSyncs: 0, reportLimit: 16 })
    guest.mapFirst(VA, PA | FS.PAGE)
    const endpoint = plug()
    dma(endpoint)
    guest.store(LEAF, 0n)
    guest.queue(IQ.piotlbPage(2, 0, VA), IQ.fence)
    expect(dma(endpoint)).toBe(`status ${STATUS.ABORTED}`)
  })

  it('is found when somebody asks what is stale', () => {
    guest.mapFirst(VA, PA | FS.PAGE)
    const endpoint = plug()
    dma(endpoint)
    guest.store(LEAF, 0n)
    guest.queue(IQ.piotlbPage(2, 0, VA))
    const { stale } = oracle().check(1000)
    expect(stale.map(({ cache, reason }) => [cache, reason])).toEqual([['atc', 'checked']])
    guest.queue(PLAIN, IQ.fence)
    expect(oracle().check(1000).stale).toEqual([])
    expect(dma(endpoint)).toBe('status 3')
  })
})

describe('a device TLB that was told everything', () => {
  it('is no difference, nor are rights that it did not ask for', () => {
    guest.mapFirst(VA, PA | (FS.PAGE & ~FS.RW))
    const endpoint = plug()
    dma(endpoint)
    guest.store(LEAF, PA | FS.PAGE)
    guest.queue(IQ.fence)
    expect([dma(endpoint), dma(endpoint, 'w'), dma(endpoint)]).toEqual(['0x800000', '0x800000', '0x800000'])
    guest.store(LEAF, 0n)
    guest.queue(IQ.piotlbPage(2, 0, VA), PLAIN, IQ.fence)
    dma(endpoint)
    expect(oracle().counts).toMatchObject({ stale: 0, reports: 0 })
  })
})

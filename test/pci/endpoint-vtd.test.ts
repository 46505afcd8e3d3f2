import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESSED, Endpoint, type EndpointOptions } from '../../hw-model/pci/endpoint.js'
import { Functions } from '../../hw-model/pci/functions.js'
import { NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import { AtsGuest, CONTEXT, FIRST, halves } from '../vtd/ats-guest.js'
import { accessOf, FS, IQ, REG, SID, SS, STATUS_SLOT } from '../vtd/guest.js'

const VA = 0x123456000n
const PA = 0x800000n
const SLOT = BigInt(STATUS_SLOT)
/** The page at VA, without a PASID and with PASID 5. */
const PLAIN_PAGE: [bigint, bigint] = [(BigInt(SID) << 32n) | 3n, VA]
const PASID_PAGE: [bigint, bigint] = [(5n << 32n) | (BigInt(SID) << 16n) | 8n, VA]
/** Everything of every PASID: GI. */
const EVERY_PASID: [bigint, bigint] = [(BigInt(SID) << 16n) | 8n, 0x7fff_ffff_ffff_f801n]

let functions: Functions
let guest: AtsGuest

beforeEach(() => {
  functions = new Functions()
  guest = new AtsGuest({ devices: functions })
  guest.startScalable(CONTEXT.PASID)
  guest.startQueue()
})

function plug(options: Partial<EndpointOptions> = {}): Endpoint {
  const endpoint = new Endpoint(guest.unit, { rid: SID, ...options })
  functions.add(endpoint)
  return endpoint
}

/** A DMA of a function; how it went, and where it ended where there was one. */
function dma(endpoint: Endpoint, va: bigint, access = 'r', pasid = NO_PASID, bytes = 8): string {
  const transaction = new Transaction()
  const [lo, hi] = halves(va)
  Object.assign(transaction, { lo, hi, access: accessOf(access), pasid, bytes })
  const out = new Outcome()
  const went = endpoint.access(transaction, out)
  if (went === ACCESSED.DENIED) return 'denied'
  if (went === ACCESSED.ABORTED) return 'CA'
  return out.status === STATUS.OK ? `0x${out.address.toString(16)}` : `blocked 0x${out.fault.toString(16)}`
}

describe('a function with ATS in front of a unit', () => {
  it('asks once for each page and then uses what it was granted', () => {
    guest.mapFirst(VA, PA | FS.PAGE)
    const endpoint = plug()
    expect([dma(endpoint, VA + 8n, 'w'), dma(endpoint, VA + 16n)]).toEqual(['0x800008', '0x800010'])
    expect([endpoint.requests, endpoint.translated, endpoint.atc.hits]).toEqual([1, 2, 1])
  })

  it('makes no DMA that it was not granted, and nothing is recorded', () => {
    guest.mapFirst(VA, PA | FS.P | FS.US)
    const endpoint = plug()
    expect([dma(endpoint, VA, 'w'), dma(endpoint, VA + 0x1000n), dma(endpoint, VA)]).toEqual([
      'denied',
      'denied',
      '0x800000',
    ])
    expect(guest.faults()).toEqual([])
  })

  it('switches ATS off when it is not supported, and goes on untranslated', () => {
    guest.mapFirst(VA, PA | FS.PAGE)
    guest.store(guest.context, 0x4009n)
    const endpoint = plug()
    expect([dma(endpoint, VA, 'w'), endpoint.hasAts]).toEqual(['0x800000', false])
    expect(guest.faults()).toEqual(['0x44 AT=1'])
  })

  it('keeps ATS where the tables are broken', () => {
    guest.store(guest.context, 0x408dn)
    const endpoint = plug()
    expect([dma(endpoint, VA), endpoint.hasAts]).toEqual(['CA', true])
  })

  it('sends its interrupts untranslated though it asks for their address', () => {
    const endpoint = plug()
    guest.mapFirst(VA, PA | FS.PAGE)
    expect(dma(endpoint, 0xfee01000n, 'w', NO_PASID, 4)).toBe('0xfee01000')
    expect([endpoint.requests, endpoint.translated, endpoint.atc.size]).toEqual([1, 0, 0])
    expect(guest.faults()).toEqual([])
  })

  it('tells its PASIDs and privileges apart', () => {
    guest.mapFirst(VA, PA | FS.P | FS.RW, 5)
    guest.firstStage(5, 2, FIRST)
    guest.store(0x5000 + 5 * 64 + 16, BigInt(FIRST) | 1n)
    const endpoint = plug()
    expect(dma(endpoint, VA, 'wp', 5)).toBe('0x800000')
    expect([dma(endpoint, VA, 'w', 5), dma(endpoint, VA, 'wp')]).toEqual(['denied', 'denied'])
  })
})

describe('a function that tells its PASID beside translated addresses', () => {
  it('is taken where the context entry says so, and blocked elsewhere', () => {
    guest.mapFirst(VA, PA | FS.PAGE, 5)
    const endpoint = plug({ tellsPasid: true })
    expect(dma(endpoint, VA, 'w', 5)).toBe('blocked 0x49')
    guest.stop()
    guest.startScalable(CONTEXT.EPTR)
    expect([dma(endpoint, VA, 'w', 5), endpoint.translated]).toEqual(['0x800000', 2])
    expect(guest.faults()).toEqual(['0x49 AT=2'])
  })
})

describe('software that invalidates', () => {
  /** The page moves, and the function has both translations. */
  function moved(endpoint: Endpoint): void {
    guest.mapFirst(VA, PA | FS.PAGE)
    guest.firstStage(5, 2, FIRST)
    dma(endpoint, VA, 'w')
    dma(endpoint, VA, 'w', 5)
    guest.path(FIRST, VA, 0x900000n | FS.PAGE, FS.TABLE)
  }

  it('the IOTLB first and then the device TLB is obeyed', () => {
    const endpoint = plug()
    moved(endpoint)
    expect(dma(endpoint, VA, 'w')).toBe('0x800000')
    guest.queue(IQ.piotlbPage(2, 0, VA), PLAIN_PAGE, IQ.wait(1n, SLOT))
    expect([dma(endpoint, VA, 'w'), guest.load(STATUS_SLOT)]).toEqual(['0x900000', 1n])
  })

  it('the device TLB first and then the IOTLB lets the function fetch the old translation in between', () => {
    const endpoint = plug()
    moved(endpoint)
    guest.queue(PLAIN_PAGE)
    expect(dma(endpoint, VA, 'w')).toBe('0x800000')
    guest.queue(IQ.piotlbPage(2, 0, VA), IQ.wait(1n, SLOT))
    // The IOTLB is right again, and the function still is not.
    expect([guest.dma(VA, 'w'), dma(endpoint, VA, 'w')]).toEqual(['0x900000', '0x800000'])
  })

  it('a second-stage page needs the IOTLB form of its domain before the device TLB', () => {
    const endpoint = plug()
    guest.mapSecond(VA, PA | SS.RW)
    dma(endpoint, VA, 'w')
    guest.path(0x30000, VA, 0x900000n | SS.RW, 3n)
    guest.queue(IQ.piotlbPage(2, 0, VA), PLAIN_PAGE)
    expect(dma(endpoint, VA, 'w')).toBe('0x800000')
    guest.queue(IQ.iotlbPage(2, VA), PLAIN_PAGE)
    expect(dma(endpoint, VA, 'w')).toBe('0x900000')
  })

  it('without a PASID does not reach what was obtained with one, and the other way round', () => {
    const endpoint = plug()
    moved(endpoint)
    guest.queue(IQ.iotlbDomain(2), PLAIN_PAGE)
    expect([dma(endpoint, VA, 'w'), dma(endpoint, VA, 'w', 5)]).toEqual(['0x900000', '0x800000'])
    guest.queue(PASID_PAGE)
    expect(dma(endpoint, VA, 'w', 5)).toBe('0x900000')
  })

  it('reaches every PASID with GI', () => {
    const endpoint = plug()
    moved(endpoint)
    guest.queue(IQ.iotlbDomain(2), EVERY_PASID)
    expect([dma(endpoint, VA, 'w'), dma(endpoint, VA, 'w', 5)]).toEqual(['0x800000', '0x900000'])
  })

  it('a source-id that nobody has is answered silently', () => {
    guest.queue([(0x77n << 32n) | 3n, VA], IQ.wait(3n, SLOT))
    expect([guest.load(STATUS_SLOT), guest.read(REG.FSTS)]).toEqual([3n, 0n])
  })

  it('waits for a function that has to be told', () => {
    const endpoint = plug({ waitsToBeTold: true })
    moved(endpoint)
    guest.queue(IQ.iotlbDomain(2), PLAIN_PAGE, IQ.wait(3n, SLOT))
    expect([guest.load(STATUS_SLOT), dma(endpoint, VA, 'w')]).toEqual([0n, '0x800000'])
    endpoint.answer()
    expect([guest.load(STATUS_SLOT), dma(endpoint, VA, 'w')]).toEqual([3n, '0x900000'])
  })
})

/** [VTD 7.4 Recoverable Fault Reporting], by words spelled from the manual. */

import { beforeEach, describe, expect, it } from 'vitest'
import { NO_PASID } from '../../hw-model/port.js'
import { decodeCapabilities, PRESETS } from '../../hw-model/vtd/index.js'
import { FS, Guest, IQ, MODE, PASIDS, REG, SID, SS } from './guest.js'
import { CONTEXT, PAGES, PageGuest, PPR, PRO, PRQ, without } from './page-request-guest.js'

const SUCCESS = 0
const INVALID = 1
const F = 1n << 63n
/** T2 alone is a page request. */
const PAGE_REQUEST = 1n << 28n
const NOWHERE = 0x2000_0000n
const FULL = PRESETS['vtd-full']
/** High half of ECAP. */
const SMS = 1 << 26
const PDS = 1 << 10
const ADMS = 1 << 20

let guest: PageGuest

beforeEach(() => {
  guest = new PageGuest().ready()
})

describe('[VTD 7.4.1.1 Page Request Descriptor]', () => {
  it('has type 1, PP, the requester and the PASID; what is asked, the group, the page; and nothing above', () => {
    guest.page(0xffff_8000_1234_5abcn, 'rw', 5, 0x1ff)
    expect(guest.descriptor(0)).toEqual([0x0000_0005_0008_0101n, 0xffff_8000_1234_5fffn, 0n, 0n])
    expect([guest.tail, guest.status, guest.answers]).toEqual([0x20n, PPR, []])
  })

  it.each([
    ['no PASID', 'r', NO_PASID, 0x0000_0000_0008_0001n, 0xdn],
    ['neither privilege nor execution without a PASID', 'rxp', NO_PASID, 0x0000_0000_0008_0001n, 0xdn],
    ['EXR at bit 52', 'rx', 5, 0x0010_0005_0008_0101n, 0xdn],
    ['PMR at bit 53', 'wp', 5, 0x0020_0005_0008_0101n, 0xen],
    ['LPIG at bit 66 only on the last of its group', 'rwl', 5, 0x0000_0005_0008_0101n, 0xbn],
    ['a stop marker: LPIG alone', '', 5, 0x0000_0005_0008_0101n, 0xcn],
  ])('has %s', (_name, access, pasid, qw0, low) => {
    guest.page(0x7000n, access, pasid)
    expect(guest.descriptor(0)).toEqual([qw0, 0x7000n | low, 0n, 0n])
  })

  it('overwrites what was in its slot whole', () => {
    guest.store(PAGES, -1n, -1n, -1n, -1n)
    guest.page(0x7000n)
    expect(guest.descriptor(0)).toEqual([0x80001n, 0x700dn, 0n, 0n])
  })
})

describe('[VTD 7.4.1 Handling of Page Requests] the queue', () => {
  it('wraps, and takes one request fewer than it has slots', () => {
    for (let i = 0; i < 127; i++) guest.page(BigInt(i) << 12n)
    expect([guest.tail, guest.status]).toEqual([127n * 32n, PPR])
    guest.page(0n)
    expect([guest.tail, guest.status]).toEqual([127n * 32n, PPR | PRO])
    guest.write(PRQ.PRS, PPR | PRO)
    guest.write(PRQ.PQH, 127n * 32n, 8)
    guest.page(0x1000n)
    guest.page(0x2000n)
    expect([guest.tail, guest.status]).toEqual([32n, PPR])
    expect(guest.descriptor(127)[1]).toBe(0x100dn)
    expect(guest.descriptor(0)[1]).toBe(0x200dn)
  })

  it.each([0n, 1n, 4n, 7n])('of PQS %i has 2^(PQS+7) slots', (size) => {
    guest.write(PRQ.PQA, BigInt(PAGES) | size, 8)
    const slots = 2n ** (size + 7n)
    guest.write(PRQ.PQT, (slots - 1n) * 32n, 8)
    guest.write(PRQ.PQH, 32n, 8)
    guest.page(0x1000n)
    expect([guest.tail, guest.status]).toEqual([0n, PPR])
    guest.page(0x2000n)
    expect([guest.tail, guest.status]).toEqual([0n, PPR | PRO])
  })

  it('takes a tail that software put beyond its end modulo its size', () => {
    guest.write(PRQ.PQT, 4096n + 64n, 8)
    guest.page(0x1000n)
    expect(guest.tail).toBe(96n)
    expect(guest.descriptor(2)[1]).toBe(0x100dn)
  })

  it('is full while its address is 0, and takes nothing that memory does not', () => {
    for (const place of [0n, NOWHERE]) {
      guest = new PageGuest().ready()
      guest.write(PRQ.PQA, place, 8)
      guest.page(0x1000n)
      expect([guest.tail, guest.status]).toEqual([0n, PRO])
      expect(guest.answers).toEqual([[NO_PASID, 1, SUCCESS]])
    }
  })

  it('counts what it took and what it did not', () => {
    guest.page(0x1000n)
    guest.write(PRQ.PQH, 64n, 8)
    guest.page(0x2000n)
    expect([guest.unit.pageRequests.written, guest.unit.pageRequests.discarded]).toEqual([1, 1])
  })
})

describe('[VTD 7.4.1 T31] a request that is not taken', () => {
  it('while PRO is set is answered with Success if it is the last of its group, and makes no event', () => {
    guest.write(PRQ.PQH, 32n, 8)
    guest.page(0x1000n)
    guest.write(PRQ.PQH, 0n, 8)
    guest.messages.length = 0
    guest.page(0x2000n, 'rl', 5, 7)
    expect(guest.answers).toEqual([[NO_PASID, 1, SUCCESS]])
    guest.page(0x2000n, 'r', 5, 7)
    expect(guest.answers).toEqual([
      [NO_PASID, 1, SUCCESS],
      [5, 7, SUCCESS],
    ])
    expect([guest.messages, guest.tail]).toEqual([[], 0n])
    guest.write(PRQ.PRS, PRO)
    guest.page(0x2000n, 'r', 5, 7)
    expect([guest.status, guest.tail]).toEqual([PPR, 32n])
  })

  it('because the queue is full sets PRO and is answered with Success if it is the last of its group', () => {
    guest.write(PRQ.PQH, 32n, 8)
    guest.page(0x2000n, 'rl')
    expect([guest.answers, guest.status]).toEqual([[], PRO])
    guest.write(PRQ.PRS, PRO)
    guest.page(0x2000n, 'r', 5, 9)
    expect([guest.answers, guest.status]).toEqual([[[5, 9, SUCCESS]], PRO])
  })

  it('is discarded without a word while translation is off, by a unit without page requests, or with an impossible name', () => {
    guest.stop()
    guest.page(0x1000n)
    expect([guest.tail, guest.status, guest.answers]).toEqual([0n, 0n, []])
    const noRequests = new PageGuest(without(FULL.ECAP, 1 << 29, SMS)).ready(0xdn)
    noRequests.page(0x1000n)
    expect([noRequests.tail, noRequests.status, noRequests.answers]).toEqual([0n, 0n, []])
    guest = new PageGuest().ready()
    guest.page(0x1000n, 'r', 0x100000)
    guest.page(0x1000n, 'r', -2)
    guest.page(0x1000n, 'r', NO_PASID, 1, 0x10000)
    guest.page(0x1000n, 'r', NO_PASID, 1, -1)
    expect([guest.tail, guest.answers, guest.unit.pageRequests.discarded]).toEqual([0n, [], 4])
    expect([guest.dma(0x1000n, 'r', -2), guest.dma(0x1000n, 'r', NO_PASID, -1)]).toEqual(['aborted', 'aborted'])
  })
})

describe('[VTD 11.4.3 SMS] a stop marker', () => {
  it('is queued like a request, and never waited for', () => {
    guest.page(0n, '', 5, 0)
    expect([guest.tail, guest.status, guest.answers]).toEqual([32n, PPR, []])
  })

  it.each([
    ['the queue is full', () => guest.write(PRQ.PQH, 32n, 8)],
    ['its PASID has no entry', () => guest.store(PASIDS + 5 * 64, 0n)],
  ])('leaves no trace where %s', (_name, spoil) => {
    spoil()
    guest.page(0n, '', 5, 0)
    expect([guest.tail, guest.status, guest.read(REG.FSTS), guest.answers, guest.messages]).toEqual([
      0n,
      0n,
      0n,
      [],
      [],
    ])
  })

  it('is discarded after an overflow', () => {
    guest.write(PRQ.PQH, 32n, 8)
    guest.page(0x1000n, 'rl')
    guest.page(0n, '', 5, 0)
    expect([guest.tail, guest.answers]).toEqual([0n, []])
  })

  it('is a request like others to a unit that does not know it', () => {
    guest = new PageGuest(without(FULL.ECAP, 0, SMS)).ready()
    guest.store(PASIDS + 5 * 64, 0n)
    guest.page(0n, '', 5, 0)
    expect([guest.answers, guest.read(REG.FSTS)]).toEqual([[[5, 0, INVALID]], 2n])
    guest.write(PRQ.PQH, 32n, 8)
    guest.page(0n, '', NO_PASID, 0)
    expect([guest.answers[1], guest.status]).toEqual([[NO_PASID, 0, SUCCESS], PRO])
  })
})

describe('[VTD 7.1.3 T30] a page request meets', () => {
  const context = (qw0: bigint, qw1 = 0n, qw2 = 0n): void =>
    guest.store(guest.context, BigInt(guest.directory) | qw0, qw1, qw2, 0n)
  const cases: [reason: number, what: string, spoil: () => void, pasid?: number][] = [
    [0x38, 'an unreadable root entry', () => restart(MODE.SCALABLE, NOWHERE)],
    [0x39, 'an absent root entry', () => guest.store(0x1000, 0n)],
    [0x3a, 'a reserved bit in the root entry', () => guest.store(0x1000, 0x2801n)],
    [0x40, 'an unreadable context entry', () => guest.store(0x1000, NOWHERE | 1n)],
    [0x41, 'an absent context entry', () => context(0n)],
    [0x42, 'a reserved bit in the context entry', () => context(CONTEXT, 0n, 1n)],
    [0x43, 'a RID_PASID beyond the directory', () => context(CONTEXT, 0x2000n)],
    [0x43, 'PRE without DTE', () => context(0x19n)],
    [0x43, 'EPTR without PASIDE, with a PASID', () => context(0x55n), 5],
    [0x45, 'PASIDE = 0, with a PASID', () => context(0x15n), 5],
    [0x46, 'a PASID beyond the directory', () => undefined, 0x2000],
    [0x47, 'PRE = 0', () => context(0xdn)],
    [0x47, 'PRE = 0, with a PASID', () => context(0xdn), 5],
    [0x48, 'RID_PASID in a request with PASID', () => undefined, 0],
    [0x50, 'an unreadable directory entry', () => guest.store(guest.context, NOWHERE | CONTEXT), 5],
    [0x51, 'an absent directory entry', () => guest.store(guest.directory, 0n), 5],
    [0x52, 'a reserved bit in the directory entry', () => guest.store(guest.directory, BigInt(PASIDS) | 5n), 5],
    [0x58, 'an unreadable PASID entry', () => guest.store(guest.directory, NOWHERE | 1n), 5],
    [0x59, 'an absent PASID entry', () => guest.store(PASIDS + 5 * 64, 0n), 5],
    [0x5a, 'a reserved bit in the PASID entry', () => guest.store(PASIDS + 5 * 64, 0x441n), 5],
    [0x5b, 'a PGTT that does not exist', () => guest.store(PASIDS + 5 * 64, 0x1n), 5],
    [0x32, 'legacy mode', () => restart(MODE.LEGACY)],
    [0x32, 'legacy mode with SSIRWE', () => restart(MODE.LEGACY, 0x1080n)],
    [0x32, 'legacy mode, with a PASID', () => restart(MODE.LEGACY), 5],
    [0x33, 'abort mode', () => restart(MODE.ABORT)],
    [0x30, 'the reserved mode', () => restart(2n)],
  ]
  const restart = (mode: bigint, root = 0x1000n): void => {
    guest.write(REG.RTADDR, root | (mode << 10n), 8)
    guest.write(REG.GCMD, (1n << 31n) | (1n << 30n))
  }

  it.each(cases)(
    '0x%s at %s: recorded as a page request, answered with Invalid Request',
    (reason, _what, spoil, pasid) => {
      spoil()
      guest.page(0x1234_5000n, 'rw', pasid, 3)
      expect(guest.answers).toEqual([[pasid ?? NO_PASID, 3, INVALID]])
      const pp = pasid === undefined ? 0n : (1n << 31n) | (BigInt(pasid) << 40n)
      expect(guest.read(REG.FRCD, 8)).toBe(0x1234_5000n)
      expect(guest.read(REG.FRCD + 8, 8)).toBe(F | pp | (BigInt(reason) << 32n) | PAGE_REQUEST | BigInt(SID))
      expect([guest.tail, guest.status]).toEqual([0n, 0n])
    },
  )

  it.each(cases)('0x%s at %s: and is dropped where more of its group follow', (_reason, _what, spoil, pasid) => {
    spoil()
    guest.page(0x1234_5000n, 'rwl', pasid, 3)
    expect([guest.answers, guest.read(REG.FSTS), guest.tail]).toEqual([[], 2n, 0n])
  })

  it('0x30 where abort mode is not offered', () => {
    guest = new PageGuest(without(FULL.ECAP, 0, ADMS)).ready()
    restart(MODE.ABORT)
    guest.page(0x1000n)
    expect((guest.read(REG.FRCD + 8, 8) >> 32n) & 0xffn).toBe(0x30n)
  })

  it('0x47 before 0x48, and 0x45 and 0x46 before both', () => {
    context(0xdn)
    guest.page(0x1000n, 'r', 0)
    guest.page(0x1000n, 'r', 0x2000)
    const reasons = [8, 24].map((at) => (guest.read(REG.FRCD + at, 8) >> 32n) & 0xffn)
    expect(reasons).toEqual([0x47n, 0x46n])
  })

  it('no limit of PSS: a wider PASID is looked up', () => {
    guest = new PageGuest({ ECAP: [FULL.ECAP[0], (FULL.ECAP[1] & ~0xf8) >>> 0] }).ready()
    expect(decodeCapabilities({ ...FULL, ECAP: [FULL.ECAP[0], (FULL.ECAP[1] & ~0xf8) >>> 0] }).pasidBits).toBe(1)
    guest.page(0x1000n, 'r', 5)
    expect(guest.tail).toBe(32n)
  })

  it('PRIV beside a PASID, and never EXE, in its record', () => {
    guest.store(PASIDS + 5 * 64, 0n)
    guest.page(0x1000n, 'rxp', 5)
    const record = F | (5n << 40n) | (0x59n << 32n) | ((7n << 28n) & ~(1n << 30n)) | (1n << 31n)
    expect(guest.read(REG.FRCD + 8, 8)).toBe(record | (1n << 29n) | BigInt(SID))
  })

  it('FPD: a qualified reason is not recorded, and answered all the same', () => {
    guest.store(PASIDS + 5 * 64, 2n)
    guest.page(0x1000n, 'r', 5)
    expect([guest.answers, guest.read(REG.FSTS)]).toEqual([[[5, 1, INVALID]], 0n])
    context(0xfn)
    guest.write(REG.RTADDR, 0x1400n, 8)
    guest.write(REG.GCMD, (1n << 31n) | (1n << 30n))
    guest.page(0x1000n)
    expect([guest.answers.length, guest.read(REG.FSTS)]).toEqual([2, 0n])
  })
})

describe('what the context and PASID caches hold', () => {
  it('answers a page request too, until it is invalidated', () => {
    guest.path(0x100000, 0x40_0000n, 0x200000n | FS.PAGE, FS.TABLE)
    guest.startQueue()
    guest.dma(0x40_0000n, 'r', 5)
    guest.store(PASIDS + 5 * 64, 0n)
    guest.store(guest.context, 0n)
    guest.page(0x40_0000n, 'r', 5)
    expect([guest.tail, guest.answers]).toEqual([32n, []])
    guest.queue(IQ.pasid(3, 5))
    guest.page(0x40_0000n, 'r', 5)
    expect((guest.read(REG.FRCD + 8, 8) >> 32n) & 0xffn).toBe(0x59n)
    guest.queue(IQ.contextsAll)
    guest.page(0x40_0000n, 'r', 5)
    expect((guest.read(REG.FRCD + 24, 8) >> 32n) & 0xffn).toBe(0x41n)
  })

  it('is filled by a page request as by a DMA', () => {
    guest.page(0x40_0000n, 'r', 5)
    guest.store(PASIDS + 5 * 64, 0n)
    guest.path(0x100000, 0x40_0000n, 0x200000n | FS.PAGE, FS.TABLE)
    expect(guest.dma(0x40_0000n, 'r', 5)).toBe('0x200000')
  })
})

describe('[VTD 6.5.3.1 T27] a page request makes the unit forget', () => {
  const PAGE = 0x40_0000n
  const OTHER = 0x40_1000n

  /** Both pages in the IOTLB, and tables that say something else since. */
  function stale(setUp: () => void): void {
    setUp()
    expect([guest.dma(PAGE, 'r', 5), guest.dma(OTHER, 'r', 5)]).toEqual(['0x400000', '0x401000'])
  }

  it('its page of (DID, PASID) with first-stage tables', () => {
    stale(() => {
      guest.path(0x100000, PAGE, PAGE | FS.PAGE, FS.TABLE)
      guest.store(0x103008, OTHER | FS.PAGE)
    })
    guest.store(0x103000, 0x50_0000n | FS.PAGE, 0x50_1000n | FS.PAGE)
    guest.page(PAGE, 'r', 5)
    expect([guest.dma(PAGE, 'r', 5), guest.dma(OTHER, 'r', 5)]).toEqual(['0x500000', '0x401000'])
  })

  it('its page of the domain with second-stage tables, or all of the domain without page-selective invalidation', () => {
    const setUp = (): void => {
      guest.path(0x110000, PAGE, PAGE | SS.RW, SS.RW)
      guest.store(0x113008, OTHER | SS.RW)
      guest.secondStage(5, 3, 0x110000)
    }
    stale(setUp)
    guest.store(0x113000, 0x50_0000n | SS.RW, 0x50_1000n | SS.RW)
    guest.page(PAGE, 'r', 5)
    expect([guest.dma(PAGE, 'r', 5), guest.dma(OTHER, 'r', 5)]).toEqual(['0x500000', '0x401000'])

    guest = new PageGuest({ CAP: [FULL.CAP[0], (FULL.CAP[1] & ~0x80) >>> 0] }).ready()
    stale(setUp)
    guest.store(0x113000, 0x50_0000n | SS.RW, 0x50_1000n | SS.RW)
    guest.page(PAGE, 'r', 5)
    expect([guest.dma(PAGE, 'r', 5), guest.dma(OTHER, 'r', 5)]).toEqual(['0x500000', '0x501000'])
  })

  it('all of the domain with nested tables', () => {
    stale(() => {
      for (const page of [0x100000n, 0x101000n, 0x102000n, 0x103000n]) {
        guest.path(0x110000, page, page | SS.RW, SS.RW)
      }
      guest.store(0x112000 + 2 * 8, 0x114003n)
      guest.store(0x114000, PAGE | SS.RW, OTHER | SS.RW)
      guest.store(0x112000, 0x113003n)
      guest.path(0x100000, PAGE, PAGE | FS.PAGE, FS.TABLE)
      guest.store(0x103008, OTHER | FS.PAGE)
      guest.store(0x113000 + 0x100 * 8, 0x100003n, 0x101003n, 0x102003n, 0x103003n)
      guest.nested(5, 3, 0x100000, 0x110000)
    })
    guest.store(0x114000, 0x50_0000n | SS.RW, 0x50_1000n | SS.RW)
    guest.page(PAGE, 'r', 5)
    expect([guest.dma(PAGE, 'r', 5), guest.dma(OTHER, 'r', 5)]).toEqual(['0x500000', '0x501000'])
  })

  it('its page of the domain that passes through, so that a later entry counts', () => {
    guest.passThrough(5, 3)
    guest.startQueue()
    expect(guest.dma(0x60_0000n, 'r', 5)).toBe('0x600000')
    guest.store(PASIDS + 5 * 64, 0n)
    guest.queue(IQ.pasid(3, 5))
    expect(guest.dma(0x60_0000n, 'r', 5)).toBe('0x600000')
    guest.passThrough(5, 3)
    guest.page(0x60_0000n, 'r', 5)
    guest.store(PASIDS + 5 * 64, 0n)
    guest.queue(IQ.pasid(3, 5))
    expect(guest.dma(0x60_0000n, 'r', 5)).toBe('fault 0x59')
  })

  it('nothing, when it is not taken', () => {
    guest.path(0x100000, PAGE, PAGE | FS.PAGE, FS.TABLE)
    guest.dma(PAGE, 'r', 5)
    guest.store(0x103000, 0x50_0000n | FS.PAGE)
    guest.write(PRQ.PQH, 32n, 8)
    guest.page(PAGE, 'r', 5)
    expect(guest.dma(PAGE, 'r', 5)).toBe('0x400000')
  })
})

describe('a unit without device TLBs', () => {
  it('has no port for them, and one that has may lack page draining', () => {
    expect(new Guest().unit.ats).toBeNull()
    guest = new PageGuest(without(FULL.ECAP, 0, PDS)).ready()
    guest.startQueue()
    guest.queue([0x2000000a5n, 0x12000n])
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD)]).toEqual([0x10n, 4n])
  })
})

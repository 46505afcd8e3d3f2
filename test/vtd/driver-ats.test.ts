/**
 * Devices that keep translations of their own: what lets them, and what makes them forget, behind what makes the unit
 * forget. Words are spelled from the manual. [VTD 6.5.2.5, 6.5.2.6, 6.5.3.3 T28]
 */

import { describe, expect, it } from 'vitest'
import { ACCESSED, Endpoint } from '../../hw-model/pci/endpoint.js'
import { Functions } from '../../hw-model/pci/functions.js'
import { ACCESS, NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import { HW_CAPABILITY, type PagingOps, RID_SLOT, type UserOps } from '../../server/core/driver.js'
import { invalidateRanges } from '../given.js'
import { Tape } from './driver-tape.js'
import { CLIENT, FS_RW, guestMaps, makeHost, makeParent, makeUser, NEST_PARENT, PLAIN } from './host.js'

const RID = 0x1008
const RW = { read: true, write: true }
/** The default registers with DT, bit 2. */
const ATS = { ECAP: [0x84000fc7, 0x0013e99c] } as const
/** And with DIT, bit 41. */
const THROTTLED = { ECAP: [0x84000fc7, 0x0013eb9c] } as const

function setUp(overrides: object = ATS, preset: 'vtd-scalable' | 'vtd-legacy' = 'vtd-scalable') {
  const functions = new Functions()
  const host = makeHost({ preset, overrides, devices: functions })
  const device = host.probe(RID, true)
  const tape = new Tape(host)
  const sent = (run: () => void): string[] => {
    tape.clear()
    run()
    return tape.descriptors()
  }
  return { functions, host, device, tape, sent }
}

describe('a device with ATS', () => {
  it('has DTE in its context entry where the unit has device TLBs, and says so', () => {
    const low = (host: ReturnType<typeof makeHost>): string => {
      const tape = new Tape(host)
      return (BigInt(tape.words(tape.scalableContext(RID), 1)[0]) & 0x1fn).toString(2)
    }
    const { host, device } = setUp()
    expect(low(host)).toBe('1101')
    expect(device.capabilities & HW_CAPABILITY.PCI_ATS_NOT_SUPPORTED).toBe(0)
    const without = makeHost()
    expect(without.probe(RID, true).capabilities & HW_CAPABILITY.PCI_ATS_NOT_SUPPORTED).not.toBe(0)
    expect(low(without)).toBe('1001')
    const other = makeHost({ overrides: ATS })
    other.probe(RID, false)
    expect(low(other)).toBe('1001')
  })

  it('has TT 01 in legacy mode, and is flushed after the unit when it is detached', () => {
    const { host, device, tape } = setUp({ ECAP: [0xfc7, 0] }, 'vtd-legacy')
    const domain = host.driver.createPaging(device, PLAIN)
    device.set(RID_SLOT, domain, null)
    expect(BigInt(tape.words(tape.legacyContext(RID), 1)[0]) & 0xfffn).toBe(5n)
    tape.clear()
    device.clear(RID_SLOT, domain)
    expect(tape.lines(0, 0)).toEqual([
      '0x100800020031 0x0',
      'wait',
      '0x200e2 0x0',
      'wait',
      '0x100800000003 0x7ffffffffffff001',
      'wait',
    ])
  })

  it('forgets all of a slot behind the unit when it is detached: without PASID 0x3, with one 0x8', () => {
    const { host, device, sent } = setUp()
    const domain = host.driver.createPaging(device, PLAIN)
    device.set(RID_SLOT, domain, null)
    device.set(5, domain, null)
    expect(sent(() => device.clear(RID_SLOT, domain))).toEqual([
      '0x20017 0x0',
      '0x20026 0x0',
      '0x100800000003 0x7ffffffffffff001',
    ])
    expect(sent(() => device.clear(5, domain))).toEqual([
      '0x500020017 0x0',
      '0x500020026 0x0',
      '0x510080008 0x7ffffffffffff800',
    ])
  })

  it('is told its physical function where the unit throttles', () => {
    const { host, device, sent } = setUp(THROTTLED)
    const domain = host.driver.createPaging(device, PLAIN)
    device.set(RID_SLOT, domain, null)
    device.set(5, domain, null)
    // PFSID 0x1008: bits 3:0 in 15:12, bits 15:4 in 63:52.
    expect(sent(() => device.clear(RID_SLOT, domain))[2]).toBe('0x1000100800008003 0x7ffffffffffff001')
    expect(sent(() => device.clear(5, domain))[2]).toBe('0x1000000510088008 0x7ffffffffffff800')
  })

  it('forgets the block that was unmapped, once the unit has forgotten all of it', () => {
    const { host, device, sent } = setUp()
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0n, CLIENT, 0x10_0000n, RW)
    device.set(RID_SLOT, domain, null)
    device.set(5, domain, null)
    const unmap = (iova: bigint, length: bigint): string[] =>
      sent(() => {
        domain.unmap(iova, length)
        domain.flush()
      })
    expect(unmap(0x3000n, 0x1000n)).toEqual([
      '0x20036 0x3040',
      '0x500020036 0x3040',
      '0x100800000003 0x3000',
      '0x510080008 0x3000',
    ])
    // Four pages: S, and one 1 below the 0 in bit 13.
    expect(unmap(0x8000n, 0x4000n)).toEqual([
      '0x20036 0x8042',
      '0x500020036 0x8042',
      '0x100800000003 0x9001',
      '0x510080008 0x9800',
    ])
  })

  it('forgets everything when the second stage of a nested domain changes', () => {
    const { host, device, sent } = setUp()
    const parent = host.driver.createPaging(device, NEST_PARENT)
    parent.map(0n, CLIENT, 0x10_0000n, RW)
    device.set(RID_SLOT, parent, null)
    device.set(5, makeUser(host, device, parent, 0x1000), null)
    const lines = sent(() => {
      parent.unmap(0x4000n, 0x1000n)
      parent.flush()
    })
    expect(lines).toEqual([
      '0x200f2 0x4040',
      '0x300f2 0x4040',
      '0x100800000003 0x4000',
      '0x510080008 0x7ffffffffffff800',
    ])
  })

  it('is not asked for what it cannot have: mappings, and slots that were empty', () => {
    const { host, device, sent } = setUp({ ...ATS, CAP: [0x226f0686, 0x81d2078c] })
    const parent = host.driver.createPaging(device, NEST_PARENT)
    const types = (lines: readonly string[]): bigint[] => lines.map((line) => BigInt(line.split(' ')[0]) & 0xfn)
    expect(types(sent(() => device.set(5, parent, null)))).toEqual([7n, 6n])
    expect(types(sent(() => parent.map(0n, CLIENT, 0x1000n, RW)))).toEqual([2n])
  })

  it('forgets at the end of a hitless replace', () => {
    const { host, device, sent } = setUp()
    const parent = makeParent(host, device)
    const [one, two] = [makeUser(host, device, parent, 0x1000), makeUser(host, device, parent, 0x2000)]
    device.set(5, one, null)
    expect(sent(() => device.set(5, two, one)).at(-1)).toBe('0x510080008 0x7ffffffffffff800')
  })

  it('is told of each PASID even where the unit forgets a whole domain-id', () => {
    const { host, device, sent } = setUp()
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0n, CLIENT, 0x2000n, RW)
    for (let pasid = 1; pasid <= 200; pasid++) device.set(pasid, domain, null)
    const lines = sent(() => {
      domain.unmap(0n, 0x1000n)
      domain.flush()
    })
    expect([lines.length, lines[0], lines[1], lines[200]]).toEqual([
      201,
      '0x200e2 0x0',
      '0x110080008 0x0',
      '0xc810080008 0x0',
    ])
  })

  it('beyond 256 of its tags forgets everything, of its PASIDs together: GI', () => {
    const { host, device, sent } = setUp()
    const other = host.probe(0x2010, true)
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0n, CLIENT, 0x4000n, RW)
    let page = 0n
    const unmap = (): string[] =>
      sent(() => {
        domain.unmap(page++ * 0x1000n, 0x1000n)
        domain.flush()
      })
    for (let pasid = 1; pasid <= 255; pasid++) device.set(pasid, domain, null)
    other.set(RID_SLOT, domain, null)
    const each = unmap()
    expect([each.length, each[0], each[255], each[256]]).toEqual([
      257,
      '0x200e2 0x0',
      '0xff10080008 0x0',
      '0x201000000003 0x0',
    ])
    device.set(256, domain, null)
    expect(unmap()).toEqual(['0x200e2 0x0', '0x10080008 0x7ffffffffffff801', '0x201000000003 0x7ffffffffffff001'])
    other.clear(RID_SLOT, domain)
    device.set(RID_SLOT, domain, null)
    expect(unmap()).toEqual(['0x200e2 0x0', '0x100800000003 0x7ffffffffffff001', '0x10080008 0x7ffffffffffff801'])
  })

  it('shares the unit’s tag of a domain with other devices, and has its own', () => {
    const { host, device, sent } = setUp()
    const other = host.probe(0x2010, true)
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0n, CLIENT, 0x2000n, RW)
    device.set(5, domain, null)
    other.set(5, domain, null)
    const unmap = (): string[] =>
      sent(() => {
        domain.unmap(0n, 0x1000n)
        domain.flush()
        domain.map(0n, CLIENT, 0x1000n, RW)
      })
    expect(unmap()).toEqual(['0x500020036 0x40', '0x510080008 0x0', '0x520100008 0x0'])
    device.clear(5, domain)
    expect(unmap()).toEqual(['0x500020036 0x40', '0x520100008 0x0'])
  })
})

const TABLES = [0x1000, 0x2000, 0x3000, 0x4000] as const
const IOVA = 0x7f12_3456_7000n

describe('a function that uses translations it was given', () => {
  /** It is on a user domain that leads IOVA to guest-physical 0x8000, on its RID and on PASID 5. */
  function plugIn(isForgetful = false) {
    const { functions, host, device } = setUp()
    const endpoint = new Endpoint(host.driver.unit, { rid: RID, isForgetful })
    functions.add(endpoint)
    const parent: PagingOps = makeParent(host, device)
    guestMaps(host.memory, TABLES, IOVA, BigInt(0x8000 | FS_RW))
    const user: UserOps = makeUser(host, device, parent, TABLES[0])
    device.set(RID_SLOT, user, null)
    device.set(5, user, null)
    const out = new Outcome()
    /** Where its DMA ends, as guest-physical address. */
    const dma = (pasid = NO_PASID): string => {
      const tx = new Transaction()
      Object.assign(tx, { pasid, lo: Number(IOVA & 0xffffffffn), hi: Number(IOVA >> 32n), access: ACCESS.WRITE })
      if (endpoint.access(tx, out) !== ACCESSED.DONE || out.status !== STATUS.OK) return 'nowhere'
      return `0x${(out.address - CLIENT).toString(16)}`
    }
    return { host, device, parent, user, endpoint, dma }
  }

  it('reaches the page, and translated from then on', () => {
    const { endpoint, dma } = plugIn()
    expect([dma(), dma(), dma(5), dma(5)]).toEqual(['0x8000', '0x8000', '0x8000', '0x8000'])
    expect([endpoint.requests, endpoint.translated]).toEqual([2, 4])
  })

  it('sees a changed page only after the client’s invalidation, which reaches it by itself', () => {
    const { host, user, dma } = plugIn()
    expect([dma(), dma(5)]).toEqual(['0x8000', '0x8000'])
    guestMaps(host.memory, TABLES, IOVA, BigInt(0x9000 | FS_RW))
    expect([dma(), dma(5)]).toEqual(['0x8000', '0x8000'])
    invalidateRanges(user, [{ addr: IOVA, npages: 1n, flags: 1 }])
    expect([dma(), dma(5)]).toEqual(['0x9000', '0x9000'])
  })

  it('that forgets nothing goes on with what it has', () => {
    const { host, user, dma } = plugIn(true)
    expect(dma()).toBe('0x8000')
    guestMaps(host.memory, TABLES, IOVA, BigInt(0x9000 | FS_RW))
    invalidateRanges(user, [{ addr: IOVA, npages: 1n, flags: 1 }])
    expect(dma()).toBe('0x8000')
  })

  it('keeps nothing of its PASIDs when there are too many to name', () => {
    const { device, parent, user, dma } = plugIn()
    for (let pasid = 6; pasid < 300; pasid++) device.set(pasid, user, null)
    expect([dma(), dma(5), dma(299)]).toEqual(['0x8000', '0x8000', '0x8000'])
    parent.unmap(0n, 64n * 2n ** 20n)
    parent.flush()
    expect([dma(), dma(5), dma(299)]).toEqual(['nowhere', 'nowhere', 'nowhere'])
  })

  it('reaches nothing where its slot was emptied, or the second stage taken away', () => {
    const { device, parent, user, dma } = plugIn()
    expect([dma(), dma(5)]).toEqual(['0x8000', '0x8000'])
    device.clear(5, user)
    expect([dma(), dma(5)]).toEqual(['0x8000', 'nowhere'])
    parent.unmap(0n, 64n * 2n ** 20n)
    parent.flush()
    expect(dma()).toBe('nowhere')
  })
})

/** What software meets of page requests: the event, the registers, the answers, PD. */

import { beforeEach, describe, expect, it } from 'vitest'
import { NO_PASID } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/vtd/index.js'
import { IQ, REG, SID, STATUS_SLOT } from './guest.js'
import { PAGES, PageGuest, PPR, PRO, PRQ, without } from './page-request-guest.js'

const FULL = PRESETS['vtd-full']
const IP = 1n << 30n
const IM = 1n << 31n
const MESSAGE = [0xfee01000, 0x77]

let guest: PageGuest

beforeEach(() => {
  guest = new PageGuest().ready()
})

describe('[VTD 7.5 Recoverable Fault Event]', () => {
  it('is sent for the first request, and not again until PPR is cleared', () => {
    guest.page(0x1000n)
    guest.page(0x2000n)
    expect(guest.messages).toEqual([MESSAGE])
    guest.write(PRQ.PRS, PPR)
    guest.page(0x3000n)
    expect(guest.messages).toEqual([MESSAGE, MESSAGE])
  })

  it('is sent for an overflow, but not beside a PPR or a PRO that nobody has cleared', () => {
    guest.write(PRQ.PQH, 32n, 8)
    guest.page(0x1000n)
    expect([guest.status, guest.messages]).toEqual([PRO, [MESSAGE]])
    guest.write(PRQ.PQH, 0n, 8)
    guest.page(0x1000n)
    expect(guest.messages).toEqual([MESSAGE])
    guest.write(PRQ.PRS, PRO)
    guest.page(0x1000n)
    guest.write(PRQ.PQH, 64n, 8)
    guest.page(0x1000n)
    expect([guest.status, guest.messages]).toEqual([PPR | PRO, [MESSAGE, MESSAGE]])
    // PRO alone keeps the event from being a new one.
    guest.write(PRQ.PRS, PPR)
    guest.page(0x1000n)
    expect([guest.status, guest.messages.length]).toEqual([PRO, 2])
  })

  it('pends while masked, goes out when unmasked, and is withdrawn with its last cause', () => {
    guest.write(PRQ.PECTL, IM)
    guest.write(PRQ.PQH, 64n, 8)
    guest.page(0x1000n)
    guest.page(0x2000n)
    expect([guest.status, guest.read(PRQ.PECTL), guest.messages]).toEqual([PPR | PRO, IM | IP, []])
    guest.write(PRQ.PRS, PPR)
    expect(guest.read(PRQ.PECTL)).toBe(IM | IP)
    guest.write(PRQ.PRS, PRO)
    expect([guest.status, guest.read(PRQ.PECTL)]).toEqual([0n, IM])
    guest.write(PRQ.PQH, 0n, 8)
    guest.page(0x3000n)
    guest.write(PRQ.PECTL, 0n)
    expect([guest.read(PRQ.PECTL), guest.messages]).toEqual([0n, [MESSAGE]])
  })

  it('finds the request in memory and the tail beyond it', () => {
    const seen: bigint[] = []
    guest.onMessage = () => seen.push(guest.descriptor(0)[1], guest.tail, guest.status)
    guest.page(0x1000n)
    expect(seen).toEqual([0x100dn, 32n, PPR])
  })

  it('goes to the upper address too', () => {
    guest.write(PRQ.PEUADDR, 1n)
    guest.page(0x1000n)
    expect(guest.messages).toEqual([[0x1_fee0_1000, 0x77]])
  })
})

describe('[VTD 11.4.11] the registers', () => {
  it('are as at power-on after a reset', () => {
    guest.page(0x1000n)
    guest.unit.reset()
    const values = [PRQ.PQH, PRQ.PQT, PRQ.PQA].map((offset) => guest.read(offset, 8))
    expect([values, guest.status, guest.read(PRQ.PECTL)]).toEqual([[0n, 0n, 0n], 0n, IM])
  })

  it('keep their fields and nothing else', () => {
    for (const offset of [PRQ.PQH, PRQ.PQT, PRQ.PQA]) guest.write(offset, 0xffff_ffff_ffff_ffffn, 8)
    for (const offset of [PRQ.PRS, PRQ.PECTL, PRQ.PEDATA, PRQ.PEADDR, PRQ.PEUADDR]) guest.write(offset, 0xffff_ffffn)
    expect([PRQ.PQH, PRQ.PQT, PRQ.PQA].map((offset) => guest.read(offset, 8))).toEqual([
      0x7ffe0n,
      0x7ffe0n,
      0xffff_ffff_ffff_f007n,
    ])
    const words = [PRQ.PRS, PRQ.PECTL, PRQ.PEDATA, PRQ.PEADDR, PRQ.PEUADDR].map((offset) => guest.read(offset))
    expect(words).toEqual([0n, 0x8000_0000n, 0xffffn, 0xffff_fffcn, 0xffff_ffffn])
  })

  it('have the queue below the host address width, whatever stands above', () => {
    guest.write(PRQ.PQA, (0xfffn << 52n) | BigInt(PAGES), 8)
    guest.page(0x1000n)
    expect(guest.descriptor(0)[0]).toBe(0x80001n)
  })

  it('read 0 and take nothing where page requests are not offered', () => {
    guest = new PageGuest(without(FULL.ECAP, 1 << 29, 1 << 26))
    for (let offset = 0xc0; offset < 0xf0; offset += 4) guest.write(offset, 0xffff_ffffn)
    for (let offset = 0xc0; offset < 0xf0; offset += 4) expect(guest.read(offset)).toBe(0n)
  })
})

describe('[VTD 7.6.1 Page Group Response Descriptor]', () => {
  beforeEach(() => guest.startQueue())

  it.each([
    ['Success to a group with a PASID', 0x0000_0005_0008_0019n, 3n << 3n, [5, 3, 0]],
    ['Invalid Request to one without, whose PASID field is ignored', 0x0000_0005_0008_1009n, 0n, [NO_PASID, 0, 1]],
    ['Response Failure, and the group in nine bits', 0x000f_ffff_0008_f019n, 0xff8n, [0xfffff, 0x1ff, 15]],
    ['a code that PCIe does not use, as it is', 0x0008_7009n, 8n, [NO_PASID, 1, 7]],
    ['with bit 66 set, which older software does', 0x0000_0005_0008_0019n, 0x1cn, [5, 3, 0]],
  ])('carries %s', (_name, qw0, qw1, answer) => {
    const rids: number[] = []
    guest.onAnswer = (rid) => rids.push(rid)
    guest.queue([qw0, qw1])
    expect([guest.answers, rids, guest.read(REG.FSTS)]).toEqual([[answer], [SID], 0n])
  })

  it.each([
    ...[5n, 6n, 7n, 8n].map((bit) => [`bit ${bit}`, 1n << bit, 0n] as const),
    ...[52n, 63n].map((bit) => [`bit ${bit}`, 1n << bit, 0n] as const),
    ...[0n, 1n, 12n, 63n].map((bit) => [`bit ${64n + bit}`, 0n, 1n << bit] as const),
  ])('stops the queue with information 4 at reserved %s', (_name, low, high) => {
    guest.queue([0x80019n | low, high])
    expect([guest.answers, guest.read(REG.FSTS), guest.read(REG.IQERCD)]).toEqual([[], 0x10n, 4n])
  })

  it('is no descriptor, information 3, without page requests, in 16 bytes, or in legacy mode', () => {
    const refused = (other: PageGuest): void => {
      other.queue([0x80019n])
      expect([other.answers, other.read(REG.FSTS) & 0x10n, other.read(REG.IQERCD)]).toEqual([[], 0x10n, 3n])
    }
    const noRequests = new PageGuest(without(FULL.ECAP, 1 << 29, 1 << 26))
    noRequests.startScalable(0xdn)
    noRequests.startQueue()
    refused(noRequests)
    for (const wide of [true, false]) {
      const legacy = new PageGuest()
      legacy.start(0n)
      legacy.startQueue(wide)
      refused(legacy)
    }
  })

  it('reaches devices in the order of the queue, and a status write behind it says so', () => {
    const seen: (number | bigint)[] = []
    guest.onAnswer = (_rid, _pasid, group) => seen.push(group, guest.load(STATUS_SLOT))
    guest.queue([0x80009n, 8n], IQ.wait(9n, BigInt(STATUS_SLOT)), [0x80009n, 16n])
    expect(seen).toEqual([1, 0n, 2, 9n])
  })

  it('for nobody is nobody’s business', () => {
    guest.queue([0xffff_0009n, 8n], IQ.wait(9n, BigInt(STATUS_SLOT)))
    expect([guest.read(REG.FSTS), guest.load(STATUS_SLOT)]).toEqual([0n, 9n])
  })
})

describe('a device that asks again from inside an answer', () => {
  it('of software is heard at once', () => {
    guest.startQueue()
    guest.onAnswer = () => guest.page(0x9000n, 'w', 5, 4)
    guest.queue([0x80009n, 8n], IQ.wait(9n, BigInt(STATUS_SLOT)))
    expect([guest.tail, guest.descriptor(0)[1], guest.load(STATUS_SLOT)]).toEqual([32n, 0x9026n, 9n])
  })

  it('of the unit, and is answered again, is answered later each time, and no call lasts for ever', () => {
    guest.write(PRQ.PQH, 32n, 8)
    guest.onAnswer = (_rid, _pasid, group) => guest.page(0x1000n, 'r', 5, (group + 1) & 0x1ff)
    guest.page(0x1000n, 'r', 5, 0)
    const answered = guest.answers.length
    expect([answered, guest.unit.hasWork]).toEqual([16, true])
    guest.unit.run()
    expect(guest.answers.length).toBe(32)
    // Software makes room; the last request that was not answered yet is, and the next one finds it.
    guest.write(PRQ.PQH, 0n, 8)
    guest.write(PRQ.PRS, PRO)
    guest.unit.run()
    expect([guest.answers.length, guest.unit.hasWork, guest.tail]).toEqual([33, false, 32n])
    expect(guest.answers.map(([, group]) => group)).toEqual(Array.from({ length: 33 }, (_, i) => i))
  })

  it('does not make an owner run it inside itself', () => {
    const depths: number[] = []
    let depth = 0
    guest.write(PRQ.PQH, 32n, 8)
    guest.onAnswer = (_rid, _pasid, group) => {
      depths.push(++depth)
      if (group < 3) guest.page(0x1000n, 'r', 5, group + 1)
      expect(guest.unit.hasWork).toBe(false)
      guest.unit.run()
      depth--
    }
    guest.page(0x1000n, 'r', 5, 0)
    expect([depths, guest.unit.hasWork]).toEqual([[1, 1, 1, 1], false])
  })

  it('and throws, leaves the others their answers; a reset takes them away', () => {
    guest.write(PRQ.PQH, 32n, 8)
    guest.onAnswer = (_rid, _pasid, group) => {
      if (group !== 0) return
      guest.page(0x1000n, 'r', 5, 1)
      throw new Error('a device that fails')
    }
    expect(() => guest.page(0x1000n, 'r', 5, 0)).toThrow('a device that fails')
    expect(guest.unit.hasWork).toBe(true)
    guest.unit.run()
    expect(guest.answers).toEqual([
      [5, 0, 0],
      [5, 1, 0],
    ])
    expect(() => guest.page(0x1000n, 'r', 5, 0)).toThrow('a device that fails')
    guest.unit.reset()
    expect(guest.unit.hasWork).toBe(false)
  })
})

describe('[VTD 6.5.2.9] PD in a wait descriptor', () => {
  it('completes behind the requests that came before, with SW, with IF and with both', () => {
    guest.startQueue()
    guest.page(0x1000n)
    guest.queue([0x2000000a5n, BigInt(STATUS_SLOT)])
    expect([guest.load(STATUS_SLOT), guest.tail, guest.read(REG.FSTS)]).toEqual([2n, 32n, 0n])
    guest.queue([0x95n])
    expect(guest.read(REG.ICS)).toBe(1n)
    guest.queue([0x3000000b5n, BigInt(STATUS_SLOT)])
    expect(guest.load(STATUS_SLOT)).toBe(3n)
  })

  it('is reserved where draining is not offered', () => {
    guest = new PageGuest(without(FULL.ECAP, 0, 1 << 10)).ready()
    guest.startQueue()
    guest.queue([0x2000000a5n, BigInt(STATUS_SLOT)])
    expect([guest.load(STATUS_SLOT), guest.read(REG.IQERCD)]).toEqual([0n, 4n])
  })
})

import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/vtd/index.js'
import { Guest, IQ, MODE, QUEUE, REG, SID, SS, STATUS_SLOT } from './guest.js'

const SLOT = BigInt(STATUS_SLOT)

function running(): Guest {
  const guest = new Guest()
  guest.startScalable()
  guest.startQueue()
  return guest
}

describe('a wait descriptor', () => {
  it('writes its status data', () => {
    const guest = running()
    guest.queue(IQ.wait(0xdeadbeefn, SLOT))
    expect(guest.load(STATUS_SLOT)).toBe(0xdeadbeefn)
    expect(guest.read(REG.IQH, 8)).toBe(32n)
  })

  it('interrupts once until software acknowledges, and waits for the mask', () => {
    const guest = running()
    guest.write(REG.IEDATA, 0x1234n)
    guest.write(REG.IEADDR, 0xfee01000n)
    guest.queue(IQ.waitWithInterrupt(1n, SLOT))
    expect(guest.read(REG.ICS)).toBe(1n)
    expect(guest.read(REG.IECTL)).toBe(0xc0000000n)
    expect(guest.messages).toEqual([])
    guest.write(REG.IECTL, 0n)
    expect(guest.messages).toEqual([[0xfee01000, 0x1234]])
    expect(guest.read(REG.IECTL)).toBe(0n)
    guest.queue(IQ.waitWithInterrupt(2n, SLOT))
    expect(guest.messages.length).toBe(1)
    guest.write(REG.ICS, 1n)
    guest.queue(IQ.waitWithInterrupt(3n, SLOT))
    expect(guest.messages.length).toBe(2)
    expect(guest.load(STATUS_SLOT)).toBe(3n)
  })

  it('ignores the bits of its status address above the host width, and keeps those below exact', () => {
    const guest = running()
    guest.queue(IQ.wait(5n, SLOT + 4n + (0xffffn << 48n)))
    expect(guest.load(STATUS_SLOT)).toBe(5n << 32n)
  })

  it('may interrupt a handler that rings the bell again', () => {
    const guest = running()
    guest.write(REG.IEADDR, 0xfee00000n)
    guest.write(REG.IECTL, 0n)
    guest.onMessage = () => {
      guest.write(REG.ICS, 1n)
      guest.queue(IQ.wait(BigInt(guest.messages.length), SLOT))
    }
    guest.queue(IQ.waitWithInterrupt(0x77n, SLOT + 8n), IQ.fence)
    expect(guest.messages.length).toBe(1)
    expect(guest.load(STATUS_SLOT)).toBe(1n)
    expect(guest.read(REG.IQH, 8)).toBe(guest.read(REG.IQT, 8))
  })

  it('is a legal fence with neither status nor interrupt', () => {
    const guest = running()
    guest.queue(IQ.fence, IQ.wait(7n, SLOT))
    expect(guest.load(STATUS_SLOT)).toBe(7n)
    expect(guest.read(REG.FSTS)).toBe(0n)
  })
})

describe('a descriptor that the unit does not accept', () => {
  const cases: readonly [string, bigint, readonly [bigint, bigint?]][] = [
    ['type 0', 3n, [0n]],
    ['a type with its upper bits', 3n, [0x5n | (1n << 9n)]],
    ['an interrupt-entry-cache invalidation without interrupt remapping', 3n, [0x4n]],
    ['a device-TLB invalidation without device TLBs', 3n, [0x3n | (8n << 32n), 0x7ffffffffffff001n]],
    ['a page response without page requests', 3n, [0x9n]],
    ['a reserved bit of a context-cache invalidation', 4n, [0x11n | (1n << 6n)]],
    ['a reserved bit of an IOTLB invalidation', 4n, [0xd2n, 0x80n]],
    ['a granularity that does not exist', 4n, [0x02n]],
    ['AM beyond MAMV', 4n, IQ.iotlbPage(2, 0n, 19n)],
    ['page-request draining without PDS', 4n, [0xa5n | (1n << 32n), SLOT]],
    ['a reserved granularity of a PASID invalidation', 4n, [0x06n]],
  ]
  it.each(cases)('stops the queue at %s', (_, info, bad) => {
    const guest = running()
    guest.queue(IQ.wait(1n, SLOT), bad, IQ.wait(2n, SLOT))
    expect(guest.load(STATUS_SLOT)).toBe(1n)
    expect(guest.read(REG.IQH, 8)).toBe(32n)
    expect(guest.read(REG.FSTS)).toBe(0x10n)
    expect(guest.read(REG.IQERCD, 8)).toBe(info)
  })

  it('is read again from memory when software clears the error', () => {
    const guest = running()
    guest.queue([0n], IQ.wait(2n, SLOT))
    guest.queue(IQ.wait(3n, SLOT))
    expect(guest.load(STATUS_SLOT)).toBe(0n)
    guest.store(QUEUE, 0x45n)
    guest.write(REG.FSTS, 0x10n)
    expect(guest.load(STATUS_SLOT)).toBe(3n)
    expect(guest.read(REG.IQH, 8)).toBe(96n)
    expect(guest.read(REG.FSTS)).toBe(0n)
    expect(guest.read(REG.IQERCD, 8)).toBe(0n)
  })

  it('raises the fault event', () => {
    const guest = running()
    guest.write(REG.FEADDR, 0xfee00000n)
    guest.write(REG.FEDATA, 0x41n)
    guest.write(REG.FECTL, 0n)
    guest.queue([0n])
    expect(guest.messages).toEqual([[0xfee00000, 0x41]])
  })

  it('has a bit in the upper half of its slot', () => {
    const guest = running()
    guest.store(QUEUE, 0x45n, 0n, 0n, 1n)
    guest.write(REG.IQT, 32n, 8)
    expect(guest.read(REG.IQERCD, 8)).toBe(4n)
  })
})

describe('the tail', () => {
  it('is refused when it is beyond the queue, misaligned, or when the queue cannot be read', () => {
    const far = running()
    far.write(REG.IQT, 0x4000n, 8)
    expect([far.read(REG.FSTS), far.read(REG.IQERCD, 8)]).toEqual([0x10n, 1n])
    const odd = running()
    odd.write(REG.IQT, 16n, 8)
    expect(odd.read(REG.IQERCD, 8)).toBe(6n)
    const nowhere = new Guest()
    nowhere.write(REG.IQA, 0x80_0000_0801n, 8)
    nowhere.write(REG.RTADDR, 0x400n, 8)
    nowhere.write(REG.GCMD, 1n << 30n)
    nowhere.write(REG.GCMD, 1n << 26n)
    nowhere.write(REG.IQT, 32n, 8)
    expect(nowhere.read(REG.IQERCD, 8)).toBe(2n)
  })

  it('wraps around', () => {
    const guest = running()
    for (let i = 1; i <= 600; i++) {
      guest.queue(IQ.wait(BigInt(i), SLOT))
      expect(guest.load(STATUS_SLOT)).toBe(BigInt(i))
    }
  })

  it('that was written before the queue went on is served at once', () => {
    const guest = new Guest()
    guest.store(QUEUE, ...IQ.wait(9n, SLOT), 0n, 0n)
    guest.write(REG.RTADDR, 0x400n, 8)
    guest.write(REG.GCMD, 1n << 30n)
    guest.write(REG.IQT, 32n, 8)
    guest.write(REG.IQA, BigInt(QUEUE) | 0x801n, 8)
    guest.write(REG.GCMD, 1n << 26n)
    expect(guest.load(STATUS_SLOT)).toBe(9n)
  })
})

describe('the width and the table mode', () => {
  it('decide which types are valid', () => {
    const legacy = new Guest({ preset: 'vtd-legacy' })
    legacy.start(MODE.LEGACY)
    legacy.startQueue(false)
    legacy.queue(IQ.contextsAll, IQ.iotlbAll, IQ.wait(1n, SLOT), IQ.piotlb(2, 0))
    expect(legacy.load(STATUS_SLOT)).toBe(1n)
    expect([legacy.read(REG.IQH, 8), legacy.read(REG.IQERCD, 8)]).toEqual([48n, 3n])
    const narrow = new Guest()
    narrow.startScalable()
    narrow.startQueue(false)
    narrow.queue(IQ.fence)
    expect(narrow.read(REG.IQERCD, 8)).toBe(5n)
    const wideLegacy = new Guest({ preset: 'vtd-legacy' })
    wideLegacy.start(MODE.LEGACY)
    wideLegacy.startQueue(true)
    wideLegacy.queue(IQ.fence)
    expect(wideLegacy.read(REG.IQERCD, 8)).toBe(5n)
    // ADMS, bit 52 of ECAP, is enough for wide descriptors.
    const [lo, hi] = PRESETS['vtd-legacy'].ECAP
    const aborting = new Guest({ preset: 'vtd-legacy', ids: { ECAP: [lo, hi | (1 << 20)] } })
    aborting.start(MODE.ABORT)
    aborting.startQueue(true)
    aborting.queue(IQ.wait(1n, BigInt(STATUS_SLOT)))
    expect([aborting.load(STATUS_SLOT), aborting.read(REG.IQERCD, 8)]).toEqual([1n, 0n])
  })
})

describe('the registers', () => {
  function legacy(): Guest {
    const guest = new Guest({ preset: 'vtd-legacy' })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, 0x100001n, 0x502n)
    guest.path(0x100000, 0x40_0000n, 0x200000n | SS.RW, SS.RW)
    guest.start(MODE.LEGACY)
    expect(guest.dma(0x40_0000n)).toBe('0x200000')
    guest.path(0x100000, 0x40_0000n, 0x300000n | SS.RW, SS.RW)
    expect(guest.dma(0x40_0000n)).toBe('0x200000')
    return guest
  }

  it('invalidate the IOTLB in legacy mode by domain and by page, and say so', () => {
    const domain = legacy()
    domain.write(REG.IOTLB, (1n << 63n) | (2n << 60n) | (5n << 32n), 8)
    expect(domain.read(REG.IOTLB, 8) >> 57n).toBe((2n << 3n) | 2n)
    expect(domain.dma(0x40_0000n)).toBe('0x300000')
    const page = legacy()
    page.write(REG.IVA, 0x40_1000n, 8)
    page.write(REG.IOTLB, (1n << 63n) | (3n << 60n) | (5n << 32n), 8)
    expect(page.dma(0x40_0000n)).toBe('0x200000')
    page.write(REG.IVA, 0x40_0000n, 8)
    page.write(REG.IOTLB, (1n << 63n) | (3n << 60n) | (5n << 32n), 8)
    expect(page.dma(0x40_0000n)).toBe('0x300000')
  })

  it('invalidate a context entry under its own domain-id only', () => {
    const guest = legacy()
    guest.store(0x2000 + SID * 16, 0n)
    guest.write(REG.IOTLB, (1n << 63n) | (1n << 60n), 8)
    const device = (did: bigint): void =>
      guest.write(REG.CCMD, (1n << 63n) | (3n << 61n) | (BigInt(SID) << 16n) | did, 8)
    device(4n)
    expect(guest.dma(0x40_0000n)).toBe('0x300000')
    device(5n)
    guest.write(REG.IOTLB, (1n << 63n) | (1n << 60n), 8)
    expect(guest.dma(0x40_0000n)).toBe('fault 0x2')
    expect(guest.read(REG.CCMD, 8) >> 59n).toBe((3n << 2n) | 3n)
  })

  it('reject what they cannot do: scalable mode, beside the queue, AM beyond MAMV', () => {
    const granularityDone = (guest: Guest): bigint => {
      guest.write(REG.IOTLB, (1n << 63n) | (1n << 60n), 8)
      return guest.read(REG.IOTLB, 8) >> 57n
    }
    const scalable = new Guest()
    scalable.startScalable()
    expect(granularityDone(scalable)).toBe(1n << 3n)
    const queued = legacy()
    queued.startQueue(false)
    expect(granularityDone(queued)).toBe(1n << 3n)
    const wide = legacy()
    wide.write(REG.IVA, 19n, 8)
    wide.write(REG.IOTLB, (1n << 63n) | (3n << 60n), 8)
    expect(wide.read(REG.IOTLB, 8) >> 57n).toBe(3n << 3n)
  })

  it('take RTADDR only at SRTP, and show GSTS', () => {
    const guest = legacy()
    guest.write(REG.RTADDR, 0x9000n, 8)
    expect(guest.dma(0x40_1000n)).toBe('fault 0x6')
    expect(guest.read(REG.GSTS)).toBe(0xc0000000n)
    guest.write(REG.GCMD, 3n << 30n)
    guest.write(REG.CCMD, (1n << 63n) | (1n << 61n), 8)
    expect(guest.dma(0x40_1000n)).toBe('fault 0x1')
    expect(guest.read(0x18)).toBe(0n)
    expect(guest.read(0x58, 8)).toBe(0n)
    expect(guest.read(0x04)).toBe(0n)
  })

  it('keep what hardware alone writes, and nothing in reserved bits', () => {
    const guest = legacy()
    guest.write(REG.CCMD, (1n << 63n) | (1n << 61n), 8)
    guest.write(REG.IOTLB, (1n << 63n) | (1n << 60n), 8)
    const all = (1n << 63n) - 1n
    guest.write(REG.CCMD, all, 8)
    // CIRG, CAIG as it was; FM is write-only.
    expect(guest.read(REG.CCMD, 8) >> 32n).toBe((3n << 29n) | (1n << 27n))
    guest.write(REG.IOTLB, all, 8)
    // IIRG, IAIG as it was, DR, DW, DID.
    expect(guest.read(REG.IOTLB, 8)).toBe(((3n << 28n) | (1n << 25n) | 0x3ffffn) << 32n)
    // SSIRWE is reserved without ECAP.SSIRWS.
    guest.write(REG.RTADDR, 0x1fffn, 8)
    expect(guest.read(REG.RTADDR, 8)).toBe(0x1c00n)
    guest.write(REG.RTADDR, 0x1080n, 8)
    guest.write(REG.GCMD, 3n << 30n)
    expect(guest.dma(0x40_0000n)).toBe('0x300000')
  })

  it('of the queue are reserved on a unit without one', () => {
    const guest = new Guest({ preset: 'vtd-legacy', ids: { ECAP: [0xfc1, 0] } })
    for (const offset of [REG.IQT, REG.IQA, REG.ICS, REG.IECTL, REG.IEDATA, REG.IEADDR]) {
      guest.write(offset, 0xffff_ffffn)
      expect(guest.read(offset)).toBe(0n)
    }
    guest.write(REG.GCMD, 1n << 26n)
    expect(guest.read(REG.GSTS)).toBe(0n)
  })
})

describe('a queue that is longer than what a unit takes at once', () => {
  const full = Array.from({ length: 100 }, (_, i) => IQ.wait(BigInt(i + 1), SLOT))

  it('is left after 16 descriptors, and goes on when the unit is run', () => {
    const guest = running()
    guest.queue(...full)
    expect([guest.load(STATUS_SLOT), guest.unit.hasWork]).toEqual([16n, true])
    guest.unit.run()
    expect([guest.load(STATUS_SLOT), guest.unit.hasWork]).toEqual([32n, true])
    while (guest.unit.hasWork) guest.unit.run()
    expect(guest.load(STATUS_SLOT)).toBe(100n)
  })

  it('is drained before QIES tells that it is off', () => {
    const guest = running()
    guest.queue(...full)
    const status = guest.read(REG.GSTS)
    guest.write(REG.GCMD, status & ~(1n << 26n))
    expect([guest.load(STATUS_SLOT), guest.read(REG.GSTS), guest.unit.hasWork]).toEqual([32n, status, true])
    while (guest.unit.hasWork) guest.unit.run()
    expect([guest.load(STATUS_SLOT), guest.read(REG.GSTS)]).toEqual([100n, status - 2n ** 26n])
    expect(guest.read(REG.IQH, 8)).toBe(0n)
  })
})

describe('an interrupt handler', () => {
  function interrupting(): Guest {
    const guest = running()
    guest.write(REG.IEADDR, 0xfee00000n)
    guest.write(REG.IECTL, 0n)
    return guest
  }

  it('finds QIES set by the command whose tail is being served, and its own command latches nothing again', () => {
    const guest = interrupting()
    const commands = guest.read(REG.GSTS) & (1n << 31n)
    guest.write(REG.GCMD, commands)
    guest.store(QUEUE, ...IQ.waitWithInterrupt(1n, SLOT), 0n, 0n, ...IQ.wait(2n, SLOT), 0n, 0n)
    guest.write(REG.IQT, 64n, 8)
    const seen: bigint[] = []
    guest.onMessage = () => {
      seen.push((guest.read(REG.GSTS) >> 26n) & 1n)
      guest.write(REG.IQA, 0x9000_0801n, 8)
      guest.write(REG.GCMD, commands | (1n << 26n))
    }
    guest.write(REG.GCMD, commands | (1n << 26n))
    expect(seen).toEqual([1n])
    expect([guest.load(STATUS_SLOT), guest.read(REG.IQH, 8), guest.read(REG.FSTS)]).toEqual([2n, 64n, 0n])
  })

  it('may switch the queue off, which happens when what is queued is done', () => {
    const guest = interrupting()
    guest.onMessage = () => guest.write(REG.GCMD, 1n << 31n)
    guest.queue(IQ.waitWithInterrupt(1n, SLOT), IQ.wait(2n, SLOT))
    expect([guest.load(STATUS_SLOT), guest.read(REG.GSTS) & (1n << 26n), guest.read(REG.IQH, 8)]).toEqual([2n, 0n, 0n])
  })

  it('may reset the unit: nothing behind its descriptor is taken, and IQH is 0 as after power-on', () => {
    const guest = interrupting()
    guest.onMessage = () => guest.unit.reset()
    guest.queue(IQ.waitWithInterrupt(1n, SLOT), IQ.wait(2n, SLOT))
    expect([guest.load(STATUS_SLOT), guest.read(REG.GSTS), guest.read(REG.IQH, 8)]).toEqual([1n, 0n, 0n])
  })

  it('may reset the unit and start it again: the new queue is served from its beginning', () => {
    const guest = interrupting()
    const other = QUEUE + 0x1000
    guest.store(other, ...IQ.wait(5n, SLOT + 8n), 0n, 0n, ...IQ.wait(6n, SLOT + 16n), 0n, 0n)
    guest.onMessage = () => {
      guest.unit.reset()
      guest.write(REG.RTADDR, 0x1400n, 8)
      guest.write(REG.GCMD, 1n << 30n)
      guest.write(REG.IQA, BigInt(other) | 0x800n, 8)
      guest.write(REG.GCMD, 1n << 26n)
      guest.write(REG.IQT, 64n, 8)
    }
    guest.queue(IQ.fence, IQ.waitWithInterrupt(1n, SLOT), IQ.wait(2n, SLOT))
    expect([guest.load(STATUS_SLOT), guest.load(STATUS_SLOT + 8), guest.load(STATUS_SLOT + 16)]).toEqual([1n, 5n, 6n])
    expect([guest.read(REG.IQH, 8), guest.read(REG.FSTS)]).toEqual([64n, 0n])
  })
})

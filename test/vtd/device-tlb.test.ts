import { beforeEach, describe, expect, it } from 'vitest'
import { AtcInvalidation, type AtsPort, type DevicePort, NO_DEVICES, NO_PASID } from '../../hw-model/port.js'
import { AtsGuest, CONTEXT, ECAP } from './ats-guest.js'
import { IQ, MODE, QUEUE, REG, SID, STATUS_SLOT } from './guest.js'

const SLOT = BigInt(STATUS_SLOT)
/** Everything of source-id 0x1234 without PASID. [VTD 6.5.2.5 Device-TLB Invalidate Descriptor] */
const ALL: [bigint, bigint] = [0x0000_1234_0000_0003n, 0x7fff_ffff_ffff_f001n]
const FAULT = { IQE: 0x10n, ICE: 0x20n, ITE: 0x40n } as const

/** What reached the devices; they answer at once, or when they are told. */
class Devices implements DevicePort {
  readonly invalidations: AtcInvalidation[] = []
  answersAtOnce = true
  /** Called from inside an invalidation. */
  inside: (tag: number) => void = () => undefined
  readonly respondToPages = NO_DEVICES.respondToPages
  readonly ended = NO_DEVICES.ended

  invalidateAtc(invalidation: AtcInvalidation): boolean {
    this.invalidations.push(Object.assign(new AtcInvalidation(), invalidation))
    this.inside(invalidation.tag)
    return this.answersAtOnce
  }

  get tags(): number[] {
    return this.invalidations.map(({ tag }) => tag)
  }
}

let devices: Devices
let guest: AtsGuest

beforeEach(() => {
  devices = new Devices()
  guest = start()
})

function start(options: ConstructorParameters<typeof AtsGuest>[0] = {}): AtsGuest {
  const made = new AtsGuest({ devices, ...options })
  made.startScalable(CONTEXT.PASID)
  made.startQueue()
  return made
}

const port = (): AtsPort => guest.unit.ats as AtsPort
const status = (): bigint => guest.load(STATUS_SLOT)
const head = (): bigint => guest.read(REG.IQH, 8) / 32n
/** The last invalidation, without its tag. */
const last = (): Omit<AtcInvalidation, 'tag'> => {
  const { tag: _tag, ...rest } = devices.invalidations.at(-1) as AtcInvalidation
  return rest
}
const everything = { allPasids: false, lo: 0, hi: 0, sizeLg2: 64 }

describe('[VTD 6.5.2.5 Device-TLB Invalidate Descriptor]', () => {
  it('names a source-id and what it obtained without a PASID', () => {
    guest.queue(ALL, IQ.wait(7n, SLOT))
    expect(last()).toEqual({ ...everything, rid: 0x1234, pasid: NO_PASID })
    expect(status()).toBe(7n)
  })

  it('is 4 KiB without S, wherever the address has zeros', () => {
    guest.queue([ALL[0], 0xfedc_ba98_7654_3000n])
    expect(last()).toMatchObject({ lo: 0x76543000, hi: 0xfedcba98, sizeLg2: 12 })
  })

  it('has with S twice the size of the lowest zero of its address, and begins where that is aligned', () => {
    const address = 0x5a5a_5a5a_5a5a_5n << 12n
    for (let p = 12n; p < 64n; p++) {
      const ones = (1n << p) - (1n << 12n)
      guest.queue([ALL[0], ((address >> (p + 1n)) << (p + 1n)) | ones | 1n])
      const { lo, hi, sizeLg2 } = last()
      expect(sizeLg2).toBe(Number(p) + 1)
      expect((BigInt(hi) << 32n) | BigInt(lo), `${p}`).toBe((address >> (p + 1n)) << (p + 1n))
    }
    guest.queue([ALL[0], 0xffff_ffff_ffff_f001n])
    expect(last()).toMatchObject(everything)
    expect(guest.read(REG.FSTS)).toBe(0n)
  })

  it('is taken in legacy mode, in either width', () => {
    for (const wide of [false, true]) {
      const legacy = new AtsGuest({ devices })
      legacy.start(MODE.LEGACY)
      legacy.startQueue(wide)
      const before = devices.tags.length
      legacy.queue(ALL, IQ.wait(9n, SLOT))
      expect([devices.tags.length - before, legacy.load(STATUS_SLOT)]).toEqual([1, 9n])
    }
  })

  it('ignores MIP, and PFSID where invalidations are throttled', () => {
    guest.queue([ALL[0] | (0x1fn << 16n) | (0xfn << 12n) | (0xfffn << 52n), ALL[1]])
    expect(last()).toEqual({ ...everything, rid: 0x1234, pasid: NO_PASID })
    expect(guest.read(REG.FSTS)).toBe(0n)
  })

  it.each([
    ['PFSID 3:0 without throttling', 1n << 12n, 0n],
    ['PFSID 15:4 without throttling', 1n << 63n, 0n],
    ['bit 4', 1n << 4n, 0n],
    ['bit 8', 1n << 8n, 0n],
    ['bit 21', 1n << 21n, 0n],
    ['bit 48', 1n << 48n, 0n],
    ['bit 65', 0n, 1n << 1n],
    ['bit 75', 0n, 1n << 11n],
  ])('is an error with %s', (_, low, high) => {
    guest = start({ lacks: ECAP.DIT })
    guest.queue([ALL[0] | low, ALL[1] | high])
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8), head()]).toEqual([FAULT.IQE, 4n, 0n])
    expect(devices.tags).toEqual([])
  })

  it('is no type of a unit without device-TLB support', () => {
    guest = start({ lacks: ECAP.DT | ECAP.NWFS | ECAP.DIT | ECAP.PTRS })
    expect(guest.unit.ats).toBeNull()
    guest.queue(ALL)
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8)]).toEqual([FAULT.IQE, 3n])
  })
})

describe('[VTD 6.5.2.6 PASID-based-Device-TLB Invalidate Descriptor]', () => {
  /** Source-id 0x1234 in 31:16, PASID 0xfedcb. */
  const form = 0x000f_edcb_1234_0008n

  it('names a PASID, and its source-id in other bits', () => {
    guest.queue([form, 0x7fff_ffff_ffff_f800n])
    expect(last()).toEqual({ ...everything, rid: 0x1234, pasid: 0xfedcb })
    guest.queue([form, 0x1_2345_6000n])
    expect(last()).toMatchObject({ lo: 0x23456000, hi: 1, sizeLg2: 12 })
    guest.queue([form, 0x1_2345_7800n])
    expect(last()).toMatchObject({ lo: 0x23450000, hi: 1, sizeLg2: 16 })
  })

  it('means every PASID with GI', () => {
    guest.queue([form, 0x7fff_ffff_ffff_f801n])
    expect(last()).toMatchObject({ rid: 0x1234, allPasids: true, sizeLg2: 64 })
  })

  it('ignores MIP and PFSID', () => {
    guest.queue([form | 0x1f0n | (0xfn << 12n) | (0xfffn << 52n), 0x800n])
    expect(last()).toMatchObject({ rid: 0x1234, pasid: 0xfedcb, sizeLg2: 13 })
  })

  it.each([
    ['PFSID without throttling', 1n << 52n, 0n],
    ['bit 65', 0n, 1n << 1n],
    ['bit 74', 0n, 1n << 10n],
  ])('is an error with %s', (_, low, high) => {
    guest = start({ lacks: ECAP.DIT })
    guest.queue([form | low, high])
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8)]).toEqual([FAULT.IQE, 4n])
  })

  it('is no type of legacy mode', () => {
    const legacy = new AtsGuest({ devices })
    legacy.start(MODE.LEGACY)
    legacy.startQueue()
    legacy.queue([form, 0n])
    expect([legacy.read(REG.FSTS), legacy.read(REG.IQERCD, 8)]).toEqual([FAULT.IQE, 3n])
  })
})

describe('a wait descriptor with invalidations outstanding', () => {
  beforeEach(() => {
    devices.answersAtOnce = false
  })

  it('pends: it is taken, nothing behind it is, and there is nothing to run', () => {
    guest.queue(ALL, ALL, IQ.wait(7n, SLOT), IQ.wait(8n, SLOT))
    expect([head(), status(), guest.unit.hasWork]).toEqual([3n, 0n, false])
    guest.queue(ALL)
    expect(devices.tags.length).toBe(2)
    expect(port().completed(devices.tags[1])).toBe(true)
    expect([head(), status()]).toEqual([3n, 0n])
    expect(port().completed(devices.tags[0])).toBe(true)
    expect([head(), status(), devices.tags.length]).toEqual([5n, 8n, 3])
  })

  it('does what it says when it completes, and not what its place in the queue says by then', () => {
    guest.queue(ALL, IQ.waitWithInterrupt(7n, SLOT))
    guest.store(QUEUE + 32, 0n, 0n)
    expect([guest.read(REG.ICS), status()]).toEqual([0n, 0n])
    port().completed(devices.tags[0])
    expect([guest.read(REG.ICS), status()]).toEqual([1n, 7n])
  })

  it('is complete at once where the device answers from inside the invalidation', () => {
    devices.inside = (tag) => expect(port().completed(tag)).toBe(true)
    guest.queue(ALL, IQ.wait(7n, SLOT))
    expect([head(), status(), guest.read(REG.FSTS)]).toEqual([2n, 7n, 0n])
  })

  it('may interrupt a handler that queues more', () => {
    guest.write(REG.IEADDR, 0xfee00000n)
    guest.write(REG.IECTL, 0n)
    guest.onMessage = () => {
      guest.write(REG.ICS, 1n)
      guest.queue(ALL, IQ.wait(9n, SLOT))
    }
    guest.queue(ALL, IQ.waitWithInterrupt(7n, SLOT))
    port().completed(devices.tags[0])
    expect([devices.tags.length, head(), status()]).toEqual([2, 4n, 7n])
    port().completed(devices.tags[1])
    expect(status()).toBe(9n)
  })

  it('takes QUEUE_RUN entries when it goes on, and the rest in the next run', () => {
    guest.queue(ALL, IQ.wait(7n, SLOT), ...Array.from({ length: 20 }, () => IQ.iotlbAll))
    port().completed(devices.tags[0])
    expect([head(), guest.unit.hasWork]).toEqual([18n, true])
    guest.unit.run()
    expect([head(), guest.unit.hasWork]).toEqual([22n, false])
  })

  it('keeps QIES until it is complete where the queue is switched off', () => {
    guest.queue(ALL, IQ.wait(7n, SLOT))
    guest.write(REG.GCMD, 1n << 31n)
    expect(guest.read(REG.GSTS) & (1n << 26n)).not.toBe(0n)
    port().completed(devices.tags[0])
    expect([guest.read(REG.GSTS) & (1n << 26n), head(), status()]).toEqual([0n, 0n, 7n])
  })

  it('is forgotten by a reset, as what it waits for', () => {
    guest.queue(ALL, IQ.wait(7n, SLOT))
    guest.unit.reset()
    expect(port().timedOut(devices.tags[0])).toBe(false)
    guest.store(QUEUE, ...IQ.wait(8n, SLOT))
    guest.write(REG.IQA, BigInt(QUEUE) | 0x801n, 8)
    guest.write(REG.GCMD, 1n << 26n)
    guest.write(REG.IQT, 32n, 8)
    expect([head(), status()]).toEqual([1n, 8n])
  })

  it('is not held up by a unit that is off: what a device says then is an Unsupported Request', () => {
    guest.queue(ALL, IQ.wait(7n, SLOT))
    guest.stop()
    expect(port().completed(devices.tags[0])).toBe(false)
    expect([status(), guest.read(REG.FSTS)]).toEqual([0n, 0n])
    expect(port().timedOut(devices.tags[0])).toBe(true)
    expect([status(), guest.read(REG.FSTS)]).toEqual([0n, FAULT.ITE])
  })
})

describe('an invalidation tag', () => {
  it('is waited for where 32 are in use, and the descriptor is not taken', () => {
    devices.answersAtOnce = false
    guest.queue(...Array.from({ length: 33 }, () => ALL), IQ.wait(7n, SLOT))
    while (guest.unit.hasWork) guest.unit.run()
    expect([devices.tags.length, head()]).toEqual([32, 32n])
    expect(port().completed(devices.tags[5])).toBe(true)
    expect([devices.tags.length, head()]).toEqual([33, 34n])
    for (const tag of devices.tags) port().completed(tag)
    expect(status()).toBe(7n)
  })

  it('is free again after a time-out, and the descriptor is taken when the error is cleared', () => {
    devices.answersAtOnce = false
    guest.queue(...Array.from({ length: 33 }, () => ALL))
    while (guest.unit.hasWork) guest.unit.run()
    guest.write(REG.GCMD, 1n << 31n)
    port().timedOut(devices.tags[0])
    expect(devices.tags.length).toBe(32)
  })
})

describe('[VTD 6.5.2.11] an invalidation completion error', () => {
  beforeEach(() => {
    devices.answersAtOnce = false
  })

  it('is an answer that nobody waits for; it names who sent it, and the queue goes on', () => {
    guest.queue(ALL, IQ.wait(7n, SLOT))
    expect(port().completed(devices.tags[0])).toBe(true)
    expect(port().completed(devices.tags[0])).toBe(false)
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8)]).toEqual([FAULT.ICE, 0x1234n << 48n])
    guest.queue(IQ.wait(8n, SLOT))
    expect(status()).toBe(8n)
    guest.write(REG.FSTS, FAULT.ICE)
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8)]).toEqual([0n, 0n])
  })

  it('is an answer from another device; what is asked stays outstanding', () => {
    guest.queue(ALL, IQ.wait(7n, SLOT))
    expect(port().completed(devices.tags[0], 0x4321)).toBe(false)
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8), status()]).toEqual([FAULT.ICE, 0x4321n << 48n, 0n])
    // Only the first is named.
    expect(port().completed(devices.tags[0], 0x5555)).toBe(false)
    expect(guest.read(REG.IQERCD, 8)).toBe(0x4321n << 48n)
    expect(port().completed(devices.tags[0], 0x1234)).toBe(true)
    expect(status()).toBe(7n)
  })

  it('raises a fault event once', () => {
    guest.write(REG.FEADDR, 0xfee00000n)
    guest.write(REG.FEDATA, 0x42n)
    guest.write(REG.FECTL, 0n)
    port().completed(1, SID)
    port().completed(1, SID)
    expect(guest.messages).toEqual([[0xfee00000, 0x42]])
  })
})

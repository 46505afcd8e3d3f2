/** The register map, command by command and bit by bit. [VTD 11.2 to 11.4.9] */

import { describe, expect, it } from 'vitest'
import { CAP_48, ECAP_48, Guest, HOLE, QIE, QUEUE, REG, SRTP, TE } from './guest.js'
import { PA, PASID, ROOT, VA, World } from './world.js'

const ALL = 0xffff_ffff_ffff_ffffn
const LEGACY_ONLY = { cap: 0x80d2_078c_226f_0606n, ecap: 0xfc3n }

describe('[VTD 11.4] after reset', () => {
  it('events are masked, and nothing else is set', () => {
    const g = new Guest()
    expect([g.get32(REG.VER), g.get64(REG.CAP), g.get64(REG.ECAP)]).toEqual([0x10n, CAP_48, ECAP_48])
    expect([g.get32(REG.FECTL), g.get32(REG.IECTL)]).toEqual([0x8000_0000n, 0x8000_0000n])
    const masked: readonly number[] = [REG.FECTL, REG.IECTL]
    for (let offset: number = REG.GCMD; offset < 0x1000; offset += 4) {
      if (!masked.includes(offset)) expect(g.get32(offset), offset.toString(16)).toBe(0n)
    }
  })

  it('again, everything is as at first', () => {
    const w = new World('first').go()
    w.dma(VA + 0x1000n)
    w.queue(0xfn, 0n)
    w.set32(REG.FEDATA, 0x1234n)
    w.unit.reset()
    expect(w.get32(REG.FECTL)).toBe(0x8000_0000n)
    for (const offset of [REG.GSTS, REG.RTADDR, REG.FSTS, REG.IQH, REG.IQT, REG.IQA, REG.FEDATA, REG.FRCD + 12]) {
      expect(w.get32(offset), offset.toString(16)).toBe(0n)
    }
  })
})

describe('[VTD 11.4.1 to 11.4.3] VER, CAP and ECAP', () => {
  it('cannot be written', () => {
    const g = new Guest()
    for (const offset of [REG.CAP, REG.ECAP]) g.set64(offset, 0n)
    g.set32(REG.VER, 0xffn)
    expect([g.get32(REG.VER), g.get64(REG.CAP), g.get64(REG.ECAP)]).toEqual([0x10n, CAP_48, ECAP_48])
  })

  it('can be read by halves', () => {
    const g = new Guest()
    expect([g.get32(REG.CAP), g.get32(REG.CAP + 4)]).toEqual([0x226f_0606n, 0x81d2_078cn])
    expect([g.get32(REG.ECAP), g.get32(REG.ECAP + 4)]).toEqual([0x8400_0fc3n, 0x0013_e99cn])
  })
})

/** What each register holds of all ones; only bits below the host address width are asked. */
const BELOW_HAW = 0x0000_ffff_ffff_ffffn

describe('[VTD 11.4] of a write of all ones,', () => {
  it('RTADDR keeps RTA and TTM', () => {
    const g = new Guest()
    g.set64(REG.RTADDR, ALL)
    expect(g.get64(REG.RTADDR) & BELOW_HAW).toBe(0x0000_ffff_ffff_fc00n)
  })

  it('IQA keeps IQA, DW and QS; IQT keeps QT', () => {
    const g = new Guest()
    g.set64(REG.IQA, ALL)
    expect(g.get64(REG.IQA) & BELOW_HAW).toBe(0x0000_ffff_ffff_f807n)
    g.set64(REG.IQT, ALL)
    expect(g.get64(REG.IQT)).toBe(0x7_fff0n)
  })

  it('CCMD keeps CIRG and DID: CAIG is read-only, and FM and SID read as anything', () => {
    const g = new Guest()
    g.set64(REG.CCMD, 0x7fff_ffff_ffff_ffffn)
    expect(g.get64(REG.CCMD) & ~0x3_ffff_0000n).toBe(0x6000_0000_0000_ffffn)
  })

  it('IOTLB keeps IIRG, DR, DW and DID; IVA nothing that can be read', () => {
    const g = new Guest()
    g.set64(REG.IOTLB, 0x7fff_ffff_ffff_ffffn)
    expect(g.get64(REG.IOTLB) >> 32n).toBe(0x3003_ffffn)
    g.set64(REG.IVA, ALL)
    expect(g.get64(REG.IVA)).toBe(0n)
  })

  it('the data and address registers of events keep their fields', () => {
    const g = new Guest()
    for (const [data, address] of [
      [REG.FEDATA, REG.FEADDR],
      [REG.IEDATA, REG.IEADDR],
    ]) {
      g.set32(data, 0xffff_ffffn)
      g.set32(address, 0xffff_ffffn)
      expect([g.get32(data) & 0xffffn, g.get32(address)]).toEqual([0xffffn, 0xffff_fffcn])
    }
  })

  it('FECTL and IECTL keep IM', () => {
    const g = new Guest()
    for (const offset of [REG.FECTL, REG.IECTL]) {
      g.set32(offset, 0n)
      expect(g.get32(offset)).toBe(0n)
      g.set32(offset, 0xffff_ffffn)
      expect(g.get32(offset)).toBe(0x8000_0000n)
    }
  })

  it('what is read-only, of a feature that is not there, or no register keeps nothing', () => {
    const g = new Guest()
    const named = [REG.GSTS, REG.FSTS, REG.IQH, REG.ICS, REG.IQERCD, 0xb4]
    const reserved = [0x30, 0x48, 0x4c, 0x50, 0x54, 0x58, 0x5c, 0x60, 0x98]
    const protectedMemory = [0x64, 0x68, 0x6c, 0x70, 0x74, 0x78, 0x7c]
    const pageRequests = [0xc0, 0xc8, 0xd0, 0xd4, 0xdc, 0xe0, 0xe4, 0xe8, 0xec]
    const interrupts = [0xb8, 0xbc]
    const others = [0x100, 0x108, 0x21c, 0x300, 0x400, 0x410, 0xdc0, 0xe00, 0xe10, 0xe30, 0xffc]
    for (const offset of [...named, ...reserved, ...protectedMemory, ...pageRequests, ...interrupts, ...others]) {
      g.set32(offset, 0xffff_ffffn)
      expect(g.get32(offset), offset.toString(16)).toBe(0n)
    }
  })
})

describe('[VTD 11.2] a 64-bit register', () => {
  it('may be written by halves', () => {
    const w = new World('first')
    w.set32(REG.RTADDR, 0x1400n)
    w.set32(REG.RTADDR + 4, 0n)
    w.once(SRTP)
    w.enable(TE)
    expect(w.dma(VA)).toBe(`0x${PA.toString(16)}`)
  })

  it('that starts something starts it with its high half alone', () => {
    const w = new World('legacy')
    w.start(ROOT)
    w.dma(VA)
    w.store(w.second.at(VA), 0n)
    w.set32(REG.IOTLB, 0n)
    expect(w.dma(VA)).toBe(`0x${PA.toString(16)}`)
    w.set32(REG.IOTLB + 4, 0x9000_0000n)
    expect([w.get32(REG.IOTLB + 4) >> 31n, w.dma(VA)]).toEqual([0n, 'fault 6'])
    w.set32(REG.CCMD, 0xffff_ffffn)
    expect(w.get32(REG.CCMD + 4)).toBe(0n)
    w.set32(REG.CCMD + 4, 0xa000_0000n)
    expect(w.get32(REG.CCMD + 4)).toBe(0x2800_0000n)
  })

  it('of the queue is rung by its low half', () => {
    const w = new World('first').go()
    w.store(QUEUE, 0x0000_0007_0000_0025n, 0x9000n, 0n, 0n)
    w.set32(REG.IQT, 0x20n)
    expect([w.load(0x9000n), w.get32(REG.IQH)]).toEqual([7n, 0x20n])
  })
})

describe('[VTD 11.4.4.1] GCMD', () => {
  const status = (w: Guest): bigint => w.get32(REG.GSTS)

  it('reads 0, and GSTS tells what was done, at once', () => {
    const w = new World('first')
    expect(status(w)).toBe(0n)
    w.set64(REG.RTADDR, ROOT | 0x400n)
    w.once(SRTP)
    expect(status(w)).toBe(SRTP)
    w.set64(REG.IQA, QUEUE | 0x801n)
    w.enable(QIE)
    expect(status(w)).toBe(SRTP | QIE)
    w.enable(TE)
    expect([status(w), w.get32(REG.GCMD)]).toEqual([SRTP | QIE | TE, 0n])
    w.disable(TE)
    expect(status(w)).toBe(SRTP | QIE)
    w.disable(QIE)
    expect(status(w)).toBe(SRTP)
  })

  it('obeys a procedure that masks one-shot bits of GSTS with 0x96ffffff', () => {
    const w = new World('first')
    const give = (bit: bigint): void => w.set32(REG.GCMD, (status(w) & 0x96ff_ffffn) | bit)
    w.set64(REG.RTADDR, ROOT | 0x400n)
    w.set64(REG.IQA, QUEUE | 0x801n)
    for (const bit of [SRTP, QIE, TE]) give(bit)
    expect([status(w), w.dma(VA)]).toEqual([SRTP | QIE | TE, `0x${PA.toString(16)}`])
    w.set32(REG.GCMD, status(w) & 0x96ff_ffffn & ~TE)
    expect(status(w)).toBe(SRTP | QIE)
  })

  it('obeys one that writes GSTS back unmasked: SRTP again does no harm', () => {
    const w = new World('first')
    const give = (bit: bigint): void => w.set32(REG.GCMD, status(w) | bit)
    w.set64(REG.RTADDR, ROOT | 0x400n)
    w.set64(REG.IQA, QUEUE | 0x801n)
    for (const bit of [SRTP, TE, QIE, 1n << 23n]) give(bit)
    expect([status(w) & (SRTP | QIE | TE), w.dma(VA)]).toEqual([SRTP | QIE | TE, `0x${PA.toString(16)}`])
    for (let i = 0; i < 100; i++) give(0n)
    expect(w.dma(VA)).toBe(`0x${PA.toString(16)}`)
  })

  it('does what is combined in one write in an order that works: root table, queue, translation', () => {
    const w = new World('first')
    w.set64(REG.RTADDR, ROOT | 0x400n)
    w.set64(REG.IQA, QUEUE | 0x801n)
    w.set32(REG.GCMD, SRTP | QIE | TE)
    expect([status(w), w.dma(VA), w.faults()]).toEqual([SRTP | QIE | TE, `0x${PA.toString(16)}`, []])
  })

  it('leaves the root table as it was latched until SRTP', () => {
    const w = new World('first').go()
    w.set64(REG.RTADDR, HOLE | 0xc00n)
    expect([w.get64(REG.RTADDR), w.dma(VA + FAR)]).toEqual([HOLE | 0xc00n, 'fault 71'])
    w.once(SRTP)
    expect(w.dma(VA)).toBe('fault 33')
  })

  it('does nothing to what is not offered: interrupt remapping, write buffers, compatibility formats', () => {
    const w = new World('first').go()
    w.once(1n << 27n)
    expect(status(w)).toBe(SRTP | QIE | TE)
    w.set32(REG.GCMD, TE | QIE | (7n << 23n))
    expect([status(w), w.dma(VA)]).toEqual([SRTP | QIE | TE, `0x${PA.toString(16)}`])
  })

  it('does nothing to bits that it does not have', () => {
    const w = new World('first').go()
    w.set32(REG.GCMD, TE | QIE | 0x307f_ffffn)
    expect(status(w)).toBe(SRTP | QIE | TE)
  })
})

/** So far from VA that no table but the root is shared. */
const FAR = 0x10_0000_0000n

describe('[VTD 11.4.4.1] while TE is 0', () => {
  it('an untranslated request passes, whatever the tables say', () => {
    const w = new World('first')
    w.set64(REG.RTADDR, HOLE | 0x400n)
    w.once(SRTP)
    expect([w.dma(VA), w.dma(VA, 'w'), w.faults()]).toEqual([`0x${VA.toString(16)}`, `0x${VA.toString(16)}`, []])
  })

  it('its PASID does not count', () => {
    const w = new World('legacy')
    expect([w.dma(VA, 'rw', { pasid: PASID }), w.faults()]).toEqual([`0x${VA.toString(16)}`, []])
  })

  it('a request that was translated before passes too', () => {
    const w = new World('first').go()
    w.dma(VA)
    w.disable(TE)
    expect(w.dma(VA)).toBe(`0x${VA.toString(16)}`)
    w.enable(TE)
    expect(w.dma(VA)).toBe(`0x${PA.toString(16)}`)
  })

  it('the queue runs, and so do register-based invalidations', () => {
    const g = new Guest()
    g.set64(REG.CCMD, 0xa000_0000_0000_0000n)
    expect(g.get64(REG.CCMD) >> 59n).toBe(5n)
    g.startQueue()
    g.queue(0x1_0000_0025n, 0x9000n)
    // TTM is 0, legacy mode: a queue of 256-bit descriptors takes types 1 to 5 there.
    expect([g.get32(REG.FSTS), g.load(0x9000n)]).toEqual([0n, 1n])
  })
})

describe('[VTD 11.4.5] TTM, latched by SRTP, chooses between', () => {
  it('legacy and scalable tables', () => {
    const legacy = new World('legacy').go()
    expect(legacy.dma(VA)).toBe(`0x${PA.toString(16)}`)
    const scalable = new World('second').go()
    expect(scalable.dma(VA)).toBe(`0x${PA.toString(16)}`)
  })

  it('those and abort mode, without the tables that were in use', () => {
    const w = new World('first').go()
    expect(w.dma(VA)).toBe(`0x${PA.toString(16)}`)
    w.set64(REG.RTADDR, ROOT | 0xc00n)
    w.once(SRTP)
    expect(w.dma(VA)).toBe('fault 33')
    w.set64(REG.RTADDR, ROOT | 0x400n)
    w.once(SRTP)
    expect(w.dma(VA)).toBe(`0x${PA.toString(16)}`)
  })
})

describe('[VTD 6.5.2, 11.4.9] QIE', () => {
  it('takes IQA, and starts at descriptor 0', () => {
    const w = new World('first').go()
    w.queue(0x45n, 0n, 0x45n, 0n)
    expect(w.get64(REG.IQH)).toBe(0x40n)
    w.disable(QIE)
    expect(w.get64(REG.IQH)).toBe(0n)
    w.startQueue()
    w.queue(0x45n, 0n)
    expect(w.get64(REG.IQH)).toBe(0x20n)
  })

  it('takes what a tail that was written before says', () => {
    const w = new World('first')
    w.start(ROOT | 0x400n)
    w.store(QUEUE, 0x0000_0007_0000_0025n, 0x9000n, 0n, 0n)
    w.set64(REG.IQA, QUEUE | 0x801n)
    w.set64(REG.IQT, 0x20n)
    expect(w.load(0x9000n)).toBe(0n)
    w.enable(QIE)
    expect([w.load(0x9000n), w.get64(REG.IQH)]).toEqual([7n, 0x20n])
  })

  it('once 0, no tail starts anything', () => {
    const w = new World('first').go()
    w.disable(QIE)
    w.store(QUEUE, 0x0000_0007_0000_0025n, 0x9000n, 0n, 0n)
    w.set64(REG.IQT, 0x20n)
    expect([w.load(0x9000n), w.get64(REG.IQH)]).toEqual([0n, 0n])
  })

  it('is not needed by a unit that has no scalable mode: 16-byte descriptors, 2^(QS + 8) of them', () => {
    const g = new Guest(LEGACY_ONLY)
    g.startQueue(false)
    for (let i = 0; i < 300; i++) g.queue((BigInt(i) << 32n) | 0x25n, 0x9000n)
    expect([g.load(0x9000n), g.get64(REG.IQH)]).toEqual([299n, BigInt((300 * 16) % 4096)])
  })

  it('has a queue of up to 2^7 pages', () => {
    const w = new World('first')
    w.start(ROOT | 0x400n)
    const queue = 0x400_0000n
    w.set64(REG.IQA, queue | 0x807n)
    w.enable(QIE)
    for (let i = 0n; i < 0x8_0000n; i += 32n) w.store(queue + i, (i << 32n) | 0x25n, 0x9000n)
    w.set64(REG.IQT, 0x7_ffe0n)
    expect([w.load(0x9000n), w.get64(REG.IQH), w.get32(REG.FSTS)]).toEqual([0x7_ffc0n, 0x7_ffe0n, 0n])
    w.set64(REG.IQT, 0n)
    expect([w.load(0x9000n), w.get64(REG.IQH)]).toEqual([0x7_ffe0n, 0n])
  })
})

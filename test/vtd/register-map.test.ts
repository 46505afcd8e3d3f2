/** [VTD 11.4 Register Descriptions]: offsets, widths, access and placement, spelled from the manual. */

import { describe, expect, it } from 'vitest'
import { decodeCapabilities, type IdRegisters, PRESETS } from '../../hw-model/vtd/index.js'
import { Guest, IQ, MODE, QUEUE, REG, SID, SS, STATUS_SLOT } from './guest.js'

const FULL = PRESETS['vtd-full']
const LEGACY = PRESETS['vtd-legacy']
const ONES = 0xffff_ffffn

/** Dwords of the full unit that are not 0 at power-on: offset → value. */
const AT_RESET: Readonly<Record<number, bigint>> = {
  0: 0x10n,
  8: BigInt(FULL.CAP[0]),
  12: BigInt(FULL.CAP[1]),
  16: BigInt(FULL.ECAP[0]),
  20: BigInt(FULL.ECAP[1]),
  56: 0x8000_0000n,
  160: 0x8000_0000n,
  224: 0x8000_0000n,
}

/** What each dword reads after all ones were written to it alone, where that is not what it read at power-on. */
const AFTER_ONES: Readonly<Record<number, bigint>> = {
  // RTADDR: RTA, TTM, SSIRWE.
  32: 0xffff_fc80n,
  36: ONES,
  // CCMD: DID; SID is write-only.
  40: 0xffffn,
  // ICC has fallen; CIRG and CAIG say device-selective; FM is write-only.
  44: 0x7800_0000n,
  60: 0xffffn,
  64: 0xffff_fffcn,
  68: ONES,
  // PMEN: EPM and PRS.
  100: 0x8000_0001n,
  // 2 MiB is what the regions count in.
  104: 0xffe0_0000n,
  108: 0xffe0_0000n,
  112: 0xffe0_0000n,
  116: 0x000f_ffffn,
  120: 0xffe0_0000n,
  124: 0x000f_ffffn,
  136: 0x7_fff0n,
  144: 0xffff_f807n,
  148: ONES,
  164: 0xffffn,
  168: 0xffff_fffcn,
  172: ONES,
  192: 0x7_ffe0n,
  200: 0x7_ffe0n,
  208: 0xffff_f007n,
  212: ONES,
  228: 0xffffn,
  232: 0xffff_fffcn,
  236: ONES,
  // IOTLB: IVT has fallen; IIRG and IAIG say page-selective; DR, DW, DID.
  252: 0x3603_ffffn,
}

const caps = (ids: Partial<IdRegisters>) => decodeCapabilities({ ...FULL, ...ids })
const withFro = (fro: number, nfr = 7, cap = FULL.CAP): readonly [number, number] => [
  ((cap[0] & 0xff_ffff) | (fro << 24)) >>> 0,
  ((cap[1] & 0xffff_00fc) | (fro >>> 8) | (nfr << 8)) >>> 0,
]
const withIro = (iro: number, ecap = FULL.ECAP): readonly [number, number] => [
  ((ecap[0] & ~0x3ff00) | (iro << 8)) >>> 0,
  ecap[1],
]

describe('the register window', () => {
  it('reads as the manual says at power-on, and 0 wherever nothing is', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    for (let offset = 0; offset < 0x1000; offset += 4) {
      expect([offset, guest.read(offset)]).toEqual([offset, AT_RESET[offset] ?? 0n])
    }
  })

  it('keeps of all ones in a dword what its fields can hold', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    for (let offset = 0; offset < 0x1000; offset += 4) {
      guest.unit.reset()
      guest.write(offset, ONES)
      expect([offset, guest.read(offset)]).toEqual([offset, AFTER_ONES[offset] ?? AT_RESET[offset] ?? 0n])
    }
  })

  it('takes a qword as its two dwords, the low one first', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    const all = (ONES << 32n) | ONES
    const after = (offset: number): bigint => AFTER_ONES[offset] ?? AT_RESET[offset] ?? 0n
    for (const offset of [0x20, 0x28, 0x40, 0x68, 0x70, 0x78, 0x88, 0x90, 0xa8, 0xc0, 0xc8, 0xd0, 0xe8, 0xf8]) {
      guest.unit.reset()
      guest.write(offset, all, 8)
      expect([offset, guest.read(offset, 8)]).toEqual([offset, (after(offset + 4) << 32n) | after(offset)])
    }
  })

  it('has GSTS follow GCMD, which reads 0, as does IVA', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.write(REG.GCMD, ONES)
    guest.write(REG.IVA, (ONES << 32n) | ONES, 8)
    // TES, RTPS, QIES; nothing of interrupt remapping and no write buffer.
    expect([guest.read(REG.GCMD), guest.read(REG.GSTS), guest.read(REG.IVA, 8)]).toEqual([0n, 0xc400_0000n, 0n])
    guest.write(REG.GSTS, 0n)
    expect(guest.read(REG.GSTS)).toBe(0xc400_0000n)
  })

  it('answers nothing outside of itself or off its alignment', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    expect([guest.read(0x1000), guest.read(-4), guest.read(0x0a), guest.read(0x0c, 8)]).toEqual([0n, 0n, 0n, 0n])
    guest.write(0x22, ONES)
    guest.write(0x24, (ONES << 32n) | ONES, 8)
    guest.write(0x1000, ONES)
    guest.write(-4, ONES)
    guest.write(0xffc, (ONES << 32n) | ONES, 8)
    expect(guest.read(0x20, 8)).toBe(0n)
  })

  it('clears a fault record of a unit without a queue, whose own registers are not there', () => {
    const guest = new Guest({ preset: 'vtd-legacy', ids: { ECAP: [LEGACY.ECAP[0] & ~2, LEGACY.ECAP[1]] } })
    guest.start(MODE.LEGACY)
    guest.dma(0x1000n)
    expect([guest.read(REG.FSTS), guest.read(REG.FRCD + 12) >> 31n]).toEqual([2n, 1n])
    guest.write(REG.FRCD + 12, 1n << 31n)
    guest.write(REG.IQA, ONES, 8)
    expect([guest.read(REG.FSTS), guest.read(REG.FRCD + 12) >> 31n, guest.read(REG.IQA, 8)]).toEqual([0n, 0n, 0n])
  })

  it('refuses a context invalidation of the reserved granularity', () => {
    const guest = new Guest({ preset: 'vtd-legacy' })
    guest.write(REG.CCMD + 4, 0xa000_0000n)
    expect(guest.read(REG.CCMD + 4)).toBe(0x2800_0000n)
    guest.write(REG.CCMD + 4, 0x8000_0000n)
    expect(guest.read(REG.CCMD + 4)).toBe(0n)
  })

  it('starts an invalidation when the high half is written, and not before', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.write(REG.CCMD, 1n << 31n)
    guest.write(REG.IOTLB, ONES)
    expect([guest.read(REG.CCMD + 4), guest.read(REG.IOTLB + 4)]).toEqual([0n, 0n])
    guest.write(REG.CCMD + 4, 0x2000_0000n)
    guest.write(REG.IOTLB + 4, 0x1000_0000n)
    expect([guest.read(REG.CCMD + 4), guest.read(REG.IOTLB + 4)]).toEqual([0x2000_0000n, 0x1000_0000n])
    guest.write(REG.CCMD + 4, 0xa000_0000n)
    guest.write(REG.IOTLB + 4, 0x9000_0000n)
    expect([guest.read(REG.CCMD + 4), guest.read(REG.IOTLB + 4)]).toEqual([0x2800_0000n, 0x1200_0000n])
  })

  it('shows bits that no field has as 0, whatever an older unit had there', () => {
    const { capWords, ecapWords } = decodeCapabilities({
      ...LEGACY,
      CAP: [(LEGACY.CAP[0] | 0x80_e008) >>> 0, (LEGACY.CAP[1] | 0x0600_0040) >>> 0],
      ECAP: [(LEGACY.ECAP[0] | 0x190c_0020) >>> 0, (LEGACY.ECAP[1] | 0x8040_0001) >>> 0],
    })
    expect([...capWords, ...ecapWords].map((word) => word >>> 0)).toEqual([...LEGACY.CAP, ...LEGACY.ECAP])
  })
})

describe('[VTD 11.4.2 FRO, 11.4.3 IRO] registers that have no fixed place', () => {
  /** A legacy unit whose SID has a mapping at 0x40_0000, and which has faulted once. */
  function translating(ids: Partial<IdRegisters>): Guest {
    const guest = new Guest({ preset: 'vtd-legacy', ids })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, 0x110001n, 0x302n)
    guest.path(0x110000, 0x40_0000n, 0x30_0000n | SS.RW, SS.RW)
    guest.start(MODE.LEGACY)
    expect(guest.dma(0x40_0000n)).toBe('0x300000')
    guest.store(0x113000, 0x50_0000n | SS.RW)
    expect(guest.dma(0x7000_0000n)).toBe('fault 0x6')
    return guest
  }

  it.each([
    ['in the fixed page, behind everything', 0x22, 0xf, 0x1000],
    ['in the gap below PMEN', 0x22, 5, 0x1000],
    ['where absent features have theirs', 0x40, 0xe0, 0x1000],
    ['across the end of a page', 0xfc, 0x10, 0x2000],
    ['in the second page', 0x100, 0x120, 0x2000],
    ['at the last offsets', 0x3f0, 0x3ff, 0x4000],
  ])('work %s', (_name, fro, iro, bytes) => {
    const guest = translating({ CAP: withFro(fro, 7, LEGACY.CAP), ECAP: withIro(iro, LEGACY.ECAP) })
    expect(guest.unit.registerBytes).toBe(bytes)
    expect(guest.read(fro * 16, 8)).toBe(0x7000_0000n)
    expect((guest.read(fro * 16 + 8, 8) >> 32n) & 0xffn).toBe(6n)
    guest.write(fro * 16 + 12, 1n << 31n)
    expect(guest.read(REG.FSTS)).toBe(0n)
    guest.write(iro * 16, 0x40_0000n, 8)
    guest.write(iro * 16 + 8, (0xb000n << 48n) | (3n << 32n), 8)
    expect(guest.read(iro * 16 + 8, 8) >> 57n).toBe(0x1bn)
    expect(guest.dma(0x40_0000n)).toBe('0x500000')
  })

  it('keep 256 records', () => {
    const guest = translating({ CAP: withFro(0x100, 255, LEGACY.CAP) })
    expect(guest.unit.registerBytes).toBe(0x2000)
    for (let i = 1; i < 256; i++) guest.dma(BigInt(i) << 32n)
    expect([guest.read(REG.FSTS), guest.read(0x1ff0, 8)]).toEqual([2n, 255n << 32n])
    guest.dma(0x7000_0000n)
    expect(guest.read(REG.FSTS)).toBe(3n)
  })

  it.each([
    [{ ECAP: withIro(0) }, 'ECAP.IRO puts'],
    [{ ECAP: withIro(4) }, 'ECAP.IRO puts'],
    [{ ECAP: withIro(6) }, 'ECAP.IRO puts'],
    [{ ECAP: withIro(0xe) }, 'ECAP.IRO puts'],
    [{ CAP: withFro(4) }, 'CAP.FRO puts'],
    [{ CAP: withFro(5) }, 'CAP.FRO puts'],
    [{ CAP: withFro(0xe) }, 'CAP.FRO puts'],
    [{ CAP: withFro(0xf) }, 'CAP.FRO and ECAP.IRO overlap'],
    [{ CAP: withFro(0x10), ECAP: withIro(0x17) }, 'CAP.FRO and ECAP.IRO overlap'],
  ])('may not stand over others: %#', (ids, message) => {
    expect(() => caps(ids)).toThrow(message)
  })

  it('may stand beside others', () => {
    expect(caps({ CAP: withFro(5, 0) }).frcdOffset).toBe(0x50)
    expect(caps({ CAP: withFro(0x10), ECAP: withIro(0x18) }).ivaOffset).toBe(0x180)
  })
})

describe('[VTD 11.4.1 Version Register]', () => {
  it('has 8 bits, and says what CAP may say', () => {
    const drains = [FULL.CAP[0], (FULL.CAP[1] & ~0x80_0000) >>> 0] as const
    expect(() => caps({ VER: 0x100 })).toThrow('VER')
    expect(() => caps({ VER: -1 })).toThrow('VER')
    expect(caps({ VER: 0x1f, CAP: drains }).verMajor).toBe(1)
    expect(() => caps({ VER: 0x20, CAP: drains })).toThrow('CAP.DWD and DRD')
    expect(() => caps({ VER: 0x20, CAP: [FULL.CAP[0], (FULL.CAP[1] & ~0x40_0000) >>> 0] })).toThrow('CAP.DWD and DRD')
    const firstStage = PRESETS['qemu-first-stage']
    expect(decodeCapabilities({ ...firstStage, VER: 0x50 }).verMajor).toBe(5)
    expect(() => decodeCapabilities({ ...firstStage, VER: 0x60 })).toThrow('CAP.SAGAW needs ECAP.SSTS')
    const none = [firstStage.CAP[0] & ~0x1f00, firstStage.CAP[1]] as const
    expect(decodeCapabilities({ ...firstStage, VER: 0x60, CAP: none }).agawBits).toBe(48)
  })

  it.each([
    [0x10, 0x2800_0000n, 0x1200_0000n, '0x500000'],
    [0x50, 0x2800_0000n, 0x1200_0000n, '0x500000'],
    [0x60, 0x2000_0000n, 0x1000_0000n, '0x300000'],
    [0x80, 0x2000_0000n, 0x1000_0000n, '0x300000'],
  ])('%s: registers invalidate before version 6, and reject from then on', (VER, ccmd, iotlb, answer) => {
    const guest = new Guest({ preset: 'vtd-full', ids: { VER } })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, 0x110001n, 0x302n)
    guest.path(0x110000, 0x40_0000n, 0x30_0000n | SS.RW, SS.RW)
    guest.start(MODE.LEGACY)
    guest.dma(0x40_0000n)
    guest.store(0x113000, 0x50_0000n | SS.RW)
    guest.write(REG.CCMD, 0xa000_0000n << 32n, 8)
    guest.write(REG.IOTLB, 0x9000_0000n << 32n, 8)
    expect([guest.read(REG.CCMD + 4), guest.read(REG.IOTLB + 4)]).toEqual([ccmd, iotlb])
    expect([guest.read(0), guest.dma(0x40_0000n)]).toEqual([BigInt(VER), answer])
  })

  it.each([
    [0x70, 'fault 0x5c'],
    [0x80, 'fault 0x34'],
  ])('%s: an execute request is %s', (VER, fault) => {
    const guest = new Guest({ preset: 'vtd-full', ids: { VER } })
    guest.startScalable()
    guest.firstStage(5, 2, 0x100000)
    expect(guest.dma(0x40_0000n, 'rx', 5)).toBe(fault)
  })
})

describe('[VTD 6.8 Write Buffer Flushing]', () => {
  const RWBF = { CAP: [(LEGACY.CAP[0] | 0x10) >>> 0, LEGACY.CAP[1]] } as const

  it('is done as soon as it is asked for, and touches no other command', () => {
    const guest = new Guest({ preset: 'vtd-legacy', ids: RWBF })
    guest.start(MODE.LEGACY)
    guest.write(REG.GCMD, (1n << 31n) | (1n << 27n))
    expect(guest.read(REG.GSTS)).toBe(0xc000_0000n)
    expect(guest.read(8) & 0x10n).toBe(0x10n)
  })

  it('is required by no unit with scalable mode', () => {
    expect(() => caps({ CAP: [(FULL.CAP[0] | 0x10) >>> 0, FULL.CAP[1]] })).toThrow('CAP.RWBF')
  })
})

describe('[VTD 11.4.4.1 Global Command Register]', () => {
  const TE = 1n << 31n
  const SRTP = 1n << 30n
  const QIE = 1n << 26n

  it('takes several commands at once: root table, queue, translation, in this order', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 32, 0x4001n, 0n, 0n, 0n)
    guest.store(0x4000, 0x5001n)
    guest.store(QUEUE, ...IQ.contextsAll, 0n, 0n, 0n, ...IQ.wait(7n, BigInt(STATUS_SLOT)), 0n, 0n)
    guest.passThrough(0, 2)
    guest.write(REG.RTADDR, 0x1400n, 8)
    guest.write(REG.IQA, BigInt(QUEUE) | 0x801n, 8)
    guest.write(REG.IQT, 64n, 8)
    guest.write(REG.GCMD, TE | SRTP | QIE)
    // Types of scalable mode were valid, so the root table came before the queue.
    expect([guest.load(STATUS_SLOT), guest.read(REG.FSTS), guest.read(REG.GSTS)]).toEqual([7n, 0n, TE | SRTP | QIE])
    expect(guest.dma(0x9000n)).toBe('0x9000')
  })

  it('sets the root table again as often as it is told, and takes RTADDR anew each time', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.startScalable()
    guest.passThrough(0, 2)
    expect(guest.dma(0x9000n)).toBe('0x9000')
    guest.write(REG.RTADDR, 0x1c00n, 8)
    expect(guest.dma(0x9000n)).toBe('0x9000')
    guest.write(REG.GCMD, TE | SRTP)
    expect([guest.dma(0x9000n), guest.read(REG.GSTS)]).toEqual(['fault 0x33', TE | SRTP])
    guest.write(REG.RTADDR, 0x1400n, 8)
    for (let i = 0; i < 3; i++) guest.write(REG.GCMD, TE | SRTP)
    expect([guest.dma(0x9000n), guest.read(REG.GSTS)]).toEqual(['0x9000', TE | SRTP])
  })

  it('knows no interrupt remapping: SIRTP, IRE and CFI leave no trace, even where the registers were captured', () => {
    for (const preset of ['vtd-full', 'qemu-legacy'] as const) {
      const guest = new Guest({ preset })
      guest.write(0xb8, 0x7_0fffn, 8)
      guest.write(REG.GCMD, 0x0380_0000n)
      expect([guest.read(REG.GSTS), guest.read(0xb8, 8)]).toEqual([0n, 0n])
    }
  })

  it('has no queue to switch on without ECAP.QI', () => {
    const guest = new Guest({ preset: 'vtd-legacy', ids: { ECAP: [0xfc1, 0] } })
    guest.write(REG.GCMD, QIE)
    expect(guest.read(REG.GSTS)).toBe(0n)
  })
})

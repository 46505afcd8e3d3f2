/** What a request is, besides its address: reads of no bytes, AtomicOps, execute, and the interrupt address range. */

import { describe, expect, it } from 'vitest'
import { FS, Guest, MODE, PASIDS, REG, SID, SS } from './guest.js'
import { Tables } from './tables.js'

const PAGE = 0x40_0000n
const FIRST = 0x10_0000
const SECOND = 0x11_0000
const RANGE = 0xfee0_0000n
const F = 1n << 63n

/** CAP of the default unit with and without ZLR, bit 22. [VTD 11.4.2] */
const zlr = (isThere: boolean) => ({ CAP: [isThere ? 0x226f_0606 : 0x222f_0606, 0x81d2_078c] as [number, number] })

function second(leaf: bigint, ids = {}, table: bigint = SS.RW): Guest {
  const guest = new Guest({ ids })
  guest.startScalable()
  guest.path(SECOND, PAGE, leaf, table)
  guest.secondStage(0, 3, SECOND)
  return guest
}

function legacy(leaf: bigint, ids = {}): Guest {
  const guest = new Guest({ ids })
  guest.store(0x1000, 0x2001n, 0n)
  guest.store(0x2000 + SID * 16, BigInt(SECOND) | 1n, 0x302n)
  guest.path(SECOND, PAGE, leaf, SS.RW)
  guest.start(MODE.LEGACY)
  return guest
}

describe('[VTD 3.14] a read of no bytes', () => {
  const writeOnly = 0x30_0000n | SS.W
  const ends = (guest: Guest): string[] => [guest.dma(PAGE, ''), guest.dma(PAGE, '')]

  it('may go to a write-only page where ZLR says so, from memory and from the IOTLB', () => {
    for (const guest of [second(writeOnly, zlr(true)), legacy(writeOnly, zlr(true))]) {
      expect(ends(guest)).toEqual(['0x300000', '0x300000'])
      expect([guest.out.hit, guest.out.rights]).toEqual([1, 2])
      expect(guest.dma(PAGE, 'r')).toMatch(/fault 0x(86|6)/)
    }
  })

  it('is any other read where ZLR does not', () => {
    const guest = second(writeOnly, zlr(false))
    expect(guest.dma(PAGE, 'w')).toBe('0x300000')
    expect(ends(guest)).toEqual(['fault 0x86', 'fault 0x86'])
    expect(ends(legacy(writeOnly, zlr(false)))).toEqual(['fault 0x6', 'fault 0x6'])
    const readable = second(0x30_0000n | SS.R, zlr(false))
    expect(ends(readable)).toEqual(['0x300000', '0x300000'])
    expect(readable.out.hit).toBe(1)
  })

  it('meets every other fault there is', () => {
    expect(second(0n, zlr(true)).dma(PAGE, '')).toBe('fault 0x79')
    expect(second(writeOnly, zlr(true), SS.R).dma(PAGE, '')).toBe('fault 0x79')
    expect(second(writeOnly | (1n << 62n), zlr(true)).dma(PAGE, '')).toBe('fault 0x7a')
    expect(legacy(0n, zlr(true)).dma(PAGE, '')).toBe('fault 0x6')
    expect(second(RANGE | SS.W, zlr(true)).dma(PAGE, '')).toBe('fault 0x87')
  })

  it('of a first stage needs P and U/S, and behind it what the second stage asks', () => {
    const nested = (fs: bigint, ss: bigint, isThere: boolean): string => {
      const guest = new Guest({ ids: zlr(isThere) })
      guest.startScalable()
      const inner = new Tables(guest, FIRST, 4, FS.TABLE)
      inner.map(PAGE, 0x50_0000n | fs)
      const outer = new Tables(guest, SECOND, 4, SS.RW)
      for (const page of inner.pages) outer.map(BigInt(page), BigInt(page) | SS.RW)
      outer.map(0x50_0000n, 0x60_0000n | ss)
      guest.nested(0, 3, FIRST, SECOND)
      return guest.dma(PAGE, '')
    }
    expect(nested(FS.PAGE, SS.W, true)).toBe('0x600000')
    expect(nested(FS.PAGE, SS.W, false)).toBe('fault 0x86')
    expect(nested(FS.PAGE, SS.R, false)).toBe('0x600000')
    expect(nested(FS.P | FS.A, SS.W, true)).toBe('fault 0x81')
    expect(nested(0n, SS.W, true)).toBe('fault 0x71')
  })

  it('is recorded as a read', () => {
    const guest = second(0n)
    guest.dma(PAGE, '')
    expect(guest.read(REG.FRCD + 8, 8)).toBe(F | (1n << 62n) | (0x79n << 32n) | BigInt(SID))
  })
})

describe('[VTD 3.7.1] an AtomicOp', () => {
  it('needs both rights of the second stage, the missing write being named first', () => {
    const ends = (leaf: bigint): string[] => [second(leaf).dma(PAGE, 'rw'), legacy(leaf).dma(PAGE, 'rw')]
    expect(ends(0x30_0000n | SS.RW)).toEqual(['0x300000', '0x300000'])
    expect(ends(0x30_0000n | SS.R)).toEqual(['fault 0x85', 'fault 0x5'])
    expect(ends(0x30_0000n | SS.W)).toEqual(['fault 0x86', 'fault 0x6'])
    expect(ends(0n)).toEqual(['fault 0x79', 'fault 0x5'])
  })

  it('is not answered by an entry that grants one of them', () => {
    const guest = second(0x30_0000n | SS.W)
    expect(guest.dma(PAGE, 'w')).toBe('0x300000')
    expect(guest.dma(PAGE, 'rw')).toBe('fault 0x86')
  })

  it('marks pages dirty as a write does', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x20_0000n | FS.TABLE, FS.TABLE)
    guest.firstStage(0, 2, FIRST)
    expect(guest.dma(PAGE, 'rw')).toBe('0x200000')
    expect(guest.load(FIRST + 0x3000)).toBe(0x20_0000n | FS.PAGE)
  })
})

describe('[VTD 7.1.3 RTA.5, SPT.5] a request that asks for execute', () => {
  const asks = (version: number, change: (guest: Guest) => void = () => undefined): string => {
    const guest = new Guest({ ids: { VER: version } })
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x20_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(1, 2, FIRST)
    change(guest)
    return guest.dma(PAGE, 'rx', 1)
  }

  it('is blocked by the PASID entry before version 8, and before any table since', () => {
    expect([0x10, 0x60, 0x70].map((version) => asks(version))).toEqual(Array<string>(3).fill('fault 0x5c'))
    expect([0x80, 0xf0].map((version) => asks(version))).toEqual(['fault 0x34', 'fault 0x34'])
    const absent = (guest: Guest): void => guest.store(0x1000, 0n)
    expect([asks(0x70, absent), asks(0x80, absent)]).toEqual(['fault 0x39', 'fault 0x34'])
  })

  it('is silenced by FPD before version 8, and never since', () => {
    const recorded = (version: number): bigint => {
      const guest = new Guest({ ids: { VER: version } })
      guest.startScalable(0xbn)
      guest.firstStage(1, 2, FIRST)
      guest.dma(PAGE, 'rx', 1)
      return guest.read(REG.FRCD + 8, 8)
    }
    expect(recorded(0x70)).toBe(0n)
    // F, T1, PV 1, FR 0x34, PP, EXE.
    expect(recorded(0x80)).toBe(F | (1n << 62n) | (1n << 40n) | (0x34n << 32n) | (6n << 29n) | BigInt(SID))
  })

  it('is not one where it has no PASID, whatever it says', () => {
    const guest = new Guest({ ids: { VER: 0x80 } })
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x20_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, FIRST)
    expect(guest.dma(PAGE, 'rx')).toBe('0x200000')
  })

  it('is not answered by the IOTLB', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x20_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(1, 2, FIRST)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x200000')
    expect(guest.dma(PAGE, 'rx', 1)).toBe('fault 0x5c')
  })
})

describe('[VTD 3.15] the interrupt address range, without PASID', () => {
  const LAST = RANGE + 0xf_ffffn
  /** Tables that map the whole range elsewhere, 2 MiB by 2 MiB. */
  function mapped(): Guest {
    const guest = new Guest()
    guest.startScalable()
    const tables = new Tables(guest, SECOND, 4, SS.RW)
    for (const at of [0xfec0_0000n, 0xfee0_0000n]) tables.map(at, (at - 0xfe00_0000n) | SS.RW | SS.PS, 2)
    guest.secondStage(0, 3, SECOND)
    guest.secondStage(1, 3, SECOND)
    return guest
  }
  const send = (guest: Guest, at: bigint, access: string, bytes: number): string =>
    guest.dma(at, access, -1, SID, bytes)

  it('takes writes of one aligned doubleword as messages, whatever the tables say', () => {
    const guest = mapped()
    for (const at of [RANGE, RANGE + 4n, LAST - 3n]) expect(send(guest, at, 'w', 4)).toBe(`0x${at.toString(16)}`)
    guest.start(MODE.ABORT)
    expect(send(guest, RANGE, 'w', 4)).toBe('0xfee00000')
  })

  it('lets reads of no bytes pass', () => {
    for (const bytes of [0, 1, 4]) expect(send(mapped(), LAST - 3n, '', bytes)).toBe('0xfeeffffc')
  })

  it('blocks and records everything else of known length, FPD or not', () => {
    const others = [
      ['r', 4],
      ['r', 1],
      ['rw', 4],
      ['rw', 8],
      ['w', 1],
      ['w', 2],
      ['w', 8],
      ['w', 64],
    ] as const
    for (const [access, bytes] of others) {
      const guest = mapped()
      guest.store(PASIDS, 3n)
      expect(send(guest, RANGE, access, bytes), `${access} ${bytes}`).toBe('fault 0x29')
      expect(guest.read(REG.FSTS)).toBe(2n)
    }
    // Four bytes over two doublewords.
    for (const at of [1n, 2n, 3n]) expect(send(mapped(), RANGE + at, 'w', 4)).toBe('fault 0x29')
  })

  it('ends at its first and last byte, and does not repeat above 4 GiB', () => {
    const guest = mapped()
    expect(send(guest, RANGE - 4n, 'r', 4)).toBe('0xdffffc')
    expect(send(guest, LAST + 1n, 'r', 4)).toBe('0xf00000')
    expect(send(guest, (1n << 32n) + RANGE, 'r', 4)).toBe('fault 0x79')
  })

  it('is translated for a question, which moves no data', () => {
    const guest = mapped()
    expect([send(guest, RANGE, 'r', 0), send(guest, LAST, 'w', 0)]).toEqual(['0xe00000', '0xefffff'])
    const direct = new Guest()
    direct.startScalable()
    direct.passThrough(0, 2)
    // As the message that it would be.
    expect(send(direct, RANGE, 'w', 0)).toBe('0xfee00000')
  })

  it('is an address like any other beside a PASID', () => {
    const guest = mapped()
    const ends = (['r', 'w', 'rw'] as const).map((access) => guest.dma(RANGE, access, 1, SID, 4))
    expect(ends).toEqual(Array<string>(3).fill('0xe00000'))
  })
})

describe('[VTD 7.1.3 LGN.4, SGN.8] an output in the interrupt address range', () => {
  it('blocks the bytes that are in it, not their whole page', () => {
    const guest = new Guest()
    guest.startScalable()
    // 1 GiB from 0xc0000000.
    guest.path(FIRST, PAGE, 0n, FS.TABLE)
    guest.store(FIRST + 0x1000, 0xc000_0000n | FS.P | FS.RW | FS.US | FS.PS)
    guest.firstStage(0, 2, FIRST)
    const input = (output: bigint): bigint => output - 0xc000_0000n
    for (let pass = 0; pass < 2; pass++) {
      expect(guest.dma(input(RANGE - 1n), 'r')).toBe('0xfedfffff')
      expect(guest.dma(input(RANGE), 'w')).toBe('fault 0x87')
      expect(guest.dma(input(RANGE + 0xf_ffffn), 'r')).toBe('fault 0x87')
      expect(guest.dma(input(RANGE + 0x10_0000n), 'r')).toBe('0xfef00000')
    }
    expect(guest.load(FIRST + 0x1000) & FS.D).toBe(0n)
  })
})

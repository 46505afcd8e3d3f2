/** ECAP.SSIRWS: bits 61 and 62 of second-stage entries in place of bits 0 and 1. [VTD 9.8, 11.4.5 SSIRWE] */

import { describe, expect, it } from 'vitest'
import { AtsGuest, CONTEXT } from './ats-guest.js'
import { FS, Guest, MODE, REG, SID, SS } from './guest.js'

const PAGE = 0x40_0000n
const FIRST = 0x100000
const SECOND = 0x110000
const IR = 1n << 61n
const IW = 1n << 62n
const IO = IR | IW
/** SSIRWE beside the root table; TTM scalable or legacy. */
const SCALABLE = 0x1480n
const LEGACY = 0x1080n
const SRTP = 1n << 30n
const TE = 1n << 31n

/** A unit with I/O rights latched, second-stage tables of one page, and SSADE where flags say so. */
function io(leaf: bigint, table: bigint, flags = 0n): Guest {
  const guest = new Guest({ preset: 'vtd-full' })
  guest.startScalable()
  guest.path(SECOND, PAGE, leaf, table)
  guest.secondStage(0, 3, SECOND, flags)
  latch(guest, SCALABLE)
  return guest
}

function latch(guest: Guest, rtaddr: bigint): void {
  guest.write(REG.RTADDR, rtaddr, 8)
  guest.write(REG.GCMD, SRTP | TE)
}

describe('second-stage entries with I/O rights enabled', () => {
  it('grant by IR and IW what R and W grant otherwise', () => {
    expect(io(0x300000n | IO, IO).dma(PAGE, 'rw')).toBe('0x300000')
    expect(io(0x300000n | IR, IO).dma(PAGE, 'w')).toBe('fault 0x85')
    expect(io(0x300000n | IW, IO).dma(PAGE, 'r')).toBe('fault 0x86')
    expect(io(0x300000n | IO, IR).dma(PAGE, 'rw')).toBe('fault 0x85')
    expect(io(0x300000n | IW, IR).dma(PAGE)).toBe('fault 0x79')
  })

  it('ignore R and W, which neither grant nor make present', () => {
    expect(io(0x300000n | SS.RW, IO).dma(PAGE)).toBe('fault 0x79')
    expect(io(0x300000n | IO, SS.RW).dma(PAGE)).toBe('fault 0x79')
    expect(io(0x300000n | SS.RW | IR, IO | SS.RW).dma(PAGE, 'w')).toBe('fault 0x85')
  })

  it('have their reserved bits checked only where IR or IW is set', () => {
    expect(io(0x300800n | SS.RW, IO).dma(PAGE)).toBe('fault 0x79')
    expect(io(0x300000n | IO, IO | 0x800n).dma(PAGE)).toBe('fault 0x7a')
    expect(io(0x300000n | IO, IO | 0x800n | SS.RW).dma(PAGE)).toBe('fault 0x7a')
  })

  it('let a zero-length read through where IW alone is set', () => {
    expect(io(0x300000n | IW, IO).dma(PAGE, '')).toBe('0x300000')
  })

  it('keep their flags where they were', () => {
    const guest = io(0x300000n | IO, IO, 0x200n)
    expect(guest.dma(PAGE, 'w')).toBe('0x300000')
    expect(guest.load(SECOND)).toBe(0x111000n | IO | SS.A)
    expect(guest.load(SECOND + 0x3000)).toBe(0x300000n | IO | SS.A | SS.D)
  })

  it('decide about the tables of the first stage too', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.startScalable()
    guest.nested(0, 3, FIRST, SECOND)
    guest.path(FIRST, PAGE, 0x20_0000n | FS.PAGE, FS.TABLE)
    // 2 MiB leaves that map the guest's first 4 MiB to themselves: readable tables, data without a right to write.
    guest.path(SECOND, 0n, 0n, IO)
    guest.store(SECOND + 0x2000, 0n | IR | SS.PS, 0x20_0000n | IR | SS.PS)
    latch(guest, SCALABLE)
    expect(guest.dma(PAGE)).toBe('0x200000')
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x85')
    guest.store(SECOND + 0x2000, 0n | IW | SS.PS)
    latch(guest, SCALABLE)
    expect(guest.dma(PAGE)).toBe('fault 0x75')
  })

  it('are what a device is told that asks for a translation', () => {
    const ask = (leaf: bigint): string => {
      const guest = new AtsGuest({ offers: 1n << 57n })
      guest.startScalable(CONTEXT.PLAIN)
      guest.path(SECOND, PAGE, leaf, IO)
      guest.secondStage(0, 3, SECOND)
      latch(guest, SCALABLE)
      return guest.ask(PAGE)
    }
    expect(ask(0x300000n | IO)).toBe('rw 0x300000/12')
    expect(ask(0x300000n | IR | SS.RW)).toBe('r 0x300000/12')
    expect(ask(0x300000n | SS.RW)).toBe('nothing')
  })

  it('are explained with the bits that count', () => {
    const step = io(0x300000n | IR, IO)
      .explain(PAGE)
      .find(({ level }) => level === 1)
    expect([step?.fields?.['IR'], step?.fields?.['IW'], step?.fields?.['R'], step?.verdict]).toEqual([
      1,
      0,
      undefined,
      'leaf, 4 KiB, read-only',
    ])
    const absent = io(0x300000n | SS.RW, IO)
      .explain(PAGE)
      .find(({ level }) => level === 1)
    expect(absent?.verdict).toBe('not present: IR and IW are 0')
  })
})

describe('SSIRWE', () => {
  it('takes effect with SRTP, and not before', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.startScalable()
    guest.path(SECOND, PAGE, 0x300000n | SS.R | IO, SS.R | IO)
    guest.secondStage(0, 3, SECOND)
    guest.write(REG.RTADDR, SCALABLE, 8)
    expect(guest.read(REG.RTADDR, 8)).toBe(SCALABLE)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x7a')
    guest.write(REG.GCMD, SRTP | TE)
    expect(guest.dma(PAGE, 'w')).toBe('0x300000')
  })

  it('is read as 0 and changes nothing on a unit without I/O rights, where IW is reserved and IR ignored', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.path(SECOND, PAGE, 0x300000n | SS.RW | IR, SS.RW | IR)
    guest.secondStage(0, 3, SECOND)
    latch(guest, SCALABLE)
    expect(guest.read(REG.RTADDR, 8)).toBe(0x1400n)
    expect(guest.dma(PAGE, 'w')).toBe('0x300000')
    guest.path(SECOND, PAGE, 0x300000n | SS.RW | IW, SS.RW)
    latch(guest, SCALABLE)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x7a')
  })

  it('in legacy mode blocks requests without PASID as a wrong mode, those with one as ever', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, BigInt(SECOND) | 3n, 0x302n)
    guest.path(SECOND, PAGE, 0x300000n | SS.RW, SS.RW)
    latch(guest, LEGACY)
    expect(guest.dma(PAGE)).toBe('fault 0x30')
    // No table was read, so no FPD silences it.
    expect(guest.read(REG.FSTS)).toBe(2n)
    expect(guest.dma(PAGE, 'r', 5)).toBe('fault 0x31')
    guest.start(MODE.LEGACY)
    expect(guest.dma(PAGE)).toBe('0x300000')
  })
})

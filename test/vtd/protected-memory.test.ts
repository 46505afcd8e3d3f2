/** [VTD 11.4.8 Protected Memory Range Registers] */

import { describe, expect, it } from 'vitest'
import { ACCESS, REQUEST, STATUS, Transaction } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/vtd/index.js'
import { FS, Guest, REG, SID } from './guest.js'

const PMEN = 0x64
const PLMBASE = 0x68
const PLMLIMIT = 0x6c
const PHMBASE = 0x70
const PHMLIMIT = 0x78
const ON = 1n << 31n
const FULL = PRESETS['vtd-full']

/** A unit with 4 to 8 MiB protected below 4 GiB. */
function guarded(ids = {}): Guest {
  const guest = new Guest({ preset: 'vtd-full', ids })
  guest.write(PLMBASE, 0x40_0000n)
  guest.write(PLMLIMIT, 0x60_0000n)
  guest.write(PMEN, ON)
  return guest
}

describe('the low region', () => {
  it('blocks DMA from its base to the last byte of its limit, without a record, while translation is off', () => {
    const guest = guarded()
    expect(guest.read(PMEN)).toBe(ON | 1n)
    const answers = [0x3f_ffffn, 0x40_0000n, 0x7f_ffffn, 0x80_0000n].map((address) => guest.dma(address, 'w'))
    expect(answers).toEqual(['0x3fffff', 'aborted', 'aborted', '0x800000'])
    expect([guest.read(REG.FSTS), guest.read(REG.FRCD + 8, 8)]).toEqual([0n, 0n])
  })

  it.each([0x10, 0x20, 0x60])('blocks what is translated into it, walked or cached, in version %s', (VER) => {
    const guest = guarded({ VER })
    guest.startScalable()
    guest.path(0x100000, 0x1000_0000n, 0x40_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, 0x100000)
    expect([guest.dma(0x1000_0000n), guest.dma(0x1000_0000n)]).toEqual(['aborted', 'aborted'])
    expect([guest.read(REG.FSTS), guest.unit.counters.hits]).toEqual([0n, 1])
    guest.write(PMEN, 0n)
    expect([guest.read(PMEN), guest.dma(0x1000_0000n)]).toEqual([0n, '0x400000'])
  })

  it('blocks what passes through, and not the unit itself, whose tables may be in it', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.startScalable()
    guest.passThrough(0, 2)
    guest.write(PLMLIMIT, 0x20_0000n)
    guest.write(PMEN, ON)
    expect([guest.dma(0x9000n), guest.dma(0x40_0000n)]).toEqual(['aborted', '0x400000'])
  })

  it('is not there with a limit below its base, or while EPM is 0', () => {
    const guest = guarded()
    guest.write(PLMLIMIT, 0x20_0000n)
    expect(guest.dma(0x40_0000n)).toBe('0x400000')
    guest.write(PLMLIMIT, 0x40_0000n)
    expect([guest.dma(0x40_0000n), guest.dma(0x60_0000n)]).toEqual(['aborted', '0x600000'])
    guest.write(PMEN, 0x7fff_ffffn)
    expect([guest.read(PMEN), guest.dma(0x40_0000n)]).toEqual([0n, '0x400000'])
  })

  it('may end at 4 GiB, and holds no address above', () => {
    const guest = guarded()
    guest.write(PLMBASE, 0xffff_ffffn)
    guest.write(PLMLIMIT, 0xffff_ffffn)
    expect([guest.read(PLMBASE), guest.read(PLMLIMIT)]).toEqual([0xffe0_0000n, 0xffe0_0000n])
    const answers = [0xffdf_ffffn, 0xffe0_0000n, 0xffff_ffffn, 0x1_0000_0000n].map((address) => guest.dma(address))
    expect(answers).toEqual(['0xffdfffff', 'aborted', 'aborted', '0x100000000'])
  })
})

describe('the high region', () => {
  it('is protected beside the low one, up to the host address width', () => {
    const guest = guarded()
    guest.write(PHMBASE, 0x1_0000_0000n, 8)
    guest.write(PHMLIMIT, 0x1_0020_0000n, 8)
    const answers = [0xffff_ffffn, 0x1_0000_0000n, 0x1_003f_ffffn, 0x1_0040_0000n].map((address) => guest.dma(address))
    expect(answers).toEqual(['0xffffffff', 'aborted', 'aborted', '0x100400000'])
    guest.write(PHMLIMIT, 0xffff_ffff_ffff_ffffn, 8)
    expect(guest.read(PHMLIMIT, 8)).toBe(0x000f_ffff_ffe0_0000n)
    expect([guest.dma(0x000f_ffff_ffff_ffffn), guest.dma(0x50_0000n)]).toEqual(['aborted', 'aborted'])
  })

  it('is not there with a limit below its base', () => {
    const guest = guarded()
    guest.write(PHMBASE, 0x2_0000_0000n, 8)
    guest.write(PHMLIMIT, 0x1_0000_0000n, 8)
    expect([guest.dma(0x2_0000_0000n), guest.dma(0x1_0000_0000n)]).toEqual(['0x200000000', '0x100000000'])
  })
})

describe('a unit', () => {
  const PLMR = 0x20
  const PHMR = 0x40
  const without = (bits: number) => ({ CAP: [(FULL.CAP[0] & ~bits) >>> 0, FULL.CAP[1]] as const })

  it('without regions has none of the registers', () => {
    const guest = guarded(without(PLMR | PHMR))
    for (let offset = PMEN; offset < 0x80; offset += 4) {
      guest.write(offset, 0xffff_ffffn)
      expect(guest.read(offset)).toBe(0n)
    }
    expect(guest.dma(0x40_0000n)).toBe('0x400000')
  })

  it('with one region has the registers of that one, and protects nothing with the others', () => {
    const low = guarded(without(PHMR))
    low.write(PHMBASE, 0xffff_ffff_ffffn, 8)
    low.write(PHMLIMIT, 0xffff_ffff_ffffn, 8)
    expect([low.read(PHMBASE, 8), low.read(PHMLIMIT, 8), low.read(PMEN)]).toEqual([0n, 0n, ON | 1n])
    expect([low.dma(0n), low.dma(0x40_0000n)]).toEqual(['0x0', 'aborted'])
    const high = guarded(without(PLMR))
    high.write(PHMBASE, 0x60_0000n, 8)
    high.write(PHMLIMIT, 0x60_0000n, 8)
    expect([high.read(PLMBASE), high.read(PLMLIMIT)]).toEqual([0n, 0n])
    expect([high.dma(0n), high.dma(0x40_0000n), high.dma(0x60_0000n)]).toEqual(['0x0', '0x400000', 'aborted'])
  })

  it('protects nothing after a reset', () => {
    const guest = guarded()
    guest.unit.reset()
    expect([guest.read(PMEN), guest.read(PLMBASE), guest.dma(0x40_0000n)]).toEqual([0n, 0n, '0x400000'])
  })

  it('tells of a leaf that a region cuts no more than is the same on all of it', () => {
    const guest = guarded()
    guest.startScalable()
    // A leaf of 1 GiB.
    guest.store(0x100000, 0x101000n | FS.TABLE)
    guest.store(0x101000, FS.PAGE | FS.PS)
    guest.firstStage(0, 2, 0x100000)
    expect([guest.dma(0x3f_f000n), guest.out.leafLg2]).toEqual(['0x3ff000', 21])
    expect(guest.dma(0x40_0000n)).toBe('aborted')
    guest.write(PMEN, 0n)
    expect([guest.dma(0x3f_f000n), guest.out.leafLg2]).toEqual(['0x3ff000', 30])
  })

  it('answers translation requests all the same, since they are no DMA, and blocks the translated one', () => {
    const guest = guarded()
    guest.startScalable(0xdn)
    guest.path(0x100000, 0x1000_0000n, 0x40_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, 0x100000)
    const tx = Object.assign(new Transaction(), { rid: SID, lo: 0x1000_0000, access: ACCESS.READ })
    tx.type = REQUEST.TRANSLATION
    guest.unit.translate(tx, guest.out)
    expect([guest.out.status, guest.out.address]).toEqual([STATUS.OK, 0x40_0000])
    tx.type = REQUEST.TRANSLATED
    tx.lo = 0x40_0000
    guest.unit.translate(tx, guest.out)
    expect([guest.out.status, guest.read(REG.FSTS)]).toEqual([STATUS.ABORTED, 0n])
  })

  it('explains why it blocks, and answers the same from its caches', () => {
    const guest = guarded()
    guest.startScalable()
    guest.path(0x100000, 0x1000_0000n, 0x40_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, 0x100000)
    expect(guest.explain(0x1000_0000n).at(-1)?.verdict).toBe('blocked: protected memory')
    expect(guest.dma(0x1000_0000n)).toBe('aborted')
    const tx = Object.assign(new Transaction(), { rid: SID, lo: 0x1000_0000, access: ACCESS.READ })
    expect([guest.unit.peek(tx, guest.out), guest.out.status]).toEqual([true, STATUS.ABORTED])
    expect(guest.unit.missing(tx)).toEqual([])
    expect(guest.explain(0x7000_0000n).at(-1)?.verdict).toMatch(/^blocked: 0x71/)
  })
})

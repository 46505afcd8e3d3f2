/** One test for each choice that the model makes where the manual is silent, unless it stands with its feature. */

import { describe, expect, it } from 'vitest'
import { ReservedMasks } from '../../hw-model/vtd/reserved.js'
import { FS, Guest, IQ, MODE, PASIDS, REG, SID, SS, STATUS_SLOT } from './guest.js'

const PAGE = 0x40_0000n
const FIRST = 0x100000
const SECOND = 0x110000
const OTHER_QUEUE = 0x20000
const QIE = 1n << 26n
const TE = 1n << 31n

describe('where the manual leaves a choice', () => {
  it('a unit without RID_PASID gives PASID 0 to requests without PASID, and refuses it on others', () => {
    const guest = new Guest({ ids: { ECAP: [0x84000fc3, 0x0011e99c] } })
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, FIRST)
    expect(guest.dma(PAGE)).toBe('0x200000')
    expect(guest.dma(PAGE, 'r', 0)).toBe('fault 0x48')
    guest.store(guest.context, 0x4009n, 1n, 0n, 0n)
    guest.stop()
    guest.start(MODE.SCALABLE)
    expect(guest.dma(PAGE)).toBe('fault 0x42')
  })

  it('AW is ignored in entries of a unit without second stage, and a switch makes it reserved', () => {
    const guest = new Guest({ preset: 'qemu-first-stage' })
    guest.startScalable(1n)
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.store(PASIDS, 0x49n, 2n, BigInt(FIRST))
    expect(guest.dma(PAGE)).toBe('0x200000')
    const { capabilities } = guest.unit
    expect(new ReservedMasks(capabilities, false).pasidEntry[0] & 0x1c).toBe(0)
    expect(new ReservedMasks(capabilities, true).pasidEntry[0] & 0x1c).toBe(0x1c)
  })

  it('legacy pass-through takes a supported AW that is not the largest, and no other', () => {
    const legacy = (aw: bigint): string => {
      const guest = new Guest({ preset: 'vtd-legacy' })
      guest.store(0x1000, 0x2001n, 0n)
      guest.store(0x2000 + SID * 16, 9n, 0x300n | aw)
      guest.start(MODE.LEGACY)
      return guest.dma(1n << 40n, 'w')
    }
    expect([0n, 1n, 2n, 3n].map(legacy)).toEqual(['fault 0x3', '0x10000000000', '0x10000000000', 'fault 0x3'])
  })

  it('legacy pass-through ignores its table pointer, but not what stands above the host address width in it', () => {
    const legacy = (pointer: bigint): string => {
      const guest = new Guest({ preset: 'vtd-legacy' })
      guest.store(0x1000, 0x2001n, 0n)
      guest.store(0x2000 + SID * 16, pointer | 9n, 0x302n)
      guest.start(MODE.LEGACY)
      return guest.dma(PAGE)
    }
    expect([legacy(0x8000_0000n), legacy(1n << 47n)]).toEqual(['0x400000', '0x400000'])
    expect([legacy(1n << 48n), legacy(1n << 63n)]).toEqual(['fault 0xb', 'fault 0xb'])
  })

  it('a PASID in legacy mode comes before everything else that is wrong with the request or the mode', () => {
    const guest = new Guest({ preset: 'vtd-full', ids: { VER: 0x80 } })
    guest.write(REG.RTADDR, 0x1080n, 8)
    guest.write(REG.GCMD, 3n << 30n)
    expect([guest.dma(PAGE), guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'rx', 1)]).toEqual([
      'fault 0x30',
      'fault 0x31',
      'fault 0x31',
    ])
  })

  it('a read in the interrupt range is an error only while translation is on', () => {
    const guest = new Guest()
    expect(guest.dma(0xfee00000n, 'r', -1, SID, 8)).toBe('0xfee00000')
    guest.startScalable()
    expect(guest.dma(0xfee00000n, 'r', -1, SID, 8)).toBe('fault 0x29')
  })

  it('the rights that are missing from a whole second-stage walk are found at its end, after reserved bits', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.path(SECOND, PAGE, 0x300000n | SS.W, SS.R)
    guest.secondStage(0, 3, SECOND)
    expect(guest.dma(PAGE)).toBe('fault 0x79')
    guest.path(SECOND, PAGE, 0x300000n | SS.W | (1n << 62n), SS.R)
    expect(guest.dma(PAGE)).toBe('fault 0x7a')
  })

  it('IQA written while the queue is on is taken when it goes on again', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.startQueue()
    guest.write(REG.IQA, BigInt(OTHER_QUEUE) | 0x800n, 8)
    guest.queue(IQ.wait(1n, BigInt(STATUS_SLOT)))
    expect([guest.load(STATUS_SLOT), guest.read(REG.FSTS)]).toEqual([1n, 0n])
    guest.store(OTHER_QUEUE, ...IQ.wait(2n, BigInt(STATUS_SLOT)), 0n, 0n)
    guest.write(REG.GCMD, TE)
    guest.write(REG.IQT, 0x20n, 8)
    guest.write(REG.GCMD, TE | QIE)
    expect([guest.load(STATUS_SLOT), guest.read(REG.IQH, 8)]).toEqual([2n, 0x20n])
  })

  it('a queue that goes off finishes what is in it first, and QIES falls then', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.startQueue()
    guest.queue(...Array.from({ length: 200 }, (_, i) => IQ.wait(BigInt(i + 1), BigInt(STATUS_SLOT))))
    guest.write(REG.GCMD, TE)
    while (guest.unit.hasWork) guest.unit.run()
    expect(guest.load(STATUS_SLOT)).toBe(200n)
    expect([guest.read(REG.GSTS) & QIE, guest.read(REG.IQH, 8)]).toEqual([0n, 0n])
  })
})

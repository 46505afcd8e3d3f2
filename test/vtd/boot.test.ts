/** How software brings a unit up: Linux's order, and that of kvm-unit-tests, which never masks GSTS. */

import { describe, expect, it } from 'vitest'
import { FS, Guest, IQ, MODE, PASIDS, QUEUE, REG, SID, SS, STATUS_SLOT } from './guest.js'

const TE = 1n << 31n
const SRTP = 1n << 30n
const WBF = 1n << 27n
const QIE = 1n << 26n
const IRE = 1n << 25n
const SIRTP = 1n << 24n
const PMEN = 0x64
const PRQ = { PQH: 0xc0, PQT: 0xc8, PQA: 0xd0, PECTL: 0xe0 } as const
const PAGE = 0x40_0000n

/** GCMD keeps no state of its own in Linux's hands: the persistent bits are a copy, a one-shot bit is added to them. */
class Linux {
  #gcmd = 0n
  #tail = 0n
  readonly #guest: Guest

  constructor(guest: Guest) {
    this.#guest = guest
  }

  /** Sets or clears a persistent bit and polls for it. */
  switch(bit: bigint, on: boolean): void {
    this.#gcmd = on ? this.#gcmd | bit : this.#gcmd & ~bit
    this.#guest.write(REG.GCMD, this.#gcmd)
    expect(this.#guest.read(REG.GSTS) & bit).toBe(on ? bit : 0n)
  }

  setRootTable(root: bigint): void {
    this.#guest.write(REG.RTADDR, root, 8)
    this.#guest.write(REG.GCMD, this.#gcmd | SRTP)
    expect(this.#guest.read(REG.GSTS) & SRTP).toBe(SRTP)
  }

  startQueue(): void {
    this.#guest.write(REG.IQT, 0n)
    this.#guest.write(REG.IQA, BigInt(QUEUE) | 0x801n, 8)
    this.switch(QIE, true)
    this.#tail = 0n
  }

  /** Descriptors and a wait behind them, which writes 2 into its slot. */
  submit(...descriptors: readonly (readonly [bigint, bigint?])[]): void {
    const guest = this.#guest
    guest.store(STATUS_SLOT, 0n)
    for (const [qw0, qw1 = 0n] of [...descriptors, IQ.wait(2n, BigInt(STATUS_SLOT))]) {
      guest.store(QUEUE + Number(this.#tail), qw0, qw1, 0n, 0n)
      this.#tail += 32n
    }
    guest.write(REG.IQT, this.#tail)
    expect([guest.load(STATUS_SLOT), guest.read(REG.FSTS)]).toEqual([2n, 0n])
  }

  /** FSTS, its records, and the queue, as they may have been left by somebody else. */
  clearFaults(): void {
    const guest = this.#guest
    for (let i = 0; i < 8; i++) {
      if (guest.read(REG.FRCD + i * 16 + 12) & (1n << 31n)) guest.write(REG.FRCD + i * 16 + 12, 1n << 31n)
    }
    guest.write(REG.FSTS, 0x83n)
  }
}

/** What a firmware leaves: DMA kept out of low memory, translation in abort mode, a fault on record. */
function firmware(guest: Guest): void {
  guest.write(0x68, 0n)
  guest.write(0x6c, 0x7fff_ffffn)
  guest.write(PMEN, 1n << 31n)
  guest.start(MODE.ABORT)
  expect(guest.dma(PAGE)).toBe('fault 0x33')
}

describe('Linux', () => {
  it('takes a unit over from its firmware, and ends with translation on and nothing pending', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    firmware(guest)
    const linux = new Linux(guest)
    // Neither register is all ones: there is a unit.
    expect(guest.read(8, 8) & guest.read(0x10, 8)).not.toBe(0xffff_ffff_ffff_ffffn)
    linux.clearFaults()
    expect(guest.read(REG.FSTS)).toBe(0n)
    linux.switch(TE, false)
    linux.switch(QIE, false)
    linux.startQueue()
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 32, 0x401dn, 0n, 0n, 0n)
    guest.store(0x4000, BigInt(PASIDS) | 1n)
    guest.path(0x100000, PAGE, 0x20_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, 0x100000)
    linux.setRootTable(0x1400n)
    linux.submit(IQ.contextsAll)
    linux.submit(IQ.pasidsAll)
    linux.submit(IQ.iotlbAll)
    guest.write(PMEN, guest.read(PMEN) & ~(1n << 31n))
    expect(guest.read(PMEN) & 1n).toBe(0n)
    for (const offset of [PRQ.PQH, PRQ.PQT]) guest.write(offset, 0n, 8)
    guest.write(PRQ.PQA, 0x30004n, 8)
    guest.write(PRQ.PECTL, 0n)
    guest.write(REG.FEDATA, 0x21n)
    guest.write(REG.FEADDR, 0xfee0_0000n)
    guest.write(REG.FECTL, 0n)
    linux.switch(TE, true)
    expect([guest.dma(PAGE), guest.read(REG.GSTS), guest.messages]).toEqual(['0x200000', TE | SRTP | QIE, []])
    // The first fault is the first record again, and is told.
    expect([guest.dma(0x7000n), guest.read(REG.FRCD, 8), guest.messages]).toEqual([
      'fault 0x71',
      0x7000n,
      [[0xfee0_0000, 0x21]],
    ])
  })

  it('sets the registers again after a suspend that lost them', () => {
    const guest = new Guest({ preset: 'vtd-full' })
    guest.startScalable()
    guest.path(0x100000, PAGE, 0x20_0000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, 0x100000)
    expect(guest.dma(PAGE)).toBe('0x200000')
    guest.unit.reset()
    expect([guest.dma(PAGE), guest.read(REG.GSTS)]).toEqual(['0x400000', 0n])
    const linux = new Linux(guest)
    linux.startQueue()
    linux.setRootTable(0x1400n)
    linux.submit(IQ.contextsAll, IQ.pasidsAll, IQ.iotlbAll)
    linux.switch(TE, true)
    expect(guest.dma(PAGE)).toBe('0x200000')
  })

  it('flushes write buffers where it must, in legacy mode, with nothing to wait for', () => {
    const guest = new Guest({ preset: 'vtd-legacy', ids: { CAP: [0x226f0616, 0x80d2078c] } })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, 0x110001n, 0x302n)
    guest.path(0x110000, PAGE, 0x30_0000n | SS.RW, SS.RW)
    const linux = new Linux(guest)
    linux.setRootTable(0x1000n)
    linux.switch(TE, true)
    guest.write(REG.GCMD, TE | WBF)
    expect([guest.read(REG.GSTS) & WBF, guest.dma(PAGE)]).toEqual([0n, '0x300000'])
  })
})

describe('kvm-unit-tests', () => {
  it('repeats every one-shot command that its status shows, which changes nothing', () => {
    const guest = new Guest({ preset: 'vtd-legacy' })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, 0x110001n, 0x302n)
    guest.path(0x110000, PAGE, 0x30_0000n | SS.RW, SS.RW)
    const command = (bit: bigint): bigint => {
      guest.write(REG.GCMD, guest.read(REG.GSTS) | bit)
      return guest.read(REG.GSTS)
    }
    expect((guest.read(0) >> 3n) & 0xfn).toBeGreaterThanOrEqual(1n)
    guest.write(REG.IQA, BigInt(QUEUE), 8)
    expect(command(QIE)).toBe(QIE)
    guest.write(REG.RTADDR, 0x1000n, 8)
    expect(command(SRTP)).toBe(QIE | SRTP)
    // Interrupt remapping is not offered; asking for it is in vain and hurts nobody.
    expect(command(SIRTP)).toBe(QIE | SRTP)
    expect(command(TE)).toBe(TE | QIE | SRTP)
    expect(guest.dma(PAGE)).toBe('0x300000')
    expect(command(IRE)).toBe(TE | QIE | SRTP)
    expect([guest.dma(PAGE), guest.read(REG.FSTS)]).toEqual(['0x300000', 0n])
  })
})

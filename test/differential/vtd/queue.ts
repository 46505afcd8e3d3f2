/**
 * Invalidations of an epoch, through the queue or through registers: they go in, indices, status and errors are
 * compared, and a stopped queue goes on. [VTD 6.5.1 Register-based, 6.5.2 Queued Invalidation Interface]
 */

import { REGISTER } from '../../../hw-model/vtd/index.js'
import { type Descriptor, WAIT, wait } from './descriptors.js'
import type { Pair } from './pair.js'
import { PLACE } from './places.js'

/** FSTS.IQE. */
const IQE = 0x10

/** GCMD. [VTD 11.4.4.1 Global Command Register] */
export const GCMD = { TE: 1n << 31n, SRTP: 1n << 30n, QIE: 1n << 26n } as const

/** Descriptors at most that one run replaces. */
const RECOVERIES = 16

/** IVA and the IOTLB register behind it. */
const IVA = 0xf0
const IOTLB = 0xf8

/** High words of CCMD and IOTLB that hardware answers with: ICC and CAIG, IVT and IAIG. */
const CCMD_DONE = 0x98000000
const IOTLB_DONE = 0x86000000

/** Whatever takes invalidations. */
export class Invalidations {
  readonly #pair: Pair
  readonly #isWide: boolean
  #usesQueue: boolean
  #bytes = 0
  #tail = 0
  #status = 0
  /** Bits that stay in GCMD. */
  #commands = 0n

  /** @param qs the queue's size as IQA says it */
  constructor(pair: Pair, usesQueue: boolean, isWide: boolean, qs: number) {
    this.#pair = pair
    this.#usesQueue = usesQueue
    this.#isWide = isWide
    if (usesQueue) this.start(qs)
  }

  /** Switches the queue on, empty and of this size. */
  start(qs: number): void {
    const pair = this.#pair
    this.#usesQueue = true
    this.#bytes = 4096 << qs
    this.#tail = 0
    pair.write(REGISTER.IQT, 8, 0n)
    pair.write(REGISTER.IQA, 8, BigInt(PLACE.QUEUE) | (this.#isWide ? 1n << 11n : 0n) | BigInt(qs))
    this.command(GCMD.QIE, true)
    pair.check(REGISTER.IQH, 'IQH')
  }

  /** Sets or clears a bit that stays, or does what happens once. */
  command(bit: bigint, isOn: boolean): void {
    if (bit === GCMD.SRTP) this.#pair.write(REGISTER.GCMD, 4, this.#commands | bit)
    else {
      this.#commands = isOn ? this.#commands | bit : this.#commands & ~bit
      this.#pair.write(REGISTER.GCMD, 4, this.#commands)
    }
    this.#pair.check(REGISTER.GSTS, 'GSTS')
  }

  /** Whether refused descriptors and waits can be tried. */
  get hasQueue(): boolean {
    return this.#usesQueue
  }

  /** Carries out invalidations, and waits for them. */
  run(descriptors: readonly Descriptor[], why = '', flags = WAIT.SW): void {
    if (!this.#usesQueue) {
      for (const descriptor of descriptors) this.#byRegister(descriptor, why)
      return
    }
    for (const descriptor of descriptors) this.put(descriptor, why)
    this.waitFor(flags)
  }

  /** A wait descriptor with a status of its own, and everything that follows from it. */
  waitFor(flags: bigint): void {
    const pair = this.#pair
    const slot = PLACE.STATUS + 8 * (++this.#status % 64)
    this.put(wait(flags, 0x10000 + this.#status, slot), 'wait')
    this.ring()
    this.recover()
    pair.checkWord(slot, 'wait status')
    if ((flags & WAIT.IF) === 0n) return
    pair.check(REGISTER.ICS, 'ICS')
    pair.check(REGISTER.IECTL, 'IECTL')
    pair.write(REGISTER.ICS, 4, 1n)
    pair.check(REGISTER.IECTL, 'IECTL')
  }

  /** Stores a descriptor behind the last. The upper half of a wide one is zero. */
  put(descriptor: Descriptor, why: string): void {
    const pair = this.#pair
    pair.say(() => `descriptor ${descriptor.map((word) => word.toString(16).padStart(16, '0')).join(' ')} ${why}`)
    this.#store(this.#tail, descriptor)
    this.#tail = (this.#tail + this.#step) % this.#bytes
  }

  /** Tells the unit where the tail is; the head and the faults are compared. */
  ring(skew = 0): void {
    this.#pair.write(REGISTER.IQT, 8, BigInt(this.#tail + skew))
    this.compare()
  }

  compare(): void {
    this.#pair.check(REGISTER.IQH, 'IQH')
    this.#pair.check(REGISTER.FSTS, 'FSTS')
    this.#pair.check(REGISTER.FECTL, 'FECTL')
  }

  /**
   * Software's way on: the bad descriptor becomes a wait, the tail is right, and the error is acknowledged. The reference
   * waits for another write of the tail. [VTD 6.5.2.11 Invalidation Queue Errors]
   */
  recover(): void {
    const pair = this.#pair
    // A unit that refuses whatever it is given has no business here: what differs is seen below.
    for (let tries = 0; (pair.read(REGISTER.FSTS) & IQE) !== 0 && tries < RECOVERIES; tries++) {
      this.#store(pair.read(REGISTER.IQH), wait(WAIT.FN, 0, 0))
      pair.write(REGISTER.IQT, 8, BigInt(this.#tail))
      pair.write(REGISTER.FSTS, 4, BigInt(IQE))
      pair.write(REGISTER.IQT, 8, BigInt(this.#tail))
      this.compare()
    }
  }

  /**
   * One descriptor that one unit refuses and the other takes: what they say of it is not compared.
   *
   * @param look called when both have done what they do
   */
  runUnlike(descriptor: Descriptor, look: () => void = () => undefined): void {
    const pair = this.#pair
    this.put(descriptor, 'refused by one')
    pair.write(REGISTER.IQT, 8, BigInt(this.#tail))
    look()
    if ((pair.read(REGISTER.FSTS) & IQE) !== 0) {
      this.#store(pair.read(REGISTER.IQH), wait(WAIT.FN, 0, 0))
    } else this.#store((this.#tail - this.#step + this.#bytes) % this.#bytes, wait(WAIT.FN, 0, 0))
    pair.write(REGISTER.FSTS, 4, BigInt(IQE))
    pair.write(REGISTER.IQT, 8, BigInt(this.#tail))
    this.compare()
  }

  /** Leaves the queue off, which wants it empty and a wait behind. */
  finish(): void {
    if (!this.#usesQueue) return
    this.run([])
    this.command(GCMD.QIE, false)
    this.#pair.check(REGISTER.IQH, 'IQH')
    this.#usesQueue = false
  }

  get #step(): number {
    return this.#isWide ? 32 : 16
  }

  #store(at: number, descriptor: Descriptor): void {
    const words = [...descriptor, 0n, 0n, 0n].slice(0, this.#step / 8)
    words.forEach((word, i) => {
      this.#pair.poke(PLACE.QUEUE + at + 8 * i, word, 'queue')
    })
  }

  /** A descriptor of type 1 or 2 as registers say it. [VTD 11.4.6 Invalidation registers] */
  #byRegister([lo, hi]: Descriptor, why: string): void {
    const pair = this.#pair
    const g = (lo >> 4n) & 3n
    const did = (lo >> 16n) & 0xffffn
    pair.say(() => `by register, ${why}`)
    if ((lo & 0xfn) === 1n) {
      const who = did | (((lo >> 32n) & 0xffffn) << 16n) | (((lo >> 48n) & 3n) << 32n)
      pair.write(REGISTER.CCMD, 8, (1n << 63n) | (g << 61n) | who)
      // The reference makes a domain's invalidation a global one, and says so.
      pair.check(REGISTER.CCMD + 4, 'CCMD', g === 2n ? 1 << 31 : CCMD_DONE)
      return
    }
    pair.write(IVA, 8, hi)
    pair.write(IOTLB, 8, (1n << 63n) | (g << 60n) | (did << 32n))
    pair.check(IOTLB + 4, 'IOTLB', IOTLB_DONE)
  }
}

/**
 * Invalidations of device TLBs: what the device is told, and the waits that pend until it has answered.
 * [VTD 6.5.2.5 Device-TLB Invalidate Descriptor] [VTD 6.5.2.6] [VTD 4.3 Handling of Device-TLB Invalidations]
 */

import type { AtcInvalidation, DevicePort } from '../../hw-model/port.js'
import { NO_PASID } from '../../hw-model/port.js'
import type { Driver } from './guest-vtd-driver.js'
import type { Rng } from './rng.js'
import { Disagreement, hex } from './step.js'

const FSTS = 0x34
const ITE = 0x40
const IQERCD = 0xb0

/** What a device is to be told. */
interface Order {
  readonly sid: number
  readonly pasid: number | undefined
  readonly isForAll: boolean
  readonly start: bigint
  readonly sizeLg2: number
}

const ones = (width: number): bigint => (1n << BigInt(width)) - 1n

/** Devices that answer at once or when they are asked to. */
export class LateDevices implements Pick<DevicePort, 'invalidateAtc'> {
  readonly heard: { readonly order: Order; readonly tag: number; readonly isLate: boolean }[] = []
  readonly #rng: Rng

  constructor(rng: Rng) {
    this.#rng = rng
  }

  invalidateAtc({ tag, rid, pasid, allPasids, lo, hi, sizeLg2 }: AtcInvalidation): boolean {
    const isLate = this.#rng.chance(0.5)
    const start = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
    const order = { sid: rid, pasid: pasid === NO_PASID ? undefined : pasid, isForAll: allPasids, start, sizeLg2 }
    this.heard.push({ order, tag, isLate })
    return !isLate
  }
}

/** Sends invalidations and answers them. */
export class DeviceTlbs {
  readonly #rng: Rng
  readonly #driver: Driver
  readonly #devices: LateDevices
  readonly #sids: readonly number[]
  readonly #count: (name: string) => void

  constructor(rng: Rng, driver: Driver, devices: LateDevices, sids: readonly number[], count: (name: string) => void) {
    this.#rng = rng
    this.#driver = driver
    this.#devices = devices
    this.#sids = sids
    this.#count = count
  }

  /** A few invalidations, a wait, and what devices say to it. PASIDs have descriptors in scalable mode alone. */
  play(hasPasids: boolean): void {
    const rng = this.#rng
    const orders = Array.from({ length: rng.between(1, 3) }, () => this.#order(hasPasids))
    for (const order of orders) this.#send(order)
    const answer = this.#driver.waitWithoutLooking()
    const heard = this.#devices.heard.splice(0)
    const told = (all: readonly Order[]): string => all.map(tell).join('; ')
    if (told(orders) !== told(heard.map(({ order }) => order))) {
      throw new Disagreement(`devices hear [${told(heard.map(({ order }) => order))}], not [${told(orders)}]`)
    }
    const late = heard.filter(({ isLate }) => isLate)
    for (const [i, { tag, order }] of late.entries()) {
      if (answer.isThere()) throw new Disagreement('a wait is complete before the device TLBs are')
      if (rng.chance(0.05)) {
        this.#timeOut(tag, order.sid, late.slice(i + 1))
        return
      }
      if (this.#driver.unit.ats?.completed(tag) !== true) throw new Disagreement(`tag ${tag} is not outstanding`)
    }
    while (this.#driver.unit.hasWork) this.#driver.unit.run()
    if (!answer.isThere()) throw new Disagreement('a wait is not complete though the device TLBs are')
    this.#count('device TLBs invalidated')
  }

  /** Nobody answers: the wait is lost, and the queue goes on when ITE is cleared. [VTD 6.5.2.11 ITE] */
  #timeOut(tag: number, sid: number, others: readonly { readonly tag: number }[]): void {
    const driver = this.#driver
    driver.unit.ats?.timedOut(tag)
    for (const other of others) driver.unit.ats?.completed(other.tag)
    const [status] = driver.unit.readRegister(FSTS, 4)
    if ((status & ITE) === 0) throw new Disagreement(`FSTS is ${hex(status)} after a time-out`)
    const found = Number((driver.read(IQERCD) >> 32n) & 0xffffn)
    if (found !== sid) throw new Disagreement(`IQERCD.ITESID is ${hex(found)}, not ${hex(sid)}`)
    driver.faults.otherEvent((status & 3) !== 0)
    driver.write(FSTS, BigInt(ITE))
    while (driver.unit.hasWork) driver.unit.run()
    driver.wait()
    this.#count('device TLB timed out')
  }

  #order(hasPasids: boolean): Order {
    const rng = this.#rng
    const sizeLg2 = rng.pick([12, 12, 13, 14, 21, 30, 40, 63, 64])
    const start = (rng.bits(64) >> BigInt(sizeLg2)) << BigInt(sizeLg2)
    const sid = rng.chance(0.9) ? rng.pick(this.#sids) : rng.int(0x10000)
    const isForAll = hasPasids && rng.chance(0.2)
    return { sid, pasid: hasPasids && rng.chance(0.7) ? rng.int(2 ** 20) : undefined, isForAll, start, sizeLg2 }
  }

  /** The lowest zero bit tells the size. [VTD 4.2.3] */
  #send({ sid, pasid, isForAll, start, sizeLg2 }: Order): void {
    const address = sizeLg2 === 12 ? start : start | (ones(sizeLg2 - 1) & ~0xfffn)
    const isRange = sizeLg2 > 12 ? 1n : 0n
    const pending = this.#rng.bits(5)
    if (pasid === undefined && !isForAll) {
      this.#driver.put(3n | (pending << 16n) | (BigInt(sid) << 32n), address | isRange)
      return
    }
    const low = 8n | (pending << 4n) | (BigInt(sid) << 16n) | (BigInt(pasid ?? 0) << 32n)
    this.#driver.put(low, address | (isRange << 11n) | BigInt(isForAll))
  }
}

const tell = ({ sid, pasid, isForAll, start, sizeLg2 }: Order): string =>
  `${hex(sid)}/${isForAll ? 'all' : (pasid ?? 'none')} ${hex(start)} of ${sizeLg2} bits`

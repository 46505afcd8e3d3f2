/**
 * Invalidations on their way. The unit's own caches forget first, and are seen to have. Then whoever plays a device is
 * asked to forget, and only when all have answered, or have not in time, are the descriptors for devices queued, which
 * complete at once: the queue is everybody's, and never waits for a client. [VTD 6.5.2.9, 6.5.2.11]
 */

import type { Completion, DeviceDriver, UnitListener } from '../../core/driver.js'
import type { Descriptor, DeviceFlush, Flush } from './descriptors.js'
import type { DeviceSide } from './device-side.js'
import type { VtdHardware } from './hardware.js'

/** Where devices are found, and who plays them. */
export interface Listeners {
  readonly listener?: UnitListener
  deviceOf(sid: number): DeviceDriver | undefined
}

/** Carries out invalidations of one unit and of the devices in front of it. */
export class Flusher {
  readonly #hardware: VtdHardware
  readonly #side: DeviceSide
  readonly #listeners: Listeners

  constructor(hardware: VtdHardware, side: DeviceSide, listeners: Listeners) {
    this.#hardware = hardware
    this.#side = side
    this.#listeners = listeners
  }

  /** In any order, but those of devices last. */
  run(flushes: readonly Flush[]): Completion {
    this.#hardware.submit(flushes.filter(isUnits))
    return this.#runOfDevices(flushes)
  }

  /** One after another: each of the unit is seen done before the next. */
  runEach(flushes: readonly Flush[]): Completion {
    this.#hardware.submitEach(flushes.filter(isUnits))
    return this.#runOfDevices(flushes)
  }

  #runOfDevices(flushes: readonly Flush[]): Completion {
    const asked = flushes.filter((flush) => !isUnits(flush)) as readonly DeviceFlush[]
    const answers = asked.map((flush) => this.#ask(flush))
    if (answers.some((answer) => answer !== undefined)) {
      return Promise.all(answers).then((done) => this.#finish(asked, done))
    }
    this.#hardware.submit(asked.map(({ words }) => words))
    return undefined
  }

  /** What was not answered fails alone, so that nothing else fails with it. */
  #finish(asked: readonly DeviceFlush[], answers: readonly (boolean | undefined)[]): void {
    const isLate = (_: DeviceFlush, i: number): boolean => answers[i] === false
    this.#hardware.submit(asked.filter((one, i) => !isLate(one, i)).map(({ words }) => words))
    for (const { words } of asked.filter(isLate)) {
      this.#hardware.submitUnanswered(words, (queue) => this.#side.withoutAnswer(queue))
    }
  }

  #ask({ sid, pasid, allPasids, block }: DeviceFlush): Promise<boolean> | undefined {
    const { listener } = this.#listeners
    const device = this.#listeners.deviceOf(sid)
    if (listener === undefined || device === undefined) return undefined
    const address = BigInt.asUintN(64, block.page << 12n)
    return listener.invalidate(device, {
      pasid,
      allPasids,
      lo: Number(address & 0xffffffffn),
      hi: Number(address >> 32n),
      sizeLg2: block.am + 12,
    })
  }
}

const isUnits = (flush: Flush): flush is Descriptor => flush instanceof Int32Array

/**
 * What the devices keep themselves: translations that they asked for in the middle of whatever the driver does. When an
 * operation is over, each that was not taken back is what the plain model says now.
 */

import { ACCESS, REQUEST, STATUS } from '../../../hw-model/port.js'
import type { AtsInvalidation, DeviceDriver, UnitListener } from '../../../server/core/driver.js'
import { judge } from '../judge-smmuv3.js'
import { fits, textOf } from './answers.js'
import { bump, type Counts } from './counts.js'
import { tell } from './expected.js'
import { halves, type Machine } from './machine.js'
import { answerOf } from './meaning.js'
import { NOW, NOW_STALE } from './model.js'
import type { Probe } from './oracle.js'

/** Translations that all devices keep together; the oldest goes first. */
const KEPT = 24
const RIGHTS = ACCESS.READ | ACCESS.WRITE

/** A page that a device was told of. */
interface Kept {
  readonly probe: Probe
  readonly frame: number
  readonly rights: number
  /** It came while the operation under way was. */
  isNew: boolean
}

/** The devices' side of ATS. */
export class Atc implements UnitListener {
  #kept: Kept[] = []

  constructor(
    readonly machine: Machine,
    readonly counts: Counts,
  ) {}

  /** Asks for a page. What is wrong with the answer, where there are no caches; or undefined. */
  request(probe: Probe): string | undefined {
    const { machine, counts } = this
    const access = { ...probe.access, kind: 'request' as const }
    const expected = machine.choice.isCached ? undefined : machine.oracle.askOnce(access)
    const { lo, hi } = halves(probe.page, probe.offset)
    const asks = probe.write ? RIGHTS : ACCESS.READ
    machine.sendAs(probe.sid, probe.pasid, lo, hi, asks, REQUEST.TRANSLATION)
    const { outcome } = machine
    const wrong = expected && judge(expected, outcome, machine.records())
    machine.consumeEvents()
    if (wrong !== undefined) return `translation request: ${tell(probe)} is not as the reference has it: ${wrong}`
    const rights = outcome.status === STATUS.OK ? outcome.rights & RIGHTS : 0
    bump(counts.met, rights > 0 ? 'ATS: granted' : 'ATS: nothing granted')
    if (rights === 0) return undefined
    this.#kept.push({ probe, frame: Math.floor(outcome.address / 4096), rights, isNew: true })
    if (this.#kept.length > KEPT) this.#kept.shift()
    return undefined
  }

  /** The operation is over. @param isDone it was not refused: what was told in one that was is taken back by nobody */
  audit(isDone: boolean): string | undefined {
    if (!isDone) this.#kept = this.#kept.filter(({ isNew }) => !isNew)
    for (const kept of this.#kept) {
      kept.isNew = false
      const wrong = this.#wrongWith(kept)
      if (wrong !== undefined) return wrong
    }
    return undefined
  }

  #wrongWith({ probe, frame, rights }: Kept): string | undefined {
    const { facts, devices } = this.machine
    for (const write of [false, true]) {
      if ((rights & (write ? ACCESS.WRITE : ACCESS.READ)) === 0) continue
      const answers = [NOW, NOW_STALE].map((view) =>
        answerOf(facts, devices[probe.device], view, probe.pasid, probe.page, 0, write),
      )
      if (answers.some((answer) => fits(frame * 4096, answer))) continue
      const says = `the model says ${answers.map(textOf).join(', ')}`
      return `the device of ${tell(probe)} still knows the page as 0x${frame.toString(16)}, ${write ? 'w' : 'r'}: ${says}`
    }
    return undefined
  }

  invalidate(device: DeviceDriver, { pasid, allPasids, lo, hi, sizeLg2 }: AtsInvalidation): undefined {
    const first = hi * 2 ** 20 + Math.floor(lo / 4096)
    const pages = 2 ** (sizeLg2 - 12)
    bump(this.counts.met, 'ATS: invalidation')
    this.#kept = this.#kept.filter(({ probe }) => {
      const isHit = probe.sid === device.rid && probe.page >= first && probe.page < first + pages
      return !(isHit && (allPasids ? probe.pasid >= 0 : probe.pasid === pasid))
    })
    return undefined
  }

  pageFault(): boolean {
    return false
  }

  viommuEvent(): boolean {
    return false
  }

  ended(): void {}

  respondToPages(): void {}
}

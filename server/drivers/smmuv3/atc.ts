/**
 * Invalidation of what devices keep themselves: the commands, and how they are carried out. The queue never waits for a
 * client: who holds translations is asked first, and the command is given when it was answered. [SMMU 3.9.1 ATS Interface]
 */

import type { AtcInvalidation } from '../../../hw-model/port.js'
import { CMD_ATC_INV, OPCODE, SIZE_ALL, type SmmuV3 } from '../../../hw-model/smmuv3/index.js'
import { type AtsInvalidation, type Completion, Refusal } from '../../core/driver.js'
import type { Host } from './host.js'
import type { FlushRange } from './invalidation.js'
import type { CommandRing } from './queues.js'

const PAGE_BYTES = 4096
const PAGE_LG2 = 12

/** Commands for one change beyond which a device, or the slots that it concerns, forget everything. */
export const COMMANDS_A_DEVICE = 512

/** Who keeps translations. */
export interface AtcOwner {
  readonly rid: number
  /** ATS is on in its STE. */
  readonly hasAtsOn: boolean
  readonly maxPasids: number
  /** PASIDs that may be another's than the rest of the device. */
  readonly mediatedPasids: readonly number[]
}

type Pages = Pick<FlushRange, 'page' | 'pages'>

/** Everything that was obtained under a PASID, or, for -1, without one. */
export function forgetWhole(sid: number, pasid: number): Int32Array {
  const command = commandTo(sid, pasid)
  CMD_ATC_INV.Size.set(command, 0, SIZE_ALL)
  return command
}

/** Everything that a device holds. */
export const forgetAll = ({ rid, maxPasids }: AtcOwner): Int32Array[] => {
  const plain = forgetWhole(rid, -1)
  if (maxPasids === 0) return [plain]
  const every = forgetWhole(rid, 0)
  CMD_ATC_INV.G.set(every, 0, 1)
  return [plain, every]
}

/** A range under one PASID, -1 for none: the smallest span of a power of two that covers it. */
export function forgetRange(sid: number, pasid: number, { page, pages }: Pages): Int32Array {
  const command = commandTo(sid, pasid)
  const lg2 = spanOf(page, page + pages - 1)
  CMD_ATC_INV.Size.set(command, 0, lg2)
  CMD_ATC_INV.Address.set(command, 0, (page - (page % 2 ** lg2)) * PAGE_BYTES)
  return command
}

/** A range under every PASID, and without one. */
export const forgetRangeOfAll = ({ rid, maxPasids }: AtcOwner, range: FlushRange): Int32Array[] => {
  const plain = forgetRange(rid, -1, range)
  if (maxPasids === 0) return [plain]
  const every = forgetRange(rid, 0, range)
  CMD_ATC_INV.G.set(every, 0, 1)
  return [plain, every]
}

function commandTo(sid: number, pasid: number): Int32Array {
  const command = new Int32Array(CMD_ATC_INV.$.words)
  CMD_ATC_INV.Opcode.set(command, 0, OPCODE.ATC_INV)
  CMD_ATC_INV.SID.set(command, 0, sid)
  if (pasid < 0) return command
  CMD_ATC_INV.SSV.set(command, 0, 1)
  CMD_ATC_INV.SSID.set(command, 0, pasid)
  return command
}

/** log2 of the pages of the smallest span that has both. */
function spanOf(first: number, last: number): number {
  let lg2 = 0
  while (Math.floor(first / 2 ** lg2) !== Math.floor(last / 2 ** lg2)) lg2++
  return lg2
}

/** What a command asks of its device, as the unit will put it. [SMMU 4.5.1 CMD_ATC_INV] */
function asked(command: Int32Array, hasPasids: boolean): AtsInvalidation {
  const size = CMD_ATC_INV.Size.get(command, 0)
  const pasid = hasPasids && CMD_ATC_INV.SSV.get(command, 0) === 1 ? CMD_ATC_INV.SSID.get(command, 0) : -1
  const lo = CMD_ATC_INV.Address.lo(command, 0) >>> 0
  const hi = CMD_ATC_INV.Address.hi(command, 0) >>> 0
  const sizeLg2 = PAGE_LG2 + size
  return {
    pasid,
    allPasids: pasid >= 0 && CMD_ATC_INV.G.get(command, 0) === 1,
    lo: lo - (lo % 2 ** sizeLg2),
    hi: sizeLg2 <= 32 ? hi : hi - (hi % 2 ** (sizeLg2 - 32)),
    sizeLg2,
  }
}

/** Why a call is refused after all whose last entry is this one. Linux counts all the others of its batch as done. */
export const tooLate = (index: number): Refusal =>
  new Refusal('ETIMEDOUT', 'a device did not complete the invalidation in time; it is blocked until ResetDevice', {
    index,
  })

/** The device TLBs behind one unit. */
export class Atcs {
  /** Invalidations that nobody answered in time. */
  timeouts = 0
  readonly #unit: SmmuV3
  /** Whether devices answer the commands that are being given. */
  #isAnswered = true
  /** The unit's names of what it waits for in vain. */
  #silent: number[] = []

  constructor(unit: SmmuV3) {
    this.#unit = unit
  }

  /**
   * Asks the devices to forget, and then carries the commands out. The unit's own caches have forgotten already.
   *
   * @param onLate called, before the end, if a device did not answer in time
   */
  run(host: Host, commands: readonly Int32Array[], onLate: () => void = () => undefined): Completion {
    // Through a unit that is switched off nobody reaches what he holds a translation of.
    if (commands.length === 0 || host.errors.failure !== undefined) return undefined
    const answers = commands.map((command) => this.#ask(host, command))
    if (answers.every((answer) => answer === undefined)) {
      this.#give(host.commands, commands, true)
      return undefined
    }
    return Promise.all(answers).then((results) => {
      const inTime = commands.filter((_, i) => results[i] !== false)
      const late = commands.filter((_, i) => results[i] === false)
      this.#give(host.commands, inTime, true)
      this.#give(host.commands, late, false)
      if (late.length > 0) onLate()
    })
  }

  /** It is blocked when its time is up, not when the last of the others has answered: it may be reset between. */
  #ask(host: Host, command: Int32Array): Promise<boolean> | undefined {
    const device = host.devices.get(CMD_ATC_INV.SID.get(command, 0))
    const answer = device && host.driver.listener?.invalidate(device, asked(command, host.features.ssidSize !== 0))
    return answer?.then((isDone) => {
      if (!isDone) device?.block()
      return isDone
    })
  }

  /** A device's answer to the unit; see `DevicePort.invalidateAtc`. */
  invalidated({ tag }: AtcInvalidation): boolean {
    if (!this.#isAnswered) this.#silent.push(tag)
    return this.#isAnswered
  }

  /**
   * The queue stands still: what it waits for will not come, and the unit is told so. Its SYNC fails then, and is given
   * again when the error is acknowledged. [SMMU 7.1 Command queue errors] [SMMU 3.9.1.4 ATS Invalidation timeout]
   *
   * @returns whether that was the reason
   */
  giveUp(): boolean {
    const silent = this.#silent
    this.#silent = []
    this.timeouts += silent.length
    for (const tag of silent) this.#unit.ats?.timedOut(tag)
    return silent.length > 0
  }

  #give(ring: CommandRing, commands: readonly Int32Array[], isAnswered: boolean): void {
    if (commands.length === 0) return
    this.#isAnswered = isAnswered
    try {
      for (const command of commands) ring.push(command)
      ring.sync()
    } finally {
      this.#isAnswered = true
    }
  }
}

/**
 * Invalidation of what devices keep themselves: the commands, and how they are carried out. The queue never waits for a
 * client: who holds translations is asked first, and the command is given when it was answered. [SMMU 3.9.1 ATS Interface]
 */

import { pack } from '../../../hw-model/bits/layout.js'
import type { AtcInvalidation } from '../../../hw-model/port.js'
import {
  CERROR,
  CMD_ATC_INV,
  CMDQ_CONS,
  GERROR,
  OFFSET,
  OPCODE,
  SIZE_ALL,
  type SmmuV3,
} from '../../../hw-model/smmuv3/index.js'
import type { AtsInvalidation, Completion } from '../../core/driver.js'
import type { Host } from './host.js'
import type { FlushRange } from './invalidation.js'
import type { CommandRing } from './queues.js'
import type { Registers } from './registers.js'

const PAGE_BYTES = 4096
const PAGE_LG2 = 12

/** Who keeps translations. */
export interface AtcOwner {
  readonly rid: number
  /** ATS is on in its STE. */
  readonly hasAtsOn: boolean
  readonly maxPasids: number
}

type Pages = Pick<FlushRange, 'page' | 'pages'>

/** Everything that was obtained under a PASID, or, for -1, without one. */
export const forgetWhole = (sid: number, pasid: number): Int32Array =>
  pack(CMD_ATC_INV, { ...target(sid, pasid), Size: SIZE_ALL })

/** Everything that a device holds. */
export const forgetAll = ({ rid, maxPasids }: AtcOwner): Int32Array[] => {
  const plain = forgetWhole(rid, -1)
  return maxPasids === 0 ? [plain] : [plain, pack(CMD_ATC_INV, { ...target(rid, 0), G: 1, Size: SIZE_ALL })]
}

/** A range under one PASID, -1 for none: the smallest span of a power of two that covers it. */
export function forgetRange(sid: number, pasid: number, { page, pages }: Pages): Int32Array {
  const [lg2, first] = spanOf(page, pages)
  return pack(CMD_ATC_INV, { ...target(sid, pasid), Size: lg2, Address: first * PAGE_BYTES })
}

/** A range under every PASID, and without one. */
export const forgetRangeOfAll = ({ rid, maxPasids }: AtcOwner, range: FlushRange): Int32Array[] => {
  const plain = forgetRange(rid, -1, range)
  if (maxPasids === 0) return [plain]
  const every = forgetRange(rid, 0, range)
  CMD_ATC_INV.G.set(every, 0, 1)
  return [plain, every]
}

const target = (sid: number, pasid: number) => ({
  Opcode: OPCODE.ATC_INV,
  SID: sid,
  ...(pasid < 0 ? {} : { SSV: 1, SSID: pasid }),
})

function spanOf(page: number, pages: number): readonly [lg2: number, first: number] {
  const last = page + pages - 1
  let lg2 = 0
  while (Math.floor(page / 2 ** lg2) !== Math.floor(last / 2 ** lg2)) lg2++
  return [lg2, Math.floor(page / 2 ** lg2) * 2 ** lg2]
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

/** The device TLBs behind one unit. */
export class Atcs {
  /** Invalidations that nobody answered in time. */
  timeouts = 0
  readonly #unit: SmmuV3
  readonly #registers: Registers
  /** Whether devices answer the commands that are being given. */
  #isAnswered = true
  /** The unit's names of what it waits for in vain. */
  #silent: number[] = []

  constructor(unit: SmmuV3, registers: Registers) {
    this.#unit = unit
    this.#registers = registers
  }

  /** Asks the devices to forget, and then carries the commands out. The unit's own caches have forgotten already. */
  run(host: Host, commands: readonly Int32Array[]): Completion {
    if (commands.length === 0) return undefined
    const answers = commands.map((command) => {
      const device = host.devices.get(CMD_ATC_INV.SID.get(command, 0))
      return device && host.driver.listener?.invalidate(device, asked(command, host.features.ssidSize !== 0))
    })
    if (answers.every((answer) => answer === undefined)) {
      this.#give(host.commands, commands, true)
      return undefined
    }
    return Promise.all(answers).then((results) => {
      const inTime = commands.filter((_, i) => results[i] !== false)
      const late = commands.filter((_, i) => results[i] === false)
      this.#give(host.commands, inTime, true)
      this.#give(host.commands, late, false)
    })
  }

  /** A device's answer to the unit; see `DevicePort.invalidateAtc`. */
  invalidated({ tag }: AtcInvalidation): boolean {
    if (!this.#isAnswered) this.#silent.push(tag)
    return this.#isAnswered
  }

  /**
   * The queue stands still: what it waits for will not come, so its SYNC fails. It is given again, as Linux does it, when
   * the error is acknowledged. [SMMU 7.1 Command queue errors] [SMMU 3.9.1.4 ATS Invalidation timeout]
   *
   * @returns whether that was the reason
   */
  recover(): boolean {
    const silent = this.#silent
    this.#silent = []
    this.timeouts += silent.length
    for (const tag of silent) this.#unit.ats?.timedOut(tag)
    const registers = this.#registers
    const cons = Int32Array.of(registers.read32(OFFSET.CMDQ_CONS))
    const errors = registers.read32(OFFSET.GERROR) ^ registers.read32(OFFSET.GERRORN)
    const hasFailed = GERROR.CMDQ_ERR.get(Int32Array.of(errors), 0) === 1
    if (!hasFailed || CMDQ_CONS.ERR.get(cons, 0) !== CERROR.ATC_INV_SYNC) return silent.length > 0
    registers.write32(OFFSET.GERRORN, registers.read32(OFFSET.GERROR))
    return true
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

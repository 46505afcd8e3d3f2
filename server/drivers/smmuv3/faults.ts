/**
 * What the unit's records mean to those above: stalled requests and page requests that somebody may answer, and events
 * that are a guest's. What nobody takes is the host's alone. [SMMU 3.12.2 Stall model] [SMMU 8 Page request queue]
 */

import { ACCESS, NO_PASID } from '../../../hw-model/port.js'
import {
  CMD_PRI_RESP,
  CMD_RESUME,
  CMD_STALL_TERM,
  EVENT,
  EVENT_RECORD,
  F_TRANSLATION,
  OPCODE,
  PRI_ENTRY,
  type SmmuV3,
} from '../../../hw-model/smmuv3/index.js'
import type { PageFault, UnitListener } from '../../core/driver.js'
import type { SmmuDevice } from './device.js'
import type { CommandRing } from './queues.js'

/** [uAPI IOMMU_VEVENTQ_TYPE_ARM_SMMUV3] */
const VEVENTQ_TYPE_ARM_SMMUV3 = 1

/** Events that somebody above may be told. Linux brings no others to a fault queue or to a guest. */
const TOLD: ReadonlySet<number> = new Set([
  EVENT.C_BAD_STE,
  EVENT.F_STREAM_DISABLED,
  EVENT.C_BAD_SUBSTREAMID,
  EVENT.C_BAD_CD,
  EVENT.F_TRANSLATION,
  EVENT.F_ADDR_SIZE,
  EVENT.F_ACCESS,
  EVENT.F_PERMISSION,
])

/** CMD_PRI_RESP.Resp. [SMMU 4.5.2 CMD_PRI_RESP] */
const PRI_RESP = { INVALID: 1, SUCCESS: 2 } as const

/** Whose an event is: the guest's, in a vEVENTQ; a fault queue's reader's, who answers it; or the operator's. */
export type Taker = 'guest' | 'fault-queue' | 'operator'

/** Something of a device's that waits for an answer: `PageFault.waits`. */
export interface Waiting {
  readonly kind: 'stall' | 'page'
  readonly group: number
  /** -1: none. */
  readonly pasid: number
}

/** What waits of one device, by its kind. */
export type WaitingOfDevice = Readonly<Record<Waiting['kind'], Set<Waiting>>>

/** The way from the records of one unit to its listener, and back. */
export class Faults {
  readonly #unit: SmmuV3
  readonly #commands: CommandRing
  readonly #listener: () => UnitListener | undefined
  readonly #countOwners: () => number

  constructor(
    unit: SmmuV3,
    commands: CommandRing,
    listener: () => UnitListener | undefined,
    countOwners: () => number,
  ) {
    this.#unit = unit
    this.#commands = commands
    this.#listener = listener
    this.#countOwners = countOwners
  }

  /**
   * Brings an event record to whom it concerns. What nobody takes is the operator's: a stall that is aborted for want of
   * a reader, stage 2, which a guest knows nothing of, an event of a guest that has no queue for it.
   */
  event(device: SmmuDevice, record: Int32Array): Taker {
    const event = EVENT_RECORD.ID.get(record, 0)
    if (!TOLD.has(event)) return 'operator'
    if (F_TRANSLATION.Stall.get(record, 0) === 1) return this.#stalled(device, record) ? 'fault-queue' : 'operator'
    const { virtual } = device
    if (virtual === null || F_TRANSLATION.S2.get(record, 0) === 1) return 'operator'
    const words = record.slice()
    // A name may be wider than a StreamID; the record has its low half, as Linux puts it there.
    EVENT_RECORD.SID.set(words, 0, Number(BigInt.asUintN(32, virtual.virtId)))
    const unsigned = Array.from(words, (word) => word >>> 0)
    const name = this.#unit.faultName(event)
    const isKept = this.#listener()?.viommuEvent(virtual.viommu, VEVENTQ_TYPE_ARM_SMMUV3, unsigned, name)
    return isKept === true ? 'guest' : 'operator'
  }

  /** Brings an entry of the PRI queue to whom it concerns. A stop marker asks for nothing, and has no answer. */
  page(device: SmmuDevice, entry: Int32Array): Taker {
    const has = (field: 'R' | 'W' | 'X' | 'Priv' | 'Last' | 'SSV'): boolean => PRI_ENTRY[field].get(entry, 0) === 1
    if (!has('R') && !has('W') && has('SSV') && has('Last')) return 'fault-queue'
    const pasid = has('SSV') ? PRI_ENTRY.SubstreamID.get(entry, 0) : NO_PASID
    const group = PRI_ENTRY.PRGIndex.get(entry, 0)
    const waits: Waiting = { kind: 'page', group, pasid }
    const fault: PageFault = {
      pasid,
      group,
      isLast: has('Last'),
      access:
        (has('R') ? ACCESS.READ : 0) |
        (has('W') ? ACCESS.WRITE : 0) |
        (has('X') ? ACCESS.EXECUTE : 0) |
        (has('Priv') ? ACCESS.PRIVILEGED : 0),
      address: addressOf(PRI_ENTRY.PageAddress.lo(entry, 0), PRI_ENTRY.PageAddress.hi(entry, 0)),
      waits,
    }
    if (fault.isLast) device.waits.page.add(waits)
    if (this.#isTaken(device, fault)) return 'fault-queue'
    if (fault.isLast) this.answer(device, waits, false)
    return 'operator'
  }

  /** Ends what waits; nothing where it does no more. */
  answer(device: SmmuDevice, waits: Waiting, isSuccess: boolean): void {
    if (!device.waits[waits.kind].delete(waits)) return
    const { rid } = device
    const { group, pasid } = waits
    // Neither is waited for, as Linux waits for none: a SYNC says nothing of them. [SMMU 4.7.1 CMD_RESUME]
    if (waits.kind === 'stall') {
      const how = isSuccess ? { Ac: 1 } : { Ab: 1 }
      this.#commands.issue(CMD_RESUME, OPCODE.RESUME, { SID: rid, STAG: group, ...how })
    } else {
      const substream = pasid < 0 ? {} : { SSV: 1, SSID: pasid }
      const Resp = isSuccess ? PRI_RESP.SUCCESS : PRI_RESP.INVALID
      this.#commands.issue(CMD_PRI_RESP, OPCODE.PRI_RESP, { SID: rid, PRGIndex: group, Resp, ...substream })
    }
  }

  /** Aborts every stalled request of a device, recorded or not. [SMMU 4.7.2 CMD_STALL_TERM] */
  endStalls(device: SmmuDevice): void {
    device.waits.stall.clear()
    this.#commands.add(CMD_STALL_TERM, OPCODE.STALL_TERM, { SID: device.rid })
    this.#commands.sync()
  }

  /** @returns whether somebody will answer; if not it is aborted */
  #stalled(device: SmmuDevice, record: Int32Array): boolean {
    const { RnW, InD, PnU, STAG, SSV, SSID, InputAddr } = F_TRANSLATION
    const group = STAG.get(record, 0)
    const pasid = SSV.get(record, 0) === 1 ? SSID.get(record, 0) : NO_PASID
    const waits: Waiting = { kind: 'stall', group, pasid }
    device.waits.stall.add(waits)
    const access =
      (RnW.get(record, 0) === 1 ? ACCESS.READ : ACCESS.WRITE) |
      (InD.get(record, 0) === 1 ? ACCESS.EXECUTE : 0) |
      (PnU.get(record, 0) === 1 ? ACCESS.PRIVILEGED : 0)
    const word = InputAddr.low >>> 5
    const address = addressOf(record[word], record[word + 1])
    const fault: PageFault = { pasid, group, isLast: true, access, address, waits }
    const isWithin = stallsOfOwner(device, pasid) <= this.#share()
    if (isWithin && this.#isTaken(device, fault)) return true
    this.answer(device, waits, false)
    return false
  }

  /**
   * Each device, and each of its mediated ones, has its share of the unit's places: whoever answers nothing takes none of
   * another's. [SMMU 6.3.6 STALL_MAX]
   */
  #share(): number {
    return Math.max(1, Math.floor(this.#unit.features.stallMax / this.#countOwners()))
  }

  #isTaken(device: SmmuDevice, fault: PageFault): boolean {
    if (device.domainOf(fault.pasid)?.takesFaults !== true || device.isResetting(fault.pasid)) return false
    return this.#listener()?.pageFault(device, fault) === true
  }
}

/** What waits of a device, or of the mediated device that has the PASID. */
function stallsOfOwner({ mediatedPasids, waits }: SmmuDevice, pasid: number): number {
  if (mediatedPasids.length === 0) return waits.stall.size
  const ownerOf = (one: number): number => (mediatedPasids.includes(one) ? one : NO_PASID)
  const owner = ownerOf(pasid)
  let count = 0
  for (const one of waits.stall) if (ownerOf(one.pasid) === owner) count++
  return count
}

const addressOf = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)

/** A slice of a unit given to one guest: its names of devices, and the commands that it may have carried out. */

import { pack } from '../../../hw-model/bits/layout.js'
import {
  CMD_CFGI_CD,
  CMD_TLBI_NH_ALL,
  COMMAND,
  type Features,
  isIllegal,
  OPCODE,
} from '../../../hw-model/smmuv3/index.js'
import {
  type DeviceDriver,
  type InvalidateArray,
  type InvalidateResult,
  type IommuDriver,
  Refusal,
  type SmmuCommand,
  type UserData,
  type UserFlags,
  type ViommuOps,
} from '../../core/driver.js'
import { tooLate } from './atc.js'
import { refuseFailed } from './errors.js'
import type { Host } from './host.js'
import type { StageTwoDomain } from './paging.js'
import { UserDomain } from './user.js'

/** Commands that take the guest's VMID, and those that take its StreamID. */
const BY_VMID: readonly number[] = [OPCODE.TLBI_NH_ALL, OPCODE.TLBI_NH_ASID, OPCODE.TLBI_NH_VA, OPCODE.TLBI_NH_VAA]
const BY_SID: readonly number[] = [OPCODE.CFGI_CD, OPCODE.CFGI_CD_ALL, OPCODE.ATC_INV]

/** A vIOMMU. */
export class SmmuViommu implements ViommuOps {
  readonly driver: IommuDriver
  readonly parent: StageTwoDomain
  readonly #host: Host
  /** Devices by the guest's names for them. */
  readonly #devices = new Map<bigint, DeviceDriver>()

  constructor(host: Host, parent: StageTwoDomain) {
    this.driver = host.driver
    this.parent = parent
    this.#host = host
    parent.users++
  }

  createUserDomain(device: DeviceDriver, data: UserData, flags: UserFlags): UserDomain {
    if (device.driver !== this.driver) throw new Refusal('EINVAL', 'the device is behind another unit')
    if (flags.pasid) {
      const why = 'an SMMUv3 user domain binds the RID and all its PASIDs; the flag PASID is for single ones'
      throw new Refusal('EOPNOTSUPP', why)
    }
    return new UserDomain(this, this.parent, data)
  }

  addVdevice(device: DeviceDriver, virtId: bigint): void {
    this.#devices.set(virtId, device)
  }

  removeVdevice(device: DeviceDriver): void {
    for (const [virtId, known] of this.#devices) if (known === device) this.#devices.delete(virtId)
  }

  /** The guest's name of a device, if it has one. */
  virtIdOf(device: DeviceDriver): bigint | undefined {
    for (const [virtId, known] of this.#devices) if (known === device) return virtId
    return undefined
  }

  /** Carries out a guest's commands up to the first one that is refused, and waits for those. */
  invalidate(entries: InvalidateArray, from: number, end: number): InvalidateResult {
    if (entries.kind !== 'smmuv3') {
      throw new Refusal('EINVAL', 'a vIOMMU of an SMMUv3 takes entries of the type smmuv3, commands of 16 bytes')
    }
    if (entries.count === 0) throw new Refusal('EINVAL', 'the list of commands is empty')
    // A SYNC that is never completed is a time-out, as it is for Linux.
    refuseFailed(this.#host, 'ETIMEDOUT')
    let done = 0
    let refusal: Refusal | undefined
    // What devices keep is invalidated after what the unit keeps, whatever the guest's order: else they could obtain it
    // again. [SMMU 3.9.1 ATS Interface]
    const atc: Int32Array[] = []
    for (const command of entries.copied('smmuv3', from, end)) {
      refusal = this.#carryOut(command, from + done, atc)
      if (refusal !== undefined) break
      done++
    }
    if (done > 0) this.#host.commands.sync()
    let late: Refusal | undefined
    const completion = this.#host.atcs.run(this.#host, atc, () => {
      late = tooLate(from + done - 1)
    })
    this.#host.drain()
    return { done, refusal, completion, failure: () => late }
  }

  destroy(): void {
    this.parent.users--
  }

  #carryOut(command: SmmuCommand, index: number, atc: Int32Array[]): Refusal | undefined {
    const words = commandWords(command)
    const opcode = COMMAND.Opcode.get(words, 0)
    const features = this.#host.features
    if (opcode === OPCODE.TLBI_NSNH_ALL) {
      this.#host.commands.push(pack(CMD_TLBI_NH_ALL, { Opcode: OPCODE.TLBI_NH_ALL, VMID: this.parent.vmid }))
      return undefined
    }
    if (BY_VMID.includes(opcode)) {
      CMD_TLBI_NH_ALL.VMID.set(words, 0, this.parent.vmid)
      return this.#push(words, index, features)
    }
    if (!BY_SID.includes(opcode)) {
      const isSync = opcode === OPCODE.SYNC
      const why = isSync ? 'CMD_SYNC is the daemon’s: it follows by itself' : 'it is none that a guest may give'
      return new Refusal('EIO', `command 0x${opcode.toString(16).padStart(2, '0')}: ${why}`, { index, opcode })
    }
    const vsid = CMD_CFGI_CD.SID.get(words, 0)
    const device = this.#devices.get(BigInt(vsid))
    if (device === undefined)
      return new Refusal('EIO', 'no vDEVICE of this vIOMMU has that StreamID; StreamIDs here are virtual (virt_id)', {
        index,
        vsid,
      })
    CMD_CFGI_CD.SID.set(words, 0, device.rid)
    if (opcode !== OPCODE.ATC_INV) return this.#push(words, index, features)
    // Without ATS there is no ATC that could hold anything, so there is nothing left to do; the queue would answer
    // CERROR_ILL, and a guest that was told of no ATS gives the command only as a matter of course.
    if (!features.ats) return undefined
    if (isIllegal(words, features)) return wouldStop(index)
    // While no STE of this guest's is on the RID, an ATC has nothing of his, and its PASIDs may be other contexts'.
    const isBehind = this.#host.devices.get(device.rid)?.isBehind(this) === true
    if (isBehind && device.ats !== undefined) atc.push(words)
    return undefined
  }

  /** A command that would stop the queue is everybody's trouble: it is refused before it gets there. */
  #push(words: Int32Array, index: number, features: Features): Refusal | undefined {
    if (isIllegal(words, features)) return wouldStop(index)
    this.#host.commands.push(words)
    return undefined
  }
}

const wouldStop = (index: number): Refusal =>
  new Refusal('EIO', 'the unit would answer this command with CERROR_ILL: reserved range, size or SSec', { index })

function commandWords({ dw0, dw1 }: SmmuCommand): Int32Array {
  return Int32Array.of(
    Number(BigInt.asIntN(32, dw0)),
    Number(BigInt.asIntN(32, dw0 >> 32n)),
    Number(BigInt.asIntN(32, dw1)),
    Number(BigInt.asIntN(32, dw1 >> 32n)),
  )
}

/**
 * Replays a capture through user domains of a platform device: what a VMM does for its guest. The guest's RAM is
 * mapped into a nesting parent at its guest-physical addresses; each of the guest's streams becomes a user domain
 * made from the guest's own table entry, attached to the same device one after the other.
 */

import {
  type ContextClient,
  DeviceGrant,
  HwptFlag,
  InvalidateFlag,
  IoasMapFlag,
  ViommuType,
  VtdS1Flag,
} from '../../node/index.js'
import type { Answer } from './compare.js'
import type { Capture, CapturedRow, CapturedStream } from './folder.js'
import { accessOf, answerOf, describeStep, findRegion, type GuestRegion } from './raw-replay.js'

/** Why a row does not go through a user domain. */
export interface Skip {
  readonly reason: string
  /** Whether the row reaches a page table at all. One that does not is no part of the user domains' tally. */
  readonly reachesTable: boolean
}

/** Bits of the guest's STE that a user domain takes. [uAPI struct iommu_hwpt_arm_smmuv3] */
const STE0_ALLOWED = 0xf80f_ffff_ffff_ffffn
const STE1_ALLOWED = 0x3800_00ffn

/** [SMMU 4.4.2.5 CMD_TLBI_NH_VAA]: by address, any ASID. */
const TLBI_NH_VAA = 0x13n

/** Only leaves changed. */
const LEAF = 1n

/** STE.Config of a translating stage-1 stream. [SMMU 5.2 Stream Table Entry] */
const CONFIG_S1 = 5

/** Third quadword of a PASID table entry. [VTD 9.6 Scalable-Mode PASID Table Entry] */
const PASID_ENTRY_2 = { SRE: 1n, FSPM: 3n << 2n, FIVE_LEVELS: 1n << 2n, WPE: 1n << 4n, EAFE: 1n << 7n } as const

/** What a user domain takes of a guest's PASID table entry: its first-stage table, the width and the flags. */
export function vtdS1Of(entry: readonly bigint[]): { flags: bigint; pgtblAddr: bigint; addrWidth: number } {
  const word = entry[2]
  const flag = (bit: bigint, value: number): number => ((word & bit) === 0n ? 0 : value)
  const { SRE, EAFE, WPE } = PASID_ENTRY_2
  const flags = flag(SRE, VtdS1Flag.SRE) | flag(EAFE, VtdS1Flag.EAFE) | flag(WPE, VtdS1Flag.WPE)
  const hasFiveLevels = (word & PASID_ENTRY_2.FSPM) === PASID_ENTRY_2.FIVE_LEVELS
  return { flags: BigInt(flags), pgtblAddr: word & ~0xfffn, addrWidth: hasFiveLevels ? 57 : 48 }
}

/** The streams whose tables a user domain can be made of; empty for captures with a second stage. */
export const userStreams = (capture: Capture): CapturedStream[] =>
  capture.streams.filter((stream) =>
    capture.type === 'smmuv3' ? stream.config === CONFIG_S1 : stream.kind === 'fs' && stream.pasidEntry !== undefined,
  )

/** A nesting parent over the guest's RAM on one platform device, ready to take the guest's streams. */
export class UserReplay {
  readonly #context: ContextClient
  readonly #capture: Capture
  readonly #regions: readonly GuestRegion[]
  readonly deviceId: number
  readonly parentId: number
  #viommuId = 0
  #vdeviceId = 0
  #domainId = 0
  #pasid: number | undefined

  private constructor(
    context: ContextClient,
    capture: Capture,
    regions: readonly GuestRegion[],
    deviceId: number,
    parentId: number,
  ) {
    this.#context = context
    this.#capture = capture
    this.#regions = regions
    this.deviceId = deviceId
    this.parentId = parentId
  }

  /** The domain that is attached now. */
  get domainId(): number {
    return this.#domainId
  }

  /** The vIOMMU, SMMUv3 only. */
  get viommuId(): number {
    return this.#viommuId
  }

  /** Binds a device of the capture's architecture and maps the guest's RAM into a nesting parent. */
  static async start(
    context: ContextClient,
    capture: Capture,
    regions: readonly GuestRegion[],
    deviceName: string,
  ): Promise<UserReplay> {
    const { deviceId } = await context.bindDevice({ deviceName, grant: DeviceGrant.WHOLE_DEVICE })
    const { ioasId } = await context.createIoas()
    for (const { regionId, base, lengthBytes } of regions) {
      const flags = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
      await context.ioasMap({ ioasId, flags, region: { regionId, offset: 0n }, length: lengthBytes, iova: base })
    }
    const parent = await context.createPagingDomain({ flags: HwptFlag.NEST_PARENT, deviceId, ioasId })
    const replay = new UserReplay(context, capture, regions, deviceId, parent.domainId)
    if (capture.type === 'smmuv3') {
      const made = await context.createViommu({
        type: ViommuType.ARM_SMMUV3,
        deviceId,
        parentDomainId: parent.domainId,
      })
      replay.#viommuId = made.viommuId
    }
    return replay
  }

  /** Why a row cannot go through a user domain; undefined when it can. */
  whyNot(row: CapturedRow, streams: ReadonlyMap<number, CapturedStream>): Skip | undefined {
    if (!streams.has(row.sid)) {
      return { reason: 'the guest has configured no translation for this stream', reachesTable: false }
    }
    if (row.pa === undefined || findRegion(this.#regions, row.pa) !== undefined) return undefined
    const reason = `0x${row.pa.toString(16)} is no RAM (the MSI doorbell): it lies in the host's reserved window, which no IOAS maps`
    return { reason, reachesTable: true }
  }

  /** Makes a user domain of a stream's tables and attaches it to the RID, or to a PASID where the unit can. */
  async attach(stream: CapturedStream, pasid?: number): Promise<void> {
    const context = this.#context
    const deviceId = this.deviceId
    if (this.#capture.type === 'smmuv3') {
      const virtId = BigInt(stream.sid)
      this.#vdeviceId = (await context.createVdevice({ viommuId: this.#viommuId, deviceId, virtId })).vdeviceId
    }
    this.#domainId = (await context.createUserDomain(this.#describe(stream, pasid !== undefined))).domainId
    if (pasid === undefined) await context.attachRid({ deviceId, ptId: this.#domainId })
    else await context.attachPasid({ deviceId, pasid, ptId: this.#domainId })
    this.#pasid = pasid
  }

  /** Takes the stream's domain away again. */
  async detach(): Promise<void> {
    const deviceId = this.deviceId
    if (this.#pasid === undefined) await this.#context.detachRid({ deviceId })
    else await this.#context.detachPasid({ deviceId, pasid: this.#pasid })
    await this.#context.destroy({ objectId: this.#domainId })
    if (this.#vdeviceId !== 0) await this.#context.destroy({ objectId: this.#vdeviceId })
    this.#vdeviceId = 0
  }

  /** Translates rows of the attached stream; addresses come back as the guest's own. */
  async translate(rows: readonly CapturedRow[]): Promise<{ answers: Answer[]; hits: number }> {
    const reply = await this.#context.translate({
      deviceId: this.deviceId,
      pasid: this.#pasid,
      iovas: BigUint64Array.from(rows, (row) => row.iova),
      accesses: Uint32Array.from(rows, accessOf),
    })
    const names = new Map(reply.faults.map((fault) => [fault.index, fault.name]))
    const answers = rows.map((_, i) => {
      const guestAddress = this.guestAddressOf({ regionId: reply.regionIds[i], offset: reply.offsets[i] })
      return answerOf(this.#capture.type, reply.outcomes[i], reply.faultCodes[i], names.get(i), guestAddress)
    })
    return { answers, hits: reply.cacheHits.reduce((sum, hit) => sum + hit, 0) }
  }

  /** The request that explains a row's walk. */
  walkOf(row: CapturedRow): { deviceId: number; pasid: number | undefined; iova: bigint; access: number } {
    return { deviceId: this.deviceId, pasid: this.#pasid, iova: row.iova, access: accessOf(row) }
  }

  /** A place in a region as the guest's own address. */
  guestAddressOf({ regionId, offset }: { readonly regionId: number; readonly offset: bigint }): bigint {
    return (this.#regions.find((region) => region.regionId === regionId)?.base ?? 0n) + offset
  }

  /** Invalidates one page of the attached stream, as the guest's driver would. Answers the command in words. */
  async invalidate(iova: bigint): Promise<string> {
    const page = iova & ~0xfffn
    if (this.#capture.type === 'smmuv3') {
      const entries = [{ dw0: TLBI_NH_VAA, dw1: page | LEAF }]
      await this.#context.invalidateIotlb({ viommuId: this.#viommuId, smmuv3: { entries } })
      return `TLBI_NH_VAA ADDR=0x${page.toString(16)} Leaf=1`
    }
    const entries = [{ addr: page, npages: 1n, flags: InvalidateFlag.LEAF }]
    await this.#context.invalidateIotlb({ userDomainId: this.#domainId, vtdS1: { entries } })
    return `P_IOTLB addr=0x${page.toString(16)} npages=1 LEAF`
  }

  /** The walk of one row, a step a line. */
  async explain(row: CapturedRow): Promise<string[]> {
    const { explanation } = await this.#context.explain(this.walkOf(row))
    return (explanation?.steps ?? []).map(describeStep)
  }

  #describe(stream: CapturedStream, forPasid: boolean) {
    const deviceId = this.deviceId
    if (this.#capture.type === 'smmuv3') {
      const [ste0, ste1] = stream.ste as readonly bigint[]
      const smmuv3Ste = { ste0: ste0 & STE0_ALLOWED, ste1: ste1 & STE1_ALLOWED }
      return { deviceId, viommuId: this.#viommuId, smmuv3Ste }
    }
    const vtdS1 = vtdS1Of(stream.pasidEntry as readonly bigint[])
    return { flags: forPasid ? HwptFlag.PASID : 0, deviceId, parentDomainId: this.parentId, vtdS1 }
  }
}

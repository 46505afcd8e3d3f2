/**
 * A user domain: a guest's STE, of which the guest owns the stage 1 part. It binds a whole RID and all its PASIDs,
 * because the CD table that it points to is the guest's. [uAPI IOMMU_HWPT_ALLOC, ARM_SMMUV3]
 */

import { maskOutside } from '../../../hw-model/bits/layout.js'
import { CONFIG, EATS, STE } from '../../../hw-model/smmuv3/index.js'
import { type IommuDriver, Refusal, type UserData, type UserOps } from '../../core/driver.js'
import { abortSte, GUEST_FIELDS, nestedSte, type StreamShape, stageTwoSte } from './entries.js'
import type { StageTwoDomain } from './paging.js'
import type { SmmuViommu } from './viommu.js'

/** Fields that a guest may set. EATS is accepted as 0 or 1 and means nothing where unit or device has no ATS. */
const ALLOWED = ['V', 'Config', ...GUEST_FIELDS.dw0, ...GUEST_FIELDS.dw1, 'EATS'] as const
const FORBIDDEN = maskOutside(STE, ALLOWED)
/** Bits 55:52 of S1ContextPtr: Linux takes an IPA of 52 bits. */
const POINTER_TOP = 0x00f00000
/** Where the record is the implementation's, which has no name for it. [SMMU 5.2 Stream Table Entry] */
const IMPLEMENTATION_DEFINED = { low: 116, high: 127 } as const

const CONFIGS: readonly number[] = [CONFIG.ABORT, CONFIG.BYPASS, CONFIG.S1_TRANS]

/** A guest's stream table entry, checked. */
export class UserDomain implements UserOps {
  readonly kind = 'user'
  readonly driver: IommuDriver
  readonly viommu: SmmuViommu
  readonly parent: StageTwoDomain
  /** Whether it leads to the guest's own tables; such a one attaches only where the device has a vDEVICE. */
  readonly translates: boolean
  /** The guest invalidates what the device keeps, or there is nothing of its own in it. */
  readonly allowsAts: boolean
  takesFaults?: boolean
  readonly #guest: Int32Array
  readonly #config: number

  /** @throws Refusal EIO naming the field that a guest may not set, EINVAL for another architecture's data */
  constructor(viommu: SmmuViommu, parent: StageTwoDomain, given: UserData) {
    if (given.kind !== 'smmuv3_ste') {
      throw new Refusal('EINVAL', 'a user domain of an SMMUv3 is made from the first two words of an STE')
    }
    const data = given.read('smmuv3_ste')
    this.driver = viommu.driver
    this.viommu = viommu
    this.parent = parent
    this.#guest = guestWords(data.ste0, data.ste1)
    const isValid = STE.V.get(this.#guest, 0) === 1
    if (isValid) check(this.#guest)
    this.#config = isValid ? STE.Config.get(this.#guest, 0) : CONFIG.ABORT
    this.translates = this.#config === CONFIG.S1_TRANS
    this.allowsAts = !this.translates || STE.EATS.get(this.#guest, 0) === EATS.FULL
    parent.users++
  }

  /** The host's STE: the parent's stage 2 with the guest's fields before it. A guest's bypass is stage 2 alone. */
  ste(stream: StreamShape): Int32Array {
    if (this.#config === CONFIG.ABORT) return abortSte()
    if (this.#config === CONFIG.BYPASS) return stageTwoSte(this.parent.shape(), stream)
    return nestedSte(this.parent.shape(), this.#guest, stream)
  }

  destroy(): void {
    this.parent.users--
  }
}

function guestWords(ste0: bigint, ste1: bigint): Int32Array {
  const words = new Int32Array(STE.$.words)
  for (const [i, word] of [ste0, ste1].entries()) {
    words[i * 2] = Number(BigInt.asIntN(32, word))
    words[i * 2 + 1] = Number(BigInt.asIntN(32, word >> 32n))
  }
  return words
}

function check(guest: Int32Array): void {
  for (let i = 0; i < guest.length; i++) {
    const stray = guest[i] & FORBIDDEN[i]
    if (stray !== 0) throw strayField(i * 32 + 31 - Math.clz32(stray))
  }
  if ((guest[1] & POINTER_TOP) !== 0) {
    const why = 'S1ContextPtr of a guest STE is an IPA of 52 bits: bits 55:52 are 0'
    throw new Refusal('EIO', why, { field: 'S1ContextPtr', bit: 32 + 31 - Math.clz32(guest[1] & POINTER_TOP) })
  }
  const config = STE.Config.get(guest, 0)
  if (!CONFIGS.includes(config)) {
    throw new Refusal('EIO', "Config of a guest STE is 0 (abort), 4 (bypass) or 5 (stage 1): stage 2 is the host's", {
      field: 'Config',
      value: config,
    })
  }
  const eats = STE.EATS.get(guest, 0)
  if (eats > 1) throw new Refusal('EIO', 'EATS of a guest STE is 0 or 1', { field: 'EATS', value: eats })
}

function strayField(bit: number): Refusal {
  for (const [field, { low, high }] of STE.$.fields) {
    if (bit >= low && bit <= high)
      return new Refusal('EIO', `${field} of a guest STE belongs to the host`, { field, bit })
  }
  const isReserved = bit < IMPLEMENTATION_DEFINED.low || bit > IMPLEMENTATION_DEFINED.high
  const field = isReserved ? 'reserved' : 'IMPLEMENTATION DEFINED'
  return new Refusal('EIO', `bit ${bit} of a guest STE is ${field}`, { field, bit })
}

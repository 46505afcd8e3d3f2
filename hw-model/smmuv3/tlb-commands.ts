/** What the TLBI commands drop. [SMMU 4.4 TLB invalidation] */

import type { Page } from '../bits/address.js'
import { CMD_TLBI_NH_VA, CMD_TLBI_S2_IPA, OPCODE } from './command-records.js'
import type { Features } from './features.js'
import { type AddressScope, TLB_FLAGS, type Tlb } from './tlb.js'

const { NUM, SCALE, TTL, TG, VMID, ASID, Address } = CMD_TLBI_NH_VA
const LAST_PAGE = 2 ** 52 - 1

/** The TLBI commands of one unit. */
export class TlbCommands {
  readonly #features: Features
  readonly #tlb: Tlb

  constructor(features: Features, tlb: Tlb) {
    this.#features = features
    this.#tlb = tlb
  }

  /** Does what a command says; an opcode that is none of them does nothing. */
  execute(opcode: number, command: Int32Array): void {
    const tlb = this.#tlb
    // Without stage 2 there are no VMIDs, and the field is reserved. [SMMU 4.4 TLB invalidation]
    const vmid = this.#features.stage2 ? VMID.get(command, 0) : 0
    switch (opcode) {
      case OPCODE.TLBI_NH_ALL:
        tlb.dropVmidStageOne(vmid)
        return
      case OPCODE.TLBI_NH_ASID:
        tlb.dropAsid(vmid, ASID.get(command, 0))
        return
      case OPCODE.TLBI_NH_VA:
        tlb.dropVa(vmid, ASID.get(command, 0), this.#scope(command, Address.get(command, 0)))
        return
      case OPCODE.TLBI_NH_VAA:
        tlb.dropVaa(vmid, this.#scope(command, Address.get(command, 0)))
        return
      case OPCODE.TLBI_S2_IPA:
        tlb.dropIpa(vmid, this.#scope(command, CMD_TLBI_S2_IPA.Address.get(command, 0)))
        return
      case OPCODE.TLBI_S12_VMALL:
        tlb.dropVmid(vmid)
        return
      case OPCODE.TLBI_NSNH_ALL:
        tlb.dropAll()
        return
    }
  }

  /** The pages a command by address means, and the granule and level it narrows them to. [SMMU 4.4.1.1 Range-based] */
  #scope(command: Int32Array, address: number): AddressScope {
    const page = address / 4096
    const tg = this.#features.ril ? TG.get(command, 0) : 0
    if (tg === 0) return { first: page as Page, last: page as Page, mask: 0, want: 0 }
    const granuleLg2 = 10 + 2 * tg
    // A 16 KiB granule has no level 1 leaves: TTL = 1 counts as none.
    const ttl = tg === 2 && TTL.get(command, 0) === 1 ? 0 : TTL.get(command, 0)
    // An address that is not aligned to what it names is aligned down.
    const unitLg2 = granuleLg2 - 12 + (ttl === 0 ? 0 : (granuleLg2 - 3) * (3 - ttl))
    const first = page - (page % 2 ** unitLg2)
    const pages = (NUM.get(command, 0) + 1) * 2 ** (SCALE.get(command, 0) + granuleLg2 - 12)
    const last = Math.min(first + pages - 1, LAST_PAGE)
    const ttlMask = ttl === 0 ? 0 : TLB_FLAGS.TTL_MASK
    return {
      first: first as Page,
      last: last as Page,
      mask: TLB_FLAGS.TG_MASK | ttlMask,
      want: (tg << TLB_FLAGS.TG_SHIFT) | (ttl << TLB_FLAGS.TTL_SHIFT),
    }
  }
}

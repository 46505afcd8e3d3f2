/** What the TLBI commands drop. [SMMU 4.4 TLB invalidation] */

import { alignDown, type Page, POWERS } from '../bits/address.js'
import { ANY_FLAGS } from '../cache/geometry.js'
import { CMD_TLBI_NH_VA, CMD_TLBI_S2_IPA, OPCODE } from './command-records.js'
import { levelOf, scaleOf } from './command-rules.js'
import type { Features } from './features.js'
import type { RegisterFile } from './register-file.js'
import { CR0, CR2, OFFSET } from './registers.js'
import { SPACE } from './stream-world.js'
import type { Spaces, Tlb } from './tlb.js'
import { type AddressScope, anyGeometry, leavesOf, tablesOf } from './tlb-flags.js'

const { NUM, TG, VMID, ASID, Leaf, Address } = CMD_TLBI_NH_VA
const LAST_PAGE = 2 ** 52 - 1

/** CR0.VMW ignores this many low bits of a VMID at most; values beyond are reserved and ignore none. */
const WIDEST = 4

const EL2: Spaces = { first: SPACE.EL2, last: SPACE.EL2 }
const EL2_E2H: Spaces = { first: SPACE.EL2_E2H, last: SPACE.EL2_E2H }

/** The TLBI commands of one unit. */
export class TlbCommands {
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #tlb: Tlb
  /** What the present command means; filled anew for each. */
  readonly #spaces: { -readonly [K in keyof Spaces]: Spaces[K] } = { first: 0, last: 0 }
  readonly #pages: { -readonly [K in keyof AddressScope]: AddressScope[K] } = anyGeometry(0 as Page, 0 as Page, true)

  constructor(registers: RegisterFile, features: Features, tlb: Tlb) {
    this.#registers = registers
    this.#features = features
    this.#tlb = tlb
  }

  /** Does what a command says; an opcode that is none of them does nothing. */
  execute(opcode: number, command: Int32Array): void {
    if (this.#tlb.isWide) this.#executeWidely(opcode, command)
    else this.#executeExactly(opcode, command)
  }

  /** A unit that does not look closely: it drops the world and VMID that a command is about. [SMMU 4.4 TLB invalidation] */
  #executeWidely(opcode: number, command: Int32Array): void {
    switch (opcode) {
      case OPCODE.TLBI_NH_ALL:
      case OPCODE.TLBI_NH_ASID:
      case OPCODE.TLBI_NH_VA:
      case OPCODE.TLBI_NH_VAA:
      case OPCODE.TLBI_S2_IPA:
      case OPCODE.TLBI_S12_VMALL:
        this.#tlb.dropVmids(this.#vmids(command))
        return
      case OPCODE.TLBI_EL2_ALL:
      case OPCODE.TLBI_EL2_ASID:
      case OPCODE.TLBI_EL2_VA:
      case OPCODE.TLBI_EL2_VAA:
        this.#tlb.dropEl2()
        return
      case OPCODE.TLBI_NSNH_ALL:
        this.#tlb.dropAll()
        return
    }
  }

  #executeExactly(opcode: number, command: Int32Array): void {
    const tlb = this.#tlb
    switch (opcode) {
      case OPCODE.TLBI_NH_ALL:
        tlb.dropStageOne(this.#vmids(command))
        return
      case OPCODE.TLBI_NH_ASID:
        tlb.dropAsid(this.#vmids(command), ASID.get(command, 0))
        return
      case OPCODE.TLBI_NH_VA:
        tlb.dropVa(this.#vmids(command), ASID.get(command, 0), this.#scope(command, Address.get(command, 0)))
        return
      case OPCODE.TLBI_NH_VAA:
        tlb.dropVaa(this.#vmids(command), this.#scope(command, Address.get(command, 0)))
        return
      case OPCODE.TLBI_EL2_ALL:
        tlb.dropEl2()
        return
      case OPCODE.TLBI_EL2_ASID:
        tlb.dropAsid(EL2_E2H, ASID.get(command, 0))
        return
      case OPCODE.TLBI_EL2_VA:
        // Without E2H there are no ASIDs, and the operand is ignored. [SMMU 4.4.2.8 CMD_TLBI_EL2_VA]
        if (this.#e2h) tlb.dropVa(EL2_E2H, ASID.get(command, 0), this.#scope(command, Address.get(command, 0)))
        else tlb.dropVaa(EL2, this.#scope(command, Address.get(command, 0)))
        return
      case OPCODE.TLBI_EL2_VAA:
        tlb.dropVaa(this.#e2h ? EL2_E2H : EL2, this.#scope(command, Address.get(command, 0)))
        return
      case OPCODE.TLBI_S2_IPA:
        tlb.dropIpa(this.#vmids(command), this.#scope(command, CMD_TLBI_S2_IPA.Address.get(command, 0)))
        return
      case OPCODE.TLBI_S12_VMALL:
        tlb.dropVmids(this.#vmids(command))
        return
      case OPCODE.TLBI_NSNH_ALL:
        tlb.dropEl1()
        return
    }
  }

  get #e2h(): boolean {
    return CR2.E2H.get(this.#registers.words, OFFSET.CR2 >>> 2) === 1
  }

  /**
   * The VMIDs a command means: its own, or with wildcards all that differ from it in the low bits alone. Without stage 2
   * there are none, and the field is reserved. [SMMU 3.17.6 VMID Wildcards] [SMMU 4.4.2 TLB invalidation of stage 1]
   */
  #vmids(command: Int32Array): Spaces {
    const spaces = this.#spaces
    spaces.first = 0
    spaces.last = 0
    if (!this.#features.stage2) return spaces
    const vmid = VMID.get(command, 0)
    const ignored = CR0.VMW.get(this.#registers.words, OFFSET.CR0 >>> 2)
    const count = ignored > WIDEST ? 1 : 1 << ignored
    spaces.first = vmid & -count
    spaces.last = spaces.first + count - 1
    return spaces
  }

  /** The pages a command by address means, and the granule and level it narrows them to. [SMMU 4.4.1.1 Range-based] */
  #scope(command: Int32Array, address: number): AddressScope {
    const page = address / 4096
    const scope = this.#pages
    const leafOnly = Leaf.get(command, 0) === 1
    const tg = this.#features.ril ? TG.get(command, 0) : 0
    scope.first = page as Page
    scope.last = page as Page
    scope.leaves = ANY_FLAGS
    scope.tables = leafOnly ? null : ANY_FLAGS
    if (tg === 0) return scope
    const granuleLg2 = 10 + 2 * tg
    const ttl = levelOf(command, this.#features)
    // An address that is not aligned to what it names is aligned down.
    const unitLg2 = granuleLg2 - 12 + (ttl === 0 ? 0 : (granuleLg2 - 3) * (3 - ttl))
    const first = alignDown(page, unitLg2)
    const pages = (NUM.get(command, 0) + 1) * POWERS[scaleOf(command, this.#features) + granuleLg2 - 12]
    scope.first = first as Page
    scope.last = Math.min(first + pages - 1, LAST_PAGE) as Page
    scope.leaves = leavesOf(tg, ttl)
    scope.tables = leafOnly ? null : tablesOf(tg, ttl)
    return scope
  }
}

/** Streams with ATS, and a device that asks for translations and uses them. */

import { ACCESS, NO_PASID, Outcome, REQUEST, STATUS, Transaction } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

/** The stream of these tests. */
export const SID = 3
/** An address that stage 1 maps, */
export const VA = 0x7654321000n
/** to this physical address where it is alone, */
export const PA = 0x80000000n
/** to this IPA where stage 2 is behind it, */
export const IPA = BigInt(GUEST + 0x90000000)
/** which stage 2 maps here. */
export const PA2 = 0xa0000000n

type SteFields = Parameters<Bench['ste']>[1]
type CdFields = Parameters<Bench['cd']>[1]
type Options = ConstructorParameters<typeof Bench>[0]

/** Bits of CR0. */
export const CR0 = { ON: 0b1101, PRIQEN: 0b10, ATSCHK: 0b10000 } as const

/** What a translation request carries besides its address. */
export interface Ask {
  readonly sid?: number
  readonly pasid?: number
  /** Bits of ACCESS; without WRITE it says No Write. */
  readonly access?: number
}

/** A unit with ATS in front of one stream. */
export class AtsBench extends Bench {
  readonly s1: number
  readonly cdTable: number
  readonly s2: number

  constructor(options: Options = {}) {
    super({ preset: 'full', ...options })
    this.s1 = this.alloc()
    this.cdTable = this.alloc()
    this.s2 = this.alloc()
  }

  /** Stage 1 alone: one page at VA with the given leaf bits. */
  stageOne(ste: SteFields = {}, leaf: bigint = S1.RW, cd: CdFields = {}): this {
    this.map(this.s1, VA, PA | leaf)
    this.cd(this.cdTable, { ...contextFields(7, this.s1), ...cd })
    this.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: this.cdTable, EATS: 1, ...ste })
    return this
  }

  /** Stage 2 alone: the page at IPA. */
  stageTwo(ste: SteFields = {}, leaf: bigint = S2.RW): this {
    this.map(this.s2, IPA, PA2 | leaf)
    this.ste(SID, { ...stageTwoFields(2, this.s2), V: 1, Config: CONFIG.S2_TRANS, EATS: 1, ...ste })
    return this
  }

  /** Both: the guest's structures stand at GUEST + their physical address. */
  nested(ste: SteFields = {}, leaf1: bigint = S1.RW, leaf2: bigint = S2.RW): this {
    this.map(this.s1, VA, IPA | leaf1, 3, GUEST)
    for (let pa = 0x100000; pa < 0x200000; pa += 4096) this.map(this.s2, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
    this.cd(this.cdTable, contextFields(7, GUEST + this.s1))
    this.stageTwo({ Config: CONFIG.NESTED, S1ContextPtr: GUEST + this.cdTable, ...ste }, leaf2)
    return this
  }

  /** Sets CR0.ATSCHK; CR2.REC_CFG_ATS is set on the way where it is wanted. */
  switch(atschk: number, cr2 = 0b10): this {
    this.write(0x20, CR0.ON - 1)
    this.write(0x2c, cr2)
    this.write(0x20, CR0.ON | (atschk === 1 ? CR0.ATSCHK : 0))
    return this
  }

  /** Asks; answers `rw- a0000000/12`, `nothing/12`, `UR`, `CA`, or these with the event that was recorded. */
  request(va: bigint, ask: Ask = {}): string {
    const outcome = this.send(REQUEST.TRANSLATION, va, ask)
    const { status, rights, address, leafLg2 } = outcome
    if (status !== STATUS.OK) return this.describe(outcome)
    if (rights === 0) return `nothing/${leafLg2}`
    const letter = (bit: number, name: string): string => ((rights & bit) === 0 ? '-' : name)
    const row = letter(ACCESS.READ, 'r') + letter(ACCESS.WRITE, 'w') + letter(ACCESS.EXECUTE, 'x')
    return `${row} ${address.toString(16)}/${leafLg2}`
  }

  /** A DMA with a translated address. */
  translated(address: bigint, ask: Ask = {}): string {
    return this.describe(this.send(REQUEST.TRANSLATED, address, ask))
  }

  send(type: number, address: bigint, { sid = SID, pasid = NO_PASID, access = ACCESS.READ }: Ask): Outcome {
    const transaction = new Transaction()
    const [lo, hi] = [Number(address & 0xffffffffn), Number(address >> 32n)]
    Object.assign(transaction, { rid: sid, pasid, type, access, lo, hi })
    const outcome = new Outcome()
    this.unit.translate(transaction, outcome)
    return outcome
  }
}

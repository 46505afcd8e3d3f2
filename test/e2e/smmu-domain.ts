/** A stream behind the unit with a page table of its own, as a guest's driver attaches, maps and unmaps. */

import type { Command, SmmuGuest } from './smmu-guest.js'

/** How a stream is attached. */
export interface Attachment {
  /** Its accesses stall instead of ending. */
  readonly stalls?: boolean
  /** It may ask for translations. */
  readonly ats?: boolean
  /** Its CD table has this many entries, one for each PASID. */
  readonly pasids?: number
}

/** One stream's stage 1: four levels of 4 KiB tables for the requests without PASID, and for each PASID. */
export class SmmuDomain {
  readonly guest: SmmuGuest
  readonly sid: number
  readonly asid: number
  readonly root: bigint

  private constructor(guest: SmmuGuest, sid: number, asid: number) {
    this.guest = guest
    this.sid = sid
    this.asid = asid
    this.root = guest.ram.allocate(0x1000n)
  }

  /** Writes the CD, then the STE, with a CFGI and a SYNC after each. [SMMU 5.2 Stream Table Entry] [SMMU 5.4 Context Descriptor] */
  static async attach(
    guest: SmmuGuest,
    sid: number,
    { stalls = false, ats = false, pasids = 1 }: Attachment = {},
  ): Promise<SmmuDomain> {
    const { ram, isE2h } = guest
    const domain = new SmmuDomain(guest, sid, sid + 1)
    const cdsLg2 = BigInt(Math.ceil(Math.log2(pasids)))
    const cds = ram.allocate(64n << cdsLg2)
    const ste = await guest.streamEntry(sid)
    // T0SZ 16, 4 KiB, EPD1, V, IPS 48 bits, AA64, S, R, A, ASET, ASID; MAIR 1 is write-back.
    const cd = 0xe205_c000_3510n | (stalls ? 1n << 44n : 0n) | (BigInt(domain.asid) << 48n)
    for (let i = 0n; i < BigInt(pasids); i++) ram.store(cds + i * 64n, cd, domain.root, 0n, 0xf404_ff44n)
    await guest.run(domain.#command(0x5n, 1n))
    // S1DSS 10, S1CIR, S1COR, S1CSH, S1STALLD, EATS, STRW; then V, Config 101, S1ContextPtr, S1CDMax.
    const dw1 = 0xd6n | (guest.canStall && !stalls ? 1n << 27n : 0n) | (ats ? 1n << 28n : 0n) | (isE2h ? 2n << 30n : 0n)
    ram.store(ste + 8n, dw1)
    await guest.run(domain.#command(0x3n, 1n))
    ram.store(ste, cds | 0xbn | (cdsLg2 << 59n))
    await guest.run(domain.#command(0x3n, 1n))
    return domain
  }

  /** Maps a page; no command is needed, as entries that are not valid are not cached. [Arm D8.3] */
  map(iova: bigint, address: bigint, isReadOnly = false): void {
    this.guest.ram.store(this.#entry(iova), address | (isReadOnly ? 0xfc7n : 0xf47n))
  }

  /** Takes a page away, forgets it in the TLB, and answers the command that takes it out of the device's TLB. */
  async unmap(iova: bigint): Promise<Command> {
    this.guest.ram.store(this.#entry(iova), 0n)
    await this.guest.run(this.invalidation(iova))
    return this.atcInvalidation(iova)
  }

  /** TLBI by VA of the last level: NH_VA, or EL2_VA where the driver runs there. [SMMU 4.4 TLB invalidation] */
  invalidation(iova: bigint): Command {
    const opcode = this.guest.isE2h ? 0x22n : 0x12n
    return [opcode | (BigInt(this.asid) << 48n), iova | 1n]
  }

  /** CMD_ATC_INV of one page without PASID. [SMMU 4.5.1 CMD_ATC_INV] */
  atcInvalidation(iova: bigint): Command {
    return this.#command(0x40n, iova)
  }

  /** CMD_RESUME. [SMMU 4.7.1 CMD_RESUME] */
  resume(stag: bigint, how: 'retry' | 'abort' | 'razwi'): Command {
    const action = { retry: 1n << 12n, abort: 1n << 13n, razwi: 0n }[how]
    return this.#command(0x44n | action, stag)
  }

  /** CMD_STALL_TERM. [SMMU 4.7.2 CMD_STALL_TERM] */
  endStalls(): Command {
    return this.#command(0x45n, 0n)
  }

  /** CMD_PRI_RESP for a PASID. [SMMU 4.5.2 CMD_PRI_RESP] */
  respond(pasid: bigint, group: bigint, code: bigint): Command {
    return this.#command(0x41n | (1n << 11n) | (pasid << 12n), group | (code << 12n))
  }

  #command(dw0: bigint, dw1: bigint): Command {
    return [dw0 | (BigInt(this.sid) << 32n), dw1]
  }

  /** Where the last entry for an address is; tables on the way are made when they are first needed. */
  #entry(iova: bigint): bigint {
    const { ram } = this.guest
    let table = this.root
    for (const shift of [39n, 30n, 21n]) {
      const entry = table + ((iova >> shift) & 511n) * 8n
      let below = ram.load(entry) & ~3n
      if (below === 0n) {
        below = ram.allocate(0x1000n)
        ram.store(entry, below | 3n)
      }
      table = below
    }
    return table + ((iova >> 12n) & 511n) * 8n
  }
}

/** A guest whose device asks for translations and uses them. */

import {
  ACCESS,
  type Invalidation,
  NO_PASID,
  REQUEST,
  STATUS,
  Transaction,
  type WalkStep,
} from '../../hw-model/port.js'
import { accessOf, FS, Guest, type GuestOptions, SID } from './guest.js'

/** Bits of ECAP. [VTD 11.4.3] */
export const ECAP = {
  DT: 1n << 2n,
  NWFS: 1n << 33n,
  DIT: 1n << 41n,
  RPRIVS: 1n << 53n,
  HPTS: 1n << 55n,
  PTRS: 1n << 56n,
  HPT1GPS: 1n << 59n,
} as const

/** CAP and ECAP of a unit with 48 bits, both stages, supervisor requests, no RID_PRIV and no page requests. */
const CAP_WORD = 0x81d2078c226f0606n
const ECAP_WORD = 0x0013e99c84000fc3n

/** Both halves of a register. */
export const halves = (word: bigint): readonly [number, number] => [Number(word & 0xffffffffn), Number(word >> 32n)]

/** P, DTE, PASIDE and EPTR of a scalable context entry. */
export const CONTEXT = { PLAIN: 0x5n, PASID: 0xdn, EPTR: 0x4dn } as const

/** Where tables of `AtsGuest` stand. */
export const FIRST = 0x20000
export const SECOND = 0x30000

export interface AtsOptions extends GuestOptions {
  /** Bits of ECAP that are there besides DT, NWFS, DIT and PTRS, or are not. */
  readonly offers?: bigint
  readonly lacks?: bigint
}

/** A unit with device-TLB support. */
export class AtsGuest extends Guest {
  constructor({ offers = 0n, lacks = 0n, ...options }: AtsOptions = {}) {
    const ecap = (ECAP_WORD | ECAP.DT | ECAP.NWFS | ECAP.DIT | ECAP.PTRS | offers) & ~lacks
    super({ ids: { CAP: halves(CAP_WORD), ECAP: halves(ecap) }, ...options })
  }

  /** One first-stage page for requests without PASID. */
  mapFirst(iova: bigint, leaf: bigint, pasid = 0): this {
    this.firstStage(pasid, 2, FIRST)
    this.path(FIRST, iova, leaf, FS.TABLE)
    return this
  }

  /** One second-stage page for requests without PASID. */
  mapSecond(iova: bigint, leaf: bigint, flags = 0n): this {
    this.secondStage(0, 2, SECOND, flags)
    this.path(SECOND, iova, leaf, 3n)
    return this
  }

  /**
   * A translation request. Answers `rw 0x5000/12`, `nothing`, `UR`, `CA`, the last two with the reason where there is
   * one, and `untranslated w` for what no translated request may use. Letters as in `dma`; without w it says No Write.
   */
  ask(iova: bigint, access = 'rw', pasid = NO_PASID, sid = SID): string {
    const { out } = this
    this.send(REQUEST.TRANSLATION, iova, access, pasid, sid)
    const reason = out.fault === 0 ? '' : ` 0x${out.fault.toString(16)}`
    if (out.status === STATUS.UNSUPPORTED) return `UR${reason}`
    if (out.status === STATUS.COMPLETER_ABORT) return `CA${reason}`
    if (out.status !== STATUS.OK) return `status ${out.status}`
    if (out.rights === 0) return out.leafLg2 === 12 && out.untranslatedOnly === 0 ? 'nothing' : 'nothing, oddly'
    const rights = (out.rights & ACCESS.READ ? 'r' : '') + (out.rights & ACCESS.WRITE ? 'w' : '')
    if (out.untranslatedOnly !== 0) return `untranslated ${rights}`
    return `${rights} 0x${out.address.toString(16)}/${out.leafLg2}`
  }

  /** A DMA with an address that is physical already; answers as `dma` does. */
  translated(address: bigint, access = 'r', pasid = NO_PASID, sid = SID): string {
    const { out } = this
    this.send(REQUEST.TRANSLATED, address, access, pasid, sid)
    if (out.status === STATUS.OK) return `0x${out.address.toString(16)}`
    return out.status === STATUS.FAULT ? `fault 0x${out.fault.toString(16)}` : `status ${out.status}`
  }

  send(type: number, address: bigint, access: string, pasid: number, sid: number): void {
    this.out.fault = 0
    this.unit.translate(this.#request(type, address, access, pasid, sid), this.out)
  }

  #request(type: number, address: bigint, access: string, pasid: number, sid: number): Transaction {
    const [lo, hi] = halves(BigInt.asUintN(64, address))
    return Object.assign(new Transaction(), { rid: sid, pasid, type, access: accessOf(access), lo, hi })
  }

  /** The steps of a translated request. */
  explainTranslated(address: bigint, access: string): WalkStep[] {
    const steps: WalkStep[] = []
    const tx = this.#request(REQUEST.TRANSLATED, address, access, NO_PASID, SID)
    this.unit.explain(tx, this.out, { step: (step) => steps.push(step) })
    return steps
  }

  /** Invalidations without which a translated request meets what is no more. */
  missingTranslated(address: bigint, access: string): readonly Invalidation[] {
    return this.unit.missing(this.#request(REQUEST.TRANSLATED, address, access, NO_PASID, SID))
  }

  /** Fault records that are set, as reason and address type, oldest first; they are cleared. */
  faults(): string[] {
    const records: string[] = []
    for (let at = 0x220; at < 0x2a0; at += 16) {
      const high = this.read(at + 8, 8)
      if (high >> 63n === 0n) continue
      records.push(`0x${((high >> 32n) & 0xffn).toString(16)} AT=${(high >> 60n) & 3n}`)
      this.write(at + 12, 1n << 31n)
    }
    return records
  }
}

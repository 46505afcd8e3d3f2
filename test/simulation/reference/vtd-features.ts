/** What a VT-d unit says of itself, as its reference reads it. [VTD 11.4.2 Capability Register] [VTD 11.4.3] */

import { field } from './memory.js'

/** The words that tell what a unit is. */
export interface VtdIds {
  readonly version: number
  readonly cap: bigint
  readonly ecap: bigint
  /** Host address width; ACPI tells it. */
  readonly haw: number
}

/** What VER, CAP, ECAP and the platform offer. */
export interface VtdFeatures {
  /** VER.MAX, the major version. */
  readonly version: number
  readonly haw: number
  /** CAP.MGAW + 1. */
  readonly mgaw: number
  /** CAP.SAGAW as it stands: bit 1 for 39 bits, bit 2 for 48, bit 3 for 57. */
  readonly sagaw: number
  /** CAP.SSLPS: bit 0 for 2 MiB, bit 1 for 1 GiB. */
  readonly sslps: number
  /** Width of a domain-id. */
  readonly didBits: number
  /** Width of a PASID. */
  readonly pasidBits: number
  /** Fault records. */
  readonly records: number
  /** Largest AM of an IOTLB page invalidation. */
  readonly mamv: number
  readonly cm: boolean
  readonly zlr: boolean
  readonly psi: boolean
  readonly fs1gp: boolean
  readonly fs5lp: boolean
  readonly esrtps: boolean
  readonly qi: boolean
  readonly dt: boolean
  readonly pt: boolean
  readonly sc: boolean
  readonly nest: boolean
  readonly prs: boolean
  readonly srs: boolean
  readonly nwfs: boolean
  readonly eafs: boolean
  readonly pasid: boolean
  readonly pds: boolean
  readonly smts: boolean
  readonly ssads: boolean
  readonly ssts: boolean
  readonly fsts: boolean
  readonly smpwcs: boolean
  readonly rps: boolean
  readonly adms: boolean
  readonly rprivs: boolean
  readonly ptrs: boolean
  readonly ssirws: boolean
  readonly sms: boolean
}

/** Decodes them. */
export function featuresOf({ version, cap, ecap, haw }: VtdIds): VtdFeatures {
  const may = (bit: number): boolean => field(cap, bit) === 1
  const has = (bit: number): boolean => field(ecap, bit) === 1
  return {
    version: version >> 4,
    haw,
    mgaw: field(cap, 21, 16) + 1,
    sagaw: field(cap, 12, 8),
    sslps: field(cap, 37, 34),
    didBits: 4 + 2 * field(cap, 2, 0),
    pasidBits: field(ecap, 39, 35) + 1,
    records: field(cap, 47, 40) + 1,
    mamv: field(cap, 53, 48),
    cm: may(7),
    zlr: may(22),
    psi: may(39),
    fs1gp: may(56),
    fs5lp: may(60),
    esrtps: may(63),
    qi: has(1),
    dt: has(2),
    pt: has(6),
    sc: has(7),
    nest: has(26),
    prs: has(29),
    srs: has(31),
    nwfs: has(33),
    eafs: has(34),
    pasid: has(40),
    pds: has(42),
    smts: has(43),
    ssads: has(45),
    ssts: has(46),
    fsts: has(47),
    smpwcs: has(48),
    rps: has(49),
    adms: has(52),
    rprivs: has(53),
    ptrs: has(56),
    ssirws: has(57),
    sms: has(58),
  }
}

/** Bits of the address width AW where SAGAW has it. */
export const widthOf = (features: VtdFeatures, aw: number): number | undefined =>
  aw >= 1 && aw <= 3 && ((features.sagaw >> aw) & 1) === 1 ? 30 + 9 * aw : undefined

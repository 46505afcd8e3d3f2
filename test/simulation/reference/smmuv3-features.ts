/** What an SMMUv3 offers, read out of its raw ID registers, each bit where the manual prints it. */

/** Raw ID registers, as software reads them. */
export interface SmmuIds {
  readonly IDR0: number
  readonly IDR1: number
  readonly IDR3: number
  readonly IDR5: number
  readonly AIDR: number
}

/** What the ID registers offer. */
export interface SmmuFeatures {
  readonly stage1: boolean
  readonly stage2: boolean
  readonly sidSize: number
  readonly ssidSize: number
  readonly cd2l: boolean
  readonly asid16: boolean
  readonly vmid16: boolean
  readonly oasBits: number
  /** log2 of the granules: 12, 14, 16. */
  readonly granules: readonly number[]
  /** IDR5.VAX: 52-bit virtual addresses. */
  readonly wideVa: boolean
  /** IDR5.DS: 52-bit addresses with the 4 KiB and 16 KiB granules. */
  readonly ds: boolean
  /** IDR3.STT: small translation tables. */
  readonly smallTables: boolean
  /** IDR0.STALL_MODEL: 0 stall and terminate, 1 terminate, 2 stall. */
  readonly stallModel: number
  /** IDR0.TERM_MODEL: a terminated access always aborts. */
  readonly abortOnly: boolean
  /** IDR1.ATTR_PERMS_OVR. */
  readonly overrides: boolean
  /** IDR0.HTTU: 0 none, 1 Access flag, 2 and the dirty state. */
  readonly httu: number
  /** IDR0.Hyp: EL2 StreamWorlds. */
  readonly hyp: boolean
  readonly ats: boolean
  /** IDR0.NS1ATS = 0: split-stage ATS. */
  readonly splitAts: boolean
  /** IDR0.ATSRECERR: CR2.REC_CFG_ATS is there. */
  readonly recordsAts: boolean
  readonly had: boolean
  readonly xnx: boolean
  readonly e0pd: boolean
  readonly epan: boolean
}

/** Bits of an address by the code of IDR5.OAS, CD.IPS and STE.S2PS; 56 bits need SMMUv3.4 and an OAS of 7. */
export const ADDRESS_BITS: readonly number[] = [32, 36, 40, 42, 44, 48, 52, 52]

/** Decodes them. [SMMU 6.3.1 SMMU_IDR0] [SMMU 6.3.2 SMMU_IDR1] [SMMU 6.3.4 SMMU_IDR3] [SMMU 6.3.6 SMMU_IDR5] */
export function featuresOf(ids: SmmuIds): SmmuFeatures {
  const bits = (word: number, high: number, low = high): number => (word >>> low) & (2 ** (high - low + 1) - 1)
  const bit = (word: number, at: number): boolean => bits(word, at) === 1
  const { IDR0, IDR1, IDR3, IDR5 } = ids
  return {
    stage2: bit(IDR0, 0),
    stage1: bit(IDR0, 1),
    httu: bits(IDR0, 7, 6),
    hyp: bit(IDR0, 9),
    ats: bit(IDR0, 10),
    splitAts: !bit(IDR0, 11),
    recordsAts: bit(IDR0, 23),
    asid16: bit(IDR0, 12),
    vmid16: bit(IDR0, 18),
    cd2l: bit(IDR0, 19),
    stallModel: bits(IDR0, 25, 24),
    abortOnly: bit(IDR0, 26),
    sidSize: bits(IDR1, 5, 0),
    ssidSize: bits(IDR1, 10, 6),
    overrides: bit(IDR1, 26),
    had: bit(IDR3, 2),
    xnx: bit(IDR3, 4),
    smallTables: bit(IDR3, 9),
    e0pd: bit(IDR3, 13),
    epan: bit(IDR3, 17),
    oasBits: ADDRESS_BITS[bits(IDR5, 2, 0)],
    granules: [4, 5, 6].flatMap((at, i) => (bit(IDR5, at) ? [12 + 2 * i] : [])),
    ds: bit(IDR5, 7),
    wideVa: bits(IDR5, 11, 10) !== 0,
  }
}

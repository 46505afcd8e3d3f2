/** What the ID registers offer, decoded once. Every "if the unit supports" of the manual asks this. */

import { IDR0, IDR1, IDR3, IDR5 } from './registers.js'

/** Raw ID registers, as software reads them. */
export interface IdRegisters {
  readonly IDR0: number
  readonly IDR1: number
  readonly IDR2: number
  readonly IDR3: number
  readonly IDR4: number
  readonly IDR5: number
  readonly IIDR: number
  readonly AIDR: number
}

/** Decoded ID registers. */
export interface Features {
  readonly stage1: boolean
  readonly stage2: boolean
  readonly asid16: boolean
  readonly vmid16: boolean
  readonly msi: boolean
  /** Two-level CD tables. */
  readonly cd2l: boolean
  /** Two-level stream tables. */
  readonly twoLevelStreams: boolean
  /** A terminated access always aborts: CD.A = 0 is illegal. */
  readonly abortOnly: boolean
  readonly sidSize: number
  readonly ssidSize: number
  /** log2 of the largest queues. */
  readonly commandQueueLg2: number
  readonly eventQueueLg2: number
  /** STE.PRIVCFG and INSTCFG work. */
  readonly permissionOverride: boolean
  /** STE.SHCFG, MemAttr and ALLOCCFG work. */
  readonly typesOverride: boolean
  readonly had: boolean
  readonly xnx: boolean
  readonly fwb: boolean
  readonly ril: boolean
  /** How blocks and tables may replace each other, 0 to 2. */
  readonly bbml: number
  /** Hardware sets access flags (1), and dirty state too (2). */
  readonly httu: number
  /** The EL2 StreamWorlds, and CR2.E2H. */
  readonly hyp: boolean
  readonly ats: boolean
  /** Split-stage ATS (EATS = 0b10) is not supported. */
  readonly ns1ats: boolean
  /** CR2.REC_CFG_ATS works. */
  readonly atsRecordsErrors: boolean
  readonly pri: boolean
  /** The answer to an overflowing page request carries its PASID. */
  readonly pps: boolean
  /** CR0.VMW works. */
  readonly vmw: boolean
  /** One of STALL_MODEL. */
  readonly stallModel: number
  /** Transactions that may be stalled at once. */
  readonly stallMax: number
  /** Small translation tables. */
  readonly stt: boolean
  readonly e0pd: boolean
  readonly epan: boolean
  /** 52-bit addresses with 4 KiB and 16 KiB granules. */
  readonly ds: boolean
  /** Largest input size of a half: 0 is 48 bits, 1 is 52. */
  readonly vax: number
  readonly priQueueLg2: number
  /** Bits of an output address. */
  readonly oasBits: number
  /** One bit a supported granule: 1 << 12, 1 << 14, 1 << 16. */
  readonly granules: number
  /** log2 of the smallest granule, which is the Smallest Translation Unit of ATS. [SMMU 3.9.1 ATS Interface] */
  readonly smallestGranuleLg2: number
}

/** IDR0.STALL_MODEL. [SMMU 6.3.1 SMMU_IDR0] */
export const STALL_MODEL = { BOTH: 0, TERMINATE: 1, FORCED: 2 } as const

/** Bits of an address for each code of IDR5.OAS, CD.IPS and STE.S2PS. Code 7 is 56 from SMMUv3.4 only. */
const ADDRESS_BITS: readonly number[] = [32, 36, 40, 42, 44, 48, 52, 52]

/** Bits of an address for a size code. [SMMU 6.3.6 SMMU_IDR5] */
export const addressBits = (code: number): number => ADDRESS_BITS[code & 7]

/** Decodes ID registers. */
export function featuresOf(id: IdRegisters): Features {
  const words = Int32Array.of(id.IDR0, id.IDR1, id.IDR3, id.IDR5)
  const [at0, at1, at3, at5] = [0, 1, 2, 3]
  const granules =
    (IDR5.GRAN4K.get(words, at5) << 12) | (IDR5.GRAN16K.get(words, at5) << 14) | (IDR5.GRAN64K.get(words, at5) << 16)
  return {
    stage1: IDR0.S1P.get(words, at0) === 1,
    stage2: IDR0.S2P.get(words, at0) === 1,
    asid16: IDR0.ASID16.get(words, at0) === 1,
    vmid16: IDR0.VMID16.get(words, at0) === 1,
    msi: IDR0.MSI.get(words, at0) === 1,
    cd2l: IDR0.CD2L.get(words, at0) === 1,
    twoLevelStreams: IDR0.ST_LEVEL.get(words, at0) === 1,
    abortOnly: IDR0.TERM_MODEL.get(words, at0) === 1,
    sidSize: IDR1.SIDSIZE.get(words, at1),
    ssidSize: IDR1.SSIDSIZE.get(words, at1),
    commandQueueLg2: IDR1.CMDQS.get(words, at1),
    eventQueueLg2: IDR1.EVENTQS.get(words, at1),
    permissionOverride: IDR1.ATTR_PERMS_OVR.get(words, at1) === 1,
    typesOverride: IDR1.ATTR_TYPES_OVR.get(words, at1) === 1,
    had: IDR3.HAD.get(words, at3) === 1,
    xnx: IDR3.XNX.get(words, at3) === 1,
    fwb: IDR3.FWB.get(words, at3) === 1,
    ril: IDR3.RIL.get(words, at3) === 1,
    bbml: IDR3.BBML.get(words, at3),
    httu: IDR0.HTTU.get(words, at0),
    hyp: IDR0.Hyp.get(words, at0) === 1,
    ats: IDR0.ATS.get(words, at0) === 1,
    ns1ats: IDR0.NS1ATS.get(words, at0) === 1,
    atsRecordsErrors: IDR0.ATSRECERR.get(words, at0) === 1,
    pri: IDR0.PRI.get(words, at0) === 1,
    pps: IDR3.PPS.get(words, at3) === 1,
    vmw: IDR0.VMW.get(words, at0) === 1,
    stallModel: IDR0.STALL_MODEL.get(words, at0),
    stallMax: IDR5.STALL_MAX.get(words, at5),
    stt: IDR3.STT.get(words, at3) === 1,
    e0pd: IDR3.E0PD.get(words, at3) === 1,
    epan: IDR3.EPAN.get(words, at3) === 1,
    ds: IDR5.DS.get(words, at5) === 1,
    vax: IDR5.VAX.get(words, at5),
    priQueueLg2: IDR1.PRIQS.get(words, at1),
    oasBits: addressBits(IDR5.OAS.get(words, at5)),
    granules,
    smallestGranuleLg2: 31 - Math.clz32(granules & -granules),
  }
}

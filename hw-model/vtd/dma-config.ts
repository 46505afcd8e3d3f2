/** Context and PASID table entries as the unit keeps them. [VTD 9.3 Context Entry, 9.4, 9.6] */

import { highHalf } from '../bits/address.js'
import { ACCESS, NO_PASID, type Transaction } from '../port.js'

/** What governs a DMA: a legacy context entry or a PASID table entry, decoded. */
export interface DmaConfig {
  /** One of PGTT. */
  readonly pgtt: number
  readonly isLegacy: boolean
  readonly did: number
  /** The PASID its IOTLB entries carry; 0 in legacy mode. */
  readonly pasid: number
  /** Fault processing disable, of this entry and all above it. */
  readonly fpd: number
  readonly secondTable: number
  /** The same as two halves. */
  readonly secondTableLo: number
  readonly secondTableHi: number
  readonly secondLevels: number
  /** Bits of a second-stage input address: min(MGAW, AW). */
  readonly secondBits: number
  readonly firstTable: number
  readonly firstTableLo: number
  readonly firstTableHi: number
  readonly firstLevels: number
  readonly sre: boolean
  readonly wpe: boolean
  readonly eafe: boolean
  readonly ssade: boolean
  /** Flags may be set in its paging structures. [VTD 3.10 Snoop Behavior] */
  readonly isSnooped: boolean
  /** The host permission table, the bits of an address that it is about, and its domain-id. [VTD 9.6 HPTPTR, HPTSZ, HPTDID] */
  readonly hostTable: number
  readonly hostBits: number
  readonly hostDid: number
  /** The IOTLB's number for (DID, PGTT, PASID), and the epoch it is good for; kept by `iotlb.ts`. */
  group: number
  groupEpoch: number
  /** The paging-structure caches' numbers, and the epoch they are good for; kept by `table-caches.ts`. */
  firstTag: number
  firstGroup: number
  secondTag: number
  tableEpoch: number
  /** Why there is no such configuration, where caching mode keeps that: one of REASON, or NONE. The rest is void. */
  readonly fault: number
}

/** A context entry, decoded. In legacy mode it is the whole configuration, in scalable mode a way to the PASIDs. */
export interface ContextConfig {
  readonly sid: number
  /** Domain-id of legacy mode; 0 in scalable mode, whose context cache has no such tag. [VTD 6.2.1 T17] */
  readonly did: number
  readonly fpd: number
  /** One of TT; legacy mode. */
  readonly tt: number
  readonly dma: DmaConfig | null
  /** DTE: translation and translated requests may come. */
  readonly deviceTlbEnabled: boolean
  readonly pasidEnabled: boolean
  /** PRE: page requests may come. */
  readonly pageRequestEnabled: boolean
  /** EPTR: a translated request may carry a PASID. */
  readonly translatedPasidEnabled: boolean
  /** HPTE: translated requests are checked against the host permission table. */
  readonly hostPermissionEnabled: boolean
  readonly directory: number
  /** PASIDs are below this. */
  readonly pasidLimit: number
  readonly ridPasid: number
  /** RID_PRIV: requests without PASID are privileged. */
  readonly ridPrivileged: boolean
  /** Why there is no such entry, where caching mode keeps that: one of REASON, or NONE. The rest is void. */
  readonly fault: number
  /** The same, to requests that PASIDE blocks. */
  readonly pasidFault: number
}

/** The PASID whose entry governs a request. [VTD 3.4.3] */
export const pasidFor = (context: ContextConfig, pasid: number): number =>
  pasid === NO_PASID ? context.ridPasid : pasid

/** Whether a request is privileged: by itself beside a PASID, by RID_PRIV without one. [VTD 9.4 RID_PRIV] */
export const privilegeFor = (context: ContextConfig, { pasid, access }: Transaction): boolean =>
  pasid === NO_PASID ? context.ridPrivileged : (access & ACCESS.PRIVILEGED) !== 0

/**
 * A context entry with what its mode does not have left empty. Field by field: an object that is spread into another is
 * a new shape each time, which takes long to make.
 */
export function contextConfig(sid: number, fpd: number, rest: Partial<ContextConfig>): ContextConfig {
  return {
    sid,
    did: rest.did ?? 0,
    fpd,
    tt: rest.tt ?? 0,
    dma: rest.dma ?? null,
    deviceTlbEnabled: rest.deviceTlbEnabled ?? false,
    pasidEnabled: rest.pasidEnabled ?? false,
    pageRequestEnabled: rest.pageRequestEnabled ?? false,
    translatedPasidEnabled: rest.translatedPasidEnabled ?? false,
    hostPermissionEnabled: rest.hostPermissionEnabled ?? false,
    directory: rest.directory ?? 0,
    pasidLimit: rest.pasidLimit ?? 0,
    ridPasid: rest.ridPasid ?? 0,
    ridPrivileged: rest.ridPrivileged ?? false,
    fault: rest.fault ?? 0,
    pasidFault: rest.pasidFault ?? 0,
  }
}

/** What every kind of configuration says, and what only some do. */
type Decoded = Pick<DmaConfig, 'secondTable' | 'secondLevels' | 'secondBits' | 'sre'> & Partial<DmaConfig>

/** A configuration with what its kind does not have left empty. */
export function dmaConfig(pgtt: number, did: number, pasid: number, fpd: number, rest: Decoded): DmaConfig {
  const { secondTable, firstTable = 0 } = rest
  return {
    pgtt,
    did,
    pasid,
    fpd,
    isLegacy: rest.isLegacy ?? false,
    secondTable,
    secondTableLo: secondTable | 0,
    secondTableHi: highHalf(secondTable),
    secondLevels: rest.secondLevels,
    secondBits: rest.secondBits,
    firstTable,
    firstTableLo: firstTable | 0,
    firstTableHi: highHalf(firstTable),
    firstLevels: rest.firstLevels ?? 0,
    sre: rest.sre,
    wpe: rest.wpe ?? false,
    eafe: rest.eafe ?? false,
    ssade: rest.ssade ?? false,
    isSnooped: rest.isSnooped ?? false,
    hostTable: rest.hostTable ?? 0,
    hostBits: rest.hostBits ?? 0,
    hostDid: rest.hostDid ?? 0,
    group: -1,
    groupEpoch: -1,
    firstTag: -1,
    firstGroup: -1,
    secondTag: -1,
    tableEpoch: -1,
    fault: rest.fault ?? 0,
  }
}

/** What caching mode keeps of a PASID table entry that faulted: domain-id 0 is reserved for it. [VTD 6.2.3 PASID-Cache] */
export const faultyDma = (pasid: number, fpd: number, fault: number): DmaConfig =>
  dmaConfig(0, 0, pasid, fpd, { secondTable: 0, secondLevels: 0, secondBits: 0, sre: false, fault })

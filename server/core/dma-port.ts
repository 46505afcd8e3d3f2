/** Where a device's DMA enters its unit: part of the door to the host drivers. */

/** Bits of an access; the numbers are the hardware model's. */
export const DMA_ACCESS = { READ: 1, WRITE: 2, EXECUTE: 4, PRIVILEGED: 8 } as const

/** Beside the rights that answer a translation request: the address may be used untranslated alone (U). */
export const UNTRANSLATED_ONLY = 16

/** How a DMA ended; the numbers are the hardware model's and the wire's. */
export const DMA_STATUS = {
  OK: 1,
  FAULT: 2,
  ABORTED: 3,
  RAZ_WI: 4,
  PENDING: 5,
  UNSUPPORTED: 6,
  COMPLETER_ABORT: 7,
} as const

/** What a device sends; the numbers are the hardware model's. The last two statuses above are a translation request's. */
export const DMA_REQUEST = { UNTRANSLATED: 0, TRANSLATION: 1, TRANSLATED: 2 } as const

/** A struct that the caller reuses. Physical addresses in it never leave the server. */
export interface DmaOutcome {
  status: number
  address: number
  leafLg2: number
  rights: number
  fault: number
  hit: number
  tag: number
  untranslatedOnly: number
}

/** Many requests in dense arrays, and where what becomes of them is written. */
export interface DmaRun {
  /** Two signed halves of each address, low first. */
  readonly iovas: Int32Array
  /** Bits of DMA_ACCESS of every request; of none where `accesses` has them. */
  readonly access: number
  readonly accesses: Uint32Array
  /** Of requests that ended OK; of others nothing is written. */
  readonly outcomes: Uint32Array
  readonly addresses: Float64Array
  readonly pageSizeLog2s: Uint32Array
  /** Rights, and UNTRANSLATED_ONLY. */
  readonly permissions: Uint32Array
  readonly cacheHits: Uint32Array
}

/** What an address in a step counts in: guest-physical, or physical. */
export type StepSpace = 'ipa' | 'pa'

/** One step of an explained walk. Physical addresses in it never leave the server, but to the owner of a raw unit. */
export interface ExplainStep {
  readonly what: string
  /** Whose tables; absent for configuration. */
  readonly stage?: 1 | 2
  /** Of a table entry, as the manual counts it. */
  readonly level?: number
  /** Physical. */
  readonly address?: number
  readonly guestAddress?: number
  /** 32 bits each, low first. */
  readonly words?: readonly number[]
  readonly fields?: Readonly<Record<string, number>>
  /** Values of fields in words. */
  readonly texts?: Readonly<Record<string, string>>
  /** The fields that are addresses. */
  readonly pointers?: Readonly<Record<string, StepSpace>>
  /** Without any address. */
  readonly verdict: string
  /** The address that the verdict is about. */
  readonly target?: { readonly space: StepSpace; readonly address: number }
  readonly citation?: string
}

/** Where a device's DMA enters its unit. Both halves of an address are 32 bits. */
export interface DmaPort {
  /** A request may be PENDING now. Absent: none ever is. */
  readonly mayPend?: boolean
  /** @param pasid the PASID on the request, or -1 for none */
  translate(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void
  /**
   * Sends the requests of a run one after the other, up to the first that does not end OK: `out` holds how that ended.
   * Only where none may be PENDING. Absent: single requests do it.
   *
   * @returns which it was, or `end`
   */
  translateRun?(pasid: number, run: DmaRun, from: number, end: number, out: DmaOutcome): number
  /** A struct for outcomes of the very kind that it fills fastest. Absent: any will do. */
  newOutcome?(): DmaOutcome
  /** The same walk, dry and fresh: no cache, no flag, no record. */
  explain(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[]
  /** What the caches alone answer, and nothing is touched; false, and `out` is void, where they do not. */
  peek(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): boolean
  /** The invalidation that the client has not sent, in its own terms; empty where none is missing or none is its own. */
  missing(pasid: number, lo: number, hi: number, access: number): string
  faultName(fault: number): string
}

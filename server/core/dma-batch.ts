/**
 * Many translations in dense arrays: what Translate and TranslateUnit share. The loop over the elements allocates
 * nothing for those that do not fault.
 */

import { detailOf, type RefusalDetail, refusalIn } from './detail.js'
import { type Attempt, type DmaFault, faultOf, hasFault, staleFault } from './dma-fault.js'
import { DMA_ACCESS, DMA_STATUS, type DmaOutcome, type ExplainStep, UNTRANSLATED_ONLY } from './driver.js'
import { assert, Refusal } from './refusal.js'
import { isLook, type Work } from './work.js'

/** The contract's DmaOutcome. */
export type OutcomeNumber = 0 | 1 | 2 | 3 | 4 | 5

/** Bits that an access may have. */
const ACCESS_BITS = DMA_ACCESS.READ | DMA_ACCESS.WRITE | DMA_ACCESS.EXECUTE | DMA_ACCESS.PRIVILEGED
const MOVES = DMA_ACCESS.READ | DMA_ACCESS.WRITE | DMA_ACCESS.EXECUTE

/** A way into a unit, for elements of a batch. Both halves of an address are 32 bits. */
export interface Requester {
  translate(index: number, lo: number, hi: number, access: number, out: DmaOutcome): void
  explain(index: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[]
  /** What the caches alone answer; false where they do not. */
  peek(index: number, lo: number, hi: number, access: number, out: DmaOutcome): boolean
  /** The invalidation that was not sent; empty where none is missing. */
  missing(index: number, lo: number, hi: number, access: number): string
  faultName(fault: number): string
  /** Whether the fault that the last request ended with was recorded. Absent: it was. */
  wasRecorded?(): boolean
  /** Why the oracle has ended the last request ABORTED; empty or absent where it has not. */
  staleReason?(): string
}

/** What is the same in every reply; arrays are as long as `doneCount`. */
export interface BatchColumns {
  readonly outcomes: Uint32Array
  readonly pageSizeLog2s: Uint32Array
  readonly permissions: Uint32Array
  readonly faultCodes: Uint32Array
  readonly cacheHits: Uint32Array
  readonly transactionIds: BigUint64Array
  readonly faults: readonly DmaFault[]
  readonly doneCount: number
  readonly refusal?: RefusalDetail
}

/** A struct for outcomes. */
export const newOutcome = (): DmaOutcome => ({
  status: DMA_STATUS.ABORTED,
  address: 0,
  leafLg2: 12,
  rights: 0,
  fault: 0,
  hit: 0,
  tag: 0,
  untranslatedOnly: 0,
})

/** What a batch asks. */
export interface Batch {
  readonly iovas: BigUint64Array
  /** Access of every element; 0 is READ. */
  readonly access: number
  /** Access of each element, or empty. */
  readonly accesses: Uint32Array
  /** Faults that get a sentence. */
  readonly explained: number
  /** Absent where nothing is ever pending. */
  readonly keeper?: Keeper
}

/** Keeps what a unit holds instead of ending it. */
export interface Keeper {
  /** A request may be held. It stays so until there is a pause. */
  readonly mayPend: boolean
  /** Before a request is sent: there is room should it be held. @throws Refusal EDQUOT */
  makeRoom(): void
  /** The request that was sent last is held under this tag; the id of its transaction. */
  keep(tag: number, attempt: Attempt): bigint
}

/**
 * Translates every element, or up to the first whose access cannot be.
 *
 * @param took told of each element that ended OK
 * @param lookAgain called after a pause; throws a Refusal when the requester is no longer there
 */
export function* translateBatch(
  requester: Requester,
  batch: Batch,
  took: (index: number, outcome: DmaOutcome) => void,
  lookAgain: () => void = () => {},
): Work<BatchColumns> {
  const { iovas, accesses, keeper } = batch
  const count = iovas.length
  // Two halves of each address, low first: typed arrays are little-endian on every machine that Node runs on.
  const halves = new Uint32Array(iovas.buffer, iovas.byteOffset, count * 2)
  const columns = newColumns(count)
  const { outcomes, pageSizeLog2s, permissions, faultCodes, cacheHits, faults } = columns
  let transactionIds = NO_IDS
  const out = newOutcome()
  let done = 0
  let mayPend = keeper?.mayPend === true
  let access = batch.access === 0 ? DMA_ACCESS.READ : batch.access
  const refusal = yield* refusalIn(
    (function* () {
      checkAccesses(batch, access)
      for (; done < count; done++) {
        if (done > 0 && isLook(done)) {
          yield
          lookAgain()
          mayPend = keeper?.mayPend === true
        }
        if (accesses.length !== 0) {
          access = accesses[done]
          checkAccess(access, done)
        }
        const lo = halves[2 * done]
        const hi = halves[2 * done + 1]
        if (mayPend) keeper?.makeRoom()
        out.fault = 0
        requester.translate(done, lo, hi, access, out)
        outcomes[done] = out.status
        cacheHits[done] = out.hit
        if (out.status === DMA_STATUS.OK) {
          pageSizeLog2s[done] = out.leafLg2
          permissions[done] = out.untranslatedOnly === 0 ? out.rights : out.rights | UNTRANSLATED_ONLY
          took(done, out)
        } else if (out.status === DMA_STATUS.ABORTED && requester.staleReason?.()) {
          faults.push(staleFault(requester.staleReason(), { index: done, lo, hi, access }))
        } else if (hasFault(out)) {
          faultCodes[done] = out.fault
          faults.push(faultOf(requester, { index: done, lo, hi, access }, out.fault, faults.length < batch.explained))
        } else if (out.status === DMA_STATUS.PENDING && keeper !== undefined) {
          if (transactionIds === NO_IDS) transactionIds = new BigUint64Array(count)
          transactionIds[done] = keeper.keep(out.tag, { index: done, lo, hi, access })
        } else refusePending(out)
      }
    })(),
  )
  return cut({ ...columns, transactionIds }, done, refusal)
}

interface Columns extends BatchColumns {
  readonly faults: DmaFault[]
}

const newColumns = (count: number): Columns => ({
  outcomes: new Uint32Array(count),
  pageSizeLog2s: new Uint32Array(count),
  permissions: new Uint32Array(count),
  faultCodes: new Uint32Array(count),
  cacheHits: new Uint32Array(count),
  transactionIds: NO_IDS,
  faults: [],
  doneCount: 0,
})

/** The elements that were attempted. */
const cut = (columns: BatchColumns, done: number, refusal: Refusal | undefined): BatchColumns => ({
  outcomes: columns.outcomes.subarray(0, done),
  pageSizeLog2s: columns.pageSizeLog2s.subarray(0, done),
  permissions: columns.permissions.subarray(0, done),
  faultCodes: columns.faultCodes.subarray(0, done),
  cacheHits: columns.cacheHits.subarray(0, done),
  transactionIds: columns.transactionIds.subarray(0, done),
  faults: columns.faults,
  doneCount: done,
  refusal: refusal === undefined ? undefined : detailOf(refusal),
})

/** @throws Refusal EINVAL */
function checkAccesses({ iovas, accesses }: Batch, access: number): void {
  if (accesses.length === 0) checkAccess(access)
  else if (accesses.length !== iovas.length)
    throw new Refusal('EINVAL', `accesses has ${accesses.length} elements, and iovas ${iovas.length}`)
}

/** Of a batch that was refused as a whole. */
export const noColumns = (): BatchColumns => newColumns(0)

/** @throws Refusal EINVAL, for bits that are no access and for an access that moves nothing */
export function checkAccess(access: number, index = 0): void {
  if ((access & ~ACCESS_BITS) === 0 && (access & MOVES) !== 0) return
  throw new Refusal('EINVAL', 'an access has READ, WRITE or EXEC, and beside them PRIV', { index, access })
}

const NO_IDS = new BigUint64Array(0)

/** Who does not keep what pends sends nothing that could. */
export function refusePending(out: DmaOutcome): void {
  assert(out.status !== DMA_STATUS.PENDING, 'a request that may pend has a keeper')
}

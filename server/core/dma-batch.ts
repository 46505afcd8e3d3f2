/**
 * Many translations in dense arrays: what Translate and TranslateUnit share. The loop over the elements allocates
 * nothing for those that do not fault.
 */

import { detailOf, type RefusalDetail } from './detail.js'
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
  /** A struct as its unit makes them, which is fastest for it. Absent: any will do. */
  newOutcome?(): DmaOutcome
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
  const attempts = new Attempts(requester, batch, took)
  let refusal: Refusal | undefined
  try {
    attempts.check()
    while (attempts.goOn()) {
      yield
      lookAgain()
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    refusal = error
  }
  return cut(attempts.columns, attempts.done, refusal)
}

/** The elements of a batch, one after the other. */
class Attempts {
  readonly columns: Columns
  done = 0
  readonly #requester: Requester
  readonly #batch: Batch
  readonly #took: (index: number, outcome: DmaOutcome) => void
  /** Two halves of each address, low first: typed arrays are little-endian on every machine that Node runs on. */
  readonly #halves: Uint32Array
  readonly #access: number
  readonly #out: DmaOutcome

  constructor(requester: Requester, batch: Batch, took: (index: number, outcome: DmaOutcome) => void) {
    const { iovas, access } = batch
    this.columns = newColumns(iovas.length)
    this.#requester = requester
    this.#batch = batch
    this.#took = took
    this.#halves = new Uint32Array(iovas.buffer, iovas.byteOffset, iovas.length * 2)
    this.#access = access === 0 ? DMA_ACCESS.READ : access
    this.#out = requester.newOutcome?.() ?? newOutcome()
  }

  /** @throws Refusal EINVAL */
  check(): void {
    checkAccesses(this.#batch, this.#access)
  }

  /** Attempts those up to the next look at the time; false when none is left. @throws Refusal */
  goOn(): boolean {
    const { accesses, keeper } = this.#batch
    const { outcomes, pageSizeLog2s, permissions, cacheHits } = this.columns
    const requester = this.#requester
    const halves = this.#halves
    const out = this.#out
    const mayPend = keeper?.mayPend === true
    const hasEach = accesses.length !== 0
    const count = outcomes.length
    for (let index = this.done; index < count; index = this.done) {
      const access = hasEach ? accesses[index] : this.#access
      if (hasEach) checkAccess(access, index)
      if (mayPend) keeper.makeRoom()
      out.fault = 0
      requester.translate(index, halves[2 * index], halves[2 * index + 1], access, out)
      outcomes[index] = out.status
      cacheHits[index] = out.hit
      if (out.status === DMA_STATUS.OK) {
        pageSizeLog2s[index] = out.leafLg2
        permissions[index] = out.untranslatedOnly === 0 ? out.rights : out.rights | UNTRANSLATED_ONLY
        this.#took(index, out)
      } else this.#failed(index, access)
      this.done = index + 1
      if (isLook(index + 1) && index + 1 < count) return true
    }
    return false
  }

  /** An element that did not end OK. */
  #failed(index: number, access: number): void {
    const out = this.#out
    const { columns } = this
    const { explained, keeper } = this.#batch
    const lo = this.#halves[2 * index]
    const hi = this.#halves[2 * index + 1]
    const { faults } = columns
    const stale = out.status === DMA_STATUS.ABORTED ? this.#requester.staleReason?.() : undefined
    if (stale) {
      faults.push(staleFault(stale, { index, lo, hi, access }))
    } else if (hasFault(out)) {
      columns.faultCodes[index] = out.fault
      faults.push(faultOf(this.#requester, { index, lo, hi, access }, out.fault, faults.length < explained))
    } else if (out.status === DMA_STATUS.PENDING && keeper !== undefined) {
      if (columns.transactionIds === NO_IDS) columns.transactionIds = new BigUint64Array(columns.outcomes.length)
      columns.transactionIds[index] = keeper.keep(out.tag, { index, lo, hi, access })
    } else refusePending(out)
  }
}

interface Columns extends BatchColumns {
  readonly faults: DmaFault[]
  transactionIds: BigUint64Array
}

/** Columns of so many elements, out of one buffer: five of their own cost more than filling them. */
function newColumns(count: number): Columns {
  const buffer = new ArrayBuffer(5 * 4 * count)
  const column = (which: number): Uint32Array => new Uint32Array(buffer, which * 4 * count, count)
  return {
    outcomes: column(0),
    pageSizeLog2s: column(1),
    permissions: column(2),
    faultCodes: column(3),
    cacheHits: column(4),
    transactionIds: NO_IDS,
    faults: [],
    doneCount: 0,
  }
}

/** The elements that were attempted. */
function cut(columns: BatchColumns, done: number, refusal: Refusal | undefined): BatchColumns {
  const why = refusal === undefined ? undefined : detailOf(refusal)
  if (done === columns.outcomes.length) return { ...columns, doneCount: done, refusal: why }
  return {
    outcomes: columns.outcomes.subarray(0, done),
    pageSizeLog2s: columns.pageSizeLog2s.subarray(0, done),
    permissions: columns.permissions.subarray(0, done),
    faultCodes: columns.faultCodes.subarray(0, done),
    cacheHits: columns.cacheHits.subarray(0, done),
    transactionIds: columns.transactionIds.subarray(0, done),
    faults: columns.faults,
    doneCount: done,
    refusal: why,
  }
}

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

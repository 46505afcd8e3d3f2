/**
 * Many translations in dense arrays: what Translate and TranslateUnit share. The loop over the elements allocates
 * nothing for those that do not fault.
 */

import { detailOf, type RefusalDetail } from './detail.js'
import { type Attempt, type DmaFault, faultOf, hasFault, staleFault } from './dma-fault.js'
import { DMA_ACCESS, DMA_STATUS, type DmaOutcome, type DmaRun, type ExplainStep, UNTRANSLATED_ONLY } from './driver.js'
import { TRANSLATIONS_A_LOOK } from './limits.js'
import { assert, Refusal } from './refusal.js'
import type { Work } from './work.js'

/** The contract's DmaOutcome. */
export type OutcomeNumber = 0 | 1 | 2 | 3 | 4 | 5

/** Bits that an access may have. */
const ACCESS_BITS = DMA_ACCESS.READ | DMA_ACCESS.WRITE | DMA_ACCESS.EXECUTE | DMA_ACCESS.PRIVILEGED
const MOVES = DMA_ACCESS.READ | DMA_ACCESS.WRITE | DMA_ACCESS.EXECUTE

/** Translations of the time that one which fails takes: its fault is told in words. */
const FAILURE_COSTS = 8

/** A way into a unit, for elements of a batch. Both halves of an address are 32 bits. */
export interface Requester {
  translate(index: number, lo: number, hi: number, access: number, out: DmaOutcome): void
  /** As `DmaPort.translateRun`. Absent: one request after the other does it. */
  translateRun?(run: DmaRun, from: number, end: number, out: DmaOutcome): number
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

/** Is told of elements that ended OK, one after the other; the run says where they lead. */
export type Took = (run: DmaRun, from: number, end: number) => void

/**
 * Translates every element, or up to the first whose access cannot be.
 *
 * @param lookAgain called after a pause; throws a Refusal when the requester is no longer there
 */
export function* translateBatch(
  requester: Requester,
  batch: Batch,
  took: Took,
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
  readonly #took: Took
  readonly #run: DmaRun
  readonly #out: DmaOutcome

  constructor(requester: Requester, batch: Batch, took: Took) {
    const { iovas, access, accesses } = batch
    const { length } = iovas
    const addresses = new Float64Array(length)
    this.columns = newColumns(length)
    this.#requester = requester
    this.#batch = batch
    this.#took = took
    this.#run = {
      ...this.columns,
      iovas: new Int32Array(iovas.buffer, iovas.byteOffset, length * 2),
      access: access === 0 ? DMA_ACCESS.READ : access,
      accesses,
      addresses,
    }
    this.#out = requester.newOutcome?.() ?? newOutcome()
  }

  /** @throws Refusal EINVAL */
  check(): void {
    checkAccesses(this.#batch, this.#run.access)
  }

  /** Attempts those up to the next look at the time; false when none is left. @throws Refusal */
  goOn(): boolean {
    const { keeper } = this.#batch
    const { outcomes, cacheHits } = this.columns
    const run = this.#run
    const requester = this.#requester
    const out = this.#out
    const mayPend = keeper?.mayPend === true
    const count = outcomes.length
    let left = TRANSLATIONS_A_LOOK
    while (this.done < count) {
      if (left <= 0) return true
      const from = this.done
      const end = this.#checkedUpTo(Math.min(count, from + left))
      // One at a time may be held: what it finds no room for ends the run.
      if (mayPend) keeper.makeRoom()
      const stopped = requester.translateRun?.(run, from, end, out) ?? oneByOne(requester, run, from, end, out)
      this.done = stopped
      if (stopped > from) this.#took(run, from, stopped)
      left -= stopped - from
      if (stopped === end) continue
      outcomes[stopped] = out.status
      cacheHits[stopped] = out.hit
      this.#failed(stopped)
      this.done = stopped + 1
      left -= FAILURE_COSTS
    }
    return false
  }

  /** The end of those whose accesses can be. @throws Refusal EINVAL, where the next one's cannot */
  #checkedUpTo(end: number): number {
    const { accesses } = this.#batch
    if (accesses.length === 0) return end
    for (let index = this.done; index < end; index++) {
      if (isAccess(accesses[index])) continue
      if (index === this.done) checkAccess(accesses[index], index)
      return index
    }
    return end
  }

  /** An element that did not end OK. */
  #failed(index: number): void {
    const out = this.#out
    const { columns } = this
    const { explained, keeper, accesses } = this.#batch
    const access = accesses.length === 0 ? this.#run.access : accesses[index]
    const lo = this.#run.iovas[2 * index] >>> 0
    const hi = this.#run.iovas[2 * index + 1] >>> 0
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
  if (isAccess(access)) return
  throw new Refusal('EINVAL', 'an access has READ, WRITE or EXEC, and beside them PRIV', { index, access })
}

const isAccess = (access: number): boolean => (access & ~ACCESS_BITS) === 0 && (access & MOVES) !== 0

/** A run through a way that takes single requests. */
export function oneByOne(requester: Requester, run: DmaRun, from: number, end: number, out: DmaOutcome): number {
  const { iovas, accesses } = run
  for (let index = from; index < end; index++) {
    const access = accesses.length === 0 ? run.access : accesses[index]
    out.fault = 0
    requester.translate(index, iovas[2 * index] >>> 0, iovas[2 * index + 1] >>> 0, access, out)
    if (out.status !== DMA_STATUS.OK) return index
    tell(run, index, out)
  }
  return end
}

/** What became of an element that ended OK. */
function tell(run: DmaRun, index: number, out: DmaOutcome): void {
  run.outcomes[index] = DMA_STATUS.OK
  run.cacheHits[index] = out.hit
  run.addresses[index] = out.address
  run.pageSizeLog2s[index] = out.leafLg2
  run.permissions[index] = out.untranslatedOnly === 0 ? out.rights : out.rights | UNTRANSLATED_ONLY
}

const NO_IDS = new BigUint64Array(0)

/** Who does not keep what pends sends nothing that could. */
export function refusePending(out: DmaOutcome): void {
  assert(out.status !== DMA_STATUS.PENDING, 'a request that may pend has a keeper')
}

/** Where a device's requests enter the unit: DMA, and what ATS and PRI add to it. */

import {
  type Invalidation,
  NO_PASID,
  Outcome,
  PageRequest,
  REQUEST,
  STATUS,
  Transaction,
} from '../../../hw-model/port.js'
import type { SmmuV3 } from '../../../hw-model/smmuv3/index.js'
import type {
  AtsDoor,
  AtsPageRequest,
  DmaOutcome,
  DmaPort,
  DmaRun,
  ExplainStep,
  KeptTranslations,
  OwnInvalidation,
} from '../../core/driver.js'
import { addressOf, addressText } from '../invalidation-text.js'
import { sendRun } from '../translate-run.js'
import type { SmmuDevice } from './device.js'
import type { Host } from './host.js'
import { guestCommands } from './own-commands.js'
import { RootDomain } from './root.js'

const NOTHING: Partial<Invalidation> = {}

/** One device's way in. Whatever a request made the unit record is told before the request's own answer is. */
export class SmmuPort implements DmaPort, AtsDoor {
  readonly takesPageRequests: boolean
  readonly #unit: SmmuV3
  readonly #host: Host
  readonly #device: SmmuDevice
  readonly #transaction = new Transaction()
  readonly #rids: Uint32Array
  readonly #page = new PageRequest()

  constructor(host: Host, unit: SmmuV3, device: SmmuDevice, takesPageRequests: boolean) {
    this.#host = host
    this.#unit = unit
    this.#device = device
    this.takesPageRequests = takesPageRequests
    this.#transaction.rid = device.rid
    this.#rids = Uint32Array.of(device.rid)
    this.#page.rid = device.rid
  }

  get mayPend(): boolean {
    return this.#device.mayStall
  }

  translate(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#send(this.#fill(pasid, lo, hi, access), REQUEST.UNTRANSLATED, out)
  }

  translateRun(pasid: number, run: DmaRun, from: number, end: number, out: DmaOutcome): number {
    const stopped = sendRun(this.#unit, this.#fill(pasid, 0, 0, 0), this.#rids, run, from, end, out)
    if (stopped < end) this.#host.drain()
    return stopped
  }

  request(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#send(this.#fill(pasid, lo, hi, access), REQUEST.TRANSLATION, out)
  }

  /** Such an access carries no PASID here: IDR3.PASIDTT is 0. */
  translated(_pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#send(this.#fill(NO_PASID, lo, hi, access), REQUEST.TRANSLATED, out)
  }

  used(pasid: number, lo: number, hi: number, access: number, kept: KeptTranslations): boolean {
    const { oracle } = this.#unit
    return oracle === null || oracle.used(this.#fill(pasid, lo, hi, access), kept)
  }

  requestPage({ pasid, lo, hi, access, group, isLast }: AtsPageRequest): void {
    this.#unit.ats?.requestPage(Object.assign(this.#page, { pasid, lo, hi, access, group, isLast }))
    this.#host.drain()
  }

  explain(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[] {
    return this.#explain(this.#fill(pasid, lo, hi, access), out)
  }

  explainRequest(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[] {
    const transaction = this.#fill(pasid, lo, hi, access)
    transaction.type = REQUEST.TRANSLATION
    return this.#explain(transaction, out)
  }

  #explain(transaction: Transaction, out: DmaOutcome): readonly ExplainStep[] {
    const steps: ExplainStep[] = []
    const outcome = new Outcome()
    this.#unit.explain(transaction, outcome, { step: (step) => void steps.push(step) })
    Object.assign(out, outcome)
    return steps
  }

  peek(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): boolean {
    return this.#unit.peek(this.#fill(pasid, lo, hi, access), out)
  }

  missing(pasid: number, lo: number, hi: number, access: number): string {
    return this.ownTerms(pasid, this.#unit.missing(this.#fill(pasid, lo, hi, access)))?.text ?? ''
  }

  /** Commands as the owner of the tables gives them; undefined where the host has to. */
  ownTerms(pasid: number, commands: readonly Invalidation[]): OwnInvalidation | undefined {
    if (this.#device.domainOf(pasid) instanceof RootDomain) return termsOfRoot(commands)
    // Without the guest's name for the device nothing here is the guest's to invalidate.
    const { virtual } = this.#device
    return virtual === null ? undefined : guestCommands(commands, virtual.virtId)
  }

  newOutcome(): DmaOutcome {
    return new Outcome()
  }

  faultName(fault: number): string {
    return this.#unit.faultName(fault)
  }

  #send(transaction: Transaction, type: number, out: DmaOutcome): void {
    transaction.type = type
    this.#unit.translate(transaction, out)
    if (out.status === STATUS.OK) return
    // It may end while its record is being read.
    if (out.status === STATUS.PENDING) this.#host.pending.set(out.tag, this.#device)
    this.#host.drain()
  }

  #fill(pasid: number, lo: number, hi: number, access: number): Transaction {
    const transaction = this.#transaction
    transaction.pasid = pasid < 0 ? NO_PASID : pasid
    transaction.lo = lo | 0
    transaction.hi = hi | 0
    transaction.access = access
    transaction.type = REQUEST.UNTRANSLATED
    return transaction
  }
}

/** The CD and both of its names are the host's; the pages, of the unit and the device, are the owner's of the tables. */
function termsOfRoot(commands: readonly Invalidation[]): OwnInvalidation | undefined {
  const [{ page } = NOTHING] = commands
  const isPages = commands.every(({ name }) => name === 'TLBI_NH_VA' || name === 'ATC_INV')
  if (!isPages || new Set(commands.map(({ name }) => name)).size !== commands.length) return undefined
  if (page === undefined) return undefined
  const text = `smmuv3_pgd addr=${addressText(page)} npages=1 on the user domain`
  return { text, ranges: [{ addr: addressOf(page), npages: 1n, flags: 0 }] }
}

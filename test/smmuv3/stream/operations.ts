/**
 * What a recorded driver did, derived from its register writes and commands alone. Command lists of two processors may
 * stand between each other, so those that configure are gathered stream by stream; an operation stands where it began.
 */

import { bits, type Command, type CommandList, nameOf, REGISTER, type RegisterWrite, type Step } from './recording.js'

/** What was written for an operation. */
export interface Written {
  readonly lists: CommandList[]
  readonly registers: RegisterWrite[]
}

/** What was done, and what was written for it. */
export type Operation = Doing & Written

/** What was done. Pages and their number are counted in 4 KiB. */
export type Doing =
  | { readonly kind: 'reset' }
  /** A device's CD and STE lead to a domain, whose ASID is known from its end; 0 until then. */
  | { readonly kind: 'attach'; readonly sid: number; asid: number }
  /** A device's STE aborts and its CD is gone, and if nobody else has its domain, the ASID was dropped. */
  | { readonly kind: 'block'; readonly sid: number; asid: number }
  /** Leaves of one size were taken out. `pageLg2` is that size. */
  | { readonly kind: 'unmap'; readonly asid: number; page: number; pages: number; readonly pageLg2: number }
  /** A table of pages went with all that was in it. */
  | { readonly kind: 'free-table'; readonly asid: number; page: number; pages: number }
  /** A record of the event queue was taken out. */
  | { readonly kind: 'event' }

/** A stream whose entries are being changed. */
interface Changing {
  readonly operation: Written & { readonly kind: 'attach' | 'block'; readonly sid: number; asid: number }
  steps: string[]
}

const ATTACH = ['CFGI_CD', 'CFGI_CD', 'CFGI_STE', 'CFGI_STE', 'PREFETCH_CONFIG']
const BLOCK = ['CFGI_STE', 'CFGI_STE', 'PREFETCH_CONFIG', 'TLBI_NH_ASID', 'CFGI_CD', 'CFGI_CD']

/** @param last the ASID in the CD of a stream at the end of the recording */
export function operationsOf(steps: readonly Step[], last: ReadonlyMap<number, number>): readonly Operation[] {
  const reader = new Reader()
  for (const step of steps) reader.read(step)
  return reader.finish(last)
}

class Reader {
  readonly #operations: Operation[] = []
  readonly #changing = new Map<number, Changing>()

  read(step: Step): void {
    if (step.kind === 'register') this.#register(step.write)
    else this.#list(step.list)
  }

  finish(last: ReadonlyMap<number, number>): readonly Operation[] {
    if (this.#changing.size > 0) throw new Error('a stream is left half changed')
    const attached = new Map<number, Extract<Operation, { readonly kind: 'attach' }>>()
    for (const operation of this.#operations) {
      if (operation.kind === 'attach') attached.set(operation.sid, operation)
      else if (operation.kind === 'block') (attached.get(operation.sid) as { asid: number }).asid = operation.asid
    }
    for (const [sid, operation] of attached) if (operation.asid === 0) operation.asid = last.get(sid) ?? 0
    return this.#operations
  }

  #begin<D extends Doing>(doing: D): D & Written {
    const operation = { ...doing, lists: [], registers: [] }
    this.#operations.push(operation)
    return operation
  }

  #register(write: RegisterWrite): void {
    const reset = this.#operations[0]
    if (reset === undefined) this.#begin({ kind: 'reset' }).registers.push(write)
    else if (this.#operations.length === 1 && (write.offset !== REGISTER.EVENTQ_CONS || write.value === 0n)) {
      reset.registers.push(write)
    } else if (write.offset === REGISTER.EVENTQ_CONS) this.#begin({ kind: 'event' }).registers.push(write)
    else throw new Error(`a write of 0x${write.offset.toString(16)} after the reset`)
  }

  #list(list: CommandList): void {
    const [first] = list.commands
    const name = nameOf(first)
    if (name === 'CFGI_ALL' || name === 'TLBI_NSNH_ALL') this.#operations[0].lists.push(list)
    else if (name === 'TLBI_NH_VA') this.#unmap(list)
    else if (name === 'TLBI_NH_ASID') this.#dropped(bits(first.dw0, 63, 48), list)
    else this.#configure(name, bits(first.dw0, 63, 32), list)
  }

  #configure(name: string, sid: number, list: CommandList): void {
    let changing = this.#changing.get(sid)
    if (changing === undefined) {
      const isAttach = name === 'CFGI_CD'
      const operation = this.#begin({ kind: isAttach ? 'attach' : 'block', sid, asid: 0 } as const)
      changing = { operation, steps: isAttach ? [...ATTACH] : [...BLOCK] }
      this.#changing.set(sid, changing)
    }
    // Whose domain others still have, its ASID is not dropped.
    if (changing.steps[0] === 'TLBI_NH_ASID' && name === 'CFGI_CD') changing.steps.shift()
    if (changing.steps.shift() !== name) throw new Error(`${name} for stream ${sid} is unexpected`)
    changing.operation.lists.push(list)
    if (changing.steps.length === 0) this.#changing.delete(sid)
  }

  #dropped(asid: number, list: CommandList): void {
    const all = [...this.#changing.values()].filter(({ steps }) => steps[0] === 'TLBI_NH_ASID')
    if (all.length !== 1) throw new Error(`ASID ${asid} is dropped by ${all.length} streams`)
    const [{ operation, steps }] = all
    steps.shift()
    operation.asid = asid
    operation.lists.push(list)
  }

  #unmap(list: CommandList): void {
    const commands = list.commands.slice(0, -1)
    const spans = commands.map(spanOf)
    const [{ asid, page, leaf, pageLg2 }] = spans
    let end = page
    for (const span of spans) {
      if (span.asid !== asid || span.page !== end || span.leaf !== leaf || span.pageLg2 !== pageLg2) {
        throw new Error('a list flushes more than one range')
      }
      end += span.pages
    }
    const where = { asid, page, pages: end - page }
    this.#begin(leaf ? { kind: 'unmap', ...where, pageLg2 } : { kind: 'free-table', ...where }).lists.push(list)
  }
}

/** What a range command covers. [SMMU 4.4.1.1 Range-based invalidation and level hint] */
function spanOf({ dw0, dw1 }: Command) {
  const pages = (bits(dw0, 16, 12) + 1) * 2 ** bits(dw0, 25, 20)
  const ttl = bits(dw1, 9, 8)
  return {
    asid: bits(dw0, 63, 48),
    page: Number(dw1 >> 12n),
    pages,
    leaf: bits(dw1, 0, 0) === 1,
    pageLg2: ttl === 0 ? 12 : 12 + 9 * (3 - ttl),
  }
}

/** Compares an SMMUv3's answer with the reference's. */

import { ACCESS, type Outcome, STATUS } from '../../hw-model/port.js'
import type { Rights, SmmuAccess, SmmuEnd, SmmuEvent, SmmuResult, Update } from './reference/smmuv3-types.js'
import { hex } from './step.js'

/** An access in words. */
export const describe = ({ kind, privileged, write, fetch }: SmmuAccess): string =>
  [
    kind === 'ordinary' ? '' : `${kind}:`,
    privileged ? 'privileged' : '',
    write ? 'write' : '',
    fetch ? 'fetch' : '',
    write || fetch ? '' : 'read',
  ]
    .filter((word) => word !== '')
    .join(' ')

/** What is wrong with the unit's answer, or undefined; without an outcome, the transaction is still held. */
export function judge(
  { expected, permitted }: SmmuResult,
  outcome: Outcome | undefined,
  events: readonly bigint[][],
): string | undefined {
  const wrong = compare(expected, outcome, events)
  if (wrong === undefined || permitted.some((end) => compare(end, outcome, events) === undefined)) return undefined
  return wrong
}

/** Whether an access ended as no reading of the manual allows, whatever was recorded of it. */
export function isMisled({ expected, permitted }: SmmuResult, outcome: Outcome | undefined): boolean {
  return ![expected, ...permitted].some((end) => {
    const event = 'event' in end ? end.event : undefined
    return compare(end, outcome, event === undefined ? [] : [[...event.words]]) === undefined
  })
}

/** What is wrong with a dry walk, or undefined: it tells the same end, and records nothing. */
export function judgeDry(result: SmmuResult, outcome: Outcome, events: readonly bigint[][]): string | undefined {
  if (events.length > 0) return `explaining records ${show(events)}`
  // What would be held is only told as the fault that it is.
  const expected: SmmuEnd =
    result.expected.end === 'stall' ? { end: 'abort', event: result.expected.event } : result.expected
  const event = 'event' in expected ? expected.event : undefined
  const wrong = compare(expected, outcome, event === undefined ? [] : [[...event.words]])
  return wrong === undefined || result.permitted.length > 0 ? undefined : `explained otherwise: ${wrong}`
}

/** Bits of an event that no reference can know: the STAG of one that stalls. */
const STAG = 0xffffn

function compare(expected: SmmuEnd, outcome: Outcome | undefined, events: readonly bigint[][]): string | undefined {
  if (outcome === undefined) {
    const isRight = expected.end === 'stall' && isRecorded(expected, events)
    return isRight ? undefined : `the reference says ${tell(expected)}; it is held, events ${show(events)}`
  }
  const { status, fault, address, leafLg2, rights, hit } = outcome
  const got = `status ${status} fault ${hex(fault)} address ${hex(address)} leaf ${leafLg2} rights ${rights} hit ${hit}, events ${show(events)}`
  const says = `the reference says ${tell(expected)}; ${got}`
  if (!isRecorded(expected, events)) return says
  switch (expected.end) {
    case 'translated':
      if (status !== STATUS.OK || BigInt(address) !== expected.address) return says
      return leafLg2 < 12 || leafLg2 > expected.spanLg2 ? says : undefined
    case 'granted':
      return status === STATUS.OK && isGrant(expected, outcome) ? undefined : says
    case 'razWi':
      return status === STATUS.RAZ_WI ? undefined : says
    case 'stall':
      return status === STATUS.PENDING ? undefined : says
    case 'unsupported':
      return status === STATUS.UNSUPPORTED ? undefined : says
    case 'completerAbort':
      return status === STATUS.COMPLETER_ABORT ? undefined : says
    case 'abort':
      if (status === STATUS.ABORTED) return undefined
      if (status !== STATUS.FAULT) return says
      return expected.event === undefined || BigInt(fault) === (expected.event.words[0] & 0xffn) ? undefined : says
  }
}

function isGrant(expected: SmmuEnd & { end: 'granted' }, { address, leafLg2, rights }: Outcome): boolean {
  const must = bitsOf(expected.rights)
  const may = bitsOf(expected.may)
  const shown = rights & (ACCESS.READ | ACCESS.WRITE | ACCESS.EXECUTE)
  if ((shown & ~may) !== must) return false
  if (shown === 0) return true
  return leafLg2 >= 12 && leafLg2 <= expected.spanLg2 && BigInt(address) >> 12n === expected.address >> 12n
}

const bitsOf = ({ read, write, execute }: Rights): number =>
  (read ? ACCESS.READ : 0) | (write ? ACCESS.WRITE : 0) | (execute ? ACCESS.EXECUTE : 0)

function isRecorded(expected: SmmuEnd, events: readonly bigint[][]): boolean {
  const event = 'event' in expected ? expected.event : undefined
  if (event === undefined) return events.length === 0
  if (events.length !== 1) return false
  const unknown = event.unknown | (expected.end === 'stall' ? STAG : 0n)
  return event.words.every(
    (word, i) => (word ^ events[0][i]) === 0n || (i === 1 && ((word ^ events[0][1]) & ~unknown) === 0n),
  )
}

/** What hardware may and must have done to descriptors, gathered before it does. */
export interface Ledger {
  readonly before: ReadonlyMap<bigint, bigint>
  readonly updates: readonly Update[]
}

/** What is wrong with the descriptors after an access, or undefined. */
export function judgeMemory(
  { before, updates }: Ledger,
  read: (at: bigint) => bigint,
  writes: number,
): string | undefined {
  for (const [at, was] of before) {
    const own = updates.filter((update) => update.at === at)
    const must = own.reduce((bits, update) => bits | update.must, 0n)
    const may = own.reduce((bits, update) => bits | update.may, 0n) & ~must
    const is = read(at)
    if (((was ^ is) & ~may) !== must) {
      const rule = `must change ${hex(must)}, may change ${hex(may)}`
      return `the descriptor at ${hex(at)} ${rule}, and went from ${hex(was)} to ${hex(is)}`
    }
  }
  return writes > 2 * updates.length
    ? `memory was written ${writes} times for ${updates.length} descriptors`
    : undefined
}

function tell(expected: SmmuEnd): string {
  if (expected.end === 'translated')
    return `it translates to ${hex(expected.address)}, at most ${expected.spanLg2} bits`
  if (expected.end === 'granted') {
    const { rights, may, address, spanLg2 } = expected
    return `rights ${bitsOf(rights)} and perhaps ${bitsOf(may)} at ${hex(address)}, at most ${spanLg2} bits`
  }
  return `${expected.end}, recording ${tellEvent(expected.event)}`
}

const tellEvent = (event: SmmuEvent | undefined): string => (event === undefined ? 'nothing' : show([event.words]))

const show = (events: readonly (readonly bigint[])[]): string =>
  `[${events.map((words) => words.map((word) => word.toString(16)).join(' ')).join('; ')}]`

/** Compares a VT-d unit's answer with the reference's. */

import { ACCESS, type Outcome, STATUS } from '../../hw-model/port.js'
import type { Update, VtdAccess, VtdEnd, VtdRecord, VtdResult } from './reference/vtd-types.js'
import { hex } from './step.js'

/** An access in words. */
export const describe = ({ kind, privileged, read, write, execute, bytes }: VtdAccess): string =>
  [
    kind === 'untranslated' ? '' : `${kind}:`,
    privileged ? 'privileged' : '',
    read && write ? 'AtomicOp' : write ? 'write' : execute ? 'execute' : read ? 'read' : 'zero-length read',
    bytes > 0 ? `of ${bytes} bytes` : '',
  ]
    .filter((word) => word !== '')
    .join(' ')

/** The ends that the unit's answer may be; none where the manual has no such end here. */
export const endsOf = ({ ends }: VtdResult, outcome: Outcome): VtdEnd[] => ends.filter((end) => isEnd(end, outcome))

/**
 * Whether an access ended otherwise than all of them. One that went where it is to go did not, though the unit knows of a
 * smaller leaf or of fewer rights than it may have: more rights need no invalidation until a request fails for want of
 * them, and the size of a leaf is nothing that a device sees. [VTD 6.5.3.3 T28]
 */
export function isMisled({ ends }: VtdResult, outcome: Outcome): boolean {
  const { status, address, rights } = outcome
  return !ends.some(
    (end) =>
      isEnd(end, outcome) ||
      (end.end === 'translated' &&
        status === STATUS.OK &&
        BigInt(address) === BigInt.asUintN(64, end.address) &&
        (rights & (ACCESS.READ | ACCESS.WRITE) & ~bitsOf(end.rights)) === 0),
  )
}

/** What the unit has to record for an end. */
export const recordOf = (end: VtdEnd): VtdRecord | undefined => ('record' in end ? end.record : undefined)

function isEnd(expected: VtdEnd, { status, fault, address, leafLg2, rights }: Outcome): boolean {
  const shown = rights & (ACCESS.READ | ACCESS.WRITE)
  switch (expected.end) {
    case 'translated':
      if (status !== STATUS.OK || BigInt(address) !== BigInt.asUintN(64, expected.address)) return false
      return leafLg2 >= 12 && leafLg2 <= expected.spanLg2 && shown === bitsOf(expected.rights)
    case 'granted':
      if (status !== STATUS.OK || shown !== bitsOf(expected.rights)) return false
      if (shown === 0) return true
      return leafLg2 >= 12 && leafLg2 <= expected.spanLg2 && BigInt(address) >> 12n === expected.address >> 12n
    case 'unsupported':
      if (expected.reason === undefined && status === STATUS.ABORTED) return true
      if (status === STATUS.FAULT) return fault === expected.reason
      return status === STATUS.UNSUPPORTED && (fault === 0 || fault === expected.reason)
    case 'completerAbort':
      if (status === STATUS.FAULT) return fault === expected.reason
      return status === STATUS.COMPLETER_ABORT && (fault === 0 || fault === expected.reason)
    case 'fault':
      return status === STATUS.FAULT && fault === expected.reason
    case 'blocked':
      return status === STATUS.ABORTED
    case 'message':
      return status === STATUS.OK || status === STATUS.ABORTED
  }
}

const bitsOf = ({ read, write }: { readonly read: boolean; readonly write: boolean }): number =>
  (read ? ACCESS.READ : 0) | (write ? ACCESS.WRITE : 0)

/** What hardware may and must have done to table entries, gathered before it does. */
export interface Ledger {
  readonly before: ReadonlyMap<bigint, bigint>
  readonly updates: ReadonlyMap<bigint, Update>
}

/** What is wrong with the entries after an access, or undefined. */
export function judgeMemory(
  { before, updates }: Ledger,
  read: (at: bigint) => bigint,
  writes: number,
): string | undefined {
  for (const [at, was] of before) {
    const { must, may } = updates.get(at) ?? { must: 0n, may: 0n }
    const is = read(at)
    if (((was ^ is) & ~may) !== must) {
      return `the entry at ${hex(at)} must get ${hex(must)}, may get ${hex(may)}, and went from ${hex(was)} to ${hex(is)}`
    }
  }
  return writes > 2 * updates.size ? `memory was written ${writes} times for ${updates.size} entries` : undefined
}

/** The ends in words, and what came instead. */
export function tell({ ends }: VtdResult, { status, fault, address, leafLg2, rights, hit }: Outcome): string {
  const got = `status ${status} fault ${hex(fault)} address ${hex(address)} leaf ${leafLg2} rights ${rights} hit ${hit}`
  return `the reference says ${ends.map(tellEnd).join(', or ')}; ${got}`
}

function tellEnd(end: VtdEnd): string {
  if (end.end === 'translated' || end.end === 'granted') {
    return `${end.end} ${hex(end.address)} of ${end.spanLg2} bits with rights ${bitsOf(end.rights)}`
  }
  if ('reason' in end) return `${end.end} ${end.reason === undefined ? 'without a reason' : hex(end.reason)}`
  return end.end
}

/** Compares an SMMUv3's answer with the reference's. */

import { type Outcome, STATUS } from '../../hw-model/port.js'
import type { SmmuAccess, SmmuResult } from './reference/smmuv3.js'
import { hex } from './step.js'

/** An access in words. */
export const describe = (access: SmmuAccess): string =>
  `${access.privileged ? 'privileged ' : ''}${access.write ? 'write' : access.fetch ? 'fetch' : 'read'}`

/** What is wrong with the unit's answer, or undefined. */
export function judge(expected: SmmuResult, outcome: Outcome, events: readonly bigint[][]): string | undefined {
  const got = `status ${outcome.status} fault ${hex(outcome.fault)} address ${hex(outcome.address)} hit ${outcome.hit}, events ${show(events)}`
  if (expected.ok) {
    if (outcome.status !== STATUS.OK) return `the reference translates to ${hex(expected.address)}; ${got}`
    if (BigInt(outcome.address) !== expected.address)
      return `the reference translates to ${hex(expected.address)}; ${got}`
    if (outcome.leafLg2 < 12) return `the leaf is smaller than a page; ${got}`
    return events.length === 0 ? undefined : `nothing should be recorded; ${got}`
  }
  const wanted = expected.event === undefined ? [] : [[...expected.event]]
  const says = `the reference ${expected.razWi ? 'reads zero' : 'aborts'}, recording ${show(wanted)}; ${got}`
  if (show(events) !== show(wanted)) return says
  if (expected.razWi) return outcome.status === STATUS.RAZ_WI ? undefined : says
  if (outcome.status === STATUS.ABORTED) return undefined
  if (outcome.status !== STATUS.FAULT) return says
  return expected.event === undefined || BigInt(outcome.fault) === (expected.event[0] & 0xffn) ? undefined : says
}

const show = (events: readonly (readonly bigint[])[]): string =>
  `[${events.map((words) => words.map((word) => word.toString(16)).join(' ')).join('; ')}]`

/** What the daemon writes into its log of itself: of units, and of core. Calls are `ops/log.ts`'s. */

import type { CoreEvent } from './core/ambient.js'
import { type PlatformSpec, ridOf, type UnitRecord } from './drivers/machine.js'
import type { Log } from './ops/log.js'

/** Names of the platform's devices, by unit and RID. A mediated device is its parent's PASID, and has no RID. */
export function namesOf({ devices }: PlatformSpec): ReadonlyMap<string, string> {
  const functions = devices.filter(({ mediated }) => mediated === undefined)
  return new Map(functions.map(({ name, iommu }) => [`${iommu} ${ridOf(name)}`, name]))
}

/** What a unit recorded and nobody has read; what a client reads by itself is not the operator's. */
export function logRecord(log: Log, names: ReadonlyMap<string, string>, unit: string, record: UnitRecord): void {
  const { name, rid, taker, isFailure, facts } = record
  const device = rid === undefined ? undefined : (names.get(`${unit} ${rid}`) ?? 'unknown')
  const who = device === undefined ? { unit } : { unit, device }
  if (taker !== undefined) log.debug({ ...who, event: name, taker }, 'an event of a unit')
  else if (isFailure === true) log.error({ ...who, cause: name, ...facts }, 'a unit has failed')
  else log.flood(`${unit} ${rid}`, who, { event: name, ...facts }, 'an event of a unit that nobody else takes')
}

/** What the oracle has found; one that forgets one thing forgets it many times. */
function logStale(log: Log, event: Extract<CoreEvent, { kind: 'stale-translation' }>): void {
  const { context, unit, deviceName, facts, summary } = event
  const { number, reason, needed, usual } = facts
  const owner = context === undefined ? {} : { contextNumber: Number(context.number), uid: context.uid }
  const who = { unit, ...(deviceName === '' ? { sourceId: facts.sourceId } : { device: deviceName }), ...owner }
  const told = { report: number, reason, summary, needed, ...(usual === '' ? {} : { usual }) }
  log.flood(`stale ${unit} ${facts.sourceId} ${owner.contextNumber}`, who, told, 'a stale translation')
}

/** What happens in core. */
export function logEvent(log: Log, event: CoreEvent): void {
  if (event.kind === 'stale-translation') logStale(log, event)
  else logOwn(log, event)
}

function logOwn(log: Log, event: Exclude<CoreEvent, { kind: 'stale-translation' }>): void {
  const { number, uid, label } = event.context
  const facts = { contextNumber: Number(number), uid, label }
  if (event.kind === 'context-opened') log.info(facts, 'context opened')
  else if (event.kind === 'context-ended') log.info({ ...facts, why: event.why }, 'context ended')
  else if (event.kind === 'device-blocked') {
    const late = { ...facts, device: event.deviceName, invalidations: event.count }
    log.warn(late, 'a device did not complete invalidations in time: it does nothing until it is reset')
  } else {
    log.warn({ ...facts, queueId: event.queueId, groups: event.count }, 'page faults were not answered in time')
  }
}

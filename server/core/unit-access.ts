/**
 * Which unit a call means, and who may change one of the platform's: the administrator, or its only user. What a user
 * has set holds while nobody else is there, so that no context meets another's settings.
 */

import type { Call } from './call.js'
import type { Context } from './context.js'
import type { Core } from './core.js'
import type { IommuDriver } from './driver.js'
import type { PlatformUnitInfo } from './machine.js'
import { Refusal } from './refusal.js'
import { Unit } from './unit.js'

/** How requests name a unit; one is set. */
export interface NamedUnit {
  readonly unitId?: number
  readonly unitName?: string
}

/** The raw unit, or the platform's, that a request names. @throws Refusal EINVAL (none is named), ENOENT */
export function unitNamed(call: Call, { unitId, unitName }: NamedUnit): Unit | PlatformUnitInfo {
  if (unitId !== undefined) return call.look(Unit, unitId, 'unit_id')
  if (unitName === undefined) {
    throw new Refusal('EINVAL', 'no unit is named: set unit_name, or unit_id for a raw unit')
  }
  const { units } = call.core.machine
  const found = units.find(({ driver }) => driver.name === unitName)
  if (found !== undefined) return found
  const names = units.map(({ driver }) => driver.name)
  const reason = `the platform has no unit ${JSON.stringify(unitName)}; there are ${names.join(', ')}`
  throw new Refusal('ENOENT', reason, { unit_name: unitName, units: names })
}

/** Refuses who is neither the administrator nor alone there. @throws Refusal EPERM */
export function refuseShared(call: Call, { driver }: PlatformUnitInfo): void {
  if (call.peer.admin === true) return
  const users = usersOf(call.core, driver)
  const { context } = call
  const facts = { unit_name: driver.name }
  if (!users.has(context)) {
    const reason =
      `${driver.name} is the platform’s, and this context has no device behind it; BindDevice makes it a user, ` +
      'CreateUnit a unit of its own, and the admin socket may do it to any'
    throw new Refusal('EPERM', reason, facts)
  }
  const others = [...users].filter((user) => user !== context)
  if (others.length === 0) return
  // Of another user's contexts nothing is told but that they are there.
  const known = others.filter(({ uid }) => uid === context.uid)
  const named = known.map(
    ({ number, label }) => `context ${number}${label === '' ? '' : ` (${JSON.stringify(label)})`}`,
  )
  const strangers = known.length === others.length ? [] : ['contexts of other users']
  const who = [...named, ...strangers].join(', ')
  const reason = `${driver.name} is used by ${who} too; it is its only user’s, or the administrator’s on the admin socket`
  throw new Refusal('EPERM', reason, { ...facts, context_numbers: known.map(({ number }) => number) })
}

/** Whether nobody but the caller uses a unit, or he may see all. */
export function isAloneAt(call: Call, { driver }: PlatformUnitInfo): boolean {
  if (call.peer.admin === true) return true
  const users = usersOf(call.core, driver)
  return users.size === 1 && users.has(call.context)
}

/** Contexts that have bound devices behind a unit. */
export const usersOf = ({ bound }: Core, driver: IommuDriver): ReadonlySet<Context> =>
  new Set([...bound].filter(([platform]) => platform.driver === driver).map(([, { context }]) => context))

/** What contexts have set of the platform's units. */
export class UnitSettings {
  readonly #core: Core
  readonly #setBy = new Map<IommuDriver, { readonly context: Context; readonly undo: Map<string, () => void> }>()

  constructor(core: Core) {
    this.#core = core
  }

  /**
   * Something was set by a call that may.
   *
   * @param undo sets what the platform says
   */
  changed(call: Call, { driver }: PlatformUnitInfo, what: string, undo: () => void): void {
    const before = this.#setBy.get(driver)
    // The administrator's word stays.
    if (call.peer.admin === true) before?.undo.delete(what)
    else if (before === undefined) this.#setBy.set(driver, { context: call.context, undo: new Map([[what, undo]]) })
    else before.undo.set(what, undo)
  }

  /** A device behind the unit was bound, or is free. */
  check(driver: IommuDriver): void {
    const set = this.#setBy.get(driver)
    if (set === undefined) return
    const users = usersOf(this.#core, driver)
    if (users.size === 1 && users.has(set.context)) return
    this.#setBy.delete(driver)
    for (const undo of set.undo.values()) undo()
  }
}

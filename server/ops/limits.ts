/** Limits as the configuration changes them. */

import { DEFAULT_LIMITS, type Limits } from '../core/limits.js'

/** `batch_elements` of one call, `context.objects`, `uid.contexts`: a name's scope stands before it. */
export function limitNames(): readonly string[] {
  const of = (scope: 'context' | 'uid' | 'server') =>
    Object.keys(DEFAULT_LIMITS[scope]).map((name) => `${scope}.${name}`)
  return [...Object.keys(DEFAULT_LIMITS.call), ...of('context'), ...of('uid'), ...of('server')]
}

/** The defaults with some changed; the names are known ones. */
export function limitsWith(changes: Readonly<Record<string, number>>): Limits {
  const changed = <T extends object>(prefix: string, defaults: T): T => {
    const pairs = Object.entries(defaults).map(([name, value]) => [name, changes[`${prefix}${name}`] ?? value])
    return Object.fromEntries(pairs)
  }
  return {
    server: changed('server.', DEFAULT_LIMITS.server),
    call: changed('', DEFAULT_LIMITS.call),
    context: changed('context.', DEFAULT_LIMITS.context),
    uid: changed('uid.', DEFAULT_LIMITS.uid),
  }
}

/**
 * Which method of the contract is answered by what: a handler of core, or a "no" with its reason. The compiler checks
 * that each handler fits the messages of its method, and that no method is forgotten.
 */

import { METHODS, type MethodName, type ReplyOf } from '../../proto/generated/methods.js'
import type { Init } from '../../proto/generated/types.js'
import { HANDLERS, NOT_OFFERED, PARTLY_OFFERED } from '../core/index.js'
import { HANDLE_HANDLERS } from '../uapi/index.js'
import { type AnyMethodTable, type Handlers, NotOffered } from './method.js'

/** Answered here, as only this table knows. */
const OWN = {
  ListMethods: (call) => ({ methods: listMethods(METHOD_TABLE, call.core.facts.strict) }),
} satisfies Partial<Handlers>

/** What core answers, each checked against its messages. */
const OF_CORE = HANDLERS satisfies Partial<Handlers>

/** What the ioctl door answers. */
const OF_UAPI = HANDLE_HANDLERS satisfies Partial<Handlers>

const REFUSED_BY_STRICT = 'this method is an extension, and the daemon runs with --strict'

/** What of an answered method is missing. */
const PARTLY: Partial<Record<MethodName, string>> = PARTLY_OFFERED

/** Fails to compile when a method has neither a handler nor a reason. */
const COMPLETE: MethodName extends
  | keyof typeof NOT_OFFERED
  | keyof typeof OWN
  | keyof typeof OF_CORE
  | keyof typeof OF_UAPI
  ? true
  : never = true

/** What answers each method. */
export const METHOD_TABLE: AnyMethodTable = makeTable()

/** Every method with its status, for `ListMethods`. */
export function listMethods(table: AnyMethodTable, strict: boolean): Init<ReplyOf<'ListMethods'>['methods']> {
  return Object.values(METHODS).map(({ service, name, uapi, extension }) => {
    const answer = table[name]
    const no = answer instanceof NotOffered ? answer.reason : strict && extension ? REFUSED_BY_STRICT : undefined
    const reason = no ?? PARTLY[name] ?? ''
    return { service: `iommud.v1.${service}`, method: name, offered: no === undefined, reason, uapi, extension }
  })
}

function makeTable(): AnyMethodTable {
  const answered: Partial<Record<MethodName, unknown>> = COMPLETE && { ...OF_CORE, ...OF_UAPI, ...OWN }
  const names = Object.keys(METHODS) as MethodName[]
  const reasons: Partial<Record<MethodName, string>> = NOT_OFFERED
  return Object.fromEntries(
    names.map((name) => [name, answered[name] ?? new NotOffered(reasons[name] ?? '')]),
  ) as AnyMethodTable
}

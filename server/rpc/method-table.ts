/**
 * Which method of the contract is answered by what: a handler of core, or a "no" with its reason. The compiler checks
 * that each handler fits the messages of its method, and that no method is forgotten.
 */

import { METHODS, type MethodName, type ReplyOf } from '../../proto/generated/methods.js'
import type { Init } from '../../proto/generated/types.js'
import { HANDLERS } from '../core/index.js'
import { type AnyMethodTable, type Handlers, NotOffered } from './method.js'

const WITHOUT_QUEUES = 'this daemon has no page-request and event queues yet'
const WITHOUT_ATS = 'this daemon has no device TLBs and no page requests yet'
const WITHOUT_FILES = 'this daemon has no handles yet; use the typed methods'
const WITHOUT_CHECKER = 'this daemon keeps no record of stale translations yet; compare Translate with Explain'

/** Why a method that core does not answer is not offered. */
const REASONS = {
  AddDevice: 'the platform is fixed at the start; give it with --platform',
  RemoveDevice: 'the platform is fixed at the start; give it with --platform',
  InjectFault: 'this daemon cannot make things fail on purpose yet',
  RequestTranslations: WITHOUT_ATS,
  RequestPages: WITHOUT_ATS,
  PollInvalidations: WITHOUT_ATS,
  CompleteInvalidations: WITHOUT_ATS,
  GetCacheStats: WITHOUT_CHECKER,
  SetCachePolicy: 'the caches are set up with the platform; give it with --platform',
  SetOracleMode: WITHOUT_CHECKER,
  CheckStale: WITHOUT_CHECKER,
  ListStaleTranslations: WITHOUT_CHECKER,
  OpenHandle: WITHOUT_FILES,
  Ioctl: WITHOUT_FILES,
  ReadHandle: WITHOUT_FILES,
  WriteHandle: WITHOUT_FILES,
  PollHandle: WITHOUT_FILES,
  MapHandle: WITHOUT_FILES,
  CloseHandle: WITHOUT_FILES,
  IoasChangeProcess: 'memory is accounted to contexts here, so there is no process to move it to',
  SetDirtyTracking: 'the emulated units do not track dirty pages yet',
  GetDirtyBitmap: 'the emulated units do not track dirty pages yet',
  CreateFaultQueue: WITHOUT_QUEUES,
  PollFaults: WITHOUT_QUEUES,
  RespondFaults: WITHOUT_QUEUES,
  CreateVeventq: WITHOUT_QUEUES,
  PollEvents: WITHOUT_QUEUES,
  CreateHwQueue: 'neither architecture has queues for hardware in guest memory here',
  CreateWindow: 'reserved windows are not offered yet; use a whole-device user domain',
  GrowWindow: 'reserved windows are not offered yet; use a whole-device user domain',
  IoasMapFile: 'no descriptor can be passed to this daemon yet; use IoasMap with a region of the file',
} as const satisfies { readonly [M in MethodName]?: string }

/** Answered here, as only this table knows. */
const OWN = {
  ListMethods: (call) => ({ methods: listMethods(METHOD_TABLE, call.core.facts.strict) }),
} satisfies Partial<Handlers>

/** What core answers, each checked against its messages. */
const OF_CORE = HANDLERS satisfies Partial<Handlers>

/** Fails to compile when a method has neither a handler nor a reason. */
const COMPLETE: MethodName extends keyof typeof REASONS | keyof typeof OWN | keyof typeof OF_CORE ? true : never = true

/** What answers each method. */
export const METHOD_TABLE: AnyMethodTable = makeTable()

/** Every method with its status, for `ListMethods`. */
export function listMethods(table: AnyMethodTable, strict: boolean): Init<ReplyOf<'ListMethods'>['methods']> {
  return Object.values(METHODS).map(({ service, name, uapi, extension }) => {
    const answer = table[name]
    const refusedByStrict = strict && extension
    const reason = answer instanceof NotOffered ? answer.reason : refusedByStrict ? 'the daemon runs with --strict' : ''
    return { service: `iommud.v1.${service}`, method: name, offered: reason === '', reason, uapi, extension }
  })
}

function makeTable(): AnyMethodTable {
  const answered: Partial<Record<MethodName, unknown>> = COMPLETE && { ...OF_CORE, ...OWN }
  const names = Object.keys(METHODS) as MethodName[]
  const reasons: Partial<Record<MethodName, string>> = REASONS
  return Object.fromEntries(
    names.map((name) => [name, answered[name] ?? new NotOffered(reasons[name] ?? '')]),
  ) as AnyMethodTable
}

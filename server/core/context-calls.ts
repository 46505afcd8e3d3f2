/** Calls about contexts and their objects. */

import type { Call } from './call.js'
import { type Context, LIFETIME, type Lifetime } from './context.js'
import type { QuotaName } from './limits.js'
import { ACCOUNT_MODE, payerOf } from './locked.js'
import { IommuObject, type ObjectType } from './object.js'
import { Refusal } from './refusal.js'
import { isLook, type Work } from './work.js'

type Empty = Record<never, never>

/** Opens a context. */
export function openContext(
  call: Call,
  request: { readonly lifetime: number; readonly leaseMs: number; readonly label: string },
): { context: string; lifetime: Lifetime; leaseMs: number; bootId: string; contextNumber: bigint } {
  const { token, lifetime, leaseMs, number } = call.core.open(call.peer, request)
  return { context: token, lifetime, leaseMs, bootId: call.core.bootId, contextNumber: number }
}

/** Ends a context and all it holds. */
export function closeContext(call: Call, _request: object): Empty {
  call.after(call.context.end('closed', true))
  return {}
}

/** Renews a lease; any call does. */
export function renewLease(call: Call, request: { readonly leaseMs?: number }): { leaseMs: number } {
  const { context, core } = call
  if (context.lifetime === LIFETIME.LEASE) {
    context.renew(request.leaseMs === undefined ? undefined : core.leaseOf(request.leaseMs))
    return { leaseMs: context.leaseMs }
  }
  if (request.leaseMs === undefined) return { leaseMs: 0 }
  throw new Refusal('EINVAL', 'this context has no lease', { lease_ms: request.leaseMs })
}

/** The contract's QuotaUse. */
export interface QuotaUse {
  readonly name: string
  readonly used: bigint
  readonly limit: bigint
}

/** What a context is and how much of its quotas it uses. */
export function getContext(
  call: Call,
  _request: object,
): { lifetime: Lifetime; leaseLeftMs: number; label: string; contextNumber: bigint; quotas: readonly QuotaUse[] } {
  const { lifetime, leaseLeftMs, label, number, quota, accountMode } = call.context
  const names = Object.keys(call.core.limits.context).filter((name) => !name.endsWith('contexts')) as QuotaName[]
  const { limits, locked } = call.core
  const quotas = names.map((name) => {
    if (name !== 'locked_bytes') return { name, used: BigInt(quota.used(name)), limit: BigInt(quota.limit(name)) }
    // What counts for the caller: all that his user, or his process, has locked.
    const { locked_bytes: limit } = limits[accountMode === ACCOUNT_MODE.USER ? 'uid' : 'context']
    return { name, used: BigInt(locked.used(payerOf(call.peer, number), accountMode)), limit: BigInt(limit) }
  })
  return { lifetime, leaseLeftMs, label, contextNumber: number, quotas }
}

/** The contract's ObjectInfo. */
export interface ObjectInfo {
  readonly id: number
  readonly type: ObjectType
  readonly users: number
  readonly holds: Uint32Array
  readonly facts: Readonly<Record<string, string>>
}

/** The context's objects by ascending id. */
export function listObjects(
  call: Call,
  request: { readonly type: number; readonly startId: number; readonly maxObjects: number },
): ObjectList | Promise<ObjectList> {
  const { batch_elements: limit } = call.core.limits.call
  const most = request.maxObjects === 0 ? limit : Math.min(request.maxObjects, limit)
  const list = function* (): Work<ObjectList> {
    const objects: ObjectInfo[] = []
    let seen = 0
    for (const object of call.context.objects.ascending(request.startId)) {
      if (isLook(++seen)) yield
      // A pause may have taken it away.
      if (call.context.objects.find(object.id) !== object) continue
      if (request.type !== 0 && object.type !== request.type) continue
      if (objects.length === most) return { objects, nextId: object.id }
      objects.push(infoOf(object))
    }
    return { objects, nextId: 0 }
  }
  return call.inSlices(list())
}

/** What ListObjects answers. */
interface ObjectList {
  readonly objects: readonly ObjectInfo[]
  readonly nextId: number
}

/** Destroys any object that nobody holds. [uAPI IOMMU_DESTROY] */
export function destroy(call: Call, request: { readonly objectId: number }): Empty {
  const object = call.take(IommuObject as AnyKind, request.objectId, 'object_id')
  if (object.users > 0) {
    const reason = `${object.kind} ${object.id} is held by ${object.heldBy.join(', ')}`
    throw new Refusal('EBUSY', reason, { id: object.id, users: object.users, held_by: object.heldBy })
  }
  for (const other of object.takesAlong) call.change(other)
  call.after(call.context.discard(object))
  return {}
}

/** The contract's ContextInfo. */
export interface ContextInfo {
  readonly contextNumber: bigint
  readonly uid: number
  readonly lifetime: Lifetime
  readonly leaseLeftMs: number
  readonly label: string
  readonly objectCount: number
  readonly deviceNames: readonly string[]
}

/** All contexts, for the administrator. */
export function listContexts(call: Call, _request: object): { contexts: readonly ContextInfo[] } {
  refuseOthers(call)
  return { contexts: call.core.contexts.map((context) => summaryOf(call, context)) }
}

/** Ends another's context, for the administrator. */
export function endContext(call: Call, request: { readonly contextNumber: bigint }): Empty {
  refuseOthers(call)
  const context = call.core.contexts.find(({ number }) => number === request.contextNumber)
  if (context === undefined) {
    const reason = `no open context has the number ${request.contextNumber}`
    throw new Refusal('ENOENT', reason, { context_number: request.contextNumber })
  }
  call.after(context.end('administrator'))
  return {}
}

type AnyKind = {
  new (...args: never[]): IommuObject
  readonly label: string
}

function infoOf(object: IommuObject): ObjectInfo {
  const holds = Uint32Array.from(object.holds.map(({ id }) => id))
  return { id: object.id, type: object.type, users: object.users, holds, facts: object.facts }
}

function summaryOf(call: Call, context: Context): ContextInfo {
  const { number, uid, lifetime, leaseLeftMs, label, objects } = context
  const deviceNames = [...call.core.bound]
    .filter(([, device]) => device.context === context)
    .map(([platform]) => platform.name)
  return { contextNumber: number, uid, lifetime, leaseLeftMs, label, objectCount: objects.size, deviceNames }
}

function refuseOthers(call: Call): void {
  if (call.peer.admin === true) return
  throw new Refusal('EPERM', 'this is the administrator’s, on the admin socket')
}

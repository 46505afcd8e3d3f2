/** What each call answers, by the rules alone. */

import { attach, attachRoot, isAligned, join, pageTable, replace, replaceRoot } from './attach-rules.js'
import { getBitmap, setDirty } from './dirty-rules.js'
import { allow, copy, holes, ioasOfId, map, unmap } from './map-rules.js'
import {
  type Context,
  type Device,
  type DeviceFacts,
  type Ioas,
  No,
  no,
  type Paging,
  type Thing,
  TOP,
  type UnitFacts,
  type User,
  type Vdevice,
  type Veventq,
  type Viommu,
  type Window,
  windowOf,
} from './model.js'
import { createWindow, growWindow } from './window-rules.js'

const NEST = 1
const DIRTY = 2
const FAULT = 4
const PASID = 8

/** Everybody's contexts, and the devices that they share. */
export interface World {
  readonly contexts: Context[]
  readonly devices: readonly DeviceFacts[]
}

type Request = Readonly<Record<string, never>>
type Rule = (ctx: Context, request: never, world: World) => object

/** A bound device of an id. */
function deviceOf(ctx: Context, id: number): Device {
  const found: Thing | undefined = ctx.things.get(id)
  if (found?.kind !== 'device') throw new No('ENOENT')
  return found as Device
}

/** Adds a thing, and answers its id. */
function made(ctx: Context, field: string, thing: Thing): Readonly<Record<string, number>> {
  ctx.add(thing)
  return { [field]: thing.id }
}

function bind(ctx: Context, request: { deviceName: string; grant: number }, world: World): object {
  const facts = world.devices.find(({ name }) => name === request.deviceName)
  if (facts === undefined) throw new No('ENODEV')
  const { mediated } = facts
  no('EINVAL', request.grant > 2)
  const bound = world.contexts.flatMap((one) => one.devices.map((device) => ({ one, device })))
  const same = bound.find(({ device }) => device.facts === facts)
  no('EINVAL', same?.one === ctx)
  no('EBUSY', same !== undefined)
  no('EPERM', mediated !== undefined && request.grant === 1)
  const whole = request.grant === 1 || (request.grant === 0 && mediated === undefined)
  for (const { device } of bound) {
    no('EBUSY', whole && device.facts.mediated?.parent === facts.name)
    if (mediated?.parent !== device.facts.name) continue
    no('EBUSY', device.whole || device.slots.has(mediated.pasid))
  }
  return made(ctx, 'deviceId', { kind: 'device', id: ctx.nextId(), facts, whole, slots: new Map() } as Device)
}

function unbind(ctx: Context, { deviceId }: { deviceId: number }): object {
  const device = deviceOf(ctx, deviceId)
  for (const slot of [...device.slots.keys()].sort((a, b) => a - b).reverse()) ctx.detach(device, slot)
  for (const vdevice of ctx.all('vdevice') as Vdevice[]) {
    if (vdevice.device !== device) continue
    ctx.remove(vdevice)
    ctx.tombs.add(vdevice.id)
  }
  ctx.remove(device)
  return {}
}

/** The RID of a device that was bound whole. */
function ridOf(ctx: Context, deviceId: number): Device {
  const device = deviceOf(ctx, deviceId)
  no('EINVAL', device.facts.mediated !== undefined)
  no('EPERM', !device.whole)
  return device
}

function pasidOf(ctx: Context, request: { deviceId: number; pasid: number }, world: World): Device {
  const device = deviceOf(ctx, request.deviceId)
  const { pasid } = request
  const { mediated, name } = device.facts
  no('ENOSPC', pasid >= 2 ** 31)
  no('EINVAL', pasid === 0 && windowOf(device.slots.get(0)) === undefined)
  if (mediated !== undefined) no('EINVAL', pasid !== mediated.pasid)
  else {
    const children = world.contexts.flatMap((one) => one.devices.map(({ facts }) => facts.mediated))
    no(
      'EBUSY',
      children.some((child) => child?.parent === name && child.pasid === pasid),
    )
  }
  return device
}

/** A fault queue that a domain is made with. */
function faultOf(ctx: Context, flags: number, id: number): Thing | undefined {
  if ((flags & FAULT) === 0) return undefined
  const found: Thing | undefined = ctx.things.get(id)
  no('ENOENT', found?.kind !== 'fault')
  return found
}

interface PagingRequest {
  readonly flags: number
  readonly deviceId: number
  readonly ioasId: number
  readonly faultQueueId: number
}

function createPaging(ctx: Context, { flags, deviceId, ioasId, faultQueueId }: PagingRequest): object {
  const { unit } = deviceOf(ctx, deviceId).facts
  const ioas = ctx.things.get(ioasId)
  no('EINVAL', ioas?.kind !== 'ioas')
  no('EOPNOTSUPP', (flags & ~15) !== 0)
  no('EOPNOTSUPP', (flags & DIRTY) !== 0 && !unit.tracksDirty)
  const nest = (flags & NEST) !== 0
  no('EOPNOTSUPP', nest && (flags & FAULT) !== 0)
  no('EOPNOTSUPP', nest && unit.kind === 'smmuv3' && (flags & (PASID | DIRTY)) !== 0)
  const isSecond = nest || (unit.kind === 'vtd' && (flags & DIRTY) !== 0)
  const domain: Paging = {
    kind: 'paging',
    id: ctx.nextId(),
    ioas: ioas as Ioas,
    unit,
    nest,
    pasid: (flags & PASID) !== 0,
    dirty: (flags & DIRTY) !== 0,
    logged: new Set(),
    auto: false,
    stage: isSecond ? 2 : 1,
  }
  join(ctx, domain)
  return made(ctx, 'domainId', { ...domain, fault: faultOf(ctx, flags, faultQueueId) } as Paging)
}

interface UserRequest {
  readonly flags: number
  readonly deviceId: number
  readonly parentDomainId?: number
  readonly viommuId?: number
  readonly vtdS1?: { readonly addrWidth: number }
  readonly smmuv3Ste?: { readonly ste0: bigint; readonly ste1: bigint }
  readonly windowId?: number
  readonly smmuv3Pgd?: { readonly tg0: number }
  readonly faultQueueId: number
}

function createUser(ctx: Context, request: UserRequest): object {
  const { flags, vtdS1, smmuv3Ste, viommuId, parentDomainId, faultQueueId } = request
  const { unit } = deviceOf(ctx, request.deviceId).facts
  if (request.windowId !== undefined) return createRoot(ctx, request, unit)
  no('EINVAL', request.smmuv3Pgd !== undefined && unit.kind === 'smmuv3')
  const on = ctx.things.get(viommuId ?? parentDomainId ?? 0) as Viommu | Paging | undefined
  if (on === undefined) throw new No('EINVAL')
  if (viommuId !== undefined) {
    no('EINVAL', on.kind !== 'viommu')
    no('EINVAL', on.unit !== unit)
    no('EOPNOTSUPP', (flags & ~12) !== 0 || (flags & PASID) !== 0)
    no('EINVAL', smmuv3Ste === undefined)
  } else {
    no('EINVAL', on.kind !== 'paging')
    // A typed call refuses at once what no attach of such a domain would take: a parent of another unit of the kind.
    const isForeign = on.unit !== unit && on.unit.kind === unit.kind
    no('EINVAL', unit.kind === 'vtd' && isForeign && (on as Paging).nest)
    no('EOPNOTSUPP', (flags & ~12) !== 0 || unit.kind === 'smmuv3')
    const parent = on as Paging
    no('EINVAL', parent.auto || !parent.nest || parent.unit.kind !== unit.kind)
    no('EOPNOTSUPP', vtdS1 === undefined)
  }
  const config = Number(((smmuv3Ste?.ste0 ?? 0n) >> 1n) & 7n)
  const isValid = ((smmuv3Ste?.ste0 ?? 0n) & 1n) === 1n
  no('EIO', isValid && ![0, 4, 5].includes(config))
  const user: User = {
    kind: 'user',
    id: ctx.nextId(),
    on,
    unit,
    pasid: (flags & PASID) !== 0,
    translates: isValid && config === 5,
    fits: vtdS1?.addrWidth === 48,
    fault: faultOf(ctx, flags, faultQueueId),
  }
  return made(ctx, 'domainId', user)
}

/** A user domain in a window. */
function createRoot(ctx: Context, request: UserRequest, unit: UnitFacts): object {
  const { flags, windowId, smmuv3Pgd, faultQueueId } = request
  const on = ctx.things.get(windowId ?? 0) as Window | undefined
  if (on?.kind !== 'window') throw new No('EINVAL')
  no('EINVAL', smmuv3Pgd === undefined || on.unit !== unit)
  no('EOPNOTSUPP', (flags & ~12) !== 0)
  no('EINVAL', smmuv3Pgd?.tg0 === 3)
  const fault = faultOf(ctx, flags, faultQueueId)
  const user: User = { kind: 'user', id: ctx.nextId(), on, unit, pasid: true, translates: true, fits: true, fault }
  return made(ctx, 'domainId', user)
}

function createViommu(
  ctx: Context,
  request: { flags: number; type: number; deviceId: number; parentDomainId: number },
): object {
  no('EOPNOTSUPP', request.flags !== 0 || request.type === 0)
  const { unit } = deviceOf(ctx, request.deviceId).facts
  no('EOPNOTSUPP', unit.kind !== 'smmuv3' || request.type !== 1)
  const parent = ctx.things.get(request.parentDomainId) as Paging | undefined
  if (parent?.kind !== 'paging') throw new No('ENOENT')
  no('EINVAL', !parent.nest || parent.unit !== unit)
  const viommu: Viommu = { kind: 'viommu', id: ctx.nextId(), parent, unit }
  return { ...made(ctx, 'viommuId', viommu), mmapOffset: 0n, mmapLength: 0n }
}

function createVdevice(ctx: Context, request: { viommuId: number; deviceId: number; virtId: bigint }): object {
  const viommu = ctx.things.get(request.viommuId) as Viommu | undefined
  if (viommu?.kind !== 'viommu') throw new No('ENOENT')
  const device = deviceOf(ctx, request.deviceId)
  no('EINVAL', device.facts.unit !== viommu.unit)
  const all = ctx.all('vdevice') as Vdevice[]
  no(
    'EEXIST',
    all.some((one) => one.device === device),
  )
  no(
    'EEXIST',
    all.some((one) => one.viommu === viommu && one.virtId === request.virtId),
  )
  const { virtId } = request
  return made(ctx, 'vdeviceId', { kind: 'vdevice', id: ctx.nextId(), viommu, device, virtId } as Vdevice)
}

function createVeventq(
  ctx: Context,
  { flags, viommuId, type, depth }: { flags: number; viommuId: number; type: number; depth: number },
): object {
  no('EOPNOTSUPP', flags !== 0 || type === 0)
  no('EINVAL', depth === 0 || depth === 2 ** 32 - 1)
  const viommu = ctx.things.get(viommuId) as Viommu | undefined
  if (viommu?.kind !== 'viommu') throw new No('ENOENT')
  no(
    'EEXIST',
    (ctx.all('veventq') as Veventq[]).some((one) => one.viommu === viommu && one.type === type),
  )
  return made(ctx, 'veventqId', { kind: 'veventq', id: ctx.nextId(), viommu, type } as Veventq)
}

function createHwQueue(
  ctx: Context,
  request: { flags: number; viommuId: number; type: number; nestingParentIova: bigint; length: bigint },
): object {
  const { flags, type, nestingParentIova: iova, length } = request
  no('EOPNOTSUPP', flags !== 0 || type === 0)
  no('EINVAL', length === 0n)
  no('EOVERFLOW', iova + length - 1n > TOP)
  if (ctx.things.get(request.viommuId)?.kind !== 'viommu') throw new No('ENOENT')
  // No unit here reads a guest's queue by itself.
  throw new No('EOPNOTSUPP')
}

function setOption(ctx: Context, request: { option: number; objectId: number; value: bigint }): object {
  const ioas = ioasOfId(ctx, request.objectId)
  no('EINVAL', request.value > 1n)
  if (request.value === 0n && ioas.huge) {
    no('EINVAL', ctx.domainsOf(ioas).length > 0 && ioas.areas.length > 0)
    no('EADDRINUSE', ioas.areas.some((area) => !isAligned(area)) && ctx.alignment(ioas) < 4096n)
  }
  ioas.huge = request.value === 1n
  return {}
}

function destroy(ctx: Context, { objectId }: { objectId: number }): object {
  const thing = ctx.things.get(objectId)
  if (thing === undefined) throw new No('ENOENT')
  no('EBUSY', ctx.users(thing) > 0)
  ctx.remove(thing)
  return {}
}

interface PasidRequest {
  readonly pasid: number
  readonly ptId: number
}

function attachPasid(ctx: Context, device: Device, { pasid, ptId }: PasidRequest): Thing {
  const target = pageTable(ctx, ptId)
  return pasid === 0 ? attachRoot(ctx, device, target) : attach(ctx, device, pasid, target)
}

function replacePasid(ctx: Context, device: Device, { pasid, ptId }: PasidRequest): Thing {
  const target = pageTable(ctx, ptId)
  return pasid === 0 ? replaceRoot(ctx, device, target) : replace(ctx, device, pasid, target)
}

/** By the name of the method. */
export const RULES: Readonly<Record<string, Rule>> = {
  CreateIoas: (ctx, { flags }: { flags: number }) => {
    no('EOPNOTSUPP', flags !== 0)
    return made(ctx, 'ioasId', { kind: 'ioas', id: ctx.nextId(), areas: [], allowed: [], huge: true } as Ioas)
  },
  CreateFaultQueue: (ctx, { flags }: { flags: number }) => {
    no('EOPNOTSUPP', flags !== 0)
    return made(ctx, 'faultQueueId', { kind: 'fault', id: ctx.nextId() })
  },
  CreateVeventq: createVeventq,
  CreateHwQueue: createHwQueue,
  SetDirtyTracking: setDirty,
  GetDirtyBitmap: getBitmap,
  Destroy: destroy,
  BindDevice: bind,
  UnbindDevice: unbind,
  AttachRid: (ctx, { deviceId, ptId }: { deviceId: number; ptId: number }) => ({
    domainId: attach(ctx, ridOf(ctx, deviceId), 0, pageTable(ctx, ptId)).id,
  }),
  ReplaceRid: (ctx, { deviceId, ptId }: { deviceId: number; ptId: number }) => ({
    domainId: replace(ctx, ridOf(ctx, deviceId), 0, pageTable(ctx, ptId)).id,
  }),
  DetachRid: (ctx, { deviceId }: { deviceId: number }) => {
    ctx.detach(deviceOf(ctx, deviceId), 0)
    return {}
  },
  AttachPasid: (ctx, request: { deviceId: number; pasid: number; ptId: number }, world) => ({
    domainId: attachPasid(ctx, pasidOf(ctx, request, world), request).id,
  }),
  ReplacePasid: (ctx, request: { deviceId: number; pasid: number; ptId: number }, world) => ({
    domainId: replacePasid(ctx, pasidOf(ctx, request, world), request).id,
  }),
  DetachPasid: (ctx, { deviceId, pasid }: { deviceId: number; pasid: number }) => {
    const device = deviceOf(ctx, deviceId)
    const window = windowOf(device.slots.get(0))
    if (pasid !== 0) ctx.detach(device, pasid)
    else if (window !== undefined) device.slots.set(0, window)
    return {}
  },
  CreatePagingDomain: createPaging,
  CreateUserDomain: createUser,
  CreateWindow: createWindow,
  GrowWindow: growWindow,
  CreateViommu: createViommu,
  CreateVdevice: createVdevice,
  IoasMap: map,
  IoasCopy: copy,
  IoasUnmap: unmap,
  IoasAllowIovas: (ctx, request: Parameters<typeof allow>[1]) => {
    allow(ctx, request)
    return { doneCount: request.ranges.length }
  },
  IoasIovaRanges: (ctx, { ioasId }: { ioasId: number }) => {
    const ioas = ioasOfId(ctx, ioasId)
    const ranges = holes(ctx, ioas)
    return { ranges, totalCount: ranges.length, iovaAlignment: ctx.alignment(ioas) }
  },
  SetOption: setOption,
  GetVfioIoas: (ctx) => {
    no('ENODEV', ctx.vfioIoas === undefined)
    return { ioasId: ctx.vfioIoas?.id }
  },
  SetVfioIoas: (ctx, { ioasId }: { ioasId: number }) => {
    ctx.vfioIoas = ioasOfId(ctx, ioasId)
    return {}
  },
  ClearVfioIoas: (ctx) => {
    ctx.vfioIoas = undefined
    return {}
  },
} satisfies Record<string, (ctx: Context, request: never, world: World) => object> as Readonly<Record<string, Rule>>

/** A request as rules take it. */
export type AnyRequest = Request

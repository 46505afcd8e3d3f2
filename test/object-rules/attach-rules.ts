/** Attaching, replacing and joining, in the kernel's order. */

import {
  apertureOf,
  type Context,
  type Device,
  type Domain,
  type Ioas,
  ioasOf,
  logMapped,
  meet,
  No,
  no,
  type Paging,
  type Span,
  type Thing,
  TOP,
  type Vdevice,
  type Window,
  windowOf,
} from './model.js'

/** Bytes of each region. */
export const REGION_BYTES = 0x40_0000n

/** A device reserves its doorbell. */
function reserve(ctx: Context, device: Device, ioas: Ioas): void {
  const { msi } = device.facts.unit
  no(
    'EADDRINUSE',
    [...ioas.areas, ...ioas.allowed, ...ctx.windows(ioas)].some((span) => meet(span, msi)),
  )
  device.reservesIn = ioas
}

/** What core and driver refuse of a device, a slot and a domain. */
function check(ctx: Context, device: Device, slot: number, domain: Domain): void {
  const { unit, maxPasids, mediated } = device.facts
  no('EINVAL', domain.unit !== unit)
  const isWholeRid = domain.kind !== 'paging' && unit.kind === 'smmuv3'
  if (isWholeRid) {
    no('EPERM', mediated !== undefined || !device.whole)
    no('EINVAL', slot !== 0 && windowOf(domain) === undefined)
  }
  checkWindow(ctx, device, slot, domain)
  const pasids = [...device.slots.keys()].filter((used) => used !== 0)
  const rid = device.slots.get(0)
  if (slot === 0) no('EINVAL', !domain.pasid && pasids.length > 0)
  else {
    no('EINVAL', !domain.pasid || (rid !== undefined && !rid.pasid))
    no('EINVAL', slot >= maxPasids)
  }
  if (unit.kind === 'smmuv3') checkSmmu(ctx, device, slot, domain, pasids.length, rid)
  else {
    // No device here asks for pages, and VT-d's fault queues are theirs alone.
    no('ENODEV', domain.fault !== undefined)
    if (domain.kind === 'user') no('EINVAL', !domain.fits)
  }
}

function checkSmmu(
  ctx: Context,
  device: Device,
  slot: number,
  domain: Domain,
  pasids: number,
  rid: Domain | undefined,
): void {
  const window = windowOf(domain)
  if (window !== undefined) {
    enter(window, slot)
    return
  }
  const isStageOne = domain.kind === 'paging' && domain.stage === 1
  if (slot !== 0) {
    no('EINVAL', !isStageOne || (rid !== undefined && !(rid.kind === 'paging' && rid.stage === 1)))
    return
  }
  if (isStageOne) return
  no('EBUSY', pasids > 0)
  if (domain.kind !== 'user' || !domain.translates) return
  const named = (ctx.all('vdevice') as Vdevice[]).some(
    (vdevice) => vdevice.device === device && vdevice.viommu === domain.on,
  )
  no('ENOENT', !named)
}

/** A device has one table: the daemon's, a guest's or a window's; and a window is the table of one device. */
function checkWindow(ctx: Context, device: Device, slot: number, domain: Domain): void {
  const window = windowOf(domain)
  const isElsewhere = (other: Device) => [...other.slots.values()].some((one) => windowOf(one) === window)
  no('EBUSY', window !== undefined && ctx.devices.some((other) => other !== device && isElsewhere(other)))
  const old = device.slots.get(0)
  const pasids = [...device.slots].filter(([used]) => used !== 0).map(([, there]) => there)
  if (slot === 0) {
    no(
      'EBUSY',
      pasids.some((there) => windowOf(there) !== window),
    )
    const isGuests = (one: Domain | undefined) => one?.kind === 'user' && windowOf(one) === undefined
    const isOther = old !== undefined && (windowOf(old) === undefined) !== (window === undefined)
    no('EBUSY', isOther && (isGuests(old) || isGuests(domain)))
    return
  }
  no('EINVAL', domain.kind === 'window' || windowOf(old ?? pasids[0]) !== window)
}

/** A PASID finds its place in a window's table, which grows for it. */
function enter(window: Window, pasid: number): void {
  const block = Math.floor(pasid / 64)
  if (window.blocks.has(block)) return
  // A page of the level above leads to 512 blocks, and there is a power of two of such pages.
  let above = 1
  while (above * 512 <= block) above *= 2
  const grows = above > window.root.length
  const root = grows ? runOf(window, above) : window.root
  const left = [...window.free].filter((page) => !root?.includes(page))
  if (root === undefined || left.length === 0) throw new No('ENOSPC')
  if (grows) {
    for (const page of root) window.free.delete(page)
    for (const page of window.root) window.free.add(page)
    window.root = root
  }
  window.free.delete(Math.min(...left))
  window.blocks.add(block)
}

/** The lowest free pages that follow each other, aligned to their number. */
function runOf({ free }: Window, count: number): number[] | undefined {
  for (const first of [...free].sort((a, b) => a - b)) {
    const run = Array.from({ length: count }, (_, at) => first + at)
    if (first % count === 0 && run.every((page) => free.has(page))) return run
  }
  return undefined
}

/** What PASID 0 of a device with a window takes. */
export function attachRoot(ctx: Context, device: Device, target: Ioas | Domain): Domain {
  const there = device.slots.get(0) as Domain
  no('EBUSY', there.kind !== 'window')
  no('EINVAL', target.kind !== 'user' || windowOf(target) !== there)
  return exchange(ctx, device, 0, target as Domain)
}

/** The same where it has a root already. */
export function replaceRoot(ctx: Context, device: Device, target: Ioas | Domain): Domain {
  const there = device.slots.get(0) as Domain
  no('EINVAL', there.kind === 'window')
  no('EINVAL', target.kind !== 'user' || windowOf(target) !== windowOf(there))
  return exchange(ctx, device, 0, target as Domain)
}

/** Puts a domain into an empty slot. */
function put(ctx: Context, device: Device, slot: number, domain: Domain): Domain {
  no('EBUSY', device.slots.has(slot))
  const before = device.reservesIn
  if (slot === 0) reserve(ctx, device, ioasOf(domain))
  try {
    check(ctx, device, slot, domain)
  } catch (error) {
    if (slot === 0) device.reservesIn = before
    throw error
  }
  device.slots.set(slot, domain)
  return domain
}

/** Moves a full slot. A failed RID replace loses the reservation where the address space stays the same. */
function exchange(ctx: Context, device: Device, slot: number, domain: Domain): Domain {
  const old = device.slots.get(slot)
  if (old === undefined) throw new No('EINVAL')
  if (old === domain) return domain
  const before = device.reservesIn
  // Inside its window a RID's place in the address space is none of the attach's.
  const isInside = windowOf(domain) !== undefined && windowOf(domain) === windowOf(old)
  const moves = slot === 0 && ioasOf(old) !== ioasOf(domain)
  if (moves) reserve(ctx, device, ioasOf(domain))
  try {
    check(ctx, device, slot, domain)
  } catch (error) {
    if (moves) device.reservesIn = before
    else if (slot === 0 && !isInside) device.reservesIn = undefined
    throw error
  }
  device.slots.set(slot, domain)
  ctx.letGo(old)
  return domain
}

function firstFitting(ctx: Context, ioas: Ioas, attempt: (domain: Paging) => Domain): Domain | undefined {
  for (const domain of ctx.domainsOf(ioas).filter(({ auto }) => auto)) {
    try {
      return attempt(domain)
    } catch (error) {
      if (!(error instanceof No) || error.errno !== 'EINVAL') throw error
    }
  }
  return undefined
}

/** Attaches; an address space finds or makes a domain. */
export function attach(ctx: Context, device: Device, slot: number, target: Ioas | Domain): Domain {
  if (target.kind !== 'ioas') return put(ctx, device, slot, target)
  const fitting = firstFitting(ctx, target, (domain) => put(ctx, device, slot, domain))
  if (fitting !== undefined) return fitting
  const before = device.reservesIn
  const made = automatic(ctx, device, target)
  put(ctx, device, slot, made)
  try {
    join(ctx, made)
  } catch (error) {
    device.slots.delete(slot)
    device.reservesIn = before
    throw error
  }
  return ctx.add(made)
}

/** Replaces; an address space finds or makes a domain, which is filled first. */
export function replace(ctx: Context, device: Device, slot: number, target: Ioas | Domain): Domain {
  if (target.kind !== 'ioas') return exchange(ctx, device, slot, target)
  const fitting = firstFitting(ctx, target, (domain) => exchange(ctx, device, slot, domain))
  if (fitting !== undefined) return fitting
  const made = automatic(ctx, device, target)
  join(ctx, made)
  ctx.add(made)
  try {
    return exchange(ctx, device, slot, made)
  } catch (error) {
    ctx.remove(made)
    throw error
  }
}

function automatic(ctx: Context, device: Device, ioas: Ioas): Paging {
  const { unit } = device.facts
  return {
    kind: 'paging',
    id: ctx.nextId(),
    ioas,
    unit,
    nest: false,
    pasid: false,
    dirty: false,
    logged: new Set(),
    auto: true,
    stage: 1,
  }
}

/** A domain that is not published yet takes over every mapping. */
export function join(ctx: Context, domain: Paging): void {
  const { ioas } = domain
  no('EADDRINUSE', ctx.alignment(ioas) < 4096n && ioas.areas.some((area) => !isAligned(area)))
  const { start, last } = apertureOf(domain)
  const outside: Span[] = [
    { start: 0n, last: start - 1n },
    { start: last + 1n, last: TOP },
  ].filter((span) => span.start <= span.last)
  no(
    'EADDRINUSE',
    [...ioas.areas, ...ioas.allowed, ...ctx.windows(ioas)].some((span) => outside.some((other) => meet(span, other))),
  )
  const isParentOfErratum = domain.nest && domain.unit.kind === 'vtd'
  for (const area of [...ioas.areas].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    no('EFAULT', area.offset + (area.last - area.start) >= REGION_BYTES)
    no('EINVAL', isParentOfErratum && !area.write)
  }
  for (const area of ioas.areas) logMapped(domain, area)
}

/** Whether IOVA, length and source lie on pages. */
export const isAligned = ({ start, last, offset }: { start: bigint; last: bigint; offset: bigint }): boolean =>
  ((start | (last + 1n) | offset) & 4095n) === 0n

/** What a `pt_id` names. */
export function pageTable(ctx: Context, id: number): Ioas | Domain {
  const found: Thing | undefined = ctx.things.get(id)
  no('ENOENT', found === undefined)
  no('EINVAL', !['ioas', 'paging', 'user', 'window'].includes(found?.kind ?? ''))
  return found as Ioas | Domain
}

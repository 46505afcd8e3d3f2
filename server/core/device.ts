/** A platform device that a context has bound, and the domains in its slots. [uAPI VFIO_DEVICE_BIND_IOMMUFD] */

import { after } from './completion.js'
import type { Context } from './context.js'
import { DeviceFaults } from './device-faults.js'
import { type Completion, RID_SLOT } from './driver.js'
import { Endpoint } from './endpoint.js'
import { KeptGrants } from './kept-grants.js'
import { lookLastAt, lookLastAtKept } from './last-look.js'
import type { PlatformDevice } from './machine.js'
import { type Holder, IommuObject, OBJECT_TYPE } from './object.js'
import type { PagingDomain } from './paging-domain.js'
import { Refusal } from './refusal.js'
import type { UserDomain } from './user-domain.js'
import type { Vdevice } from './viommu.js'
import type { Window } from './window.js'
import { finish, type Work } from './work.js'

/** What can be in a slot: a domain of any kind, or a window. */
export type Domain = PagingDomain | UserDomain | Window

/** What a BindDevice took; the numbers are the contract's DeviceGrant. */
export const GRANT = { WHOLE_DEVICE: 1, PASID_ONLY: 2 } as const

/** One of GRANT. */
export type Grant = (typeof GRANT)[keyof typeof GRANT]

const BLOCKED = 'it did not complete an ATS invalidation in time; ResetDevice lets it go on'

/** A bound device. */
export class Device extends IommuObject {
  static override readonly label = 'a bound device'

  readonly type = OBJECT_TYPE.DEVICE
  readonly kind = 'device'
  readonly context: Context
  readonly platform: PlatformDevice
  readonly grant: Grant
  /**
   * Without PASIDs of its own, it lets any be attached: nothing comes of it, as it sends none. The kernel's way with
   * devices of VFIO; a typed bind is told.
   */
  takesAnyPasid = false
  /** Domains by slot: RID_SLOT or a PASID. */
  readonly slots = new Map<number, Domain>()
  readonly faults: DeviceFaults
  /** What it keeps and waits for. */
  readonly endpoint: Endpoint
  /** What of that its unit's oracle compares. */
  readonly kept: KeptGrants
  /** Its place in a vIOMMU, if it has one. */
  vdevice: Vdevice | undefined
  /** Whoever bound it holds it, so that a destroy by id is always refused. */
  readonly #binding: Holder

  constructor(id: number, context: Context, platform: PlatformDevice, grant: Grant) {
    super(id)
    this.context = context
    this.platform = platform
    this.grant = grant
    this.faults = new DeviceFaults(context)
    this.endpoint = new Endpoint(this)
    this.kept = new KeptGrants(context.core, platform.device)
    this.#binding = { id, kind: 'binding of device' }
    this.hold(this.#binding)
    context.core.bound.set(platform, this)
  }

  get holds(): readonly IommuObject[] {
    return [...new Set(this.slots.values())]
  }

  override get facts(): Readonly<Record<string, string>> {
    const grant = this.grant === GRANT.WHOLE_DEVICE ? 'WHOLE_DEVICE' : 'PASID_ONLY'
    const { name, driver } = this.platform
    // It is said only where it is so: who sees it knows why nothing passes.
    const blocked: Readonly<Record<string, string>> = this.endpoint.isBlocked ? { blocked: BLOCKED } : {}
    const failed: Readonly<Record<string, string>> = driver.failure === undefined ? {} : { unit_failed: driver.failure }
    return { name, unit: driver.name, grant, attachments: String(this.slots.size), ...blocked, ...failed }
  }

  /** Has hardware put a domain into a slot. @throws Refusal */
  fill(slot: number, domain: Domain, old: Domain | null): Completion {
    return this.#isInHardware(slot) ? this.platform.device.set(slot, domain.ops, old?.ops ?? null) : undefined
  }

  /** Empties a slot: its DMA is blocked, and what the attachment reserved and held is free. Nothing there is done. */
  detach(slot: number): Completion {
    const domain = this.slots.get(slot)
    if (domain === undefined) return undefined
    this.slots.delete(slot)
    const cleared = this.#isInHardware(slot) ? this.platform.device.clear(slot, domain.ops) : undefined
    return after(cleared, () => {
      if (slot === RID_SLOT) domain.ioas.reserved.removeOwner(this)
      return this.endAttachment(slot, domain)
    })
  }

  /** What waits for an answer through an attachment is answered, and then the domain let go. */
  endAttachment(slot: number, domain: Domain): Completion {
    return after(this.faults.endAttachment(slot, domain), () => this.letGo(domain))
  }

  /** Ends an attachment's hold of a domain; an automatic one goes with its last. */
  letGo(domain: Domain): Completion {
    domain.drop(this)
    this.drop(domain)
    domain.window?.unuse(this)
    // One that its own call still makes is not published, and undone by that call.
    const isPublished = this.context.objects.find(domain.id) === domain
    return domain.isAuto && domain.users === 0 && isPublished ? this.context.discard(domain) : undefined
  }

  /** Its file closes: everything is detached and the device is free. */
  unbind(): Completion {
    return finish(this.unbinding(), this.context.core.turn)
  }

  /** Function-level reset, of what is its own: other contexts may have other PASIDs of the same function. */
  reset(): Completion {
    const { bound } = this.context.core
    const { device, mediated } = this.platform
    const isAlone = bound.of(device).length === 1 && mediated === undefined
    return device.reset(isAlone ? undefined : [...this.slots.keys()])
  }

  /** Nothing of it waits any more, and nothing will: what it kept is gone. */
  close(): void {
    if (!this.endpoint.isClosed) lookLastAtKept(this)
    this.endpoint.close()
  }

  /** PASIDs, then the RID are detached, the vDEVICE's id is spoilt, and the device is free. */
  *unbinding(): Work<void> {
    const { wasUsed } = this.endpoint
    this.close()
    yield* lookLastAt(this)
    // As VFIO does when a device's file closes; what never waited for anything has nothing to forget.
    if (wasUsed) yield this.reset()
    const pasids = [...this.slots.keys()].filter((slot) => slot !== RID_SLOT).sort((a, b) => a - b)
    for (const slot of [...pasids, RID_SLOT]) yield this.detach(slot)
    if (this.vdevice !== undefined) yield this.context.bury(this.vdevice)
    this.drop(this.#binding)
    yield this.context.discard(this)
  }

  #isInHardware(slot: number): boolean {
    return slot === RID_SLOT || this.platform.device.maxPasids > 0
  }

  destroy(): Completion {
    this.faults.dropParked()
    this.context.core.bound.delete(this.platform)
    return undefined
  }
}

/** A PASID is its mediated device's alone while that is bound. @throws Refusal EBUSY */
export function refuseChilds({ bound }: Context['core'], { name, device }: PlatformDevice, pasid: number): void {
  for (const { platform } of bound.of(device)) {
    const { name: child, mediated } = platform
    if (mediated?.parent !== name || mediated.pasid !== pasid) continue
    throw new Refusal('EBUSY', `PASID ${pasid} is the mediated device ${child}'s, which is bound`, { pasid })
  }
}

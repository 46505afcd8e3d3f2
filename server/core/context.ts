/**
 * A context: one open of /dev/iommu and the process around it. It owns objects, regions and quotas; its end is the end
 * of a process, and takes everything in the order in which the kernel would.
 */

import type { Connection, EndReason, Peer } from './ambient.js'
import { after } from './completion.js'
import type { Core } from './core.js'
import { Device } from './device.js'
import type { Completion } from './driver.js'
import type { Ioas } from './ioas.js'
import { ACCOUNT_MODE } from './locked.js'
import { MapSpace } from './map-space.js'
import type { IommuObject } from './object.js'
import { ObjectTable } from './object-table.js'
import { OpenFiles } from './open-files.js'
import { Quota } from './quota.js'
import { assert, Refusal } from './refusal.js'
import { RegionTable } from './region.js'
import { TransactionTable } from './transactions.js'
import { Waiters } from './waiters.js'
import { finish, type Work } from './work.js'

/** How a context ends by itself; the numbers are the contract's ContextLifetime. */
export const LIFETIME = { UNSPECIFIED: 0, CONNECTION: 1, LEASE: 2, EXPLICIT: 3 } as const

/** A lifetime that a context has. */
export type Lifetime = 1 | 2 | 3

/** What a context is from its first moment. */
export interface ContextSpec {
  /** Its number in logs, no secret. */
  readonly number: bigint
  readonly token: string
  readonly lifetime: Lifetime
  /** Lease in milliseconds; 0 without one. */
  readonly leaseMs: number
  readonly label: string
}

/** One client's world. */
export class Context {
  readonly core: Core
  readonly number: bigint
  readonly token: string
  readonly uid: number
  readonly label: string
  readonly lifetime: Lifetime
  /** Where it was opened. */
  readonly connection: Connection | undefined
  leaseMs: number
  readonly quota: Quota
  readonly objects = new ObjectTable()
  readonly regions: RegionTable
  /** By handle; each of them was opened through the ioctl door. */
  readonly files: OpenFiles
  /** What its devices wait for. */
  readonly transactions: TransactionTable
  /** Where pages of its objects can be mapped. */
  readonly maps = new MapSpace()
  /** Calls of it that wait for something; all of them wake when it ends. */
  readonly waiters = new Waiters()
  /** Who pays for memory that is pinned for it. [uAPI IOMMU_OPTION_RLIMIT_MODE] */
  accountMode: typeof ACCOUNT_MODE.USER | typeof ACCOUNT_MODE.PROCESS = ACCOUNT_MODE.USER
  /** The IOAS of the VFIO container ioctls; no reference is held. [uAPI IOMMU_VFIO_IOAS] */
  vfioIoas: Ioas | undefined
  #active = 0
  #usedAt: number
  #cancelLease: (() => void) | undefined
  #ended: Completion
  #isEnding = false
  #idle: (() => void) | undefined

  constructor(core: Core, peer: Peer, spec: ContextSpec, ofUser: Quota) {
    this.core = core
    this.uid = peer.uid
    this.connection = peer.connection
    this.number = spec.number
    this.token = spec.token
    this.lifetime = spec.lifetime
    this.leaseMs = spec.leaseMs
    this.label = spec.label
    this.quota = new Quota('context', core.limits, ofUser, core.failPoint)
    this.regions = new RegionTable(this)
    this.files = new OpenFiles(this.quota)
    this.transactions = new TransactionTable(this.quota)
    this.#usedAt = core.clock.now()
    if (spec.lifetime === LIFETIME.LEASE) this.#watchLease()
  }

  /** No new call may begin. */
  get isEnding(): boolean {
    return this.#isEnding
  }

  /** Milliseconds until the lease ends, if no call comes; 0 without a lease. */
  get leaseLeftMs(): number {
    if (this.lifetime !== LIFETIME.LEASE) return 0
    if (this.#active > 0) return this.leaseMs
    return Math.max(0, Math.ceil(this.#usedAt + this.leaseMs - this.core.clock.now()))
  }

  /** Renews the lease, with another length if one is given. */
  renew(leaseMs = this.leaseMs): void {
    this.leaseMs = leaseMs
    this.#usedAt = this.core.clock.now()
    this.#watchLease()
  }

  /** A call begins; the lease does not end while it runs. For `Core.run`. */
  enter(): void {
    this.#active++
  }

  /** A call has ended. For `Core.run`. */
  leave(): void {
    assert(this.#active > 0, 'a call enters its context before it leaves')
    this.#active--
    this.#usedAt = this.core.clock.now()
    // An end that a call of this context asked for waits for all but that call: it counts again.
    this.#idle?.()
  }

  /** Takes a published object out and gives everything of it back. Nobody holds it. */
  discard(object: IommuObject): Completion {
    assert(object.users === 0, `${object.kind} ${object.id} has no users when it is destroyed`)
    this.objects.remove(object)
    for (const name of object.charges) this.quota.release(name)
    return object.destroy()
  }

  /** Takes an object out and leaves its id unused for ever. */
  bury(object: IommuObject): Completion {
    this.objects.bury(object)
    for (const name of object.charges) this.quota.release(name)
    return object.destroy()
  }

  /**
   * Ends the context: waits for its running calls, then destroys all. Asking twice is one end.
   *
   * @param byOwnCall a call of this context asks, and is not waited for
   */
  end(why: EndReason, byOwnCall = false): Completion {
    if (this.#isEnding) return this.#ended
    this.#isEnding = true
    this.#cancelLease?.()
    this.core.forget(this, why)
    // Its process is gone: nobody is left who would answer what its devices are asked.
    for (const device of this.core.bound.values()) if (device.context === this) device.close()
    this.waiters.wakeAll()
    const own = byOwnCall ? 1 : 0
    const idle = this.#active > own ? this.#whenIdle(own) : undefined
    this.#ended = after(idle, () => after(finish(this.#destroyAll(), this.core.turn), () => this.core.ended(this, why)))
    return this.#ended
  }

  async #whenIdle(own: number): Promise<void> {
    while (this.#active > own) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve
      })
    }
  }

  /** Files and devices first, as at exit(2); then ascending ids that nobody holds, again and again. [uAPI close(2)] */
  *#destroyAll(): Work<void> {
    // A mapped page keeps the file open, so in a process that ends the mappings go before it.
    this.regions.destroyMapped()
    for (const [handle] of this.files.all) yield this.files.close(handle)
    for (const object of this.objects.ascending()) {
      if (object instanceof Device) yield* object.unbinding()
      yield
    }
    while (this.objects.size > 0) {
      const before = this.objects.size
      for (const object of this.objects.ascending()) yield object.users === 0 ? this.discard(object) : undefined
      assert(this.objects.size < before, 'some object of a context has no users')
    }
    this.#releaseMemory()
  }

  #releaseMemory(): void {
    this.transactions.forgetAll()
    this.regions.releaseAll()
    const left = Object.keys(this.quota.inUse)
    assert(left.length === 0, `a context that ended holds nothing: ${left.join(', ')}`)
  }

  #watchLease(): void {
    this.#cancelLease?.()
    this.#cancelLease = this.core.clock.after(Math.max(1, this.leaseLeftMs), () => {
      this.core.turn.begin()
      if (this.#active === 0 && this.leaseLeftMs === 0) this.end('lease')
      else this.#watchLease()
    })
  }
}

/** The number of a lifetime that the caller asked for, or its transport's default. */
export function lifetimeOf(asked: number, peer: Peer): Lifetime {
  const own = peer.connection !== undefined
  switch (asked) {
    case LIFETIME.UNSPECIFIED:
      return own ? LIFETIME.CONNECTION : LIFETIME.LEASE
    case LIFETIME.CONNECTION:
      if (own) return asked
      throw new Refusal('EOPNOTSUPP', 'connections of this transport are not yours alone; take a lease', { asked })
    case LIFETIME.LEASE:
    case LIFETIME.EXPLICIT:
      return asked
    default:
      throw new Refusal('EOPNOTSUPP', `lifetime ${asked} is not known`, { lifetime: asked })
  }
}

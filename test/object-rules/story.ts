/** Random calls: mostly sensible, often nearly so, sometimes nonsense. */

import type { Rng } from '../simulation/rng.js'
import {
  type Context,
  type Device,
  type Domain,
  type Ioas,
  type Paging,
  TOP,
  type Viommu,
  type Window,
  windowOf,
} from './model.js'
import type { World } from './rules.js'

/** One call. */
export interface Step {
  readonly method: string
  readonly request: Readonly<Record<string, unknown>>
}

type Kind = Parameters<Context['all']>[0]

/** Makes steps for one context. */
export class Story {
  readonly #rng: Rng
  readonly #world: World
  readonly #weighted: readonly (readonly [number, (ctx: Context) => Step])[]
  readonly #total: number

  constructor(rng: Rng, world: World) {
    this.#rng = rng
    this.#world = world
    this.#weighted = this.#menu()
    this.#total = this.#weighted.reduce((sum, [weight]) => sum + weight, 0)
  }

  /** The next call of a context. */
  next(ctx: Context): Step {
    // What grows is pruned: the rules are about what holds what, not about numbers.
    if (ctx.things.size > MOST_THINGS && this.#rng.chance(0.6)) return this.#destroy(ctx)
    let at = this.#rng.int(this.#total)
    for (const [weight, make] of this.#weighted) {
      at -= weight
      if (at < 0) return make(ctx)
    }
    return this.#destroy(ctx)
  }

  #menu(): readonly (readonly [number, (ctx: Context) => Step])[] {
    const rng = this.#rng
    const step = (method: string, request: Step['request']): Step => ({ method, request })
    const device = (ctx: Context): number => this.#id(ctx, 'device')
    const rid = (method: string) => (ctx: Context) => {
      const deviceId = device(ctx)
      return step(method, { deviceId, ptId: this.#target(ctx, deviceId, false) })
    }
    const pasid = (method: string) => (ctx: Context) => {
      const deviceId = device(ctx)
      return step(method, { deviceId, pasid: this.#pasid(ctx, deviceId), ptId: this.#target(ctx, deviceId, true) })
    }
    return [
      [2, () => step('CreateFaultQueue', { flags: rng.chance(0.05) ? 1 : 0 })],
      [2, (ctx) => this.#veventq(ctx)],
      [1, (ctx) => this.#hwQueue(ctx)],
      [2, (ctx) => step('SetDirtyTracking', { domainId: this.#id(ctx, 'paging'), flags: rng.pick([0, 1, 1, 2]) })],
      [2, (ctx) => this.#bitmap(ctx)],
      [3, () => step('CreateIoas', { flags: rng.chance(0.05) ? 1 : 0 })],
      [5, (ctx) => this.#destroy(ctx)],
      [9, () => step('BindDevice', { deviceName: this.#deviceName(), grant: rng.pick([0, 0, 0, 1, 2, 2, 3]) })],
      [1, (ctx) => step('UnbindDevice', { deviceId: device(ctx) })],
      [7, rid('AttachRid')],
      [8, rid('ReplaceRid')],
      [2, (ctx) => step('DetachRid', { deviceId: device(ctx) })],
      [7, pasid('AttachPasid')],
      [5, pasid('ReplacePasid')],
      [
        2,
        (ctx) => {
          const deviceId = device(ctx)
          return step('DetachPasid', { deviceId, pasid: this.#pasid(ctx, deviceId) })
        },
      ],
      [6, (ctx) => this.#paging(ctx)],
      [7, (ctx) => this.#user(ctx)],
      [4, (ctx) => this.#window(ctx)],
      [3, (ctx) => this.#growth(ctx)],
      [6, (ctx) => this.#root(ctx)],
      [12, (ctx) => this.#place(ctx)],
      [5, (ctx) => this.#viommu(ctx)],
      [4, (ctx) => this.#vdevice(ctx)],
      [9, (ctx) => this.#map(ctx)],
      [4, (ctx) => this.#copy(ctx)],
      [6, (ctx) => this.#unmap(ctx)],
      [2, (ctx) => this.#allow(ctx)],
      [3, (ctx) => step('IoasIovaRanges', { ioasId: this.#id(ctx, 'ioas') })],
      [
        2,
        (ctx) => step('SetOption', { option: 2, objectId: this.#id(ctx, 'ioas'), value: rng.pick([0n, 1n, 1n, 2n]) }),
      ],
      [1, (ctx) => step('SetVfioIoas', { ioasId: this.#id(ctx, 'ioas') })],
      [1, () => step('GetVfioIoas', {})],
      [1, () => step('ClearVfioIoas', {})],
    ]
  }

  /** An id that fits, another one, or any number. */
  #id(ctx: Context, kind: Kind): number {
    const roll = this.#rng.u32() % 100
    if (roll < 4) return this.#rng.int(80)
    const choices = roll < 93 ? ctx.all(kind) : [...ctx.things.values()]
    return choices.length === 0 ? 0 : this.#rng.pick(choices).id
  }

  #destroy(ctx: Context): Step {
    const all = [...ctx.things.keys()]
    const objectId = all.length > 0 && this.#rng.chance(0.9) ? this.#rng.pick(all) : this.#rng.int(80)
    return { method: 'Destroy', request: { objectId } }
  }

  #deviceName(): string {
    return this.#rng.chance(0.03) ? '0000:99:00.0' : this.#rng.pick(this.#world.devices).name
  }

  /** One that is in use, one that could be, or one that cannot. */
  #pasid(ctx: Context, deviceId: number): number {
    const device = ctx.things.get(deviceId) as Device | undefined
    const used = [...(device?.slots?.keys() ?? [])]
    if (used.length > 0 && this.#rng.chance(0.4)) return this.#rng.pick(used)
    if (device?.facts?.mediated !== undefined && this.#rng.chance(0.9)) return device.facts.mediated.pasid
    if (windowOf(device?.slots?.values().next().value) !== undefined) return this.#rng.pick(PLACES)
    return this.#rng.chance(0.15) ? this.#rng.pick([0, 2 ** 20 - 1, 2 ** 20, 2 ** 31]) : this.#rng.pick([1, 2, 7, 9])
  }

  /** What a slot of a device may take: mostly a domain of its unit. */
  #target(ctx: Context, deviceId: number, forPasid: boolean): number {
    const rng = this.#rng
    const device = ctx.things.get(deviceId) as Device | undefined
    if (rng.chance(0.25) || device?.kind !== 'device')
      return this.#id(ctx, rng.pick(['ioas', 'paging', 'user', 'window']))
    const domains = [...ctx.all('paging'), ...ctx.all('user'), ...ctx.all('window')] as unknown as Domain[]
    const window = [...device.slots.values()].map(windowOf)[0]
    const roots = domains.filter((domain) => domain.kind === 'user' && windowOf(domain) === window)
    if (window !== undefined && roots.length > 0 && rng.chance(0.8)) return rng.pick(roots).id
    const fitting = domains.filter(({ unit, pasid }) => unit === device.facts.unit && (pasid || !forPasid))
    return fitting.length === 0 ? this.#id(ctx, 'ioas') : rng.pick(fitting).id
  }

  /** A device and something of its unit to make a thing on. */
  #onUnit(ctx: Context, kind: 'paging' | 'viommu'): { readonly deviceId: number; readonly on: number } {
    const deviceId = this.#id(ctx, 'device')
    const device = ctx.things.get(deviceId) as Device | undefined
    if (this.#rng.chance(0.15) || device?.kind !== 'device') return { deviceId, on: this.#id(ctx, kind) }
    const all = ctx.all(kind) as unknown as (Paging | Viommu)[]
    const fitting = all.filter((one) => one.unit === device.facts.unit && (one.kind === 'viommu' || one.nest))
    return { deviceId, on: fitting.length === 0 ? this.#id(ctx, kind) : this.#rng.pick(fitting).id }
  }

  #paging(ctx: Context): Step {
    const flags = this.#rng.pick([0, 0, 1, 1, 1, 8, 8, 8, 9, 2, 3, 4, 5, 12, 16])
    const request = {
      flags,
      deviceId: this.#id(ctx, 'device'),
      ioasId: this.#id(ctx, 'ioas'),
      faultQueueId: this.#id(ctx, 'fault'),
    }
    return { method: 'CreatePagingDomain', request }
  }

  #user(ctx: Context): Step {
    const rng = this.#rng
    const onViommu = ctx.all('viommu').length > 0 && rng.chance(0.6)
    const { deviceId, on } = this.#onUnit(ctx, onViommu ? 'viommu' : 'paging')
    const vtdS1 = { flags: 0n, pgtblAddr: 0x1000n, addrWidth: rng.pick([48, 48, 48, 47]) }
    const smmuv3Ste = { ste0: rng.pick([0n, 1n, 9n, 11n, 11n, 11n, 13n]), ste1: 0n }
    const isSmmu = rng.chance(0.05) ? !onViommu : onViommu
    return {
      method: 'CreateUserDomain',
      request: {
        flags: rng.pick(onViommu ? [0, 0, 0, 0, 8, 4, 1] : [0, 0, 8, 8, 8, 4, 1]),
        deviceId,
        ...(onViommu ? { viommuId: on } : { parentDomainId: on }),
        ...(isSmmu ? { smmuv3Ste } : { vtdS1 }),
        faultQueueId: this.#id(ctx, 'fault'),
      },
    }
  }

  #window(ctx: Context): Step {
    const { on: parentDomainId } = this.#onUnit(ctx, 'paging')
    return { method: 'CreateWindow', request: { parentDomainId, ...this.#range() } }
  }

  #growth(ctx: Context): Step {
    return { method: 'GrowWindow', request: { windowId: this.#id(ctx, 'window'), ...this.#range() } }
  }

  /** One root, mostly for a device of the window's unit. */
  #root(ctx: Context): Step {
    const rng = this.#rng
    const windowId = this.#id(ctx, 'window')
    const window = ctx.things.get(windowId) as Window | undefined
    const fitting = ctx.devices.filter(({ facts }) => facts.unit === window?.unit)
    const deviceId = fitting.length > 0 && rng.chance(0.9) ? rng.pick(fitting).id : this.#id(ctx, 'device')
    const fields = { ttb0: 0n, t0sz: 25, ir0: 1, or0: 1, sh0: 3, ips: 4, mair: 0xffn, ha: false, hd: false }
    const smmuv3Pgd = { ...fields, tg0: rng.pick([0, 0, 0, 0, 0, 3]) }
    const roll = rng.int(20)
    const on = roll === 0 ? { viommuId: this.#id(ctx, 'viommu') } : { windowId }
    const data = roll === 1 ? { vtdS1: { flags: 0n, pgtblAddr: 0n, addrWidth: 48 } } : { smmuv3Pgd }
    const flags = rng.pick([0, 0, 0, 8, 8, 4, 1])
    const request = { flags, deviceId, ...on, ...data, faultQueueId: this.#id(ctx, 'fault') }
    return { method: 'CreateUserDomain', request }
  }

  /** A root of a window goes to a place in the table of its device; and the window to a device, while it is on none. */
  #place(ctx: Context): Step {
    const rng = this.#rng
    const roots = (ctx.all('user') as unknown as Domain[]).filter((domain) => windowOf(domain) !== undefined)
    if (roots.length === 0) return this.#root(ctx)
    const root = rng.pick(roots)
    const isOn = ({ slots }: Device) => [...slots.values()].some((there) => windowOf(there) === windowOf(root))
    const on = ctx.devices.find(isOn)
    const free = ctx.devices.filter(({ facts, whole, slots }) => facts.unit === root.unit && whole && slots.size === 0)
    if (on !== undefined) {
      const request = { deviceId: on.id, pasid: rng.pick(PLACES), ptId: root.id }
      return { method: rng.pick(['AttachPasid', 'AttachPasid', 'ReplacePasid']), request }
    }
    const deviceId = free.length === 0 ? this.#id(ctx, 'device') : rng.pick(free).id
    return { method: 'AttachRid', request: { deviceId, ptId: rng.chance(0.5) ? root.id : windowOf(root)?.id } }
  }

  /** For a window: mostly a few pages among mappings, or many where none are. */
  #range(): { readonly first: bigint; readonly last: bigint } {
    const rng = this.#rng
    if (rng.chance(0.3)) {
      const first = 0x4000_0000n + BigInt(rng.int(64)) * 0x1_0000n
      return { first, last: first + BigInt(1 + rng.int(80)) * 0x1000n - 1n }
    }
    const first = this.#iova()
    return { first, last: first + BigInt(1 + rng.int(4)) * 0x1000n - (rng.chance(0.05) ? 0n : 1n) }
  }

  #viommu(ctx: Context): Step {
    const type = this.#rng.pick([1, 1, 1, 1, 1, 1, 0, 2])
    const { deviceId, on: parentDomainId } = this.#onUnit(ctx, 'paging')
    return { method: 'CreateViommu', request: { flags: 0, type, deviceId, parentDomainId } }
  }

  #vdevice(ctx: Context): Step {
    const virtId = BigInt(this.#rng.int(4))
    const { deviceId, on: viommuId } = this.#onUnit(ctx, 'viommu')
    return { method: 'CreateVdevice', request: { viommuId, deviceId, virtId } }
  }

  #veventq(ctx: Context): Step {
    const rng = this.#rng
    const type = rng.pick([1, 1, 1, 2, 0])
    const depth = rng.pick([1, 8, 8, 8, 0, 2 ** 32 - 1])
    const request = { flags: rng.chance(0.05) ? 1 : 0, viommuId: this.#id(ctx, 'viommu'), type, depth }
    return { method: 'CreateVeventq', request }
  }

  #hwQueue(ctx: Context): Step {
    const rng = this.#rng
    const viommuId = this.#id(ctx, 'viommu')
    const request = { flags: 0, viommuId, type: rng.pick([0, 1]), index: 0, nestingParentIova: this.#iova() }
    return { method: 'CreateHwQueue', request: { ...request, length: this.#length() } }
  }

  #bitmap(ctx: Context): Step {
    const rng = this.#rng
    const pageSize = rng.pick([0x1000n, 0x1000n, 0x2000n, 0x800n, 0n, 3n])
    const length = BigInt(rng.int(8)) * 0x1000n
    const iova = this.#iova()
    const request = { domainId: this.#id(ctx, 'paging'), flags: rng.pick([0, 1, 2]), iova, length, pageSize }
    return { method: 'GetDirtyBitmap', request }
  }

  #map(ctx: Context): Step {
    const rng = this.#rng
    const offset = rng.chance(0.9) ? BigInt(rng.int(0x400)) * 0x1000n : BigInt(rng.int(0x40_0000))
    const request = {
      ioasId: this.#id(ctx, 'ioas'),
      flags: rng.pick([2, 6, 7, 7, 7, 5, 4, 1, 0, 9]),
      region: { regionId: 1, offset },
      length: this.#length(),
      iova: this.#iova(),
    }
    return { method: 'IoasMap', request }
  }

  #copy(ctx: Context): Step {
    const rng = this.#rng
    const source = this.#id(ctx, 'ioas')
    const [srcIova, length] = this.#mapped(ctx, source)
    const dstIova = this.#iova()
    const flags = rng.pick([2, 6, 7, 7, 4, 5, 1, 8])
    const request = { flags, dstIoasId: this.#id(ctx, 'ioas'), srcIoasId: source, length, dstIova, srcIova }
    return { method: 'IoasCopy', request }
  }

  #unmap(ctx: Context): Step {
    const ioasId = this.#id(ctx, 'ioas')
    if (this.#rng.chance(0.05)) return { method: 'IoasUnmap', request: { ioasId, iova: 0n, length: TOP } }
    const [iova, length] = this.#mapped(ctx, ioasId)
    return { method: 'IoasUnmap', request: { ioasId, iova, length } }
  }

  #allow(ctx: Context): Step {
    const ranges = Array.from({ length: this.#rng.int(4) }, () => {
      const first = this.#iova()
      return { first, last: first + this.#length() }
    })
    return { method: 'IoasAllowIovas', request: { ioasId: this.#id(ctx, 'ioas'), ranges } }
  }

  /** A range around what is mapped: exactly, more, less, or anywhere. */
  #mapped(ctx: Context, id: number): [bigint, bigint] {
    const areas = (ctx.things.get(id) as Ioas | undefined)?.areas ?? []
    if (areas.length === 0 || this.#rng.chance(0.1)) return [this.#iova(), this.#length()]
    const { start, last } = this.#rng.pick(areas)
    const length = last - start + 1n
    switch (this.#rng.int(5)) {
      case 0:
        return [start + 0x1000n, length]
      case 1:
        return [start, length + 0x3000n]
      case 2:
        return [start, length > 0x1000n ? length - 0x1000n : length]
      default:
        return [start, length]
    }
  }

  #iova(): bigint {
    const rng = this.#rng
    const roll = rng.int(40)
    if (roll === 0) return rng.pick([TOP, TOP - 0xfffn, TOP - 1n, 0n])
    if (roll === 1) return rng.pick(EDGES) + BigInt(rng.int(3) - 1) * 0x1000n
    if (roll === 2) return BigInt(rng.int(0x40_0000))
    return BigInt(rng.int(0x100)) * 0x1000n
  }

  #length(): bigint {
    const rng = this.#rng
    const roll = rng.int(50)
    if (roll === 0) return rng.pick([0n, TOP, TOP - 0xfffn, 2n ** 63n, 1n])
    if (roll === 1) return BigInt(rng.int(0x4000))
    // No block of 2 MiB: a block's flags are those of all its pages.
    if (roll === 2) return 0x1f_f000n
    return BigInt(1 + rng.int(6)) * 0x1000n
  }
}

/** PASIDs in the first page of a table, behind it, and at the end of a table of each size. */
const PLACES: readonly number[] = [0, 0, 0, 1, 2, 7, 63, 64, 200, 2 ** 15 - 1, 2 ** 15, 2 ** 18, 2 ** 20 - 1]

/** Doorbells, and ends of apertures. */
const EDGES: readonly bigint[] = [0x800_0000n, 0x810_0000n, 0xfee0_0000n, 0xfef0_0000n, 2n ** 47n, 2n ** 48n, 2n ** 44n]

const MOST_THINGS = 45

/**
 * A guest whose VMM gives each PASID a table of the guest's own, as on VT-d, over an SMMUv3: a window of the parent
 * holds the table of CDs, which is the daemon's, and each domain is one root.
 */

import type { DeviceGrant } from '../../clients/node/index.js'
import { ARM64, GuestTree } from './guest-tables.js'
import { DEVICES, READ, type Vmm, type World } from './world.js'

/** First IPA of the window; the guest has no memory there. */
export const WINDOW = 0x8000_0000n

/** First IPA of RAM. */
export const RAM = 0x4000_0000n

/** Bytes of a page. 64 CDs are as long. */
export const PAGE = 0x1000n

/** What every tree maps. It is in RAM, so that DMA past stage 1 goes somewhere too: there. */
export const IOVA = 0x4038_0000n

/** Fields of a CD for a table of four levels of 4 KiB, walked write-back, attribute 1 write-back. [SMMU 5.4 Context Descriptor] */
export const FIELDS = { t0sz: 16, tg0: 0, ir0: 1, or0: 1, sh0: 3, ips: 5, mair: 0xf404_ff44n } as const

/** Fields that a test changes. */
export type Fields = Partial<Record<'t0sz' | 'tg0' | 'ir0' | 'or0' | 'sh0' | 'ips', number>> & {
  readonly mair?: bigint
  readonly ha?: boolean
  readonly hd?: boolean
}

/** Where the n-th tree has its root and three more tables, and the page that it maps `IOVA` to. */
export const rootOf = (n: number): bigint => RAM + 0x1_0000n + BigInt(n) * 4n * PAGE
export const pageOf = (n: number): bigint => RAM + 0x20_0000n + BigInt(n) * PAGE

/** A device, a parent and a window in it. */
export class WindowGuest {
  readonly vmm: Vmm
  readonly deviceId: number
  readonly parent: number
  readonly windowId: number
  readonly #world: World

  private constructor(world: World, vmm: Vmm, ids: { deviceId: number; parent: number; windowId: number }) {
    this.#world = world
    this.vmm = vmm
    this.deviceId = ids.deviceId
    this.parent = ids.parent
    this.windowId = ids.windowId
  }

  /** The device is bound and not attached yet. */
  static async make(
    world: World,
    vmm: Vmm,
    {
      pages = 1n,
      name = DEVICES.smmuv3.first as string,
      grant = undefined as DeviceGrant | undefined,
      parent = 0,
    } = {},
  ): Promise<WindowGuest> {
    const deviceId = await vmm.bind(name, grant)
    const parentId = parent || (await vmm.parent(deviceId))
    const windowId = await makeWindow(vmm, parentId, WINDOW, pages)
    return new WindowGuest(world, vmm, { deviceId, parent: parentId, windowId })
  }

  /** The same, with the window on the RID. */
  static async attached(
    world: World,
    vmm: Vmm,
    options: Parameters<typeof WindowGuest.make>[2] = {},
  ): Promise<WindowGuest> {
    const guest = await WindowGuest.make(world, vmm, options)
    await vmm.client.attachRid({ deviceId: guest.deviceId, ptId: guest.windowId })
    return guest
  }

  /** A domain of one root, with the usual fields or others. */
  async pgd(ttb0: bigint, fields: Fields = {}, windowId = this.windowId): Promise<number> {
    const { deviceId } = this
    const smmuv3Pgd = { ...FIELDS, ...fields, ttb0 }
    return (await this.vmm.client.createUserDomain({ deviceId, windowId, smmuv3Pgd })).domainId
  }

  /** Has the guest write the n-th tree, and answers a domain of it. */
  async tree(n: number): Promise<number> {
    await new GuestTree(this.#world.guest, ARM64, rootOf(n)).map(IOVA, pageOf(n))
    return this.pgd(rootOf(n))
  }

  /** Domains of as many trees. */
  async trees(count: number): Promise<number[]> {
    const domains: number[] = []
    for (let n = 0; n < count; n++) domains.push(await this.tree(n))
    return domains
  }

  attachPasid(pasid: number, ptId: number): Promise<{ domainId: number }> {
    return this.vmm.client.attachPasid({ deviceId: this.deviceId, pasid, ptId })
  }

  /** Where DMA of `IOVA` comes out, or the fault that it ends as. */
  async reach(pasid?: number, deviceId = this.deviceId): Promise<bigint | string> {
    const { address, fault, outcome } = await this.vmm.dma(deviceId, IOVA, READ, pasid)
    return address ?? fault ?? `outcome ${outcome}`
  }

  /** The device's slots that are in use: PASID and domain. */
  async slots(): Promise<number[][]> {
    const { attachments } = await this.vmm.client.getDevice({ deviceId: this.deviceId })
    return attachments.map(({ pasid, domainId }) => [pasid, domainId])
  }
}

/** A window of some pages. */
export async function makeWindow(vmm: Vmm, parentDomainId: number, first: bigint, pages: bigint): Promise<number> {
  const last = first + pages * PAGE - 1n
  return (await vmm.client.createWindow({ parentDomainId, first, last })).windowId
}

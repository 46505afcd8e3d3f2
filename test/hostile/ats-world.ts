/** Two clients behind one unit whose devices keep translations and ask for pages. */

import {
  AddressType,
  type Client,
  type ContextClient,
  ContextLifetime,
  DeviceGrant,
  HwptFlag,
  IoasMapFlag,
} from '../../clients/node/index.js'

/** Units whose drivers have a door for ATS: both. */
export const UNIT_TYPES = ['smmuv3', 'vtd'] as const

/** A unit with everything, and four devices: two whole ones, a third with a mediated child, a fourth without ATS. */
export const platformOf = (type: 'smmuv3' | 'vtd') => ({
  units: [{ name: 'u0', type, preset: type === 'vtd' ? 'vtd-full' : 'full' }],
  devices: [
    { name: FIRST, iommu: 'u0', pasidBits: 8, ats: true, pri: true },
    { name: SECOND, iommu: 'u0', pasidBits: 8, ats: true, pri: true },
    { name: PARENT, iommu: 'u0', pasidBits: 8, ats: true, pri: true },
    { name: CHILD, iommu: 'u0', ats: true, pri: true, mediated: { parent: PARENT, pasid: 7 } },
    { name: PLAIN, iommu: 'u0', pasidBits: 8 },
  ],
})

export const FIRST = '0000:00:01.0'
export const SECOND = '0000:00:02.0'
export const PARENT = '0000:00:03.0'
export const CHILD = '0000:00:03.0-mdev'
export const PLAIN = '0000:00:04.0'

/** Where a client's region is mapped. */
export const IOVA = 0x4000_0000n
export const REGION_BYTES = 0x1_0000n
export const PAGE = 0x1000n

type Ids = Readonly<Record<'regionId' | 'ioasId' | 'deviceId' | 'domainId' | 'faultQueueId', number>>

/** One client with one device, attached to an IOAS with one region of memory. */
export class Holder {
  readonly client: ContextClient
  readonly regionId: number
  readonly ioasId: number
  readonly deviceId: number
  /** The domain that the device is attached to. */
  readonly domainId: number
  readonly faultQueueId: number

  private constructor(client: ContextClient, ids: Ids) {
    this.client = client
    this.regionId = ids.regionId
    this.ioasId = ids.ioasId
    this.deviceId = ids.deviceId
    this.domainId = ids.domainId
    this.faultQueueId = ids.faultQueueId
  }

  /** One whose device is bound without its RID, as others have some of its PASIDs. */
  static openPasid(connection: Client, deviceName: string, pasid: number): Promise<Holder> {
    return Holder.open(connection, deviceName, pasid, DeviceGrant.PASID_ONLY)
  }

  /** Opens a context of its own. @param pasid attach this PASID, not the RID */
  static async open(
    connection: Client,
    deviceName: string,
    pasid?: number,
    grant: DeviceGrant = DeviceGrant.UNSPECIFIED,
  ): Promise<Holder> {
    const { context } = await connection.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const client = connection.inContext(context)
    const { regionId } = await client.createMemoryRegion({ anonymous: { bytes: REGION_BYTES } })
    const { ioasId } = await client.createIoas()
    const { deviceId } = await client.bindDevice({ deviceName, grant })
    const { faultQueueId } = await client.createFaultQueue({})
    // Only devices that ask for pages are attached to domains with fault queues.
    const asks = deviceName === PLAIN ? {} : { faultQueueId }
    const flags = HwptFlag.PASID | (deviceName === PLAIN ? 0 : HwptFlag.FAULT_ID_VALID)
    const { domainId } = await client.createPagingDomain({ flags, deviceId, ioasId, ...asks })
    const holder = new Holder(client, { regionId, ioasId, deviceId, domainId, faultQueueId })
    await holder.map()
    if (pasid === undefined) await client.attachRid({ deviceId, ptId: domainId })
    else await client.attachPasid({ deviceId, ptId: domainId, pasid })
    return holder
  }

  /** Maps the region, page by page. */
  async map(): Promise<void> {
    const flags = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
    const { ioasId, regionId } = this
    for (let offset = 0n; offset < REGION_BYTES; offset += PAGE) {
      await this.client.ioasMap({ ioasId, flags, region: { regionId, offset }, length: PAGE, iova: IOVA + offset })
    }
  }

  unmap(iova = IOVA, length = PAGE): Promise<unknown> {
    return this.client.ioasUnmap({ ioasId: this.ioasId, iova, length })
  }

  /** Translation requests; answers the offsets that were granted. */
  async ask(iovas: readonly bigint[], pasid?: number, access = 3): Promise<readonly bigint[]> {
    const { deviceId } = this
    const reply = await this.client.requestTranslations({ deviceId, iovas, access, pasid })
    return [...reply.addresses].filter((_, i) => reply.permissions[i] !== 0)
  }

  /** How one read ends. */
  async read(
    address: bigint,
    addressType: AddressType = AddressType.UNSPECIFIED,
    regionId = this.regionId,
    pasid?: number,
  ): Promise<number> {
    const operations = [{ address, length: 8, regionId }]
    const { results } = await this.client.dmaRead({ deviceId: this.deviceId, pasid, addressType, operations })
    return results[0].outcome
  }

  /** Tags of the invalidations that were not told. */
  async poll(waitMs = 0): Promise<readonly bigint[]> {
    const { invalidations } = await this.client.pollInvalidations({ deviceId: this.deviceId, waitMs })
    return invalidations.map(({ tag }) => tag)
  }

  complete(tags: readonly bigint[]): Promise<unknown> {
    return this.client.completeInvalidations({ deviceId: this.deviceId, tags })
  }

  close(): Promise<unknown> {
    return this.client.closeContext({})
  }
}

/** Follows a call that has not been answered. */
export class Watched {
  isAnswered = false
  readonly done: Promise<void>

  constructor(call: Promise<unknown>) {
    this.done = call.then(() => {
      this.isAnswered = true
    })
  }
}

/** A daemon process, a guest, and the steps a VMM takes, for each architecture. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type ContextClient,
  ContextLifetime,
  DeviceGrant,
  DmaOutcome,
  HwptFlag,
  IoasMapFlag,
  type IommudError,
  ViommuType,
} from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { GuestMemory, RAM_BASE } from './guest-memory.js'

/** Architectures, and devices of the built-in platform behind each. */
export const DEVICES = {
  smmuv3: { first: '0000:00:01.0', second: '0000:00:02.0', mediated: '0000:00:02.0-mdev' },
  vtd: { first: '0000:01:01.0', second: '0000:01:02.0', mediated: '0000:01:02.0-mdev' },
} as const

/** One of the two architectures. */
export type Arch = keyof typeof DEVICES

/** Both, for tests told twice. */
export const ARCHS: readonly Arch[] = ['smmuv3', 'vtd']

/** READ and WRITE of AccessFlag. */
export const READ = 1
export const WRITE = 2

/** A running daemon with one guest's RAM in a file that another process writes. */
export class World {
  readonly daemon: Daemon
  readonly guest: GuestMemory

  readonly #open: Vmm[] = []

  private constructor(daemon: Daemon, guest: GuestMemory) {
    this.daemon = daemon
    this.guest = guest
  }

  /**
   * Starts both.
   *
   * @param platform other units and devices than the built-in ones
   * @param flags further ones of the daemon
   * @param ramBytes of the guest's RAM
   */
  static async start(platform?: object, flags: readonly string[] = [], ramBytes?: bigint): Promise<World> {
    const guest = await GuestMemory.start(ramBytes)
    const path = join(guest.folder, 'platform.json')
    if (platform !== undefined) writeFileSync(path, JSON.stringify(platform))
    const args = platform === undefined ? flags : ['--platform', path, ...flags]
    return new World(await startDaemon({ fileRoots: [guest.folder], args }), guest)
  }

  /** Ends what a test that failed half way has left, so that the next one starts clean. */
  async sweep(): Promise<void> {
    for (const vmm of this.#open.splice(0)) await vmm.close().catch(() => undefined)
  }

  /** Stops both. */
  async stop(): Promise<void> {
    await this.daemon.stop()
    this.guest.stop()
  }

  /** A context in which the guest's RAM is registered and, at its guest-physical address, mapped into an IOAS. */
  async vmm(): Promise<Vmm> {
    const { context } = await this.daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const client = this.daemon.client.inContext(context)
    const { path, bytes } = this.guest
    const { regionId } = await client.createMemoryRegion({ file: { path, offset: 0n, bytes, writable: true } })
    const { ioasId } = await client.createIoas()
    const flags = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
    await client.ioasMap({ ioasId, flags, region: { regionId, offset: 0n }, length: bytes, iova: RAM_BASE })
    const vmm = new Vmm(client, regionId, ioasId, context)
    this.#open.push(vmm)
    return vmm
  }
}

/** One context and the usual calls in it. */
export class Vmm {
  readonly client: ContextClient
  readonly regionId: number
  readonly ioasId: number
  /** Of the context, for another connection. */
  readonly token: string

  constructor(client: ContextClient, regionId: number, ioasId: number, token: string) {
    this.token = token
    this.client = client
    this.regionId = regionId
    this.ioasId = ioasId
  }

  /** Ends the context. */
  async close(): Promise<void> {
    await this.client.closeContext({})
  }

  async bind(deviceName: string, grant: DeviceGrant = DeviceGrant.UNSPECIFIED): Promise<number> {
    return (await this.client.bindDevice({ deviceName, grant })).deviceId
  }

  async paging(deviceId: number, flags = 0): Promise<number> {
    return (await this.client.createPagingDomain({ flags, deviceId, ioasId: this.ioasId })).domainId
  }

  async parent(deviceId: number): Promise<number> {
    return this.paging(deviceId, HwptFlag.NEST_PARENT)
  }

  async viommu(deviceId: number, parentDomainId: number): Promise<number> {
    const made = await this.client.createViommu({ type: ViommuType.ARM_SMMUV3, deviceId, parentDomainId })
    return made.viommuId
  }

  async vdevice(viommuId: number, deviceId: number, virtId: bigint): Promise<number> {
    return (await this.client.createVdevice({ viommuId, deviceId, virtId })).vdeviceId
  }

  async smmuDomain(deviceId: number, viommuId: number, smmuv3Ste: { ste0: bigint; ste1: bigint }): Promise<number> {
    return (await this.client.createUserDomain({ deviceId, viommuId, smmuv3Ste })).domainId
  }

  async vtdDomain(deviceId: number, parentDomainId: number, pgtblAddr: bigint, flags = 0): Promise<number> {
    const vtdS1 = { flags: 0n, pgtblAddr, addrWidth: 48 }
    return (await this.client.createUserDomain({ flags, deviceId, parentDomainId, vtdS1 })).domainId
  }

  /** One lookup as the device. */
  async dma(deviceId: number, iova: bigint, access = READ, pasid?: number): Promise<Dma> {
    const reply = await this.client.translate({ deviceId, iovas: [iova], access, pasid })
    const outcome = reply.outcomes[0]
    if (outcome !== DmaOutcome.OK)
      return { outcome, fault: reply.faults[0]?.name, code: reply.faultCodes[0], hit: false }
    const address = reply.regionIds[0] === this.regionId ? RAM_BASE + reply.offsets[0] : undefined
    return { outcome, address, code: 0, hit: reply.cacheHits[0] === 1 }
  }
}

/** How a lookup ended. */
export interface Dma {
  readonly outcome: number
  /** Guest-physical address it reached. */
  readonly address?: bigint
  readonly fault?: string
  readonly code: number
  readonly hit: boolean
}

/** The refusal of a call that must be refused. */
export async function refusal(call: Promise<unknown>): Promise<IommudError> {
  try {
    await call
  } catch (error) {
    return error as IommudError
  }
  throw new Error('the call was not refused')
}

/** A guest with tables of its own behind a unit of the platform, every word of them spelled by hand. */

import { expect } from 'vitest'
import {
  type Client,
  type ContextClient,
  ContextLifetime,
  DmaOutcome,
  HwptFlag,
  IoasMapFlag,
  type IommudError,
  ViommuType,
} from '../../clients/node/index.js'

/** Guest RAM. */
export const RAM = 0x4000_0000n
const RAM_BYTES = 0x2_0000n
/** Pages of the guest's RAM. */
const CD = RAM
const ROOT = RAM + 0x1000n
const LEAVES = RAM + 0x4000n
/** Where IOVA 0 leads at first, */
export const OLD = RAM + 0x8000n
/** and another page. */
export const NEW = RAM + 0x9000n

/** The guest's name of its device. */
export const VIRTUAL_SID = 5n

/** One of the two architectures. */
export type Arch = 'smmuv3' | 'vtd'
/** One guest: IOVA 0 leads through its own tables to its page OLD. */
export class NestedGuest {
  readonly client: ContextClient
  readonly arch: Arch
  regionId = 0
  ioasId = 0
  deviceId = 0
  /** What invalidations name: a vIOMMU, or a user domain. */
  target: object = {}
  /** The guest lets its device keep translations. */
  hasAts = false

  private constructor(client: ContextClient, arch: Arch) {
    this.client = client
    this.arch = arch
  }

  static async start(connection: Client, arch: Arch, deviceName: string, virtId = VIRTUAL_SID): Promise<NestedGuest> {
    const { context } = await connection.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const guest = new NestedGuest(connection.inContext(context), arch)
    const { client } = guest
    guest.regionId = (await client.createMemoryRegion({ anonymous: { bytes: RAM_BYTES } })).regionId
    guest.ioasId = (await client.createIoas()).ioasId
    await guest.map(RAM, RAM_BYTES)
    const { deviceId } = await client.bindDevice({ deviceName })
    guest.deviceId = deviceId
    guest.hasAts = (await client.getDevice({ deviceId })).device?.ats ?? false
    const { ioasId } = guest
    const { domainId } = await client.createPagingDomain({ deviceId, ioasId, flags: HwptFlag.NEST_PARENT })
    const table = arch === 'vtd' ? 7n : 3n
    for (let level = 0n; level < 3n; level++)
      await guest.store(ROOT + level * 0x1000n, ROOT + (level + 1n) * 0x1000n + table)
    await guest.pointTo(OLD)
    const ptId = arch === 'vtd' ? await guest.#vtdDomain(domainId) : await guest.#smmuDomain(domainId, virtId)
    await client.attachRid({ deviceId, ptId })
    return guest
  }

  /** Maps a range of the IOAS that its name is the start of. */
  async map(iova: bigint, length: bigint): Promise<void> {
    const flags = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
    const region = { regionId: this.regionId, offset: 0n }
    await this.client.ioasMap({ ioasId: this.ioasId, flags, region, length, iova })
  }

  /** Changes the leaf of IOVA 0, and tells nobody. */
  pointTo(page: bigint): Promise<void> {
    return this.store(LEAVES, page | (this.arch === 'vtd' ? 7n : 0xf47n))
  }

  async store(address: bigint, ...words: readonly bigint[]): Promise<void> {
    const data = new Uint8Array(BigUint64Array.from(words).buffer)
    await this.client.writeMemory({ patches: [{ regionId: this.regionId, offset: address - RAM, data }] })
  }

  /** Where IOVA 0 leads, and whether a cache said so. */
  async look(): Promise<{ readonly page: bigint; readonly isCached: boolean }> {
    const { outcomes, offsets, cacheHits } = await this.client.translate({ deviceId: this.deviceId, iovas: [0n] })
    expect(outcomes[0]).toBe(DmaOutcome.OK)
    return { page: RAM + offsets[0], isCached: cacheHits[0] === 1 }
  }

  /** One invalidation, by two words; the name of its refusal, or empty. */
  async send(first: bigint, second: bigint): Promise<string> {
    const entries =
      this.arch === 'vtd'
        ? { vtdS1: { entries: [{ addr: first, npages: second, flags: Number(second & 3n) }] } }
        : { smmuv3: { entries: [{ dw0: first, dw1: second }] } }
    try {
      await this.client.invalidateIotlb({ ...this.target, ...entries })
      return ''
    } catch (error) {
      return (error as IommudError).errnoName ?? String(error)
    }
  }

  /** Everything, that the unit caches of the guest's tables. */
  async forget(): Promise<void> {
    const entries =
      this.arch === 'vtd'
        ? { vtdS1: { entries: [{ addr: 0n, npages: 2n ** 64n - 1n, flags: 0 }] } }
        : { smmuv3: { entries: [{ dw0: 0x10n, dw1: 0n }] } }
    await this.client.invalidateIotlb({ ...this.target, ...entries })
  }

  /** What the whole unit is needed for: each ends in a command that is waited for. */
  async works(): Promise<void> {
    await this.map(RAM + 0x100_0000n, 0x1000n)
    await this.client.ioasUnmap({ ioasId: this.ioasId, iova: RAM + 0x100_0000n, length: 0x1000n })
  }

  close(): Promise<unknown> {
    return this.client.closeContext({})
  }

  async #vtdDomain(parentDomainId: number): Promise<number> {
    const vtdS1 = { flags: 0n, pgtblAddr: ROOT, addrWidth: 48 }
    const { domainId } = await this.client.createUserDomain({ deviceId: this.deviceId, parentDomainId, vtdS1 })
    this.target = { userDomainId: domainId }
    return domainId
  }

  async #smmuDomain(parentDomainId: number, virtId: bigint): Promise<number> {
    const { client, deviceId } = this
    // T0SZ 16, 4 KiB, EPD1, V, IPS 48 bits, AA64, R, A, ASET; ASID 1; MAIR 1 is write-back.
    await this.store(CD, 0xe205_c000_3510n | (1n << 48n), ROOT, 0n, 0xf404_ff44n)
    const { viommuId } = await client.createViommu({ type: ViommuType.ARM_SMMUV3, deviceId, parentDomainId })
    await client.createVdevice({ viommuId, deviceId, virtId })
    const smmuv3Ste = {
      ste0: CD | 0xbn,
      // S1DSS 10, S1CIR, S1COR, S1CSH; EATS.
      ste1: 0xd6n | (this.hasAts ? 1n << 28n : 0n),
    }
    const { domainId } = await client.createUserDomain({ deviceId, viommuId, smmuv3Ste })
    this.target = { viommuId }
    return domainId
  }
}

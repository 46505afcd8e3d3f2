/** A context with something of everything in it, for hostile calls to meet. */

import {
  type Client,
  type ContextClient,
  ContextLifetime,
  HwptFlag,
  IoasMapFlag,
  UnitType,
  ViommuType,
} from '../../clients/node/index.js'
import { encode } from '../../proto/codec.js'
import { METHODS } from '../../proto/generated/methods.js'
import type { Pool } from './messages.js'
import type { Random } from './random.js'

/** Bytes of the region that guests' tables and data are in. */
export const REGION_BYTES = 0x40_0000n

/** Where the region is mapped: guest RAM, a place that no architecture reserves. */
export const GUEST_BASE = 0x4000_0000n

/** Where the window is: addresses that are nothing else's. */
export const WINDOW_BASE = 0x6000_0000n

/** Devices of the built-in platform, each behind its own unit. */
export interface VictimDevices {
  readonly smmuv3: string
  readonly vtd: string
}

/** A pair of devices for each of several victims. */
export const DEVICE_PAIRS: readonly VictimDevices[] = [
  { smmuv3: '0000:00:01.0', vtd: '0000:01:01.0' },
  { smmuv3: '0000:00:03.0', vtd: '0000:01:03.0' },
]

/** An open context with objects. */
export interface Victim {
  readonly client: ContextClient
  readonly contextNumber: bigint
  readonly regionId: number
  /** A region on raw units' bus. */
  readonly busRegionId: number
  readonly ioasId: number
  readonly smmuDevice: number
  readonly vtdDevice: number
  readonly smmuParent: number
  readonly vtdParent: number
  readonly viommuId: number
  readonly smmuDomain: number
  readonly windowId: number
  /** In the window. */
  readonly smmuRoot: number
  readonly vtdDomain: number
  readonly smmuUnit: number
  readonly vtdUnit: number
}

/** Opens a context and fills it. `random` fills memory with noise that looks like tables. */
export async function makeVictim(client: Client, devices: VictimDevices, random: Random): Promise<Victim> {
  const { context, contextNumber } = await client.openContext({ lifetime: ContextLifetime.LEASE })
  const inside = client.inContext(context)
  const { regionId } = await inside.createMemoryRegion({ anonymous: { bytes: REGION_BYTES } })
  const { regionId: busRegionId } = await inside.createMemoryRegion({
    anonymous: { bytes: REGION_BYTES },
    busAddress: 0n,
  })
  for (const id of [regionId, busRegionId]) {
    const data = tableNoise(random, id === regionId ? GUEST_BASE : 0n)
    await inside.writeMemory({ patches: [{ regionId: id, offset: 0n, data }] })
  }
  const { ioasId } = await inside.createIoas()
  const flags = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
  const region = { regionId, offset: 0n }
  await inside.ioasMap({ ioasId, flags, region, length: REGION_BYTES, iova: GUEST_BASE })
  const { deviceId: smmuDevice } = await inside.bindDevice({ deviceName: devices.smmuv3 })
  const { deviceId: vtdDevice } = await inside.bindDevice({ deviceName: devices.vtd })
  const parent = { ioasId, flags: HwptFlag.NEST_PARENT }
  const { domainId: smmuParent } = await inside.createPagingDomain({ ...parent, deviceId: smmuDevice })
  const { domainId: vtdParent } = await inside.createPagingDomain({ ...parent, deviceId: vtdDevice })
  const { viommuId } = await inside.createViommu({
    type: ViommuType.ARM_SMMUV3,
    deviceId: smmuDevice,
    parentDomainId: smmuParent,
  })
  await inside.createVdevice({ viommuId, deviceId: smmuDevice, virtId: 5n })
  const smmuv3Ste = { ste0: GUEST_BASE | 0xbn | (4n << 59n), ste1: 0xd6n }
  const { domainId: smmuDomain } = await inside.createUserDomain({ deviceId: smmuDevice, viommuId, smmuv3Ste })
  await inside.attachRid({ deviceId: smmuDevice, ptId: smmuDomain })
  const window = { parentDomainId: smmuParent, first: WINDOW_BASE, last: WINDOW_BASE + 0x1fffn }
  const { windowId } = await inside.createWindow(window)
  const smmuv3Pgd = { ttb0: GUEST_BASE, t0sz: 16, ir0: 1, or0: 1, sh0: 3, ips: 5, mair: 0xf404_ff44n }
  const { domainId: smmuRoot } = await inside.createUserDomain({ deviceId: smmuDevice, windowId, smmuv3Pgd })
  const vtdS1 = { pgtblAddr: GUEST_BASE + 0x8000n, addrWidth: 48 }
  const { domainId: vtdDomain } = await inside.createUserDomain({
    deviceId: vtdDevice,
    parentDomainId: vtdParent,
    vtdS1,
  })
  await inside.attachRid({ deviceId: vtdDevice, ptId: vtdDomain })
  const { unitId: smmuUnit } = await inside.createUnit({ type: UnitType.SMMUV3 })
  const { unitId: vtdUnit } = await inside.createUnit({ type: UnitType.VTD })
  return {
    client: inside,
    contextNumber,
    regionId,
    busRegionId,
    ioasId,
    smmuDevice,
    vtdDevice,
    smmuParent,
    vtdParent,
    viommuId,
    smmuDomain,
    windowId,
    smmuRoot,
    vtdDomain,
    smmuUnit,
    vtdUnit,
  }
}

/** What a hostile client that lives in a victim's context knows. */
export function poolOf(victim: Victim, bootId: string, devices: VictimDevices, paths: readonly string[]): Pool {
  return {
    token: victim.client.token,
    badTokens: [
      '',
      `${bootId}-${'0'.repeat(32)}`,
      `${'0'.repeat(32)}-${'0'.repeat(32)}`,
      victim.client.token.slice(0, -1),
      victim.client.token.toUpperCase(),
      `${victim.client.token} `,
      'f'.repeat(100_000),
      '\0',
    ],
    ids: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1000],
    regionIds: [0, 1, 2, 3],
    deviceNames: [
      devices.smmuv3,
      devices.vtd,
      '0000:00:02.0',
      '0000:00:02.0-mdev',
      '0000:01:02.0-mdev',
      '0000:ff:1f.7',
    ],
    paths,
    contextNumbers: [0n, 2n ** 63n],
  }
}

/** Words that point at each other with the low bits of tables, leaves, STEs and CDs. */
function tableNoise(random: Random, base: bigint): Uint8Array {
  const words = new BigUint64Array(0x4000)
  for (let i = 0; i < words.length; i++) {
    const target = base + (BigInt(random.below(32)) << 12n)
    words[i] = random.oneIn(4) ? random.u64() : target | BigInt(random.pick([0x3, 0x27, 0x67, 0xf47, 0xb, 0x5]))
  }
  // The first CDs are good ones, so that walks get as far as the noise.
  for (let i = 0; i < 64; i += 8)
    words.set([0x0000_e205_c000_3510n, base + 0x1000n, 0n, 0xf404_ff44n, 0n, 0n, 0n, 0n], i)
  return new Uint8Array(words.buffer)
}

/** A request as bytes, for a connection that is driven by hand. */
export const infoRequest = {
  path: METHODS.GetServerInfo.path,
  body: encode('GetServerInfoRequest', {}),
} as const

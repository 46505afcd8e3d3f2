/** The real units: devices of the platform, taken and attached through VFIO's files. */

import { IommudError } from '../../../clients/node/index.js'
import { struct, u32 } from './bytes.js'
import type { Iommufd } from './calls.js'
import type { Stdev, World } from './lab.js'
import { E } from './process.js'

const VFIO = (nr: number): number => 0x3b00 | nr
const BIND = VFIO(118)
const ATTACH = VFIO(119)
const DETACH = VFIO(120)
const WITH_PASID = 1

/** Devices of the platform behind one unit. */
interface Platform {
  readonly name: 'smmuv3' | 'vtd'
  /** Those with PASIDs, and those without. */
  readonly devices: readonly string[]
  readonly plain: readonly string[]
  readonly base: bigint
  readonly aperture: World['aperture']
  readonly reserved: World['reserved']
  readonly types: World['types']
}

async function attach(iommufd: Iommufd, fd: number, pt: number, pasid?: number) {
  const parts = struct([4, 16], [4, pasid === undefined ? 0 : WITH_PASID], [4, pt], [4, pasid ?? 0])
  const { errno, arg, reason } = await iommufd.process.ioctl(fd, ATTACH, parts)
  return { errno, reason, hwpt: u32(arg, 8) }
}

/** Opens a device that nobody has bound, binds and attaches it. */
async function take(iommufd: Iommufd, names: readonly string[], pt: number) {
  const { process } = iommufd
  for (const name of names) {
    const fd = await process.open(`/dev/vfio/devices/${name}`)
    const bound = await process.ioctl(fd, BIND, struct([4, 16], [4, 0], [4, iommufd.fd], [4, 0]))
    if (bound.errno !== 0) {
      await process.close(fd)
      continue
    }
    const { errno, hwpt, reason } = await attach(iommufd, fd, pt)
    if (errno !== 0) await process.close(fd)
    return { errno, reason, stdev: fd, hwpt, dev: u32(bound.arg, 12) }
  }
  throw new Error(`every device of ${names.join(', ')} is bound`)
}

/** Compares, page by page, where the device's accesses go with what is at the caller's address. */
async function checkMap(iommufd: Iommufd, { dev }: Stdev, iova: bigint, length: bigint, va: bigint): Promise<number> {
  const { process } = iommufd
  const { regions } = await process.client.listMemoryRegions()
  const region = regions.find(({ clientAddress: at, bytes }) => at !== undefined && at <= va && va < at + bytes)
  if (region?.clientAddress === undefined) throw new Error(`nothing is at ${va.toString(16)}`)
  const { regionId, clientAddress: base } = region
  const iovas = BigUint64Array.from({ length: Number(length / 4096n) }, (_, at) => iova + 4096n * BigInt(at))
  try {
    const { outcomes, regionIds, offsets } = await process.client.translate({ deviceId: dev, access: 1, iovas })
    const isRight = outcomes.every(
      (outcome, at) => outcome === 1 && regionIds[at] === regionId && offsets[at] === va - base + 4096n * BigInt(at),
    )
    return isRight ? 0 : E.INVAL
  } catch (error) {
    if (error instanceof IommudError && error.errno !== 0) return error.errno
    throw error
  }
}

/** A world of the platform's devices behind one unit. */
export const realWorld = ({ devices, plain, ...facts }: Platform): World => ({
  ...facts,
  page: 4096n,
  mockDomain: (iommufd, pt, flags) => take(iommufd, flags === undefined ? [...plain, ...devices] : devices, pt),
  replace: (iommufd, { stdev }, pt) => attach(iommufd, stdev, pt),
  pasidAttach: async (iommufd, { stdev }, pasid, pt) => (await attach(iommufd, stdev, pt, pasid)).errno,
  pasidReplace: async (iommufd, { stdev }, pasid, pt) => (await attach(iommufd, stdev, pt, pasid)).errno,
  async pasidDetach({ process }, { stdev }, pasid) {
    return (await process.ioctl(stdev, DETACH, struct([4, 12], [4, WITH_PASID], [4, pasid]))).errno
  },
  release: ({ process }, { stdev }) => process.close(stdev),
  checkMap,
})

/** The platform that both real worlds share: five devices behind each unit, two of them without PASIDs. */
export const PLATFORM = {
  units: [
    { name: 'smmu0', type: 'smmuv3' },
    { name: 'vtd0', type: 'vtd' },
  ],
  devices: ['00', '01'].flatMap((bus) =>
    ['01', '02', '03', '04', '05'].map((dev) => ({
      name: `0000:${bus}:${dev}.0`,
      iommu: bus === '00' ? 'smmu0' : 'vtd0',
      pasidBits: dev === '03' || dev === '05' ? 0 : 20,
    })),
  ),
} as const

/** SMMUv3: stage 1 for automatic domains, a doorbell window, user domains on vIOMMUs. */
export const SMMU_WORLD = realWorld({
  name: 'smmuv3',
  devices: ['0000:00:01.0', '0000:00:02.0', '0000:00:04.0'],
  plain: ['0000:00:03.0', '0000:00:05.0'],
  base: 0x1000_0000n,
  aperture: [0n, 2n ** 48n - 1n],
  reserved: [[0x0800_0000n, 0x080f_ffffn]],
  types: { data: 2, invalidate: 1, viommu: 1, veventq: 1 },
})

/** VT-d: first stage for automatic domains, the interrupt range, user domains on the parent. */
export const VTD_WORLD = realWorld({
  name: 'vtd',
  devices: ['0000:01:01.0', '0000:01:02.0', '0000:01:04.0'],
  plain: ['0000:01:03.0', '0000:01:05.0'],
  base: 0x100_0000n,
  aperture: [0n, 2n ** 47n - 1n],
  reserved: [[0xfee0_0000n, 0xfeef_ffffn]],
  types: { data: 1, invalidate: 0, viommu: 0, veventq: 0 },
})

/**
 * The worlds in which the kernel's self-test is played: its own mock unit, and the two real ones. What the self-test
 * does with IOMMU_TEST_CMD a real world does with VFIO's files and the machine's own calls, where it can.
 */

import type { Daemon } from '../../../clients/node/testing.js'
import { type Ioctls, Iommufd } from './calls.js'
import { type Answer, Process } from './process.js'

/** Names of worlds. */
export type WorldName = 'mock' | 'smmuv3' | 'vtd'

/** A device that was made, or taken, and attached. */
export interface Stdev {
  /** What destroys it: the self-test's object, or the descriptor of a VFIO device. */
  readonly stdev: number
  /** The domain that it is attached to. */
  readonly hwpt: number
  /** The DEVICE object. */
  readonly dev: number
}

/** An errno, and the device if there is one. */
export type StdevAnswer = Stdev & { readonly errno: number; readonly reason: string }

/** What differs between the worlds. */
export interface World {
  readonly name: WorldName
  /** An IOVA behind which 128 MiB can be mapped: the mock's aperture begins there, an SMMUv3 has its doorbell behind it. */
  readonly base: bigint
  /** Smallest page of its domains. */
  readonly page: bigint
  /** Where its automatic domains map. */
  readonly aperture: readonly [start: bigint, last: bigint]
  /** What a device reserves where its RID is attached. */
  readonly reserved: readonly (readonly [start: bigint, last: bigint])[]
  /** Type numbers of its nested data, its invalidations of nested domains, its vIOMMUs and their queues; 0: none. */
  readonly types: {
    readonly data: number
    readonly invalidate: number
    readonly viommu: number
    readonly veventq: number
  }
  /** Takes a device and attaches its RID. Flags are the mock's: NO_DIRTY 1, PASID 4. */
  mockDomain(iommufd: Iommufd, pt: number, flags?: number): Promise<StdevAnswer>
  /** Attaches or replaces the RID of one. Answers the domain. */
  replace(iommufd: Iommufd, device: Stdev, pt: number): Promise<{ errno: number; hwpt: number; reason: string }>
  pasidAttach(iommufd: Iommufd, device: Stdev, pasid: number, pt: number): Promise<number>
  pasidReplace(iommufd: Iommufd, device: Stdev, pasid: number, pt: number): Promise<number>
  pasidDetach(iommufd: Iommufd, device: Stdev, pasid: number): Promise<number>
  /** Detaches, unbinds and gives the device back. */
  release(iommufd: Iommufd, device: Stdev): Promise<number>
  /** Whether the domain maps the range to what is at the caller's address. Answers an errno as MD_CHECK_MAP does. */
  checkMap(iommufd: Iommufd, device: Stdev, iova: bigint, length: bigint, va: bigint): Promise<number>
}

/** A world with a process in it. */
export class Lab {
  readonly world: World
  readonly process: Process
  readonly iommufd: Iommufd

  constructor(world: World, process: Process) {
    this.world = world
    this.process = process
    this.iommufd = new Iommufd(process)
  }

  /** IOMMU_TEST_CMD, in the mock's world. */
  test(op: number, id: number, body: Uint8Array, ...memory: Parameters<Process['ioctl']>[3][]): Promise<Answer> {
    return testCommand(this.iommufd, op, id, body, ...memory)
  }

  static async enter(world: World, daemon: Daemon): Promise<Lab> {
    return new Lab(world, await Process.open(daemon))
  }
}

/** struct iommu_test_cmd: 72 bytes, the operation's own at 16. */
export function testCommand(
  iommufd: Iommufd<Ioctls>,
  op: number,
  id: number,
  body: Uint8Array,
  ...memory: Parameters<Process['ioctl']>[3][]
): Promise<Answer> {
  const bytes = new Uint8Array(72)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 72, true)
  view.setUint32(4, op, true)
  view.setUint32(8, id, true)
  bytes.set(body, 16)
  return iommufd.process.ioctl(iommufd.fd, 0x3ba0, bytes, ...memory)
}

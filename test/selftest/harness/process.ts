/**
 * A test program's view of /dev/iommu, over the public RPC: files by number, ioctls with structs of its own making,
 * memory at addresses of its own choice.
 */

import type { ContextClient } from '../../../clients/node/client.js'
import { ContextLifetime, IommudError } from '../../../clients/node/index.js'
import type { Daemon } from '../../../clients/node/testing.js'

/** Memory of the caller that an ioctl may follow a pointer into. */
export interface Memory {
  readonly address: bigint
  readonly data: Uint8Array
  readonly writable: boolean
}

/** What an ioctl answered. */
export interface Answer {
  /** 0, or Linux's number. */
  readonly errno: number
  readonly result: bigint
  /** The struct afterwards. */
  readonly arg: Uint8Array
  readonly written: readonly { readonly address: bigint; readonly data: Uint8Array }[]
  /** Why, for a failing test's reader. */
  readonly reason: string
}

/** Linux's numbers. */
export const E = {
  PERM: 1,
  NOENT: 2,
  IO: 5,
  TOOBIG: 7,
  BADF: 9,
  NOMEM: 12,
  FAULT: 14,
  BUSY: 16,
  EXIST: 17,
  NODEV: 19,
  INVAL: 22,
  NOTTY: 25,
  NOSPC: 28,
  SPIPE: 29,
  RANGE: 34,
  BADE: 52,
  OVERFLOW: 75,
  BADFD: 77,
  MSGSIZE: 90,
  OPNOTSUPP: 95,
  ADDRINUSE: 98,
  NXIO: 6,
} as const

/** A page of the CPU's. */
export const PAGE = 4096n

/** The buffer of every test: 16 pages at an address aligned to 2 MiB. */
export const BUFFER = 0x7f00_0020_0000n
export const BUFFER_BYTES = 16n * PAGE

/** Where the same number of bytes of a file is mapped. */
export const FILE_BUFFER = 0x7f00_0060_0000n

/** One open of /dev/iommu by a process with a buffer and a file. */
export class Process {
  readonly client: ContextClient
  readonly daemon: Daemon
  bufferRegion = 0
  fileRegion = 0
  /** Descriptor of the file that is mapped at FILE_BUFFER. */
  mfd = -1

  private constructor(daemon: Daemon, client: ContextClient) {
    this.daemon = daemon
    this.client = client
  }

  /** Opens /dev/iommu and makes the buffers. */
  static async open(daemon: Daemon): Promise<Process> {
    const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const self = new Process(daemon, daemon.client.inContext(context))
    const region = async (clientAddress: bigint): Promise<number> =>
      (await self.client.createMemoryRegion({ anonymous: { bytes: BUFFER_BYTES }, clientAddress })).regionId
    self.bufferRegion = await region(BUFFER)
    self.fileRegion = await region(FILE_BUFFER)
    self.mfd = (await self.client.openHandle({ regionId: self.fileRegion })).handle
    return self
  }

  /** ioctl(2). */
  async ioctl(fd: number, cmd: number, arg: Uint8Array, ...memory: readonly Memory[]): Promise<Answer> {
    const reply = await this.client.ioctl({ handle: fd, cmd, arg, memory: [...memory] })
    const { errno, result, arg: after, written, refusal } = reply
    return { errno, result: BigInt(result), arg: after, written, reason: refusal?.reason ?? '' }
  }

  /** open(2). */
  async open(path: string): Promise<number> {
    return (await this.client.openHandle({ path })).handle
  }

  /** close(2). Answers an errno. */
  async close(fd: number): Promise<number> {
    return errnoOf(this.client.closeHandle({ handle: fd }))
  }

  /** Ends everything, as exit(2) does. */
  async exit(): Promise<void> {
    await this.client.closeContext()
  }
}

/** The errno that a call of the SDK was refused with, or 0. */
export async function errnoOf(call: Promise<unknown>): Promise<number> {
  try {
    await call
    return 0
  } catch (error) {
    if (error instanceof IommudError && error.errno !== 0) return error.errno
    throw error
  }
}

/** Where mock domains begin to map; the self-test uses it wherever an IOVA shall be valid. */
export const MOCK_APERTURE_START = 0x100_0000n

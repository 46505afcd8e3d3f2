/**
 * The recording program's process, made again on a daemon: its descriptors as handles, its memory as regions at the
 * same addresses. Each open of /dev/iommu is a context of its own, as it is in the kernel.
 */

import { type ContextClient, type IoctlResponse, IommudError } from '../../node/index.js'
import type { Answer } from './answer.js'
import { FD, type RecordedMachine } from './machine.js'
import type { RecordedCall } from './recording.js'
import { COMMAND, descriptorPlaces, putWord, wholeStruct, wordAt } from './uapi.js'

/** What the recorder had mapped: 32 MiB to map from, and a scratch page for arrays and data. */
const MEMORY = [
  { address: 0x1000_0000n, bytes: 0x200_0000n },
  { address: 0x2000_0000n, bytes: 0x1_0000n },
]
const MEMFD_BYTES = 0x20_0000n

/** Standard streams: open, and nothing that iommufd knows. */
const STREAMS = [0, 1, 2]
/** A number that no open file has. */
const NOT_OPEN = 0x7fff_0000

/** A context as the recorder's process saw it. */
interface Opened {
  readonly context: ContextClient
  /** Handles by the recorder's descriptors. */
  readonly handles: Map<number, number>
  readonly regions: readonly { readonly address: bigint; readonly bytes: bigint; readonly regionId: number }[]
}

/** A VFIO file: the same device, opened in the context that it is to be bound in. */
interface DeviceFile {
  readonly path: string
  /** The descriptor of the iommufd whose context its calls go to. */
  iommu: number
}

/** The process. */
export class Recorder {
  readonly #first: Opened
  readonly #second: Opened
  readonly #devices: ReadonlyMap<number, string>
  readonly #files = new Map<number, DeviceFile>()

  private constructor(first: Opened, second: Opened, { devices }: RecordedMachine) {
    this.#first = first
    this.#second = second
    this.#devices = devices
  }

  /** Opens what the recorder had open before its first call. */
  static async start(first: ContextClient, second: ContextClient, machine: RecordedMachine): Promise<Recorder> {
    return new Recorder(await open(first, machine), await open(second, machine), machine)
  }

  /** Makes one recorded call again. @throws TransportError when the daemon is gone */
  async call(line: RecordedCall): Promise<Answer> {
    const { memory } = line
    if (line.call === 'open') return this.#plain(line, () => this.#open(line.fd))
    if (line.call === 'close') return this.#plain(line, () => this.#close(line.fd))
    const struct = wholeStruct(line.input)
    const opened = await this.#openedFor(line, struct)
    const handle = this.#handleOf(line.fd, opened)
    if (handle === undefined) return refused(line, 9, `descriptor ${line.fd} is not open`)
    if (memory !== undefined) await writeBytes(opened, memory.address, memory.before)
    const places = descriptorPlaces(line.command, struct)
    const descriptor = places.in === undefined ? undefined : wordAt(struct, places.in)
    if (descriptor !== undefined) putWord(struct, places.in!, this.#translated(descriptor, opened))
    const reply = await ioctl(opened.context, handle, line.command, struct)
    if (reply instanceof IommudError) return refused(line, reply.errno, `the call itself: ${reply.message}`)
    if (descriptor !== undefined && reply.arg.length >= places.in! + 4) putWord(reply.arg, places.in!, descriptor)
    await this.#keepWhatCameOut(line, reply, opened)
    return {
      errno: reply.errno,
      reason: reply.refusal?.reason ?? '',
      result: reply.result,
      output: reply.arg.slice(0, line.input.length),
      memory: memory && (await readBytes(opened, memory.address, memory.before.length)),
    }
  }

  async #plain(line: RecordedCall, work: () => Promise<void>): Promise<Answer> {
    try {
      await work()
    } catch (error) {
      if (error instanceof IommudError) return refused(line, error.errno, error.reason)
      if (error instanceof Unplayable) return refused(line, error.errno, error.message)
      throw error
    }
    return { errno: 0, reason: '', result: 0n, output: line.input, memory: undefined }
  }

  async #open(fd: number): Promise<void> {
    const name = this.#devices.get(fd)
    if (name === undefined) throw new Unplayable(2, `descriptor ${fd} is opened, and it is no device’s file`)
    const file = { path: `/dev/vfio/devices/${name}`, iommu: FD.IOMMU }
    this.#first.handles.set(fd, await openPath(this.#first.context, file.path))
    this.#files.set(fd, file)
  }

  async #close(fd: number): Promise<void> {
    if (!this.#files.delete(fd)) throw new Unplayable(9, `descriptor ${fd} is closed, and it is no device’s open file`)
    for (const { context, handles } of [this.#first, this.#second]) {
      const handle = handles.get(fd)
      handles.delete(fd)
      if (handle !== undefined) await context.closeHandle({ handle })
    }
  }

  /** Which context a call goes to. A device is opened again where its first BIND names the other iommufd. */
  async #openedFor(line: RecordedCall, struct: Uint8Array): Promise<Opened> {
    const file = this.#files.get(line.fd)
    if (file === undefined) return line.fd === FD.SECOND_IOMMU ? this.#second : this.#first
    const iommu = wordAt(struct, 8)
    const binds = line.command === COMMAND.VFIO_DEVICE_BIND_IOMMUFD
    if (binds && iommu === FD.SECOND_IOMMU && file.iommu === FD.IOMMU && !(await this.#isBound(line.fd, file))) {
      file.iommu = FD.SECOND_IOMMU
      this.#second.handles.set(line.fd, await openPath(this.#second.context, file.path))
    } else if (binds && iommu === FD.IOMMU && !(await this.#isBound(line.fd, file))) file.iommu = FD.IOMMU
    return file.iommu === FD.SECOND_IOMMU ? this.#second : this.#first
  }

  async #isBound(fd: number, { path }: DeviceFile): Promise<boolean> {
    const name = this.#devices.get(fd)
    const { devices } = await this.#first.context.listDevices()
    const device = devices.find((each) => each.name === name)
    if (device === undefined) throw new Error(`the daemon has no device at ${path}`)
    return device.bound
  }

  /** `fd` as a handle of a context. */
  #handleOf(fd: number, { handles }: Opened): number | undefined {
    return handles.get(fd)
  }

  /** A descriptor in a struct as a handle. Negative ones stay; what is not open stays so. */
  #translated(descriptor: number, opened: Opened): number {
    const isNegative = descriptor >= 2 ** 31
    return isNegative ? descriptor : (opened.handles.get(descriptor) ?? NOT_OPEN)
  }

  /** Closes what the recorder closed at once, and knows the rest by the recorder's numbers. */
  async #keepWhatCameOut(line: RecordedCall, reply: IoctlResponse, { context, handles }: Opened): Promise<void> {
    const { out, result, closed } = descriptorPlaces(line.command, line.input)
    if (reply.errno !== 0 || (out === undefined && result !== true)) return
    const handle = out === undefined ? Number(reply.result) : wordAt(reply.arg, out)
    if (handle === undefined || handle === 0) return
    if (closed === true) await context.closeHandle({ handle })
    else if (line.errno === 0) handles.set(out === undefined ? Number(line.result) : wordAt(line.output, out)!, handle)
  }
}

/** An `open` or `close` of something that the recorder does not have. */
class Unplayable extends Error {
  readonly errno: number

  constructor(errno: number, reason: string) {
    super(reason)
    this.errno = errno
  }
}

/** An answer that never reached the ioctl. */
function refused({ input, memory }: RecordedCall, errno: number, reason: string): Answer {
  return { errno, reason, result: -1n, output: input, memory: memory?.before }
}

async function open(context: ContextClient, { stranger }: RecordedMachine): Promise<Opened> {
  const regions = []
  for (const { address, bytes } of MEMORY) {
    const { regionId } = await context.createMemoryRegion({ anonymous: { bytes }, clientAddress: address })
    regions.push({ address, bytes, regionId })
  }
  const { regionId } = await context.createMemoryRegion({ anonymous: { bytes: MEMFD_BYTES }, label: 'memfd' })
  const memfd = await context.openHandle({ regionId })
  const iommu = await openPath(context, '/dev/iommu')
  const other = await openPath(context, `/dev/vfio/devices/${stranger}`)
  const handles = new Map(STREAMS.map((fd) => [fd, other]))
  handles.set(FD.IOMMU, iommu).set(FD.SECOND_IOMMU, iommu).set(FD.MEMFD, memfd.handle)
  return { context, handles, regions }
}

async function openPath(context: ContextClient, path: string): Promise<number> {
  return (await context.openHandle({ path })).handle
}

/** An answer with an errno comes as an error that carries it. */
async function ioctl(
  context: ContextClient,
  handle: number,
  cmd: number,
  arg: Uint8Array,
): Promise<IoctlResponse | IommudError> {
  try {
    return await context.ioctl({ handle, cmd, arg })
  } catch (error) {
    if (!(error instanceof IommudError)) throw error
    return error.code === 'partial' ? (error.partial as IoctlResponse) : error
  }
}

async function writeBytes(opened: Opened, address: bigint, data: Uint8Array): Promise<void> {
  const place = placeOf(opened, address, data.length)
  if (place !== undefined && data.length > 0) await opened.context.writeMemory({ patches: [{ ...place, data }] })
}

async function readBytes(opened: Opened, address: bigint, length: number): Promise<Uint8Array | undefined> {
  const place = placeOf(opened, address, length)
  if (place === undefined || length === 0) return undefined
  const { data } = await opened.context.readMemory({ slices: [{ ...place, length }] })
  return data[0]
}

/** Where an address is; undefined where the recorder had nothing mapped. */
function placeOf({ regions }: Opened, address: bigint, length: number) {
  const end = address + BigInt(length)
  const region = regions.find((each) => address >= each.address && end <= each.address + each.bytes)
  return region && { regionId: region.regionId, offset: address - region.address }
}

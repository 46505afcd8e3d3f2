/**
 * Plays a recording to core, call by call, and compares the errno, every byte of the struct and the memory behind it
 * with what the kernel answered.
 */

import { type Context, Core, HANDLERS, Refusal } from '../../server/core/index.js'
import type { Machine } from '../../server/core/machine.js'
import type { IommuObject } from '../../server/core/object.js'
import type { Region } from '../../server/core/region.js'
import { StillClock } from '../core/world.js'
import { NotCompared, type Rule, Tally } from './rules.js'
import type { StandIn } from './stand-in.js'
import { claimedSize, decode, encode, STRUCTS, type Struct, type StructName, type ValuesOf } from './structs.js'
import { bytesOf, hexOf, type Line, type Transcript } from './transcript.js'

type Method = keyof typeof HANDLERS
type RequestOf<N extends Method> = Omit<Parameters<(typeof HANDLERS)[N]>[1], 'context'>
type ReplyOf<N extends Method> = Awaited<ReturnType<(typeof HANDLERS)[N]>>

/** What a translated call answered: fields of the struct, and bytes of the memory it points to. */
export interface Answer {
  /** Absent: success. What is written back with an error is in `set` and `memory`. */
  readonly errno?: number
  readonly set?: Readonly<Record<string, number | bigint>>
  readonly memory?: Uint8Array
}

/** Makes a struct's call to core. Throws a Refusal, or NotCompared. */
export type Translate<N extends StructName> = (
  replay: Replay,
  values: ValuesOf<(typeof STRUCTS)[N]>,
  line: Line,
) => Answer

/** Which struct and translation stand for a recorded call. */
export interface Entry {
  readonly struct: StructName
  readonly translate: Translate<never>
}

/** A VFIO file, or a test device: what is bound through it. */
export interface BoundFile {
  readonly device: string
  bound: { readonly token: string; readonly id: number } | undefined
}

/** Addresses of the recording program: what is mapped there, bytes. */
const CLIENT_MEMORY = [
  { clientAddress: 0x1000_0000n, bytes: 0x200_0000n },
  { clientAddress: 0x2000_0000n, bytes: 0x1_0000n },
]
const MEMFD_BYTES = 0x20_0000n

/** Descriptors of the recording program. */
export const FD = { IOMMU: 100, SECOND_IOMMU: 103, MEMFD: 110 } as const
/** Open, and no memfd: the standard ones, both iommufds and both VFIO files. */
const OTHER_FDS = [0, 1, 2, FD.IOMMU, 101, 102, FD.SECOND_IOMMU]

/** One recording being played. */
export class Replay {
  readonly core: Core
  readonly tally = new Tally()
  readonly files = new Map<number, BoundFile>()
  /** Contexts by descriptor. */
  readonly tokens = new Map<number, string>()
  /** Regions that stand for descriptors of files. */
  readonly fileRegions = new Map<number, number>()
  /** Fault queues that a domain holds. */
  readonly faultHolds: { readonly domain: IommuObject; readonly queue: StandIn }[] = []
  readonly #calls: Readonly<Record<string, Entry>>
  readonly #peer = { uid: 0 }

  constructor(machine: Machine, devices: ReadonlyMap<number, string>, calls: Readonly<Record<string, Entry>>) {
    let counter = 0
    const random = { bytes: (count: number) => Uint8Array.from({ length: count }, () => counter++ & 0xff) }
    this.core = new Core({ machine, clock: new StillClock(), random })
    this.#calls = calls
    for (const fd of [FD.IOMMU, FD.SECOND_IOMMU]) {
      const opened = this.core.run(this.#peer, undefined, HANDLERS.OpenContext, { lifetime: 3, leaseMs: 0, label: '' })
      this.tokens.set(fd, (opened as { context: string }).context)
    }
    for (const { clientAddress, bytes } of CLIENT_MEMORY) {
      this.do('CreateMemoryRegion', { anonymous: { bytes }, clientAddress, label: '' })
    }
    const memfd = this.do('CreateMemoryRegion', { anonymous: { bytes: MEMFD_BYTES }, label: 'memfd' }).regionId
    this.fileRegions.set(FD.MEMFD, memfd)
    const nothing = this.#emptyRegion()
    for (const fd of OTHER_FDS) this.fileRegions.set(fd, nothing.id)
    for (const [fd, device] of devices) this.files.set(fd, { device, bound: undefined })
  }

  /** The context of /dev/iommu's first open. */
  get context(): Context {
    return this.contextOf(this.tokens.get(FD.IOMMU)!)
  }

  contextOf(token: string): Context {
    return this.core.contextOf(token, this.#peer)
  }

  /** Calls core, and expects the answer at once. */
  do<N extends Method>(name: N, request: RequestOf<N>, token = this.tokens.get(FD.IOMMU)!): ReplyOf<N> {
    const reply: unknown = this.core.call(this.#peer, HANDLERS[name] as never, { ...request, context: token } as never)
    if (reply instanceof Promise) throw new Error(`${name} did not answer at once`)
    return reply as ReplyOf<N>
  }

  /** Plays the whole recording. */
  play({ lines }: Transcript): Tally {
    for (const line of lines) {
      try {
        this.#playLine(line)
      } catch (error) {
        if (!(error instanceof NotCompared)) throw error
        this.tally.leaveOut(error.rule)
        if (error.outOfStep !== undefined) this.#differs(line, error.outOfStep)
        if (line.errno === 0 && !error.isInStep) this.#differs(line, `skipped (${error.rule}), and it succeeded`)
      }
      this.#dropFaultQueues()
    }
    return this.tally
  }

  /** Ends both contexts; answers what is left of them. */
  end(): readonly string[] {
    const left: string[] = []
    for (const { domain, queue } of this.faultHolds) queue.drop(domain)
    for (const token of this.tokens.values()) {
      if (this.contextOf(token).end('closed') !== undefined) left.push('an end that waits')
    }
    if (this.core.bound.size > 0) left.push(`${this.core.bound.size} bound devices`)
    return left
  }

  #playLine(line: Line): void {
    const entry = this.#calls[line.call]
    if (entry === undefined) throw new Error(`the recorded call ${line.call} is not known`)
    const layout = STRUCTS[entry.struct] as unknown as Struct
    const input = bytesOf(line.in ?? '')
    if (layout.bytes > 0) refuseAtTheDoor(layout, input, line)
    const values = decode(layout, input.length === 0 ? new Uint8Array(4) : input)
    const answer = this.#answer(entry, values as never, line)
    this.tally.count(line.call, line.errno === 0)
    const errno = answer.errno ?? 0
    if (errno !== line.errno) {
      this.#differs(line, `errno ${errno}, the kernel ${line.errno}${whyOf(answer)}`)
      return
    }
    const out = hexOf(encode(layout, input, answer.set ?? {}))
    if (out !== (line.out ?? line.in ?? '')) this.#differs(line, `struct ${out}, the kernel ${line.out ?? 'unchanged'}`)
    const memory = bytesOf(line.mem_in ?? '')
    memory.set((answer.memory ?? new Uint8Array()).subarray(0, memory.length))
    const after = line.mem_out ?? line.mem_in ?? ''
    if (hexOf(memory) !== after) this.#differs(line, `memory ${hexOf(memory)}, the kernel ${after}`)
  }

  #answer({ translate }: Entry, values: never, line: Line): Answer & { refusal?: Refusal } {
    try {
      return translate(this, values, line)
    } catch (error) {
      if (error instanceof Refusal) return { errno: error.errno, refusal: error }
      throw error
    }
  }

  #differs(line: Line, how: string): void {
    this.tally.differences.push(`${line.n} ${line.call} ${line.in ?? ''}: ${how}`)
  }

  /** A domain that is gone no longer holds its fault queue. */
  #dropFaultQueues(): void {
    for (const hold of [...this.faultHolds]) {
      const { domain, queue } = hold
      if (this.context.objects.find(domain.id) === domain) continue
      queue.drop(domain)
      this.faultHolds.splice(this.faultHolds.indexOf(hold), 1)
    }
  }

  /** A descriptor that is no memfd: accepted until its pages are wanted, and then there are none. */
  #emptyRegion(): Region {
    const { memory } = this.context.regions.all[0]
    const empty = { ...memory, address: 0, lengthBytes: 0, residentBytes: 0, writable: true, release: () => {} }
    this.context.quota.charge('regions')
    const spec = { path: '', label: 'no memfd', clientAddress: undefined, busAddress: undefined }
    return this.context.regions.add(empty, spec)
  }
}

/**
 * Data behind a pointer, as the recording has it; zeros where the kernel met another error before it looked.
 *
 * @throws NotCompared when the pointer is what the kernel refused
 */
export function dataAt(line: Line, pointer: bigint, bytes: number): Uint8Array {
  const data = bytesOf(line.mem_in ?? '')
  if (pointer === BigInt(line.mem ?? '0') && data.length >= bytes) return data.subarray(0, bytes)
  if (line.errno === EFAULT) throw new NotCompared('pointer')
  return new Uint8Array(bytes)
}

/** One row of a table of calls. */
export const entry = <N extends StructName>(struct: N, translate: Translate<N>): Entry => ({ struct, translate })

/** Not compared, and refused by the kernel too. */
export function skip(rule: Rule): never {
  throw new NotCompared(rule)
}

/** Not compared; what it did in the kernel has been done by hand, unless it says what went wrong. */
export function inStep(rule: Rule, outOfStep?: string): never {
  throw new NotCompared(rule, true, outOfStep)
}

/** What the dispatcher of the ioctls checks before any field. [uAPI iommufd_fops_ioctl] */
function refuseAtTheDoor(layout: Struct, input: Uint8Array, line: Line): void {
  if (line.errno === 25) throw new NotCompared('command')
  const size = claimedSize(input)
  if (size < layout.least) throw new NotCompared('size')
  // VFIO ignores what it does not know; and of a huge size the recording has only the beginning.
  const tail = input.subarray(layout.bytes, size)
  const isVfio = line.call.startsWith('VFIO_DEVICE')
  if (!isVfio && (tail.some((byte) => byte !== 0) || (size > input.length && line.errno === E2BIG))) {
    throw new NotCompared('tail')
  }
  const values = decode(layout, input) as Readonly<Record<string, number | bigint>>
  if (layout.reserved.some((name) => values[name as string] !== 0)) throw new NotCompared('reserved')
}

const E2BIG = 7
const EFAULT = 14

const whyOf = (answer: { refusal?: Refusal }): string =>
  answer.refusal === undefined ? '' : ` (${answer.refusal.message})`

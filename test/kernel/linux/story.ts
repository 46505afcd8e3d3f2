/**
 * Random recordings: calls chosen as the recording program chose them, mostly sensible and often wrong in one place,
 * with the answers of the small Linux.
 */

import type { RecordedCall, Recording } from '../../../clients/cli/transcript/recording.js'
import type { Rng } from '../../simulation/rng.js'
import type { Form } from './choices.js'
import { FORMS } from './forms.js'
import { Linux } from './kernel.js'
import type { Unit } from './units.js'

const ERRNO_BADF = 9
const SCRATCH = 0x2000_0000n
const FILES = [101, 102] as const

/** Makes up a recording. */
export function storyOf(unit: Unit, rng: Rng, calls: number): Recording {
  const story = new Story(unit, rng)
  story.begin()
  while (story.lines.length < calls) story.step()
  return {
    file: `${unit.iommu}`,
    unit: unit.kind,
    seed: 0,
    kernel: unit.kernel,
    iommu: unit.iommu,
    calls: story.lines,
  }
}

/** One being made. */
export class Story {
  readonly lines: RecordedCall[] = []
  readonly linux: Linux
  readonly rng: Rng
  readonly #forms: readonly Form[]

  constructor(unit: Unit, rng: Rng) {
    this.linux = new Linux(unit)
    this.rng = rng
    const fits = ({ on }: Form) => on === undefined || on === (unit.kind === 'mock' ? 'mock' : 'vfio')
    this.#forms = FORMS.filter(fits).flatMap((form) => Array.from({ length: form.weight }, () => form))
  }

  /** Devices open, some address spaces, and what the unit is. */
  begin(): void {
    const { kind } = this.linux.unit
    if (kind !== 'mock') for (const fd of FILES) this.#reopen('open', fd)
    for (let i = 0; i < 3; i++) this.make(formOf('IOAS_ALLOC'))
    if (kind === 'mock') return
    for (const fd of FILES) this.#ioctl(fd, 'VFIO_DEVICE_BIND_IOMMUFD', 0x3b76, bindOf(100), undefined)
    this.#ioctl(
      100,
      'GET_HW_INFO',
      0x3b8a,
      infoOf(this.linux.opened.all('device')[0].id),
      new Uint8Array(64).fill(0xee),
    )
  }

  step(): void {
    const { rng, linux } = this
    if (linux.unit.kind !== 'mock' && rng.chance(0.01)) {
      const fd = rng.pick(FILES)
      const isOpen = linux.files.has(fd)
      this.#reopen(isOpen ? 'close' : 'open', fd)
      if (isOpen && rng.chance(0.9)) this.#reopen('open', fd)
      return
    }
    if (rng.chance(0.005)) this.#unknown()
    else this.make(rng.pick(this.#forms))
  }

  /** Fills a form, perhaps spoils it, and asks. */
  make(form: Form): void {
    const { rng, linux } = this
    const filled = form.fill({ rng, linux })
    if (filled === undefined) return
    const { s, memory, fd = 100 } = filled
    s.put32(0, filled.size ?? form.bytes)
    let input = s.bytes
    if (form.command >> 8 === 0x3b && (form.command & 0xff) >= 0x80) input = this.#spoil(input, form)
    this.#ioctl(fd, form.name, form.command, input, memory)
  }

  #spoil(input: Uint8Array, { bytes }: Form): Uint8Array {
    const { rng } = this
    const sized = (size: number): Uint8Array => {
      const spoiled = new Uint8Array(Math.max(bytes, size > 256 ? 0 : size))
      spoiled.set(input)
      new DataView(spoiled.buffer).setUint32(0, size, true)
      return spoiled
    }
    if (rng.chance(0.02)) return sized(rng.pick([bytes - 4, bytes - 4, bytes - 4, rng.int(5)]))
    if (rng.chance(0.004)) return sized(rng.pick([4096, 5000]))
    if (!rng.chance(0.03)) return input
    const longer = sized(bytes + 8 * rng.between(1, 4))
    if (rng.chance(0.5)) longer[rng.between(bytes, longer.length - 1)] = rng.between(1, 255)
    return longer
  }

  #unknown(): void {
    const { rng } = this
    const bytes = new Uint8Array(32)
    bytes[0] = rng.between(8, 31)
    this.#ioctl(100, 'UNKNOWN', rng.pick([0, 0x3b7f, 0x3b95, 0x3b9f, 0xc0083b81, 0x3a80]), bytes, undefined)
  }

  #reopen(call: 'open' | 'close', fd: number): void {
    if (call === 'open') this.linux.open(fd)
    else this.linux.close(fd)
    const nothing = new Uint8Array()
    this.#add({ call, fd, command: 0, input: nothing, output: nothing, result: 0n, errno: 0 })
  }

  #ioctl(fd: number, call: string, command: number, input: Uint8Array, before: Uint8Array | undefined): void {
    if (fd !== 100 && !this.linux.files.has(fd)) {
      this.#add({ call, fd, command, input, output: input, result: -1n, errno: ERRNO_BADF })
      return
    }
    const beside = before && { address: SCRATCH, bytes: before }
    const { errno, struct, memory } = this.linux.ioctl(fd, command, input, beside)
    this.#add({
      call,
      fd,
      command,
      input,
      output: struct,
      errno,
      result: errno === 0 ? 0n : -1n,
      ...(beside && { memory: { address: SCRATCH, before: beside.bytes, after: memory! } }),
    })
  }

  #add(line: Omit<RecordedCall, 'n'>): void {
    this.lines.push({ n: this.lines.length, ...line })
  }
}

const formOf = (name: string): Form => FORMS.find((form) => form.name === name)!

function bindOf(iommu: number): Uint8Array {
  const bytes = new Uint8Array(24)
  bytes[0] = 16
  bytes[8] = iommu
  return bytes
}

function infoOf(device: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(40))
  for (const [at, value] of [
    [0, 40],
    [8, device],
    [12, 64],
    [16, Number(SCRATCH)],
  ])
    view.setUint32(at, value, true)
  return new Uint8Array(view.buffer)
}

/**
 * Two PCI functions of QEMU that do DMA when told to by registers. `iommu-testdev` writes a fixed word and reports
 * whether it arrived; `edu` reads and writes through a buffer of its own, and reports nothing.
 */

/** How a kind of device is driven: all numbers are offsets in its first BAR. */
export interface DeviceKind {
  /** What follows `-device`. */
  readonly option: string
  readonly canRead: boolean
  /** The four bytes that a write stores. */
  readonly stores: number
  /** Requests that prepare it once. */
  prepare(bar: number): readonly string[]
  /** Requests of one DMA of four bytes. Addresses come as hexadecimal digits. */
  dma(bar: number, hi: string, lo: string, isWrite: boolean): readonly string[]
  /** Which of those requests' answers is a status, or -1. */
  readonly statusAt: number
}

const hex = (value: number): string => `0x${value.toString(16)}`

/** `iommu-testdev`, the device that QEMU's own tests use. */
export const TESTDEV: DeviceKind = {
  option: 'iommu-testdev',
  canRead: false,
  stores: 0x12345678,
  prepare: (bar) => [`writel ${hex(bar + 0x0c)} 4`, `writel ${hex(bar + 0x18)} 2`],
  dma: (bar, hi, lo) => [
    `writel ${hex(bar + 0x04)} 0x${lo}`,
    `writel ${hex(bar + 0x08)} 0x${hi}`,
    `writel ${hex(bar + 0x14)} 1`,
    `readl ${hex(bar)}`,
    `readl ${hex(bar + 0x10)}`,
  ],
  statusAt: 4,
}

/** The status of a `TESTDEV` whose write did not arrive. */
export const TESTDEV_FAILED = 0xdead0002

/** Where `edu`'s buffer stands for its own engine; what is read goes to its start, what is written comes from its middle. */
const BUFFER = 0x40000
const ZEROES = BUFFER + 0x800

/** `edu`. Its timer runs on a clock that only moves when told to. */
export const EDU: DeviceKind = {
  option: 'edu,dma_mask=0xffffffffffffffff',
  canRead: true,
  stores: 0,
  prepare: (bar) => [`writeq ${hex(bar + 0x90)} 4`],
  dma: (bar, hi, lo, isWrite) => [
    `writeq ${hex(bar + 0x80)} ${isWrite ? hex(ZEROES) : `0x${hi}${lo}`}`,
    `writeq ${hex(bar + 0x88)} ${isWrite ? `0x${hi}${lo}` : hex(BUFFER)}`,
    `writeq ${hex(bar + 0x98)} ${isWrite ? 3 : 1}`,
    'clock_step 100000000',
  ],
  statusAt: -1,
}

/** Reads and writes 32 bits of a function's configuration space. */
export interface ConfigSpace {
  read(bdf: number, offset: number): Promise<number>
  write(bdf: number, offset: number, value: number): Promise<void>
}

const BAR0 = 0x10
const COMMAND = 0x04
/** Memory space and bus master, and no wired interrupts. */
const COMMAND_BITS = 0x406

/** Gives a function's only BAR an address at or above `from`, and lets it do DMA. Answers the address. */
export async function placeBar(space: ConfigSpace, bdf: number, from: number): Promise<number> {
  await space.write(bdf, BAR0, 0xffffffff)
  const size = (~((await space.read(bdf, BAR0)) & ~0xf) >>> 0) + 1
  const at = Math.ceil(from / size) * size
  await space.write(bdf, BAR0, at)
  await space.write(bdf, COMMAND, COMMAND_BITS)
  return at
}

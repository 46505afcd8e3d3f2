/**
 * Host RAM: the part of emulated physical memory in which the host drivers keep their own tables and queues. Freed
 * blocks are reused by size, and every block is handed out zeroed, as a kernel's table allocator does. The work is in the
 * handing out, one block at a time: giving back the tables of a whole domain takes no longer than giving back one.
 */

import { type Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { Refusal } from '../core/driver.js'

/** Smallest block, one 4 KiB page; smaller requests are rounded up to it. */
const BLOCK_BYTES = 4096

/** A power-of-two block allocator over one placement of physical memory. */
export class HostRam {
  readonly base: number
  readonly lengthBytes: number
  /** Called before anything of the drivers' is made; what it throws refuses it. For tests. */
  readonly failPoint: ((what: string) => void) | undefined
  readonly #memory: Memory
  readonly #free = new Map<number, number[]>()
  /** Pages that were given back together and have not been looked at yet. */
  readonly #returned: Iterator<number>[] = []
  #next: number
  #used = 0

  constructor(memory: Memory, base: number, lengthBytes: number, failPoint?: (what: string) => void) {
    this.#memory = memory
    this.base = base
    this.lengthBytes = lengthBytes
    this.failPoint = failPoint
    this.#next = base
    memory.place(base, new SparseBacking(lengthBytes))
    memory.stamps.watch(base, lengthBytes)
  }

  /** Bytes in use. */
  get usedBytes(): number {
    return this.#used
  }

  /**
   * A zeroed block, aligned to its own size.
   *
   * @param bytes rounded up to a power of two, at least 4 KiB
   * @throws Refusal ENOMEM when the drivers' memory is used up
   */
  alloc(bytes: number): number {
    const size = blockSize(bytes)
    this.failPoint?.('table')
    const used = this.#free.get(size)?.pop() ?? (size === BLOCK_BYTES ? this.#takeReturned() : undefined)
    if (used !== undefined) {
      for (let at = used; at < used + size; at += BLOCK_BYTES) {
        this.#memory.wipePage(at)
        this.#memory.stamps.removePage(at)
      }
    }
    const address = used ?? this.#carve(size)
    this.#used += size
    return address
  }

  /** Gives a block back; the same `bytes` as it was asked for. */
  free(address: number, bytes: number): void {
    const size = blockSize(bytes)
    this.#used -= size
    this.#keep(address, size)
  }

  /** Gives many pages of 4 KiB back, at once. Nobody changes `pages` any more. */
  freePages(pages: Iterable<number>, count: number): void {
    this.#used -= count * BLOCK_BYTES
    this.#returned.push(pages[Symbol.iterator]())
  }

  #takeReturned(): number | undefined {
    for (let pages = this.#returned.at(-1); pages !== undefined; pages = this.#returned.at(-1)) {
      const { done, value } = pages.next()
      if (done !== true) return value
      this.#returned.pop()
    }
    return undefined
  }

  #carve(size: number): number {
    const address = Math.ceil(this.#next / size) * size
    if (address + size > this.base + this.lengthBytes) {
      throw new Refusal('ENOMEM', 'the host drivers have no memory left for tables', { bytes: size, used: this.#used })
    }
    // What alignment skips stays useful for smaller blocks.
    for (let at = this.#next; at < address; at += BLOCK_BYTES) this.#keep(at, BLOCK_BYTES)
    this.#next = address + size
    return address
  }

  #keep(address: number, size: number): void {
    const free = this.#free.get(size)
    if (free === undefined) this.#free.set(size, [address])
    else free.push(address)
  }
}

const blockSize = (bytes: number): number => Math.max(BLOCK_BYTES, 2 ** Math.ceil(Math.log2(bytes)))

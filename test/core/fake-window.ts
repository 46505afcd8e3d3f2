/** A window that is a list of pages, mapped read-only in a fake table; its roots are counted. */

import type { Completion, DeviceDriver, Range, UserData, UserOps, WindowOps } from '../../server/core/driver.js'
import { Refusal } from '../../server/core/driver.js'
import type { FakeDriver, FakePaging } from './fake-machine.js'

/** Far from every region. */
const FIRST_PAGE = 2 ** 52

/** Addresses of a fake table with memory of its unit's behind them. */
export class FakeWindow implements WindowOps {
  readonly kind = 'window'
  readonly driver: FakeDriver
  /** What was backed, and whether its table may use it. */
  readonly pieces: { readonly range: Range; isOffered: boolean }[] = []

  constructor(readonly parent: FakePaging) {
    this.driver = parent.driver
    this.#machine.failPoint('window')
    this.#machine.live++
  }

  get freeBytes(): number {
    return bytesOf(this.pieces.filter(({ isOffered }) => isOffered))
  }

  get heldBytes(): number {
    return bytesOf(this.pieces)
  }

  back(range: Range): void {
    this.#machine.failPoint('window memory')
    this.parent.map(range.start, FIRST_PAGE, range.last - range.start + 1n, { read: true, write: false }, true)
    this.pieces.push({ range, isOffered: false })
    this.#machine.live++
  }

  offer(): void {
    for (const piece of this.pieces) piece.isOffered = true
  }

  withdraw(): Completion {
    return this.#giveBack(({ isOffered }) => !isOffered)
  }

  createUserDomain(_device: DeviceDriver, data: UserData): UserOps {
    const root = data.kind === 'smmuv3_pgd' ? data.read('smmuv3_pgd') : undefined
    if (root === undefined) throw new Refusal('EINVAL', 'smmuv3_pgd is wanted')
    if (root.t0sz > 39) throw new Refusal('EINVAL', 'T0SZ is out of range', { field: 'T0SZ' })
    const machine = this.#machine
    machine.failPoint('user domain')
    machine.live++
    return {
      kind: 'user',
      driver: this.driver,
      window: this,
      invalidate(entries, from, end) {
        if (entries.kind !== 'smmuv3_pgd') throw new Refusal('EINVAL', 'smmuv3_pgd is wanted')
        return { done: end - from, completion: machine.done('invalidate root') }
      },
      destroy() {
        machine.log.push('destroy root')
        machine.live--
      },
    }
  }

  destroy(): Completion {
    this.#machine.log.push('destroy window')
    this.#machine.live--
    return this.#giveBack(() => true)
  }

  #giveBack(isGone: (piece: { isOffered: boolean }) => boolean): Completion {
    for (const piece of this.pieces.filter(isGone)) {
      const { start, last } = piece.range
      this.parent.unmap(start, last - start + 1n)
      this.pieces.splice(this.pieces.indexOf(piece), 1)
      this.#machine.live--
    }
    return this.parent.flush()
  }

  get #machine() {
    return this.driver.machine
  }
}

const bytesOf = (pieces: readonly { readonly range: Range }[]): number =>
  pieces.reduce((sum, { range }) => sum + Number(range.last - range.start + 1n), 0)

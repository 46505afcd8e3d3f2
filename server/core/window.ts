/**
 * Windows: addresses of a nesting parent that hold a CD table of the daemon's, so that an SMMUv3 takes user domains on
 * single PASIDs. The memory behind them is the daemon's, and a device may read it at most.
 */

import { ChargedBytes } from './charged-bytes.js'
import { after } from './completion.js'
import type { Device } from './device.js'
import type { Completion, Range, WindowOps } from './driver.js'
import { Hwpt } from './hwpt.js'
import type { Ioas, Kept } from './ioas.js'
import { ENTRIES_A_STEP, type QuotaName } from './limits.js'
import { type IommuObject, OBJECT_TYPE } from './object.js'
import type { PagingDomain } from './paging-domain.js'
import { hexRange, min, PAGE } from './u64.js'
import type { Work } from './work.js'

/** What is backed between two looks at the time. */
const STEP = BigInt(ENTRIES_A_STEP) * PAGE

/** A window. */
export class Window extends Hwpt {
  static override readonly label = 'a window'

  readonly type = OBJECT_TYPE.WINDOW
  readonly kind = 'window'
  readonly isAuto = false
  readonly pasidCompatible = true
  readonly parent: PagingDomain
  readonly ops: WindowOps
  readonly #ranges: Kept[] = []
  readonly #bytes: ChargedBytes
  /** Whose table it is, and in how many slots. */
  readonly #users = new Map<Device, number>()

  constructor(id: number, parent: PagingDomain, ops: WindowOps) {
    super(id)
    this.parent = parent
    this.ops = ops
    this.#bytes = new ChargedBytes(parent.ioas.context.quota, () => ops.heldBytes)
    parent.hold(this)
  }

  override get window(): Window {
    return this
  }

  get ioas(): Ioas {
    return this.parent.ioas
  }

  protected get ground(): IommuObject {
    return this.parent
  }

  /** It has a VMID of its own, as a nesting parent has. */
  override get charges(): readonly QuotaName[] {
    return ['objects', 'domains']
  }

  /** The device whose table it is: on its RID, or on PASIDs of it still. */
  get device(): Device | undefined {
    return this.#users.keys().next().value
  }

  override get facts(): Readonly<Record<string, string>> {
    return {
      unit: this.ops.driver.name,
      parent: String(this.parent.id),
      ranges: this.#ranges.map(hexRange).join(' '),
      free_bytes: String(this.ops.freeBytes),
      table_bytes: String(this.#bytes.bytes),
    }
  }

  /** A slot of a device has it, or a domain in it. */
  use(device: Device): void {
    this.#users.set(device, (this.#users.get(device) ?? 0) + 1)
  }

  /** Ends one `use`. */
  unuse(device: Device): void {
    const left = (this.#users.get(device) as number) - 1
    if (left > 0) this.#users.set(device, left)
    else this.#users.delete(device)
  }

  /** Sets a range aside, with nothing behind it. The first is what a window is. @throws Refusal EADDRINUSE, EDQUOT */
  reserve({ start, last }: Range): Kept {
    const kept = { id: this.id, kind: this.kind, start, last }
    const { quota } = this.ioas.context
    const counted = this.#ranges.length > 0 ? 1 : 0
    quota.charge('allowed_ranges', counted)
    try {
      this.ioas.keep(kept)
    } catch (error) {
      quota.release('allowed_ranges', counted)
      throw error
    }
    this.#ranges.push(kept)
    return kept
  }

  /** Puts memory behind a range that it reserved, not yet for its table. @throws Refusal EDQUOT, ENOMEM */
  *back({ start, last }: Range): Work<void> {
    const { context } = this.ioas
    context.quota.check('table_bytes', Number(last - start + 1n))
    for (let from = start; from <= last; from += STEP) {
      context.core.failPoint?.('window memory')
      this.ops.back({ start: from, last: min(last, from + STEP - 1n) })
      this.#bytes.follow()
      this.parent.chargeTables()
      yield
    }
  }

  /** Takes back what was backed and not offered, and the range. */
  giveUp(kept: Kept): Completion {
    return after(this.ops.withdraw(), () => {
      this.#ranges.splice(this.#ranges.indexOf(kept), 1)
      if (this.#ranges.length > 0) this.ioas.context.quota.release('allowed_ranges')
      this.ioas.endKeeping(kept)
      this.#bytes.release()
      this.parent.releaseTables()
    })
  }

  destroy(): Completion {
    return after(this.ops.destroy(), () => {
      for (const kept of this.#ranges) this.ioas.endKeeping(kept)
      this.ioas.context.quota.release('allowed_ranges', Math.max(0, this.#ranges.length - 1))
      this.#bytes.end()
      this.parent.releaseTables()
      this.parent.drop(this)
    })
  }
}

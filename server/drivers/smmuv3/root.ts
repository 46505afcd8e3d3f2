/**
 * A user domain of one root: stage 1 tables in the guest's memory, and the few fields of a CD that go with them. The CD
 * is the host's, in a window, and so is the ASID. [SMMU 5.4 Context Descriptor]
 */

import {
  type InvalidateArray,
  type InvalidateResult,
  type IommuDriver,
  Refusal,
  RID_SLOT,
  type SmmuRoot,
  type UserOps,
} from '../../core/driver.js'
import { refusalOf } from '../range-entry.js'
import { COMMANDS_A_DEVICE, forgetAll, forgetRange, forgetWhole, tooLate } from './atc.js'
import { rootCd } from './entries.js'
import { refuseFailed } from './errors.js'
import type { Host } from './host.js'
import { checkRoot, granuleLg2Of, inputBitsOf } from './root-fields.js'
import { blockOf, COMMANDS_LIMIT, type PageBlock, pushBlock } from './root-flush.js'
import type { Window } from './window.js'

/** One root. */
export class RootDomain implements UserOps {
  readonly kind = 'user'
  readonly driver: IommuDriver
  readonly window: Window
  readonly asid: number
  takesFaults?: boolean
  /** Slots of the window's device that it is on. */
  readonly slots = new Set<number>()
  readonly #host: Host
  readonly #data: SmmuRoot

  /** @throws Refusal EINVAL naming the field that would make the CD illegal, ENOSPC */
  constructor(host: Host, window: Window, data: SmmuRoot) {
    checkRoot(data, host.features)
    this.#host = host
    this.driver = host.driver
    this.window = window
    this.#data = data
    this.asid = window.asids.alloc()
  }

  /** @param stalls what its tables refuse waits for software */
  cd(stalls: boolean): Int32Array {
    return rootCd(this.#data, this.asid, stalls)
  }

  /** A slot has let go of it; the last one to do so empties the TLB of it. */
  leave(slot: number): void {
    this.slots.delete(slot)
    if (this.slots.size > 0) return
    this.#host.flush.wholeAsid(this.asid, this.window.vmid)
    this.#host.commands.sync()
  }

  destroy(): void {
    this.window.asids.free(this.asid)
  }

  /** Ranges, in the order in which they are given, up to the first one that is refused, or that is enough for a step. */
  invalidate(entries: InvalidateArray, from: number, end: number): InvalidateResult {
    if (entries.kind !== 'smmuv3_pgd') {
      const why = 'a user domain of one root takes entries of the type smmuv3_pgd: {addr, npages, flags}'
      throw new Refusal('EINVAL', why)
    }
    refuseFailed(this.#host, 'ETIMEDOUT')
    const { commands, features, atcs } = this.#host
    const name = { VMID: this.window.vmid, ASID: this.asid }
    const granuleLg2 = granuleLg2Of(this.#data)
    const blocks: PageBlock[] = []
    let done = 0
    let given = 0
    let refusal: Refusal | undefined
    for (const entry of entries.copied('smmuv3_pgd', from, end)) {
      if (given >= COMMANDS_LIMIT) break
      refusal = refusalOf(entry, from + done)
      if (refusal !== undefined) break
      done++
      const block = blockOf(entry, granuleLg2, inputBitsOf(this.#data))
      // Attached nowhere there is nothing to forget.
      if (block === null || this.slots.size === 0) continue
      given += pushBlock(commands, name, block, granuleLg2, features.ril)
      blocks.push(block)
    }
    if (blocks.length === 0) return { done, refusal, completion: undefined }
    commands.sync()
    let late: Refusal | undefined
    const completion = atcs.run(this.#host, this.#atcCommands(blocks), () => {
      late = tooLate(from + done - 1)
    })
    this.#host.drain()
    return { done, refusal, completion, failure: () => late }
  }

  #atcCommands(blocks: readonly PageBlock[]): Int32Array[] {
    const device = this.window.owner
    if (device === null || !device.hasAtsOn) return []
    if (this.slots.size > COMMANDS_A_DEVICE) return forgetAll(device)
    // What comes without a PASID is invalidated without one.
    const pasids = [...this.slots].map((slot) => (slot === RID_SLOT ? -1 : slot))
    const isWhole = blocks.some((block) => block.isEverything) || blocks.length * pasids.length > COMMANDS_A_DEVICE
    if (isWhole) return pasids.map((pasid) => forgetWhole(device.rid, pasid))
    return pasids.flatMap((pasid) => blocks.map((block) => forgetRange(device.rid, pasid, block)))
  }
}

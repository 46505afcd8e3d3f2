/** Where a domain is attached, and what the devices there are to forget when it changes. [SMMU 3.9.1 ATS Interface] */

import { type AtcOwner, COMMANDS_A_DEVICE, forgetAll, forgetRange, forgetRangeOfAll, forgetWhole } from './atc.js'
import { type FlushRange, WHOLE_FROM_RANGES } from './invalidation.js'

/** One slot of a device that leads to a domain. */
export interface Attachment {
  /** -1: the RID. */
  readonly pasid: number
  /** Whose addresses the device's are: this domain's, under one PASID or all, or those of a guest's stage 1 before it. */
  readonly reach: 'own' | 'all-pasids' | 'guest'
}

/** All slots of all devices. */
export class Attachments {
  readonly #slots = new Map<AtcOwner, Map<number, Attachment>>()
  /** Of each device, those whose addresses are unknown here. */
  readonly #guests = new Map<AtcOwner, number>()

  /** Whether there is none. */
  get areNone(): boolean {
    return this.#slots.size === 0
  }

  /** A slot leads to the domain, or does so otherwise than before. */
  add(device: AtcOwner, slot: number, attachment: Attachment): void {
    const slots = this.#slots.get(device) ?? new Map<number, Attachment>()
    this.#slots.set(device, slots)
    this.#countGuest(device, slots.get(slot), -1)
    slots.set(slot, attachment)
    this.#countGuest(device, attachment, 1)
  }

  /** A slot leads elsewhere from now on. */
  remove(device: AtcOwner, slot: number): void {
    const slots = this.#slots.get(device)
    if (slots === undefined) return
    this.#countGuest(device, slots.get(slot), -1)
    slots.delete(slot)
    if (slots.size === 0) this.#slots.delete(device)
  }

  /** The commands after which no device uses what it obtained of some ranges. */
  forget(ranges: readonly FlushRange[]): Int32Array[] {
    const commands: Int32Array[] = []
    for (const [device, slots] of this.#slots) {
      if (device.hasAtsOn) commands.push(...this.#forgetOf(device, slots, ranges))
    }
    return commands
  }

  /** Of a guest's slot the addresses are unknown, and of very many slots they are too many: all is forgotten at once. */
  #forgetOf(device: AtcOwner, slots: ReadonlyMap<number, Attachment>, ranges: readonly FlushRange[]): Int32Array[] {
    const isWhole = ranges.length >= WHOLE_FROM_RANGES
    // What is under other contexts' PASIDs is not to be forgotten for this one's sake.
    const isAlone = device.mediatedPasids.length === 0
    const isMuch = isAlone && slots.size * (isWhole ? 1 : ranges.length) > COMMANDS_A_DEVICE
    if (isMuch || this.#guests.has(device)) return forgetAll(device)
    return [...slots.values()].flatMap(({ pasid, reach }) => {
      if (reach === 'all-pasids') {
        return isWhole ? forgetAll(device) : ranges.flatMap((range) => forgetRangeOfAll(device, range))
      }
      return isWhole ? [forgetWhole(device.rid, pasid)] : ranges.map((range) => forgetRange(device.rid, pasid, range))
    })
  }

  #countGuest(device: AtcOwner, attachment: Attachment | undefined, by: number): void {
    if (attachment?.reach !== 'guest') return
    const count = (this.#guests.get(device) ?? 0) + by
    if (count > 0) this.#guests.set(device, count)
    else this.#guests.delete(device)
  }
}

/** What units tell of their devices, brought to whoever bound them. */

import type { Core } from './core.js'
import type { Device } from './device.js'
import type { AtsInvalidation, DeviceDriver, DmaOutcome, PageFault, UnitListener, ViommuOps } from './driver.js'
import { routePageFault } from './fault-routing.js'

/** Core's ear at every unit. */
export class DeviceListener implements UnitListener {
  readonly #core: Core

  constructor(core: Core) {
    this.#core = core
  }

  pageFault(device: DeviceDriver, fault: PageFault): boolean {
    return routePageFault(this.#core, device, fault)
  }

  viommuEvent(viommu: ViommuOps, type: number, words: readonly number[], name: string): boolean {
    const queue = this.#core.viommus.get(viommu)?.veventqs.get(type)
    queue?.report(words, name)
    return queue !== undefined
  }

  ended(device: DeviceDriver, tag: number, outcome: DmaOutcome): void {
    for (const { endpoint } of this.#boundTo(device)) if (endpoint.ended(tag, outcome)) return
    this.#core.earlyEnds.hear(tag, outcome)
  }

  invalidate(device: DeviceDriver, invalidation: AtsInvalidation): Promise<boolean> | undefined {
    const asked: Promise<boolean>[] = []
    for (const { endpoint } of this.#boundTo(device)) {
      const answer = endpoint.invalidate(invalidation)
      if (answer !== undefined) asked.push(answer)
    }
    if (asked.length === 0) return undefined
    return Promise.all(asked).then((answers) => answers.every((isDone) => isDone))
  }

  respondToPages(device: DeviceDriver, pasid: number, group: number, code: number): void {
    const bound = this.#boundTo(device)
    for (const { endpoint } of bound) if (endpoint.respond(pasid, group, code, bound.length > 1)) return
  }

  /** A device and its mediated children are one to their unit. */
  #boundTo(device: DeviceDriver): readonly Device[] {
    return this.#core.bound.of(device)
  }
}

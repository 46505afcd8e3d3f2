/** What units tell of their devices, brought to whoever bound them. */

import type { Core } from './core.js'
import type { DeviceDriver, PageFault, UnitListener, ViommuOps } from './driver.js'
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

  ended(): void {}

  invalidate(): undefined {}

  respondToPages(): void {}
}

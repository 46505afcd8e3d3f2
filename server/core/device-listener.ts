/** What units tell of their devices, brought to whoever bound them. */

import type { Core } from './core.js'
import type { UnitListener } from './driver.js'

/** Core's ear at every unit. */
export class DeviceListener implements UnitListener {
  readonly #core: Core

  constructor(core: Core) {
    this.#core = core
  }

  pageFault(): boolean {
    return this.#core.bound.size < 0
  }

  viommuEvent(): void {}

  ended(): void {}

  invalidate(): undefined {}

  respondToPages(): void {}
}

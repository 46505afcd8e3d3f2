/** What devices were asked to forget of a domain, and have not answered. */

import type { Completion } from '../core/driver.js'

/**
 * Who unmaps from a domain is told that it is done when no device can reach the pages any more. That takes more than what
 * he asks for himself: an earlier flush may have asked for the same pages, and a device that has just left the domain is
 * asked to forget all that it had of it.
 */
export class Outstanding {
  #all: Completion

  /** When all of it is answered; nothing where all is. */
  get done(): Completion {
    return this.#all
  }

  add(asked: Completion): void {
    if (asked === undefined) return
    const all: Promise<void> = Promise.all([this.#all, asked]).then(() => {
      if (this.#all === all) this.#all = undefined
    })
    this.#all = all
  }
}

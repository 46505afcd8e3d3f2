/**
 * Requests that ended before their sender was told that they were held: a stall that nobody answers is ended by the
 * unit's driver while the request is still being sent.
 */

import type { DmaOutcome } from './driver.js'

/** What was heard since a sender listens; one at a time, as nothing is sent from inside a request. */
export class EarlyEnds {
  #isListening = false
  readonly #heard = new Map<number, DmaOutcome>()

  /** A request that may be held is about to be sent. */
  listen(): void {
    this.#isListening = true
  }

  /** A request that nobody holds yet has ended. */
  hear(tag: number, outcome: DmaOutcome): void {
    if (this.#isListening) this.#heard.set(tag, { ...outcome })
  }

  /** The request was sent, and held under this tag; how it has ended meanwhile, if it has. */
  heard(tag: number): DmaOutcome | undefined {
    const ended = this.#heard.get(tag)
    this.#isListening = false
    this.#heard.clear()
    return ended
  }
}

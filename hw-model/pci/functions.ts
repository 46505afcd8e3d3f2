/** The functions in front of one unit, by the name that it knows them by. */

import { type AtcInvalidation, type DevicePort, NO_DEVICES, type Outcome } from '../port.js'
import type { Endpoint } from './endpoint.js'

/** What a unit sends to its devices, handed to the one that is meant. */
export class Functions implements DevicePort {
  readonly #endpoints = new Map<number, Endpoint>()
  readonly #others: DevicePort

  /** @param others what answers for everybody else */
  constructor(others: DevicePort = NO_DEVICES) {
    this.#others = others
  }

  /** Plugs a function in, in place of one of the same name. */
  add(endpoint: Endpoint): void {
    this.#endpoints.set(endpoint.rid, endpoint)
  }

  /** Pulls a function out. */
  remove(rid: number): void {
    this.#endpoints.delete(rid)
  }

  invalidateAtc(invalidation: AtcInvalidation): boolean {
    const endpoint = this.#endpoints.get(invalidation.rid)
    return endpoint === undefined ? this.#others.invalidateAtc(invalidation) : endpoint.invalidate(invalidation)
  }

  respondToPages(rid: number, pasid: number, group: number, code: number): void {
    const endpoint = this.#endpoints.get(rid)
    if (endpoint === undefined) this.#others.respondToPages(rid, pasid, group, code)
    else endpoint.respond(group, code)
  }

  /** A function cannot wait for a stall to end: whoever stalls answers for it. */
  ended(tag: number, outcome: Outcome): void {
    this.#others.ended(tag, outcome)
  }
}

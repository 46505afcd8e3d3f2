/** A token of an earlier boot: neither a refusal nor a bug, but `unavailable`, so that clients rebuild. */

/** Thrown for a token that an earlier run of the daemon gave out. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'

  constructor() {
    super('the daemon restarted, your objects are gone')
  }
}

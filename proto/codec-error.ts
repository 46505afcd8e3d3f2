/** The one error of the codec: bytes, JSON or an object that are not the message they should be. */

/** A message that cannot be encoded or decoded, and where. It is the sender's mistake, never ours. */
export class CodecError extends Error {
  /** The place: "IoasMapRequest.iova", "IoasMapRequest, byte 17", or "JSON". */
  readonly where: string
  /** What is wrong there. */
  readonly what: string

  constructor(where: string, what: string) {
    super(`${where}: ${what}`)
    this.name = 'CodecError'
    this.where = where
    this.what = what
  }
}

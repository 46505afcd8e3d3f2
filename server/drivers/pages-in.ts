/** Bytes as the object model counts them, in pages of 4 KiB as tables do. */

const bytes = new BigUint64Array(1)
const halves = new Uint32Array(bytes.buffer)

/** Pages of an address, or of a length below 2^64. Four times as fast as shifting, which makes another BigInt. */
export function pagesIn(length: bigint): number {
  bytes[0] = length
  return halves[1] * 2 ** 20 + (halves[0] >>> 12)
}

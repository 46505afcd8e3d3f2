/** Bytes of structs, spelled by hand from the kernel's headers: nothing of the daemon's own tables is used here. */

/** One member: its width in bytes, and its value. */
export type Part = readonly [bytes: 1 | 2 | 3 | 4 | 8, value: number | bigint]

/** Members one after the other, little-endian. */
export function struct(...parts: readonly Part[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, [width]) => sum + width, 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const [width, value] of parts) {
    if (width === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true)
    else for (let i = 0; i < width; i++) bytes[at + i] = Number(BigInt.asUintN(8, BigInt(value) >> BigInt(8 * i)))
    at += width
  }
  return bytes
}

/** A struct whose first member is its own size. */
export function sized(...parts: readonly Part[]): Uint8Array {
  const bytes = struct([4, 0], ...parts)
  new DataView(bytes.buffer).setUint32(0, bytes.length, true)
  return bytes
}

/** 32 bits at an offset. */
export const u32 = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)

/** 64 bits at an offset. */
export const u64 = (bytes: Uint8Array, at: number): bigint =>
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true)

/** Writes 32 bits at an offset. */
export function setU32(bytes: Uint8Array, at: number, value: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, value, true)
}

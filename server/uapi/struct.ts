/**
 * Structs of the kernel's headers, each declared once in a table: fields with offset, width and sign, which of them the
 * kernel fills, and how long the first released layout was. All are little-endian.
 */

/** One member of a struct. */
export interface Field<T extends number | bigint = number | bigint> {
  /** Bytes from the struct's start. */
  readonly at: number
  readonly bytes: number
  readonly isSigned: boolean
  /** The kernel fills it. */
  readonly isOut: boolean
  /** What its values are made with; 64 bits are bigint. */
  readonly zero: T
}

/** Members by the header's names, in its order. */
export type Fields = Readonly<Record<string, Field>>

/** Values of members. */
export type ValuesOf<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? Wide<T> : never }

type Wide<T> = T extends bigint ? bigint : number

/** A struct of the uAPI. */
export interface Struct<F extends Fields = Fields> {
  /** As the header calls it. */
  readonly name: string
  /** sizeof. */
  readonly bytes: number
  /** End of the last member of the first released layout: callers may not be shorter. */
  readonly minBytes: number
  readonly fields: F
  /** The same, for going through them. */
  readonly members: readonly (readonly [name: string, member: Field])[]
}

const field = <T extends number | bigint>(at: number, bytes: number, zero: T, isSigned = false): Field<T> => ({
  at,
  bytes,
  isSigned,
  isOut: false,
  zero,
})

/** __u8. */
export const u8 = (at: number): Field<number> => field(at, 1, 0)

/** __u16. */
export const u16 = (at: number): Field<number> => field(at, 2, 0)

/** __u8[3]. */
export const u24 = (at: number): Field<number> => field(at, 3, 0)

/** __u32. */
export const u32 = (at: number): Field<number> => field(at, 4, 0)

/** __s32. */
export const s32 = (at: number): Field<number> => field(at, 4, 0, true)

/** __aligned_u64, and __aligned_le64. */
export const u64 = (at: number): Field<bigint> => field(at, 8, 0n)

/** A member that the kernel fills. */
export const out = <T extends number | bigint>(member: Field<T>): Field<T> => ({ ...member, isOut: true })

/**
 * Declares a struct.
 *
 * @param last the last member of the first released layout; absent: of this one
 */
export function struct<F extends Fields>(name: string, bytes: number, fields: F, last?: keyof F): Struct<F> {
  const end = last === undefined ? undefined : fields[last]
  const minBytes = end === undefined ? bytes : end.at + end.bytes
  return { name, bytes, minBytes, fields, members: Object.entries(fields) }
}

/** Reads all members. What the bytes are too short for is zero. */
export function decode<F extends Fields>({ members, bytes: size }: Struct<F>, bytes: Uint8Array): ValuesOf<F> {
  let whole = bytes
  if (bytes.length < size) {
    whole = new Uint8Array(size)
    whole.set(bytes)
  }
  const view = new DataView(whole.buffer, whole.byteOffset, size)
  const values: Record<string, number | bigint> = {}
  for (const [name, member] of members) values[name] = get(view, member)
  return values as ValuesOf<F>
}

/** Writes some members into bytes; those that end beyond them are lost. */
export function put<F extends Fields>({ fields }: Struct<F>, bytes: Uint8Array, values: Partial<ValuesOf<F>>): void {
  for (const [name, value] of Object.entries(values)) {
    const { at, bytes: width } = fields[name]
    let rest = BigInt.asUintN(8 * width, BigInt(value as number | bigint))
    for (let i = 0; i < width && at + i < bytes.length; i++) {
      bytes[at + i] = Number(rest & 0xffn)
      rest >>= 8n
    }
  }
}

/** A struct's bytes; members that are not given are zero. */
export function encode<F extends Fields>(of: Struct<F>, values: Partial<ValuesOf<F>>): Uint8Array {
  const bytes = new Uint8Array(of.bytes)
  put(of, bytes, values)
  return bytes
}

function get(view: DataView, { at, bytes, isSigned }: Field): number | bigint {
  switch (bytes) {
    case 1:
      return view.getUint8(at)
    case 2:
      return view.getUint16(at, true)
    case 3:
      return view.getUint16(at, true) + view.getUint8(at + 2) * 0x10000
    case 4:
      return isSigned ? view.getInt32(at, true) : view.getUint32(at, true)
    default:
      return view.getBigUint64(at, true)
  }
}

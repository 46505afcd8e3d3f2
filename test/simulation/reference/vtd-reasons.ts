/**
 * Every fault reason with what it means to each kind of request, as the manual's table has it.
 * [VTD 7.1.3 Fault Conditions and Remapping Hardware Behavior for Various Requests, Table 30]
 */

/** Reply to a translation request: UR, CA, success without any right, success with the rights that are left. */
export type Reply = 'UR' | 'CA' | 'S0' | 'SP' | '-'

/** One row of the table. */
export interface Reason {
  /** Whether FPD silences it. */
  readonly isQualified: boolean
  readonly request: Reply
}

const rows: readonly (readonly [codes: readonly number[], isQualified: boolean, request: Reply])[] = [
  [[0x1], false, 'UR'],
  [[0x2], true, 'UR'],
  [[0x3], true, 'CA'],
  [[0x4], true, 'S0'],
  [[0x5, 0x6], true, 'SP'],
  [[0x7], true, 'CA'],
  [[0x8, 0x9, 0xa], false, 'CA'],
  [[0xb, 0xc], true, 'CA'],
  [[0xd], true, 'UR'],
  [[0xe], true, 'CA'],
  [[0x29], false, '-'],
  [[0x30], false, 'CA'],
  [[0x31, 0x33, 0x34], false, 'UR'],
  [[0x32], false, '-'],
  [[0x38], false, 'CA'],
  [[0x39], false, 'UR'],
  [[0x3a, 0x40], false, 'CA'],
  [[0x41], true, 'UR'],
  [[0x42, 0x43], true, 'CA'],
  [[0x44, 0x45, 0x46, 0x48], true, 'UR'],
  [[0x47, 0x49], true, '-'],
  [[0x50], false, 'CA'],
  [[0x51], true, 'S0'],
  [[0x52], true, 'CA'],
  [[0x58], false, 'CA'],
  [[0x59], true, 'S0'],
  [[0x5a, 0x5b], true, 'CA'],
  [[0x5c, 0x5d], true, 'S0'],
  [[0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77], true, 'S0'],
  [[0x78], true, 'CA'],
  [[0x79], true, 'S0'],
  [[0x7a, 0x7b, 0x7c, 0x7d], true, 'CA'],
  [[0x80, 0x81, 0x83, 0x84], true, 'S0'],
  [[0x85, 0x86], true, 'SP'],
  [[0x87], true, 'CA'],
  [[0x89], true, 'UR'],
  [[0x90, 0x91], true, 'S0'],
]

const REASONS: ReadonlyMap<number, Reason> = new Map(
  rows.flatMap(([codes, isQualified, request]) => codes.map((code) => [code, { isQualified, request }] as const)),
)

/** The row of a reason. */
export function reasonOf(code: number): Reason {
  const reason = REASONS.get(code)
  if (reason === undefined) throw new Error(`the table has no reason ${code}`)
  return reason
}

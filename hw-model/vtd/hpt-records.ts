/**
 * Entries of the host permission table, as the manual prints them. No algorithm. A bit in no field is reserved, the two
 * upper bits of every permission among them. [VTD 9.12 Host Permission Table Entries]
 */

import { address, bit, bits, type FieldSpec, layout } from '../bits/layout.js'

/** Permissions PP0, PP1, … of 4 bits each: R, W and two reserved ones. Their values are bits of ACCESS. [VTD 9.12 T48] */
function permissions(count: number): Readonly<Record<`PP${number}`, FieldSpec>> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`PP${i}`, bits(4 * i + 1, 4 * i)]))
}

/** Where the next table stands; the same bits in the three upper levels. */
const NEXT_TABLE = { AV: bit(64), ADDR: address(115, 76), Ignored127_116: bits(127, 116) } as const

/** Two terabytes. [VTD 9.12.1 HPTL4E] */
export const HPTL4E = layout('HPTL4E', 128, NEXT_TABLE)

/** Eight gigabytes, one permission each. [VTD 9.12.2 HPTL3E] */
export const HPTL3E = layout('HPTL3E', 128, { ...permissions(8), ...NEXT_TABLE })

/** Sixteen times 2 MiB. [VTD 9.12.3 HPTL2E] */
export const HPTL2E = layout('HPTL2E', 128, { ...permissions(16), ...NEXT_TABLE })

/** Thirty-two pages of 4 KiB. [VTD 9.12.4 HPTL1E] */
export const HPTL1E = layout('HPTL1E', 128, permissions(32))

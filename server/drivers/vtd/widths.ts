/**
 * How deep the kernel-owned tables of a unit are, and which addresses they map, as Linux chooses both. A domain may have
 * more levels than its addresses need, where the unit lacks the walk that would fit. [VTD 3.6, 3.7, 11.4.2 SAGAW, MGAW]
 */

/** Levels of a domain's tables, and bits of the addresses that they map, from 0 on. */
export interface Shape {
  readonly levels: number
  readonly bits: number
}

/** Fields of CAP. */
type Cap = Readonly<Record<string, number>>

/** What is sign-extended has only its lower half used. It does not check MGAW; software must. */
export function firstStageShape(cap: Cap): Shape {
  const most = cap['MGAW'] + 1
  const isWide = most > 48 && cap['FS5LP'] !== 0
  return { levels: isWide ? 5 : 4, bits: Math.min(isWide ? 57 : 48, most) - 1 }
}

/** The largest size that MGAW and SAGAW both have. */
export function secondStageShape(cap: Cap): Shape {
  const most = cap['MGAW'] + 1
  const sagaw = cap['SAGAW']
  if (most > 48 && sagaw >= 1 << 3) return { levels: 5, bits: Math.min(57, most) }
  if (most > 39 && sagaw >= 1 << 2) return { levels: 4 + firstSet(sagaw >> 3), bits: Math.min(48, most) }
  return { levels: 3 + firstSet(sagaw >> 2), bits: Math.min(39, most) }
}

/** Number of the lowest bit that is set, counted from 1; 0 where none is. */
const firstSet = (word: number): number => (word === 0 ? 0 : 32 - Math.clz32(word & -word))

/**
 * What the reference is known to get wrong, whatever the architecture. An excuse is a predicate on the configuration and
 * on what was done to it, never on how the two answers differ; where it holds, the parts of the answer that it names
 * are not compared, and everything else still is.
 */

/** Words of a record whose bits are not compared. */
export type Hidden = Readonly<Record<number, number>>

/** One thing that the reference gets wrong. */
export interface Quirk {
  readonly name: string
  /** What the reference does. */
  readonly does: string
  /** Who says what is right. */
  readonly manual: string
  /** What is not compared: nothing of the answer, its record, or only some bits of its record. */
  readonly hides: 'answer' | 'record' | Hidden
}

/** How many cases one excuse may cover. */
export const QUIRK_SHARE = 0.02

/** The bits of a word that are compared, given the quirks that hold. */
export function comparedBits(quirks: readonly Quirk[], word: number): number {
  let mask = -1
  for (const { hides } of quirks) mask &= typeof hides === 'string' ? 0 : ~(hides[word] ?? 0)
  return mask
}

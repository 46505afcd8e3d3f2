/**
 * Long work in pieces: a function that is called often is compiled as a translation is compiled in a daemon, and one
 * that is called once and never ends is not.
 */

const PIECE = 64

/** Does `count` things `rounds` times over, some at a time. Answers the sum of what `some` answers, modulo 2^32. */
export function inPieces(count: number, rounds: number, some: (from: number, end: number) => number): number {
  let sum = 0
  for (let round = 0; round < rounds; round++) {
    for (let from = 0; from < count; from += PIECE) sum = (sum + some(from, Math.min(from + PIECE, count))) | 0
  }
  return sum >>> 0
}

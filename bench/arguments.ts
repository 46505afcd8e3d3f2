/** What `npm run bench -- …` is asked for. */

/** Settled arguments. */
export interface Asked {
  readonly json: boolean
  readonly quick: boolean
  /** Rows to run, in the order of the table; all of them where none was named. */
  readonly ids: readonly string[]
  /** Every row, with all the time that it takes: such a run may write the table of the README. */
  readonly isFull: boolean
}

/** Arguments that mean nothing; the message says what would. */
export class BadArguments extends Error {}

/** Reads arguments. @param known ids of all rows, in the order of the table @throws BadArguments */
export function readArguments(words: readonly string[], known: readonly string[]): Asked {
  const named = new Set<string>()
  const flags = new Set<string>()
  for (const word of words) {
    if (word === '--json' || word === '--quick') flags.add(word)
    else if (word.startsWith('-')) throw new BadArguments(`${word} is not known; --json and --quick are`)
    else {
      const id = known.find((id) => id.toLowerCase() === word.toLowerCase())
      if (id === undefined) throw new BadArguments(`there is no row ${word}; there are ${known.join(', ')}`)
      named.add(id)
    }
  }
  const ids = named.size === 0 ? known : known.filter((id) => named.has(id))
  const quick = flags.has('--quick')
  return { json: flags.has('--json'), quick, ids, isFull: !quick && ids.length === known.length }
}

/** P2 before P10, and extras behind. */
export function inOrder(one: string, other: string): number {
  const number = (id: string): number => Number(/^P(\d+)$/.exec(id)?.[1] ?? Number.POSITIVE_INFINITY)
  const [a, b] = [number(one), number(other)]
  return a === b ? one.localeCompare(other) : a - b
}

/** A row of the bench: what it measures, what that must reach, and how it is told. */

import type { Contender, RaceOptions, Timing } from './measure.js'
import type { Peer } from './peer.js'

/** What a number must keep to; one of the two. */
export interface Bound {
  readonly atMost?: number
  readonly atLeast?: number
}

/** One number of a row. */
export interface Criterion {
  readonly name: string
  /** Null where it was not measured; `missing` says what that needs. */
  readonly measured: number | null
  /** Absent: the number is told, and nothing is asked of it. */
  readonly must?: Bound
  readonly should?: Bound
  readonly missing?: string
}

/** What stands in a row's `detail`: whatever a reader needs to judge its numbers. */
export type Detail = Readonly<Record<string, unknown>>

/** What a row found. Its first criterion is the one that stands in the table. */
export interface RowResult {
  readonly criteria: readonly Criterion[]
  readonly detail: Detail
  /** Where something is out of reach: the limit that shows it, in a sentence. */
  readonly limit?: string
}

/** What a row is given to measure with. */
export interface Bench {
  /** Seconds for the whole bench, where CI only wants to know that it runs. */
  readonly quick: boolean
  /** Turns of a race, and about how long each is. */
  readonly turns: number
  readonly turnMs: number
  /** Starts a program of `bench/peers/`. @throws Missing where its compiler or a library is not here */
  peer(name: string, words: readonly (string | number)[]): Promise<Peer>
  /** Contenders in turns, with this run's number of turns and their length unless told otherwise. */
  race(contenders: readonly Contender[], options?: Partial<RaceOptions>): Promise<readonly Timing[]>
  /** Tells who waits for it what is going on. */
  say(text: string): void
}

/** A row; each stands in a file of its own in `rows/`, exported as `row`. */
export interface Row {
  /** `P1` and on; others are extras. */
  readonly id: string
  readonly what: string
  run(bench: Bench): Promise<RowResult>
}

/** Something that a row needs is not on this machine; the message says what. */
export class Missing extends Error {}

/** A row as it is written to `latest.json`. */
export interface TableRow {
  readonly id: string
  readonly measured: number | null
  readonly must: number | null
  readonly should: number | null
  /** Null where a part was not measured and the rest is reached, and where nothing is asked. */
  readonly reached: boolean | null
  readonly detail: Detail & { readonly criteria: readonly Criterion[] }
}

/** Whether a number keeps to a bound. */
export const keeps = (measured: number, { atMost, atLeast }: Bound): boolean =>
  (atMost === undefined || measured <= atMost) && (atLeast === undefined || measured >= atLeast)

/** Numbers with three digits are all that a noisy machine is good for. */
export const rounded = (value: number): number => Number(value.toPrecision(3))

/** A row for the table. */
export function tableRow({ id, what }: Pick<Row, 'id' | 'what'>, result: RowResult, quick: boolean): TableRow {
  const criteria = result.criteria.map((criterion) => {
    const { measured } = criterion
    return { ...criterion, measured: measured === null || !Number.isFinite(measured) ? null : rounded(measured) }
  })
  const first = criteria[0]
  const missing = [...new Set(criteria.flatMap(({ missing }) => missing ?? []))]
  return {
    id,
    measured: first?.measured ?? null,
    must: limitOf(first?.must),
    should: limitOf(first?.should),
    reached: reachedBy(criteria, 'must'),
    detail: {
      what,
      ...(quick ? { quick } : {}),
      ...(missing.length > 0 ? { skipped: missing.join('; ') } : {}),
      ...(result.limit === undefined ? {} : { limit: result.limit }),
      criteria,
      ...result.detail,
    },
  }
}

/** A row that could not run. */
export function failedRow({ id, what }: Pick<Row, 'id' | 'what'>, error: unknown): TableRow {
  const message = error instanceof Error ? error.message : String(error)
  const why = error instanceof Missing ? { skipped: message } : { failed: message }
  const reached = error instanceof Missing ? null : false
  return { id, measured: null, must: null, should: null, reached, detail: { what, ...why, criteria: [] } }
}

/** Whether all bounds of a kind are kept; null where there is none, or where one that is not known decides. */
export function reachedBy(criteria: readonly Criterion[], kind: 'must' | 'should'): boolean | null {
  const asked = criteria.filter((criterion) => criterion[kind] !== undefined)
  const known = asked.filter(({ measured }) => measured !== null)
  if (known.some((criterion) => !keeps(criterion.measured as number, criterion[kind] as Bound))) return false
  return asked.length === 0 || known.length < asked.length ? null : true
}

const limitOf = (bound: Bound | undefined): number | null => bound?.atMost ?? bound?.atLeast ?? null

/**
 * The mutation campaign: in a guest that does everything right one invalidation is dropped, narrowed or aimed at something
 * else. Whether a later DMA meets what that left behind is told by the reference walker, which has no caches; then the
 * oracle must have said so, and what it named is tried: put in before that DMA it must help, and less must not.
 */

import type { Invalidation, StaleReport } from '../../../hw-model/port.js'
import { Rng } from '../../simulation/rng.js'
import { ARCHITECTURES, type Architecture } from '../../simulation/run.js'
import type { Command } from '../../simulation/step.js'
import type { Mistake } from './dialect.js'
import { DIALECTS, type Played, play, type Said, type Script } from './play.js'

/** Mutants of one machine. */
const MUTANTS_PER_STEP = 16

/** More invalidations than one access can lack. */
const ROUNDS = 12

/** A mutant that the oracle is wrong about. */
export interface Failure {
  readonly arch: Architecture
  readonly step: number
  /** Number of the mutated command. */
  readonly number: number
  readonly mistake: string
  readonly what: string
}

/** What was tried. */
export interface Counts {
  readonly seed: number
  mutants: number
  /** Of which a later DMA met a stale entry, as the reference says. */
  reached: number
  /** Reached, and reported. */
  reported: number
  /** Reported with commands that help, none of which can be narrower. */
  right: number
  /** Reported although every DMA ended as the tables say: met by no DMA, or without consequence for it. */
  beyond: number
  /** Reports of guests that do everything right. */
  false: number
  /** Accesses of guests that do everything right. */
  accesses: number
  /** Reached mutants by what went wrong. */
  readonly mix: Record<string, number>
}

/** Of nothing yet. */
export const emptyCounts = (seed: number): Counts => ({
  seed,
  mutants: 0,
  reached: 0,
  reported: 0,
  right: 0,
  beyond: 0,
  false: 0,
  accesses: 0,
  mix: {},
})

/** Tries mutants of one machine and adds them up. */
export function tryStep(
  arch: Architecture,
  seed: number,
  step: number,
  counts: Counts,
  onFailure: (failure: Failure) => void,
  mutants = MUTANTS_PER_STEP,
): void {
  const clean = play({ arch, seed, step })
  counts.accesses += clean.report.accesses
  for (const { stale } of clean.said) {
    counts.false++
    onFailure({ arch, step, number: -1, mistake: 'none', what: `a proper guest is told of ${tellReport(stale)}` })
  }
  const choices = clean.commands.flatMap((command, number) => wrongs(arch, command, number))
  const rng = new Rng(seed, step, ARCHITECTURES.indexOf(arch), 1)
  for (let i = 0; i < mutants && choices.length > 0; i++) {
    const wrong = rng.pick(choices)
    const fail = (what: string): void =>
      onFailure({ arch, step, number: wrong.number, mistake: wrong.mistake.what, what })
    tryMutant({ arch, seed, step, wrong }, counts, fail)
  }
}

/** Tries one, however it was chosen. */
export function tryMutant(script: Script, counts: Counts, fail: (what: string) => void): void {
  counts.mutants++
  const mutated = play(script)
  const { disagreement, isMisled } = mutated.report
  if (!isMisled) {
    if (mutated.said.length > 0) counts.beyond++
    return
  }
  counts.reached++
  const name = `${script.arch}: ${script.wrong?.mistake.what}`
  counts.mix[name] = (counts.mix[name] ?? 0) + 1
  if (mutated.said.length === 0) {
    fail(`nothing is said of ${disagreement}`)
    return
  }
  counts.reported++
  const wrong = remedy(script, mutated)
  if (wrong === undefined) counts.right++
  else fail(wrong)
}

function wrongs(
  arch: Architecture,
  command: Command | undefined,
  number: number,
): { readonly number: number; readonly mistake: Mistake }[] {
  if (command === undefined) return []
  return DIALECTS[arch].mistakes(command).map((mistake) => ({ number, mistake }))
}

/** What was put in so far: before the access that went wrong, and at the end. */
interface Put {
  readonly before: readonly Invalidation[]
  readonly last: readonly Invalidation[]
}

/** Puts in what is named, report by report, until the access ends as the tables say. Answers what is wrong with that. */
function remedy(script: Script, mutated: Played): string | undefined {
  const { accesses: access } = mutated.report
  const again = ({ before, last }: Put): Played => play({ ...script, put: { access, commands: before }, last })
  const isRight = ({ report }: Played): boolean => report.disagreement === undefined || report.accesses > access
  const told: StaleReport[] = []
  let put: Put = { before: [], last: [] }
  let played = mutated
  for (let round = 0; round < ROUNDS; round++) {
    const next = nextOf(played, told, access)
    if (next === undefined) return `${told.length} reports, and nothing more is said of access ${access}`
    const { stale } = next
    if (stale.missing.length === 0) return `nothing is named for ${tellReport(stale)}`
    for (const less of lessThan(script.arch, stale.missing)) {
      const after = again(withMore(put, next, less))
      // What the unit does not know, such as CMD_CFGI_CD_ALL without stage 1, is no smaller command.
      if (!after.report.isRefused && !isLeft(after, next, access, stale.missing.length > 1)) {
        return `${tellAll(less)} does, where ${tellAll(stale.missing)} is named for ${tellReport(stale)}`
      }
    }
    told.push(stale)
    put = withMore(put, next, stale.missing)
    played = again(put)
    if (next.access === undefined || next.access === access) {
      if (isLeft(played, next, access, false))
        return `${tellAll(stale.missing)} does not help against ${tellReport(stale)}`
    }
    // What is found at the end alone the access has met too.
    if (isRight(played) || isRight(again({ before: [...put.before, ...put.last], last: [] }))) return undefined
  }
  return `${ROUNDS} commands put in, and access ${access} is still answered wrongly`
}

/** The next report to go by: of the access itself, of the end, or of what was met before and is told once. */
function nextOf({ said }: Played, told: readonly StaleReport[], access: number): Said | undefined {
  const left = said.filter(({ stale }) => !told.some((each) => isSame(each, stale)))
  return left.find((each) => each.access === access) ?? left.find((each) => each.access === undefined) ?? left.at(-1)
}

/** Where a report says that something was missing, it is put in there; but never after the access that went wrong. */
function withMore({ before, last }: Put, { access }: Said, commands: readonly Invalidation[]): Put {
  return access === undefined ? { before, last: [...last, ...commands] } : { before: [...before, ...commands], last }
}

/** The same commands with one of them left out, or one that does a little less. */
function lessThan(arch: Architecture, commands: readonly Invalidation[]): readonly (readonly Invalidation[])[] {
  return commands.flatMap((command, i) => {
    const others = [...commands.slice(0, i), ...commands.slice(i + 1)]
    const smaller = DIALECTS[arch].narrower(command).map((less) => commands.with(i, less))
    return commands.length > 1 ? [others, ...smaller] : smaller
  })
}

/**
 * Whether what was said still holds. An entry that was told of at an earlier access is told once: then the access tells.
 *
 * @param ofAny whether another cache's entry for the same page counts too: what takes several commands lacks each of them
 */
function isLeft({ said, report }: Played, next: Said, access: number, ofAny: boolean): boolean {
  const isIt = ofAny ? isOfSamePage : isSame
  if (next.access !== undefined && next.access !== access) {
    return report.disagreement !== undefined && report.accesses <= access
  }
  return said.some((each) => each.access === next.access && isIt(each.stale, next.stale))
}

/** Of the same entry. */
function isSame(one: StaleReport, other: StaleReport): boolean {
  return one.cache === other.cache && isOfSamePage(one, other)
}

function isOfSamePage(one: StaleReport, other: StaleReport): boolean {
  return one.rid === other.rid && one.pasid === other.pasid && one.lo === other.lo && one.hi === other.hi
}

const tellAll = (commands: readonly Invalidation[]): string =>
  commands.length === 0 ? 'nothing' : commands.map(tellCommand).join(' and ')

/** A command in words. */
export function tellCommand({ name, operands, page }: Invalidation): string {
  const all = Object.entries(operands).map(([operand, value]) => `${operand}=0x${value.toString(16)}`)
  const at = page === undefined ? [] : [`ADDR=0x${((BigInt(page[1]) << 32n) | BigInt(page[0])).toString(16)}`]
  return [name, ...all, ...at].join(' ')
}

/** A report in words. */
export function tellReport({ cache, rid, pasid, lo, hi, cached, fresh, reason }: StaleReport): string {
  const address = ((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16)
  const ended = JSON.stringify({ cached, fresh })
  return `${cache} of ${rid.toString(16)}/${pasid} 0x${address} (${reason}): ${ended}`
}

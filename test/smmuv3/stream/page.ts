/** `docs/smmuv3-driver.md`: what our driver writes, beside what was recorded of Linux's and what its source says. */

import { attachments } from './attachments.js'
import { align, type Compared, commandsOf, REASONS, recordedCommands } from './compare.js'
import { type Command, REGISTER, type Row } from './recording.js'
import { rowLines, sideBySide, spelled } from './spell.js'
import { type Story, stories } from './stories.js'
import { DIFFERENCES, HEAD } from './words.js'

const KINDS = {
  reset: 'reset',
  attach: 'attach of a RID',
  block: 'detach of a RID',
  unmap: 'unmap of pages or blocks',
  'free-table': 'unmap of a whole table',
  event: 'event taken out of its queue',
} as const

/** The page. */
export function pageOf(rows: readonly Row[], results: readonly Compared[]): string {
  return [
    ...HEAD,
    '',
    '## The whole recording',
    '',
    ...counts(results),
    '',
    ...registerCounts(rows, results),
    '',
    ...reasons(results),
    '',
    '## Entries',
    '',
    'Fields that are not zero, on a unit with both stages and S2FWB; a name without a value is a place in host memory.',
    '',
    '| attached | STE | CD |',
    '|---|---|---|',
    ...attachments().map(({ name, ste, cd }) => `| ${name} | ${ste} | ${cd} |`),
    '',
    '## As recorded, and ours',
    '',
    'Without a sign: both. `-` Linux alone, `+` ours alone. Addresses of tables and queues are left out.',
    '',
    '```diff',
    '# reset',
    ...resetListing(rows, results[0]),
    ...recordedListings(results),
    '```',
    '',
    '## As in Linux’s source, and ours',
    '',
    'What the recording has not, from the functions named. SYNC is the form with an MSI there: CS 1, onto its own slot.',
    '',
    '```diff',
    ...stories().flatMap(storyListing),
    '```',
    '',
    ...DIFFERENCES,
    '',
  ].join('\n')
}

function counts(results: readonly Compared[]): readonly string[] {
  const head = ['| operation | times | alike | commands of Linux | the same in ours | Linux alone | ours alone |']
  const rows = Object.entries(KINDS).map(([kind, name]) => {
    const its = results.filter(({ operation }) => operation.kind === kind)
    return `| ${name} | ${numbers(its).join(' | ')} |`
  })
  return [...head, '|---|---|---|---|---|---|---|', ...rows, `| all | ${numbers(results).join(' | ')} |`]
}

function numbers(results: readonly Compared[]): readonly number[] {
  const pairs = results.flatMap((one) => one.pairs)
  const theirs = pairs.filter((pair) => pair.theirs !== null).length
  const same = pairs.filter((pair) => pair.theirs !== null && pair.ours !== null).length
  const ours = pairs.filter((pair) => pair.ours !== null).length
  return [
    results.length,
    results.filter(({ reason }) => reason === null).length,
    theirs,
    same,
    theirs - same,
    ours - same,
  ]
}

function registerCounts(rows: readonly Row[], results: readonly Compared[]): readonly string[] {
  const at = (all: readonly Row[], offset: number): number =>
    all.filter((row) => row.kind === 'register' && row.write.offset === offset).length
  const ours = results.flatMap((one) => one.rows)
  const lists = results.flatMap(({ operation }) => operation.lists)
  const together = lists.filter(({ isAlone }) => !isAlone).length
  const events = (all: readonly Row[]): number => at(all, REGISTER.EVENTQ_CONS)
  return [
    `CMDQ_PROD is written once for each list of commands, by Linux ${at(rows, REGISTER.CMDQ_PROD)} times and here`,
    `${at(ours, REGISTER.CMDQ_PROD)}: two processors told the unit of ${together} lists together. EVENTQ_CONS is written`,
    `${events(rows)} and ${events(ours)} times, with the same values. At the end the ten STEs and their CDs are the same`,
    'word for word, but for the addresses in them and MAIR1.',
  ]
}

function reasons(results: readonly Compared[]): readonly string[] {
  return Object.entries(REASONS).flatMap(([reason, why]) => {
    const its = results.filter((one) => one.reason === reason)
    return its.length === 0 ? [] : [`- **${reason}**, ${its.length} times: ${why}`]
  })
}

/** Everything that is written until translation is on. */
function resetListing(rows: readonly Row[], { rows: ours }: Compared): readonly string[] {
  const isOn = (row: Row): boolean =>
    row.kind === 'register' && row.write.offset === REGISTER.CR0 && (row.write.value & 1n) === 1n
  const theirs = rows.slice(0, rows.findIndex(isOn) + 1)
  return aligned(rowLines(theirs), rowLines(ours))
}

/** The first of each kind, and the first of each difference. */
function recordedListings(results: readonly Compared[]): readonly string[] {
  const unmapOf = (one: Compared, pages: number): boolean =>
    one.operation.kind === 'unmap' && one.operation.pages === pages && one.reason === null
  const shown: readonly (readonly [string, Compared | undefined])[] = [
    ['the first device is probed and attached', results.find(({ operation }) => operation.kind === 'attach')],
    ['unmap of a page', results.find((one) => unmapOf(one, 1))],
    ['unmap of 33 pages', results.find((one) => unmapOf(one, 33))],
    ['unmap of 1024 pages in blocks', results.find((one) => unmapOf(one, 1024))],
    ['unmap of a table', results.find(({ operation }) => operation.kind === 'free-table')],
    ['a table is emptied', results.find(({ reason }) => reason === 'empty table')],
    ['detach', results.find(({ operation }) => operation.kind === 'block')],
  ]
  return shown.flatMap(([title, one]) => (one === undefined ? [] : [`# ${title}`, ...listing(one)]))
}

const listing = ({ operation, rows }: Compared): readonly string[] =>
  aligned(spelled(recordedCommands(operation)), spelled(commandsOf(rows)))

function storyListing({ title, source, linux, ours, why }: Story): readonly string[] {
  return [`# ${title} (${source})${why === '' ? '' : `: ${why}`}`, ...aligned(linux, ours)]
}

/** Lines side by side; those that follow each other and are alike become one. */
function aligned(theirs: readonly string[], ours: readonly string[]): readonly string[] {
  const numbers = new Map([...new Set([...theirs, ...ours])].map((line, i) => [line, { dw0: BigInt(i), dw1: 0n }]))
  const names = new Map([...numbers].map(([line, { dw0 }]) => [dw0, line]))
  const asCommands = (lines: readonly string[]): readonly Command[] => lines.map((line) => numbers.get(line) as Command)
  const nameOf = (command: Command | null): string | null =>
    command === null ? null : (names.get(command.dw0) as string)
  const pairs = align(asCommands(theirs), asCommands(ours)).map(
    (pair) => [nameOf(pair.theirs), nameOf(pair.ours)] as const,
  )
  const lines = sideBySide(pairs)
  const folded: { line: string; times: number }[] = []
  for (const line of lines) {
    const before = folded.at(-1)
    if (before?.line === line) before.times++
    else folded.push({ line, times: 1 })
  }
  return folded.map(({ line, times }) => (times === 1 ? line : `${line} (${times} times)`))
}

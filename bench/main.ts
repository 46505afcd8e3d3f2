/**
 * `npm run bench [-- --quick] [--json] [P1 P3 …]`: what translations, invalidations and calls cost, as ratios measured
 * side by side in one run. Every row runs in a process of its own. What was found is kept in `results/latest.json`, row
 * by row; a full run writes the table of the README too.
 */

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { BadArguments, readArguments } from './arguments.js'
import { allRows } from './registry.js'
import { failedRow, type Row, type TableRow } from './row.js'
import { linesOf, merged, rowsOf, verdictOf, withTable } from './table.js'

const HERE = resolve(import.meta.dirname, '../../bench')
const LATEST = resolve(HERE, 'results/latest.json')
const README = resolve(HERE, 'README.md')

/** What a row may take where the machine has much other work; alone, all of them take twenty minutes. */
const ROW_MS = 10 * 60_000

const rows = await allRows()
const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

/** One row in its own process. */
function runRow(row: Row, quick: boolean): Promise<TableRow> {
  const words = [resolve(import.meta.dirname, 'one.js'), row.id, ...(quick ? ['--quick'] : [])]
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'], timeout: ROW_MS })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  return new Promise((done) => {
    child.on('close', (code, signal) => {
      try {
        done(JSON.parse(text) as TableRow)
      } catch {
        done(failedRow(row, new Error(`its process ended (${signal ?? code}) without an answer`)))
      }
    })
  })
}

try {
  const { json, quick, ids, isFull } = readArguments(
    process.argv.slice(2),
    rows.map(({ id }) => id),
  )
  const fresh: TableRow[] = []
  for (const row of rows) {
    if (!ids.includes(row.id)) continue
    say(`${row.id} ${row.what}`)
    const done = await runRow(row, quick)
    say(`${row.id} ${verdictOf(done)} (${done.detail['seconds'] ?? '?'} s)`)
    fresh.push(done)
  }
  mkdirSync(resolve(HERE, 'results'), { recursive: true })
  const all = merged(existsSync(LATEST) ? rowsOf(readFileSync(LATEST, 'utf8')) : [], fresh)
  writeFileSync(LATEST, `${JSON.stringify({ rows: all })}\n`)
  if (isFull) writeFileSync(README, withTable(readFileSync(README, 'utf8'), fresh))
  console.log(json ? JSON.stringify({ rows: fresh }) : linesOf(fresh))
  // A row that could not be measured as it should is a bug of ours, unlike one that does not reach what it must.
  if (fresh.some(({ detail }) => 'failed' in detail)) process.exitCode = 1
} catch (error) {
  if (!(error instanceof BadArguments)) throw error
  say(error.message)
  process.exitCode = 2
}

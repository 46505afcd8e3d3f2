/** Rows as a person reads them, and as they are kept from one run to the next. */

import { inOrder } from './arguments.js'
import { type Bound, type Criterion, reachedBy, type TableRow } from './row.js'

/** Between these two lines of the README stands the table. */
const BEGIN = '<!-- table: written by a full `npm run bench` -->'
const END = '<!-- end of the table -->'

/** Rows of an earlier run, with those of this one in their place. */
export function merged(earlier: readonly TableRow[], fresh: readonly TableRow[]): readonly TableRow[] {
  const ids = new Set(fresh.map(({ id }) => id))
  return [...earlier.filter(({ id }) => !ids.has(id)), ...fresh].sort((a, b) => inOrder(a.id, b.id))
}

/** The rows of a `latest.json`; none where it cannot be read. */
export function rowsOf(text: string): readonly TableRow[] {
  try {
    const { rows } = JSON.parse(text) as { rows?: unknown }
    return Array.isArray(rows) ? rows.filter((row) => typeof row?.id === 'string' && row.detail?.criteria) : []
  } catch {
    return []
  }
}

/** What stands behind a row: reached, not reached, not measured, and which part of it. */
export function verdictOf({ reached, detail }: TableRow): string {
  const { criteria } = detail
  const failed = detail['failed']
  if (typeof failed === 'string') return `FAILED: ${failed}`
  if (reached === false) {
    const wrong = criteria.filter((criterion) => reachedBy([criterion], 'must') === false)
    return `not reached: ${wrong.map(told).join('; ')}`
  }
  const skipped = detail['skipped']
  if (typeof skipped === 'string') return `not measured: ${skipped}`
  if (reached === null) return 'nothing is asked'
  return reachedBy(criteria, 'should') === true ? 'reached, and what it should' : 'reached'
}

/** A number with its bounds. */
export function told({ name, measured, must, should }: Criterion): string {
  const bounds = [must && `must ${boundText(must)}`, should && `should ${boundText(should)}`].filter(Boolean).join(', ')
  return `${name} ${measured ?? '?'}${bounds === '' ? '' : ` (${bounds})`}`
}

const boundText = ({ atMost, atLeast }: Bound): string => (atMost === undefined ? `>= ${atLeast}` : `<= ${atMost}`)

/** Lines for a terminal: a row, what it found, and the limit where there is one. */
export function linesOf(rows: readonly TableRow[]): string {
  return rows
    .map((row) => {
      const lines = [`${row.id.padEnd(5)} ${row.detail['what']}`, `      ${verdictOf(row)}`]
      for (const criterion of row.detail.criteria) lines.push(`        ${told(criterion)}`)
      if (typeof row.detail['limit'] === 'string') lines.push(`      limit: ${row.detail['limit']}`)
      return lines.join('\n')
    })
    .join('\n')
}

/** A README with the table of these rows in place of the one that it has. */
export function withTable(readme: string, rows: readonly TableRow[]): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error('bench/README.md has no place for the table')
  const lines = rows.map((row) => {
    const cells = [row.id, row.detail['what'], row.measured ?? '–', row.must ?? '–', row.should ?? '–', verdictOf(row)]
    return `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`
  })
  const head = '| row | what | measured | must | should | |\n|---|---|---|---|---|---|'
  return `${readme.slice(0, begin)}${BEGIN}\n${[head, ...lines].join('\n')}\n${readme.slice(end)}`
}

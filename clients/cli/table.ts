/** Text in columns. */

/** A column's cells are numbers, and end under each other. */
const NUMBER = /^(0x[0-9a-f]+|[\d,.]+|-?)$/

/** Rows under their titles, in columns; columns that are empty in every row are left out. */
export function table(titles: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const kept = titles.map((_, i) => i).filter((i) => rows.some((row) => (row[i] ?? '') !== ''))
  const right = kept.map((i) => rows.every((row) => NUMBER.test(row[i] ?? '')))
  const cells = [titles, ...rows].map((row) => kept.map((i) => row[i] ?? ''))
  const widths = kept.map((_, i) => Math.max(...cells.map((row) => row[i].length)))
  return cells.map((row) =>
    row
      .map((cell, i) => (right[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd(),
  )
}

/** Keys and values, the values under each other. */
export function pairs(entries: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(0, ...entries.map(([key]) => key.length))
  return entries.map(([key, value]) => `${key.padEnd(width)}  ${value}`.trimEnd())
}

/** Lines further to the right; empty ones stay empty. */
export const indent = (lines: readonly string[], by = 2): string[] =>
  lines.map((line) => (line === '' ? '' : ' '.repeat(by) + line))
